//! The keys of other issuers, whose tokens federated credentials name: fetched over HTTPS, and cached.
//!
//! ```text
//!   a token that fits a credential -> keys(issuer) -> cache -> policy -> configuration document -> key document
//! ```
//!
//! This is the only place from which the server dials anybody because of a request, so it dials as little as it can:
//!
//! | rule | where |
//! |---|---|
//! | an issuer of a registered credential, for a token that fits it and is in its time | the caller, `app/federation.rs` |
//! | a host that the configuration allows, and at an address that is public or allowed by itself | [`policy`] |
//! | the very address that was checked; https only; no proxy, no redirect | [`fetch`] |
//! | few documents at a time, each within a time and a size; what a token names (`jku`, `x5u`) never | [`fetch`] |
//! | a document says whose it is; at most [`documents::MOST_KEYS`] keys are used | [`documents`] |
//! | once an hour; for a key that is not among them once in five minutes; after a failure not at once | here |
//!
//! Keys are renewed in the background while the old ones serve. When an issuer is away, its last keys are good until a day
//! has gone by since they were fetched. Only a token of an issuer without any keys waits, and not longer than [`PATIENCE`].
//!
//! Touches the network. Tests: `tests.rs`, against TLS servers on loopback.

mod documents;
mod fetch;
mod policy;
#[cfg(test)]
pub(crate) mod tests;

use std::{sync::Arc, time::Duration};

use denizen_refresh::{Fetched, GetError, Lifetime, RefreshCache, Settings};
use denizen_wire::Clock;
use rustls::RootCertStore;

pub use self::{
    documents::IssuerKeys,
    policy::{BadPolicy, Hosts, Networks},
};
use self::{fetch::Fetcher, policy::Policy};
use crate::domain::federation::{HttpsUrl, UrlError};

/// A token waits this long for the keys of its issuer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most issuers whose keys are kept.
const MOST_ISSUERS: usize = 1024;
/// Keys are renewed when they are this old, seconds.
const REFRESH_AFTER: i64 = 3600;
/// Keys are not used any longer when they are this old, seconds.
const GOOD_FOR: i64 = 24 * 3600;
/// For a key that is not among them, an issuer is asked again after this time, seconds.
const UNKNOWN_KEY_INTERVAL: i64 = 300;
/// After a failure an issuer is asked again after this time, seconds: while its last keys serve, and while there are none.
const RETRY: (i64, i64) = (60, 10);

/// Whom the server may ask for keys, and how it believes them. By default nobody.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The hosts that may be asked.
    pub hosts: Hosts,
    /// Addresses that may be dialled though they are not public.
    pub networks: Networks,
    /// Whose certificates are believed.
    pub roots: Arc<RootCertStore>,
}

impl Default for Outbound {
    fn default() -> Self {
        Self { hosts: Hosts::default(), networks: Networks::default(), roots: Arc::new(RootCertStore::empty()) }
    }
}

/// Why the keys of an issuer are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// The URL of the issuer or of its keys is none.
    #[error("the URL {0}")]
    Url(#[from] UrlError),
    /// The configuration does not allow the host.
    #[error("the host {0} may not be asked: an operator of this server allows it with federation.issuers")]
    Host(String),
    /// The host has no address that may be dialled.
    #[error(
        "the host {0} has an address that is not public, and that may not be dialled: an operator of this server allows it with federation.networks"
    )]
    Address(String),
    /// The host has no address.
    #[error("the name {0} cannot be resolved")]
    Unresolved(String),
    /// Nobody is there, or somebody without a certificate that is believed.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// What the system or TLS says.
        reason: String,
    },
    /// It did not answer in time.
    #[error("the issuer did not answer in time")]
    TimedOut,
    /// It sent somewhere else.
    #[error("{0} answered with a redirect, which is not followed: the documents must be at the issuer's own URL")]
    Redirect(String),
    /// It answered with something else than a document.
    #[error("{host} answered with status {status}")]
    Status {
        /// Who was asked.
        host: String,
        /// What it said.
        status: u16,
    },
    /// The answer is longer than any document.
    #[error("{0} answered with more than 256 KiB")]
    TooLong(String),
    /// The answer is no such document.
    #[error("{0}")]
    Document(&'static str),
}

