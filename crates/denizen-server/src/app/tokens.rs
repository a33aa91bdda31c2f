//! Issuing access tokens.
//!
//! One snapshot decides a request from beginning to end, and no store is read on the way: what was true at one
//! revision is what the token says, and tokens go on being issued while the database is down. Nothing is issued that
//! cannot be recorded: its audit record is in the spool before the token is handed out, and when it cannot be written
//! there is no token.
//!
//! The order is: credential, then state and resource. Nothing about a tenant's resources is told to who
//! has not proved to be its client, and nothing costly is done before what is cheap has passed.
//!
//! The signature is computed on the runtime's own thread: it is a fifth of a millisecond of pure computation, the
//! processors are what limits this service, and another thread would only add two wake-ups to each token.
//!
//! Tests: `http/sts/tests/`, through the API.

use std::sync::Arc;

use denizen_keys::{SecretString, random};
use denizen_wire::{Causes, ClientId, UnixTime};

use super::{
    access::Known,
    credentials::{AuthenticatedClient, Client, CredentialError, Credentials},
    signing::{KeyRing, SigningError},
    strangers::{Reason, Stranger, Strangers},
};
use crate::{
    domain::{
        Ctx,
        claims::{
            self, Audience, Groups, IssuedBy, NewToken, Subject,
            audience::{self, EntraIssued},
        },
        directory::{Tenant, TokenVersion},
        lifetimes,
    },
    store::{AuditEvent, Outcome, Snapshot, Store, StoreError},
};

/// What issuing is audited as.
const ISSUE: &str = "Denizen.Directory/accessTokens/issue";
/// Issues tokens.
#[derive(Clone)]
pub struct TokenService {
    store: Store,
    keys: KeyRing,
    credentials: Arc<Credentials>,
    authority: Arc<str>,
    /// Every name an assertion may give this authority.
    authorities: Arc<[String]>,
    /// Canonical.
    extra_resources: Arc<[String]>,
    entra_issued: Arc<EntraIssued>,
    strangers: Strangers,
}

/// A token request whose form is right.
pub struct TokenRequest {
    /// `client_id`, of the form or of the `Authorization` header.
    pub client_id: String,
    /// What the client proves itself with.
    pub credential: Credential,
    /// By which grant, with what belongs to it.
    pub grant: Grant,
}

