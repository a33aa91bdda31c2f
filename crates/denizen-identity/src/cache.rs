//! Tokens are kept per identity and resource, and fetched once however many ask.
//!
//! ```text
//!  got_on ............ refresh_on ............ expires_on - margin ..... expires_on
//!  |  from the cache   |  from the cache, and   |  fetched; the old one  |  fetched
//!  |                   |  renewed in the        |  serves if that fails  |
//!  |                   |  background            |                        |
//! ```
//!
//! `refresh_on` is the server's, or half of a life of two hours and more. The margin is five minutes, or half of a
//! life shorter than ten (a client that counts such a token as ended at once asks for one with every call). A failed
//! renewal is not repeated within 30 seconds while the old token is valid.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use denizen_wire::UnixTime;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    credential::BoxFuture,
    error::{CredentialError, Failed, FailureKind},
    token::{Ask, Token, TokenRequest},
};

/// Seconds before its end in which a token is not handed out without trying for a new one.
const MARGIN: i64 = 300;
/// Seconds a token must live to be renewed at half of them.
const LONG_LIFE: i64 = 7200;
/// Seconds between two tries to renew a token that is still valid.
const TRY_AGAIN: i64 = 30;
/// Beyond this many resources of one identity, those that ended are dropped.
const MANY: usize = 256;

/// Where tokens are kept, in memory only. Credentials given the same cache and the same identity share tokens.
#[derive(Default)]
pub struct TokenCache {
    identities: Mutex<HashMap<String, Arc<Entries>>>,
}

impl TokenCache {
    fn of(&self, identity: &str) -> Arc<Entries> {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(identities.entry(identity.to_owned()).or_default())
    }

    /// Forgets every token.
    pub fn clear(&self) {
        let identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        identities.values().for_each(|entries| entries.lock().clear());
    }
}

// Not derived: tokens are secrets.
impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenCache")
    }
}

#[derive(Default)]
struct Entries(Mutex<HashMap<String, Entry>>);

impl Entries {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Outcome = Option<Result<Token, CredentialError>>;

#[derive(Default)]
struct Entry {
    token: Option<Kept>,
    /// When the last try to renew ended.
    tried_on: Option<UnixTime>,
    flight: Option<watch::Receiver<Outcome>>,
}

struct Kept {
    token: Token,
    refresh_on: UnixTime,
    margin_on: UnixTime,
}

impl Kept {
    fn new(token: Token, now: UnixTime) -> Self {
        let life = token.expires_on.since(now).max(0);
        let margin_on = token.expires_on - MARGIN.min(life / 2);
        let half = (life >= LONG_LIFE).then(|| now + life / 2);
        let refresh_on = token.refresh_on.or(half).unwrap_or(margin_on).min(margin_on);
        Self { token, refresh_on, margin_on }
    }
}

impl Entry {
    fn unexpired(&self, now: UnixTime) -> Option<&Kept> {
        self.token.as_ref().filter(|kept| now < kept.token.expires_on)
    }

    /// The fetch under way, if its task still lives: a runtime may have ended under it.
    fn flight(&self) -> Option<&watch::Receiver<Outcome>> {
        self.flight.as_ref().filter(|flight| flight.borrow().is_some() || flight.has_changed().is_ok())
    }
}

/// How one credential gets a token, without any memory.
pub(crate) trait Fetch: Send + Sync + 'static {
    /// The credential's name, for errors.
    fn name(&self) -> &'static str;
    /// Asks the source.
    fn fetch<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Token, CredentialError>>;
}

/// A credential with a memory.
pub(crate) struct Cached<F> {
    pub(crate) fetch: Arc<F>,
    entries: Arc<Entries>,
    clock: Arc<dyn Clock>,
}

impl<F: Fetch> Cached<F> {
    /// `identity` names whose tokens these are, among all credentials that may share `cache`.
    pub(crate) fn new(fetch: F, identity: &str, cache: &TokenCache, clock: Arc<dyn Clock>) -> Self {
        Self { fetch: Arc::new(fetch), entries: cache.of(identity), clock }
    }

