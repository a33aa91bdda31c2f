//! Role assignments, by their id. The snapshot takes their hot half.

use std::sync::Arc;

use denizen_wire::{PrincipalId, ResourceId, TenantId};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    domain::{
        hot::Assignment,
        roles::{RoleAssignment, RoleId},
    },
    store::{
        Kind, Record, Snapshot, StoreError,
        record::{Kept, Table, decode_part, table},
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

    fn entity(self, among: &Snapshot) -> Entity {
        let Self { tenant, id, scope, principal, role, .. } = self;
        Hot { tenant, id, scope, principal, role }.entity(among)
    }

    fn entity_of(row: &Kept, among: &Snapshot) -> Result<Entity, StoreError> {
        Ok(decode_part::<Self, Hot>(row, |it| (it.tenant, it.id))?.entity(among))
    }
}

/// What the snapshot takes.
#[derive(Deserialize)]
struct Hot {
    tenant: TenantId,
    id: Uuid,
    scope: ResourceId,
    principal: PrincipalId,
    role: RoleId,
}

impl Hot {
    fn entity(self, among: &Snapshot) -> Entity {
        let scope = among.nested(self.tenant, &self.scope);
        Entity::RoleAssignment(self.principal, Arc::new(Assignment { id: self.id, role: self.role, scope }))
    }
}
