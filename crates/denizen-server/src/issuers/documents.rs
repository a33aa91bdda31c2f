//! What an issuer publishes: its configuration document, and its keys (RFC 7517).
//!
//! Pure. Tests: below, and `tests.rs` beside this file.

use std::fmt;

use denizen_keys::{Algorithm, PublicKey, jwk::Jwk};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use super::IssuerError;
use crate::domain::federation::HttpsUrl;

/// The most keys of a document that are looked at: its first.
pub(super) const MOST_KEYS: usize = 100;
/// In the issuer of a key: any tenant.
const ANY_TENANT: &str = "{tenantid}";

/// The keys an issuer signs with, those that can be used here: RSA and P-256, for signatures.
#[derive(Debug)]
pub struct IssuerKeys(Vec<Key>);

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    /// The only algorithm that it may be used with, where it names one.
    alg: Option<Algorithm>,
    public: PublicKey,
}

impl Key {
    fn signs_by(&self, alg: Algorithm) -> bool {
        let is_of_its_family = match (&self.public, alg) {
            (PublicKey::Rsa(_), Algorithm::Rs256 | Algorithm::Ps256) | (PublicKey::Ec(_), Algorithm::Es256) => true,
            (PublicKey::Rsa(_), Algorithm::Es256) | (PublicKey::Ec(_), Algorithm::Rs256 | Algorithm::Ps256) => false,
        };
        is_of_its_family && self.alg.is_none_or(|own| own == alg)
    }
}

impl IssuerKeys {
    /// Whether a key of this name is published.
    pub fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys that a token may be signed with: those of the name it gives. Without a name, the only one there is.
    pub fn named(&self, kid: Option<&str>, alg: Algorithm) -> impl Iterator<Item = &PublicKey> {
        let is_only = self.0.len() == 1;
        let fits = move |key: &&Key| match kid {
            Some(kid) => key.kid.as_deref() == Some(kid),
            None => is_only,
        };
        self.0.iter().filter(fits).filter(move |key| key.signs_by(alg)).map(|key| &key.public)
    }
}

#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    jwks_uri: String,
}

/// Where the keys of `issuer` are, by its configuration document.
pub(super) fn keys_at(document: &[u8], issuer: &str) -> Result<HttpsUrl, IssuerError> {
    let read: Configuration = serde_json::from_slice(document).map_err(|_| {
        IssuerError::Document(
            "the issuer's configuration document is no JSON object with issuer and jwks_uri, each once",
        )
    })?;
    if read.issuer != issuer {
        return Err(IssuerError::Document(
            "the issuer's configuration document is another issuer's: its issuer must be the same text, a slash at the end included",
        ));
    }
    Ok(HttpsUrl::read(&read.jwks_uri)?)
}

#[derive(Deserialize)]
struct KeySet {
    #[serde(deserialize_with = "first_keys")]
    keys: Vec<serde_json::Value>,
}

/// Reads the keys of `issuer`. Those that cannot be used are passed over.
pub(super) fn keys(document: &[u8], issuer: &str) -> Result<IssuerKeys, IssuerError> {
    let read: KeySet = serde_json::from_slice(document)
        .map_err(|_| IssuerError::Document("the issuer's key document is no JSON object with a list of keys"))?;
    let keys: Vec<Key> = read.keys.into_iter().filter_map(|key| usable(key, issuer)).collect();
    if keys.is_empty() {
        return Err(IssuerError::Document(
            "the issuer's key document has no key for signatures that is RSA of 2048 bits or more, or on P-256",
        ));
    }
    Ok(IssuerKeys(keys))
}

fn usable(key: serde_json::Value, issuer: &str) -> Option<Key> {
    let may_verify = match key.get("key_ops") {
        None => true,
        Some(uses) => uses.as_array().is_some_and(|uses| uses.iter().any(|it| it == "verify")),
    };
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    let (use_, alg, own) = match &jwk {
        Jwk::Rsa(key) => (&key.use_, &key.alg, &key.issuer),
        Jwk::Ec(key) => (&key.use_, &key.alg, &key.issuer),
    };
    let is_for_signatures = use_.as_deref().is_none_or(|it| it == "sig") && may_verify;
    let is_issuers = own.as_deref().is_none_or(|own| is_of(own, issuer));
    if !is_for_signatures || !is_issuers {
        return None;
    }
    let alg = match alg.as_deref() {
        None => None,
        Some(name) => Some(Algorithm::from_name(name)?),
    };
    Some(Key { public: jwk.to_public().ok()?, kid: jwk.kid().map(str::to_owned), alg })
}

/// Whether a key that names an issuer is this issuer's; Entra's name one with a place for the tenant.
fn is_of(own: &str, issuer: &str) -> bool {
    match own.split_once(ANY_TENANT) {
        None => own == issuer,
        Some((before, after)) => issuer
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|tenant| !tenant.is_empty() && !tenant.contains('/')),
    }
}

/// The first [`MOST_KEYS`] of a list; the others are read and not kept.
fn first_keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<serde_json::Value>, D::Error> {
    struct First;

    impl<'de> Visitor<'de> for First {
        type Value = Vec<serde_json::Value>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of keys")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut keys = Vec::new();
            while keys.len() < MOST_KEYS {
                match list.next_element()? {
                    Some(key) => keys.push(key),
                    None => return Ok(keys),
                }
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(keys)
        }
    }

    deserializer.deserialize_seq(First)
}

