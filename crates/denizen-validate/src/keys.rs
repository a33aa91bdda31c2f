//! The signing keys of an issuer: fetched with the first token, cached, and followed through rollovers.
//!
//! | event | effect |
//! |---|---|
//! | the keys are older than an hour | they still serve, and are fetched again in the background |
//! | a token names an unknown key | they are fetched again, at most every five minutes, and the token waits |
//! | they cannot be fetched | the last known keys serve for a day after they were fetched; a token of another key cannot be checked |
//! | a key is no longer published | its tokens are rejected after the next fetch |
//!
//! There is one fetch at a time for all waiting tokens, and it goes on when they stop waiting.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::{
    rsa::PublicKeyComponents,
    signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};
use denizen_wire::{TenantId, UnixTime};
use http::Uri;
use reqwest::Client;
use serde::Deserialize;

use crate::{ValidationError, authority::TrustedAuthority, clock::Clock, error::truncated, fetch};

/// The age at which keys are fetched again, seconds.
const REFRESH_AFTER: i64 = 3600;
/// The age at which keys are no longer used, seconds.
const MAX_AGE: i64 = 24 * 3600;
/// The least time between fetches while keys are cached, seconds: an attacker can send any `kid`.
const REFETCH_INTERVAL: i64 = 300;
/// The least time between fetches while no keys are cached, seconds.
const RETRY_INTERVAL: i64 = 5;
/// The time limit for fetching both documents.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Keys beyond this number are ignored; no issuer publishes as many.
const MAX_KEYS: usize = 1000;

/// A published key.
pub(crate) struct Key(ParsedPublicKey);

