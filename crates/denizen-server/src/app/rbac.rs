//! Role assignments.
//!
//! Tests: `tests/it`, and the decisions they lead to in `domain/authorize`.

use denizen_keys::random;
use denizen_wire::{PrincipalId, ResourceId};

use super::{ChangeError, access::Authorization};
use crate::{
    domain::{
        Ctx,
        roles::{BuiltInRoles, RoleAssignment, RoleId},
    },
    store::{Store, Write},
};

/// The action of giving a role.
const ASSIGN: &str = "Microsoft.Authorization/roleAssignments/write";

/// Changes to who may do what.
#[derive(Clone)]
pub struct Rbac {
    store: Store,
    roles: std::sync::Arc<BuiltInRoles>,
}

impl Rbac {
    /// Creates the use cases of a store, with the roles that every tenant has.
    pub fn new(store: Store, roles: std::sync::Arc<BuiltInRoles>) -> Self {
        Self { store, roles }
    }

    /// Gives `principal` the built-in role called `role` at `scope`. Given already: nothing happens.
    ///
    /// # Errors
    /// [`ChangeError::Missing`] names the role or the principal that does not exist; the store's.
    pub async fn assign(
        &self,
        authorization: &Authorization,
        principal: PrincipalId,
        role: &str,
        scope: &ResourceId,
    ) -> Result<(), ChangeError> {
        authorization.check(ASSIGN, authorization.tenant(), &[scope.canonical()])?;
        let definition = self.roles.named(role).ok_or_else(|| ChangeError::Missing(format!("the role '{role}'")))?;
        let role: RoleId = definition.id;
        let Ctx { tenant, actor, now, .. } = authorization.ctx();
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let snapshot = tx.snapshot();
                    if snapshot.principal(*tenant, principal).is_none() {
                        return Err(ChangeError::Missing(format!("the principal {principal}")));
                    }
                    let there = snapshot.assignments_of(*tenant, principal);
                    if there.iter().any(|a| a.role == role && a.scope.is(scope)) {
                        return Ok(Write::Unchanged(()));
                    }
                    let assignment = RoleAssignment {
                        tenant: *tenant,
                        id: random::uuid_v4(),
                        scope: scope.clone(),
                        principal,
                        role,
                        created: *now,
                        created_by: actor.to_string(),
                    };
                    tx.insert(&assignment).await?;
                    Ok(Write::commit(ASSIGN, scope.as_str().to_owned(), ()))
                })
            })
            .await
    }
}
