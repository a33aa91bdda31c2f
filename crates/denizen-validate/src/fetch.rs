//! Fetches the JSON documents that an authority publishes.

use reqwest::{Client, StatusCode, redirect};
use serde::de::DeserializeOwned;

/// The largest document that is read, bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// A client that trusts the system's roots, honours `HTTPS_PROXY` and `NO_PROXY`, and follows no redirect.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    let user_agent = concat!("denizen-validate/", env!("CARGO_PKG_VERSION"));
    Client::builder().user_agent(user_agent).redirect(redirect::Policy::none()).build()
}

/// Fetches and parses one document.
///
/// # Errors
/// A reason for the log.
pub(crate) async fn json<T: DeserializeOwned>(http: &Client, url: &str) -> Result<T, String> {
    let mut response = http.get(url).send().await.map_err(|error| with_sources(&error))?;
    // The caller's client may follow redirects. What another place publishes was not asked for.
    let is_redirected = reqwest::Url::parse(url).is_ok_and(|asked| asked != *response.url());
    if is_redirected || response.status().is_redirection() {
        return Err(format!("{url} redirects, and redirects are not followed"));
    }
    if response.status() != StatusCode::OK {
        return Err(format!("{url} answered {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| with_sources(&error))? {
        if body.len() + chunk.len() > MAX_DOCUMENT {
            return Err(format!("{url} is larger than {MAX_DOCUMENT} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|error| format!("{url} cannot be parsed: {error}"))
}

/// reqwest's own text ends before the reason, which is at the end of the chain.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
