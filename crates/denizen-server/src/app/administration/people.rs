//! What the owner of a server's process does to users by command: `denizen user`.
//!
//! Tests: below, and `tests/it`.

use denizen_keys::{SecretString, random};
use denizen_wire::{PrincipalId, TenantId};
use serde::{Deserialize, Serialize};

use super::{Administration, AdministrationError, Owner, tenant};
use crate::{
    app::{
        access::SystemReason,
        users::{NewTotp, NewUser, user_called},
    },
    domain::hot,
};

/// The most users that are listed at a time.
const LISTED: usize = 1000;
/// Random bytes of a password that is made here.
const PASSWORD_BYTES: usize = 12;

/// What is to be done to users. Has no `Debug`: it may hold a password.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserCommand {
    /// The tenant; the only one there is when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The user's name or object id; of a list, what the names begin with.
    pub user: String,
    /// What.
    pub task: UserTask,
}

/// What is done to a user.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum UserTask {
    /// Make it. Without a password it gets one that it has to change.
    #[serde(rename_all = "camelCase")]
    Create {
        /// For people.
        display_name: String,
        /// What it signs in with.
        password: Option<String>,
    },
    /// List those whose names begin so.
    List,
    /// Set its password. Without one it gets one that it has to change.
    SetPassword {
        /// What it signs in with.
        password: Option<String>,
    },
    /// Let it sign in.
    Enable,
    /// Keep it from signing in.
    Disable,
    /// Sign it out everywhere.
    RevokeSessions,
    /// Give it a second factor.
    SetUpTotp,
    /// Take it away.
    RemoveTotp,
}

/// What was done. Has no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserAnswer {
    /// The user, or those that were listed, by name.
    pub users: Vec<UserShown>,
    /// Whether there are more than are listed.
    pub is_cut: bool,
    /// A password that was made here: it is kept nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A second factor that was made here: its key is shown once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<NewTotp>,
}

/// A user, as commands show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserShown {
    /// The object id.
    pub id: PrincipalId,
    /// Its name, lower case.
    pub name: String,
    /// Whether it may sign in.
    pub enabled: bool,
}

impl From<&hot::User> for UserShown {
    fn from(user: &hot::User) -> Self {
        Self { id: user.id, name: user.name.to_string(), enabled: user.enabled }
    }
}

impl UserTask {
    fn command(&self) -> &'static str {
        match self {
            Self::Create { .. } => "denizen user create",
            Self::List => "denizen user list",
            Self::SetPassword { .. } => "denizen user set-password",
            Self::Enable => "denizen user enable",
            Self::Disable => "denizen user disable",
            Self::RevokeSessions => "denizen user revoke-sessions",
            Self::SetUpTotp => "denizen user totp",
            Self::RemoveTotp => "denizen user totp --remove",
        }
    }
}

/// What is to be set, and what was made here of it.
fn password(given: Option<&String>) -> (SecretString, Option<String>) {
    match given {
        Some(given) => (SecretString::from(given.clone()), None),
        None => {
            let made = random::token(PASSWORD_BYTES);
            let shown = made.expose().to_owned();
            (made, Some(shown))
        }
    }
}

impl Administration {
    /// Does something to a user, or lists users.
    ///
    /// # Errors
    /// Each names the rule and the fix.
    pub async fn users(&self, _: Owner, asked: &UserCommand) -> Result<UserAnswer, AdministrationError> {
        let snapshot = self.store.snapshot();
        let tenant = tenant(&snapshot, asked.tenant)?;
        let authorization = self.system.authorize(tenant, SystemReason::Command(asked.task.command()));
        let (mut made, mut totp) = (None, None);
        let found = || user_called(&snapshot, tenant, &asked.user).map(|user| user.id);
        let id = match &asked.task {
            UserTask::List => {
                let begin = asked.user.to_lowercase();
                let mut users: Vec<UserShown> = snapshot
                    .users(tenant)
                    .filter(|user| user.name.starts_with(&begin))
                    .map(|user| (&**user).into())
                    .collect();
                users.sort_by(|one, other| one.name.cmp(&other.name));
                let is_cut = users.len() > LISTED;
                users.truncate(LISTED);
                return Ok(UserAnswer { users, is_cut, password: None, totp: None });
            }
            UserTask::Create { display_name, password: given } => {
                let (password, shown) = password(given.as_ref());
                made = shown;
                let must_change = made.is_some();
                let (name, display_name) = (asked.user.clone(), display_name.clone());
                let new = NewUser { name, display_name, password: Some(password), must_change };
                self.users.create(&authorization, &new).await?.id
            }
            UserTask::SetPassword { password: given } => {
                let (id, (password, shown)) = (found()?, password(given.as_ref()));
                made = shown;
                self.users.set_password(&authorization, id, &password, made.is_some()).await?;
                id
            }
            task @ (UserTask::Enable | UserTask::Disable) => {
                let id = found()?;
                self.users.set_enabled(&authorization, id, matches!(task, UserTask::Enable)).await?;
                id
            }
            UserTask::RevokeSessions => {
                let id = found()?;
                self.users.revoke_sessions(&authorization, id).await?;
                id
            }
            UserTask::SetUpTotp => {
                let id = found()?;
                totp = Some(self.users.set_up_totp(&authorization, id).await?);
                id
            }
            UserTask::RemoveTotp => {
                let id = found()?;
                self.users.remove_totp(&authorization, id).await?;
                id
            }
        };
        let snapshot = self.store.snapshot();
        let users = snapshot.user(tenant, id).map(|user| (&**user).into()).into_iter().collect();
        Ok(UserAnswer { users, is_cut: false, password: made, totp })
    }
}
