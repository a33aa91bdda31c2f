//! Users: made, given a password and a second factor, disabled, signed out everywhere.
//!
//! What a user does for itself is decided by its having signed in; what is done to others takes a role of the directory. Of a
//! password a hash is kept, of a second factor its key, sealed under the tenant's key and bound to its user.
//!
//! Tests: `users/tests.rs`.

use denizen_keys::{
    KeyError, SecretBytes, SecretString, b64,
    envelope::{self, DataKey, aad},
    random, totp,
};
use denizen_wire::{PrincipalId, TenantId, UnixTime, shown};
use serde::{Deserialize, Serialize};

use super::{
    ChangeError,
    access::Authorization,
    key_encryption_keys::KeyEncryptionKeys,
    passwords::{Passwords, Unhashed},
};
use crate::{
    domain::{
        directory::Tenant,
        hot,
        people::{Totp, User, UserPassword},
    },
    store::{Snapshot, Store, Write},
};

#[cfg(test)]
pub(crate) mod tests;

/// What a password's length must be within, characters.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=256;
/// The longest name, characters, as Entra's.
const MAX_NAME: usize = 113;
/// The longest text for people, characters.
const MAX_TEXT: usize = 256;
/// The shortest name that a password may not contain, characters: shorter ones are in any word.
const TELLING: usize = 4;

/// The actions of this file, as authorization names them.
pub mod actions {
    /// Make a user.
    pub const CREATE: &str = "microsoft.directory/users/create";
    /// Set another's password.
    pub const SET_PASSWORD: &str = "microsoft.directory/users/password/update";
    /// Let it sign in again.
    pub const ENABLE: &str = "microsoft.directory/users/enable";
    /// Keep it from signing in.
    pub const DISABLE: &str = "microsoft.directory/users/disable";
    /// Sign it out everywhere.
    pub const REVOKE: &str = "microsoft.directory/users/invalidateAllRefreshTokens";
    /// Give it a second factor.
    pub const SET_UP_TOTP: &str = "microsoft.directory/users/authenticationMethods/create";
    /// Take it away.
    pub const REMOVE_TOTP: &str = "microsoft.directory/users/authenticationMethods/delete";
    /// Change one's own password.
    pub const CHANGE_OWN_PASSWORD: &str = "Denizen.SignIn/password/write";
}

/// Changes to users.
#[derive(Clone)]
pub struct Users {
    store: Store,
    key_encryption_keys: KeyEncryptionKeys,
    passwords: Passwords,
}

/// A user that is wanted. Has no `Debug`: it may hold a password.
pub struct NewUser {
    /// `userPrincipalName`.
    pub name: String,
    /// For people; the name when it is empty.
    pub display_name: String,
    /// What it signs in with; none for a user that comes from another provider.
    pub password: Option<SecretString>,
    /// Whether it has to change that first.
    pub must_change: bool,
}

/// A second factor that was set up: to be shown once. Has no `Debug`.
#[derive(Serialize, Deserialize)]
pub struct NewTotp {
    /// The key, to be typed into an app.
    pub key: String,
    /// The same as apps read it from a picture.
    pub uri: String,
}

impl From<Unhashed> for ChangeError {
    fn from(error: Unhashed) -> Self {
        match error {
            Unhashed::Busy => Self::Busy,
            Unhashed::Unfinished(why) => Self::Unfinished(why),
        }
    }
}

impl Users {
    /// Creates the use cases of a store.
    pub fn new(store: Store, key_encryption_keys: KeyEncryptionKeys, passwords: Passwords) -> Self {
        Self { store, key_encryption_keys, passwords }
    }

