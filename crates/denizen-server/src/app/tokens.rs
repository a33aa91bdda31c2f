//! Issuing access tokens.
//!
//! One snapshot decides a request from beginning to end: what was true at one revision is what the token says. A client's
//! request for itself reads no store, and is answered while the database is down; the grants that stand for a user read
//! it, and most write it. Nothing is issued that
//! cannot be recorded: its audit record is in the spool before the token is handed out, and when it cannot be written
//! there is no token.
//!
//! The order is: credential, then the client's limit, its state and the resource. Nothing about a tenant's resources is told to who
//! has not proved to be its client, but for a device that asks for a code, which has nothing to prove itself with and may ask
//! seldom; and nothing costly is done before what is cheap has passed.
//!
//! A signature of pure computation is made on the runtime's own thread: it is a fifth of a millisecond, the processors are
//! what limits this service, and another thread would only add two wake-ups to each token. One by a key in a device is
//! waited for (`signing.rs`).
//!
//! | file | holds |
//! |---|---|
//! | here | issuing: who asks, what for, and the one place where tokens are signed |
//! | [`request`], [`error`] | what is asked, and why it is refused |
//! | [`authorization_code`], [`device_code`], [`refresh_token`], [`on_behalf_of`], [`password`] | a grant each: whose user it stands for |
//! | [`people`] | what all of these end in: a user's tokens |
//! | [`claimed`] | the roles and groups that a token says |
//!
//! Tests: `http/sts/tests/`, through the API.

mod authorization_code;
mod claimed;
mod device_code;
mod error;
mod on_behalf_of;
mod password;
mod people;
mod refresh_token;
mod request;

use std::sync::Arc;

use denizen_keys::{SecretString, random};
use denizen_wire::{Causes, ClientId, PrincipalId, TenantId, UnixTime, claims::AccessToken};

pub use self::{
    device_code::{DeviceAuthorization, DeviceFlow},
    error::{GrantFault, TokenError},
    request::{Credential, Grant, Issued, IssuedForUser, TokenRequest, Wishes},
};

use self::authorization_code::Redeemed;
use super::{
    access::{Access, Known},
    credentials::{AuthenticatedClient, Client, CredentialError, Credentials},
    federation::Federation,
    limits::{Asker, Limits},
    sign_in::SignInService,
    signing::KeyRing,
    strangers::{Reason, Stranger, Strangers},
};
use crate::{
    domain::{
        Ctx, assertion,
        built_in_clients::built_in_client,
        claims::{
            self, Audience, ClientAuthMethod, Groups, IssuedBy, NewToken, Subject,
            audience::{self, EntraIssued, OwnResources},
        },
        directory::{SigningAlgorithm, Tenant, TokenVersion},
        lifetimes,
        sign_in::{AuthorizationCode, DeviceCode, DeviceDecision, hash_of},
    },
    store::{AuditEvent, OneTime, Outcome, Snapshot, Store},
};

/// What issuing is audited as.
const ISSUE: &str = "Denizen.Directory/accessTokens/issue";

/// Where a request is decided.
struct At<'s> {
    ctx: &'s Ctx,
    snapshot: &'s Arc<Snapshot>,
    tenant: &'s Tenant,
    wishes: Wishes,
}

/// Who asks.
struct Asking<'s> {
    id: ClientId,
    /// As the directory has it; none of a client that every tenant has.
    client: Option<Client<'s>>,
    /// None of a public client: it has not proved anything, and need not.
    by: Option<AuthenticatedClient>,
}

impl Asking<'_> {
    fn proof(&self) -> ClientAuthMethod {
        self.by.as_ref().map_or(ClientAuthMethod::Public, AuthenticatedClient::proof)
    }
}

impl At<'_> {
    /// The same decided by the directory as it is once something was read, which may be newer: what the user has consented to
    /// at another replica was written before the code that was read here.
    fn anew<'f>(
        &'f self,
        asking: &'f Asking<'_>,
        fresh: &'f Arc<Snapshot>,
    ) -> Result<(At<'f>, Asking<'f>), TokenError> {
        let gone = || TokenError::UnknownClient { client: asking.id, tenant: self.tenant.domain.clone() };
        let tenant = fresh.tenant(self.tenant.id).ok_or_else(gone)?;
        let client = match &asking.client {
            Some(_) => Some(client(fresh, tenant, asking.id).ok_or_else(gone)?),
            None => None,
        };
        if client.is_some_and(|client| !client.principal.enabled) {
            return Err(TokenError::Disabled(asking.id));
        }
        let at = At { ctx: self.ctx, snapshot: fresh, tenant, wishes: self.wishes };
        Ok((at, Asking { id: asking.id, client, by: asking.by.clone() }))
    }
}