#[cfg(test)]
mod tests {
    use denizen_keys::{RsaBits, Signer, jwk::RsaJwk};
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://login.test/0a1b/v2.0";

    #[test]
    fn a_configuration_is_that_of_its_issuer_to_the_letter() {
        let at = |value: serde_json::Value| keys_at(value.to_string().as_bytes(), ISSUER);
        let good = at(json!({"issuer": ISSUER, "jwks_uri": "https://keys.test/k?x=1", "more": [1]})).unwrap();
        assert_eq!(good.to_string(), "https://keys.test/k?x=1");
        for issuer in ["https://login.test/0a1b/v2.0/", "https://LOGIN.test/0a1b/v2.0", "https://evil.test", ""] {
            assert!(matches!(
                at(json!({"issuer": issuer, "jwks_uri": "https://keys.test"})),
                Err(IssuerError::Document(_))
            ));
        }
        for uri in ["http://keys.test", "https://u@keys.test", "/keys", "file:///etc/passwd", ""] {
            assert!(matches!(at(json!({"issuer": ISSUER, "jwks_uri": uri})), Err(IssuerError::Url(_))), "{uri}");
        }
        for bad in ["", "[]", "{}", r#"{"issuer":1,"jwks_uri":2}"#, &"[".repeat(100_000)] {
            assert!(matches!(keys_at(bad.as_bytes(), ISSUER), Err(IssuerError::Document(_))));
        }
        let twice = format!(r#"{{"issuer":"{ISSUER}","issuer":"{ISSUER}","jwks_uri":"https://keys.test"}}"#);
        assert!(keys_at(twice.as_bytes(), ISSUER).is_err());
    }

    #[test]
    fn only_keys_for_signatures_of_this_issuer_are_used_and_the_first_hundred() {
        let signer = Signer::generate_rsa(RsaBits::B2048).unwrap();
        let jwk = |more: serde_json::Value| {
            let mut key = serde_json::to_value(RsaJwk::signing(signer.public().rsa().unwrap(), "k", None)).unwrap();
            more.as_object().unwrap().iter().for_each(|(name, value)| key[name] = value.clone());
            key
        };
        let read = |list: Vec<serde_json::Value>| keys(json!({"keys": list}).to_string().as_bytes(), ISSUER);
        for good in [
            json!({}),
            json!({"alg": "RS256"}),
            json!({"alg": "PS256", "key_ops": ["verify"]}),
            json!({"issuer": ISSUER}),
            json!({"issuer": "https://login.test/{tenantid}/v2.0"}),
        ] {
            assert!(read(vec![json!({"kty": "EC", "kid": "k"}), jwk(good.clone())]).unwrap().has("k"), "{good}");
        }
        for bad in [
            json!({"use": "enc"}),
            json!({"alg": "HS256"}),
            json!({"kty": "EC"}),
            json!({"alg": "none"}),
            json!({"kty": "oct"}),
            json!({"key_ops": ["sign"]}),
            json!({"key_ops": "verify"}),
            json!({"issuer": "https://other.test"}),
            json!({"issuer": "https://login.test/{tenantid}"}),
            json!({"n": "AQAB"}),
            json!({"e": "AQ"}),
            json!({"kid": 5}),
        ] {
            assert!(matches!(read(vec![jwk(bad.clone())]), Err(IssuerError::Document(_))), "{bad}");
        }
        // A hundred that are passed over leave no room for one.
        let mut many = vec![json!({"kty": "EC"}); MOST_KEYS - 1];
        many.push(jwk(json!({})));
        assert!(read(many.clone()).unwrap().has("k"));
        many.insert(0, json!({}));
        assert!(read(many).is_err());

        let two = read(vec![jwk(json!({})), jwk(json!({"kid": "other", "alg": "PS256"}))]).unwrap();
        let count = |kid, alg| two.named(kid, alg).count();
        assert_eq!((count(Some("k"), Algorithm::Rs256), count(Some("other"), Algorithm::Rs256)), (1, 0));
        assert_eq!((count(Some("other"), Algorithm::Ps256), count(Some("x"), Algorithm::Rs256)), (1, 0));
        // A key on P-256 signs by its own algorithm, whatever an RSA key of the same name may.
        let ec = Signer::generate_ec().unwrap();
        let mut other = serde_json::to_value(Jwk::certified(ec.public(), "k", Vec::new(), None)).unwrap();
        for alg in [json!("ES256"), serde_json::Value::Null] {
            other["alg"] = alg;
            let both = read(vec![jwk(json!({})), other.clone()]).unwrap();
            assert_eq!(both.named(Some("k"), Algorithm::Es256).collect::<Vec<_>>(), [ec.public()]);
            assert_eq!(both.named(Some("k"), Algorithm::Rs256).collect::<Vec<_>>(), [signer.public()]);
        }
        for (name, value) in [("crv", "P-384"), ("alg", "RS256"), ("x", "AAAA"), ("kty", "RSA")] {
            let mut bad = other.clone();
            bad[name] = value.into();
            let keys = read(vec![bad]);
            let signs = keys.is_ok_and(|keys| keys.named(Some("k"), Algorithm::Es256).next().is_some());
            assert!(!signs, "{name}");
        }
        // A token that names no key names one only where there is one.
        assert_eq!(count(None, Algorithm::Rs256), 0);
        let one = read(vec![jwk(json!({}))]).unwrap();
        assert_eq!(one.named(None, Algorithm::Rs256).count(), 1);
    }
}
