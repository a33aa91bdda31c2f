//! What the resource manager keeps: subscriptions, resource groups, machines, vaults, and the join tokens by which
//! machines come in.

use denizen_wire::{PrincipalId, ResourceId, SubscriptionId, TenantId, UnixTime, node::MachineFacts};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub id: SubscriptionId,
    /// For people.
    pub display_name: String,
    /// When it was made.
    pub created: UnixTime,
}

/// A resource group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceGroup {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub id: ResourceId,
    /// A word; nothing is decided by it.
    pub location: String,
    /// When it was made.
    pub created: UnixTime,
}

/// A machine outside Azure: `Microsoft.HybridCompute/machines`. No decision needs one, so the snapshot has none: it is
/// read by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub id: ResourceId,
    /// Its own id, `vmId`.
    pub machine_id: Uuid,
    /// Its system-assigned identity.
    pub principal_id: PrincipalId,
    /// A word; nothing is decided by it.
    pub location: String,
    /// What its agent said of it. Never trusted for a decision.
    pub facts: MachineFacts,
    /// When it was enrolled.
    pub created: UnixTime,
}

/// A vault: `Microsoft.KeyVault/vaults`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vault {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its id.
    pub id: ResourceId,
    /// The first label of its host name; unique across tenants. Lower case.
    pub name: String,
    /// A word; nothing is decided by it.
    pub location: String,
    /// The vault's key under the key-encryption key, standard base64.
    pub sealed_key: String,
    /// Days a deleted secret can be recovered: 7 to 90.
    pub retention_days: u32,
    /// When it was made.
    pub created: UnixTime,
}

/// The right to enrol one machine, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Names it in the audit.
    pub id: Uuid,
    /// Its tenant.
    pub tenant: TenantId,
    /// SHA-256 of the token, lower-case hexadecimal: the token itself is kept nowhere.
    pub hash: String,
    /// Where the machine goes.
    pub resource_group: ResourceId,
    /// The only name it may take, when the token is bound to one.
    pub machine_name: Option<String>,
    /// When it was made.
    pub created: UnixTime,
    /// It is worth nothing from then on.
    pub expires: UnixTime,
}
