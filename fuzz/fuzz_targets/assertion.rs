//! The readers of compact tokens (`denizen-keys`, `jws/`): the strict one of access tokens, the lax one of assertions.
//!
//! The input is a token as it is sent, or, where it has line feeds, header, claims and signature before they are encoded,
//! each in a line. What a reader gives is written as a token again, and reading that gives the same. Both readers
//! have a signature checked over the bytes as they came, and give the same claims.
#![no_main]

use std::cell::Cell;

use denizen_keys::{
    Algorithm, KeyError, VerifyingKey, b64,
    jws::{LaxAssertion, MAX_JSON_DEPTH, MAX_TOKEN_BYTES, MAX_X5C_CERTIFICATES, Unverified, Verified},
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

fuzz_target!(|data: &[u8]| {
    let token = match data.contains(&b'\n') {
        true => encoded(data),
        false => match std::str::from_utf8(data) {
            Ok(token) => token.to_owned(),
            Err(_) => return,
        },
    };
    let strict = strict(&token);
    let lax = lax(&token);
    if let (Some(strict), Some(lax)) = (&strict, &lax) {
        assert_eq!(strict.header().alg, lax.alg);
        assert_eq!(strict.header().kid, lax.kid);
        assert_eq!(strict.claims.as_object(), Some(lax.unverified_claims()));
    }
});

/// The lines as a token.
fn encoded(lines: &[u8]) -> String {
    lines.split(|byte| *byte == b'\n').map(b64::url).collect::<Vec<_>>().join(".")
}

/// A key that takes every signature, over these bytes only.
struct Any<'t> {
    signed: &'t str,
    signature: Option<Vec<u8>>,
    asked: Cell<Option<Algorithm>>,
}

impl<'t> Any<'t> {
    fn of(token: &'t str) -> Self {
        let (signed, signature) = token.rsplit_once('.').expect("a token that was read has dots");
        let bare = signature.trim_end_matches('=');
        Self { signed, signature: b64::decode_url(bare), asked: Cell::new(None) }
    }
}

impl VerifyingKey for Any<'_> {
    fn verify(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        assert_eq!(message, self.signed.as_bytes(), "the signature is of other bytes than came");
        assert_eq!(Some(signature), self.signature.as_deref());
        self.asked.set(Some(alg));
        Ok(())
    }
}

fn strict(token: &str) -> Option<Verified> {
    let verified = read_strictly(token)?;
    let mut header = json!({ "alg": verified.header().alg.name(), "typ": verified.header().typ });
    for (name, value) in [("kid", &verified.header().kid), ("x5t", &verified.header().x5t)] {
        if let Some(value) = value {
            header[name] = json!(value);
        }
    }
    let written = compact(&header, &verified.claims, token);
    if written.len() <= MAX_TOKEN_BYTES {
        let again = read_strictly(&written).expect("what was written is not read");
        assert_eq!(again.header(), verified.header());
        assert!(same(&again.claims, &verified.claims), "other claims: {} {}", again.claims, verified.claims);
    }
    Some(verified)
}

fn read_strictly(token: &str) -> Option<Verified> {
    let unverified = Unverified::parse(token, usize::MAX).ok()?;
    assert!(token.len() <= MAX_TOKEN_BYTES);
    let alg = unverified.header().alg;
    assert!(matches!(alg, Algorithm::Rs256 | Algorithm::Es256));
    assert_eq!(unverified.kid(), unverified.header().kid.as_deref());
    let key = Any::of(token);
    assert!(unverified.verify(&key, &[]).is_err() && key.asked.get().is_none(), "an algorithm nobody allowed");
    let verified = unverified.verify(&key, &[alg]);
    assert_eq!(key.asked.get(), Some(alg));
    let verified = verified.ok()?;
    assert!(depth(&verified.claims) <= MAX_JSON_DEPTH);
    assert!(verified.claims.is_object());
    Some(verified)
}

fn lax(token: &str) -> Option<LaxAssertion> {
    let read = read_laxly(token)?;
    let mut header = json!({ "alg": read.alg.name() });
    if let Some(kid) = &read.kid {
        header["kid"] = json!(kid);
    }
    if let Some(x5t) = &read.x5t {
        header["x5t"] = json!(b64::url(x5t));
    }
    if let Some(x5t) = &read.x5t_s256 {
        header["x5t#S256"] = json!(b64::url(x5t));
    }
    // What begins as PEM is read as PEM.
    let is_der = read.x5c.iter().all(|der| !der.trim_ascii_start().starts_with(b"-----BEGIN"));
    if !read.x5c.is_empty() && is_der {
        header["x5c"] = read.x5c.iter().map(|der| b64::standard(der)).collect();
    }
    let written = compact(&header, &Value::Object(read.unverified_claims().clone()), token);
    if written.len() <= MAX_TOKEN_BYTES {
        let again = read_laxly(&written).expect("what was written is not read");
        assert_eq!(again.alg, read.alg);
        assert_eq!(again.kid, read.kid);
        assert_eq!(again.x5t, read.x5t);
        assert_eq!(again.x5t_s256, read.x5t_s256);
        assert!(!is_der || again.x5c == read.x5c);
        assert!(same_members(again.unverified_claims(), read.unverified_claims()));
    }
    Some(read)
}

fn read_laxly(token: &str) -> Option<LaxAssertion> {
    let read = LaxAssertion::parse(token).ok()?;
    assert!(token.len() <= MAX_TOKEN_BYTES);
    assert!(matches!(read.alg, Algorithm::Rs256 | Algorithm::Ps256));
    assert!(read.x5c.len() <= MAX_X5C_CERTIFICATES);
    assert!(read.unverified_claims().values().all(|claim| depth(claim) < MAX_JSON_DEPTH));
    let key = Any::of(token);
    let verified = read.verify(&key).expect("the key takes every signature");
    assert_eq!(key.asked.get(), Some(read.alg));
    assert_eq!(&verified.claims, read.unverified_claims());
    assert_eq!(read.unverified_issuer(), verified.claims.get("iss").and_then(Value::as_str));
    Some(read)
}

/// A token with the signature of another.
fn compact(header: &Value, claims: &Value, of: &str) -> String {
    let signature = of.rsplit_once('.').map_or("", |(_, signature)| signature);
    format!("{}.{}.{signature}", b64::url(header.to_string().as_bytes()), b64::url(claims.to_string().as_bytes()))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn same_members(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    one.len() == other.len() && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
}

/// The JSON reader's fractions are exact to their last digit but one.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= a.abs() * 1e-14 + f64::MIN_POSITIVE
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => same_members(a, b),
        (one, other) => one == other,
    }
}
