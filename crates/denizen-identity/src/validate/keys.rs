//! The keys an authority publishes for one tenant and one token version: fetched with the first token, kept, and
//! followed through rollovers.
//!
//! | what happens | what is done |
//! |---|---|
//! | the keys are older than an hour | the token is checked with them, and they are fetched again meanwhile |
//! | a token names a key that is not among them | they are fetched again, at most every five minutes, and the token waits |
//! | they cannot be fetched | the last known ones go on being used, for a day after they were fetched |
//! | a key is no longer among them | tokens of it are refused from then on |
//!
//! Whatever the number of tokens that wait, there is one fetch at a time, and it goes on when they stop waiting.

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
use http::{Method, StatusCode, Uri};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Refusal, refusal::shown, trust::Trust};
use crate::http::Client;

/// Keys are fetched again when they are so old, seconds.
const REFRESH: i64 = 3600;
/// Keys are not used when they are so old, seconds.
const KEEP: i64 = 24 * 3600;
/// For an unknown key they are fetched again so seldom, seconds: everybody can invent one.
const UNKNOWN: i64 = 300;
/// With no keys at all, so seldom, seconds.
const NONE: i64 = 5;
/// How long the two documents may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// More keys than anybody publishes.
const MAX_KEYS: usize = 1000;

type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// A published key.
pub(super) struct Key(ParsedPublicKey);

