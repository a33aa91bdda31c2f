//! Users, as the directory's API makes, changes and deletes them.
//!
//! Tests: `http/graph/tests/`.

use denizen_keys::{SecretString, password, random};
use denizen_wire::PrincipalId;

use super::{
    Directory, DirectoryError, actions,
    applications::exists,
    deleted,
    error::{check_text, refuse_outranked},
};
use crate::{
    app::{ChangeError, access::Authorization},
    domain::{
        deleted::DeletedKind,
        people::{User, UserPassword},
    },
    store::Write,
};

/// Lengths of a password that an administrator may set, bytes: what is longer is hashed for nothing.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=256;

/// A password that an administrator sets.
pub struct NewPassword {
    /// In the clear.
    pub password: SecretString,
    /// Whether it has to be changed at the next sign-in.
    pub must_change: bool,
}

/// What is to be changed of a user; what is none stays, and what is none inside is removed.
#[derive(Default)]
pub struct UserChange {
    /// `userPrincipalName`
    pub name: Option<String>,
    /// For people.
    pub display_name: Option<String>,
    /// The first name.
    pub given_name: Option<Option<String>>,
    /// The family name.
    pub surname: Option<Option<String>>,
    /// Where mail reaches it.
    pub mail: Option<Option<String>>,
    /// `mailNickname`
    pub mail_nickname: Option<String>,
    /// Whether it may sign in.
    pub enabled: Option<bool>,
    /// A password in the place of the one that there is.
    pub password: Option<NewPassword>,
}

