//! App roles that are given, and scopes that clients are granted, as the directory's API changes them.
//!
//! Tests: `http/graph/tests/`.

use std::collections::{HashMap, hash_map::Entry};

use denizen_keys::random;
use denizen_wire::PrincipalId;
use uuid::Uuid;

use super::{Directory, DirectoryError, actions, error::refuse_outranked};
use crate::{
    app::access::Authorization,
    domain::{
        directory::{AppRoleMembers, ServicePrincipal},
        grants::{AppRoleAssignment, PermissionGrant},
        people::{Group, User},
    },
    store::Write,
};

/// An app role to be given.
#[derive(Clone, Copy, Debug)]
pub struct NewAppRole {
    /// To whom.
    pub principal: PrincipalId,
    /// The service principal of the application whose role it is.
    pub resource: PrincipalId,
    /// The role; the nil id gives access without a role.
    pub role: Uuid,
}

/// An app role assignment with the names that answers have.
#[derive(Clone, Debug)]
pub struct Given {
    /// The assignment.
    pub assignment: AppRoleAssignment,
    /// The principal's name and its type; none when it is gone.
    pub principal: Option<(String, &'static str)>,
    /// The resource's name; none when it is gone.
    pub resource: Option<String>,
}

impl Directory {
    /// Gives an app role.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`] the principal or the resource; [`DirectoryError::Invalid`] for a role that the resource has
    /// not, or not for such a principal; [`DirectoryError::Exists`] when it is given; the store's.
    pub async fn give_app_role(
        &self,
        authorization: &Authorization,
        action: &'static str,
        new: NewAppRole,
    ) -> Result<AppRoleAssignment, DirectoryError> {
        self.check(authorization, action)?;
        let (tenant, created) = (authorization.tenant(), authorization.now());
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let NewAppRole { principal, resource, role } = new;
                    let snapshot = tx.snapshot();
                    let is_person = snapshot.user(tenant, principal).is_some() || snapshot.is_group(tenant, principal);
                    if !is_person && snapshot.principal(tenant, principal).is_none() {
                        return Err(DirectoryError::Missing(principal.to_string()));
                    }
                    let Some(of) = snapshot.principal(tenant, resource) else {
                        return Err(DirectoryError::Missing(resource.to_string()));
                    };
                    let wanted = if is_person { AppRoleMembers::User } else { AppRoleMembers::Application };
                    let application = snapshot.application(tenant, of.client_id);
                    let has = application.is_some_and(|it| {
                        it.app_roles.iter().any(|it| it.id == role && it.enabled && it.members.contains(&wanted))
                    });
                    if !has && !role.is_nil() {
                        return Err(DirectoryError::Invalid(
                            "Permission being assigned was not found on application, or it is disabled or not for a principal of this type.".to_owned(),
                        ));
                    }
                    let given = snapshot.app_roles_of(tenant, principal);
                    if given.iter().any(|it| it.resource == resource && it.role == role) {
                        return Err(DirectoryError::Invalid(
                            "Permission being assigned already exists on the object.".to_owned(),
                        ));
                    }
                    let id = random::uuid_v4();
                    let assignment = AppRoleAssignment { tenant, id, principal, resource, role, created };
                    tx.insert(&assignment).await?;
                    Ok(Write::commit(action, id.to_string(), assignment))
                })
            })
            .await
    }

    /// Takes an app role away from `principal`, or at `resource`: whichever the path names.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; the store's.
    pub async fn take_app_role(
        &self,
        authorization: &Authorization,
        action: &'static str,
        of: PrincipalId,
        id: Uuid,
    ) -> Result<(), DirectoryError> {
        self.check(authorization, action)?;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let found = tx.remove::<AppRoleAssignment>(&id).await?;
                    match found.filter(|it| it.principal == of || it.resource == of) {
                        Some(_) => Ok(Write::commit(action, id.to_string(), ())),
                        None => Err(DirectoryError::Missing(id.to_string())),
                    }
                })
            })
            .await
    }

    /// Assignments with the names that answers have.
    ///
    /// # Errors
    /// The store's.
    pub async fn with_names(
        &self,
        authorization: &Authorization,
        assignments: Vec<AppRoleAssignment>,
    ) -> Result<Vec<Given>, DirectoryError> {
        // Those of one list are of one principal or at one resource.
        let mut names: HashMap<PrincipalId, Option<(String, &'static str)>> = HashMap::new();
        let mut all = Vec::with_capacity(assignments.len());
        for assignment in assignments {
            let AppRoleAssignment { principal, resource, .. } = assignment;
            for id in [principal, resource] {
                if let Entry::Vacant(unknown) = names.entry(id) {
                    unknown.insert(self.name_of(authorization, id).await?);
                }
            }
            let name = |id| names.get(&id).cloned().flatten();
            all.push(Given { assignment, principal: name(principal), resource: name(resource).map(|(name, _)| name) });
        }
        Ok(all)
    }

    /// The name of a user, a group or a service principal, and its type; none when it is gone.
    async fn name_of(
        &self,
        authorization: &Authorization,
        id: PrincipalId,
    ) -> Result<Option<(String, &'static str)>, DirectoryError> {
        let (ctx, tenant, snapshot) = (authorization.ctx(), authorization.tenant(), self.store.snapshot());
        Ok(if snapshot.user(tenant, id).is_some() {
            self.store.record::<User>(ctx, &id).await?.map(|it| (it.display_name, "User"))
        } else if snapshot.is_group(tenant, id) {
            self.store.record::<Group>(ctx, &id).await?.map(|it| (it.display_name, "Group"))
        } else {
            let found = self.store.record::<ServicePrincipal>(ctx, &id).await?;
            found.map(|it| (it.display_name, "ServicePrincipal"))
        })
    }

    /// Grants scopes to a client. A client with scopes of a user acts by that user's roles, so nobody consents in the name of
    /// a user whose roles reach further.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`] the client, the user or the resource; [`DirectoryError::Invalid`];
    /// [`DirectoryError::Outranked`]; the store's.
    pub async fn grant_scopes(
        &self,
        authorization: &Authorization,
        (client, user, resource): (PrincipalId, Option<PrincipalId>, PrincipalId),
        scopes: &str,
    ) -> Result<PermissionGrant, DirectoryError> {
        self.check(authorization, actions::CREATE_GRANT)?;
        let (tenant, created) = (authorization.tenant(), authorization.now());
        let scopes = &read_scopes(scopes)?;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let snapshot = tx.snapshot();
                    for id in [client, resource] {
                        if snapshot.principal(tenant, id).is_none() {
                            return Err(DirectoryError::Missing(id.to_string()));
                        }
                    }
                    if let Some(user) = user {
                        if snapshot.user(tenant, user).is_none() {
                            return Err(DirectoryError::Missing(user.to_string()));
                        }
                        refuse_outranked(authorization, &snapshot, user)?;
                    }
                    let there = snapshot.grants_of(tenant, client);
                    if there.iter().any(|it| it.resource == resource && it.user == user) {
                        return Err(DirectoryError::Exists("clientId, principalId and resourceId"));
                    }
                    let (id, scopes) = (random::uuid_v4(), scopes.clone());
                    let grant = PermissionGrant { tenant, id, client, user, resource, scopes, created };
                    tx.insert(&grant).await?;
                    Ok(Write::commit(actions::CREATE_GRANT, id.to_string(), grant))
                })
            })
            .await
    }

    /// A grant.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; [`DirectoryError::Unrecorded`]; the store's.
    pub async fn grant(&self, authorization: &Authorization, id: Uuid) -> Result<PermissionGrant, DirectoryError> {
        self.check(authorization, actions::READ_GRANTS)?;
        let found = self.store.record::<PermissionGrant>(authorization.ctx(), &id).await?;
        let found = found.ok_or_else(|| DirectoryError::Missing(id.to_string()))?;
        self.record(authorization, actions::READ_GRANTS, id.to_string())?;
        Ok(found)
    }

    /// Puts other scopes into a grant; of a user's, as [`Self::grant_scopes`] has it.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; [`DirectoryError::Invalid`]; [`DirectoryError::Outranked`]; the store's.
    pub async fn change_scopes(
        &self,
        authorization: &Authorization,
        id: Uuid,
        scopes: &str,
    ) -> Result<(), DirectoryError> {
        self.check(authorization, actions::UPDATE_GRANT)?;
        let scopes = &read_scopes(scopes)?;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let grant = tx.record::<PermissionGrant>(&id).await?;
                    let grant = grant.ok_or_else(|| DirectoryError::Missing(id.to_string()))?;
                    if let Some(user) = grant.user {
                        refuse_outranked(authorization, &tx.snapshot(), user)?;
                    }
                    if grant.scopes == *scopes {
                        return Ok(Write::Unchanged(()));
                    }
                    tx.put(&PermissionGrant { scopes: scopes.clone(), ..grant }).await?;
                    Ok(Write::commit(actions::UPDATE_GRANT, id.to_string(), ()))
                })
            })
            .await
    }

    /// Removes a grant.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; the store's.
    pub async fn remove_grant(&self, authorization: &Authorization, id: Uuid) -> Result<(), DirectoryError> {
        self.check(authorization, actions::DELETE_GRANT)?;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    match tx.remove::<PermissionGrant>(&id).await? {
                        Some(_) => Ok(Write::commit(actions::DELETE_GRANT, id.to_string(), ())),
                        None => Err(DirectoryError::Missing(id.to_string())),
                    }
                })
            })
            .await
    }
}

fn read_scopes(text: &str) -> Result<Vec<String>, DirectoryError> {
    let mut scopes: Vec<String> = Vec::new();
    for scope in text.split_ascii_whitespace() {
        let is_one = scope.len() <= 120 && scope.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b));
        if !is_one || scopes.len() >= 200 {
            return Err(DirectoryError::Invalid(
                "Invalid value specified for property 'scope': it must be at most 200 names with spaces between them."
                    .to_owned(),
            ));
        }
        if !scopes.iter().any(|other| other == scope) {
            scopes.push(scope.to_owned());
        }
    }
    Ok(scopes)
}
