//! What principals may do at applications: app roles that they were given, and scopes that clients may use for users.
//!
//! Roles at resources of the resource manager are [`super::roles`]. What is here is decided by whoever reads the tokens: it
//! becomes their `roles` and `scp`.

use denizen_wire::{PrincipalId, TenantId, UnixTime};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An app role of a resource, given to a user, a group or a service principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRoleAssignment {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub id: Uuid,
    /// Who has it.
    pub principal: PrincipalId,
    /// The service principal of the application whose role it is.
    pub resource: PrincipalId,
    /// The role of that application; the nil id gives access without a role.
    pub role: Uuid,
    /// When it was given.
    pub created: UnixTime,
}

/// Scopes of a resource that a client may use in the name of one user, or of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionGrant {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub id: Uuid,
    /// The client's service principal.
    pub client: PrincipalId,
    /// Whose consent it is; none when an administrator has given it for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<PrincipalId>,
    /// The service principal of the application whose scopes they are.
    pub resource: PrincipalId,
    /// The scopes, as `scp` has them, without one twice.
    pub scopes: Vec<String>,
    /// When it was given.
    pub created: UnixTime,
}