impl Key {
    /// RS256.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

/// One metadata document, and the keys it leads to.
pub(super) struct Publication {
    issuer: String,
    version: &'static str,
    tenant: TenantId,
    authority: String,
    metadata: String,
    /// What a key may say it is for, besides `issuer`: Entra's v1 keys name the v2 issuer.
    key_issuer: String,
    state: Mutex<State>,
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Arc<HashMap<String, Arc<Key>>>,
    fetched: Option<UnixTime>,
    tried: Option<UnixTime>,
    /// Counts the fetches that succeeded.
    generation: u64,
    failure: String,
}

impl Publication {
    /// The two an authority has: for v1 and for v2 tokens.
    pub(super) fn of(trust: &Trust) -> [Self; 2] {
        let base = format!("{}/{}", trust.authority(), trust.tenant());
        let make = |issuer: &str, version, path| Self {
            issuer: issuer.to_owned(),
            version,
            tenant: trust.tenant(),
            authority: trust.authority().to_owned(),
            metadata: format!("{base}{path}/.well-known/openid-configuration"),
            key_issuer: format!("{base}/v2.0"),
            state: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
        };
        [make(trust.iss(), "1.0", ""), make(trust.iss_v2(), "2.0", "/v2.0")]
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn version(&self) -> &str {
        self.version
    }

    pub(super) fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The key of this id.
    pub(super) async fn key(self: &Arc<Self>, http: &Client, kid: &str, clock: &Clock) -> Result<Arc<Key>, Refusal> {
        let now = clock();
        let (found, age, generation) = self.look(kid, now);
        if let (Some(key), Some(age)) = (found, age) {
            if age >= REFRESH && self.due(now, UNKNOWN) {
                drop(self.refresh(http, clock, UNKNOWN, generation));
            }
            return Ok(key);
        }
        let patience = if age.is_some() { UNKNOWN } else { NONE };
        // A task of its own: a caller who hangs up must not undo the fetch the others wait for.
        let ended = self.refresh(http, clock, patience, generation).await;
        let (found, age, _) = self.look(kid, now);
        match (found, age) {
            (Some(key), _) => Ok(key),
            (None, Some(_)) => Err(Refusal::Key { found: shown(kid) }),
            (None, None) => Err(self.unavailable(ended.is_err())),
        }
    }

    fn unavailable(&self, aborted: bool) -> Refusal {
        let why = if aborted { "the fetch was aborted".to_owned() } else { self.locked().failure.clone() };
        Refusal::Unavailable { issuer: self.issuer.clone(), why }
    }

    /// Fetches the keys if there are none that can be used.
    pub(super) async fn prepare(self: &Arc<Self>, http: &Client, clock: &Clock) -> Result<(), Refusal> {
        let now = clock();
        let (_, age, generation) = self.look("", now);
        if age.is_none() {
            let ended = self.refresh(http, clock, NONE, generation).await;
            if self.look("", now).1.is_none() {
                return Err(self.unavailable(ended.is_err()));
            }
        }
        Ok(())
    }

    /// The key, if there is one; the age of the keys, if they can be used; and which fetch they are of.
    fn look(&self, kid: &str, now: UnixTime) -> (Option<Arc<Key>>, Option<i64>, u64) {
        let state = self.locked();
        let age = state.fetched.map(|fetched| now.since(fetched).max(0)).filter(|age| *age < KEEP);
        let key = age.and_then(|_| state.keys.get(kid).cloned());
        (key, age, state.generation)
    }

    fn due(&self, now: UnixTime, seconds: i64) -> bool {
        // A clock that was put back must not stop the fetching until it has caught up.
        self.locked().tried.is_none_or(|tried| now.since(tried).saturating_abs() >= seconds)
    }

    /// Fetches, unless somebody did since `seen`, or tried within `seconds`.
    fn refresh(self: &Arc<Self>, http: &Client, clock: &Clock, seconds: i64, seen: u64) -> tokio::task::JoinHandle<()> {
        let (this, http, clock) = (Arc::clone(self), http.clone(), Arc::clone(clock));
        tokio::spawn(async move {
            let _flight = this.flight.lock().await;
            let now = clock();
            if this.locked().generation != seen || !this.due(now, seconds) {
                return;
            }
            this.locked().tried = Some(now);
            let fetched = tokio::time::timeout(PATIENCE, this.fetch(&http))
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
            let mut state = this.locked();
            match fetched {
                Ok(keys) => {
                    state.keys = Arc::new(keys);
                    state.fetched = Some(now);
                    state.generation += 1;
                }
                Err(failure) => state.failure = failure,
            }
        })
    }

    async fn fetch(&self, http: &Client) -> Result<HashMap<String, Arc<Key>>, String> {
        let metadata: Metadata = get(http, &self.metadata).await?;
        let named = self.substituted(&metadata.issuer);
        if named != self.issuer {
            return Err(format!("{} is of the issuer {}, not {}", self.metadata, shown(&named), self.issuer));
        }
        if !same_origin(&metadata.jwks_uri, &self.authority) {
            return Err(format!("{} names keys elsewhere, at {}", self.metadata, shown(&metadata.jwks_uri)));
        }
        let document: Document = get(http, &metadata.jwks_uri).await?;
        let mut keys = HashMap::new();
        for jwk in document.keys.into_iter().take(MAX_KEYS) {
            // One key that cannot be read (a curve, a new family) must not shut out those that can.
            let Ok(jwk) = serde_json::from_value::<Jwk>(jwk) else { continue };
            if let Some((kid, key)) = self.usable(jwk) {
                keys.insert(kid, Arc::new(key));
            }
        }
        if keys.is_empty() {
            return Err(format!("{} holds no RSA key for signatures of this issuer", metadata.jwks_uri));
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
        // An exponent of 1 would make every message its own signature.
        if matches!(e.as_slice(), [] | [0..=2]) {
            return None;
        }
        let key = PublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
        Some((jwk.kid, Key(key)))
    }

    /// Documents that are for every tenant have a template in the tenant's place.
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

async fn get<T: DeserializeOwned>(http: &Client, url: &str) -> Result<T, String> {
    let answer = http.send(Method::GET, url, &[], None).await.map_err(|error| error.to_string())?;
    if answer.status() != StatusCode::OK {
        return Err(format!("{url} answered {}", answer.status()));
    }
    serde_json::from_slice(answer.body()).map_err(|error| format!("{url} cannot be read: {error}"))
}

/// Whether a URL is at the authority itself: scheme, host and port.
fn same_origin(url: &str, authority: &str) -> bool {
    let origin = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_owned();
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Some((scheme, uri.host()?.to_ascii_lowercase(), port))
    };
    origin(url).is_some_and(|found| origin(authority) == Some(found))
}
