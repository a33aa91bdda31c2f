//! How people sign in: by password, then by what else they have; and the sessions that begin by that.
//!
//! ```text
//! password ─ wrong, or nobody ─→ refused, after the same time and with the same words
//!    │right
//!    ├─ somebody else knows it ─→ NewPassword ─┐
//!    ├─ has a second factor ───→ Code ─────────┤
//!    └─────────────────────────────────────────┴─→ SignIn ─→ session, tokens
//! ```
//!
//! **Nobody learns who is there**: whether a name is a user's says neither the text nor the time of an answer, which costs one
//! argon2id unless it is refused before anybody is looked up. What is said of a user (disabled, a second factor) is said to
//! who knows the password.
//!
//! **Guesses are few**: attempts are counted by account and by address, in the memory of this replica and in maps of bounded
//! size, and refused for a growing time from a limit on ([`guard`], [`crate::domain::attempts`]). Names that are nobody's are
//! counted like the others.
//!
//! Tests: `sign_in/tests.rs`.

pub mod browser;
mod guard;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use denizen_keys::{KeyError, SecretString, random, totp};
use denizen_wire::{TenantId, UnixTime};

use self::guard::Guard;
use super::{
    ChangeError,
    access::{Authorization, Known},
    passwords::{Passwords, Unhashed},
    strangers::{Reason, Stranger, Strangers},
    users::{self, Users},
};
use crate::{
    domain::{
        Actor, Ctx,
        directory::Tenant,
        people::User,
        sign_in::{NextStep, STEPS_LIFETIME, SignIn, SignInStep, hash_of},
    },
    store::{AuditEvent, Kept, OneTimeRefused, Snapshot, Store, StoreError, Write},
};

/// As the audit names it.
const SIGN_IN: &str = "Denizen.SignIn/signIn/action";
/// A step of a sign-in is kept.
const KEEP_STEP: &str = "Denizen.SignIn/steps/write";

/// Signs people in. Clones are the same one.
#[derive(Clone)]
pub struct SignInService {
    store: Store,
    users: Users,
    passwords: Passwords,
    guard: Arc<Guard>,
    strangers: Strangers,
}

/// How far a password has brought a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has signed in.
    Done(SignIn),
    /// It has more to do; what it has done.
    Next(NextStep, SignIn),
}

impl Step {
    /// The sign-in, for a client that cannot ask the user for more.
    ///
    /// # Errors
    /// [`SignInError::SecondFactor`], [`SignInError::MustChange`].
    pub fn done(self) -> Result<SignIn, SignInError> {
        match self {
            Self::Done(sign_in) => Ok(sign_in),
            Self::Next(NextStep::Code, _) => Err(SignInError::SecondFactor),
            Self::Next(NextStep::NewPassword, _) => Err(SignInError::MustChange),
        }
    }
}

