//! Resource groups, by resource id.

use std::sync::Arc;

use denizen_wire::{ResourceId, TenantId};

use crate::{
    domain::resources::ResourceGroup,
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for ResourceGroup {
    const KIND: Kind = Kind::ResourceGroup;
    const TABLE: &'static Table = &table!("resource_groups");
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

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::ResourceGroup(Arc::new(self))
    }
}
