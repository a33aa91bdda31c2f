//! Who presents this token, and may it do this? For every API that takes access tokens of our own issuer.
//!
//! A token is believed after: its form, its key (published now), its signature, its time, its issuer, its kind, its
//! tenant, its audience, and the state of its principal in the directory. Signature, issuer and kind cannot change, so
//! a token that passed these once is kept in the verified-token cache under its SHA-256; everything that can change (tenant
//! and audience asked for, time, key still published, principal still there, enabled and not revoked) is checked on every
//! use.
//!
//! From its time on, a token proves who presents it, also where it is refused: a [`Refusal`] then names who, and is
//! recorded. One that is not ours, or is out of its time, is a stranger's.
//!
//! Reads a snapshot and never the database, but for a join token. What it decides is an [`Authorization`].
//! Tests: `access/tests/`.

mod authorization;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use denizen_keys::{
    PublicKey, b64, hash,
    jws::{JwsError, MAX_TOKEN_BYTES, Unverified},
    x509::Certificate,
};
use denizen_serve::Sampler;
use denizen_wire::{ClientId, Clock, PrincipalId, ResourceId, TenantId, UnixTime, claims::AccessToken};
use quick_cache::sync::Cache;
use serde_json::json;
use uuid::Uuid;

pub use self::authorization::{Authorization, Known, System, SystemReason, WrongAuthorization};
use super::strangers::Strangers;
use crate::{
    domain::{
        Actor, Ctx,
        authorize::{Action, Attributes, Because, Decision, RoleSource, authorize},
        built_in_clients::built_in_client,
        claims::{audience, issuer},
        directory::{SigningKey, TokenVersion},
        hot::Assignment,
        resources::JoinToken,
        roles::{BuiltInRoles, RoleDefinition, RoleId},
    },
    store::{Kept, OneTimeRefused, Snapshot, Store, StoreError},
};

#[cfg(test)]
pub(crate) mod tests;

/// The longest token for a resource of ours that is looked at, bytes. They have about 1,500.
const MAX_TOKEN: usize = 8 * 1024;
/// A token may start this many seconds in the future: clocks differ. Its end has no such grace.
const SKEW: i64 = 300;
/// How many verified tokens are kept.
const VERIFIED_TOKENS: usize = 65_536;
/// How many parsed signing keys are kept.
const PARSED_KEYS: usize = 4096;
/// A signing key that cannot be read is logged once in this time: whoever presents a token causes it.
const KEY_FAULT_PERIOD: Duration = Duration::from_secs(60);

/// Authenticates and authorizes callers.
#[derive(Clone)]
pub struct Access {
    store: Store,
    authority: Arc<str>,
    roles: Arc<BuiltInRoles>,
    keys: Arc<Cache<(TenantId, String), Arc<ParsedKey>>>,
    tokens: Arc<Cache<[u8; 32], Arc<Caller>>>,
    strangers: Strangers,
    key_faults: Arc<Sampler>,
}

/// A signing key's public half, parsed once, with the certificate it was read from.
struct ParsedKey {
    certificate: String,
    public: PublicKey,
}

/// What a verified token says. Made by [`Access::authenticate`] only.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The tenant that issued the token, which is the tenant it is good in.
    pub tenant: TenantId,
    /// The principal: what roles are given to.
    pub principal: PrincipalId,
    /// The client it came by.
    pub client: ClientId,
    /// Whether there is a user behind it.
    pub subject: Subject,
    /// The issuer, as the token writes it.
    pub issuer: String,
    /// As the token writes it.
    written_audience: String,
    /// The same in its canonical form.
    audience: String,
    kid: String,
    epoch: u64,
    /// Whether its client asks for a newer token where it is told to.
    handles_challenges: bool,
    not_before: UnixTime,
    expires: UnixTime,
}