/// Why somebody has not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The name, or the password: which, nobody is told.
    #[error("Error validating credentials due to invalid username or password.")]
    Wrong,
    /// Too many were tried.
    #[error(
        "You've tried to sign in too many times with an incorrect user ID or password. Wait until {}, then try again.",
        .0.rfc3339()
    )]
    Locked(UnixTime),
    /// An administrator has disabled it.
    #[error("The user account is disabled. Ask an administrator of the directory to enable it.")]
    Disabled,
    /// It has a second factor, and the client cannot ask for it.
    #[error(
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must use \
         multi-factor authentication to access this resource. Sign in with a browser or with a device code."
    )]
    SecondFactor,
    /// It has to change its password, and the client cannot ask for that.
    #[error("The password is expired: somebody else has set it. Sign in with a browser, and choose another.")]
    MustChange,
    /// The code is none of its second factor's, or was used before.
    #[error(
        "Authentication failed during strong authentication request: the code is wrong, or was used before. Type the one that is shown now."
    )]
    WrongCode,
    /// It took too long, or the browser has lost what it was given.
    #[error("Authentication failed due to flow token expired. Sign in again.")]
    Over,
    /// The new password breaks a rule.
    #[error("{0}")]
    NewPassword(String),
    /// Too many passwords are being verified.
    #[error(transparent)]
    Unhashed(#[from] Unhashed),
    /// The store.
    #[error("A transient error has occurred. Ask again in a few seconds.")]
    Store(#[source] StoreError),
    /// A key cannot be opened: our fault.
    #[error("A transient error has occurred. Ask again in a few seconds.")]
    Key(#[from] KeyError),
    /// A use case of ours failed.
    #[error("A transient error has occurred. Ask again in a few seconds.")]
    Change(#[source] ChangeError),
}

impl SignInError {
    /// The number that Entra gives this reason, by which people search.
    pub fn code(&self) -> i32 {
        match self {
            Self::Wrong => 50_126,
            Self::Locked(_) => 50_053,
            Self::Disabled => 50_057,
            Self::SecondFactor => 50_076,
            Self::MustChange => 50_055,
            Self::WrongCode => 500_121,
            Self::Over => 50_089,
            Self::NewPassword(_) => 50_142,
            Self::Unhashed(_) | Self::Store(_) | Self::Key(_) | Self::Change(_) => 90_033,
        }
    }

    /// Whether it is ours, and passes.
    pub fn is_transient(&self) -> bool {
        self.code() == 90_033
    }
}

impl From<StoreError> for SignInError {
    /// What was spent, has ended or was revoked is over; everything else is the store's.
    fn from(error: StoreError) -> Self {
        let is_over = matches!(
            error,
            StoreError::NotAuthorized
                | StoreError::Refused(OneTimeRefused::Unknown | OneTimeRefused::Used | OneTimeRefused::Expired)
        );
        if is_over { Self::Over } else { Self::Store(error) }
    }
}

impl From<ChangeError> for SignInError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Invalid(rule) => Self::NewPassword(rule),
            ChangeError::Busy => Self::Unhashed(Unhashed::Busy),
            ChangeError::Store(error) => Self::from(error),
            ours @ (ChangeError::Missing(_)
            | ChangeError::Authorization(_)
            | ChangeError::Unfinished(_)
            | ChangeError::Key(_)) => Self::Change(ours),
        }
    }
}

impl SignInService {
    /// Creates the sign-in of a store.
    pub fn new(store: Store, users: Users, passwords: Passwords, strangers: Strangers) -> Self {
        Self { store, users, passwords, guard: Arc::new(Guard::default()), strangers }
    }

