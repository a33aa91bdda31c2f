//! Enrolment: how an agent joins. After it, agent and token service speak nothing but OAuth.
//!
//! The agent makes a key, wraps it in a self-signed certificate (the form in which a directory keeps a key
//! credential), and proves that it holds the key by signing the request: [`EnrolClaims`] in a compact JWS.
//!
//! Agents and servers two minor versions apart understand each other: each ignores members it does not know, a new
//! member is optional, and none changes its meaning. `exchanges/` has recorded exchanges of an older and of a newer
//! version; the tests hold both directions to them. Tests: `node/tests.rs`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ClientId, PrincipalId, ResourceId, TenantId};

#[cfg(test)]
mod tests;

/// Where an agent enrols.
pub const ENROL_PATH: &str = "/node/v1/enrol";
/// The largest enrolment request that is read.
pub const MAX_ENROL_REQUEST: usize = 64 * 1024;
/// A proof of possession is fresh for this long, seconds.
pub const PROOF_LIFETIME: i64 = 300;

/// A machine's name: 1 to 54 letters, digits, `-`, `_` and `.`, and not dots alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineName(String);

/// A text that breaks the rule for machines' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a machine's name has 1 to 54 letters, digits, '-', '_' and '.', and is not of dots alone")]
pub struct InvalidMachineName;

impl MachineName {
    /// The longest name, bytes.
    pub const MAX_LENGTH: usize = 54;

    /// A name made of what `text` (a host name, say) has of allowed characters. None when nothing usable is left.
    pub fn sanitized(text: &str) -> Option<Self> {
        let allowed: String =
            text.chars().filter(|c| u8::try_from(*c).is_ok_and(is_allowed)).take(Self::MAX_LENGTH).collect();
        allowed.parse().ok()
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

impl FromStr for MachineName {
    type Err = InvalidMachineName;

    fn from_str(name: &str) -> Result<Self, InvalidMachineName> {
        let fits = (1..=Self::MAX_LENGTH).contains(&name.len())
            && name.bytes().all(is_allowed)
            // They would be dot segments in the resource's path.
            && !name.bytes().all(|b| b == b'.');
        if fits { Ok(Self(name.to_owned())) } else { Err(InvalidMachineName) }
    }
}

impl TryFrom<String> for MachineName {
    type Error = InvalidMachineName;

    fn try_from(name: String) -> Result<Self, InvalidMachineName> {
        name.parse()
    }
}

impl From<MachineName> for String {
    fn from(name: MachineName) -> Self {
        name.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `POST /node/v1/enrol`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrolRequest {
    /// The single-use join token.
    pub join_token: String,
    /// The machine's name, a [`MachineName`]: its resource will be called so.
    pub machine_name: String,
    /// The node key's self-signed certificate: standard base64 of its DER.
    pub certificate: String,
    /// [`EnrolClaims`], signed with the node key: RS256, compact.
    pub proof: String,
    /// Facts about the machine, for `/metadata/instance` and for the portal.
    #[serde(default)]
    pub machine: MachineFacts,
}

/// What the proof of possession says.
#[derive(Debug, Serialize, Deserialize)]
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

/// The result of enrolment: all an agent needs to be an ordinary OAuth client.
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
    /// What another version of the server answers beside these: the agent keeps it.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// The error body of this endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// What was refused.
    pub error: RefusedReason,
}

/// Why, with a hint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusedReason {
    /// A stable word: `JoinTokenRefused`, `ProofRefused`, `BadRequest`, `MachineExists`.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
}
