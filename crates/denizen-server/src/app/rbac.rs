//! Role assignments.
//!
//! Tests: `tests/it`, and the decisions they lead to in `domain/authorize`.

use denizen_keys::random;
use denizen_wire::{PrincipalId, ResourceId};

use super::ChangeError;
use crate::{
    domain::{
        Ctx,
        roles::{BuiltInRoles, RoleAssignment, RoleId},
    },
    store::{AuditEvent, Store},
};

/// Changes to who may do what.
#[derive(Clone)]
pub struct Rbac {
    store: Store,
    roles: std::sync::Arc<BuiltInRoles>,
}

impl Rbac {
    /// Over a store.
    pub fn new(store: Store, roles: std::sync::Arc<BuiltInRoles>) -> Self {
        Self { store, roles }
    }

    /// Gives `principal` the built-in role called `role` at `scope`. Given already: nothing happens.
    pub async fn assign(
        &self,
        ctx: &Ctx,
        principal: PrincipalId,
        role: &str,
        scope: &ResourceId,
    ) -> Result<(), ChangeError> {
        let Some(definition) = self.roles.named(role) else {
            return Err(ChangeError::Missing(format!("the role '{role}'")));
        };
        let role: RoleId = definition.id;
        let mut tx = self.store.begin(ctx).await?;
        let snapshot = self.store.snapshot();
        if snapshot.principal(ctx.tenant, principal).is_none() {
            return Err(ChangeError::Missing(format!("the principal {principal}")));
        }
        let there = snapshot.assignments(ctx.tenant, scope.canonical());
        if there.iter().any(|a| a.principal == principal && a.role == role) {
            return Ok(());
        }
        let assignment = RoleAssignment {
            tenant: ctx.tenant,
            id: random::uuid_v4(),
            scope: scope.clone(),
            principal,
            role,
            created: ctx.now,
            created_by: ctx.actor.to_string(),
        };
        tx.insert(&assignment).await?;
        tx.commit(AuditEvent::allowed("Microsoft.Authorization/roleAssignments/write", scope.as_str(), "asked for"))
            .await?;
        Ok(())
    }
}
