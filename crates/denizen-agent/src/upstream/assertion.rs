//! Client assertions: what the node key signs to prove who asks for a token.
//!
//! One is signed for each client, for one token endpoint, and used for its life, ten minutes: a device that keeps the key could
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

/// The assertions of one node key for one token endpoint.
pub struct AssertionCache {
    signer: Arc<AssertionSigner>,
    cache: RefreshCache<ClientId, SecretString, String>,
}

struct AssertionSigner {
    key: NodeKey,
    /// SHA-256 of the certificate, unpadded base64url: how the token service finds the key.
    x5t_s256: String,
    /// The token endpoint.
    audience: String,
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
    /// Creates the cache of `key`, which is known by the certificate of this thumbprint, for `token_endpoint`.
    pub fn new(key: NodeKey, certificate_sha256: &[u8; 32], token_endpoint: &str, clock: Clock) -> Self {
        let (x5t_s256, audience) = (b64::url(certificate_sha256), token_endpoint.to_owned());
        let signer = AssertionSigner { key, x5t_s256, audience, clock: clock.clone() };
        Self { signer: Arc::new(signer), cache: RefreshCache::new(Settings::default(), move || clock.now()) }
    }

    /// The token endpoint they are for.
    pub fn token_endpoint(&self) -> &str {
        &self.signer.audience
    }

    /// The assertion of `client`.
    pub async fn get(&self, client: ClientId) -> Result<SecretString, SigningError> {
        let signer = self.signer.clone();
        let sign = || async move {
            let now = signer.clock.now();
            let value = signer.sign(client, now).await.map_err(|error| error.to_string())?;
            Ok(Fetched { value, lifetime: Lifetime::new(now, now + (LIFETIME - MARGIN)) })
        };
        self.cache.get(&client, sign).await.map_err(SigningError)
    }

    /// Forgets an assertion that the token service refused: the next one is signed anew.
    pub fn forget(&self, client: ClientId) {
        self.cache.remove(&client);
    }
}

impl AssertionSigner {
    async fn sign(&self, client: ClientId, now: UnixTime) -> Result<SecretString, KeyError> {
        let client = client.to_string();
        let header = Header { alg: Algorithm::Ps256.name(), typ: "JWT", x5t_s256: &self.x5t_s256 };
        let claims = Claims {
            aud: &self.audience,
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
