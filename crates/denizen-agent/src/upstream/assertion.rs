//! Client assertions: what the node key signs to prove who asks for a token.
//!
//! One is signed for each client and audience and used for its life, ten minutes: a device that keeps the key could
//! not sign one for each token. Callers that want the same one at once wait for one signature.
//!
//! Touches the node key. Tests: `assertion/tests.rs`.

use std::sync::Arc;

use denizen_keys::{Algorithm, KeyError, SecretString, b64, random};
use denizen_refresh::{Fetched, GetError, Lifetime, RefreshCache, Settings};
use denizen_wire::{ClientId, Clock, UnixTime};
use serde::Serialize;

use crate::custody::NodeKey;

#[cfg(test)]
mod tests;

/// How long an assertion is good for, seconds.
const LIFETIME: i64 = 600;
/// It is no longer used when less than this is left: the request still has to arrive. Seconds.
const MARGIN: i64 = 60;

/// Whose assertion, and for which token endpoint.
type Key = (ClientId, Arc<str>);

/// The assertions of one node key.
pub struct AssertionCache {
    signer: Arc<AssertionSigner>,
    cache: RefreshCache<Key, SecretString, String>,
}

struct AssertionSigner {
    key: NodeKey,
    /// SHA-256 of the certificate, unpadded base64url: how the token service finds the key.
    x5t_s256: String,
    clock: Clock,
}

/// Why there is no assertion: the key, or the device that keeps it, refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot sign with the node key: {0}")]
pub struct SigningError(GetError<String>);

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(rename = "x5t#S256")]
    x5t_s256: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    iss: &'a str,
    sub: &'a str,
    jti: uuid::Uuid,
    nbf: i64,
    iat: i64,
    exp: i64,
}

impl AssertionCache {
    /// Creates the cache of `key`, which is known by the certificate of this thumbprint.
    pub fn new(key: NodeKey, certificate_sha256: &[u8; 32], clock: Clock) -> Self {
        let signer = AssertionSigner { key, x5t_s256: b64::url(certificate_sha256), clock: clock.clone() };
        Self { signer: Arc::new(signer), cache: RefreshCache::new(Settings::default(), move || clock.now()) }
    }

    /// The assertion of `client` for the token endpoint `audience`.
    pub async fn get(&self, client: ClientId, audience: &Arc<str>) -> Result<SecretString, SigningError> {
        let key = (client, audience.clone());
        let (signer, audience) = (self.signer.clone(), audience.clone());
        let sign = || async move {
            let now = signer.clock.now();
            let value = signer.sign(client, &audience, now).await.map_err(|error| error.to_string())?;
            Ok(Fetched { value, lifetime: Lifetime::new(now, now + (LIFETIME - MARGIN)) })
        };
        self.cache.get(&key, sign).await.map_err(SigningError)
    }

    /// Forgets an assertion that the token service refused: the next one is signed anew.
    pub fn forget(&self, client: ClientId, audience: &Arc<str>) {
        self.cache.remove(&(client, audience.clone()));
    }
}

impl AssertionSigner {
    async fn sign(&self, client: ClientId, audience: &str, now: UnixTime) -> Result<SecretString, KeyError> {
        let client = client.to_string();
        let header = Header { alg: Algorithm::Ps256.name(), typ: "JWT", x5t_s256: &self.x5t_s256 };
        let claims = Claims {
            aud: audience,
            iss: &client,
            sub: &client,
            jti: random::uuid_v4(),
            nbf: now.0,
            iat: now.0,
            exp: (now + LIFETIME).0,
        };
        // Strings, numbers and ids always serialize.
        let (header, claims) =
            (serde_json::to_string(&header).unwrap_or_default(), serde_json::to_string(&claims).unwrap_or_default());
        self.key.sign_compact(Algorithm::Ps256, &header, &claims).await
    }
}
