//! A cache for values that end and can be fetched again: tokens, published keys, assertions.
//!
//! * **Single flight.** However many callers want one key's value, one fetch is under way. It is a task of its own: a
//!   caller who gives up does not end it for the others.
//! * **Refresh ahead.** From [`Lifetime::refresh_at`] on, the value is still served and renewed in the background. From
//!   [`Lifetime::wait_at`] on, callers wait for the new one.
//! * **Stale while error.** While a renewal fails, the old value is served until [`Lifetime::ends`]. It is never served
//!   after that.
//! * **Back-off.** After a failure no fetch starts for a while: [`Settings::retry_after`], and without a good value
//!   [`Settings::retry_empty_after`], which is none by default.
//! * **Bounded.** At [`Settings::capacity`] the value that was not asked for the longest makes room.
//!
//! ```text
//!  begins ............. refresh_at ............. wait_at ................. ends
//!  |  from the cache    |  from the cache, and   |  fetched; the old one   |  fetched
//!  |                    |  renewed in background |  serves if that fails   |
//! ```
//!
//! ```
//! use denizen_refresh::{Fetched, Lifetime, RefreshCache, Settings};
//! use denizen_wire::Clock;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let clock = Clock::system();
//! let cache: RefreshCache<String, u32, String> = RefreshCache::new(Settings::default(), {
//!     let clock = clock.clone();
//!     move || clock.now()
//! });
//! let value = cache
//!     .get("key", || async move {
//!         let now = clock.now();
//!         Ok(Fetched { value: 7, lifetime: Lifetime::new(now, now + 3600).with_refresh_at(now + 1800) })
//!     })
//!     .await;
//! assert_eq!(value, Ok(7));
//! # }
//! ```
//!
//! A fetch runs on the current tokio runtime. Touches nothing else. Tests: `tests.rs`.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::{
    borrow::Borrow,
    error::Error,
    fmt,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use denizen_wire::UnixTime;
use tokio::sync::watch;

mod entry;
#[cfg(test)]
mod tests;

use entry::{Entries, Lookup, Outcome};

/// A value and how long it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched<V> {
    /// The value.
    pub value: V,
    /// When it is to be renewed, and when it ends.
    pub lifetime: Lifetime,
}

/// The times at which a value's treatment changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    begins: UnixTime,
    serves_from: UnixTime,
    refresh_at: UnixTime,
    wait_at: UnixTime,
    ends: UnixTime,
}

impl Lifetime {
    /// Good from `begins` until just before `ends`. Without [`Self::with_refresh_at`] and [`Self::with_wait_at`] it is not
    /// renewed early.
    ///
    /// Before `begins` (the clock was set back) the value is not served, unless [`Self::with_serves_before`] says so:
    /// how long it is still good is unknown then.
    pub fn new(begins: UnixTime, ends: UnixTime) -> Self {
        Self { begins, serves_from: begins, refresh_at: ends, wait_at: ends, ends }
    }

    /// For `seconds` before it begins the value is served, and renewed in the background at once: a clock that is set
    /// back need not take away what is at hand.
    #[must_use]
    pub fn with_serves_before(mut self, seconds: i64) -> Self {
        self.serves_from = self.begins - seconds.max(0);
        self
    }

    /// From `at` on it is renewed in the background.
    #[must_use]
    pub fn with_refresh_at(mut self, at: UnixTime) -> Self {
        self.refresh_at = at.min(self.wait_at);
        self
    }

    /// From `at` on callers wait for a new one; they get this one if none can be had.
    #[must_use]
    pub fn with_wait_at(mut self, at: UnixTime) -> Self {
        self.wait_at = at.min(self.ends);
        self.refresh_at = self.refresh_at.min(self.wait_at);
        self
    }

    /// From when on it is renewed in the background.
    pub fn refresh_at(&self) -> UnixTime {
        self.refresh_at
    }

    /// From when on callers wait for a new one.
    pub fn wait_at(&self) -> UnixTime {
        self.wait_at
    }

    /// When it ends.
    pub fn ends(&self) -> UnixTime {
        self.ends
    }

    fn is_good(&self, now: UnixTime) -> bool {
        now >= self.serves_from && now < self.ends
    }

    /// Whether it is to be renewed.
    fn is_due(&self, now: UnixTime) -> bool {
        now < self.begins || now >= self.refresh_at
    }
}

/// How a cache behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The most values that are kept. At least one is.
    pub capacity: usize,
    /// After a failure, a good value is served without another try for this long, seconds.
    pub retry_after: i64,
    /// After a failure, and without a good value, callers get the same error without another try for this long,
    /// seconds. With 1, those that ask within the same second.
    pub retry_empty_after: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { capacity: 1024, retry_after: 30, retry_empty_after: 0 }
    }
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError<E> {
    /// The fetch failed.
    Fetch(E),
    /// The task that fetched ended without an answer: it panicked, or its runtime stopped.
    Lost,
}

impl<E: fmt::Display> fmt::Display for GetError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(error) => error.fmt(f),
            Self::Lost => f.write_str("the task that fetched the value ended without an answer"),
        }
    }
}

impl<E: Error> Error for GetError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // Displayed as this error already.
            Self::Fetch(error) => error.source(),
            Self::Lost => None,
        }
    }
}

/// The cache. Clones share their values.
pub struct RefreshCache<K, V, E>(Arc<Shared<K, V, E>>);

