//! How this replica stands among those that share its database: whether it has what a caller has seen elsewhere, and
//! whether it has heard of the others lately enough to decide anything.
//!
//! Tests: below, `http/tests.rs`, and `tests/it`.

use std::time::Duration;

use crate::store::{Revision, Store};

/// A caller waits at most this long for what another replica has committed.
const PATIENCE: Duration = Duration::from_secs(2);

/// This replica. Clones are the same.
#[derive(Clone)]
pub struct Replica {
    store: Store,
}

/// Why this replica answers nothing just now. It is transient: another replica, or this one later, does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Behind {
    /// It has not heard of the others' changes for too long.
    #[error("this replica has not heard of the other replicas' changes for too long, so it decides nothing; try again")]
    Stale,
    /// It does not have what the caller has seen.
    #[error("this replica does not have yet what you have seen or written elsewhere; try again")]
    Missing,
}

impl Replica {
    /// Creates the use cases of a store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// What an answer says of the state that it was made by: the revision, with a tag, so that nobody can have a replica wait
    /// for one that does not exist. Whoever sends it back is answered by that state or a later one.
    pub fn token(&self) -> String {
        self.store.revision_token(self.store.revision())
    }

    /// Waits until this replica has the state that a token names. A text that is no token of this deployment asks for
    /// nothing.
    ///
    /// # Errors
    /// [`Behind::Missing`] when it does not come in time.
    pub async fn reach(&self, token: &str) -> Result<(), Behind> {
        let Some(revision) = self.revision_of(token) else { return Ok(()) };
        if self.store.has(revision, PATIENCE).await { Ok(()) } else { Err(Behind::Missing) }
    }

    /// Refuses to decide by rights that may have been taken away long ago.
    ///
    /// # Errors
    /// [`Behind::Stale`]
    pub fn refuse_stale(&self) -> Result<(), Behind> {
        if self.store.is_stale() { Err(Behind::Stale) } else { Ok(()) }
    }

    fn revision_of(&self, token: &str) -> Option<Revision> {
        let (number, _) = token.split_once('-')?;
        let revision = Revision(number.parse().ok()?);
        denizen_keys::constant_time_eq(self.store.revision_token(revision).as_bytes(), token.as_bytes())
            .then_some(revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Engine, StoreKeys};

    #[tokio::test]
    async fn a_token_that_nobody_gave_asks_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::Sqlite { path: folder.path().join("denizen.db") };
        let store = Store::open(engine, StoreKeys::of_test()).await.unwrap();
        let replica = Replica::new(store.clone());
        let token = replica.token();
        assert!(token.starts_with("0-"), "{token}");
        assert_eq!(replica.reach(&token).await, Ok(()));
        for forged in ["", "7", "7-", "x-y", &token.replacen('0', "7", 1), "99999999999999999999-0"] {
            assert_eq!(replica.reach(forged).await, Ok(()), "{forged}");
        }
        // One that is true, of a state that there is nowhere.
        assert_eq!(replica.reach(&store.revision_token(Revision(7))).await, Err(Behind::Missing));
        assert_eq!(replica.refuse_stale(), Ok(()), "there are no others");
    }
}
