//! Tokens in memory, by identity and resource.
//!
//! From about half of its life on, a token is renewed in the background while it is still served; up to a tenth of that
//! half is taken off at random, so that machines started together do not ask together. The rest (single flight, stale
//! while error, back-off, bounds) is [`denizen_refresh`]'s.
//!
//! Touches the token authority only. Tests: `cache/tests.rs`.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use denizen_keys::{SecretString, random};
use denizen_refresh::{Fetched, GetError, Lifetime, RefreshCache, Settings};
use denizen_serve::Sampler;
use denizen_wire::{ClientId, Clock, UnixTime, shown};
use hyper::body::Bytes;

use crate::{
    identity::Identity,
    metrics::Metrics,
    upstream::{IssuedToken, TokenAuthority, UpstreamError},
};

#[cfg(test)]
mod tests;

/// The most resources that are remembered for one identity: a caller can name any.
pub const MAX_RESOURCES: usize = 1024;
/// After a failed renewal, the next is tried no sooner than this, seconds.
pub const RETRY_AFTER: i64 = 30;
/// Without a good token, a failure is shared by those who ask within so long, seconds: the same second.
pub const RETRY_EMPTY_AFTER: i64 = 1;
/// With less than this left, clients take a token for expired and ask again at once: a new one is waited for.
/// Seconds; tokens with a short life wait only in their last eighth.
const WAIT_BEFORE_END: i64 = 300;

/// So many failures are logged in so long.
const FAILURES: u32 = 20;
const FAILURES_IN: Duration = Duration::from_secs(60);

type Tokens = RefreshCache<String, Arc<CachedToken>, UpstreamError>;

/// The cache. Clones share their tokens.
#[derive(Clone)]
pub struct TokenCache(Arc<Shared>);

struct Shared {
    source: Arc<Source>,
    settings: Settings,
    /// One cache for each identity, so that no identity's resources push out another's.
    by_identity: Mutex<HashMap<ClientId, (Identity, Tokens)>>,
}

struct Source {
    authority: TokenAuthority,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// Which failures are logged.
    failures: Sampler,
}

/// A token, whose it is, and for how long.
pub struct CachedToken {
    /// The identity it is for.
    pub identity: Identity,
    /// The resource, as it was asked for.
    pub resource: String,
    /// The JWT.
    pub access_token: SecretString,
    /// When it was asked for: it is valid from then on.
    pub obtained: UnixTime,
    /// When it ends.
    pub expires: UnixTime,
    /// The rendered answer, and the second it is of.
    rendering: Mutex<Option<(UnixTime, Bytes)>>,
}

impl TokenCache {
    /// Creates an empty cache of the tokens `authority` gives.
    pub fn new(authority: TokenAuthority, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self::with_limit(authority, clock, metrics, MAX_RESOURCES)
    }

    fn with_limit(authority: TokenAuthority, clock: Clock, metrics: Arc<Metrics>, max_resources: usize) -> Self {
        let settings =
            Settings { capacity: max_resources, retry_after: RETRY_AFTER, retry_empty_after: RETRY_EMPTY_AFTER };
        let source = Arc::new(Source { authority, clock, metrics, failures: Sampler::new(FAILURES, FAILURES_IN) });
        Self(Arc::new(Shared { source, settings, by_identity: Mutex::default() }))
    }

    /// A valid token: from the cache, or from the authority.
    pub async fn get(&self, identity: &Identity, resource: &str) -> Result<Arc<CachedToken>, UpstreamError> {
        let tokens = self.tokens_of(identity);
        let source = &self.0.source;
        let token = tokens.get(resource, || source.clone().fetch(identity.clone(), resource.to_owned())).await;
        token.map_err(|error| match error {
            GetError::Fetch(error) => error,
            GetError::Lost | _ => UpstreamError::Unavailable("the agent is stopping".into()),
        })
    }

    /// Renews, in the background, what is due and was asked for since it was obtained; forgets what has expired.
    pub fn refresh_due(&self) {
        let all: Vec<_> = lock(&self.0.by_identity).values().cloned().collect();
        for (identity, tokens) in all {
            tokens.refresh_due(|resource| self.0.source.clone().fetch(identity.clone(), resource.clone()));
        }
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        lock(&self.0.by_identity).values().map(|(_, tokens)| tokens.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tokens_of(&self, identity: &Identity) -> Tokens {
        let mut by_identity = lock(&self.0.by_identity);
        let (_, tokens) = by_identity.entry(identity.client_id).or_insert_with(|| {
            let clock = self.0.source.clock.clone();
            (identity.clone(), RefreshCache::new(self.0.settings, move || clock.now()))
        });
        tokens.clone()
    }
}

impl Source {
    async fn fetch(
        self: Arc<Self>,
        identity: Identity,
        resource: String,
    ) -> Result<Fetched<Arc<CachedToken>>, UpstreamError> {
        self.metrics.upstream_requests.count();
        // Lifetimes count from before the request: a slow answer never makes a token look younger than it is.
        let asked = self.clock.now();
        match self.authority.fetch(&identity, &resource).await {
            Ok(issued) => Ok(fetched(identity, resource, issued, asked)),
            Err(error) => {
                self.metrics.upstream_failures.count();
                // A caller who may have a token can name any resource.
                if let Some(held_back) = self.failures.admit() {
                    tracing::warn!(%error, resource = ?shown::identifier(&resource), held_back, "no token from upstream");
                }
                Err(error)
            }
        }
    }
}

fn fetched(identity: Identity, resource: String, issued: IssuedToken, obtained: UnixTime) -> Fetched<Arc<CachedToken>> {
    let lifetime = lifetime(obtained, issued.expires_in, u16::from_ne_bytes(random::bytes()));
    let expires = lifetime.ends();
    let access_token = issued.access_token;
    let value = CachedToken { identity, resource, access_token, obtained, expires, rendering: Mutex::new(None) };
    Fetched { value: Arc::new(value), lifetime }
}

/// When a token that was asked for at `obtained` and lives for `life` seconds is renewed, waited for, and ends. `random` is
/// uniform, and takes up to a tenth off the half life.
pub fn lifetime(obtained: UnixTime, life: i64, random: u16) -> Lifetime {
    let half = life / 2;
    let jitter = half / 10 * i64::from(random) / i64::from(u16::MAX);
    let expires = obtained + life;
    Lifetime::new(obtained, expires)
        .with_wait_at(expires - WAIT_BEFORE_END.min(life / 8) + 1)
        .with_refresh_at(obtained + (half - jitter))
}

// Not derived: the token is a secret.
impl fmt::Debug for CachedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedToken")
            .field("resource", &self.resource)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl CachedToken {
    /// The answer as of `now`: kept from the last call of the same second, or made by `render`.
    pub fn rendering(&self, now: UnixTime, render: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let mut rendering = lock(&self.rendering);
        if let Some((at, body)) = &*rendering
            && *at == now
        {
            return body.clone();
        }
        let body = render(self);
        *rendering = Some((now, body.clone()));
        body
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