/// Who a token is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The client by itself.
    App,
    /// A user, for whom the client acts.
    User {
        /// What the client may do, by spaces.
        scopes: String,
        /// How the user has signed in.
        methods: Vec<String>,
        /// When.
        at: UnixTime,
        /// The session.
        session: Uuid,
    },
}

/// What a client must have been granted to do at our own resources whatever its user may do.
pub const USER_IMPERSONATION: &str = "user_impersonation";

impl Subject {
    /// Whether it may do what its principal may do: a client that acts for a user, when the user's token says so.
    pub fn may_act(&self) -> bool {
        match self {
            Self::App => true,
            Self::User { scopes, .. } => scopes.split(' ').any(|scope| scope == USER_IMPERSONATION),
        }
    }
}

/// Who holds a join token, and may enrol a machine by it.
pub struct Enrolment {
    /// To do so, in the token's resource group.
    pub authorization: Authorization,
    /// The token.
    pub token: JoinToken,
    /// Whether a machine was enrolled by it already.
    pub used: bool,
}

/// No role assignment allows it. The reasons are borrowed from the snapshot that decided.
#[derive(Clone, Debug)]
pub struct Denied<'a> {
    /// Why.
    pub because: Because<'a>,
}

impl Caller {
    /// What its token is for, as the token writes it.
    pub fn written_audience(&self) -> &str {
        &self.written_audience
    }

    /// Who is accountable for what this caller does.
    pub fn actor(&self) -> Actor {
        Actor::Principal { id: self.principal, client: self.client }
    }

    /// The same as a proof of who it is, in the context of its request.
    pub fn known(&self, ctx: &Ctx) -> Known {
        Known::proved(ctx.by(self.actor()))
    }

    /// Who it is in a tenant.
    fn actor_in(&self, tenant: TenantId) -> Actor {
        if tenant == self.tenant {
            return self.actor();
        }
        Actor::Foreign { tenant: self.tenant, id: self.principal }
    }
}

/// A token that is not believed, and who presented it as far as that is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub error: AuthError,
    by: Option<Actor>,
}

impl Refusal {
    /// Who was refused, in the context of its request; none when the token proved nothing.
    pub fn known(&self, ctx: &Ctx) -> Option<Known> {
        Some(Known::proved(ctx.by(self.by.clone()?)))
    }
}

/// Nothing is proved.
impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        Self { error, by: None }
    }
}

