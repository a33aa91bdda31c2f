//! Why a use case of the directory's API did not do what was asked.

use denizen_wire::{Causes, PrincipalId};

use super::actions::ASSIGN_IN_DIRECTORY;
use crate::{
    app::{
        ChangeError,
        access::{Authorization, WrongAuthorization},
    },
    domain::query::BadQuery,
    store::{ListError, Snapshot, StoreError},
};

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It breaks a rule; the text names rule and mend.
    #[error("{0}")]
    Invalid(String),
    /// There is no such object.
    #[error("Resource '{0}' does not exist or one of its queried reference-property objects are not present.")]
    Missing(String),
    /// Another object has the same value where no two may.
    #[error("Another object with the same value for property {0} already exists.")]
    Exists(&'static str),
    /// A list was asked for wrongly.
    #[error(transparent)]
    Query(#[from] BadQuery),
    /// Whose roles reach further is changed by who may give such roles.
    #[error(
        "Insufficient privileges to complete the operation: the object has a role of the directory, itself or by a group, and is changed by who may do {0}."
    )]
    Outranked(&'static str),
    /// Too many passwords are being hashed at a time.
    #[error("As many passwords are being hashed as this server can; nothing was changed. Try again in a second.")]
    Busy,
    /// The read cannot be recorded.
    #[error("{}", Causes(.0))]
    Unrecorded(#[source] StoreError),
    /// The store.
    #[error(transparent)]
    Store(StoreError),
    /// A use case was called with the authorization of another operation, or a computation did not end: our fault.
    #[error(transparent)]
    Ours(Box<ChangeError>),
}

impl From<StoreError> for DirectoryError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ListError> for DirectoryError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Query(bad) => Self::Query(bad),
            ListError::Store(error) => Self::Store(error),
        }
    }
}

impl From<WrongAuthorization> for DirectoryError {
    fn from(error: WrongAuthorization) -> Self {
        Self::Ours(Box::new(error.into()))
    }
}

impl From<ChangeError> for DirectoryError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Invalid(text) => Self::Invalid(text),
            ChangeError::Missing(what) => Self::Missing(what),
            ChangeError::Store(error) => Self::Store(error),
            ChangeError::Busy => Self::Busy,
            other @ (ChangeError::Authorization(_) | ChangeError::Unfinished(_) | ChangeError::Key(_)) => {
                Self::Ours(Box::new(other))
            }
        }
    }
}

impl From<DirectoryError> for ChangeError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Missing(what) => Self::Missing(what),
            DirectoryError::Unrecorded(error) | DirectoryError::Store(error) => Self::Store(error),
            DirectoryError::Busy => Self::Busy,
            DirectoryError::Ours(error) => *error,
            rule @ (DirectoryError::Invalid(_)
            | DirectoryError::Exists(_)
            | DirectoryError::Query(_)
            | DirectoryError::Outranked(_)) => Self::Invalid(rule.to_string()),
        }
    }
}

/// The rule that nobody gets at a role of the directory by way of who has it: its password, its secrets, its group.
///
/// # Errors
/// [`DirectoryError::Outranked`].
pub(in crate::app) fn refuse_outranked(
    authorization: &Authorization,
    snapshot: &Snapshot,
    target: PrincipalId,
) -> Result<(), DirectoryError> {
    match authorization.outranks(snapshot, target, ASSIGN_IN_DIRECTORY) {
        true => Ok(()),
        false => Err(DirectoryError::Outranked(ASSIGN_IN_DIRECTORY)),
    }
}

/// The rule that texts for people obey: no control characters, which no index takes, and a length.
///
/// # Errors
/// [`DirectoryError::Invalid`] names the property.
pub(super) fn check_text(property: &str, text: &str, longest: usize) -> Result<(), DirectoryError> {
    if text.trim().is_empty() || text.chars().count() > longest || text.chars().any(char::is_control) {
        return Err(DirectoryError::Invalid(format!(
            "Invalid value specified for property '{property}': it must have 1 to {longest} characters, none of them a control character."
        )));
    }
    Ok(())
}
