//! Issuing access tokens.
//!
//! One snapshot decides a request from beginning to end, and no store is read on the way: what was true at one
//! revision is what the token says, and tokens go on being issued while the database is down. Nothing is issued that
//! cannot be recorded: the audit queue is asked before the token is handed out, and a full queue is a refusal.
//!
//! The order is: form, then credential, then state and resource. Nothing about a tenant's resources is told to who
//! has not proved to be its client, and nothing costly is done before what is cheap has passed.
//!
//! The signature is computed on the runtime's own thread: it is a fifth of a millisecond of pure computation, the
//! processors are what limits this service, and another thread would only add two wake-ups to each token.
//!
//! Tests: `tests.rs` beside `http/sts.rs`, through the wire.

use std::sync::Arc;

use denizen_keys::{SecretString, random};
use denizen_wire::{ClientId, UnixTime};

use super::{
    credentials::{Client, CredentialError, Credentials, Proved},
    signing::{KeyRing, SigningError},
};
use crate::{
    domain::{
        Actor, Ctx,
        assertion::excerpt,
        claims::{
            self, Audience, Grant, IssuedBy,
            audience::{self, EntraIssued, ScopeFault},
        },
        directory::{ServicePrincipal, Tenant, TokenVersion},
        lifetimes,
    },
    store::{AuditEvent, Outcome, Snapshot, Store, StoreError},
};

/// What issuing is audited as.
const ISSUE: &str = "Denizen.Directory/accessTokens/issue";
/// The grant that is served.
const CLIENT_CREDENTIALS: &str = "client_credentials";

/// Issues tokens.
#[derive(Clone)]
pub struct TokenService {
    store: Store,
    keys: KeyRing,
    credentials: Arc<Credentials>,
    authority: Arc<str>,
    /// Every name an assertion may give this authority.
    authorities: Arc<[String]>,
    extra_resources: Arc<[String]>,
    entra_issued: Arc<EntraIssued>,
}

/// Which endpoint was asked: they differ in parameters and in the form of the answer, not in the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `oauth2/token`: `resource=`.
    V1,
    /// `oauth2/v2.0/token`: `scope=`.
    V2,
}

/// A token request, as the form said it.
#[derive(Default)]
pub struct TokenRequest {
    /// `grant_type`.
    pub grant_type: Option<String>,
    /// `client_id`, of the form or of the `Authorization` header.
    pub client_id: Option<String>,
    /// What the client proves itself with.
    pub credential: Option<Credential>,
    /// `scope`.
    pub scope: Option<String>,
    /// `resource`.
    pub resource: Option<String>,
}

/// What a client proves itself with.
pub enum Credential {
    /// A client secret.
    Secret(SecretString),
    /// A signed assertion.
    Assertion(String),
}

/// A token, and what the answer says about it.
pub struct Issued {
    /// The JWT.
    pub token: String,
    /// Its life from now on, seconds.
    pub expires_in: i64,
    /// When it ends.
    pub expires_on: UnixTime,
    /// When it begins.
    pub not_before: UnixTime,
    /// When to ask again, seconds from now, when its life is long.
    pub refresh_in: Option<i64>,
    /// The resource, as it was asked for.
    pub resource: String,
}

