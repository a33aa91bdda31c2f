//! How many refusals are logged, so that a local stranger cannot fill the log or hide another's refusals in it.
//!
//! The rule of the audit log (target `audit`):
//!
//! * each token that is given has its record, whoever got it: nothing here is asked;
//! * refusals have [`PER_OWNER`] records a minute for each [`Owner`], with one count for all kinds. A user's subordinate
//!   uids are one owner, and so are all callers that the kernel does not name. Past [`MAX_OWNERS`], further owners share
//!   one count;
//! * what is held back is not lost: its number is in the owner's next record (`held_back`), or in a record of its own
//!   once the minute is over.
//!
//! Touches the log. Tests: below.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use denizen_serve::Sampler;

use crate::caller::{
    Caller,
    owner::{Owner, Owners},
};

/// Records of refusals for each owner in a [`PERIOD`].
pub const PER_OWNER: u32 = 30;
/// What [`PER_OWNER`] counts in.
pub const PERIOD: Duration = Duration::from_secs(60);
/// Owners that have a count of their own.
pub const MAX_OWNERS: usize = 1024;

/// Whose refusals were logged, and how often.
#[derive(Debug)]
pub struct Refusals {
    owners: Arc<Owners>,
    period: Duration,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    by_owner: HashMap<Owner, Sampler>,
    others: Sampler,
    cleaned: Instant,
}

impl Refusals {
    /// Creates the counts of an agent that has refused nobody yet.
    pub fn new(owners: Arc<Owners>) -> Self {
        Self::with_period(owners, PERIOD)
    }

    /// Who stands behind a uid.
    pub fn owners(&self) -> &Arc<Owners> {
        &self.owners
    }

    fn with_period(owners: Arc<Owners>, period: Duration) -> Self {
        let others = Sampler::new(PER_OWNER, period);
        let counts = Counts { by_owner: HashMap::new(), others, cleaned: Instant::now() };
        Self { owners, period, counts: Mutex::new(counts) }
    }

    /// Whether a refusal of this caller may be logged; with the number of those of the same owner that were held back
    /// since the last one that was.
    pub fn admit(&self, caller: &Caller) -> Option<u64> {
        let owner = self.owners.of_caller(caller);
        let mut counts = self.counts();
        let Counts { by_owner, others, .. } = &mut *counts;
        if let Some(count) = by_owner.get(&owner) {
            return count.admit();
        }
        if by_owner.len() >= MAX_OWNERS {
            return others.admit();
        }
        by_owner.entry(owner).or_insert_with(|| Sampler::new(PER_OWNER, self.period)).admit()
    }

    /// Once in a period: logs how many were held back of owners who have not been refused since, and forgets owners.
    /// Call it now and then.
    pub fn clean(&self) {
        let mut counts = self.counts();
        if counts.cleaned.elapsed() < self.period {
            return;
        }
        counts.cleaned = Instant::now();
        let report = |owner: Option<Owner>, held_back: u64| {
            tracing::warn!(target: "audit", ?owner, held_back, "refusals that were not logged one by one");
        };
        counts.by_owner.retain(|owner, count| match count.admit() {
            None => true,
            Some(0) => false,
            Some(held_back) => {
                report(Some(*owner), held_back);
                false
            }
        });
        if let Some(held_back) = counts.others.admit().filter(|held_back| *held_back > 0) {
            report(None, held_back);
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::caller::{KnownFrom, UnknownReason};

    fn user(uid: u32) -> Caller {
        Caller::Known { uid, cgroup: None, known_from: KnownFrom::SockDiag }
    }

    fn refusals(subuid: &Path, period: Duration) -> Refusals {
        Refusals::with_period(Arc::new(Owners::of_files(subuid, Path::new("/nonexistent"))), period)
    }

    /// Those of `attempts` that are logged.
    fn logged(refusals: &Refusals, caller: &Caller, attempts: u32) -> usize {
        (0..attempts).filter_map(|_| refusals.admit(caller)).count()
    }

    #[test]
    fn one_owners_flood_hides_no_others_refusals() {
        let temp = tempfile::tempdir().unwrap();
        let subuid = temp.path().join("subuid");
        std::fs::write(&subuid, "1000:100000:65536\n").unwrap();
        let refusals = refusals(&subuid, PERIOD);
        let unknown = Caller::Unknown(UnknownReason::NoAnswer);
        let flood: usize = (0..100).map(|n| logged(&refusals, &user(100_000 + n), 100)).sum();
        assert_eq!(flood, PER_OWNER as usize, "a user and all their subordinate uids");
        assert_eq!(logged(&refusals, &user(1000), 5), 0);
        assert_eq!(logged(&refusals, &user(1001), 5), 5);
        assert_eq!(logged(&refusals, &unknown, 100), PER_OWNER as usize);
        assert_eq!(logged(&refusals, &user(0), 5), 5);
        refusals.clean();
        assert_eq!(logged(&refusals, &user(1000), 5), 0, "cleaning sets nobody's count back before its time");
    }

    #[test]
    fn owners_are_bounded_and_the_others_share_a_count() {
        let refusals = refusals(Path::new("/nonexistent"), PERIOD);
        for uid in 0..MAX_OWNERS as u32 {
            assert_eq!(refusals.admit(&user(uid)), Some(0));
        }
        let others: usize = (0..1000).map(|n| logged(&refusals, &user(1_000_000 + n), 1)).sum();
        assert_eq!(others, PER_OWNER as usize);
        assert_eq!(refusals.counts().by_owner.len(), MAX_OWNERS);
        assert_eq!(refusals.admit(&user(7)), Some(0), "who has a count of their own keeps it");
    }

    #[tokio::test]
    async fn what_was_held_back_is_told_and_owners_are_forgotten() {
        let period = Duration::from_millis(200);
        let refusals = refusals(Path::new("/nonexistent"), period);
        logged(&refusals, &user(7), PER_OWNER + 3);
        logged(&refusals, &user(8), 1);
        tokio::time::sleep(period).await;
        assert_eq!(refusals.admit(&user(7)), Some(3));
        tokio::time::sleep(period).await;
        refusals.clean();
        assert!(refusals.counts().by_owner.is_empty());
    }
}
