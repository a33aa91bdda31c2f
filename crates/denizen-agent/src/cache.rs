//! Tokens in hand, by identity and resource.
//!
//! * **Single flight**: however many callers want the same token, one request goes upstream.
//! * **Refresh ahead**: from about half of its life on, a token is renewed in the background while it is still served.
//!   Up to a tenth of that half is taken off at random, so that a fleet started together does not ask together.
//! * **Stale while error**: while a refresh fails, the old token is served for as long as it is valid.
//! * **Bounded**: a caller can name any resource, so there is a limit to how many are remembered.
//!
//! The answer's bytes are kept with the token and made anew once a second, for `expires_in`.
//! Touches the upstream only. Tests: `cache/tests.rs`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use denizen_keys::{SecretString, random};
use denizen_wire::{UnixTime, identity::Token};
use hyper::body::Bytes;
use tokio::sync::watch;
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    broker::Identity,
    clock::Clock,
    metrics::Metrics,
    upstream::{Fetched, Upstream, UpstreamError},
};

#[cfg(test)]
mod tests;

/// No more resources than this are remembered for one identity.
pub const MAX_RESOURCES: usize = 1024;
/// After a failed refresh, the next is tried no sooner than this, seconds.
const RETRY_AFTER: i64 = 30;
/// With less than this left, clients take a token for expired and ask again at once: a fresh one is waited for.
/// Seconds; tokens with a short life wait only in their last eighth.
const URGENT: i64 = 300;

type Flight = watch::Receiver<Option<Result<Arc<Live>, UpstreamError>>>;

/// One identity's tokens, by resource. Two maps, so that a look into them needs no key made first.
type OfIdentity = HashMap<Box<str>, Arc<Slot>>;

/// The cache. Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<Shared>);

struct Shared {
    upstream: Upstream,
    clock: Clock,
    metrics: Arc<Metrics>,
    max_resources: usize,
    slots: Mutex<HashMap<Uuid, OfIdentity>>,
}

/// One identity and one resource.
struct Slot {
    used: AtomicI64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    live: Option<Arc<Live>>,
    flight: Option<Flight>,
    /// The last failure, and when: it is not asked about again within the same second, nor a refresh for a while.
    failed: Option<(UpstreamError, UnixTime)>,
}

/// A token and its answer.
pub struct Live {
    identity: Identity,
    resource: Box<str>,
    access_token: SecretString,
    obtained: UnixTime,
    expires: UnixTime,
    refresh_at: UnixTime,
    /// The answer as of the second when so much was left.
    rendered: Mutex<Option<(i64, Bytes)>>,
}

impl Cache {
    /// Over an upstream.
    pub fn new(upstream: Upstream, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self::with_limit(upstream, clock, metrics, MAX_RESOURCES)
    }

    fn with_limit(upstream: Upstream, clock: Clock, metrics: Arc<Metrics>, max_resources: usize) -> Self {
        Self(Arc::new(Shared { upstream, clock, metrics, max_resources, slots: Mutex::default() }))
    }