/// Why no token is issued. The texts begin as Entra's do, since people search for them, and end with what would mend
/// it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The body is not a form that can be read.
    #[error("The request body {0}.")]
    Form(&'static str),
    /// A parameter is there more than once.
    #[error("The request body repeats the parameter '{0}'. Send it once.")]
    Repeated(String),
    /// A parameter is missing.
    #[error("The request body must contain the following parameter: '{0}'.")]
    Missing(&'static str),
    /// A grant we do not serve.
    #[error("The app requested an unsupported grant type '{0}'. Use client_credentials.")]
    Grant(String),
    /// `resource` at the v2 endpoint.
    #[error(
        "The 'resource' request parameter isn't supported. Send scope='{{resource}}/.default', or use the v1 endpoint /oauth2/token."
    )]
    ResourceAtV2,
    /// The scope names no one resource.
    #[error("{}", scope_text(.0))]
    Scope(ScopeFault),
    /// Two credentials where one is needed.
    #[error(
        "The request presents more than one client credential. Send a client_secret or a client_assertion, in the body or in the Authorization header, not both."
    )]
    Credentials,
    /// No credential.
    #[error("The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")]
    NoCredential,
    /// The tenant of the path is shared by all, and an application's token is for one.
    #[error(
        "The grant type is not supported over the /{0} endpoint. Use a tenant-specific endpoint: put the tenant's id or domain name in its place."
    )]
    SharedTenant(&'static str),
    /// No such client.
    #[error(
        "Application with identifier '{client}' was not found in the directory '{tenant}'. Check the client id and the tenant in the request's path, or register the application in that tenant."
    )]
    UnknownClient {
        /// As it was sent.
        client: String,
        /// The tenant's name.
        tenant: String,
    },
    /// The principal is disabled.
    #[error("Application '{0}' is disabled. An administrator of the tenant can enable its service principal.")]
    Disabled(ClientId),
    /// The credential.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// No such resource.
    #[error(
        "The resource principal named {resource} was not found in the tenant named {tenant}. Ask for a resource of Azure's by its URI, for an application of this tenant by its identifier URI or client id, or for one that the server's configuration lists."
    )]
    UnknownResource {
        /// As it was asked for.
        resource: String,
        /// The tenant's name.
        tenant: String,
    },
    /// Nothing is issued that cannot be recorded.
    #[error("A transient error has occurred: the token cannot be recorded. Ask again in a few seconds.")]
    Unrecorded(#[source] StoreError),
    /// No key to sign with.
    #[error("A transient error has occurred: the tenant has no key to sign with. Ask again in a few seconds.")]
    Signing(#[source] SigningError),
    /// Our own types did not serialize.
    #[error("A transient error has occurred: the token could not be written. Ask again in a few seconds.")]
    Unwritten,
}

impl TokenError {
    /// The number that Entra gives this reason, by which people search.
    pub fn code(&self) -> i32 {
        match self {
            Self::Form(_) | Self::Repeated(_) | Self::Credentials => 90_023,
            Self::Missing(_) => 900_144,
            Self::Grant(_) => 70_003,
            Self::ResourceAtV2 => 901_002,
            Self::Scope(ScopeFault::Empty) => 70_011,
            Self::Scope(ScopeFault::NotDefault(_)) => 1_002_012,
            Self::Scope(ScopeFault::Several) => 700_022,
            Self::NoCredential => 7_000_218,
            Self::SharedTenant(_) => 9_001_023,
            Self::UnknownClient { .. } => 700_016,
            Self::Disabled(_) => 7_000_112,
            Self::Credential(error) => error.code(),
            Self::UnknownResource { .. } => 500_011,
            Self::Unrecorded(_) | Self::Signing(_) | Self::Unwritten => 90_033,
        }
    }

    /// Whether something of ours failed, rather than the request.
    fn is_ours(&self) -> bool {
        matches!(self, Self::Unrecorded(_) | Self::Signing(_) | Self::Unwritten)
    }
}

fn scope_text(fault: &ScopeFault) -> String {
    match fault {
        ScopeFault::Empty => "The provided value for the input parameter 'scope' is not valid: it names no resource. \
             Send '{resource}/.default'."
            .to_owned(),
        ScopeFault::NotDefault(scope) => format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with \
             /.default suffixed to the resource identifier (application ID URI)."
        ),
        ScopeFault::Several => "The provided value for the input parameter 'scope' is not valid because it contains \
             more than one resource. A token is for one: ask for each on its own."
            .to_owned(),
    }
}

impl TokenService {
    /// Over a store. `authority` is the base of issuers, without a trailing slash; `extra_resources` are resources of
    /// this deployment that no application stands for, its vaults for one. Tokens for `entra_issued` name Entra as
    /// their issuer.
    pub fn new(
        store: Store,
        keys: KeyRing,
        credentials: Credentials,
        authority: &str,
        extra_resources: Vec<String>,
        entra_issued: EntraIssued,
    ) -> Self {
        let authorities = [authority.to_owned()].into();
        let (credentials, authority) = (Arc::new(credentials), authority.into());
        let (extra_resources, entra_issued) = (extra_resources.into(), Arc::new(entra_issued));
        Self { store, keys, credentials, authority, authorities, extra_resources, entra_issued }
    }

    /// Adds names by which clients also reach this authority: an assertion may be meant for any of them.
    #[must_use]
    pub fn with_other_authorities(self, others: &[String]) -> Self {
        Self { authorities: self.authorities.iter().chain(others).cloned().collect(), ..self }
    }

