//! Custom role definitions, by their id. Built-in ones have no tenant and are not kept here.

use std::sync::Arc;

use denizen_wire::TenantId;

use crate::{
    domain::roles::{RoleDefinition, RoleId},
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for RoleDefinition {
    const KIND: Kind = Kind::RoleDefinition;
    const TABLE: &'static Table = &table!("role_definitions");
    type Key = RoleId;

    fn tenant(&self) -> Option<TenantId> {
        self.tenant
    }

    fn key(&self) -> RoleId {
        self.id
    }

    fn key_text(key: &RoleId) -> String {
        key.to_string()
    }

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::RoleDefinition(Arc::new(self))
    }
}
