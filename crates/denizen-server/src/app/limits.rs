//! Limits at the token endpoint, so that whoever sends wrong credentials takes little from everybody else.
//!
//! | limit | counts | per | refuses |
//! |---|---|---|---|
//! | refusals | requests whose sender proved nothing | the address; the client that is named, from the address | what would be refused anyhow, and what would cost an RSA verification or a slow hash to find out |
//! | tokens | requests of clients that proved themselves | the client | before the signature |
//! | device codes | requests for one | the address; this process | before the directory is asked: each that is given is kept, and recorded |
//!
//! **Nobody is kept out by another's refusals** who shows what is cheap to check: a secret of ours costs one HMAC and an
//! assertion that was seen before one digest, so these are looked at first, whatever came from the same address. A client
//! is counted with the address that names it, never alone: from elsewhere it is somebody else.
//!
//! A refusal over the limit says when to come back ([`Limited::retry_after`]), and is held back for a second
//! ([`Limits::hold`]): a client waits that long in any case, and whoever asks again as soon as it is answered gets as many
//! answers a second as it has connections, not as many as a processor can write.
//!
//! An address is what the connection came from; of IPv6 the first 64 bits, which one subscriber has. What is counted is
//! in memory, for a bounded number of addresses and clients: those that were not heard of for longest are forgotten.
//!
//! Touches nothing: the time is an argument. Tests: `limits/tests.rs`.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use denizen_wire::{ClientId, PrincipalId, TenantId, UnixTime};
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, StateStore},
};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

#[cfg(test)]
mod tests;

/// Addresses, and clients with an address, that are counted: about 100 bytes each.
const KEYS: usize = 65_536;
/// What may come at once, in seconds of what may come in one.
const BURST: u32 = 10;
/// Nobody is told to stay away for longer, seconds: client libraries answer from what they remember until then.
const LONGEST: u64 = 5;
/// How long an answer over the limit is held back.
const HOLD: Duration = Duration::from_secs(1);
/// Answers that are held back at a time; more are given at once.
const HELD: usize = 4096;
/// A clock that is set back by more than this, seconds, starts the count anew.
const SET_BACK: i64 = 60;

/// Device codes that one address may ask for in a minute, and at once.
const DEVICE_CODES_THERE: (u32, u32) = (12, 10);
/// Device codes that this process gives in a minute, and at once: each leaves about three KiB in the audit, so that strangers
/// fill a quarter of a GiB of it in a day at most.
const DEVICE_CODES: (u32, u32) = (60, 60);

/// What may come in a second; ten times as much may come at once. 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Refused requests from one address.
    pub refused_per_address: u32,
    /// Refused requests from one address that name the same client.
    pub refused_per_client: u32,
    /// Requests of one client that has proved itself.
    pub tokens_per_client: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { refused_per_address: 20, refused_per_client: 2, tokens_per_client: 0 }
    }
}

impl Rates {
    /// No limit at all.
    pub const NONE: Self = Self { refused_per_address: 0, refused_per_client: 0, tokens_per_client: 0 };
}

/// Whose tokens are counted together: a client's, or of one that anybody can be, each user's.
pub type Holder = (ClientId, Option<PrincipalId>);

/// The limits, with what was counted. Clones are the same ones.
#[derive(Clone)]
pub struct Limits(Arc<Counted>);

struct Counted {
    addresses: Option<Buckets<Source>>,
    clients: Option<Buckets<(TenantId, ClientId, Source)>>,
    tokens: Option<Buckets<(TenantId, Holder)>>,
    device_codes_there: Option<Buckets<Source>>,
    device_codes: Option<Buckets<()>>,
    held: Semaphore,
    hold: Duration,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Refusals, from an address.
    Address,
    /// Refusals, from an address that names a client.
    Client,
    /// Tokens, of a client.
    Tokens,
    /// Device codes, from an address.
    DeviceCodesThere,
    /// Device codes, from everywhere.
    DeviceCodes,
}

impl Limit {
    /// As the metrics name it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Address => "refused per address",
            Self::Client => "refused per client",
            Self::Tokens => "tokens per client",
            Self::DeviceCodesThere => "device codes per address",
            Self::DeviceCodes => "device codes",
        }
    }
}

/// A limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Limited {
    /// Which.
    pub limit: Limit,
    /// When to come back, whole seconds from now: 1 to 5.
    pub retry_after: u64,
}