    /// Makes a user.
    ///
    /// # Errors
    /// [`ChangeError::Invalid`] names the rule that is broken; the store's: `Exists` when the name is taken.
    pub async fn create(&self, authorization: &Authorization, new: &NewUser) -> Result<User, ChangeError> {
        authorization.check(actions::CREATE, authorization.tenant(), &["/"])?;
        let (tenant, now) = (authorization.tenant(), authorization.now());
        let domain = authorization.snapshot().tenant(tenant).map(|tenant| tenant.domain.clone()).unwrap_or_default();
        let local = local_part(&new.name, &domain)?.to_owned();
        let display_name = if new.display_name.is_empty() { &new.name } else { &new.display_name };
        if display_name.chars().count() > MAX_TEXT || display_name.chars().any(char::is_control) {
            return Err(ChangeError::Invalid("a display name has up to 256 characters, on one line".to_owned()));
        }
        let password = match &new.password {
            Some(password) => Some(self.kept(&new.name, password, new.must_change, now).await?),
            None => None,
        };
        let user = User {
            tenant,
            id: PrincipalId(random::uuid_v4()),
            name: new.name.clone(),
            display_name: display_name.clone(),
            given_name: None,
            surname: None,
            mail: None,
            mail_nickname: local,
            enabled: true,
            epoch: 0,
            password,
            totp: None,
            externals: Vec::new(),
            created: now,
        };
        let written = &user;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    tx.insert(written).await?;
                    Ok::<_, ChangeError>(Write::commit(actions::CREATE, target(written.id), ()))
                })
            })
            .await?;
        Ok(user)
    }

    /// Sets a user's password. What it has signed in with the old one is over.
    ///
    /// # Errors
    /// [`ChangeError::Invalid`] names the rule that the password breaks; [`ChangeError::Missing`]; the store's.
    pub async fn set_password(
        &self,
        authorization: &Authorization,
        user: PrincipalId,
        password: &SecretString,
        must_change: bool,
    ) -> Result<(), ChangeError> {
        authorization.check(actions::SET_PASSWORD, authorization.tenant(), &["/"])?;
        self.put_password(authorization, actions::SET_PASSWORD, user, password, must_change).await
    }

    async fn put_password(
        &self,
        authorization: &Authorization,
        action: &'static str,
        user: PrincipalId,
        password: &SecretString,
        must_change: bool,
    ) -> Result<(), ChangeError> {
        let name = named_by(authorization, user)?.name.clone();
        let password = self.kept(&name, password, must_change, authorization.now()).await?;
        self.change(authorization, action, user, |user| {
            user.password = Some(password.clone());
            user.epoch += 1;
            true
        })
        .await
    }

    /// Lets a user sign in, or keeps it from that. A disabled one is refused at once, wherever this server decides.
    ///
    /// # Errors
    /// [`ChangeError::Missing`]; the store's.
    pub async fn set_enabled(
        &self,
        authorization: &Authorization,
        user: PrincipalId,
        enabled: bool,
    ) -> Result<(), ChangeError> {
        let action = if enabled { actions::ENABLE } else { actions::DISABLE };
        authorization.check(action, authorization.tenant(), &["/"])?;
        self.change(authorization, action, user, |user| {
            let changes = user.enabled != enabled;
            // What it had before it was disabled does not come back with it.
            user.epoch += u64::from(changes && !enabled);
            user.enabled = enabled;
            changes
        })
        .await
    }

    /// Signs a user out everywhere: sessions, refresh tokens, and at our own resources access tokens.
    ///
    /// # Errors
    /// [`ChangeError::Missing`]; the store's.
    pub async fn revoke_sessions(&self, authorization: &Authorization, user: PrincipalId) -> Result<(), ChangeError> {
        authorization.check(actions::REVOKE, authorization.tenant(), &["/"])?;
        self.change(authorization, actions::REVOKE, user, |user| {
            user.epoch += 1;
            true
        })
        .await
    }

    /// Gives a user a second factor, in the place of the one it may have. What it has signed in without is over.
    ///
    /// # Errors
    /// [`ChangeError::Missing`]; [`ChangeError::Key`]; the store's.
    pub async fn set_up_totp(&self, authorization: &Authorization, user: PrincipalId) -> Result<NewTotp, ChangeError> {
        authorization.check(actions::SET_UP_TOTP, authorization.tenant(), &["/"])?;
        let snapshot = authorization.snapshot();
        let tenant = snapshot.tenant(authorization.tenant());
        let tenant = tenant.ok_or_else(|| ChangeError::Missing("the tenant".to_owned()))?;
        let name = named_by(authorization, user)?.name.clone();
        let key = totp::generate();
        let sealed = self.seal(tenant, user, &key)?;
        let set = authorization.now();
        self.change(authorization, actions::SET_UP_TOTP, user, |user| {
            user.totp = Some(Totp { sealed: sealed.clone(), set, last_step: 0 });
            user.epoch += 1;
            true
        })
        .await?;
        let key = totp::base32(&key).expose().to_owned();
        let label: String = form_urlencoded::byte_serialize(tenant.display_name.as_bytes()).collect();
        let label = label.replace('+', "%20");
        let account: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let uri = format!("otpauth://totp/{label}:{account}?secret={key}&issuer={label}");
        Ok(NewTotp { key, uri })
    }

    /// Takes the second factor away.
    ///
    /// # Errors
    /// [`ChangeError::Missing`]; the store's.
    pub async fn remove_totp(&self, authorization: &Authorization, user: PrincipalId) -> Result<(), ChangeError> {
        authorization.check(actions::REMOVE_TOTP, authorization.tenant(), &["/"])?;
        self.change(authorization, actions::REMOVE_TOTP, user, |user| user.totp.take().is_some()).await
    }

    /// The key of a user's second factor.
    pub(super) fn totp_key(&self, tenant: &Tenant, user: &User, totp: &Totp) -> Result<SecretBytes, KeyError> {
        let bytes = b64::decode_standard(&totp.sealed).ok_or(KeyError::SealedForm)?;
        let (length, rest) = bytes.split_first().ok_or(KeyError::SealedForm)?;
        let (wrapped, sealed) = rest.split_at_checked(usize::from(*length)).ok_or(KeyError::SealedForm)?;
        let kek = self.key_encryption_keys.open(tenant)?;
        let binding = binding(tenant.id, user.id);
        let key = DataKey::unwrap_with(&kek, wrapped, &binding)?;
        envelope::open(&key, sealed, &binding)
    }

    /// The wrapped data key, its length before it, and what is sealed under it.
    fn seal(&self, tenant: &Tenant, user: PrincipalId, key: &SecretBytes) -> Result<String, ChangeError> {
        let kek = self.key_encryption_keys.open(tenant)?;
        let (data_key, binding) = (DataKey::generate(), binding(tenant.id, user));
        let wrapped = data_key.wrap_with(&kek, &binding);
        let length = u8::try_from(wrapped.len()).map_err(|_| KeyError::SealedForm)?;
        let mut bytes = vec![length];
        bytes.extend_from_slice(&wrapped);
        bytes.extend_from_slice(&envelope::seal(&data_key, key.expose(), &binding));
        Ok(b64::standard(&bytes))
    }

    /// A password as it is kept.
    ///
    /// # Errors
    /// [`ChangeError::Invalid`] names the rule that it breaks; [`ChangeError::Busy`].
    pub(super) async fn kept(
        &self,
        name: &str,
        password: &SecretString,
        must_change: bool,
        set: UnixTime,
    ) -> Result<UserPassword, ChangeError> {
        kept(&self.passwords, name, password, (must_change, set)).await
    }

    /// Changes a user's record; nothing is written when `change` says that nothing changes.
    async fn change(
        &self,
        authorization: &Authorization,
        action: &'static str,
        user: PrincipalId,
        change: impl Fn(&mut User) -> bool + Sync,
    ) -> Result<(), ChangeError> {
        let change = &change;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let Some(mut record) = tx.record::<User>(&user).await? else { return Err(missing(user)) };
                    if !change(&mut record) {
                        return Ok(Write::Unchanged(()));
                    }
                    tx.put(&record).await?;
                    Ok(Write::commit(action, target(user), ()))
                })
            })
            .await
    }
}