impl IssuerError {
    /// Whether it may be otherwise in a while, with nothing changed here.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unresolved(_) | Self::Unreachable { .. } | Self::TimedOut => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            Self::Url(_)
            | Self::Host(_)
            | Self::Address(_)
            | Self::Redirect(_)
            | Self::TooLong(_)
            | Self::Document(_) => false,
        }
    }
}

/// The keys of other issuers. Clones share them.
#[derive(Clone)]
pub struct Issuers {
    cache: RefreshCache<String, Arc<IssuerKeys>, IssuerError>,
    fetcher: Arc<Fetcher>,
    clock: Clock,
    /// [`PATIENCE`], but in tests.
    patience: Duration,
}

impl Issuers {
    /// Creates an empty cache.
    pub fn new(outbound: &Outbound, clock: Clock) -> Self {
        Self::with(Fetcher::new(Policy::of(outbound), &outbound.roots), clock)
    }

    fn with(fetcher: Fetcher, clock: Clock) -> Self {
        let (retry_after, retry_empty_after) = RETRY;
        let settings = Settings { capacity: MOST_ISSUERS, retry_after, retry_empty_after };
        let now = clock.clone();
        Self {
            cache: RefreshCache::new(settings, move || now.now()),
            fetcher: Arc::new(fetcher),
            clock,
            patience: PATIENCE,
        }
    }

    /// Whether the configuration lets this issuer be asked: for whoever registers a credential.
    ///
    /// # Errors
    /// What it is refused for.
    pub fn check(&self, issuer: &str) -> Result<(), IssuerError> {
        self.fetcher.policy().check_host(&HttpsUrl::of_issuer(issuer)?)
    }

    /// The keys of an issuer; `kid` should be among them. Without that key, what is known is fetched again, though not
    /// soon after it was fetched.
    ///
    /// # Errors
    /// There are none that can be used.
    pub async fn keys(&self, issuer: &str, kid: Option<&str>) -> Result<Arc<IssuerKeys>, IssuerError> {
        // What is cached was allowed; whether it is asked is checked again with each fetch.
        let looked_up = async {
            let keys = self.cache.get(issuer, || self.fetch(issuer)).await?;
            if kid.is_none_or(|kid| keys.has(kid)) {
                return Ok(keys);
            }
            let enough = |keys: &Arc<IssuerKeys>| kid.is_none_or(|kid| keys.has(kid));
            self.cache.get_newer(issuer, enough, UNKNOWN_KEY_INTERVAL, || self.fetch(issuer)).await
        };
        match tokio::time::timeout(self.patience, looked_up).await {
            Ok(Ok(keys)) => Ok(keys),
            Ok(Err(GetError::Fetch(error))) => Err(error),
            Ok(Err(_)) | Err(_) => Err(IssuerError::TimedOut),
        }
    }

    /// Fetches what an issuer publishes now, in a task that outlives who asked.
    fn fetch(
        &self,
        issuer: &str,
    ) -> impl Future<Output = Result<Fetched<Arc<IssuerKeys>>, IssuerError>> + Send + 'static {
        let (fetcher, clock, issuer) = (Arc::clone(&self.fetcher), self.clock.clone(), issuer.to_owned());
        async move {
            let keys = fetcher.keys(&issuer).await.inspect_err(|error| {
                tracing::warn!(issuer = %crate::domain::federation::shown(&issuer), %error, "an issuer's keys could not be fetched");
            })?;
            let now = clock.now();
            let lifetime = Lifetime::new(now, now + GOOD_FOR).with_refresh_at(now + REFRESH_AFTER);
            Ok(Fetched { value: Arc::new(keys), lifetime: lifetime.with_serves_before(REFRESH_AFTER) })
        }
    }
}
