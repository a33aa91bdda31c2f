//! The claims of an access token, in the version that Azure's own resources read (v1.0) and in v2.0, and of an id token.
//!
//! Which version an access token has is the resource's choice, not the endpoint's.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{ClientId, PrincipalId, ResourceId, TenantId, UnixTime};

/// Claims of an access token, of a client by itself or for a user. Field order is the order of the JSON.
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
    /// `app`: there is no user behind this token. `user`: there is.
    pub idtyp: String,
    /// The principal: a client's or a user. Authorization reads this and nothing else.
    pub oid: PrincipalId,
    /// Of an app-only token the same principal; of a user's, another for each resource.
    pub sub: String,
    /// The tenant.
    pub tid: TenantId,
    /// Identifies this token, as `jti` would.
    pub uti: String,
    /// `1.0` or `2.0`.
    pub ver: String,
    /// The managed identity's resource id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xms_mirid: Option<ResourceId>,
    /// The resource id of the machine, where the identity is one that was assigned to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xms_az_rid: Option<ResourceId>,
    /// The app roles that the principal, or a group it is in, has at the resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The groups that the principal is in, where the resource asks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<PrincipalId>,
    /// Where the groups are to be asked for, when there are too many: the name of a source.
    #[serde(rename = "_claim_names", default, skip_serializing_if = "Option::is_none")]
    pub claim_names: Option<ClaimNames>,
    /// What that name stands for.
    #[serde(rename = "_claim_sources", default, skip_serializing_if = "Option::is_none")]
    pub claim_sources: Option<ClaimSources>,
    /// What the client may do for the user, by spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scp: Option<String>,
    /// The user's directory roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wids: Vec<Uuid>,
    /// The user.
    #[serde(flatten)]
    pub user: UserClaims,
    /// How the user has signed in, in a token of version 1.0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// The same in one of version 2.0, where Entra says nothing: what is got on behalf of the user says it again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xms_amr: Vec<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<UnixTime>,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<Uuid>,
    /// What the client can do: `cp1`, it handles a claims challenge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xms_cc: Vec<String>,
    /// The revocation epoch of the principal when the token was issued: a resource that follows the directory
    /// refuses an older one.
    #[serde(default)]
    pub xms_epoch: u64,
}

impl AccessToken {
    /// How the user has signed in, whatever the token's version is.
    pub fn methods(&self) -> &[String] {
        if self.amr.is_empty() { &self.xms_amr } else { &self.amr }
    }
}

/// What a token says of a user, for people. Nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserClaims {
    /// The display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The first name, in v1 tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    /// The family name, in v1 tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family_name: Option<String>,
    /// The user's name, in v1 tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_name: Option<String>,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upn: Option<String>,
    /// The same, in v2 tokens and id tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
    /// Where mail reaches the user, when `email` was asked for. Nobody has proved that it is the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// `_claim_names`: which claims are to be asked for elsewhere (OpenID Connect Core 1.0, section 5.6.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimNames {
    /// The source of the groups.
    pub groups: String,
}

/// `_claim_sources`: where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimSources {
    /// The one source there is.
    pub src1: ClaimSource,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimSource {
    /// Where it is asked.
    pub endpoint: String,
}

/// Claims of an id token. Field order is the order of the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdToken {
    /// The client.
    pub aud: ClientId,
    /// As the version of the endpoint has it.
    pub iss: String,
    /// When it was issued.
    pub iat: UnixTime,
    /// When it begins.
    pub nbf: UnixTime,
    /// When it ends.
    pub exp: UnixTime,
    /// How the user has signed in, in v1 tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<UnixTime>,
    /// The user.
    #[serde(flatten)]
    pub user: UserClaims,
    /// What the client sent with its request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The user's object id.
    pub oid: PrincipalId,
    /// The app roles that the user has at the client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The groups that the user is in, where the client asks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<PrincipalId>,
    /// That there are more groups than a token names.
    #[serde(rename = "_claim_names", default, skip_serializing_if = "Option::is_none")]
    pub claim_names: Option<ClaimNames>,
    /// Where to ask for them.
    #[serde(rename = "_claim_sources", default, skip_serializing_if = "Option::is_none")]
    pub claim_sources: Option<ClaimSources>,
    /// The session.
    pub sid: Uuid,
    /// The user, by another name for each client.
    pub sub: String,
    /// The tenant.
    pub tid: TenantId,
    /// Identifies this token.
    pub uti: String,
    /// `1.0` or `2.0`.
    pub ver: String,
}
