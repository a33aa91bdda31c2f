//! What an access token says.
//!
//! Which version a token has is the choice of the resource that reads it: Azure's own read v1.0, an application says
//! which it reads. The names of resources are in [`audience`].
//!
//! Pure. Tests: below.

pub mod audience;

use denizen_keys::{b64, hash::sha256_of};
use denizen_wire::{
    ClientId, PrincipalId, ResourceId, TenantId, UnixTime,
    claims::{AccessToken, ClaimNames, ClaimSource, ClaimSources, IdToken, UserClaims},
};
use uuid::Uuid;

use super::{
    directory::{SigningAlgorithm, TokenVersion},
    hot::{NestedId, Principal},
    people::User,
    sign_in::SignIn,
};

/// A token is valid from this long before it is issued, seconds, so that a resource whose clock runs late accepts it.
pub const BACKDATED: i64 = 300;

/// The authority that Entra's v1.0 tokens name, which is not the one they are got from.
const ENTRA_V1: &str = "https://sts.windows.net";

/// How a client proved itself, as `appidacr` and `azpacr` say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthMethod {
    /// Not at all: whoever knows its id can speak as it.
    Public,
    /// With a client secret.
    Secret,
    /// With a signature of a key it holds.
    Certificate,
    /// With a token of another issuer.
    Federated,
}

impl ClientAuthMethod {
    fn acr(self) -> &'static str {
        match self {
            Self::Public => "0",
            Self::Secret => "1",
            Self::Certificate | Self::Federated => "2",
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
    /// What its tokens are signed by.
    pub algorithm: SigningAlgorithm,
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

/// Who a token is about.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A client by itself.
    App(&'a Principal),
    /// A user, for whom a client acts.
    User {
        /// The user.
        user: &'a User,
        /// How it has signed in.
        sign_in: &'a SignIn,
        /// The client.
        client: ClientId,
        /// What the client may do, by spaces.
        scp: &'a str,
        /// The user's directory roles.
        directory_roles: &'a [Uuid],
    },
}

/// The groups that a token names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Groups {
    /// None: the resource asks for none, or there is none.
    #[default]
    None,
    /// These.
    These(Vec<PrincipalId>),
    /// There are more than a token can name; where to ask for them.
    AskAt(String),
}

impl Groups {
    /// The three claims that say them.
    fn claims(&self) -> (Vec<PrincipalId>, Option<ClaimNames>, Option<ClaimSources>) {
        match self {
            Self::None => (Vec::new(), None, None),
            Self::These(groups) => (groups.clone(), None, None),
            Self::AskAt(endpoint) => {
                let source = ClaimSource { endpoint: endpoint.clone() };
                (Vec::new(), Some(ClaimNames { groups: "src1".to_owned() }), Some(ClaimSources { src1: source }))
            }
        }
    }
}

/// The most groups that an access token names, as Entra's.
pub const MOST_GROUPS: usize = 200;

/// What is decided about a token before its claims are written.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    /// Our authority, without a trailing slash.
    pub authority: &'a str,
    /// The tenant that it is issued in.
    pub tenant: TenantId,
    /// Who it is about.
    pub subject: Subject<'a>,
    /// How the client proved itself.
    pub proof: ClientAuthMethod,
    /// What it is for.
    pub audience: &'a Audience,
    /// The app roles of the subject at the resource.
    pub roles: Vec<String>,
    /// The groups of the subject.
    pub groups: Groups,
    /// Whether the client handles claims challenges.
    pub handles_challenges: bool,
    /// Now.
    pub now: UnixTime,
    /// When it begins.
    pub not_before: UnixTime,
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

/// The claims of an access token.
pub fn access_token(new: &NewToken<'_>) -> AccessToken {
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
    let (client, idtyp, oid, epoch) = match new.subject {
        Subject::App(principal) => (principal.client_id, "app", principal.id, principal.epoch),
        // The sign-in's: what is revoked between it and now ends this token too.
        Subject::User { user, sign_in, client, .. } => (client, "user", user.id, sign_in.epoch),
    };
    let (groups, claim_names, claim_sources) = new.groups.claims();
    let base = AccessToken {
        aud: match (version, new.audience.application) {
            // A v2.0 resource knows itself by its client id alone, whatever it was called when it was asked for.
            (TokenVersion::V2, Some(application)) => application.to_string(),
            (TokenVersion::V1, _) | (TokenVersion::V2, None) => new.audience.asked.clone(),
        },
        idp: v1.then(|| iss.clone()),
        iss,
        iat: new.now,
        nbf: new.not_before,
        exp: new.now + new.lifetime,
        appid: v1.then_some(client),
        appidacr: if v1 { acr.clone() } else { None },
        azp: (!v1).then_some(client),
        azpacr: if v1 { None } else { acr },
        idtyp: idtyp.to_owned(),
        oid,
        sub: oid.to_string(),
        tid: tenant,
        uti: b64::url(&new.uti),
        ver: ver.to_owned(),
        xms_mirid: None,
        xms_az_rid: None,
        roles: new.roles.clone(),
        groups,
        claim_names,
        claim_sources,
        scp: None,
        wids: Vec::new(),
        user: UserClaims::default(),
        amr: Vec::new(),
        xms_amr: Vec::new(),
        auth_time: None,
        sid: None,
        xms_cc: if new.handles_challenges { vec!["cp1".to_owned()] } else { Vec::new() },
        xms_epoch: epoch,
    };
    match new.subject {
        Subject::App(principal) => {
            AccessToken { xms_mirid: principal.resource_id.as_ref().and_then(as_entra_writes), ..base }
        }
        Subject::User { user, sign_in, scp, directory_roles, .. } => AccessToken {
            // One name for a reader, however it was spelt when it was asked for: an application's id token has it too.
            sub: match new.audience.application {
                Some(application) => pairwise(tenant, user.id, &application.to_string()),
                None => pairwise(tenant, user.id, &audience::canonical(&new.audience.asked)),
            },
            scp: Some(scp.to_owned()),
            wids: directory_roles.to_vec(),
            user: if v1 { of_v1(user) } else { of_v2(user) },
            amr: if v1 { sign_in.methods.clone() } else { Vec::new() },
            xms_amr: if v1 { Vec::new() } else { sign_in.methods.clone() },
            auth_time: Some(sign_in.at),
            sid: Some(sign_in.session),
            ..base
        },
    }
}

/// What is decided about an id token before its claims are written.
#[derive(Clone, Debug)]
pub struct NewIdToken<'a> {
    /// Our authority, without a trailing slash.
    pub authority: &'a str,
    /// The version of the endpoint that it is got from.
    pub version: TokenVersion,
    /// The client.
    pub client: ClientId,
    /// The user.
    pub user: &'a User,
    /// How it has signed in.
    pub sign_in: &'a SignIn,
    /// What the client sent with its request.
    pub nonce: Option<String>,
    /// Whether the user's mail address was asked for.
    pub email: bool,
    /// The app roles of the user at the client.
    pub roles: Vec<String>,
    /// The groups of the user, where the client asks for them.
    pub groups: Groups,
    /// Now.
    pub now: UnixTime,
    /// Names this token.
    pub uti: [u8; 16],
}

