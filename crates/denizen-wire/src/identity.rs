//! What a managed-identity endpoint answers: Arc, IMDS and App Service.
//!
//! One token body satisfies all of them. Its numbers are *strings of decimal integers* (the Rust client refuses
//! JSON numbers), `expires_on` stands after `expires_in` (the .NET client lets the last one win), and every field
//! some client insists on is there.

use serde::{Deserialize, Serialize};

use crate::{ClientId, PrincipalId, ResourceId};

/// The Arc endpoint's path, and the IMDS one's.
pub const TOKEN_PATH: &str = "/metadata/identity/oauth2/token";
/// The path of the App Service endpoint.
pub const APP_SERVICE_PATH: &str = "/msi/token";
/// The api-versions the Arc endpoint takes, newest first, as its error text lists them.
pub const ARC_VERSIONS: &[&str] = &["2021-02-01", "2020-06-01", "2019-11-01", "2019-08-15"];
/// The api-version of the App Service dialect.
pub const APP_SERVICE_VERSION: &str = "2019-08-01";
/// Where every client looks for the Arc challenge's key, on Linux. It is written into them.
pub const ARC_KEY_DIRECTORY: &str = "/var/opt/azcmagent/tokens";
/// The largest key file a client reads, bytes.
pub const ARC_KEY_MAX: usize = 4096;
/// A file whose presence says that Microsoft's own agent is installed.
pub const AZCMAGENT_MARKER: &str = "/opt/azcmagent/bin/himds";

/// A token, as every managed-identity client can parse it. Field order is the order of the JSON.
#[derive(Clone, Serialize, Deserialize)]
pub struct Token {
    /// The JWT.
    pub access_token: String,
    /// The identity the token is for: clients that asked for one compare it, and refuse without it.
    pub client_id: ClientId,
    /// The same identity, by object id.
    pub object_id: PrincipalId,
    /// The same identity, by resource id.
    pub msi_res_id: ResourceId,
    /// Seconds the token still lives, in decimal.
    pub expires_in: String,
    /// When it ends: Unix seconds in decimal.
    pub expires_on: String,
    /// As `expires_in`.
    pub ext_expires_in: String,
    /// When it began: Unix seconds in decimal.
    pub not_before: String,
    /// The resource it is for, as it was asked for.
    pub resource: String,
    /// Always `Bearer`.
    pub token_type: String,
}

/// The error body of Arc and IMDS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// An OAuth error word.
    pub error: String,
    /// What was wrong, and what mends it.
    pub error_description: String,
    /// Arc's challenge carries `[401]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error_codes: Vec<u16>,
}

/// The error body of App Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppServiceError {
    /// The HTTP status again.
    pub status_code: u16,
    /// What was wrong, and what mends it.
    pub message: String,
    /// Names this answer in the agent's log.
    pub correlation_id: uuid::Uuid,
}
