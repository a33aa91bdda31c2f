//! Deleted objects, by the object id that they had. The snapshot takes nothing of them. What was kept of their secrets leaves
//! with their row.

use denizen_wire::TenantId;
use uuid::Uuid;

use crate::{
    domain::deleted::DeletedObject,
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for DeletedObject {
    const KIND: Kind = Kind::DeletedObject;
    const UNLOGGED: &'static [&'static str] = &["record"];
    const TABLE: &'static Table = &table!("deleted_objects");
    type Key = Uuid;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn key(&self) -> Uuid {
        self.id
    }

    fn key_text(key: &Uuid) -> String {
        key.to_string()
    }

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::Nothing
    }
}
