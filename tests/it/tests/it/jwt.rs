//! Tokens, read without being believed.

use denizen_keys::b64;
use serde_json::Value;

/// The header.
pub(crate) fn header(token: &str) -> Value {
    segment(token, 0)
}

/// The claims.
pub(crate) fn claims(token: &str) -> Value {
    segment(token, 1)
}

/// An unsigned token's two segments.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", b64::url(header.to_string().as_bytes()), b64::url(claims.to_string().as_bytes()))
}

fn segment(token: &str, number: usize) -> Value {
    let segment = token.split('.').nth(number).unwrap_or_else(|| panic!("not a JWT: {token}"));
    serde_json::from_slice(&b64::decode_url(segment).unwrap()).unwrap()
}