struct Shared<K, V, E> {
    entries: Mutex<Entries<K, V, E>>,
    now: Box<dyn Fn() -> UnixTime + Send + Sync>,
}

impl<K, V, E> Clone for RefreshCache<K, V, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// Not derived: values may be secrets.
impl<K, V, E> fmt::Debug for RefreshCache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshCache").finish_non_exhaustive()
    }
}

impl<K, V, E> RefreshCache<K, V, E>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// Creates an empty cache that reads the time from `now`.
    pub fn new(settings: Settings, now: impl Fn() -> UnixTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { entries: Mutex::new(Entries::new(settings)), now: Box::new(now) }))
    }

    /// The value of `key` if it is good and not due: without waiting, and without starting anything.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let now = (self.0.now)();
        self.lock().peek(key, now)
    }

    /// The value of `key` if it is good, whether or not it is due: without waiting, and without starting anything.
    pub fn good<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let now = (self.0.now)();
        self.lock().good(key, now)
    }

    /// The value of `key`: from the cache, or by `fetch`.
    ///
    /// # Errors
    /// There is no good value, and the fetch failed.
    pub async fn get<Q, F, Fut>(&self, key: &Q, fetch: F) -> Result<V, GetError<E>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Fetched<V>, E>> + Send + 'static,
    {
        if let Some(value) = self.peek(key) {
            return Ok(value);
        }
        self.resolve(key, fetch, Entries::look).await
    }

    /// The value of `key`, fetched again although it may be good, unless `enough` is satisfied with it. No fetch starts
    /// within `interval` seconds of the end of the last one; the value is then returned as it is.
    ///
    /// For what is found missing in a value: a signing key that is not among those published an hour ago.
    ///
    /// # Errors
    /// There is no good value, and the fetch failed.
    pub async fn get_newer<Q, F, Fut>(
        &self,
        key: &Q,
        enough: impl Fn(&V) -> bool,
        interval: i64,
        fetch: F,
    ) -> Result<V, GetError<E>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Fetched<V>, E>> + Send + 'static,
    {
        self.resolve(key, fetch, |entries, key: &Q, now| entries.look_newer(key, now, &enough, interval)).await
    }

    /// Keeps a value that was fetched by other means. The result of a fetch that is under way is not kept.
    pub fn put(&self, key: &K, fetched: Fetched<V>) {
        let now = (self.0.now)();
        self.lock().put(key, fetched, now);
    }

    /// Forgets the value of `key`. The result of a fetch that is under way is not kept.
    pub fn remove<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.lock().remove(key);
    }

    /// Forgets every value. The results of fetches that are under way are not kept.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Renews, in the background, what is due and was asked for since it was fetched; forgets what has ended.
    pub fn refresh_due<F, Fut>(&self, fetch: F)
    where
        F: Fn(&K) -> Fut,
        Fut: Future<Output = Result<Fetched<V>, E>> + Send + 'static,
    {
        let now = (self.0.now)();
        let due = self.lock().due(now);
        for (key, flight, sender) in due {
            self.spawn(flight, sender, fetch(&key), key);
        }
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    async fn resolve<Q, F, Fut>(
        &self,
        key: &Q,
        fetch: F,
        look: impl Fn(&mut Entries<K, V, E>, &Q, UnixTime) -> Lookup<V, E>,
    ) -> Result<V, GetError<E>>
    where
        Q: ToOwned<Owned = K> + ?Sized,
        K: Borrow<Q>,
        Q: Eq + Hash,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Fetched<V>, E>> + Send + 'static,
    {
        let mut fetch = Some(fetch);
        loop {
            let found = look(&mut self.lock(), key, (self.0.now)());
            let mut outcome = match found {
                Lookup::Value(value) => return Ok(value),
                Lookup::Failed(error) => return Err(GetError::Fetch(error)),
                Lookup::Wait(outcome) => outcome,
                Lookup::Start { flight, sender, meanwhile } => {
                    let Some(fetch) = fetch.take() else { return self.after(key, None) };
                    let outcome = sender.subscribe();
                    self.spawn(flight, sender, fetch(), key.to_owned());
                    match meanwhile {
                        Some(value) => return Ok(value),
                        None => outcome,
                    }
                }
            };
            let ended = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
            match ended {
                Some(Ok(value)) => return Ok(value),
                Some(Err(error)) => return self.after(key, Some(error)),
                // Somebody else's fetch was lost: try with our own.
                None if fetch.is_some() => {}
                None => return self.after(key, None),
            }
        }
    }

    /// The old value, if it is still good after a fetch brought no new one.
    fn after<Q>(&self, key: &Q, error: Option<E>) -> Result<V, GetError<E>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.good(key).ok_or_else(|| error.map_or(GetError::Lost, GetError::Fetch))
    }

    fn spawn<Fut>(&self, flight: u64, sender: watch::Sender<Option<Outcome<V, E>>>, fetch: Fut, key: K)
    where
        Fut: Future<Output = Result<Fetched<V>, E>> + Send + 'static,
    {
        let shared = self.0.clone();
        tokio::spawn(async move {
            let result = fetch.await;
            let outcome = result.as_ref().map(|fetched| fetched.value.clone()).map_err(Clone::clone);
            let now = (shared.now)();
            lock(&shared.entries).settle(&key, flight, result, now);
            // After the entry is settled, so that who is woken finds it so. Nobody may be waiting.
            sender.send_replace(Some(outcome));
        });
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, V, E>> {
        lock(&self.0.entries)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
