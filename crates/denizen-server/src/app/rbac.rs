//! Role assignments.
//!
//! Tests: `tests/it`, and the decisions they lead to in `domain/authorize`.

use denizen_keys::random;
use denizen_wire::{PrincipalId, ResourceId};

use super::{ChangeError, access::Authorization};
use crate::{
    domain::{
        Ctx,
        roles::{BuiltInRoles, RoleAssignment, RoleDefinition, RoleId},
    },
    store::{Store, Write},
};

/// The action of giving a role.
const ASSIGN: &str = "Microsoft.Authorization/roleAssignments/write";
/// The action of giving a role of the directory.
const ASSIGN_IN_DIRECTORY: &str = "microsoft.directory/roleAssignments/allProperties/allTasks";

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

    /// Gives `principal`, a service principal, a user or a group, the built-in role called `role` at `scope`. Given already: nothing happens.
    ///
    /// # Errors
    /// [`ChangeError::Missing`] names the role or the principal that does not exist; [`ChangeError::Invalid`] says that a
    /// role of the directory is given in the whole tenant only; the store's.
    pub async fn assign(
        &self,
        authorization: &Authorization,
        principal: PrincipalId,
        role: &str,
        scope: &ResourceId,
    ) -> Result<(), ChangeError> {
        let definition = self.roles.named(role);
        let action = if definition.is_some_and(RoleDefinition::is_of_directory) { ASSIGN_IN_DIRECTORY } else { ASSIGN };
        authorization.check(action, authorization.tenant(), &[scope.canonical()])?;
        let definition = definition.ok_or_else(|| ChangeError::Missing(format!("the role '{role}'")))?;
        if definition.is_of_directory() && *scope != ResourceId::root() {
            return Err(ChangeError::Invalid(format!(
                "{} is a role of the directory: give it at the scope /",
                definition.name
            )));
        }
        let role: RoleId = definition.id;
        let Ctx { tenant, actor, now, .. } = authorization.ctx();
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let snapshot = tx.snapshot();
                    let is_there = snapshot.principal(*tenant, principal).is_some()
                        || snapshot.user(*tenant, principal).is_some()
                        || snapshot.is_group(*tenant, principal);
                    if !is_there {
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
                    Ok(Write::commit(action, scope.as_str().to_owned(), ()))
                })
            })
            .await
    }
}
