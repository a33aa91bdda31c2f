//! Users, as the directory's API makes, changes and deletes them.
//!
//! Tests: `http/graph/tests/`.

use denizen_keys::{SecretString, random};
use denizen_wire::PrincipalId;

use super::{
    Directory, DirectoryError, actions,
    applications::exists,
    deleted,
    error::{check_text, refuse_outranked},
};
use crate::{
    app::{
        ChangeError,
        access::Authorization,
        users::{kept, local_part, target},
    },
    domain::{
        deleted::DeletedKind,
        people::{User, UserPassword},
    },
    store::Write,
};

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
    /// [`DirectoryError::Invalid`] names the rule; [`DirectoryError::Exists`] when its name is taken;
    /// [`DirectoryError::Busy`]; the store's.
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
        self.apply(authorization, new, None, &mut user)?;
        user.password = Some(self.hashed(authorization, &user.name, password).await?);
        let written = &user;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    tx.insert(written).await.map_err(|error| exists(error, "userPrincipalName"))?;
                    Ok::<_, DirectoryError>(Write::commit(actions::CREATE_USER, target(written.id), ()))
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
            Some(password) => {
                let snapshot = self.store.snapshot();
                let kept = snapshot.user(authorization.tenant(), id).map(|user| user.name.to_string());
                let name = change.name.clone().or(kept).unwrap_or_default();
                Some(self.hashed(authorization, &name, password).await?)
            }
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
                    Ok(Write::commit(action, target(id), ()))
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
                    Ok(Write::commit(actions::REVOKE_SESSIONS, target(id), ()))
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
                    Ok(Write::commit(actions::DELETE_USER, target(id), ()))
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
        local_part(name, &domain).map(drop).map_err(|error| said("Property 'userPrincipalName' is invalid", error))
    }

    /// A password as it is kept; in a turn of its own, and only where it keeps the rules.
    async fn hashed(
        &self,
        authorization: &Authorization,
        name: &str,
        new: &NewPassword,
    ) -> Result<UserPassword, DirectoryError> {
        let rule = "The specified password does not comply with password complexity requirements";
        let kept = kept(&self.passwords, name, &new.password, (new.must_change, authorization.now())).await;
        kept.map_err(|error| said(rule, error))
    }
}

/// A rule of users', beginning as Graph does.
fn said(begin: &str, error: ChangeError) -> DirectoryError {
    if let ChangeError::Invalid(rule) = error {
        return DirectoryError::Invalid(format!("{begin}: {rule}."));
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use std::{num::NonZero, sync::Arc};

    use super::*;
    use crate::{
        app::{
            hashing::Hashing,
            passwords::Passwords,
            signing::fixture::{CONTOSO, KEY_ENCRYPTION_KEYS, NOW, deployment},
        },
        domain::{claims::audience::OwnResources, roles::BuiltInRoles},
    };

    fn new(name: &str, password: &str) -> UserChange {
        UserChange {
            name: Some(name.to_owned()),
            display_name: Some("Someone".to_owned()),
            mail_nickname: Some("someone".to_owned()),
            enabled: Some(true),
            password: Some(NewPassword { password: SecretString::from(password), must_change: false }),
            ..UserChange::default()
        }
    }

    #[tokio::test]
    async fn a_password_is_hashed_when_everything_else_is_right_and_a_turn_is_free() {
        let deployment = deployment().await;
        let hashing = Hashing::new(NonZero::<usize>::MIN);
        let passwords = Passwords::new(hashing.clone());
        let directory = Directory::new(
            deployment.store.clone(),
            KEY_ENCRYPTION_KEYS.clone(),
            Arc::new(BuiltInRoles::load()),
            passwords.clone(),
            OwnResources::default(),
        );
        let auth = deployment.auth(CONTOSO, NOW);
        for (change, says) in [
            (new("some one@contoso.test", "correct horse"), "'userPrincipalName'"),
            (new(".someone@contoso.test", "correct horse"), "no dot at either end"),
            (new(&format!("{}@contoso.test", "a".repeat(65)), "correct horse"), "'userPrincipalName'"),
            (new("someone@contoso.test", "short"), "password complexity"),
            (new("someone@contoso.test", "Someone-1"), "the user's own name"),
            (UserChange { mail: Some(Some("\n".to_owned())), ..new("a@contoso.test", "correct horse") }, "'mail'"),
        ] {
            let refused = directory.create_user(&auth, &change).await.unwrap_err();
            assert!(matches!(refused, DirectoryError::Invalid(_)) && refused.to_string().contains(says), "{refused}");
        }
        assert_eq!(passwords.computed(), 0);
        let user = directory.create_user(&auth, &new("someone@contoso.test", "correct horse")).await.unwrap();
        let change = UserChange { password: new("", "their Someone").password, ..UserChange::default() };
        let refused = directory.change_user(&auth, &user.id.to_string(), &change).await.unwrap_err();
        assert!(refused.to_string().contains("the user's own name"), "{refused}");
        assert_eq!(passwords.computed(), 1);

        // As many wait as may.
        let turn = hashing.turn().await.unwrap();
        let waiting: Vec<_> = (0..256)
            .map(|_| {
                let hashing = hashing.clone();
                tokio::spawn(async move { hashing.turn().await.map(drop) })
            })
            .collect();
        for _ in 0..256 {
            tokio::task::yield_now().await;
        }
        let busy = directory.create_user(&auth, &new("other@contoso.test", "correct horse")).await.unwrap_err();
        assert!(matches!(busy, DirectoryError::Busy), "{busy}");
        drop(turn);
        for waited in waiting {
            waited.await.unwrap().unwrap();
        }
        directory.create_user(&auth, &new("other@contoso.test", "correct horse")).await.unwrap();
    }
}