impl Limited {
    fn text(&self) -> String {
        let seconds = self.retry_after;
        match self.limit {
            Limit::Address | Limit::Client => format!(
                "The request is throttled: too many requests that had to be refused came from this address. Correct the \
                 credential, as the answers before this one said, and ask again in {seconds} s."
            ),
            Limit::Tokens => format!(
                "The request is throttled: this client asks for more tokens than it is given (limits.tokens_per_client). \
                 Keep a token until it ends, as the client libraries do; ask again in {seconds} s."
            ),
            Limit::DeviceCodesThere => format!(
                "The request is throttled: too many device codes were asked for from this address. Ask again in {seconds} s."
            ),
            Limit::DeviceCodes => format!(
                "The request is throttled: too many device codes are asked for. Sign in with a browser on this machine, or ask \
                 again in {seconds} s."
            ),
        }
    }
}

/// Where a request came from, as it is counted: of an IPv6 address the first 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    /// The address's bytes.
    pub(super) fn octets(self) -> Vec<u8> {
        match self.0 {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }
    }
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        /// The first 64 bits.
        const SUBSCRIBER: u128 = !0 << 64;
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & SUBSCRIBER).into(),
        })
    }
}

/// Who asks, as far as it is known before anything is proved.
#[derive(Clone, Copy)]
pub struct Asker<'l> {
    limits: &'l Limits,
    source: Option<Source>,
    names: Option<(TenantId, ClientId)>,
    now: UnixTime,
}

impl Asker<'_> {
    /// The same, now that it has named a client.
    #[must_use]
    pub fn naming(self, tenant: TenantId, client: ClientId) -> Self {
        Self { names: Some((tenant, client)), ..self }
    }

    /// Before something costly is done to find out whether the credential is good.
    ///
    /// # Errors
    /// [`Limited`]: it is not done.
    pub fn may_cost(&self) -> Result<(), Limited> {
        self.asks(Ask::Look)
    }

    /// Counts a refusal of somebody who proved nothing.
    ///
    /// # Errors
    /// [`Limited`]: there were too many, and this is what to answer.
    pub fn was_refused(&self) -> Result<(), Limited> {
        self.asks(Ask::Count)
    }

    /// What is over the limit of its client counts no more for its address: one program that is badly configured shuts out
    /// nobody beside it.
    fn asks(&self, ask: Ask) -> Result<(), Limited> {
        let (Some(source), counted) = (self.source, &self.limits.0) else { return Ok(()) };
        if let (Some((tenant, client)), Some(clients)) = (self.names, &counted.clients) {
            clients.ask((tenant, client, source), ask, self.now, Limit::Client)?;
        }
        counted.addresses.as_ref().map_or(Ok(()), |addresses| addresses.ask(source, ask, self.now, Limit::Address))
    }
}

impl Limits {
    /// The limits at these rates.
    pub fn new(rates: Rates) -> Self {
        Self::with(rates, KEYS, HOLD)
    }

    /// No limits but those on what strangers have kept here: device codes.
    pub fn none() -> Self {
        Self::new(Rates::NONE)
    }

    fn with(rates: Rates, keys: usize, hold: Duration) -> Self {
        Self(Arc::new(Counted {
            addresses: Buckets::new(rates.refused_per_address, keys),
            clients: Buckets::new(rates.refused_per_client, keys),
            tokens: Buckets::new(rates.tokens_per_client, keys),
            device_codes_there: Buckets::a_minute(DEVICE_CODES_THERE, keys),
            device_codes: Buckets::a_minute(DEVICE_CODES, 1),
            held: Semaphore::new(HELD),
            hold,
        }))
    }

    /// The same limits, whose answers are not held back.
    #[cfg(test)]
    pub(crate) fn at_once(rates: Rates) -> Self {
        Self::with(rates, KEYS, Duration::ZERO)
    }