    /// The directory as it is now: what tenants there are, and what discovery says of them.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.store.snapshot()
    }

    /// The keys that tokens are signed with.
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// What verifies the clients, with its counters.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Issues a token in the tenant of `ctx`, or says why not; either is recorded.
    pub async fn issue(
        &self,
        ctx: &Ctx,
        endpoint: Endpoint,
        request: Result<TokenRequest, TokenError>,
    ) -> Result<Issued, TokenError> {
        let decided = match request {
            Ok(request) => self.decide(ctx, endpoint, &request).await,
            Err(error) => Err((Actor::Anonymous, error)),
        };
        decided.map_err(|(actor, error)| {
            self.record_refusal(ctx, actor, &error);
            error
        })
    }

    async fn decide(
        &self,
        ctx: &Ctx,
        endpoint: Endpoint,
        request: &TokenRequest,
    ) -> Result<Issued, (Actor, TokenError)> {
        let snapshot = self.store.snapshot();
        let nobody = |error| (Actor::Anonymous, error);
        let asked = form(endpoint, request).map_err(nobody)?;
        let tenant = snapshot.tenant(ctx.tenant).ok_or_else(|| nobody(asked.unknown_client("")))?;
        let client_id: ClientId = asked.client_id.parse().map_err(|_| nobody(asked.unknown_client(&tenant.domain)))?;
        let client = client(&snapshot, tenant, client_id);
        let actor = Actor::Client(client_id);
        let refused = |error| (Actor::Client(client_id), error);

        let proved = self.prove(client, asked.credential, ctx.now).await.map_err(|e| refused(e.into()))?;
        let (Some(client), Some(proved)) = (client, proved) else {
            return Err(refused(asked.unknown_client(&tenant.domain)));
        };
        if !client.principal.enabled {
            return Err(refused(TokenError::Disabled(client_id)));
        }
        let audience = self.audience(&snapshot, tenant, asked.resource).map_err(refused)?;
        self.write(ctx, &snapshot, client.principal, proved, &audience, actor).map_err(refused)
    }

    /// None when there is no such client, after as much work as a known one would have been.
    async fn prove(
        &self,
        client: Option<Client<'_>>,
        credential: &Credential,
        now: UnixTime,
    ) -> Result<Option<Proved>, CredentialError> {
        match (credential, client) {
            (Credential::Secret(secret), Some(client)) => {
                self.credentials.verify_secret(Some(client), secret, now).await.map(Some)
            }
            (Credential::Secret(secret), None) => match self.credentials.verify_secret(None, secret, now).await {
                Err(CredentialError::Busy) => Err(CredentialError::Busy),
                Ok(_) | Err(_) => Ok(None),
            },
            (Credential::Assertion(text), Some(client)) => {
                self.credentials.verify_assertion(client, text, &self.authorities, now).map(Some)
            }
            (Credential::Assertion(_), None) => Ok(None),
        }
    }

    /// The resource that is asked for, if this tenant knows it.
    fn audience(&self, snapshot: &Snapshot, tenant: &Tenant, asked: &str) -> Result<Audience, TokenError> {
        let known =
            |application, version, issued_by| Ok(Audience { asked: asked.to_owned(), application, version, issued_by });
        // First, so that no application can take one of these names and change what their tokens look like.
        if self.extra_resources.iter().any(|extra| audience::same(extra, asked)) {
            return known(None, TokenVersion::V1, IssuedBy::Us);
        }
        if audience::is_first_party(asked) {
            let issued_by = if self.entra_issued.covers(asked) { IssuedBy::Entra } else { IssuedBy::Us };
            return known(None, TokenVersion::V1, issued_by);
        }
        let application = match asked.parse::<ClientId>() {
            Ok(id) => snapshot.application(tenant.id, id),
            Err(_) => snapshot
                .application_for_resource(tenant.id, asked)
                .or_else(|| snapshot.application_for_resource(tenant.id, asked.strip_suffix('/')?)),
        };
        match application {
            Some(application) => known(Some(application.client_id), application.token_version, IssuedBy::Us),
            None => Err(TokenError::UnknownResource { resource: excerpt(asked), tenant: tenant.domain.clone() }),
        }
    }

    fn write(
        &self,
        ctx: &Ctx,
        snapshot: &Snapshot,
        principal: &ServicePrincipal,
        proved: Proved,
        audience: &Audience,
        actor: Actor,
    ) -> Result<Issued, TokenError> {
        let lifetime = lifetimes::access_token(principal, u32::from_le_bytes(random::bytes()));
        let claims = claims::access_token(&Grant {
            authority: &self.authority,
            principal,
            proof: proved.proof,
            audience,
            now: ctx.now,
            lifetime,
            uti: random::bytes(),
        });
        let json = serde_json::to_string(&claims).map_err(|_| TokenError::Unwritten)?;
        let keys = self.keys.keys(snapshot, principal.tenant).map_err(TokenError::Signing)?;
        let signed = keys.sign(&json, audience.version, ctx.now).map_err(TokenError::Signing)?;
        let event = AuditEvent {
            action: ISSUE.into(),
            outcome: Outcome::Allowed,
            target: audience.asked.as_str().into(),
            because: format!("credential {}", proved.credential).into(),
            detail: Some(serde_json::json!({
                "principal": principal.id,
                "uti": claims.uti,
                "kid": signed.kid,
                "exp": claims.exp,
            })),
        };
        self.store.audit(&Ctx { actor, ..ctx.clone() }, &event).map_err(TokenError::Unrecorded)?;
        Ok(Issued {
            token: signed.token,
            expires_in: lifetime,
            expires_on: claims.exp,
            not_before: claims.nbf,
            refresh_in: lifetimes::refresh_in(lifetime),
            resource: audience.asked.clone(),
        })
    }

    fn record_refusal(&self, ctx: &Ctx, actor: Actor, error: &TokenError) {
        let event = AuditEvent {
            action: ISSUE.into(),
            outcome: if error.is_ours() { Outcome::Failed } else { Outcome::Refused },
            target: ctx.tenant.to_string().into(),
            because: format!("AADSTS{}", error.code()).into(),
            detail: Some(serde_json::json!({ "reason": error.to_string() })),
        };
        // A refusal stands whether or not it can be recorded.
        if let Err(unrecorded) = self.store.audit(&Ctx { actor, ..ctx.clone() }, &event) {
            tracing::warn!(tenant = %ctx.tenant, code = error.code(), %unrecorded, "a refused token is not in the audit");
        }
        if error.is_ours() {
            let source = std::error::Error::source(error);
            tracing::error!(tenant = %ctx.tenant, request = %ctx.request_id, %error, source, "no token could be issued");
        } else {
            tracing::debug!(tenant = %ctx.tenant, request = %ctx.request_id, code = error.code(), %error, "no token");
        }
    }
}

