//! The note that a copy leaves beside its source: everything is in another database now, and goes on there. Two servers over
//! both would issue tokens and keep secrets for the same tenants, each without the other's changes; so no store is opened
//! on a source that has it, unless to be copied again.
//!
//! It is a file beside the anchor, not a row: what was copied stays as it was, and whoever wants to go back removes the
//! file. Of a database that replicas share, only the replica whose folder was named has it.
//!
//! Touches its file. Tests: `tests.rs`, and `tests/it`.

use std::{fs, io, sync::Arc};

use denizen_wire::UnixTime;
use serde::{Deserialize, Serialize};

use super::{
    super::{Engine, StoreError, files},
    BackupError,
};

/// One line of JSON.
#[derive(Serialize, Deserialize)]
struct Note {
    /// When.
    at: UnixTime,
    /// Where to, for people.
    to: String,
}

/// Refuses a database that has one. One that cannot be read is one.
///
/// # Errors
/// [`StoreError::Copied`].
pub(in crate::store) fn refuse(engine: &Engine) -> Result<(), StoreError> {
    let path = engine.copy_note();
    let note = match files::read_small(&path) {
        Ok(None) => return Ok(()),
        Ok(Some(line)) => serde_json::from_str::<Note>(&line).ok(),
        Err(_) => None,
    };
    let (to, on) = match note {
        Some(Note { at, to }) => (to, format!(" on {}", at.rfc3339())),
        None => ("another database".to_owned(), String::new()),
    };
    Err(StoreError::Copied { to, on, path })
}

/// Leaves it.
///
/// # Errors
/// [`BackupError::Note`].
pub(super) fn leave(from: &Engine, to: &Engine, at: UnixTime) -> Result<(), BackupError> {
    let path = from.copy_note();
    let failed = |source| BackupError::Note { path: path.clone(), source: Arc::new(source) };
    let note = serde_json::to_string(&Note { at, to: to.place() }).map_err(|error| failed(error.into()))?;
    files::replace(&path, &(note + "\n")).map_err(failed)
}

/// Removes it from a database that was filled anew.
pub(super) fn remove(engine: &Engine) -> Result<(), StoreError> {
    let path = engine.copy_note();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::File { path, source: Arc::new(error) })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
