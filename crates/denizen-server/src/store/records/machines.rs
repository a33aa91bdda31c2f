//! Machines, by resource id.

use std::sync::Arc;

use denizen_wire::{ResourceId, TenantId};

use crate::{
    domain::resources::Machine,
    store::{
        Kind, Record,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for Machine {
    const KIND: Kind = Kind::Machine;
    const TABLE: &'static Table = &table!("machines");
    type Key = ResourceId;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn key(&self) -> ResourceId {
        self.id.clone()
    }

    fn key_text(key: &ResourceId) -> String {
        key.canonical().to_owned()
    }

    fn entity(record: Arc<Self>) -> Entity {
        Entity::Machine(record)
    }
}
