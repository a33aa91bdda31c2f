//! Permission grants, by their id.

use std::sync::Arc;

use denizen_wire::TenantId;
use uuid::Uuid;

use crate::{
    domain::grants::PermissionGrant,
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for PermissionGrant {
    const KIND: Kind = Kind::PermissionGrant;
    const TABLE: &'static Table = &table!("permission_grants");
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
        Entity::PermissionGrant(Arc::new(self))
    }
}