    /// Somebody at this address, or at one that is not known, which is not counted.
    pub fn asker(&self, address: Option<IpAddr>, now: UnixTime) -> Asker<'_> {
        Asker { limits: self, source: address.map(Source::from), names: None, now }
    }

    /// Counts a request of a client that has proved itself, or of one that has nothing to prove itself with for its user.
    ///
    /// # Errors
    /// [`Limited`]: it gets no token.
    pub fn asks_for_token(&self, tenant: TenantId, holder: Holder, now: UnixTime) -> Result<(), Limited> {
        self.0.tokens.as_ref().map_or(Ok(()), |tokens| tokens.ask((tenant, holder), Ask::Count, now, Limit::Tokens))
    }

    /// Counts a request for a device code.
    ///
    /// # Errors
    /// [`Limited`]: too many came from there.
    pub fn asks_for_device_code(&self, address: Option<IpAddr>, now: UnixTime) -> Result<(), Limited> {
        let (Some(address), Some(there)) = (address, &self.0.device_codes_there) else { return Ok(()) };
        there.ask(Source::from(address), Ask::Count, now, Limit::DeviceCodesThere)
    }

    /// Counts a device code that is about to be kept.
    ///
    /// # Errors
    /// [`Limited`]: it is not.
    pub fn keeps_device_code(&self, now: UnixTime) -> Result<(), Limited> {
        self.0.device_codes.as_ref().map_or(Ok(()), |all| all.ask((), Ask::Count, now, Limit::DeviceCodes))
    }

    /// Holds an answer over the limit back.
    pub async fn hold(&self) {
        if let Ok(_held) = self.0.held.try_acquire() {
            tokio::time::sleep(self.0.hold).await;
        }
    }

    /// Of each limit that is on: how often it was reached, and for how many addresses or clients something is counted.
    pub fn counts(&self) -> impl Iterator<Item = (Limit, u64, usize)> {
        let counted = &self.0;
        let all = [
            counted.addresses.as_ref().map(|it| (Limit::Address, it.reached(), it.cells.len())),
            counted.clients.as_ref().map(|it| (Limit::Client, it.reached(), it.cells.len())),
            counted.tokens.as_ref().map(|it| (Limit::Tokens, it.reached(), it.cells.len())),
            counted.device_codes_there.as_ref().map(|it| (Limit::DeviceCodesThere, it.reached(), it.cells.len())),
            counted.device_codes.as_ref().map(|it| (Limit::DeviceCodes, it.reached(), it.cells.len())),
        ];
        all.into_iter().flatten()
    }
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.counts()).finish()
    }
}

/// What is asked of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ask {
    /// Whether there is room.
    Look,
    /// For room, which is taken.
    Count,
}

/// What a limit has counted of each key.
type Cells<K> = Arc<Cache<K, Arc<InMemoryState>>>;

/// One limit.
struct Buckets<K: Eq + Hash + Clone> {
    limiter: RateLimiter<(K, Ask), Kept<K>, Given, NoOpMiddleware<Duration>>,
    given: Given,
    cells: Cells<K>,
    reached: AtomicU64,
}

/// Where the limiter finds what it has counted.
struct Kept<K>(Cells<K>);

impl<K: Eq + Hash + Clone> StateStore for Kept<K> {
    type Key = (K, Ask);

    fn measure_and_replace<T, F, E>(&self, (key, ask): &(K, Ask), decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        match (ask, self.0.get(key)) {
            (Ask::Look, None) => decide(None).map(|(answer, _)| answer),
            (Ask::Look, Some(cell)) => cell.measure_and_replace(&NotKeyed::NonKey, |before| {
                let (answer, _) = decide(before)?;
                Ok((answer, before.unwrap_or_else(|| Nanos::from(0))))
            }),
            (Ask::Count, Some(cell)) => cell.measure_and_replace(&NotKeyed::NonKey, decide),
            (Ask::Count, None) => {
                let new = || Ok::<_, std::convert::Infallible>(Arc::default());
                match self.0.get_or_insert_with(key, new) {
                    Ok(cell) => cell.measure_and_replace(&NotKeyed::NonKey, decide),
                    Err(never) => match never {},
                }
            }
        }
    }
}

/// The time as the request that is counted has it.
#[derive(Clone, Debug, Default)]
struct Given(Arc<AtomicI64>);

impl Clock for Given {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or_default())
    }
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    /// None when the rate is 0.
    fn new(rate: u32, keys: usize) -> Option<Self> {
        let rate = NonZero::new(rate)?;
        Some(Self::with(Quota::per_second(rate).allow_burst(rate.saturating_mul(NonZero::new(BURST)?)), keys))
    }

    /// So many in a minute, and so many at once. None when either is 0.
    fn a_minute((rate, burst): (u32, u32), keys: usize) -> Option<Self> {
        Some(Self::with(Quota::per_minute(NonZero::new(rate)?).allow_burst(NonZero::new(burst)?), keys))
    }

    fn with(quota: Quota, keys: usize) -> Self {
        let (given, cells) = (Given::default(), Cells::new(Cache::new(keys)));
        // It counts from when it is made: the beginning of time, so that every request comes later.
        let limiter = RateLimiter::new(quota, Kept(Arc::clone(&cells)), given.clone());
        Self { limiter, given, cells, reached: AtomicU64::new(0) }
    }

    fn ask(&self, key: K, ask: Ask, now: UnixTime, limit: Limit) -> Result<(), Limited> {
        let before = self.given.0.swap(now.0, Ordering::Relaxed);
        if now.0.saturating_add(SET_BACK) < before {
            // What was counted lies in the future, and would keep everybody out until then.
            self.cells.clear();
        }
        self.limiter.check_key(&(key, ask)).map_err(|until| {
            self.reached.fetch_add(1, Ordering::Relaxed);
            let wait = until.wait_time_from(self.given.now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Limited { limit, retry_after: seconds.clamp(1, LONGEST) }
        })
    }

    fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }
}