impl Directory {
    /// Makes a user.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] names the rule; [`DirectoryError::Exists`] when its name is taken; the store's.
    pub async fn create_user(&self, authorization: &Authorization, new: &UserChange) -> Result<User, DirectoryError> {
        self.check(authorization, actions::CREATE_USER)?;
        let required = |property| DirectoryError::Invalid(format!("A value is required for property '{property}'."));
        let name = new.name.clone().ok_or_else(|| required("userPrincipalName"))?;
        let mut user = User {
            tenant: authorization.tenant(),
            id: PrincipalId(random::uuid_v4()),
            mail_nickname: new.mail_nickname.clone().ok_or_else(|| required("mailNickname"))?,
            display_name: new.display_name.clone().ok_or_else(|| required("displayName"))?,
            name,
            given_name: None,
            surname: None,
            mail: None,
            enabled: new.enabled.ok_or_else(|| required("accountEnabled"))?,
            epoch: 0,
            password: None,
            totp: None,
            externals: Vec::new(),
            created: authorization.now(),
        };
        let password = new.password.as_ref().ok_or_else(|| required("passwordProfile"))?;
        let password = hashed(authorization, password).await?;
        self.apply(authorization, new, Some(password), &mut user)?;
        let written = &user;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    tx.insert(written).await.map_err(|error| exists(error, "userPrincipalName"))?;
                    Ok::<_, DirectoryError>(Write::commit(actions::CREATE_USER, written.id.to_string(), ()))
                })
            })
            .await?;
        Ok(user)
    }

    /// Changes a user. One that is disabled, or has another password, is asked to sign in again everywhere.
    ///
    /// # Errors
    /// As [`Self::create_user`]; [`DirectoryError::Missing`].
    pub async fn change_user(
        &self,
        authorization: &Authorization,
        named: &str,
        change: &UserChange,
    ) -> Result<(), DirectoryError> {
        let action = match change.password {
            Some(_) => actions::UPDATE_PASSWORD,
            None => actions::UPDATE_USER,
        };
        self.check(authorization, action)?;
        let id = self.user_id(authorization, named)?;
        let password = match &change.password {
            Some(password) => Some(hashed(authorization, password).await?),
            None => None,
        };
        let password = &password;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let before = tx.record::<User>(&id).await?;
                    let before = before.ok_or_else(|| DirectoryError::Missing(named.to_owned()))?;
                    refuse_outranked(authorization, &tx.snapshot(), id)?;
                    let mut after = before.clone();
                    self.apply(authorization, change, password.clone(), &mut after)?;
                    if password.is_some() || before.enabled && !after.enabled {
                        after.epoch += 1;
                    }
                    if after == before {
                        return Ok(Write::Unchanged(()));
                    }
                    tx.put(&after).await.map_err(|error| exists(error, "userPrincipalName"))?;
                    Ok(Write::commit(action, id.to_string(), ()))
                })
            })
            .await
    }

    /// Revokes what was issued to a user.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; the store's.
    pub async fn revoke_sessions(&self, authorization: &Authorization, named: &str) -> Result<(), DirectoryError> {
        self.check(authorization, actions::REVOKE_SESSIONS)?;
        let id = self.user_id(authorization, named)?;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let user = tx.record::<User>(&id).await?;
                    let user = user.ok_or_else(|| DirectoryError::Missing(named.to_owned()))?;
                    refuse_outranked(authorization, &tx.snapshot(), id)?;
                    tx.put(&User { epoch: user.epoch + 1, ..user }).await?;
                    Ok(Write::commit(actions::REVOKE_SESSIONS, id.to_string(), ()))
                })
            })
            .await
    }

    /// Deletes a user. It can be restored.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; the store's.
    pub async fn delete_user(&self, authorization: &Authorization, named: &str) -> Result<(), DirectoryError> {
        self.check(authorization, actions::DELETE_USER)?;
        let id = self.user_id(authorization, named)?;
        let (tenant, now) = (authorization.tenant(), authorization.now());
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let Some(user) = tx.remove::<User>(&id).await? else {
                        return Err(DirectoryError::Missing(named.to_owned()));
                    };
                    refuse_outranked(authorization, &tx.snapshot(), id)?;
                    deleted::drop_directory_roles(tx, &self.roles, tenant, id).await?;
                    // What was issued stays revoked when it is restored.
                    let user = User { epoch: user.epoch + 1, ..user };
                    let what = (DeletedKind::User, id.0, user.display_name.as_str());
                    tx.insert(&deleted::keep(tenant, what, now, &user)?).await?;
                    Ok(Write::commit(actions::DELETE_USER, id.to_string(), ()))
                })
            })
            .await
    }

    fn apply(
        &self,
        authorization: &Authorization,
        change: &UserChange,
        password: Option<UserPassword>,
        to: &mut User,
    ) -> Result<(), DirectoryError> {
        if let Some(name) = &change.name {
            to.name.clone_from(name);
        }
        if let Some(name) = &change.display_name {
            to.display_name.clone_from(name);
        }
        if let Some(nickname) = &change.mail_nickname {
            to.mail_nickname.clone_from(nickname);
        }
        for (new, kept) in
            [(&change.given_name, &mut to.given_name), (&change.surname, &mut to.surname), (&change.mail, &mut to.mail)]
        {
            if let Some(new) = new {
                kept.clone_from(new);
            }
        }
        if let Some(enabled) = change.enabled {
            to.enabled = enabled;
        }
        if password.is_some() {
            to.password = password;
        }
        check_text("displayName", &to.display_name, 256)?;
        check_text("mailNickname", &to.mail_nickname, 64)?;
        let optional = [("givenName", &to.given_name, 64), ("surname", &to.surname, 64), ("mail", &to.mail, 256)];
        for (property, value, longest) in optional {
            if let Some(value) = value {
                check_text(property, value, longest)?;
            }
        }
        match change.name.is_some() {
            true => self.check_name(authorization, &to.name),
            false => Ok(()),
        }
    }

    fn check_name(&self, authorization: &Authorization, name: &str) -> Result<(), DirectoryError> {
        let snapshot = self.store.snapshot();
        let domain = snapshot.tenant(authorization.tenant()).map(|tenant| tenant.domain.clone()).unwrap_or_default();
        let is_good = name.split_once('@').is_some_and(|(local, of)| {
            let is_local = (1..=64).contains(&local.len())
                && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-!#^~'+".contains(&b))
                && !local.ends_with('.');
            is_local && of.eq_ignore_ascii_case(&domain)
        });
        match is_good {
            true => Ok(()),
            false => Err(DirectoryError::Invalid(format!(
                "Property 'userPrincipalName' is invalid: it must be a name of ASCII letters, digits and . _ - with '@{domain}' after it."
            ))),
        }
    }
}

async fn hashed(authorization: &Authorization, new: &NewPassword) -> Result<UserPassword, DirectoryError> {
    if !PASSWORD.contains(&new.password.expose().len()) {
        return Err(DirectoryError::Invalid(format!(
            "The specified password does not comply with password complexity requirements: it must have {} to {} bytes.",
            PASSWORD.start(),
            PASSWORD.end()
        )));
    }
    // argon2id takes tens of milliseconds by design: not on a runtime worker.
    let to_hash = new.password.clone();
    let hash = tokio::task::spawn_blocking(move || password::hash(&to_hash)).await.map_err(ChangeError::Unfinished)?;
    Ok(UserPassword { hash, set: authorization.now(), must_change: new.must_change })
}
