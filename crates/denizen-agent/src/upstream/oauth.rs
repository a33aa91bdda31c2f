//! An ordinary OAuth 2.0 client: `client_credentials` with a client assertion, on the v2 endpoint.
//!
//! Nothing here is Denizen's own: the same bytes could go to Entra ID.
//!
//! Touches the network through [`HttpsClient`]. Tests: `oauth/tests.rs`.

use denizen_keys::SecretString;
use denizen_wire::oauth;
use hyper::body::Bytes;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    IssuedToken, UpstreamError,
    assertion::AssertionCache,
    https::{HttpsClient, HttpsError},
};
use crate::identity::Identity;

#[cfg(test)]
mod tests;

/// A longer lifetime in an answer is taken for this one, seconds: a week.
const MAX_LIFETIME: i64 = 7 * 24 * 3600;

/// A client of one token endpoint, with one credential.
pub struct OAuthClient {
    https: HttpsClient,
    path: String,
    assertions: AssertionCache,
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
    /// Creates a client of the token endpoint that the assertions are for. It must be on the HTTPS client's origin.
    pub fn new(https: HttpsClient, assertions: AssertionCache) -> Result<Self, HttpsError> {
        Ok(Self { path: https.origin().path_of(assertions.token_endpoint())?, https, assertions })
    }

    /// Asks for a token of `identity` for `resource`.
    pub async fn fetch(&self, identity: &Identity, resource: &str) -> Result<IssuedToken, UpstreamError> {
        let client_id = identity.client_id.to_string();
        let assertion = self.assertions.get(identity.client_id).await;
        let assertion = assertion.map_err(|e| UpstreamError::Unavailable(e.to_string()))?;
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
                // The parser's own text could quote the token.
                .map_err(|e| {
                    UpstreamError::Unavailable(format!(
                        "the token service's answer is malformed, at byte {}",
                        e.column()
                    ))
                })?;
            if answer.expires_in <= 0 || answer.access_token.is_empty() {
                return Err(UpstreamError::Unavailable(
                    "the token service's answer has an expired or empty token".into(),
                ));
            }
            return Ok(IssuedToken {
                access_token: answer.access_token,
                expires_in: answer.expires_in.min(MAX_LIFETIME),
            });
        }
        let refused = refusal(status, &body);
        if matches!(&refused, UpstreamError::Permanent { error, .. } if error == "invalid_client") {
            // The key may have been rolled, or the clock set: the next attempt signs anew.
            self.assertions.forget(identity.client_id);
        }
        Err(refused)
    }
}

/// A refusal in OAuth's own words is permanent; anything else may pass.
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
