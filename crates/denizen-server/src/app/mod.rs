//! The use cases: one transaction each. Every one that reads or changes something of a tenant takes an
//! [`Authorization`](access::Authorization), which is made by the constructors of [`access`] only.
//!
//! | file | holds |
//! |---|---|
//! | [`strangers`] | what is kept of a request that proved nothing |
//! | [`set_up`] | the first tenant, with all that it needs to be used |
//! | [`administration`] | what the owner of the process does by command |
//! | [`readiness`] | whether this server should be sent requests |
//! | [`replica`] | how this replica stands among those that share its database |
//! | [`directory`] | tenants, applications and their secrets, service principals, users, groups, grants, what was deleted |
//! | [`trusts`] | whom of others a client takes as itself |
//! | [`machines`] | join tokens and enrolment |
//! | [`rbac`] | role assignments |
//! | [`credentials`], [`federation`], [`tokens`], [`signing`] | the token service |
//! | [`limits`] | how much of what is refused is looked at |
//! | [`hashing`] | slow hashes, few at a time |
//! | [`access`] | who presents this token, and may it? |
//! | [`passwords`], [`users`], [`sign_in`] | people's passwords and second factors, and how they sign in |
//! | [`vaults`], [`secrets`] | the vault |
//! | [`key_encryption_keys`] | the tenants' key-encryption keys |

pub mod access;
pub mod administration;
pub mod clock;
pub mod credentials;
pub mod directory;
pub mod federation;
pub mod hashing;
pub mod key_encryption_keys;
pub mod limits;
pub mod machines;
pub mod passwords;
pub mod rbac;
pub mod readiness;
pub mod replica;
pub mod secrets;
pub mod set_up;
pub mod sign_in;
pub mod signing;
pub mod strangers;
pub mod tokens;
pub mod trusts;
pub mod users;
pub mod vaults;

use crate::store::StoreError;

/// Why a use case that changes the directory did not.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The caller asked for something that breaks a rule; the text names rule and mend.
    #[error("{0}")]
    Invalid(String),
    /// What it refers to is not there.
    #[error("{0} does not exist in this tenant")]
    Missing(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was called with the authorization of another operation: our fault.
    #[error(transparent)]
    Authorization(#[from] access::WrongAuthorization),
    /// Too many are being hashed at a time.
    #[error("as many passwords are being hashed as this server can; try again in a second")]
    Busy,
    /// A computation off the runtime's threads did not end: our fault.
    #[error("a computation did not end; try again")]
    Unfinished(#[source] tokio::task::JoinError),
    /// A key could not be made, sealed or opened.
    #[error(transparent)]
    Key(#[from] denizen_keys::KeyError),
}