/// What differs between one access token and another.
struct NewAccessToken<'s> {
    subject: Subject<'s>,
    audience: Audience,
    roles: Vec<String>,
    groups: Groups,
    lifetime: i64,
    because: String,
    /// The credential of the client.
    by: Option<&'s AuthenticatedClient>,
}

/// An access token that was signed and is not recorded yet: nobody gets it before.
struct Unrecorded {
    issued: Issued,
    because: String,
    detail: serde_json::Value,
}

/// Issues tokens.
#[derive(Clone)]
pub struct TokenService {
    store: Store,
    keys: KeyRing,
    credentials: Arc<Credentials>,
    federation: Federation,
    authority: Arc<str>,
    /// Every name an assertion may give this authority.
    authorities: Arc<[String]>,
    own_resources: OwnResources,
    entra_issued: Arc<EntraIssued>,
    access: Access,
    devices: DeviceFlow,
    limits: Limits,
    /// None where nobody may send a user's password.
    passwords: Option<SignInService>,
}

impl TokenService {
    /// Creates the token service of a store. `authority` is the base of issuers, without a trailing slash; Tokens for
    /// `entra_issued` name Entra as their issuer.
    pub fn new(
        store: Store,
        keys: KeyRing,
        (credentials, federation): (Credentials, Federation),
        authority: &str,
        own_resources: OwnResources,
        entra_issued: EntraIssued,
        access: Access,
    ) -> Self {
        let authorities = [authority.to_owned()].into();
        let (credentials, authority) = (Arc::new(credentials), authority.into());
        let entra_issued = Arc::new(entra_issued);
        let (devices, limits) = (DeviceFlow::default(), Limits::none());
        Self {
            store,
            keys,
            credentials,
            federation,
            authority,
            authorities,
            own_resources,
            entra_issued,
            access,
            devices,
            limits,
            passwords: None,
        }
    }

    /// Lets clients send users' passwords, which `sign_in` verifies.
    #[must_use]
    pub fn with_password_grant(self, sign_in: Option<SignInService>) -> Self {
        Self { passwords: sign_in, ..self }
    }

    /// Limits who asks.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
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

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What is kept of requests that proved nothing.
    pub fn strangers(&self) -> &Strangers {
        self.access.strangers()
    }

    /// Issues a token in the tenant of `ctx`, or says why not. Both are recorded of a client that has proved itself;
    /// everybody else leaves a number and a line in the log.
    ///
    /// # Errors
    /// The first check that fails, in the order of the module's text.
    pub async fn issue(&self, ctx: &Ctx, request: &TokenRequest) -> Result<Issued, TokenError> {
        let snapshot = self.store.snapshot();
        let asker = self.limits.asker(ctx.address, ctx.now);
        let asker = match request.client_id.parse() {
            Ok(client) => asker.naming(ctx.tenant, client),
            Err(_) => asker,
        };
        let (tenant, asking) = match self.authenticate(&snapshot, ctx, request, asker).await {
            Ok(authenticated) => authenticated,
            Err(error) => return Err(self.not_authenticated(ctx, request, asker, error)),
        };
        let at = At { ctx, snapshot: &snapshot, tenant, wishes: request.wishes };
        // A client that has nothing to prove itself with is counted when its user is known.
        let admitted = if asking.by.is_some() { self.admit(&at, asking.id, None) } else { Ok(()) };
        let issued = match &asking {
            _ if let Err(limited) = admitted => Err(limited),
            Asking { client: Some(client), .. } if !client.principal.enabled => {
                Err(TokenError::Disabled(client.principal.client_id))
            }
            asking => match &request.grant {
                Grant::ClientCredentials { resource } => self.for_itself(&at, asking, resource).await,
                Grant::AuthorizationCode { code, redirect_uri, verifier, scopes } => {
                    let redeemed =
                        Redeemed { code, redirect_uri, verifier: verifier.as_ref(), scopes: scopes.as_ref() };
                    self.by_code(&at, asking, &redeemed).await
                }
                Grant::DeviceCode { device_code } => self.by_device(&at, asking, device_code).await,
                Grant::RefreshToken { token, scopes } => self.by_refresh(&at, asking, token, scopes.as_ref()).await,
                Grant::Password { name, password, scopes } => {
                    self.by_password(&at, asking, (name, password), scopes).await
                }
                Grant::OnBehalfOf { assertion, scopes } => self.on_behalf(&at, asking, assertion, scopes).await,
            },
        };
        issued.map_err(|error| self.refuse(ctx, &asking, asker, error))
    }

