//! What an access token says.
//!
//! Which version a token has is the choice of the resource that reads it: Azure's own read v1.0, an application says
//! which it reads. The names of resources are in [`audience`].
//!
//! Pure. Tests: below.

pub mod audience;

use denizen_keys::b64;
use denizen_wire::{ClientId, ResourceId, TenantId, UnixTime, claims::AccessToken};

use super::{
    directory::TokenVersion,
    hot::{NestedId, Principal},
};

/// A token is valid from this long before it is issued, seconds, so that a resource whose clock runs late accepts it.
pub const BACKDATED: i64 = 300;

/// The authority that Entra's v1.0 tokens name, which is not the one they are got from.
const ENTRA_V1: &str = "https://sts.windows.net";

/// How a client proved itself, as `appidacr` and `azpacr` say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthMethod {
    /// With a client secret.
    Secret,
    /// With a signature of a key it holds.
    Certificate,
}

impl ClientAuthMethod {
    fn acr(self) -> &'static str {
        match self {
            Self::Secret => "1",
            Self::Certificate => "2",
        }
    }
}

/// The resource a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    /// As it was asked for, a slash at the end included: resources compare it as text.
    pub asked: String,
    /// The application that it names, when it is one of the tenant's.
    pub application: Option<ClientId>,
    /// The version of tokens it reads.
    pub version: TokenVersion,
    /// Whom its tokens name as their issuer.
    pub issued_by: IssuedBy,
}

/// Whom a token names as its issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuedBy {
    /// Us, who sign it.
    Us,
    /// Entra, to please an emulator: see [`audience::EntraIssued`]. Believed by nothing of ours.
    Entra,
}

/// What is decided about a token before its claims are written.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    /// Our authority, without a trailing slash.
    pub authority: &'a str,
    /// The tenant that it is issued in.
    pub tenant: TenantId,
    /// Who gets it.
    pub principal: &'a Principal,
    /// How it proved itself.
    pub proof: ClientAuthMethod,
    /// What it is for.
    pub audience: &'a Audience,
    /// Now.
    pub now: UnixTime,
    /// Its life, seconds.
    pub lifetime: i64,
    /// Names this token: unpredictable, never used twice.
    pub uti: [u8; 16],
}

/// The issuer that this version of a tenant's tokens names.
pub fn issuer(authority: &str, tenant: TenantId, version: TokenVersion) -> String {
    match version {
        TokenVersion::V1 => format!("{authority}/{tenant}/"),
        TokenVersion::V2 => format!("{authority}/{tenant}/v2.0"),
    }
}

/// The claims of an app-only access token.
pub fn access_token(new: &NewToken<'_>) -> AccessToken {
    let Principal { id, client_id, resource_id, epoch, .. } = new.principal;
    let tenant = new.tenant;
    let version = new.audience.version;
    let iss = match new.audience.issued_by {
        IssuedBy::Us => issuer(new.authority, tenant, version),
        IssuedBy::Entra => issuer(ENTRA_V1, tenant, TokenVersion::V1),
    };
    let acr = Some(new.proof.acr().to_owned());
    let (v1, ver) = match version {
        TokenVersion::V1 => (true, "1.0"),
        TokenVersion::V2 => (false, "2.0"),
    };
    AccessToken {
        aud: match (version, new.audience.application) {
            // A v2.0 resource knows itself by its client id alone, whatever it was called when it was asked for.
            (TokenVersion::V2, Some(application)) => application.to_string(),
            (TokenVersion::V1, _) | (TokenVersion::V2, None) => new.audience.asked.clone(),
        },
        idp: v1.then(|| iss.clone()),
        iss,
        iat: new.now,
        nbf: new.now - BACKDATED,
        exp: new.now + new.lifetime,
        appid: v1.then_some(*client_id),
        appidacr: if v1 { acr.clone() } else { None },
        azp: (!v1).then_some(*client_id),
        azpacr: if v1 { None } else { acr },
        idtyp: "app".to_owned(),
        oid: *id,
        sub: *id,
        tid: tenant,
        uti: b64::url(&new.uti),
        ver: ver.to_owned(),
        xms_mirid: resource_id.as_ref().and_then(as_entra_writes),
        xms_epoch: *epoch,
    }
}

/// Entra writes `resourcegroups` in lower case inside tokens, and there are resources that compare the text.
fn as_entra_writes(id: &NestedId) -> Option<ResourceId> {
    // It was one when it was written, and letters have no say in that.
    id.to_string().replacen("/resourceGroups/", "/resourcegroups/", 1).parse().ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));

    fn principal(resource_id: Option<&str>) -> Principal {
        Principal {
            id: denizen_wire::PrincipalId(Uuid::from_u128(2)),
            client_id: ClientId(Uuid::from_u128(3)),
            resource_id: resource_id.map(|id| NestedId::from(&id.parse().unwrap())),
            enabled: true,
            epoch: 7,
            token_lifetime: None,
            keys: [].into_iter().collect(),
        }
    }

    fn json(principal: &Principal, proof: ClientAuthMethod, audience: &Audience) -> String {
        let new = NewToken {
            authority: "https://localhost:8443",
            tenant: TENANT,
            principal,
            proof,
            audience,
            now: UnixTime(1_795_239_900),
            lifetime: 3600,
            uti: [0xfb; 16],
        };
        serde_json::to_string_pretty(&access_token(&new)).unwrap()
    }

    #[test]
    fn a_machine_asks_for_an_azure_resource() {
        let machine = principal(Some(
            "/subscriptions/00000000-0000-0000-0000-000000000009/resourceGroups/RG-1/providers/Microsoft.HybridCompute/machines/Web01",
        ));
        let vault = Audience {
            asked: "https://vault.azure.net/".into(),
            application: None,
            version: TokenVersion::V1,
            issued_by: IssuedBy::Us,
        };
        insta::assert_snapshot!("machine_v1", json(&machine, ClientAuthMethod::Certificate, &vault));
    }

    #[test]
    fn an_emulator_is_told_of_entra_and_of_nothing_else_that_is_not_so() {
        let machine = principal(None);
        let storage = |issued_by| {
            let (asked, version) = ("https://storage.azure.com".into(), TokenVersion::V1);
            let claims =
                json(&machine, ClientAuthMethod::Secret, &Audience { asked, application: None, version, issued_by });
            serde_json::from_str::<AccessToken>(&claims).unwrap()
        };
        let issuer = format!("https://sts.windows.net/{TENANT}/");
        let expected = AccessToken { iss: issuer.clone(), idp: Some(issuer), ..storage(IssuedBy::Us) };
        assert_eq!(storage(IssuedBy::Entra), expected);
    }

    #[test]
    fn an_application_asks_for_an_application_that_reads_v2() {
        let api = Audience {
            asked: "api://orders".into(),
            application: Some(ClientId(Uuid::from_u128(4))),
            version: TokenVersion::V2,
            issued_by: IssuedBy::Us,
        };
        insta::assert_snapshot!("application_v2", json(&principal(None), ClientAuthMethod::Secret, &api));
    }

    #[test]
    fn issuers_differ_by_version_and_end_as_resources_expect() {
        let tenant = TenantId(Uuid::nil());
        assert_eq!(issuer("https://h:1", tenant, TokenVersion::V1), format!("https://h:1/{tenant}/"));
        assert_eq!(issuer("https://h:1", tenant, TokenVersion::V2), format!("https://h:1/{tenant}/v2.0"));
    }
}
