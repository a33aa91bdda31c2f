//! Whether this server should be sent requests, and if not, why.
//!
//! A check that fails takes the server out of its balancer; a warning is only shown. The checks run at most once a second
//! however often they are asked for, because whoever asks needs no credential. What is said names a rule and nothing of
//! this machine; causes go to the log.
//!
//! Touches the store, and the monotonic clock. Tests: below, and `tests/it`.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use denizen_keys::random;
use denizen_serve::Sampler;
use denizen_wire::{Causes, Clock, TenantId};
use uuid::Uuid;

use crate::{
    domain::{Actor, Ctx},
    store::{Store, StoreError},
};

/// What was found is good for so long.
const FRESH: Duration = Duration::from_secs(1);
/// A check that takes longer has failed. Balancers wait for one or two seconds at most, and a database that hangs is no reason
/// for them to send clients away from all replicas.
const CHECK_TIMEOUT: Duration = Duration::from_millis(500);
/// The audit's spool must have room for so many bytes.
const SPOOL_ROOM: u64 = 1024 * 1024;
/// The audit's anchor is written every second, and may be this old, seconds.
const ANCHOR_AGE: u64 = 60;

/// A check's answer: the rule that is broken.
pub type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The checks. Clones are the same.
#[derive(Clone)]
pub struct Readiness(Arc<Inner>);

struct Inner {
    checks: RwLock<Vec<Arc<Check>>>,
    draining: AtomicBool,
    last: tokio::sync::Mutex<Option<(Instant, Vec<Checked>)>>,
}

struct Check {
    name: &'static str,
    severity: Severity,
    run: Box<dyn Fn() -> Answer + Send + Sync>,
}

/// What a check that fails means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// This server should be sent nothing.
    Fails,
    /// Somebody should look.
    Warns,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The check's name: a word of ours.
    pub check: &'static str,
    /// What it means when it fails.
    pub severity: Severity,
    /// The rule that is broken; none when all is well.
    pub reason: Option<String>,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// In the order of the checks; draining first.
    pub checks: Vec<Checked>,
}

impl Report {
    /// Whether this server should be sent requests.
    pub fn is_ready(&self) -> bool {
        !self.checks.iter().any(|checked| checked.severity == Severity::Fails && checked.reason.is_some())
    }

    /// Whether this server is about to stop.
    pub fn is_draining(&self) -> bool {
        self.checks.iter().any(|checked| checked.check == DRAINING && checked.reason.is_some())
    }
}

/// The check that fails once [`Readiness::drain`] was called.
const DRAINING: &str = "not draining";

impl Default for Readiness {
    fn default() -> Self {
        let (checks, last) = (RwLock::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { checks, draining: AtomicBool::new(false), last }))
    }
}

impl Readiness {
    /// The checks of a store.
    pub fn of(store: &Store, clock: &Clock) -> Self {
        let readiness = Self::default();
        let faults = Arc::new(Sampler::new(1, Duration::from_secs(60)));
        let (asked, now) = (store.clone(), clock.clone());
        // Tokens are issued while the database is away: it is no reason to send clients away from all replicas at once.
        readiness.add("store", Severity::Warns, move || {
            let (store, faults) = (asked.clone(), Arc::clone(&faults));
            let actor = Actor::System("readiness");
            let ctx = Ctx::new(TenantId(Uuid::nil()), actor, now.now(), random::uuid_v4());
            Box::pin(async move {
                // Any read asks the database, and refuses a schema that was changed.
                let Err(error) = store.changes_since(&ctx, store.revision(), 1).await else { return Ok(()) };
                if let Some(held_back) = faults.admit() {
                    tracing::error!(error = %Causes(&error), held_back, "the database cannot be read");
                }
                Err(if matches!(error, StoreError::SchemaChanged) {
                    "the database's schema was changed while this server ran; start it again".to_owned()
                } else {
                    "the database cannot be read; the log says why".to_owned()
                })
            })
        });
        let asked = store.clone();
        readiness.add_quick("replica", Severity::Fails, move || {
            asked.is_stale().then(|| "the other replicas' changes have not been heard of for too long".to_owned())
        });
        let asked = store.clone();
        readiness.add_quick("writes", Severity::Fails, move || {
            asked.barred().map(|rule| format!("{rule}: nothing is written, and the log says what to do"))
        });
        let asked = store.clone();
        readiness.add_quick("audit spool", Severity::Fails, move || {
            let free = asked.audit_health().spool_free_bytes;
            (free < SPOOL_ROOM).then(|| "the audit's spool is full: the database has been away for long".to_owned())
        });
        let asked = store.clone();
        readiness.add_quick("audit anchor", Severity::Fails, move || {
            let age = asked.audit_health().anchor_age;
            (age > ANCHOR_AGE).then(|| format!("the audit's head could not be written for {age} seconds"))
        });
        let asked = store.clone();
        // The server serves all the same, and only removes nothing for good: no reason to send clients away.
        readiness.add_quick("clock", Severity::Warns, move || {
            let rule = "the clock is not where this server expects it, so nothing is removed by schedule; correct it, or \
                        start with --confirm-clock";
            (!asked.clock_standing().is_trusted()).then(|| rule.to_owned())
        });
        readiness
    }