    fn admit(&self, at: &At<'_>, client: ClientId, user: Option<PrincipalId>) -> Result<(), TokenError> {
        Ok(self.limits.asks_for_token(at.tenant.id, (client, user), at.ctx.now)?)
    }

    /// The tenant in which a grant was given, where the path leaves that open. None of a grant that says nothing of one.
    ///
    /// # Errors
    /// [`TokenError::Unkept`].
    pub async fn tenant_of(&self, grant: &Grant) -> Result<Option<TenantId>, TokenError> {
        match grant {
            Grant::ClientCredentials { .. } | Grant::OnBehalfOf { .. } => Ok(None),
            // As the sign-in pages find it: by what follows the @ of the name.
            Grant::Password { name, .. } => {
                let domain = name.rsplit_once('@').map_or("", |(_, domain)| domain);
                // Nobody's name is looked up in vain where anybody's is.
                let snapshot = self.store.snapshot();
                Ok(snapshot.tenant_named(domain).or_else(|| snapshot.tenants().next()).map(|tenant| tenant.id))
            }
            Grant::AuthorizationCode { code, .. } => self.tenant_of_one::<AuthorizationCode>(code).await,
            Grant::DeviceCode { device_code } => {
                // Of whom has decided, once somebody has.
                let hash = hash_of(device_code);
                let decision = self.store.one_time::<DeviceDecision>(&hash).await.map_err(TokenError::Unkept)?;
                match decision.and_then(|kept| kept.it.sign_in) {
                    Some(sign_in) => Ok(Some(sign_in.tenant)),
                    None => self.tenant_of_one::<DeviceCode>(device_code).await,
                }
            }
            Grant::RefreshToken { token, .. } => Ok(refresh_token::tenant_of(token)),
        }
    }

    async fn tenant_of_one<T: OneTime>(&self, secret: &SecretString) -> Result<Option<TenantId>, TokenError> {
        let kept = self.store.one_time::<T>(&hash_of(secret)).await.map_err(TokenError::Unkept)?;
        Ok(kept.map(|kept| kept.it.tenant()))
    }