    /// The directory as it is now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.store.snapshot()
    }

    /// What is kept of requests that proved nothing.
    pub fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    /// Verifies a password. `ctx` says when and from where; its tenant and actor are not looked at.
    ///
    /// # Errors
    /// [`SignInError`]; nobody but who knows the password learns whether there is such a user.
    pub async fn password(
        &self,
        ctx: &Ctx,
        tenant: TenantId,
        name: &str,
        password: &SecretString,
    ) -> Result<Step, SignInError> {
        let ctx = &Ctx { tenant, ..ctx.by(Actor::Anonymous) };
        let user = self.proved(ctx, name, password).await?;
        // The rest is said to who knows the password.
        if !user.enabled {
            let event = AuditEvent::refused(SIGN_IN, format!("users/{}", user.id), "the user is disabled");
            self.store.note(&Known::proved(ctx.by(Actor::User(user.id))), &event);
            return Err(SignInError::Disabled);
        }
        let sign_in = SignIn {
            tenant,
            user: user.id,
            epoch: user.epoch,
            at: ctx.now,
            methods: vec!["pwd".to_owned()],
            session: random::uuid_v4(),
        };
        let must_change = user.password.as_ref().is_some_and(|password| password.must_change);
        Ok(match (&user.totp, must_change) {
            // Whoever only has the password must not change it.
            (Some(_), _) => Step::Next(NextStep::Code, sign_in),
            (None, true) => Step::Next(NextStep::NewPassword, sign_in),
            (None, false) => Step::Done(sign_in),
        })
    }

    /// The user whose password it is.
    async fn proved(&self, ctx: &Ctx, name: &str, password: &SecretString) -> Result<User, SignInError> {
        let refused = |reason, error: SignInError| {
            let stranger = Stranger { tenant: Some(ctx.tenant), ..Stranger::from(ctx) };
            self.strangers.refused(reason, stranger, &error);
            error
        };
        let admitted = self.guard.admit(ctx.tenant, name, ctx.address, ctx.now);
        let admitted = admitted.map_err(|until| refused(Reason::LockedOut, SignInError::Locked(until)))?;
        let found = self.verified(ctx, name, password).await;
        let proved = found.and_then(|user| user.ok_or_else(|| refused(Reason::Password, SignInError::Wrong)));
        admitted.end(proved)
    }

    /// The user of this name, if it is its password.
    async fn verified(&self, ctx: &Ctx, name: &str, password: &SecretString) -> Result<Option<User>, SignInError> {
        let snapshot = self.store.snapshot();
        let user = match snapshot.user_named(ctx.tenant, name) {
            Some(user) => self.store.record::<User>(ctx, &user.id).await?,
            None => {
                // As long as the other.
                let _tenant = self.store.record::<Tenant>(ctx, &ctx.tenant).await?;
                None
            }
        };
        let kept = user.as_ref().and_then(|user| user.password.as_ref());
        let is_right = self.passwords.verify(password, kept.map(|kept| kept.hash.as_str())).await?;
        Ok(user.filter(|_| is_right))
    }

    /// Keeps how far a browser has come: the secret that it shows with the next step.
    ///
    /// # Errors
    /// The store's.
    pub async fn keep(&self, ctx: &Ctx, next: NextStep, sign_in: &SignIn) -> Result<SecretString, SignInError> {
        let ctx = Ctx { tenant: sign_in.tenant, ..ctx.clone() };
        let secret = random::token(32);
        let step = SignInStep {
            id: random::uuid_v4(),
            tenant: sign_in.tenant,
            hash: hash_of(&secret),
            expires: ctx.now + STEPS_LIFETIME,
            next,
            sign_in: sign_in.clone(),
        };
        let authorization = Authorization::by_user(&ctx, self.store.snapshot(), KEEP_STEP, sign_in);
        let step = &step;
        self.store
            .write(&authorization, |tx| {
                Box::pin(async move {
                    tx.issue(step).await?;
                    let target = format!("users/{}/signIns/{}", step.sign_in.user, step.sign_in.session);
                    Ok::<_, SignInError>(Write::commit(KEEP_STEP, target, ()))
                })
            })
            .await?;
        Ok(secret)
    }

    /// How far the browser that shows this secret has come.
    ///
    /// # Errors
    /// [`SignInError::Over`]; the store's.
    pub async fn kept(&self, ctx: &Ctx, secret: &SecretString) -> Result<SignInStep, SignInError> {
        let kept = self.store.one_time::<SignInStep>(&hash_of(secret)).await?;
        match kept {
            Some(Kept { it, used: false }) if ctx.now < it.expires => Ok(it),
            Some(_) | None => Err(SignInError::Over),
        }
    }

    /// The second step: a code of the second factor. Each code is good once. What is left to do is asked for again by
    /// [`Self::keep`].
    ///
    /// # Errors
    /// [`SignInError`]: [`SignInError::WrongCode`] leaves the step as it is, and another code can be tried.
    pub async fn code(&self, ctx: &Ctx, secret: &SecretString, code: &str) -> Result<Step, SignInError> {
        let step = self.kept(ctx, secret).await?;
        let tenant = step.tenant;
        let ctx = &Ctx { tenant, ..ctx.by(Actor::User(step.sign_in.user)) };
        if step.next != NextStep::Code {
            return Err(SignInError::Over);
        }
        let admitted = self.guard.admit_code(tenant, step.sign_in.user, ctx.now).map_err(SignInError::Locked)?;
        let must_change = admitted.end(self.redeem_code(ctx, &step, code).await)?;
        let mut sign_in = step.sign_in;
        sign_in.methods.push("mfa".to_owned());
        Ok(if must_change { Step::Next(NextStep::NewPassword, sign_in) } else { Step::Done(sign_in) })
    }

    /// Accepts a code of the second factor, and says whether the user has to change its password.
    async fn redeem_code(&self, ctx: &Ctx, step: &SignInStep, code: &str) -> Result<bool, SignInError> {
        let snapshot = self.store.snapshot();
        let record = self.store.record::<User>(ctx, &step.sign_in.user).await?.ok_or(SignInError::Over)?;
        let (Some(kept), Some(of)) = (&record.totp, snapshot.tenant(step.tenant)) else {
            return Err(SignInError::Over);
        };
        let key = self.users.totp_key(of, &record, kept)?;
        // People and apps write 123 456.
        let code: String = code.chars().filter(|letter| !letter.is_whitespace()).collect();
        let Some(at) = totp::verify(&key, &code, ctx.now.0, kept.last_step) else {
            let event = AuditEvent::refused(SIGN_IN, format!("users/{}", record.id), "wrong code");
            self.store.note(&Known::proved(ctx.clone()), &event);
            return Err(SignInError::WrongCode);
        };
        let (hash, sealed, id) = (&step.hash, &kept.sealed, &record.id);
        let authorization = Authorization::by_user(ctx, snapshot, SIGN_IN, &step.sign_in);
        self.store
            .write(&authorization, |tx| {
                Box::pin(async move {
                    let Some(mut user) = tx.record::<User>(id).await? else { return Err(SignInError::Over) };
                    match &mut user.totp {
                        // Another replica may have accepted it meanwhile.
                        Some(totp) if totp.sealed == *sealed && totp.last_step < at => totp.last_step = at,
                        Some(_) | None => return Err(SignInError::WrongCode),
                    }
                    tx.redeem::<SignInStep>(hash).await?;
                    tx.put(&user).await?;
                    let must_change = user.password.as_ref().is_some_and(|password| password.must_change);
                    Ok(Write::commit(SIGN_IN, format!("users/{}", user.id), must_change))
                })
            })
            .await
    }

    /// The last step of who has to change its password: the new one. The old one was typed in the step before. Gives the sign-in
    /// under the new one: what has signed in with the old one is over.
    ///
    /// # Errors
    /// [`SignInError::NewPassword`] names the rule that the new one breaks, and leaves the step as it is, as
    /// [`SignInError::Locked`] and [`SignInError::Unhashed`] do.
    pub async fn new_password(
        &self,
        ctx: &Ctx,
        secret: &SecretString,
        password: &SecretString,
    ) -> Result<SignIn, SignInError> {
        let step = self.kept(ctx, secret).await?;
        if step.next != NextStep::NewPassword {
            return Err(SignInError::Over);
        }
        let ctx = &Ctx { tenant: step.tenant, ..ctx.clone() };
        let user = step.sign_in.user;
        let record = self.store.record::<User>(ctx, &user).await?.ok_or(SignInError::Over)?;
        // Who had come as far by a password that is not the user's any more compares nothing with the one that is.
        if record.epoch != step.sign_in.epoch || !record.enabled {
            return Err(SignInError::Over);
        }
        users::good_password(&record.name, password)?;
        let admitted = self.guard.admit_new_password(step.tenant, user, ctx.now).map_err(SignInError::Locked)?;
        admitted.end(self.change_password(ctx, step, &record, password).await)
    }

    /// Redeems the step and keeps the password, where it is another than the old one.
    async fn change_password(
        &self,
        ctx: &Ctx,
        step: SignInStep,
        record: &User,
        password: &SecretString,
    ) -> Result<SignIn, SignInError> {
        let user = record.id;
        if let Some(kept) = &record.password
            && self.passwords.verify(password, Some(&kept.hash)).await?
        {
            return Err(SignInError::NewPassword("the new password must be another than the old one".to_owned()));
        }
        let new = self.users.kept(&record.name, password, false, ctx.now).await?;
        let action = users::actions::CHANGE_OWN_PASSWORD;
        let authorization = Authorization::by_user(ctx, self.store.snapshot(), action, &step.sign_in);
        let (hash, new) = (&step.hash, &new);
        let epoch = self
            .store
            .write(&authorization, |tx| {
                Box::pin(async move {
                    let Some(mut record) = tx.record::<User>(&user).await? else { return Err(SignInError::Over) };
                    // One browser changes it, once.
                    tx.redeem::<SignInStep>(hash).await?;
                    record.password = Some(new.clone());
                    record.epoch += 1;
                    tx.put(&record).await?;
                    Ok::<_, SignInError>(Write::commit(action, format!("users/{user}"), record.epoch))
                })
            })
            .await?;
        Ok(SignIn { epoch, ..step.sign_in })
    }
}