/// Why a token is not believed. Details are said only of tokens whose signature was good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is none.
    #[error("Request is missing a Bearer or PoP token.")]
    Missing,
    /// It is not a token that could be ours: form, algorithm, type.
    #[error("Error validating token: {0}. Get a new token from this server's authority.")]
    Form(JwsError),
    /// It is signed well, and is not an app-only access token of ours.
    #[error("Error validating token: {0}. Get a new token from this server's authority.")]
    Kind(&'static str),
    /// No key of this name is published.
    #[error(
        "Unable to resolve the key used for signature validation. Get a token from the tenant that the challenge names."
    )]
    Key,
    /// The signature is another's.
    #[error("Error validating token: the signature is not valid. Get a new token from this server's authority.")]
    Signature,
    /// Another authority, or another tenant of ours.
    #[error("Invalid issuer. Expected {expected}, found {found}.")]
    Issuer {
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// For another resource.
    #[error("Invalid audience. Expected {expected}, found: {found}.")]
    Audience {
        /// The resource the challenge names.
        expected: String,
        /// What the token is for.
        found: String,
    },
    /// Ended.
    #[error("Error validating token: it expired at {}. Get a new token.", .0.rfc3339())]
    Expired(UnixTime),
    /// Not begun.
    #[error("Error validating token: it is not valid before {}. Check this machine's clock.", .0.rfc3339())]
    NotYet(UnixTime),
    /// The principal is gone, disabled, or its tokens were revoked.
    #[error("Error validating token: its principal {0}.")]
    Principal(&'static str),
    /// Its tokens were revoked, and its client has said that it asks for a newer one where it is told to (`xms_cc`).
    #[error("Error validating token: its principal {0}.")]
    Newer(&'static str),
}

impl AuthError {
    /// What a `WWW-Authenticate` says beside, where the client can get a newer token: the claims that it is to ask for. Clients
    /// pass their cache by then (continuous access evaluation).
    pub fn challenge(&self, now: UnixTime) -> String {
        let Self::Newer(_) = self else { return String::new() };
        let claims = json!({ "access_token": { "nbf": { "essential": true, "value": now.0.to_string() } } });
        format!(r#", error="insufficient_claims", claims="{}""#, b64::standard(claims.to_string().as_bytes()))
    }
}

impl Access {
    /// Creates the access checks of a server, and the server's own authority.
    ///
    /// `authority` is the issuers' base URL without a trailing slash.
    pub fn new(store: Store, roles: Arc<BuiltInRoles>, authority: &str, clock: Clock) -> (Self, System) {
        let system = System::new(store.clone(), clock);
        let (keys, tokens) = (Arc::new(Cache::new(PARSED_KEYS)), Arc::new(Cache::new(VERIFIED_TOKENS)));
        let (strangers, key_faults) = (Strangers::default(), Arc::new(Sampler::new(1, KEY_FAULT_PERIOD)));
        (Self { store, authority: authority.into(), roles, keys, tokens, strangers, key_faults }, system)
    }

    /// What is kept of requests that proved nothing.
    pub fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    /// The directory as it is now. A request takes one, and is authenticated and decided by it.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.store.snapshot()
    }

    /// Says who presents `token`, which must be issued by `tenant` for one of `audiences`, each in its canonical form
    /// (`domain::claims::audience::canonical`); the first of them is what a refusal names.
    ///
    /// # Errors
    /// The first check that fails, in the order of the module's text.
    pub fn authenticate(
        &self,
        snapshot: &Snapshot,
        token: &str,
        audiences: &[String],
        tenant: TenantId,
        now: UnixTime,
    ) -> Result<Arc<Caller>, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(AuthError::Form(JwsError::TooLong { limit: MAX_TOKEN }).into());
        }
        self.authenticate_assertion(snapshot, token, audiences, tenant, now)
    }

    /// The same of a token that an application brings, which was issued to it: such a token may name groups, and be longer than
    /// one for a resource of ours.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub fn authenticate_assertion(
        &self,
        snapshot: &Snapshot,
        token: &str,
        audiences: &[String],
        tenant: TenantId,
        now: UnixTime,
    ) -> Result<Arc<Caller>, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::Form(JwsError::TooLong { limit: MAX_TOKEN_BYTES }).into());
        }
        let fingerprint = hash::sha256(token.as_bytes());
        let caller = match self.tokens.get(&fingerprint) {
            Some(caller) => {
                published(snapshot, caller.tenant, &caller.kid, now).ok_or(AuthError::Key)?;
                in_time(caller.not_before, caller.expires, now)?;
                caller
            }
            None => {
                let caller = Arc::new(self.verify(snapshot, token, tenant, now)?);
                self.tokens.insert(fingerprint, Arc::clone(&caller));
                caller
            }
        };
        let good = if caller.tenant == tenant {
            caller.still_good(snapshot, audiences)
        } else {
            Err(self.other_issuer(tenant, &caller.issuer))
        };
        match good {
            Ok(()) => Ok(caller),
            Err(error) => Err(Refusal { error, by: Some(caller.actor_in(tenant)) }),
        }
    }

    /// The same of an API that is one for all tenants: the token's key says whose tenant it is. That tenant is given with
    /// the refusal of a token by such a key.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub fn authenticate_in_any(
        &self,
        snapshot: &Snapshot,
        token: &str,
        audiences: &[String],
        now: UnixTime,
    ) -> Result<Arc<Caller>, (Option<TenantId>, Refusal)> {
        let unverified = Unverified::parse(token, MAX_TOKEN).map_err(|error| (None, AuthError::Form(error).into()))?;
        let signed_by = |kid| snapshot.signers(kid).find(|tenant| published(snapshot, *tenant, kid, now).is_some());
        let tenant = unverified.kid().and_then(signed_by).ok_or((None, AuthError::Key.into()))?;
        self.authenticate(snapshot, token, audiences, tenant, now).map_err(|refusal| (Some(tenant), refusal))
    }

    /// Decides whether an authenticated caller may do `action` at `scope`: the one way to an [`Authorization`] for
    /// what a request asks.
    ///
    /// # Errors
    /// [`Denied`] with the reasons, which borrow from `snapshot`.
    pub fn authorize<'a>(
        &'a self,
        snapshot: &'a Arc<Snapshot>,
        caller: &Caller,
        ctx: Ctx,
        action: &Action,
        scope: &ResourceId,
    ) -> Result<Authorization, Denied<'a>> {
        let view = TenantRoles { snapshot, tenant: caller.tenant, roles: &self.roles };
        let decision = match caller.subject.may_act() {
            true => authorize(&view, caller.principal, action, scope, &Attributes::default()),
            false => Decision { allowed: false, because: Because::Scopes(USER_IMPERSONATION) },
        };
        if !decision.allowed {
            return Err(Denied { because: decision.because });
        }
        // Room for all of a usual one; writing to a string cannot fail.
        let mut reason = String::with_capacity(128);
        let _ = write!(reason, "{}", decision.because);
        Ok(Authorization::by_roles(
            ctx,
            Arc::clone(snapshot),
            (caller.principal, caller.epoch),
            action.clone(),
            scope.clone(),
            Arc::clone(&self.roles),
            reason,
        ))
    }

    /// The authorization of who holds the join token with this SHA-256 (lower-case hexadecimal) to do `action` in the
    /// token's resource group. Costs one read, so that guesses keep nobody from writing. That the token is used once is
    /// decided when the operation consumes it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the tenant of `ctx` has no such token, or it has ended; the store's.
    pub async fn enrolment(&self, ctx: &Ctx, token_hash: &str, action: &'static str) -> Result<Enrolment, StoreError> {
        let kept = self.store.one_time::<JoinToken>(token_hash).await?.filter(|kept| kept.it.tenant == ctx.tenant);
        let Kept { it: token, used } = kept.ok_or(OneTimeRefused::Unknown)?;
        if token.expires <= ctx.now {
            return Err(OneTimeRefused::Expired.into());
        }
        let ctx = ctx.by(Actor::JoinToken(token.id));
        Ok(Enrolment { authorization: Authorization::by_join_token(ctx, self.snapshot(), action, &token), token, used })
    }

    /// The built-in roles this decides with.
    pub fn roles(&self) -> &BuiltInRoles {
        &self.roles
    }

    /// What cannot change about a token (key, signature, issuer, kind), and its time.
    fn verify(&self, snapshot: &Snapshot, token: &str, tenant: TenantId, now: UnixTime) -> Result<Caller, Refusal> {
        let unverified = Unverified::parse(token, MAX_TOKEN_BYTES).map_err(AuthError::Form)?;
        let kid = unverified.kid().ok_or(AuthError::Key)?.to_owned();
        // Another tenant's key says who presents the token here. It opens nothing: the tenant is compared at each use.
        let key = published(snapshot, tenant, &kid, now)
            .or_else(|| snapshot.signers(&kid).find_map(|other| published(snapshot, other, &kid, now)))
            .ok_or(AuthError::Key)?;
        let (signed_by, key) = (key.tenant, self.parsed(key)?);
        // The key says by which algorithm, never the token.
        let verified = unverified.verify(&key.public, &[key.public.token_algorithm()]).map_err(|error| {
            if error == JwsError::BadSignature { AuthError::Signature } else { AuthError::Form(error) }
        })?;
        let claims: AccessToken = verified.claims().map_err(AuthError::Form)?;
        in_time(claims.nbf, claims.exp, now)?;
        self.of_our_kind(signed_by, kid, &claims).map_err(|error| {
            let (client, id) = (claims.appid.or(claims.azp), claims.oid);
            let by = match client {
                Some(client) if claims.tid == tenant => Some(Actor::Principal { id, client }),
                Some(_) => Some(Actor::Foreign { tenant: claims.tid, id }),
                None => None,
            };
            Refusal { error, by }
        })
    }

    /// Who a signed token names, when it is one that the tenant with that key issues to be used here.
    fn of_our_kind(&self, tenant: TenantId, kid: String, claims: &AccessToken) -> Result<Caller, AuthError> {
        let (expected, client) = match claims.ver.as_str() {
            "1.0" => (issuer(&self.authority, tenant, TokenVersion::V1), claims.appid),
            "2.0" => (issuer(&self.authority, tenant, TokenVersion::V2), claims.azp),
            _ => return Err(AuthError::Kind("it is of an unknown version")),
        };
        if claims.iss != expected {
            return Err(AuthError::Issuer { expected, found: claims.iss.clone() });
        }
        if claims.tid != tenant {
            return Err(self.other_issuer(tenant, &claims.iss));
        }
        let subject = match (claims.idtyp.as_str(), &claims.scp) {
            ("app", None) if claims.sub == claims.oid.to_string() => Subject::App,
            ("user", Some(scopes)) if !scopes.is_empty() => Subject::User {
                scopes: scopes.clone(),
                methods: claims.methods().to_vec(),
                at: claims.auth_time.ok_or(AuthError::Kind("it does not say when its user signed in"))?,
                session: claims.sid.ok_or(AuthError::Kind("it names no session"))?,
            },
            _ => return Err(AuthError::Kind("it is neither an app-only access token nor a user's")),
        };
        let client = client.ok_or(AuthError::Kind("it names no client"))?;
        Ok(Caller {
            tenant,
            principal: claims.oid,
            client,
            subject,
            issuer: claims.iss.clone(),
            audience: audience::canonical(&claims.aud),
            written_audience: claims.aud.clone(),
            kid,
            epoch: claims.xms_epoch,
            handles_challenges: claims.xms_cc.iter().any(|it| it == "cp1"),
            not_before: claims.nbf,
            expires: claims.exp,
        })
    }

    fn parsed(&self, key: &SigningKey) -> Result<Arc<ParsedKey>, AuthError> {
        let id = (key.tenant, key.kid.clone());
        if let Some(parsed) = self.keys.get(&id).filter(|parsed| parsed.certificate == key.certificate) {
            return Ok(parsed);
        }
        let public = b64::decode_standard(&key.certificate)
            .and_then(|der| Certificate::from_der(&der).ok())
            .and_then(|certificate| certificate.any_public_key().ok())
            .filter(|public| public.token_algorithm() == key.alg.in_tokens());
        let Some(public) = public else {
            if let Some(held_back) = self.key_faults.admit() {
                tracing::error!(kid = %key.kid, tenant = %key.tenant, held_back, "a published signing key's certificate cannot be read");
            }
            return Err(AuthError::Key);
        };
        let parsed = Arc::new(ParsedKey { certificate: key.certificate.clone(), public });
        self.keys.insert(id, Arc::clone(&parsed));
        Ok(parsed)
    }

    fn other_issuer(&self, tenant: TenantId, found: &str) -> AuthError {
        AuthError::Issuer { expected: issuer(&self.authority, tenant, TokenVersion::V1), found: found.to_owned() }
    }
}