/// The user of this name or object id.
///
/// # Errors
/// [`ChangeError::Missing`].
pub fn user_called<'a>(snapshot: &'a Snapshot, tenant: TenantId, text: &str) -> Result<&'a hot::User, ChangeError> {
    let found = match text.parse() {
        Ok(id) => snapshot.user(tenant, id),
        Err(_) => snapshot.user_named(tenant, text),
    };
    found.map(|user| &**user).ok_or_else(|| ChangeError::Missing(format!("the user '{}'", shown::identifier(text))))
}

fn named_by(authorization: &Authorization, user: PrincipalId) -> Result<&hot::User, ChangeError> {
    let found = authorization.snapshot().user(authorization.tenant(), user);
    found.map(|user| &**user).ok_or_else(|| missing(user))
}

fn missing(user: PrincipalId) -> ChangeError {
    ChangeError::Missing(format!("the user {user}"))
}

/// A password as it is kept, hashed in the turns of all others, and only where it keeps the rules.
///
/// # Errors
/// As [`Users::kept`].
pub(in crate::app) async fn kept(
    passwords: &Passwords,
    name: &str,
    password: &SecretString,
    (must_change, set): (bool, UnixTime),
) -> Result<UserPassword, ChangeError> {
    good_password(name, password)?;
    Ok(UserPassword { hash: passwords.hash(password).await?, set, must_change })
}

/// The target that the audit names a user by.
pub(in crate::app) fn target(user: PrincipalId) -> String {
    format!("users/{user}")
}

fn binding(tenant: TenantId, user: PrincipalId) -> Vec<u8> {
    aad(&["totp", &tenant.to_string(), &user.to_string()])
}

/// What stands before the `@` of a name, which must be one of the tenant's domain.
///
/// # Errors
/// [`ChangeError::Invalid`] names the rule.
pub(in crate::app) fn local_part<'a>(name: &'a str, domain: &str) -> Result<&'a str, ChangeError> {
    let rule = || {
        ChangeError::Invalid(format!(
            "a user's name is 'NAME@{domain}': up to 113 characters, before the @ letters, digits and .-_'!#^~ with no dot \
             at either end"
        ))
    };
    let (local, at) = name.split_once('@').ok_or_else(rule)?;
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_'!#^~".contains(&byte);
    let is_local = !local.is_empty()
        && local.len() <= 64
        && local.bytes().all(is_good)
        && !local.starts_with('.')
        && !local.ends_with('.');
    if name.len() > MAX_NAME || !is_local || !at.eq_ignore_ascii_case(domain) {
        return Err(rule());
    }
    Ok(local)
}

/// Refuses a password that breaks a rule.
///
/// # Errors
/// [`ChangeError::Invalid`] names it.
pub fn good_password(name: &str, password: &SecretString) -> Result<(), ChangeError> {
    let length = password.expose().chars().count();
    if !LENGTH.contains(&length) {
        return Err(ChangeError::Invalid(format!(
            "a password has {} to {} characters; this one has {length}. Which ones they are does not matter",
            LENGTH.start(),
            LENGTH.end()
        )));
    }
    let (written, name) = (zeroize::Zeroizing::new(password.expose().to_lowercase()), name.to_lowercase());
    let local = name.split('@').next().unwrap_or_default();
    if *written == name || local.chars().count() >= TELLING && written.contains(local) {
        return Err(ChangeError::Invalid("a password must not contain the user's own name".to_owned()));
    }
    Ok(())
}