/// The OAuth grants that are served. A new one is an arm here and a use case of its own; all end in the same issuing.
pub enum Grant {
    /// `client_credentials` (RFC 6749, section 4.4): the client asks for itself.
    ClientCredentials {
        /// The resource, as it was asked for.
        resource: String,
    },
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

/// Why no token is issued. The texts begin as Entra's do, since people search for them, and end with the fix.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No such client.
    #[error(
        "Application with identifier '{client}' was not found in the directory '{tenant}'. Check the client id and the tenant in the request's path, or register the application in that tenant."
    )]
    UnknownClient {
        /// As it was asked for.
        client: ClientId,
        /// The tenant's name.
        tenant: String,
    },
    /// The client id is no id. It is not repeated, here or in the audit: it may be the secret, in the wrong field.
    #[error(
        "Application with the identifier in the request was not found in the directory '{tenant}': the identifier is not a GUID. Send the application (client) id as it was registered, with no space or line feed around it, and not the client secret in its place."
    )]
    MalformedClient {
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
    /// A scope where a resource belongs, as programs send that pass a scope to a managed identity endpoint.
    #[error(
        "The resource principal named {resource} was not found in the tenant named {tenant}: it is a scope, not a resource. Ask for what stands before '/.default'."
    )]
    ScopeAsResource {
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
    Unwritten(#[source] serde_json::Error),
}

impl TokenError {
    /// The number that Entra gives this reason, by which people search.
    pub fn code(&self) -> i32 {
        match self {
            Self::UnknownClient { .. } | Self::MalformedClient { .. } => 700_016,
            Self::Disabled(_) => 7_000_112,
            Self::Credential(error) => error.code(),
            Self::UnknownResource { .. } | Self::ScopeAsResource { .. } => 500_011,
            Self::Unrecorded(_) | Self::Signing(_) | Self::Unwritten(_) => 90_033,
        }
    }

    /// Whether something of ours failed, rather than the request.
    fn is_ours(&self) -> bool {
        matches!(self, Self::Unrecorded(_) | Self::Signing(_) | Self::Unwritten(_))
    }
}

impl TokenService {
    /// Creates the token service of a store. `authority` is the base of issuers, without a trailing slash; `extra_resources` are resources of
    /// this deployment that no application stands for, its vaults for one. Tokens for `entra_issued` name Entra as
    /// their issuer.
    pub fn new(
        store: Store,
        keys: KeyRing,
        credentials: Credentials,
        authority: &str,
        extra_resources: &[String],
        entra_issued: EntraIssued,
        strangers: Strangers,
    ) -> Self {
        let authorities = [authority.to_owned()].into();
        let (credentials, authority) = (Arc::new(credentials), authority.into());
        let extra_resources = extra_resources.iter().map(|extra| audience::canonical(extra)).collect();
        let entra_issued = Arc::new(entra_issued);
        Self { store, keys, credentials, authority, authorities, extra_resources, entra_issued, strangers }
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

    /// What is kept of requests that proved nothing.
    pub fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    /// Issues a token in the tenant of `ctx`, or says why not. Both are recorded of a client that has proved itself;
    /// everybody else leaves a number and a line in the log.
    ///
    /// # Errors
    /// The first check that fails, in the order of the module's text.
    pub async fn issue(&self, ctx: &Ctx, request: &TokenRequest) -> Result<Issued, TokenError> {
        let Grant::ClientCredentials { resource } = &request.grant;
        let snapshot = self.store.snapshot();
        let (tenant, client, by) = match self.authenticate(&snapshot, ctx, request).await {
            Ok(authenticated) => authenticated,
            Err(error) => {
                self.not_authenticated(ctx, request, &error);
                return Err(error);
            }
        };
        let known = by.known(ctx);
        let issued = if client.principal.enabled {
            self.audience(&snapshot, tenant, resource)
                .and_then(|audience| self.write(&known, &snapshot, client, by, &audience))
        } else {
            Err(TokenError::Disabled(client.principal.client_id))
        };
        issued.inspect_err(|error| self.record_refusal(&known, error))
    }

    /// Finds the client that a request names, and has it prove itself. A client that does not exist costs nothing, and the
    /// answer says so (AADSTS700016, as Entra's does): a client id is no secret.
    async fn authenticate<'s>(
        &self,
        snapshot: &'s Snapshot,
        ctx: &Ctx,
        request: &TokenRequest,
    ) -> Result<(&'s Tenant, Client<'s>, AuthenticatedClient), TokenError> {
        let tenant = snapshot.tenant(ctx.tenant);
        let name = || tenant.map_or_else(String::new, |tenant| tenant.domain.clone());
        let id: ClientId = request.client_id.parse().map_err(|_| TokenError::MalformedClient { tenant: name() })?;
        let unknown = || TokenError::UnknownClient { client: id, tenant: name() };
        let tenant = tenant.ok_or_else(unknown)?;
        let client = client(snapshot, tenant, id).ok_or_else(unknown)?;
        let authenticated = match &request.credential {
            Credential::Secret(secret) => self.credentials.verify_secret(client, secret, ctx.now).await?,
            Credential::Assertion(text) => {
                self.credentials.verify_assertion(client, text, &self.authorities, ctx.now)?
            }
        };
        Ok((tenant, client, authenticated))
    }

    /// Records a refusal where the client has proved itself all the same.
    fn not_authenticated(&self, ctx: &Ctx, request: &TokenRequest, error: &TokenError) {
        let reason = match error {
            TokenError::Credential(CredentialError::Misdirected { by, .. }) => {
                return self.record_refusal(&by.known(ctx), error);
            }
            TokenError::Credential(credential) => credential.of_a_stranger(),
            TokenError::UnknownClient { .. } | TokenError::MalformedClient { .. } => Some(Reason::Client),
            // They come later.
            TokenError::Disabled(_)
            | TokenError::UnknownResource { .. }
            | TokenError::ScopeAsResource { .. }
            | TokenError::Unrecorded(_)
            | TokenError::Signing(_)
            | TokenError::Unwritten(_) => None,
        };
        match reason {
            Some(reason) => {
                let client = request.client_id.parse().ok();
                self.strangers.refused(reason, Stranger { client, ..Stranger::from(ctx) }, error);
            }
            None => log_failure(ctx, error),
        }
    }

    /// The resource that is asked for, if this tenant knows it.
    fn audience(&self, snapshot: &Snapshot, tenant: &Tenant, asked: &str) -> Result<Audience, TokenError> {
        let known =
            |application, version, issued_by| Ok(Audience { asked: asked.to_owned(), application, version, issued_by });
        // First, so that no application can take one of these names and change what their tokens look like.
        if self.extra_resources.contains(&audience::canonical(asked)) {
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
            None if asked.ends_with("/.default") => Err(TokenError::ScopeAsResource {
                resource: denizen_wire::shown::identifier(asked).into_owned(),
                tenant: tenant.domain.clone(),
            }),
            None => Err(TokenError::UnknownResource {
                resource: denizen_wire::shown::identifier(asked).into_owned(),
                tenant: tenant.domain.clone(),
            }),
        }
    }

    fn write(
        &self,
        known: &Known,
        snapshot: &Snapshot,
        client: Client<'_>,
        authenticated: AuthenticatedClient,
        audience: &Audience,
    ) -> Result<Issued, TokenError> {
        let ctx = known.ctx();
        let Client { tenant, principal, .. } = client;
        let lifetime = lifetimes::access_token(principal, u32::from_le_bytes(random::bytes()));
        let claims = claims::access_token(&NewToken {
            authority: &self.authority,
            tenant: tenant.id,
            subject: Subject::App(principal),
            proof: authenticated.proof(),
            audience,
            roles: Vec::new(),
            groups: Groups::None,
            handles_challenges: false,
            now: ctx.now,
            not_before: ctx.now - claims::BACKDATED,
            lifetime,
            uti: random::bytes(),
        });
        let json = serde_json::to_string(&claims).map_err(TokenError::Unwritten)?;
        let keys = self.keys.keys(snapshot, tenant.id).map_err(TokenError::Signing)?;
        let signed = keys.sign(&json, audience.version, ctx.now).map_err(TokenError::Signing)?;
        let event = AuditEvent {
            action: ISSUE.into(),
            outcome: Outcome::Allowed,
            target: audience.asked.as_str().into(),
            because: format!("credential {}", authenticated.credential()).into(),
            detail: Some(serde_json::json!({
                "principal": principal.id,
                "uti": claims.uti,
                "kid": signed.kid,
                "exp": claims.exp,
            })),
        };
        self.store.audit(known, &event).map_err(TokenError::Unrecorded)?;
        Ok(Issued {
            token: signed.token,
            expires_in: lifetime,
            expires_on: claims.exp,
            not_before: claims.nbf,
            refresh_in: lifetimes::refresh_in(lifetime),
            resource: audience.asked.clone(),
        })
    }

    fn record_refusal(&self, known: &Known, error: &TokenError) {
        let ctx = known.ctx();
        let outcome = if error.is_ours() {
            log_failure(ctx, error);
            Outcome::Failed
        } else {
            tracing::debug!(tenant = %ctx.tenant, request = %ctx.request_id, code = error.code(), %error, "no token");
            Outcome::Refused
        };
        let event = AuditEvent {
            action: ISSUE.into(),
            outcome,
            target: ctx.tenant.to_string().into(),
            because: format!("AADSTS{}", error.code()).into(),
            detail: Some(serde_json::json!({ "reason": error.to_string() })),
        };
        self.store.note(known, &event);
    }
}

fn log_failure(ctx: &Ctx, error: &TokenError) {
    tracing::error!(tenant = %ctx.tenant, request = %ctx.request_id, error = %Causes(error), "no token could be issued");
}

fn client<'a>(snapshot: &'a Snapshot, tenant: &'a Tenant, id: ClientId) -> Option<Client<'a>> {
    let principal = snapshot.principal_of_client(tenant.id, id)?;
    let application = snapshot.application(tenant.id, id).map(AsRef::as_ref);
    Some(Client { tenant, principal, application })
}
