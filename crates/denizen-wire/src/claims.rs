//! The claims of an access token, in the version that Azure's own resources read (v1.0) and in v2.0.
//!
//! Which version a token has is the resource's choice, not the endpoint's.

use serde::{Deserialize, Serialize};

use crate::{ClientId, PrincipalId, ResourceId, TenantId, UnixTime};

/// Claims of an app-only access token. Field order is the order of the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// The resource, exactly as it was asked for.
    pub aud: String,
    /// v1: `{authority}/{tid}/`; v2: `{authority}/{tid}/v2.0`.
    pub iss: String,
    /// When it was issued.
    pub iat: UnixTime,
    /// Five minutes before `iat`, so that a resource whose clock runs late accepts it.
    pub nbf: UnixTime,
    /// When it ends.
    pub exp: UnixTime,
    /// The client, in v1 tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appid: Option<ClientId>,
    /// How the client proved itself, in v1 tokens: `0` public, `1` secret, `2` certificate or federation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appidacr: Option<String>,
    /// The client, in v2 tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azp: Option<ClientId>,
    /// How the client proved itself, in v2 tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azpacr: Option<String>,
    /// The identity provider, in v1 tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idp: Option<String>,
    /// `app`: there is no user behind this token.
    pub idtyp: String,
    /// The principal. Authorization reads this and nothing else.
    pub oid: PrincipalId,
    /// The same principal: app-only tokens have one subject.
    pub sub: PrincipalId,
    /// The tenant.
    pub tid: TenantId,
    /// Identifies this token, as `jti` would.
    pub uti: String,
    /// `1.0` or `2.0`.
    pub ver: String,
    /// The managed identity's resource id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xms_mirid: Option<ResourceId>,
    /// The revocation epoch of the principal when the token was issued: a resource that follows the directory
    /// refuses an older one.
    #[serde(default)]
    pub xms_epoch: u64,
}