impl Caller {
    /// What can change beside key and time: the audience asked for, the principal.
    fn still_good(&self, snapshot: &Snapshot, audiences: &[String]) -> Result<(), AuthError> {
        if !audiences.contains(&self.audience) {
            let expected = audiences.first().cloned().unwrap_or_default();
            return Err(AuthError::Audience { expected, found: self.written_audience.clone() });
        }
        if let Subject::User { .. } = self.subject {
            let user = snapshot.user(self.tenant, self.principal);
            let user = user.ok_or(AuthError::Principal("does not exist any more"))?;
            // A client that was disabled or deleted acts for nobody. A tool that every tenant has need not be registered.
            let is_there = match snapshot.principal_of_client(self.tenant, self.client) {
                Some(client) => client.enabled,
                None => built_in_client(self.client).is_some(),
            };
            if !is_there {
                return Err(AuthError::Principal("acts by a client that is disabled or deleted"));
            }
            return user.accepts(self.epoch).map_err(|why| self.not_accepted(user.enabled, why));
        }
        let principal =
            snapshot.principal(self.tenant, self.principal).ok_or(AuthError::Principal("does not exist any more"))?;
        if principal.client_id != self.client {
            return Err(AuthError::Principal("is not the one of this client"));
        }
        principal.accepts(self.epoch).map_err(|why| self.not_accepted(principal.enabled, why))
    }

