//! What was deleted: kept whole for thirty days, and restored.
//!
//! Tests: `http/graph/tests/`.

use denizen_keys::secret::json_fault;
use denizen_wire::{PrincipalId, TenantId, UnixTime};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{Directory, DirectoryError, actions, applications::exists};
use crate::{
    app::access::{Authorization, TenantRoles},
    domain::{
        deleted::{DeletedKind, DeletedObject},
        directory::{Application, ServicePrincipal},
        people::{Group, Membership, MembershipKey, User},
        roles::{BuiltInRoles, RoleAssignment},
    },
    store::{StoreError, Tx, Write},
};

/// A record as it lies among the deleted.
pub(super) fn keep(
    tenant: TenantId,
    (kind, id, display_name): (DeletedKind, Uuid, &str),
    deleted: UnixTime,
    record: &impl Serialize,
) -> Result<DeletedObject, StoreError> {
    let record = serde_json::to_value(record).map_err(|error| StoreError::Corrupt(json_fault(&error)))?;
    Ok(DeletedObject { tenant, id, kind, display_name: display_name.to_owned(), deleted, record })
}

/// The same of a service principal. Its tokens stay revoked when it is restored.
pub(super) fn keep_principal(deleted: UnixTime, principal: ServicePrincipal) -> Result<DeletedObject, StoreError> {
    let principal = ServicePrincipal { epoch: principal.epoch + 1, ..principal };
    let what = (DeletedKind::ServicePrincipal, principal.id.0, principal.display_name.as_str());
    keep(principal.tenant, what, deleted, &principal)
}

/// Takes away the roles of the directory that somebody has who is deleted. While it lies there, nothing guards what it is
/// reached by, so nothing of them comes back with it.
pub(super) async fn drop_directory_roles(
    tx: &mut Tx<'_>,
    roles: &BuiltInRoles,
    tenant: TenantId,
    principal: PrincipalId,
) -> Result<(), StoreError> {
    let snapshot = &tx.snapshot();
    let view = TenantRoles { snapshot, tenant, roles };
    for assignment in snapshot.assignments_of(tenant, principal) {
        if view.is_of_directory(assignment.role) {
            tx.remove::<RoleAssignment>(&assignment.id).await?;
        }
    }
    Ok(())
}

/// Takes who is restored out of the groups that would give it a role of the directory, themselves or by a group that they
/// are in: restoring gives no rank.
async fn drop_ranking_memberships(
    tx: &mut Tx<'_>,
    roles: &BuiltInRoles,
    tenant: TenantId,
    member: PrincipalId,
) -> Result<(), StoreError> {
    let snapshot = &tx.snapshot();
    let view = TenantRoles { snapshot, tenant, roles };
    for group in snapshot.direct_groups_of(tenant, member) {
        if !view.of_directory(group).is_empty() {
            tx.remove::<Membership>(&MembershipKey { group, member }).await?;
        }
    }
    Ok(())
}

fn kept<T: DeserializeOwned>(object: &DeletedObject) -> Result<T, StoreError> {
    serde_json::from_value(object.record.clone()).map_err(|error| StoreError::Corrupt(json_fault(&error)))
}

impl Directory {
    /// A deleted object that can still be restored.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; [`DirectoryError::Unrecorded`]; the store's.
    pub async fn deleted(&self, authorization: &Authorization, id: Uuid) -> Result<DeletedObject, DirectoryError> {
        self.check(authorization, actions::READ_DELETED)?;
        let found = self.store.record::<DeletedObject>(authorization.ctx(), &id).await?;
        let found = found.filter(|it| it.can_be_restored(authorization.now()));
        let found = found.ok_or_else(|| DirectoryError::Missing(id.to_string()))?;
        self.record(authorization, actions::READ_DELETED, id.to_string())?;
        Ok(found)
    }

    /// Puts a deleted object back, without roles of the directory: neither its own nor those of groups that it was in. A
    /// service principal comes back by itself, and not with its application.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; [`DirectoryError::Exists`] when its name was taken meanwhile; the store's.
    pub async fn restore(&self, authorization: &Authorization, id: Uuid) -> Result<DeletedObject, DirectoryError> {
        self.check(authorization, actions::RESTORE_DELETED)?;
        let (tenant, now) = (authorization.tenant(), authorization.now());
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let found = tx.remove::<DeletedObject>(&id).await?.filter(|it| it.can_be_restored(now));
                    let Some(object) = found else { return Err(DirectoryError::Missing(id.to_string())) };
                    drop_ranking_memberships(tx, &self.roles, tenant, PrincipalId(id)).await?;
                    match object.kind {
                        DeletedKind::User => {
                            let user = kept::<User>(&object)?;
                            tx.insert(&user).await.map_err(|error| exists(error, "userPrincipalName"))?;
                        }
                        DeletedKind::Group => tx.insert(&kept::<Group>(&object)?).await?,
                        DeletedKind::Application => {
                            let application = kept::<Application>(&object)?;
                            tx.insert(&application).await.map_err(|error| exists(error, "identifierUris"))?;
                        }
                        DeletedKind::ServicePrincipal => {
                            let principal = kept::<ServicePrincipal>(&object)?;
                            if tx.record::<Application>(&principal.client_id).await?.is_none() {
                                return Err(DirectoryError::Invalid(
                                    "The service principal's application is not there: restore that first.".to_owned(),
                                ));
                            }
                            tx.insert(&principal).await.map_err(|error| exists(error, "servicePrincipalNames"))?;
                        }
                    }
                    Ok(Write::commit(actions::RESTORE_DELETED, id.to_string(), object))
                })
            })
            .await
    }
}