    /// Adds a check, which says what rule is broken. `name` is a word of ours: it is a metric's label.
    pub fn add(&self, name: &'static str, severity: Severity, run: impl Fn() -> Answer + Send + Sync + 'static) {
        let check = Arc::new(Check { name, severity, run: Box::new(run) });
        self.0.checks.write().unwrap_or_else(PoisonError::into_inner).push(check);
    }

    /// The same of one that need not wait for anything: it gives the rule that is broken, or none.
    pub fn add_quick(
        &self,
        name: &'static str,
        severity: Severity,
        run: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) {
        self.add(name, severity, move || {
            let broken = run();
            Box::pin(async move { broken.map_or(Ok(()), Err) })
        });
    }

    /// Says from now on that this server is about to stop.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Runs the checks, unless that was done within the last second.
    pub async fn report(&self) -> Report {
        let mut last = self.0.last.lock().await;
        let found = match last.as_ref() {
            Some((at, found)) if at.elapsed() < FRESH => found.clone(),
            Some(_) | None => {
                let checks = self.0.checks.read().unwrap_or_else(PoisonError::into_inner).clone();
                let mut found = Vec::with_capacity(checks.len());
                for check in checks {
                    let answer = tokio::time::timeout(CHECK_TIMEOUT, (check.run)()).await;
                    let reason = answer.unwrap_or_else(|_| Err("the check took too long".to_owned())).err();
                    found.push(Checked { check: check.name, severity: check.severity, reason });
                }
                *last = Some((Instant::now(), found.clone()));
                found
            }
        };
        drop(last);
        let draining = self.0.draining.load(Ordering::Relaxed);
        let reason = draining.then(|| "this server is about to stop".to_owned());
        let draining = Checked { check: DRAINING, severity: Severity::Fails, reason };
        Report { checks: std::iter::once(draining).chain(found).collect() }
    }

    /// What was found last, for whoever cannot wait: none before the first time.
    pub fn last(&self) -> Option<Vec<Checked>> {
        let last = self.0.last.try_lock().ok()?;
        last.as_ref().map(|(_, found)| found.clone())
    }
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Readiness")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn a_failed_check_is_not_ready_a_warning_is() {
        let readiness = Readiness::default();
        assert!(readiness.report().await.is_ready());
        readiness.add_quick("soft", Severity::Warns, || Some("look".to_owned()));
        let hard = Arc::new(AtomicBool::new(false));
        let is_broken = Arc::clone(&hard);
        readiness
            .add_quick("hard", Severity::Fails, move || is_broken.load(Ordering::Relaxed).then(|| "broken".to_owned()));
        *readiness.0.last.lock().await = None;
        let report = readiness.report().await;
        assert!(report.is_ready() && !report.is_draining());
        assert_eq!(report.checks.iter().filter(|checked| checked.reason.is_some()).count(), 1);
        hard.store(true, Ordering::Relaxed);
        *readiness.0.last.lock().await = None;
        assert!(!readiness.report().await.is_ready());
    }

    #[tokio::test]
    async fn draining_is_said_at_once_and_the_checks_run_once_a_second() {
        let (readiness, runs) = (Readiness::default(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&runs);
        readiness.add_quick("counted", Severity::Fails, move || {
            counted.fetch_add(1, Ordering::Relaxed);
            None
        });
        for _ in 0..100 {
            assert!(readiness.report().await.is_ready());
        }
        assert!(runs.load(Ordering::Relaxed) <= 2, "{runs:?}");
        readiness.drain();
        let report = readiness.report().await;
        assert!(report.is_draining() && !report.is_ready());
    }

    #[tokio::test]
    async fn a_check_that_hangs_has_failed() {
        let readiness = Readiness::default();
        readiness.add("hung", Severity::Fails, || Box::pin(std::future::pending()));
        let began = Instant::now();
        let report = readiness.report().await;
        assert_eq!(report.checks[1].reason.as_deref(), Some("the check took too long"));
        assert!(began.elapsed() < Duration::from_secs(1), "a balancer would have given up: {:?}", began.elapsed());
    }
}
