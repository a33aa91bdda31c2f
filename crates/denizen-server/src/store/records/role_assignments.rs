//! Role assignments, by their id.

use std::sync::Arc;

use denizen_wire::TenantId;
use uuid::Uuid;

use crate::{
    domain::roles::RoleAssignment,
    store::{
        Kind, Record,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for RoleAssignment {
    const KIND: Kind = Kind::RoleAssignment;
    const TABLE: &'static Table = &table!("role_assignments");
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

    fn entity(record: Arc<Self>) -> Entity {
        Entity::RoleAssignment(record)
    }
}
