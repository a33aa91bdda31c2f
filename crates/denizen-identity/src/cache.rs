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
//! renewal is not repeated within 30 seconds while the old token is valid. The cache itself is `denizen-refresh`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use denizen_refresh::{Fetched, GetError, Lifetime, RefreshCache, Settings};
use denizen_wire::{Clock, UnixTime};

use crate::{
    credential::BoxFuture,
    error::{CredentialError, Failed, FailureKind},
    token::{Ask, Token, TokenRequest},
};

/// Seconds before its end in which a token is not handed out without trying for a new one.
const MARGIN: i64 = 300;
/// Seconds a token must live to be renewed at half of them.
const LONG_LIFE: i64 = 7200;
/// Seconds that the clock may be set back without taking away the tokens at hand.
const SET_BACK: i64 = 300;
/// At most 256 resources of one identity; a failed renewal is tried again after 30 seconds, a failed first fetch at once.
const SETTINGS: Settings = Settings { capacity: 256, retry_after: 30, retry_empty_after: 0 };

/// The tokens of one identity, by what was asked for.
type Tokens = RefreshCache<String, Token, CredentialError>;

/// Where tokens are kept, in memory only. Credentials given the same cache and the same identity share tokens.
#[derive(Default)]
pub struct TokenCache {
    identities: Mutex<HashMap<String, Tokens>>,
}

impl TokenCache {
    fn of(&self, identity: &str, clock: &Clock) -> Tokens {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = identities.entry(identity.to_owned()).or_insert_with(|| {
            let clock = clock.clone();
            Tokens::new(SETTINGS, move || clock.now())
        });
        tokens.clone()
    }

    /// Forgets every token.
    pub fn clear(&self) {
        let identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        identities.values().for_each(Tokens::clear);
    }
}

// Not derived: tokens are secrets.
impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenCache")
    }
}

/// How long a token that came `now` is served, and when it is renewed.
fn lifetime(token: &Token, now: UnixTime) -> Lifetime {
    let life = token.expires_on.since(now).max(0);
    let margin = token.expires_on - MARGIN.min(life / 2);
    let half = (life >= LONG_LIFE).then(|| now + life / 2);
    Lifetime::new(now, token.expires_on)
        .with_wait_at(margin)
        .with_refresh_at(token.refresh_on.or(half).unwrap_or(margin))
        .with_serves_before(SET_BACK)
}

/// How one credential gets a token, without a cache.
pub(crate) trait Fetch: Send + Sync + 'static {
    /// The credential's name, for errors.
    fn name(&self) -> &'static str;
    /// Asks the source.
    fn fetch<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Token, CredentialError>>;
}

/// A credential with a cache.
pub(crate) struct Cached<F> {
    pub(crate) fetch: Arc<F>,
    tokens: Tokens,
    clock: Clock,
}

impl<F: Fetch> Cached<F> {
    /// `identity` names whose tokens these are, among all credentials that may share `cache`.
    pub(crate) fn new(fetch: F, identity: &str, cache: &TokenCache, clock: Clock) -> Self {
        Self { fetch: Arc::new(fetch), tokens: cache.of(identity, &clock), clock }
    }

    /// A token that is there and needs nothing done about it.
    pub(crate) fn cached(&self, request: &TokenRequest<'_>) -> Option<Token> {
        if request.bypasses_cache() { None } else { self.tokens.peek(&*request.key()) }
    }

    pub(crate) async fn token(&self, request: TokenRequest<'_>) -> Result<Token, CredentialError> {
        let key = request.key();
        if request.bypasses_cache() {
            let token = self.fetch.fetch(&request.to_ask()).await?;
            let lifetime = lifetime(&token, self.clock.now());
            self.tokens.put(&key.into_owned(), Fetched { value: token.clone(), lifetime });
            return Ok(token);
        }
        let got = self.tokens.get(&*key, || self.fetched(key.to_string(), request.to_ask())).await;
        got.map_err(|error| match error {
            GetError::Fetch(error) => error,
            GetError::Lost | _ => {
                Failed::new(self.fetch.name(), FailureKind::NoAnswer, "the task that fetched the token was lost").into()
            }
        })
    }

    /// One fetch, in a task of its own.
    fn fetched(
        &self,
        key: String,
        ask: Ask,
    ) -> impl Future<Output = Result<Fetched<Token>, CredentialError>> + Send + 'static {
        let (fetch, tokens, clock) = (Arc::clone(&self.fetch), self.tokens.clone(), self.clock.clone());
        async move {
            let token = fetch.fetch(&ask).await.inspect_err(|error| {
                if tokens.good(&key).is_some() {
                    tracing::warn!(
                        credential = error.credential(),
                        reason = error.reason(),
                        "renewal failed, the token in the cache still serves"
                    );
                }
            })?;
            let lifetime = lifetime(&token, clock.now());
            Ok(Fetched { value: token, lifetime })
        }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
