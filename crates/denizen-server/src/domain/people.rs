//! Users and groups, and who is in which group.
//!
//! These are the records the store keeps. Of a user the snapshot serves [`super::hot::User`], of a group and of a membership
//! that there is one. Secrets are here only as what is kept of them: a password's hash, a sealed TOTP key.

use std::{fmt, str::FromStr};

use denizen_wire::{PrincipalId, TenantId, UnixTime};
use serde::{Deserialize, Serialize};

/// A user: a person who signs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its tenant.
    pub tenant: TenantId,
    /// The object id, `oid`.
    pub id: PrincipalId,
    /// `userPrincipalName`, as it was written. No two of a tenant differ in case alone.
    pub name: String,
    /// For people.
    pub display_name: String,
    /// The first name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_name: Option<String>,
    /// The family name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surname: Option<String>,
    /// Where mail reaches it. Nothing is decided by it: nobody has proved that it is the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<String>,
    /// `mailNickname`: what stands before the `@` of the name unless said otherwise.
    pub mail_nickname: String,
    /// A disabled user cannot sign in, and its tokens are refused by our own resources.
    pub enabled: bool,
    /// Raised to revoke: what was issued under an earlier epoch (tokens, refresh tokens, sessions) is refused.
    pub epoch: u64,
    /// What it signs in with; none for a user that comes from another provider only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<UserPassword>,
    /// The second factor, once it was set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<Totp>,
    /// Whom it is at other providers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub externals: Vec<ExternalIdentity>,
    /// When it was made.
    pub created: UnixTime,
}

/// A password that a person has chosen, as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPassword {
    /// argon2id, in PHC form.
    pub hash: String,
    /// When it was set.
    pub set: UnixTime,
    /// Whether it has to be changed at the next sign-in: somebody else knows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub must_change: bool,
}

// Not derived: the hash stays out of logs.
impl fmt::Debug for UserPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserPassword").field("set", &self.set).finish_non_exhaustive()
    }
}

/// A second factor (RFC 6238): six digits of thirty seconds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totp {
    /// Its key under the tenant's key-encryption key, standard base64. Never in the clear.
    pub sealed: String,
    /// When it was set up.
    pub set: UnixTime,
    /// The step of the last code that was used: a code is good once.
    pub last_step: u64,
}

impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Totp").field("set", &self.set).finish_non_exhaustive()
    }
}

/// Whom a user is at another OpenID provider. Both are compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExternalIdentity {
    /// The provider, as its tokens name it.
    pub issuer: String,
    /// `sub` in them.
    pub subject: String,
}

/// A group of users, of service principals and of other groups. What it is assigned, its members have, however deep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its tenant.
    pub tenant: TenantId,
    /// The object id.
    pub id: PrincipalId,
    /// For people. Several may have the same.
    pub display_name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `mailNickname`.
    pub mail_nickname: String,
    /// Who may change it beside the directory's administrators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<PrincipalId>,
    /// When it was made.
    pub created: UnixTime,
}

/// That one is in a group. It stays when either is deleted, so that whoever is restored is where it was, and counts for
/// nothing meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Its tenant.
    pub tenant: TenantId,
    /// The group.
    pub group: PrincipalId,
    /// Who is in it.
    pub member: PrincipalId,
    /// Since when.
    pub since: UnixTime,
}

/// What tells one membership from another: `{group}/{member}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MembershipKey {
    /// The group.
    pub group: PrincipalId,
    /// Who is in it.
    pub member: PrincipalId,
}

impl fmt::Display for MembershipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.member)
    }
}

impl FromStr for MembershipKey {
    type Err = denizen_wire::ids::NotAGuid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (group, member) = text.split_once('/').ok_or(denizen_wire::ids::NotAGuid)?;
        Ok(Self { group: group.parse()?, member: member.parse()? })
    }
}