    /// Who is there and may have tokens may have a newer one.
    fn not_accepted(&self, is_enabled: bool, why: &'static str) -> AuthError {
        if is_enabled && self.handles_challenges { AuthError::Newer(why) } else { AuthError::Principal(why) }
    }
}

/// Whether `now` is within a token's time.
fn in_time(not_before: UnixTime, expires: UnixTime, now: UnixTime) -> Result<(), AuthError> {
    if now >= expires {
        return Err(AuthError::Expired(expires));
    }
    if not_before > now + SKEW {
        return Err(AuthError::NotYet(not_before));
    }
    Ok(())
}

/// The tenant's key of this name, when it is published at `now`.
fn published<'a>(snapshot: &'a Snapshot, tenant: TenantId, kid: &str, now: UnixTime) -> Option<&'a SigningKey> {
    let key = snapshot.signing_keys(tenant).iter().find(|key| key.kid == kid)?;
    key.published_until.is_none_or(|until| now < until).then_some(&**key)
}

/// One tenant's role assignments and roles in one snapshot.
#[derive(Clone, Copy)]
pub(in crate::app) struct TenantRoles<'a> {
    pub(in crate::app) snapshot: &'a Snapshot,
    pub(in crate::app) tenant: TenantId,
    pub(in crate::app) roles: &'a BuiltInRoles,
}

