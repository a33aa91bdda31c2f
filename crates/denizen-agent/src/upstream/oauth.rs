//! An ordinary OAuth 2.0 client: `client_credentials` with a client assertion, on the v2 endpoint.
//!
//! The node key signs an assertion, and the assertion is used again for its life (ten minutes): one signature for
//! that, not one for each token, which is what lets a TPM hold the key later. Nothing here is Denizen's own: the same
//! bytes could go to Entra ID.
//!
//! Touches the network through [`HttpsClient`]. Tests: `oauth/tests.rs`.

use std::sync::{Mutex, PoisonError};

use denizen_keys::{Algorithm, KeyError, SecretString, Signer, b64, jws, random};
use denizen_wire::{UnixTime, oauth};
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Fetched, UpstreamError, https::HttpsClient};
use crate::{broker::Identity, clock::Clock};

#[cfg(test)]
mod tests;

/// How long an assertion is good for, seconds.
const ASSERTION_LIFETIME: i64 = 600;
/// It is no longer used when less than this is left: the request still has to arrive. Seconds.
const ASSERTION_MARGIN: i64 = 60;

/// A client of one token endpoint, with one credential.
pub struct OAuthClient {
    https: HttpsClient,
    path: String,
    token_endpoint: String,
    signer: Signer,
    /// SHA-256 of the certificate, unpadded base64url: how the token service finds the key.
    x5t_s256: String,
    clock: Clock,
    assertion: Mutex<Option<Assertion>>,
}

struct Assertion {
    client_id: String,
    compact: SecretString,
    issued: UnixTime,
}

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

/// The part of the answer that is used.
#[derive(Deserialize)]
struct Answer {
    access_token: SecretString,
    expires_in: i64,
}

/// The part of an error that is used: other members may be of any type, or missing.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl OAuthClient {
    /// Of `token_endpoint`, which must be on the client's origin. `certificate_sha256` is the thumbprint of the
    /// certificate the key is known by.
    pub fn new(
        https: HttpsClient,
        token_endpoint: &str,
        signer: Signer,
        certificate_sha256: &[u8; 32],
        clock: Clock,
    ) -> Result<Self, super::https::HttpsError> {
        Ok(Self {
            path: https.origin().path_of(token_endpoint)?,
            https,
            token_endpoint: token_endpoint.to_owned(),
            signer,
            x5t_s256: b64::url(certificate_sha256),
            clock,
            assertion: Mutex::new(None),
        })
    }

    /// Asks for a token of `identity` for `resource`.
    pub async fn fetch(&self, identity: &Identity, resource: &str) -> Result<Fetched, UpstreamError> {
        let client_id = identity.client_id.to_string();
        let assertion = self
            .assertion(&client_id)
            .map_err(|e| UpstreamError::Unavailable(format!("cannot sign with the node key: {e}")))?;
        // The resource's own trailing slash is part of it: 'https://host//.default' asks for 'https://host/'.
        let scope = format!("{resource}/.default");
        let form = form_urlencoded::Serializer::new(String::with_capacity(2048))
            .append_pair("client_id", &client_id)
            .append_pair("scope", &scope)
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_assertion_type", oauth::JWT_BEARER)
            .append_pair("client_assertion", assertion.expose())
            .finish();
        let body = Bytes::from_owner(Zeroizing::new(form.into_bytes()));
        let answered = self.https.post(&self.path, "application/x-www-form-urlencoded", body).await;
        let (status, body) = answered.map_err(|e| UpstreamError::Unavailable(e.to_string()))?;
        if status.is_success() {
            let answer: Answer = serde_json::from_slice(&body)
                .map_err(|e| UpstreamError::Unavailable(format!("the token service's answer is malformed: {e}")))?;
            if answer.expires_in <= 0 || answer.access_token.is_empty() {
                return Err(UpstreamError::Unavailable(
                    "the token service's answer has an expired or empty token".into(),
                ));
            }
            return Ok(Fetched { access_token: answer.access_token, expires_in: answer.expires_in });
        }
        let refused = refusal(status, &body);
        if matches!(&refused, UpstreamError::Permanent { error, .. } if error == "invalid_client") {
            // The key may have been rolled, or the clock set: the next attempt signs anew.
            self.lock().take();
        }
        Err(refused)
    }

    fn assertion(&self, client_id: &str) -> Result<SecretString, KeyError> {
        let now = self.clock.now();
        let mut kept = self.lock();
        if let Some(kept) = &*kept
            && kept.client_id == client_id
            && (0..ASSERTION_LIFETIME - ASSERTION_MARGIN).contains(&now.since(kept.issued))
        {
            return Ok(kept.compact.clone());
        }
        let header = Header { alg: Algorithm::Ps256.name(), typ: "JWT", x5t_s256: &self.x5t_s256 };
        let claims = Claims {
            aud: &self.token_endpoint,
            iss: client_id,
            sub: client_id,
            jti: random::uuid_v4(),
            nbf: now.0,
            iat: now.0,
            exp: (now + ASSERTION_LIFETIME).0,
        };
        // Strings, numbers and ids always serialize.
        let (header, claims) =
            (serde_json::to_string(&header).unwrap_or_default(), serde_json::to_string(&claims).unwrap_or_default());
        let compact: SecretString = jws::sign_compact(&self.signer, Algorithm::Ps256, &header, &claims)?.into();
        *kept = Some(Assertion { client_id: client_id.to_owned(), compact: compact.clone(), issued: now });
        Ok(compact)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Assertion>> {
        self.assertion.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which refusals are for good. OAuth's own words are; anything else may pass.
fn refusal(status: http::StatusCode, body: &[u8]) -> UpstreamError {
    let permanent = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "invalid_scope",
        "invalid_resource",
        "invalid_target",
        "unauthorized_client",
        "unsupported_grant_type",
        "access_denied",
    ];
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal)
            if status.is_client_error() && status.as_u16() != 429 && permanent.contains(&refusal.error.as_str()) =>
        {
            UpstreamError::Permanent { error: refusal.error, description: refusal.error_description }
        }
        Ok(refusal) => UpstreamError::Unavailable(format!(
            "the token service answered {}: {} {}",
            status.as_u16(),
            refusal.error,
            refusal.error_description
        )),
        Err(_) => {
            UpstreamError::Unavailable(format!("the token service answered {} without saying why", status.as_u16()))
        }
    }
}