/// An id token is read at once: it lives this long, seconds.
const ID_TOKEN: i64 = 3600;

/// The claims of an id token.
pub fn id_token(new: &NewIdToken<'_>) -> IdToken {
    let (user, v1) = (new.user, new.version == TokenVersion::V1);
    let said = if v1 { of_v1(user) } else { of_v2(user) };
    let (groups, claim_names, claim_sources) = new.groups.claims();
    IdToken {
        aud: new.client,
        iss: issuer(new.authority, user.tenant, new.version),
        iat: new.now,
        nbf: new.now - BACKDATED,
        exp: new.now + ID_TOKEN,
        amr: if v1 { new.sign_in.methods.clone() } else { Vec::new() },
        auth_time: Some(new.sign_in.at),
        user: UserClaims { email: user.mail.clone().filter(|_| new.email), ..said },
        nonce: new.nonce.clone(),
        oid: user.id,
        roles: new.roles.clone(),
        groups,
        claim_names,
        claim_sources,
        sid: new.sign_in.session,
        sub: pairwise(user.tenant, user.id, &new.client.to_string()),
        tid: user.tenant,
        uti: b64::url(&new.uti),
        ver: if v1 { "1.0" } else { "2.0" }.to_owned(),
    }
}

/// The name of a user towards one reader: two who compare theirs learn nothing (OpenID Connect Core 1.0, section 8.1).
fn pairwise(tenant: TenantId, user: PrincipalId, reader: &str) -> String {
    b64::url(&sha256_of(&[b"sub", tenant.0.as_bytes(), user.0.as_bytes(), reader.as_bytes()]))
}

fn of_v1(user: &User) -> UserClaims {
    UserClaims {
        name: Some(user.display_name.clone()),
        given_name: user.given_name.clone(),
        family_name: user.surname.clone(),
        unique_name: Some(user.name.clone()),
        upn: Some(user.name.clone()),
        preferred_username: None,
        email: None,
    }
}

fn of_v2(user: &User) -> UserClaims {
    let (name, preferred_username) = (Some(user.display_name.clone()), Some(user.name.clone()));
    UserClaims { name, preferred_username, ..UserClaims::default() }
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
            subject: Subject::App(principal),
            proof,
            audience,
            roles: Vec::new(),
            groups: Groups::None,
            handles_challenges: false,
            now: UnixTime(1_795_239_900),
            not_before: UnixTime(1_795_239_900) - BACKDATED,
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
            algorithm: SigningAlgorithm::Rs256,
            issued_by: IssuedBy::Us,
        };
        insta::assert_snapshot!("machine_v1", json(&machine, ClientAuthMethod::Certificate, &vault));
    }

    #[test]
    fn an_emulator_is_told_of_entra_and_of_nothing_else_that_is_not_so() {
        let machine = principal(None);
        let storage = |issued_by| {
            let (asked, version) = ("https://storage.azure.com".into(), TokenVersion::V1);
            let algorithm = SigningAlgorithm::Rs256;
            let claims = json(
                &machine,
                ClientAuthMethod::Secret,
                &Audience { asked, application: None, version, algorithm, issued_by },
            );
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
            algorithm: SigningAlgorithm::Rs256,
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