impl Key {
    /// RS256.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// The keys of one issuer name: those of one authority, tenant and token version.
pub(crate) struct IssuerKeys {
    issuer: String,
    version: &'static str,
    tenant: TenantId,
    authority: String,
    metadata: String,
    /// The other issuer that a key may name: Entra's v1 keys name the v2 issuer.
    key_issuer: String,
    state: Mutex<State>,
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: HashMap<String, Arc<Key>>,
    fetched: Option<UnixTime>,
    tried: Option<UnixTime>,
    /// Counts the fetches that succeeded.
    generation: u64,
    /// Why the last fetch failed; none if it did not.
    failure: Option<String>,
}

impl IssuerKeys {
    /// The two issuers of an authority: for v1 and for v2 tokens.
    pub(crate) fn of(authority: &TrustedAuthority) -> [Self; 2] {
        let base = format!("{}/{}", authority.url(), authority.tenant());
        let make = |issuer: &str, version, path| Self {
            issuer: issuer.to_owned(),
            version,
            tenant: authority.tenant(),
            authority: authority.url().to_owned(),
            metadata: format!("{base}{path}/.well-known/openid-configuration"),
            key_issuer: authority.iss_v2().to_owned(),
            state: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        };
        [make(authority.iss(), "1.0", ""), make(authority.iss_v2(), "2.0", "/v2.0")]
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn version(&self) -> &str {
        self.version
    }

    pub(crate) fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The key with this id.
    pub(crate) async fn key(
        self: &Arc<Self>,
        http: &Client,
        kid: &str,
        clock: &Clock,
    ) -> Result<Arc<Key>, ValidationError> {
        let now = clock();
        let (found, age, generation) = self.cached(kid, now);
        if let (Some(key), Some(age)) = (found, age) {
            if age >= REFRESH_AFTER && self.due(now, REFETCH_INTERVAL) {
                drop(self.refresh(http, clock, REFETCH_INTERVAL, generation));
            }
            return Ok(key);
        }
        let interval = if age.is_some() { REFETCH_INTERVAL } else { RETRY_INTERVAL };
        // A task of its own: a caller that gives up must not cancel the fetch that others wait for.
        let ended = self.refresh(http, clock, interval, generation).await;
        let (found, age, _) = self.cached(kid, now);
        match (found, age) {
            (Some(key), _) => Ok(key),
            // Without a fetch that succeeded, nobody knows whether the key is one.
            (None, Some(_)) if self.locked().failure.is_none() && ended.is_ok() => {
                Err(ValidationError::UnknownKey { found: truncated(kid) })
            }
            (None, _) => Err(self.unavailable(ended.is_err())),
        }
    }

    fn unavailable(&self, aborted: bool) -> ValidationError {
        let failure = self.locked().failure.clone();
        let why = failure.filter(|_| !aborted).unwrap_or_else(|| "the fetch was aborted".to_owned());
        ValidationError::KeysUnavailable { issuer: self.issuer.clone(), why }
    }

    /// Fetches the keys if none are cached.
    pub(crate) async fn prepare(self: &Arc<Self>, http: &Client, clock: &Clock) -> Result<(), ValidationError> {
        let now = clock();
        let (_, age, generation) = self.cached("", now);
        if age.is_none() {
            let ended = self.refresh(http, clock, RETRY_INTERVAL, generation).await;
            if self.cached("", now).1.is_none() {
                return Err(self.unavailable(ended.is_err()));
            }
        }
        Ok(())
    }

    /// The key, the age of the keys if they may still be used, and the number of the fetch they came from.
    fn cached(&self, kid: &str, now: UnixTime) -> (Option<Arc<Key>>, Option<i64>, u64) {
        let state = self.locked();
        // A clock set back must not make keys younger: they would be trusted until it caught up.
        let age = state.fetched.map(|fetched| now.since(fetched).saturating_abs()).filter(|age| *age < MAX_AGE);
        let key = age.and_then(|_| state.keys.get(kid).cloned());
        (key, age, state.generation)
    }

    fn due(&self, now: UnixTime, seconds: i64) -> bool {
        // After the clock was set back, fetching must not stop until it has caught up.
        self.locked().tried.is_none_or(|tried| now.since(tried).saturating_abs() >= seconds)
    }

    /// Fetches, unless another fetch succeeded since `seen` or was tried within `seconds`.
    fn refresh(self: &Arc<Self>, http: &Client, clock: &Clock, seconds: i64, seen: u64) -> tokio::task::JoinHandle<()> {
        let (this, http, clock) = (Arc::clone(self), http.clone(), Arc::clone(clock));
        tokio::spawn(async move {
            let _fetching = this.fetching.lock().await;
            let now = clock();
            if this.locked().generation != seen || !this.due(now, seconds) {
                return;
            }
            let fetched = tokio::time::timeout(FETCH_TIMEOUT, this.fetch(&http))
                .await
                .unwrap_or_else(|_| Err(format!("no response within {} s", FETCH_TIMEOUT.as_secs())));
            // Before the lock is taken: every validation needs it.
            match &fetched {
                Ok(keys) => tracing::debug!(issuer = this.issuer, keys = keys.len(), "signing keys fetched"),
                Err(reason) => tracing::warn!(issuer = this.issuer, reason, "signing keys not fetched"),
            }
            let mut state = this.locked();
            // Counted from the end: whoever waited for this fetch shares its failure, and does not wait for another.
            state.tried = Some(clock());
            match fetched {
                Ok(keys) => {
                    state.keys = keys;
                    state.fetched = Some(now);
                    state.generation += 1;
                    state.failure = None;
                }
                Err(failure) => state.failure = Some(failure),
            }
        })
    }

    async fn fetch(&self, http: &Client) -> Result<HashMap<String, Arc<Key>>, String> {
        let metadata: Metadata = fetch::json(http, &self.metadata).await?;
        let named = self.substituted(&metadata.issuer);
        if named != self.issuer {
            return Err(format!(
                "{} is metadata of the issuer {}, not {}",
                self.metadata,
                truncated(&named),
                self.issuer
            ));
        }
        if !same_origin(&metadata.jwks_uri, &self.authority) {
            return Err(format!("{} names keys of another origin, {}", self.metadata, truncated(&metadata.jwks_uri)));
        }
        let document: Document = fetch::json(http, &metadata.jwks_uri).await?;
        let mut keys = HashMap::new();
        for jwk in document.keys.into_iter().take(MAX_KEYS) {
            // A key of an unknown type must not make the others unusable.
            let Ok(jwk) = serde_json::from_value::<Jwk>(jwk) else { continue };
            if let Some((kid, key)) = self.usable(jwk) {
                keys.insert(kid, Arc::new(key));
            }
        }
        if keys.is_empty() {
            return Err(format!("{} holds no usable RSA signing key of this issuer", metadata.jwks_uri));
        }
        Ok(keys)
    }

    fn usable(&self, jwk: Jwk) -> Option<(String, Key)> {
        let fits = jwk.kty == "RSA"
            && jwk.usage.is_none_or(|usage| usage == "sig")
            && jwk.alg.is_none_or(|alg| alg == "RS256")
            && jwk.issuer.is_none_or(|issuer| {
                let issuer = self.substituted(&issuer);
                issuer == self.issuer || issuer == self.key_issuer
            });
        if !fits {
            return None;
        }
        let number = |text: &str| {
            let bytes = URL.decode(text).ok()?;
            Some(bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<_>>())
        };
        let (n, e) = (number(&jwk.n)?, number(&jwk.e)?);
        // With an exponent of 1 every message would be its own signature.
        if matches!(e.as_slice(), [] | [0..=2]) {
            return None;
        }
        let key = PublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
        Some((jwk.kid, Key(key)))
    }

    /// Documents shared by all tenants hold a template in the tenant's place.
    fn substituted(&self, issuer: &str) -> String {
        issuer.replace("{tenantid}", &self.tenant.to_string())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    n: String,
    e: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    issuer: Option<String>,
}

/// Whether a URL has the authority's scheme, host and port.
fn same_origin(url: &str, authority: &str) -> bool {
    let origin = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_owned();
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Some((scheme, uri.host()?.to_ascii_lowercase(), port))
    };
    origin(url).is_some_and(|found| origin(authority) == Some(found))
}
