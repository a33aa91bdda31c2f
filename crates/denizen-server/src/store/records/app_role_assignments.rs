//! App role assignments, by their id.

use denizen_wire::TenantId;
use uuid::Uuid;

use crate::{
    domain::{grants::AppRoleAssignment, hot::AppRole},
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for AppRoleAssignment {
    const KIND: Kind = Kind::AppRoleAssignment;
    const TABLE: &'static Table = &table!("app_role_assignments");
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
        Entity::AppRole(self.principal, AppRole { id: self.id, resource: self.resource, role: self.role })
    }
}
