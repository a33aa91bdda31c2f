//! The time that was seen last: watched in memory, kept in the database's head.
//!
//! Every write moves it, and so does the hourly schedule. Tests: `run.rs`, and [`crate::domain::clock_watch`].

use std::sync::{
    Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use denizen_wire::{Clock, UnixTime};

use super::{Store, StoreError, head::Head, writer::Writer};
use crate::domain::clock_watch::{ClockStanding, ClockWatch};

/// How to say that the clock is right.
const CONFIRM: &str = "until the clock is set right, or somebody says that it is: start once with --confirm-clock";

/// The clock, once somebody watches it. A store that nobody watches for keeps the time that its head has.
#[derive(Default)]
pub(super) struct Seen(OnceLock<Watched>);

struct Watched {
    clock: Clock,
    watch: Mutex<(ClockWatch, ClockStanding)>,
    /// Whether somebody says just now that the clock is right, whatever was seen before.
    is_confirming: AtomicBool,
}

impl Watched {
    /// Looks at the clock; a change of what is thought of it is logged once.
    fn look(&self) -> (UnixTime, ClockStanding) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = watch.0.look(self.clock.now(), self.clock.moment());
        if std::mem::replace(&mut watch.1, standing).is_trusted() != standing.is_trusted() {
            say(standing);
        }
        (watch.0.seen(), standing)
    }
}

fn say(standing: ClockStanding) {
    const HELD: &str = "nothing is purged, and no signing key or join token is forgotten, by schedule";
    match standing {
        ClockStanding::Trusted => tracing::info!("the clock is trusted again"),
        ClockStanding::Ahead(seconds) => {
            tracing::warn!(seconds, "the clock is ahead of what this server expects: {HELD}, {CONFIRM}");
        }
        ClockStanding::Behind(seconds) => {
            tracing::warn!(seconds, "the clock is behind the time this server has seen: {HELD}, {CONFIRM}");
        }
    }
}

impl Seen {
    /// The time that the next head keeps. What another replica has seen stays seen.
    pub(super) fn next(&self, head: Option<&Head>) -> UnixTime {
        let before = head.map_or(UnixTime(0), |head| head.seen);
        match self.0.get() {
            Some(watched) if watched.is_confirming.load(Ordering::Relaxed) => watched.look().0,
            Some(watched) => watched.look().0.max(before),
            None => before,
        }
    }
}

impl Store {
    /// Starts to watch the clock, by what the database says was seen. Once: a second call does nothing.
    pub async fn watch_clock(&self, clock: Clock) -> Result<ClockStanding, StoreError> {
        let head = self.core.writer.lock().await.seen();
        let (now, moment) = (clock.now(), clock.moment());
        let watch = ClockWatch::start(head, now, moment);
        let (watch, is_confirming) = (Mutex::new((watch, ClockStanding::Trusted)), AtomicBool::new(false));
        self.core.seen.0.get_or_init(|| Watched { clock, watch, is_confirming });
        self.look_at_clock().await
    }

    /// Looks at the clock, and keeps what was seen.
    pub async fn look_at_clock(&self) -> Result<ClockStanding, StoreError> {
        let standing = self.clock_standing();
        Writer::keep_seen(&self.core).await?;
        Ok(standing)
    }

    /// What is thought of the clock now.
    pub fn clock_standing(&self) -> ClockStanding {
        self.core.seen.0.get().map_or(ClockStanding::Trusted, |watched| watched.look().1)
    }

    /// Whether it may be decided by this time that something is removed for good. Where nobody watches the clock, it may.
    pub fn trusts(&self, now: UnixTime) -> bool {
        self.core.seen.0.get().is_none_or(|watched| {
            watched.look();
            let watch = watched.watch.lock().unwrap_or_else(PoisonError::into_inner);
            watch.0.standing(now, watched.clock.moment()).is_trusted()
        })
    }

    /// Believes the clock from here on; whoever says so has it recorded first.
    pub async fn confirm_clock(&self) -> Result<(), StoreError> {
        let Some(watched) = self.core.seen.0.get() else { return Ok(()) };
        let watch = || watched.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let before = watch().0;
        watch().0.confirm(watched.clock.now(), watched.clock.moment());
        watched.is_confirming.store(true, Ordering::Relaxed);
        let kept = self.look_at_clock().await;
        watched.is_confirming.store(false, Ordering::Relaxed);
        match kept {
            Ok(_) => Ok(()),
            Err(error) => {
                // What the database does not have is not believed.
                watch().0 = before;
                Err(error)
            }
        }
    }
}