/// A request whose form is right.
struct Asked<'a> {
    client_id: &'a str,
    credential: &'a Credential,
    resource: &'a str,
}

impl Asked<'_> {
    fn unknown_client(&self, tenant: &str) -> TokenError {
        TokenError::UnknownClient { client: excerpt(self.client_id), tenant: tenant.to_owned() }
    }
}

fn form(endpoint: Endpoint, request: &TokenRequest) -> Result<Asked<'_>, TokenError> {
    match request.grant_type.as_deref() {
        Some(CLIENT_CREDENTIALS) => {}
        Some(other) => return Err(TokenError::Grant(excerpt(other))),
        None => return Err(TokenError::Missing("grant_type")),
    }
    let client_id = request.client_id.as_deref().ok_or(TokenError::Missing("client_id"))?;
    let resource = match (endpoint, request.resource.as_deref(), request.scope.as_deref()) {
        (Endpoint::V2, Some(_), _) => return Err(TokenError::ResourceAtV2),
        (Endpoint::V2, None, Some(scope)) => audience::resource_of_scope(scope).map_err(TokenError::Scope)?,
        (Endpoint::V2, None, None) => return Err(TokenError::Missing("scope")),
        // ADAL-era clients send `scope=openid` along with the resource; it says nothing.
        (Endpoint::V1, Some(resource), _) => resource,
        (Endpoint::V1, None, _) => return Err(TokenError::Missing("resource")),
    };
    let credential = request.credential.as_ref().ok_or(TokenError::NoCredential)?;
    Ok(Asked { client_id, credential, resource })
}

fn client<'a>(snapshot: &'a Snapshot, tenant: &'a Tenant, id: ClientId) -> Option<Client<'a>> {
    let principal = snapshot.principal_of_client(tenant.id, id)?;
    let application = snapshot.application(tenant.id, id).map(AsRef::as_ref);
    Some(Client { tenant, principal, application })
}
