//! The roles and groups that a token says, of a principal and of the groups it is in.
//!
//! Reads the snapshot. Tests: `http/sts/tests/`, through the API.

use denizen_wire::{ClientId, PrincipalId, TenantId};
use uuid::Uuid;

use crate::{
    app::access::TenantRoles,
    domain::{
        claims::{Audience, Groups, MOST_GROUPS},
        directory::GroupClaims,
        roles::BuiltInRoles,
    },
    store::Snapshot,
};

/// App roles at a resource.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Roles {
    /// As the token says them, each once, in the resource's order.
    pub(super) values: Vec<String>,
    /// Whether the resource lets the principal in: it does not ask for an assignment, or there is one.
    pub(super) is_let_in: bool,
}

/// The app roles of a principal at a resource. A resource that is no application of the tenant has none.
pub(super) fn roles(snapshot: &Snapshot, tenant: TenantId, principal: PrincipalId, at: &Audience) -> Roles {
    let no_roles = Roles { values: Vec::new(), is_let_in: true };
    let Some(application) = at.application.and_then(|id| snapshot.application(tenant, id)) else { return no_roles };
    if application.app_roles.is_empty() && !application.assignment_required {
        return no_roles;
    }
    let Some(resource) = snapshot.principal_of_client(tenant, application.client_id) else {
        return Roles { values: Vec::new(), is_let_in: !application.assignment_required };
    };
    let groups = snapshot.groups_of(tenant, principal);
    let given: Vec<Uuid> = std::iter::once(&principal)
        .chain(&groups)
        .flat_map(|who| snapshot.app_roles_of(tenant, *who))
        .filter(|given| given.resource == resource.id)
        .map(|given| given.role)
        .collect();
    let of_role = application.app_roles.iter().filter(|role| role.enabled && given.contains(&role.id));
    let values = of_role.map(|role| role.value.clone()).collect();
    Roles { values, is_let_in: !application.assignment_required || !given.is_empty() }
}

/// The groups of a principal that the tokens for an application name, if it asks for them.
pub(super) fn groups(
    snapshot: &Snapshot,
    tenant: TenantId,
    principal: PrincipalId,
    application: Option<ClientId>,
    authority: &str,
) -> Groups {
    let application = application.and_then(|id| snapshot.application(tenant, id));
    if application.is_none_or(|application| application.group_claims == GroupClaims::None) {
        return Groups::None;
    }
    let groups = snapshot.groups_of(tenant, principal);
    match groups.len() {
        0 => Groups::None,
        count if count <= MOST_GROUPS => Groups::These(groups),
        _ => Groups::AskAt(format!("{authority}/v1.0/directoryObjects/{principal}/getMemberObjects")),
    }
}

/// The directory roles of a user, by the ids of their definitions.
pub(super) fn directory_roles(
    snapshot: &Snapshot,
    roles: &BuiltInRoles,
    tenant: TenantId,
    user: PrincipalId,
) -> Vec<Uuid> {
    TenantRoles { snapshot, tenant, roles }.of_directory(user)
}
