//! Machines, by resource id. The snapshot takes nothing of them.

use denizen_wire::{ResourceId, TenantId};
use serde::Deserialize;

use crate::{
    domain::resources::Machine,
    store::{
        Kind, Record, Snapshot, StoreError,
        record::{Kept, Table, decode_part, table},
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

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::Nothing
    }

    fn entity_of(row: &Kept, _: &Snapshot) -> Result<Entity, StoreError> {
        decode_part::<Self, Named>(row, |it| (it.tenant, it.id.clone()))?;
        Ok(Entity::Nothing)
    }
}

/// What its row is held against.
#[derive(Deserialize)]
struct Named {
    tenant: TenantId,
    id: ResourceId,
}