impl TenantRoles<'_> {
    /// Whether a role is one of the directory.
    pub(in crate::app) fn is_of_directory(&self, id: RoleId) -> bool {
        self.role(id).is_some_and(RoleDefinition::is_of_directory)
    }

    /// The roles of the directory that one has, itself and by its groups: each once, by id.
    pub(in crate::app) fn of_directory(&self, principal: PrincipalId) -> Vec<Uuid> {
        let groups = self.groups_of(principal);
        let given = std::iter::once(&principal).chain(&groups).flat_map(|who| self.assignments_of(*who));
        let mut ids: Vec<Uuid> =
            given.map(|it| it.role).filter(|id| self.is_of_directory(*id)).map(|id| id.0).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

impl<'a> RoleSource<'a> for TenantRoles<'a> {
    fn assignments_of(&self, principal: PrincipalId) -> &'a [Arc<Assignment>] {
        self.snapshot.assignments_of(self.tenant, principal)
    }

    fn groups_of(&self, principal: PrincipalId) -> Vec<PrincipalId> {
        self.snapshot.groups_of(self.tenant, principal)
    }

    fn role(&self, id: RoleId) -> Option<&'a RoleDefinition> {
        self.roles.role(id).or_else(|| self.snapshot.custom_role(self.tenant, id).map(|role| &**role))
    }

    fn built_in(&self) -> &'a BuiltInRoles {
        self.roles
    }
}
