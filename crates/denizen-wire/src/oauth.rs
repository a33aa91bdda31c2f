//! OAuth 2.0 and OpenID Connect, as Microsoft Entra ID's clients speak them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{PrincipalId, TenantId, UnixTime};

/// The only client assertion type there is.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The largest token request body that is read. Assertions with a certificate chain stay well under it.
pub const MAX_TOKEN_REQUEST: usize = 64 * 1024;

/// The answer of the v2 endpoint. Numbers are integers: the Rust client refuses strings here.
/// Has no `Debug`: it holds a token.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenV2 {
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds the token still lives.
    pub expires_in: i64,
    /// The same; Entra sends it, and some clients read it.
    pub ext_expires_in: i64,
    /// When to ask again, in seconds: half of a long life. Absent for short ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_in: Option<i64>,
    /// The JWT.
    pub access_token: String,
    /// What comes with a user's.
    #[serde(flatten)]
    pub user: ForUser,
}

/// What comes with the access token of a user. Has no `Debug`: it holds tokens.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct ForUser {
    /// What was granted, by spaces. Clients look tokens up by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The id token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// base64url of [`ClientInfo`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_info: Option<String>,
}

/// Who has signed in, as client libraries key their caches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientInfo {
    /// The user's object id.
    pub uid: PrincipalId,
    /// Its tenant.
    pub utid: TenantId,
}

/// The answer of the device authorization endpoint (RFC 8628, section 3.2). Has no `Debug`: it holds a secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct DeviceAuthorization {
    /// What a person types.
    pub user_code: String,
    /// What the device polls with.
    pub device_code: String,
    /// Where the person types it.
    pub verification_uri: String,
    /// How long both are good, seconds.
    pub expires_in: i64,
    /// How long to wait between two polls, seconds.
    pub interval: i64,
    /// The same for people.
    pub message: String,
}

/// The answer of `userrealm`: how a user signs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserRealm {
    /// `1.0`.
    pub ver: String,
    /// Always `Managed`: here, and not at another provider.
    pub account_type: String,
    /// What follows the `@` of the user's name.
    pub domain_name: String,
    /// This authority.
    pub cloud_instance_name: String,
    /// `urn:federation:MicrosoftOnline`.
    pub cloud_audience_urn: String,
}

/// The answer of the v1 endpoint: numbers are strings, and the absolute times and the resource come along.
/// Has no `Debug`: it holds a token.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenV1 {
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds the token still lives, in decimal.
    pub expires_in: String,
    /// The same.
    pub ext_expires_in: String,
    /// When it ends, Unix seconds in decimal.
    pub expires_on: String,
    /// When it began, Unix seconds in decimal.
    pub not_before: String,
    /// The resource it is for.
    pub resource: String,
    /// The JWT.
    pub access_token: String,
    /// What comes with a user's.
    #[serde(flatten)]
    pub user: ForUser,
}

/// The error body of the token endpoint. `error_codes` are integers: the Rust client decodes them so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Error {
    /// The OAuth error, `invalid_client` for one.
    pub error: String,
    /// `AADSTSn: reason`, then the trace fields, as people and clients search for them.
    pub error_description: String,
    /// The AADSTS number.
    pub error_codes: Vec<i32>,
    /// When, in Entra's own format.
    pub timestamp: String,
    /// Names this answer in the server's log.
    pub trace_id: Uuid,
    /// The client's request id, when it sent one.
    pub correlation_id: Uuid,
    /// What clients choose by what to ask of the user: `consent_required` for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suberror: Option<String>,
    /// Where the number is explained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_uri: Option<String>,
}

impl Error {
    /// Composes the body as Entra does: the description carries the trace fields too, since most clients show
    /// nothing but it.
    pub fn new(error: &str, code: i32, reason: &str, trace_id: Uuid, correlation_id: Uuid, now: UnixTime) -> Self {
        Self {
            error: error.to_owned(),
            error_description: format!(
                "AADSTS{code}: {reason} Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {}",
                now.entra()
            ),
            error_codes: vec![code],
            timestamp: now.entra(),
            trace_id,
            correlation_id,
            suberror: None,
            error_uri: None,
        }
    }
}

/// An OpenID Provider's metadata, with the members Entra publishes that clients read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are OpenID Connect Discovery 1.0's own, section 3")]
pub struct Discovery {
    pub token_endpoint: String,
    pub token_endpoint_auth_methods_supported: Vec<String>,
    pub jwks_uri: String,
    pub response_modes_supported: Vec<String>,
    pub subject_types_supported: Vec<String>,
    pub id_token_signing_alg_values_supported: Vec<String>,
    pub response_types_supported: Vec<String>,
    pub scopes_supported: Vec<String>,
    pub issuer: String,
    pub request_uri_parameter_supported: bool,
    pub authorization_response_iss_parameter_supported: bool,
    pub code_challenge_methods_supported: Vec<String>,
    pub authorization_endpoint: String,
    pub device_authorization_endpoint: String,
    pub end_session_endpoint: String,
    pub http_logout_supported: bool,
    pub frontchannel_logout_supported: bool,
    pub claims_supported: Vec<String>,
    pub tenant_region_scope: Option<String>,
    pub cloud_instance_name: String,
    pub cloud_graph_host_name: String,
    pub msgraph_host: String,
}

/// The answer of `/common/discovery/instance`: which hosts speak for this authority.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceDiscovery {
    /// Where the tenant's metadata is.
    pub tenant_discovery_endpoint: String,
    /// `1.1`.
    #[serde(rename = "api-version")]
    pub api_version: String,
    /// One entry for each cloud; ours is the only one.
    pub metadata: Vec<InstanceMetadata>,
}

/// The names one cloud goes by.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceMetadata {
    /// The host to connect to.
    pub preferred_network: String,
    /// The host to key caches with.
    pub preferred_cache: String,
    /// Every host that is this one.
    pub aliases: Vec<String>,
}
