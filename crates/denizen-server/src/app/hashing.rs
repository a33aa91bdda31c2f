//! Slow hashes, few at a time: argon2id takes tens of milliseconds and 19 MiB on purpose, and whoever waits for one must
//! not take the processors from those who wait for nothing.
//!
//! One processor is always left over. Whoever finds many waiting, or has waited long, is told to come back.
//!
//! Touches the runtime's pool of blocking threads. Tests: below.

use std::{num::NonZero, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinError,
};

/// Requests that wait for their turn; at 16 ms a hash on one processor, those that can have it in time.
const WAITING: usize = 256;
/// A request waits this long for its turn.
const DEADLINE: Duration = Duration::from_secs(5);

/// The turns. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Hashing {
    at_once: usize,
    running: Arc<Semaphore>,
    /// Those that run and those that wait.
    places: Arc<Semaphore>,
    deadline: Duration,
}

/// Leave to compute one hash. The next one has it when this is dropped.
#[derive(Debug)]
pub struct Turn {
    _running: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

/// More hashes are asked for than can be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service is hashing as many secrets as it can; ask again in a second")]
pub struct Busy;

impl Hashing {
    /// As many at once as there are processors but one, and one at least.
    pub fn new(processors: NonZero<usize>) -> Self {
        Self::with(processors.get().saturating_sub(1).max(1), WAITING, DEADLINE)
    }

    /// As this machine's processors allow.
    pub fn of_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN))
    }

    fn with(at_once: usize, waiting: usize, deadline: Duration) -> Self {
        let (running, places) = (Arc::new(Semaphore::new(at_once)), Arc::new(Semaphore::new(at_once + waiting)));
        Self { at_once, running, places, deadline }
    }

    /// How many are computed at once.
    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Busy`]: too many wait, or this one has waited too long.
    pub async fn turn(&self) -> Result<Turn, Busy> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Busy)?;
        let running = tokio::time::timeout(self.deadline, Arc::clone(&self.running).acquire_owned()).await;
        let running = running.ok().and_then(Result::ok).ok_or(Busy)?;
        Ok(Turn { _running: running, _place: place })
    }
}

impl Turn {
    /// Computes off the runtime's own threads. The turn is the computation's, not the request's: a client that hangs up
    /// frees no processor.
    ///
    /// # Errors
    /// The computation did not end.
    pub async fn run<T: Send + 'static>(self, compute: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        tokio::task::spawn_blocking(move || {
            let _turn = self;
            compute()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_processor_is_left_over_where_there_are_several() {
        let at_once = |processors| Hashing::new(NonZero::new(processors).unwrap()).at_once();
        assert_eq!([at_once(1), at_once(2), at_once(3), at_once(16)], [1, 1, 2, 15]);
    }

    #[tokio::test]
    async fn no_more_run_than_may_and_no_more_wait_than_may() {
        let hashing = Hashing::with(2, 3, Duration::from_secs(3600));
        let (one, two) = (hashing.turn().await.unwrap(), hashing.turn().await.unwrap());
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let hashing = hashing.clone();
                tokio::spawn(async move { hashing.turn().await.map(drop) })
            })
            .collect();
        while hashing.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashing.turn().await.unwrap_err(), Busy);
        assert!(waiting.iter().all(|it| !it.is_finished()));
        drop(one);
        for waited in waiting {
            waited.await.unwrap().unwrap();
        }
        drop(two);
        assert_eq!((hashing.running.available_permits(), hashing.places.available_permits()), (2, 5));
    }

    #[tokio::test]
    async fn who_has_waited_long_enough_is_told_so_and_leaves_its_place() {
        let hashing = Hashing::with(1, 1, Duration::ZERO);
        let turn = hashing.turn().await.unwrap();
        assert_eq!(hashing.turn().await.unwrap_err(), Busy);
        assert_eq!(hashing.places.available_permits(), 1);
        drop(turn);
        hashing.turn().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_turn_is_its_computations_even_when_nobody_waits_for_it() {
        let hashing = Hashing::with(1, 8, Duration::from_secs(3600));
        let (begun, go) = (Arc::new(AtomicUsize::new(0)), std::sync::mpsc::channel::<()>());
        let (turn, counted) = (hashing.turn().await.unwrap(), Arc::clone(&begun));
        let running = tokio::spawn(turn.run(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            go.1.recv().ok()
        }));
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        assert_eq!(hashing.running.available_permits(), 0, "it still computes");
        go.0.send(()).unwrap();
        hashing.turn().await.unwrap();
    }
}
