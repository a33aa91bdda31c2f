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
//!
//! Tests: `tests/validate/rollover.rs`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::{
    rsa::PublicKeyComponents,
    signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL};
use denizen_refresh::{Fetched, GetError, Lifetime, RefreshCache, Settings};
use denizen_wire::{Clock, TenantId};
use http::Uri;
use reqwest::Client;
use serde::Deserialize;

use crate::{ValidationError, authority::TrustedAuthority, error::truncated, fetch};

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
    clock: Clock,
    cached: RefreshCache<(), Arc<Keys>, String>,
    /// Why the last fetch failed; none if it did not.
    failure: Mutex<Option<String>>,
}

/// By `kid`.
type Keys = HashMap<String, Arc<Key>>;

/// What stands for a failure until a fetch has ended.
const ABORTED: &str = "the fetch was aborted";

impl IssuerKeys {
    /// The two issuers of an authority: for v1 and for v2 tokens.
    pub(crate) fn of(authority: &TrustedAuthority, clock: &Clock) -> [Self; 2] {
        let base = format!("{}/{}", authority.url(), authority.tenant());
        let make = |issuer: &str, version, path| Self {
            issuer: issuer.to_owned(),
            version,
            tenant: authority.tenant(),
            authority: authority.url().to_owned(),
            metadata: format!("{base}{path}/.well-known/openid-configuration"),
            key_issuer: authority.iss_v2().to_owned(),
            cached: RefreshCache::new(
                Settings { capacity: 1, retry_after: REFETCH_INTERVAL, retry_empty_after: RETRY_INTERVAL },
                {
                    let clock = clock.clone();
                    move || clock.now()
                },
            ),
            clock: clock.clone(),
            failure: Mutex::default(),
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
    pub(crate) async fn key(self: &Arc<Self>, http: &Client, kid: &str) -> Result<Arc<Key>, ValidationError> {
        let keys = self.keys(http).await?;
        if let Some(key) = keys.get(kid) {
            return Ok(Arc::clone(key));
        }
        let has_it = |keys: &Arc<Keys>| keys.contains_key(kid);
        let newer = self.cached.get_newer(&(), has_it, REFETCH_INTERVAL, || self.refreshed(http)).await;
        let keys = newer.map_err(|error| self.unavailable(error))?;
        match (keys.get(kid), self.last_failure().clone()) {
            (Some(key), _) => Ok(Arc::clone(key)),
            (None, None) => Err(ValidationError::UnknownKey { found: truncated(kid) }),
            // Without a fetch that succeeded, nobody knows whether the key is one.
            (None, Some(why)) => Err(self.unavailable(GetError::Fetch(why))),
        }
    }

    /// The published keys, fetched if there are none at hand.
    pub(crate) async fn keys(self: &Arc<Self>, http: &Client) -> Result<Arc<Keys>, ValidationError> {
        let keys = self.cached.get(&(), || self.refreshed(http)).await;
        keys.map_err(|error| self.unavailable(error))
    }

    fn unavailable(&self, error: GetError<String>) -> ValidationError {
        let why = if let GetError::Fetch(why) = error { why } else { ABORTED.to_owned() };
        ValidationError::KeysUnavailable { issuer: self.issuer.clone(), why }
    }

    /// One fetch, and how long what it brings is good.
    fn refreshed(
        self: &Arc<Self>,
        http: &Client,
    ) -> impl Future<Output = Result<Fetched<Arc<Keys>>, String>> + Send + 'static {
        let (this, http) = (Arc::clone(self), http.clone());
        async move {
            *this.last_failure() = Some(ABORTED.to_owned());
            let begins = this.clock.now();
            let fetched = tokio::time::timeout(FETCH_TIMEOUT, this.fetch(&http))
                .await
                .unwrap_or_else(|_| Err(format!("no response within {} s", FETCH_TIMEOUT.as_secs())));
            match &fetched {
                Ok(keys) => tracing::debug!(issuer = this.issuer, keys = keys.len(), "signing keys fetched"),
                Err(reason) => tracing::warn!(issuer = this.issuer, reason, "signing keys not fetched"),
            }
            *this.last_failure() = fetched.as_ref().err().cloned();
            let lifetime = Lifetime::new(begins, begins + MAX_AGE)
                .with_refresh_at(begins + REFRESH_AFTER)
                .with_serves_before(MAX_AGE);
            Ok(Fetched { value: Arc::new(fetched?), lifetime })
        }
    }

    fn last_failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, http: &Client) -> Result<Keys, String> {
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