    /// A token that is there and needs nothing done about it.
    pub(crate) fn cached(&self, request: &TokenRequest<'_>) -> Option<Token> {
        if request.bypasses_cache() {
            return None;
        }
        let entries = self.entries.lock();
        let kept = entries.get(&*request.key())?.token.as_ref()?;
        (self.clock.now() < kept.refresh_on).then(|| kept.token.clone())
    }

    pub(crate) async fn token(&self, request: TokenRequest<'_>) -> Result<Token, CredentialError> {
        if let Some(token) = self.cached(&request) {
            return Ok(token);
        }
        let key = request.key().into_owned();
        if request.bypasses_cache() {
            let ask = request.to_ask();
            let result = self.fetch.fetch(&ask).await;
            settle(&self.entries, &key, &result, self.clock.now(), false);
            return result;
        }
        // A second round only when the task of the first one was lost.
        for _ in 0..2 {
            let mut flight = match self.look(&key, request) {
                Look::Token(token) => return Ok(token),
                Look::Wait(flight) => flight,
            };
            let outcome = flight.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
            match outcome {
                Ok(Some(Err(error))) => {
                    let entries = self.entries.lock();
                    let old = entries.get(&key).and_then(|entry| entry.unexpired(self.clock.now()));
                    return old.map(|kept| kept.token.clone()).ok_or(error);
                }
                Ok(Some(Ok(token))) => return Ok(token),
                Ok(None) | Err(_) => {}
            }
        }
        Err(Failed::new(self.fetch.name(), FailureKind::NoAnswer, "the task that fetched the token was lost").into())
    }

    fn look(&self, key: &str, request: TokenRequest<'_>) -> Look {
        let now = self.clock.now();
        let mut entries = self.entries.lock();
        if entries.len() > MANY {
            entries.retain(|_, entry| entry.unexpired(now).is_some() || entry.flight().is_some());
        }
        let entry = entries.entry(key.to_owned()).or_default();
        let tried = entry.tried_on.is_some_and(|tried_on| now.since(tried_on) < TRY_AGAIN);
        let old = entry.unexpired(now).map(|kept| (kept.token.clone(), now < kept.refresh_on, now < kept.margin_on));
        let flight = entry.flight().cloned();
        match (old, flight) {
            // Somebody else renewed it since we looked.
            (Some((token, true, _)), _) => Look::Token(token),
            (Some((token, _, true)), Some(_)) => Look::Token(token),
            (_, Some(flight)) => Look::Wait(flight),
            (Some((token, ..)), None) if tried => Look::Token(token),
            (old, None) => {
                let flight = self.start(key.to_owned(), request.to_ask());
                entry.flight = Some(flight.clone());
                match old {
                    Some((token, _, true)) => Look::Token(token),
                    Some(_) | None => Look::Wait(flight),
                }
            }
        }
    }

    /// In a task of its own, so that a caller who gives up does not take the others' token with him.
    fn start(&self, key: String, ask: Ask) -> watch::Receiver<Outcome> {
        let (sender, receiver) = watch::channel(None);
        let (fetch, entries, clock) = (Arc::clone(&self.fetch), Arc::clone(&self.entries), Arc::clone(&self.clock));
        tokio::spawn(async move {
            let result = fetch.fetch(&ask).await;
            settle(&entries, &key, &result, clock.now(), true);
            // Nobody may be waiting: a renewal in the background.
            let _ = sender.send(Some(result));
        });
        receiver
    }
}

fn settle(entries: &Entries, key: &str, result: &Result<Token, CredentialError>, now: UnixTime, flight: bool) {
    let mut guard = entries.lock();
    let entry = guard.entry(key.to_owned()).or_default();
    if flight {
        entry.flight = None;
        entry.tried_on = result.is_err().then_some(now);
    }
    if let Ok(token) = result {
        entry.token = Some(Kept::new(token.clone(), now));
    }
    let serves = entry.unexpired(now).is_some();
    // Whoever takes the log may be slow, and every credential needs the lock.
    drop(guard);
    if let (Err(error), true, true) = (result, flight, serves) {
        tracing::warn!(
            credential = error.credential(),
            reason = error.reason(),
            "renewal failed, the token in the cache still serves"
        );
    }
}

enum Look {
    Token(Token),
    Wait(watch::Receiver<Outcome>),
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
