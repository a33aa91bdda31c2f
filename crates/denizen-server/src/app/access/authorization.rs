//! The proof that an operation is authorized: who, which action, at which scope, and why.
//!
//! Every use case that reads or changes something of a tenant takes one. Its fields are private to this file, and
//! it is made by the constructors here only, so the code that needs it cannot build one with another action or reason:
//!
//! ```compile_fail
//! use denizen_server::app::access::Authorization;
//! // Nothing but the privacy of the fields stands against this: it names one field, and every type fits.
//! fn for_another_reason(known: Authorization) -> Authorization {
//!     Authorization { reason: "another".into(), ..known }
//! }
//! ```
//!
//! Tests: `tests/authorization.rs` beside this file.

use std::{borrow::Cow, sync::Arc};

use denizen_keys::random;
use denizen_wire::{Clock, PrincipalId, ResourceId, TenantId, UnixTime};

use super::TenantRoles;
use crate::{
    domain::{
        Actor, Ctx,
        authorize::{Action, Attributes, authorize},
        resources::JoinToken,
        roles::BuiltInRoles,
        sign_in::SignIn,
    },
    store::{RecordProof, Snapshot, Store, WriteProof},
};

/// Proof that an operation is authorized. [`Access::authorize`](super::Access::authorize),
/// [`Access::enrolment`](super::Access::enrolment) and [`System::authorize`] make it, and for what a person does by signing in
/// [`Self::by_sign_in`], [`Self::by_user`] and [`Self::to_begin`].
#[derive(Clone)]
pub struct Authorization {
    ctx: Ctx,
    snapshot: Arc<Snapshot>,
    granted: Granted,
    reason: Cow<'static, str>,
}

/// A context whose actor has proved who it is, and is authorized for nothing by that: what a refusal is recorded with.
///
/// What counts is a proof that is in its time: a credential, an assertion or a token with a good signature, each within
/// its validity, or a join token that has not ended. Whoever finds an old one in a log is a stranger again, and leaves
/// no record (`app::strangers`).
#[derive(Clone, Debug)]
pub struct Known {
    ctx: Ctx,
}

impl Known {
    /// For the code that has just checked the proof.
    pub(in crate::app) fn proved(ctx: Ctx) -> Self {
        Self { ctx }
    }

    /// Who, on which tenant, when, under which request.
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }
}

impl RecordProof for Known {
    fn ctx(&self) -> &Ctx {
        &self.ctx
    }
}