    /// Finds the client that a request names, and has it prove itself. A client that does not exist costs nothing, and the
    /// answer says so (AADSTS700016, as Entra's does): a client id is no secret.
    async fn authenticate<'s>(
        &self,
        snapshot: &'s Snapshot,
        ctx: &Ctx,
        request: &TokenRequest,
        asker: Asker<'_>,
    ) -> Result<(&'s Tenant, Asking<'s>), TokenError> {
        let tenant = snapshot.tenant(ctx.tenant);
        let name = || tenant.map_or_else(String::new, |tenant| tenant.domain.clone());
        let id: ClientId = request.client_id.parse().map_err(|_| TokenError::MalformedClient { tenant: name() })?;
        let unknown = || TokenError::UnknownClient { client: id, tenant: name() };
        let tenant = tenant.ok_or_else(unknown)?;
        let client = client(snapshot, tenant, id);
        let Some(credential) = &request.credential else {
            return match client.map(|client| client.application.is_some_and(|it| it.public_client)) {
                Some(true) => Ok((tenant, Asking { id, client, by: None })),
                None if built_in_client(id).is_some() => Ok((tenant, Asking { id, client, by: None })),
                Some(false) => Err(TokenError::NotPublic(id)),
                None => Err(unknown()),
            };
        };
        let client = client.ok_or_else(unknown)?;
        let authenticated = match credential {
            Credential::Secret(secret) => self.credentials.verify_secret(client, secret, ctx.now, asker).await?,
            Credential::Assertion(text) => {
                match self.credentials.verify_assertion(client, text, &self.authorities, ctx.now, asker) {
                    // Not the client's own.
                    Err(CredentialError::Claims(assertion::Reason::Issuer(_))) => {
                        asker.may_cost().map_err(TokenError::Limited)?;
                        self.federation.verify(snapshot, client, text, ctx.now).await?
                    }
                    outcome => outcome?,
                }
            }
        };
        Ok((tenant, Asking { id, client: Some(client), by: Some(authenticated) }))
    }

    /// Records a refusal where the client has proved itself all the same; counts it otherwise. What is to be answered:
    /// another refusal, when there were too many.
    fn not_authenticated(&self, ctx: &Ctx, request: &TokenRequest, asker: Asker<'_>, error: TokenError) -> TokenError {
        let reason = match &error {
            TokenError::Credential(CredentialError::Misdirected { by, .. }) => {
                self.record_refusal(&by.known(ctx), &error);
                return error;
            }
            TokenError::Credential(credential) => credential.of_a_stranger(),
            TokenError::UnknownClient { .. } | TokenError::MalformedClient { .. } | TokenError::NotPublic(_) => {
                Some(Reason::Client)
            }
            TokenError::Limited(_) => Some(Reason::Limited),
            // They come later.
            TokenError::Disabled(_)
            | TokenError::Grant(_)
            | TokenError::NoPasswordGrant
            | TokenError::SignIn(_)
            | TokenError::NotAssigned { .. }
            | TokenError::NotBefore(_)
            | TokenError::UnknownResource { .. }
            | TokenError::ScopeAsResource { .. }
            | TokenError::Unkept(_)
            | TokenError::Unrecorded(_)
            | TokenError::Signing(_)
            | TokenError::Unwritten(_) => None,
        };
        match reason {
            Some(reason) => self.refuse_stranger(ctx, request.client_id.parse().ok(), asker, (reason, error)),
            None => {
                log_failure(ctx, &error);
                error
            }
        }
    }

    /// Counts a refusal of somebody who proved nothing. What is to be answered: another refusal, when there were too many.
    fn refuse_stranger(
        &self,
        ctx: &Ctx,
        client: Option<ClientId>,
        asker: Asker<'_>,
        (reason, error): (Reason, TokenError),
    ) -> TokenError {
        // Who finds us busy is not at fault.
        let limited = if matches!(reason, Reason::Limited | Reason::Busy) { Ok(()) } else { asker.was_refused() };
        let (reason, error) = match limited {
            Ok(()) => (reason, error),
            Err(limited) => (Reason::Limited, limited.into()),
        };
        self.strangers().refused(reason, Stranger { client, ..Stranger::from(ctx) }, &error);
        error
    }

    /// Records a refusal of a client that has proved itself. Whoever has nothing to prove itself with, and brought nothing
    /// that stands for a user, is a stranger. What is to be answered.
    fn refuse(&self, ctx: &Ctx, asking: &Asking<'_>, asker: Asker<'_>, error: TokenError) -> TokenError {
        match &asking.by {
            Some(by) => self.record_refusal(&by.known(ctx), &error),
            None if error.is_ours() => log_failure(ctx, &error),
            // A device asks until somebody has decided.
            None if matches!(error, TokenError::Grant(GrantFault::Pending | GrantFault::TooFast(_))) => {}
            None => {
                // Who is within its rights and too fast is not taken for a guesser.
                let reason = if matches!(error, TokenError::Limited(_)) { Reason::Limited } else { Reason::Grant };
                return self.refuse_stranger(ctx, Some(asking.id), asker, (reason, error));
            }
        }
        error
    }

    /// `client_credentials`.
    async fn for_itself(&self, at: &At<'_>, asking: &Asking<'_>, resource: &str) -> Result<Issued, TokenError> {
        let (Some(client), Some(by)) = (asking.client, &asking.by) else {
            return Err(TokenError::NotPublic(asking.id));
        };
        let audience = self.audience(at.snapshot, at.tenant, resource)?;
        let roles = claimed::roles(at.snapshot, at.tenant.id, client.principal.id, &audience);
        if !roles.is_let_in {
            return Err(TokenError::NotAssigned { client: asking.id, resource: audience.asked });
        }
        let lifetime = lifetimes::access_token(client.principal, u32::from_le_bytes(random::bytes()));
        let groups = self.groups(at, client.principal.id, &audience);
        let known = by.known(at.ctx);
        let because = format!("credential {}", by.credential());
        let subject = Subject::App(client.principal);
        let new = NewAccessToken { subject, audience, roles: roles.values, groups, lifetime, because, by: Some(by) };
        let signed = self.sign(at, new, by.proof()).await?;
        self.record(&known, signed)
    }

    /// The resource that is asked for, if this tenant knows it.
    fn audience(&self, snapshot: &Snapshot, tenant: &Tenant, asked: &str) -> Result<Audience, TokenError> {
        let known = |application, version, algorithm, issued_by| {
            Ok(Audience { asked: asked.to_owned(), application, version, algorithm, issued_by })
        };
        let first_party = |issued_by| known(None, TokenVersion::V1, SigningAlgorithm::Rs256, issued_by);
        // First, so that no application can take one of these names and change what their tokens look like.
        if self.own_resources.covers(asked) {
            return first_party(IssuedBy::Us);
        }
        if audience::is_first_party(asked) {
            let issued_by = if self.entra_issued.covers(asked) { IssuedBy::Entra } else { IssuedBy::Us };
            return first_party(issued_by);
        }
        match snapshot.application_called(tenant.id, asked) {
            Some(application) => known(
                Some(application.client_id),
                application.token_version,
                application.signing_algorithm,
                IssuedBy::Us,
            ),
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

    /// Signs an access token: the one place where that is done. Nobody gets it before it is recorded.
    async fn sign(
        &self,
        at: &At<'_>,
        new: NewAccessToken<'_>,
        proof: ClientAuthMethod,
    ) -> Result<Unrecorded, TokenError> {
        let now = at.ctx.now;
        let NewAccessToken { subject, audience, roles, groups, lifetime, because, by } = new;
        let claims = claims::access_token(&NewToken {
            authority: &self.authority,
            tenant: at.tenant.id,
            subject,
            proof,
            audience: &audience,
            roles,
            groups,
            handles_challenges: at.wishes.handles_challenges,
            now,
            not_before: not_before(now, at.wishes.not_before)?,
            lifetime,
            uti: random::bytes(),
        });
        let json = serde_json::to_string(&claims).map_err(TokenError::Unwritten)?;
        let keys = self.keys.keys(at.snapshot, at.tenant.id).map_err(TokenError::Signing)?;
        let signed = self.keys.sign(&keys, json, audience.version, audience.algorithm, now).await;
        let signed = signed.map_err(TokenError::Signing)?;
        let AccessToken { oid, uti, exp, nbf, .. } = claims;
        let mut detail = serde_json::json!({ "principal": oid, "uti": uti, "kid": signed.kid, "exp": exp });
        if let (Some(detail), Some(token)) = (detail.as_object_mut(), by.and_then(AuthenticatedClient::token)) {
            let said = serde_json::json!({ "name": token.name, "issuer": token.issuer, "subject": token.subject });
            detail.insert("federated".to_owned(), said);
        }
        let issued = Issued {
            token: signed.token,
            expires_in: lifetime,
            expires_on: exp,
            not_before: nbf,
            refresh_in: lifetimes::refresh_in(lifetime),
            resource: audience.asked,
            user: None,
        };
        Ok(Unrecorded { issued, because, detail })
    }

    /// Records what was signed, and hands it out.
    fn record(&self, known: &Known, signed: Unrecorded) -> Result<Issued, TokenError> {
        let Unrecorded { issued, because, detail } = signed;
        let event = AuditEvent {
            action: ISSUE.into(),
            outcome: Outcome::Allowed,
            target: issued.resource.as_str().into(),
            because: because.into(),
            detail: Some(detail),
        };
        self.store.audit(known, &event).map_err(TokenError::Unrecorded)?;
        Ok(issued)
    }

    /// The groups of a principal, where the resource asks for them.
    fn groups(&self, at: &At<'_>, principal: PrincipalId, audience: &Audience) -> Groups {
        claimed::groups(at.snapshot, at.tenant.id, principal, audience.application, &self.authority)
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

/// When a token begins.
fn not_before(now: UnixTime, wished: Option<UnixTime>) -> Result<UnixTime, TokenError> {
    let usual = now - claims::BACKDATED;
    match wished {
        // A resource's clock may go before ours, and takes a token that begins as much later.
        Some(wished) if wished > now + assertion::SKEW => Err(TokenError::NotBefore(wished)),
        Some(wished) => Ok(usual.max(wished)),
        None => Ok(usual),
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
