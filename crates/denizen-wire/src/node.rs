//! Enrolment: how an agent joins. After it, agent and token service speak nothing but OAuth.
//!
//! The agent makes a key, wraps it in a self-signed certificate (the form in which a directory keeps a key
//! credential), and proves that it holds the key by signing the request: [`EnrolClaims`] in a compact JWS.

use serde::{Deserialize, Serialize};

use crate::{ClientId, PrincipalId, ResourceId, TenantId};

/// Where an agent enrols.
pub const ENROL_PATH: &str = "/node/v1/enrol";
/// The largest enrolment request that is read.
pub const MAX_ENROL_REQUEST: usize = 64 * 1024;
/// A proof of possession is fresh for this long, seconds.
pub const PROOF_LIFETIME: i64 = 300;

/// `POST /node/v1/enrol`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EnrolRequest {
    /// The single-use join token.
    pub join_token: String,
    /// The machine's name: its resource will be called so. `^[a-zA-Z0-9-_.]{1,54}$`.
    pub machine_name: String,
    /// The node key's self-signed certificate: standard base64 of its DER.
    pub certificate: String,
    /// [`EnrolClaims`], signed with the node key: RS256, compact.
    pub proof: String,
    /// Facts about the machine, for `/metadata/instance` and for the portal.
    pub machine: MachineFacts,
}

/// What the proof of possession says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolClaims {
    /// The enrolment URL: a proof made for one server is worth nothing at another.
    pub aud: String,
    /// Lower-case hex SHA-256 of the join token: binds the key to this use of it.
    pub join: String,
    /// The machine's name again.
    pub name: String,
    /// Unix seconds.
    pub iat: i64,
    /// Unix seconds; at most [`PROOF_LIFETIME`] after `iat`.
    pub exp: i64,
}

/// What the agent knows of its machine. Never trusted for a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MachineFacts {
    /// `linux` or `windows`.
    pub os_type: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub os_name: String,
    /// The kernel's version.
    pub os_version: String,
    /// The fully qualified host name.
    pub fqdn: String,
    /// The agent's version.
    pub agent_version: String,
}

/// What enrolment gave: all an agent needs to be an ordinary OAuth client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrolled {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The machine's resource id.
    pub resource_id: ResourceId,
    /// The machine's system-assigned identity, by client id.
    pub client_id: ClientId,
    /// The same, by object id.
    pub principal_id: PrincipalId,
    /// Where to ask for tokens: the v2 endpoint.
    pub token_endpoint: String,
    /// The machine's own id, as `vmId`.
    pub machine_id: uuid::Uuid,
    /// The location its resource was given.
    pub location: String,
}

/// The error body of this endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// What was refused.
    pub error: RefusedReason,
}

/// Why, and what mends it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusedReason {
    /// A stable word: `JoinTokenRefused`, `ProofRefused`, `BadRequest`, `MachineExists`.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
}