/// What is authorized.
#[derive(Clone, Debug)]
enum Granted {
    /// One action at one scope, to a principal, by its role assignments.
    Roles {
        principal: PrincipalId,
        /// The epoch of the principal when its token was issued.
        epoch: u64,
        action: Action,
        scope: ResourceId,
        roles: Arc<BuiltInRoles>,
    },
    /// One action at one scope, to who holds a join token. The token is consumed by the operation itself.
    JoinToken { action: &'static str, scope: ResourceId },
    /// To keep what a user's sign-in gives: sessions, codes, refresh tokens. Nothing else takes one.
    SignIn { action: &'static str, user: PrincipalId, epoch: u64 },
    /// To keep what a person is to decide about, for whoever asks: a device code. The use case bounds how many.
    Begin { action: &'static str },
    /// One action of a user on what is its own: its sessions, its consent, its password.
    User {
        action: &'static str,
        /// The user's tenant.
        home: TenantId,
        user: PrincipalId,
        /// The user's epoch when it signed in.
        epoch: u64,
        scope: ResourceId,
    },
    /// Anything in the tenant: the server acts by itself.
    System,
}

/// A use case was called with the authorization of another operation: a fault of ours, never of the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authorization is for {granted}, and not for {action} at {scope}")]
pub struct WrongAuthorization {
    granted: String,
    action: &'static str,
    scope: String,
}

impl Authorization {
    pub(super) fn by_roles(
        ctx: Ctx,
        snapshot: Arc<Snapshot>,
        (principal, epoch): (PrincipalId, u64),
        action: Action,
        scope: ResourceId,
        roles: Arc<BuiltInRoles>,
        reason: String,
    ) -> Self {
        let granted = Granted::Roles { principal, epoch, action, scope, roles };
        Self { ctx, snapshot, granted, reason: reason.into() }
    }

    pub(super) fn by_join_token(ctx: Ctx, snapshot: Arc<Snapshot>, action: &'static str, token: &JoinToken) -> Self {
        let granted = Granted::JoinToken { action, scope: token.resource_group.clone() };
        Self { ctx, snapshot, granted, reason: format!("join token {}", token.id).into() }
    }

    /// Of a user who has signed in, or of a client that brings the proof that one has: to keep what comes of that. For the
    /// code that has just checked it.
    pub(in crate::app) fn by_sign_in(
        ctx: Ctx,
        snapshot: Arc<Snapshot>,
        action: &'static str,
        sign_in: &SignIn,
    ) -> Self {
        let granted = Granted::SignIn { action, user: sign_in.user, epoch: sign_in.epoch };
        Self { ctx, snapshot, granted, reason: format!("sign-in {}", sign_in.session).into() }
    }

    /// Of whoever asks a person to decide: to keep the question. For the use case that bounds how many are kept.
    pub(in crate::app) fn to_begin(ctx: Ctx, snapshot: Arc<Snapshot>, action: &'static str) -> Self {
        Self { ctx, snapshot, granted: Granted::Begin { action }, reason: "a person decides".into() }
    }

    /// For the code that has just seen the user prove itself, or its session.
    pub(in crate::app) fn by_user(ctx: &Ctx, snapshot: Arc<Snapshot>, action: &'static str, sign_in: &SignIn) -> Self {
        let (home, user, epoch) = (sign_in.tenant, sign_in.user, sign_in.epoch);
        let granted = Granted::User { action, home, user, epoch, scope: ResourceId::root() };
        let actor = if home == ctx.tenant { Actor::User(user) } else { Actor::Foreign { tenant: home, id: user } };
        Self { ctx: ctx.by(actor), snapshot, granted, reason: "it is the user's own".into() }
    }

    /// Who, on which tenant, when, under which request.
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// The tenant.
    pub fn tenant(&self) -> TenantId {
        self.ctx.tenant
    }

    /// When.
    pub fn now(&self) -> UnixTime {
        self.ctx.now
    }

    /// The directory it was decided on. A read is answered from it; a write decides again by the transaction's own.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Why it is allowed: for the audit.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Checks that this is the authorization of `action` at `scope` in `tenant`. The scope is given in parts and may lie below the
    /// scope that was authorized. Each use case asks: so a route that names one action and runs another fails.
    ///
    /// # Errors
    /// [`WrongAuthorization`].
    pub fn check(&self, action: &'static str, tenant: TenantId, scope: &[&str]) -> Result<(), WrongAuthorization> {
        let wrong = |granted: String| WrongAuthorization { granted, action, scope: scope.concat() };
        if tenant != self.ctx.tenant {
            return Err(wrong(format!("tenant {}", self.ctx.tenant)));
        }
        let (granted, at) = match &self.granted {
            Granted::System => return Ok(()),
            Granted::Roles { action, scope, .. } => (action.name(), scope),
            Granted::JoinToken { action, scope } | Granted::User { action, scope, .. } => (*action, scope),
            Granted::SignIn { action, .. } | Granted::Begin { action } => return Err(wrong((*action).to_owned())),
        };
        if granted == action && is_at_or_below(scope, at.canonical()) {
            return Ok(());
        }
        Err(wrong(format!("{granted} at {at}")))
    }

    /// Whether the actor may change what `target` has its roles by: it has none of the directory, itself or by a group, or
    /// the actor may give such roles, which is `action`.
    pub fn outranks(&self, snapshot: &Snapshot, target: PrincipalId, action: &'static str) -> bool {
        match &self.granted {
            Granted::Roles { principal, roles, .. } => {
                let view = TenantRoles { snapshot, tenant: self.ctx.tenant, roles };
                let action = Action::control(action);
                let decide = || authorize(&view, *principal, &action, &ResourceId::root(), &Attributes::default());
                view.of_directory(target).is_empty() || decide().allowed
            }
            Granted::JoinToken { .. } | Granted::SignIn { .. } | Granted::Begin { .. } | Granted::User { .. } => false,
            Granted::System => true,
        }
    }

    /// The server's own, for tests, in any context.
    #[cfg(test)]
    pub(crate) fn of_test(ctx: Ctx, store: &Store) -> Self {
        Self { ctx, snapshot: store.snapshot(), granted: Granted::System, reason: "test".into() }
    }
}

/// Whether the scope that `parts` make up is `above` or lies below it, both canonical.
fn is_at_or_below(parts: &[&str], above: &str) -> bool {
    let mut rest = above.as_bytes();
    for part in parts {
        let part = part.as_bytes();
        let shared = part.len().min(rest.len());
        let (part, more) = part.split_at(shared);
        let (head, tail) = rest.split_at(shared);
        if part != head {
            return false;
        }
        rest = tail;
        if rest.is_empty() && !more.is_empty() {
            return more.starts_with(b"/") || above.ends_with('/');
        }
    }
    rest.is_empty()
}

impl RecordProof for Authorization {
    fn ctx(&self) -> &Ctx {
        &self.ctx
    }
}

impl WriteProof for Authorization {
    fn reason(&self) -> &str {
        &self.reason
    }

    fn action(&self) -> &str {
        match &self.granted {
            Granted::Roles { action, .. } => action.name(),
            Granted::JoinToken { action, .. }
            | Granted::SignIn { action, .. }
            | Granted::Begin { action }
            | Granted::User { action, .. } => action,
            Granted::System => "*",
        }
    }

    fn target(&self) -> String {
        match &self.granted {
            Granted::Roles { scope, .. } | Granted::JoinToken { scope, .. } => scope.as_str().to_owned(),
            Granted::SignIn { user, .. } => user.to_string(),
            Granted::User { user, .. } => format!("users/{user}"),
            Granted::Begin { .. } | Granted::System => self.ctx.tenant.to_string(),
        }
    }

    fn still_holds(&self, snapshot: &Snapshot) -> bool {
        match &self.granted {
            Granted::Roles { principal, epoch, action, scope, roles } => {
                let tenant = self.ctx.tenant;
                let view = TenantRoles { snapshot, tenant, roles };
                accepts(snapshot, tenant, *principal, *epoch)
                    && authorize(&view, *principal, action, scope, &Attributes::default()).allowed
            }
            // The operation consumes the token in its own transaction.
            Granted::JoinToken { scope, .. } => snapshot.resource_group(self.ctx.tenant, scope).is_some(),
            Granted::SignIn { user, epoch, .. } => accepts(snapshot, self.ctx.tenant, *user, *epoch),
            Granted::User { home, user, epoch, .. } => {
                snapshot.user(*home, *user).is_some_and(|user| user.accepts(*epoch).is_ok())
            }
            Granted::Begin { .. } | Granted::System => true,
        }
    }
}

/// Whether a client's principal, or a user, is there and not revoked.
fn accepts(snapshot: &Snapshot, tenant: TenantId, id: PrincipalId, epoch: u64) -> bool {
    let of_client = snapshot.principal(tenant, id).map(|principal| principal.accepts(epoch));
    let of_user = || snapshot.user(tenant, id).map(|user| user.accepts(epoch));
    of_client.or_else(of_user).is_some_and(|accepted| accepted.is_ok())
}

/// The server's own authority: it authorizes what no caller asked for.
///
/// `Server` holds the only one and hands it to its schedules, to whoever owns the process (`denizen dev`, an administrator's
/// command) and to `app::administration`, which takes a proof of that. No protocol is given it.
#[derive(Clone)]
pub struct System {
    store: Store,
    clock: Clock,
}

/// Why the server acts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemReason {
    /// A tenant and what belongs to it are set up.
    SetUp,
    /// The signing keys' schedule.
    SigningKeySchedule,
    /// The time to recover a deleted secret is over.
    RecoveryOver,
    /// Join tokens that nobody can use any more are removed.
    JoinTokensEnded,
    /// Whoever keeps the server says that its clock is right.
    ClockConfirmed,
    /// An administrator's command on this machine.
    Command(&'static str),
}

impl SystemReason {
    /// As the audit names it.
    pub fn text(self) -> &'static str {
        match self {
            Self::SetUp => "set-up",
            Self::SigningKeySchedule => "signing-key schedule",
            Self::RecoveryOver => "the time to recover it is over",
            Self::JoinTokensEnded => "join tokens have ended",
            Self::ClockConfirmed => "the clock was confirmed",
            Self::Command(command) => command,
        }
    }
}

impl System {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Authorizes an operation on a tenant, now.
    pub fn authorize(&self, tenant: TenantId, reason: SystemReason) -> Authorization {
        let ctx = Ctx::new(tenant, Actor::System(reason.text()), self.clock.now(), random::uuid_v4());
        let (snapshot, granted) = (self.store.snapshot(), Granted::System);
        Authorization { ctx, snapshot, granted, reason: reason.text().into() }
    }
}