    /// A valid token: from the cache, or from upstream.
    pub async fn token(&self, identity: &Identity, resource: &str) -> Result<Arc<Live>, UpstreamError> {
        let now = self.0.clock.now();
        let slot = self.slot(identity, resource, now);
        let (mut flight, held) = {
            let mut state = lock(&slot.state);
            let valid = state.live.clone().filter(|live| live.valid(now));
            match valid {
                Some(live) if now < live.refresh_at => return Ok(live),
                Some(live) => {
                    let tried = state.failed.as_ref().is_some_and(|(_, at)| (0..RETRY_AFTER).contains(&now.since(*at)));
                    if tried {
                        return Ok(live);
                    }
                    let flight = self.flight(&mut state, &slot, identity, resource);
                    if !live.urgent(now) {
                        return Ok(live);
                    }
                    (flight, Some(live))
                }
                None => {
                    if let Some((error, at)) = &state.failed
                        && *at == now
                    {
                        return Err(error.clone());
                    }
                    (self.flight(&mut state, &slot, identity, resource), None)
                }
            }
        };
        let landed = match flight.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone(),
            Err(_) => None,
        };
        match (landed, held) {
            (Some(Ok(live)), _) => Ok(live),
            (_, Some(held)) => Ok(held),
            (Some(Err(error)), None) => Err(error),
            (None, None) => Err(UpstreamError::Unavailable("the agent is stopping".into())),
        }
    }

    /// Renews, in the background, what is due and was asked for since it was obtained; forgets what has expired.
    pub fn refresh_due(&self) {
        let now = self.0.clock.now();
        let mut slots = lock(&self.0.slots);
        for slot in slots.values_mut() {
            slot.retain(|_, slot| {
                let state = lock(&slot.state);
                state.flight.is_some() || state.live.as_ref().is_some_and(|live| live.valid(now))
            });
        }
        for slot in slots.values().flat_map(HashMap::values) {
            let mut state = lock(&slot.state);
            let Some(live) = state.live.clone() else { continue };
            let waits = state.failed.as_ref().is_some_and(|(_, at)| (0..RETRY_AFTER).contains(&now.since(*at)));
            if now >= live.refresh_at && !waits && slot.used.load(Ordering::Relaxed) > live.obtained.0 {
                self.flight(&mut state, slot, &live.identity, &live.resource);
            }
        }
    }

    /// How many tokens are held.
    pub fn held(&self) -> usize {
        lock(&self.0.slots).values().map(HashMap::len).sum()
    }

    fn slot(&self, identity: &Identity, resource: &str, now: UnixTime) -> Arc<Slot> {
        let mut slots = lock(&self.0.slots);
        let of_identity = slots.entry(identity.client_id.0).or_default();
        if let Some(slot) = of_identity.get(resource) {
            slot.used.store(now.0, Ordering::Relaxed);
            return slot.clone();
        }
        while of_identity.len() >= self.0.max_resources {
            let oldest = of_identity.iter().min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed));
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { break };
            of_identity.remove(&name);
        }
        let slot = Arc::new(Slot { used: AtomicI64::new(now.0), state: Mutex::default() });
        of_identity.insert(resource.into(), slot.clone());
        slot
    }

    /// The flight that is under way, or a new one.
    fn flight(&self, state: &mut State, slot: &Arc<Slot>, identity: &Identity, resource: &str) -> Flight {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let (landed, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        self.0.metrics.upstream_requests.count();
        let (cache, slot, identity, resource) =
            (self.clone(), slot.clone(), identity.clone(), Box::<str>::from(resource));
        // A task of its own: the caller who started it may hang up, and the others are still waiting.
        tokio::spawn(async move {
            // Lifetimes count from before the request: a slow answer never makes a token look younger than it is.
            let asked = cache.0.clock.now();
            let outcome = cache.0.upstream.fetch(&identity, &resource).await;
            let outcome = outcome.map(|fetched| Arc::new(Live::new(identity, resource, fetched, asked)));
            let mut state = lock(&slot.state);
            state.flight = None;
            match &outcome {
                Ok(live) => {
                    state.live = Some(live.clone());
                    state.failed = None;
                }
                Err(error) => {
                    cache.0.metrics.upstream_failures.count();
                    tracing::warn!(%error, "no token from upstream");
                    state.failed = Some((error.clone(), cache.0.clock.now()));
                }
            }
            drop(state);
            // Nobody may be waiting any more.
            let _ = landed.send(Some(outcome));
        });
        flight
    }
}

impl Live {
    fn new(identity: Identity, resource: Box<str>, fetched: Fetched, obtained: UnixTime) -> Self {
        let life = fetched.expires_in;
        let half = life / 2;
        let jitter = half / 10 * i64::from(u16::from_ne_bytes(random::bytes())) / i64::from(u16::MAX);
        Self {
            identity,
            resource,
            access_token: fetched.access_token,
            obtained,
            expires: obtained + life,
            refresh_at: obtained + (half - jitter),
            rendered: Mutex::new(None),
        }
    }

    /// Whether it may be served. A clock that went back behind the token's beginning says nothing about its end.
    fn valid(&self, now: UnixTime) -> bool {
        now >= self.obtained && now < self.expires
    }

    fn urgent(&self, now: UnixTime) -> bool {
        self.expires.since(now) < URGENT.min(self.expires.since(self.obtained) / 8)
    }

    /// The identity the token is for.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// When it ends.
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// The answer, as every managed-identity client can parse it.
    pub fn body(&self, now: UnixTime) -> Bytes {
        let left = self.expires.since(now).max(0);
        let mut rendered = lock(&self.rendered);
        if let Some((at, body)) = &*rendered
            && *at == left
        {
            return body.clone();
        }
        let mut token = Token {
            access_token: self.access_token.expose().to_owned(),
            client_id: self.identity.client_id,
            object_id: self.identity.object_id,
            msi_res_id: self.identity.resource_id.clone(),
            expires_in: left.to_string(),
            expires_on: self.expires.to_string(),
            ext_expires_in: left.to_string(),
            not_before: self.obtained.to_string(),
            resource: self.resource.to_string(),
            token_type: "Bearer".to_owned(),
        };
        // Sized so that it is not moved while it grows: a copy left behind would not be wiped.
        let mut body = Zeroizing::new(Vec::with_capacity(self.access_token.len() + 4096));
        // Strings always serialize.
        let _ = serde_json::to_writer(&mut *body, &token);
        token.access_token.zeroize();
        let body = Bytes::from_owner(body);
        *rendered = Some((left, body.clone()));
        body
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
