//! Why this server writes nothing, while that is not over by itself: its part of the audit's trail is another's, or the
//! database is not what this server knows. A database that is away is no such reason: it comes back.
//!
//! Whoever meets such a reason notes it. It is over when the ends of both logs have been read again, and are what this
//! server knows.
//!
//! Touches the database, and the monotonic clock. Tests: the contract suite.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use denizen_serve::Sampler;
use denizen_wire::Causes;

use super::{Core, DbError, StoreError, TrailFault, turn::Turn};

/// How often it is looked whether this server can write.
const LOOK: Duration = Duration::from_secs(1);

/// The reason that was met last.
pub(super) struct Barred {
    by: Mutex<Option<&'static str>>,
    log: Sampler,
}

impl Barred {
    pub(super) const fn new() -> Self {
        Self { by: Mutex::new(None), log: Sampler::new(1, Duration::from_secs(60)) }
    }

    /// Notes what kept this server from writing, if it is such a reason: said at once, and once a minute while it lasts.
    pub(super) fn note(&self, error: &StoreError) {
        let Some(rule) = rule(error) else { return };
        let before = self.by.lock().unwrap_or_else(PoisonError::into_inner).replace(rule);
        let admitted = self.log.admit();
        if before != Some(rule) || admitted.is_some() {
            let held_back = admitted.unwrap_or_default();
            tracing::error!(error = %Causes(error), held_back, "this server writes nothing, and is not ready: {rule}");
        }
    }

    fn is_over(&self) {
        if self.by.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("this server writes again");
        }
    }

    /// The rule that is broken, while one is.
    pub(super) fn by(&self) -> Option<&'static str> {
        *self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rule that is broken when a write meets this error, if it will be until somebody mends it. It says nothing of this
/// machine: strangers may read it.
fn rule(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::Unavailable(why) if matches!(**why, DbError::Claimed) => {
            Some("another process writes this server's part of the audit's trail")
        }
        StoreError::Trail(TrailFault::Forked { .. }) => Some("the database has another history than this server knows"),
        StoreError::Trail(TrailFault::Unproven { .. }) => {
            Some("the change log does not lead from what this server knows to what the database has")
        }
        StoreError::Trail(TrailFault::Older { .. }) => Some("the database is older than what this server has written"),
        StoreError::Trail(TrailFault::Replaced) => {
            Some("the database's file was removed or replaced while this server ran")
        }
        // One in the middle is in nobody's way who writes at the end.
        StoreError::Trail(TrailFault::Rewritten { .. }) => None,
        StoreError::Trail(_) => Some("somebody else has changed the audit's trail"),
        StoreError::Head(_) | StoreError::Tampered { .. } | StoreError::Corrupt(_) => {
            Some("the database is not as its servers wrote it")
        }
        // Of one caller, of a start, of a command, or over by itself.
        StoreError::Exists { .. }
        | StoreError::NotFound { .. }
        | StoreError::OtherTenant { .. }
        | StoreError::SecretDeleted { .. }
        | StoreError::Refused(_)
        | StoreError::NotAuthorized
        | StoreError::Interrupted
        | StoreError::Aborted
        | StoreError::AuditFull
        | StoreError::Spool { .. }
        | StoreError::Unavailable(_)
        | StoreError::Closed
        | StoreError::InUse { .. }
        | StoreError::File { .. }
        | StoreError::Copied { .. }
        | StoreError::SchemaTooNew { .. }
        | StoreError::Unfit(_)
        | StoreError::SchemaUnknown(_)
        | StoreError::OtherRootKey
        | StoreError::NothingLeft
        | StoreError::StillRefused(_)
        | StoreError::Broken(_)
        | StoreError::Schema { .. }
        // A new start mends it, and the check of the store says so.
        | StoreError::SchemaChanged => None,
    }
}

/// Looks now and then whether this server can write: while it could not, and where another may take its part of the
/// trail without a word.
pub(super) async fn watch(core: &Arc<Core>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let turn = match core.health.barred.by() {
            Some(_) => Some(Turn::next(core).await),
            // Whoever has it meets what is in the way.
            None if core.engine.is_shared() => Turn::if_free(core),
            None => None,
        };
        let Some(mut writer) = turn else { continue };
        match writer.prove(core).await {
            Ok(()) => core.health.barred.is_over(),
            Err(StoreError::Closed) => return,
            Err(error) => core.health.barred.note(&error),
        }
    }
}
