//! No error of this crate holds a byte of what was read. Each parser gets inputs with a marker in them, in every form
//! that goes wrong; the marker, its base64 and its bytes as numbers are then looked for in whatever can be printed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use denizen_keys::ca::DevCa;
use denizen_keys::envelope::{self, DataKey, RootKey, SealedKey};
use denizen_keys::jwk::RsaJwk;
use denizen_keys::jws::{self, LaxAssertion, Unverified};
use denizen_keys::secret::json_fault;
use denizen_keys::x509::{self, Certificate};
use denizen_keys::{Algorithm, RsaBits, RsaPublic, SecretBytes, SecretString, Signer, password};
use std::error::Error;
use std::fmt::Debug;

/// 24 bytes, so that its base64 is the same text wherever it begins at a multiple of three.
const MARKER: &str = "MARKER-hunter2-MARKER-42";

/// A number that a secret without quotation marks would be.
const NUMBER: &str = "8675309";

/// Fails when something printed holds the marker in any spelling.
fn clean(what: &str, printed: &str) {
    let bytes = format!("{:?}", MARKER.as_bytes());
    let hex: String = MARKER.bytes().map(|byte| format!("{byte:02x}")).collect();
    let spellings =
        [MARKER.to_owned(), STANDARD.encode(MARKER), bytes.trim_matches(['[', ']']).to_owned(), hex, NUMBER.to_owned()];
    for spelling in spellings {
        assert!(!printed.to_lowercase().contains(&spelling.to_lowercase()), "{what} shows its input: {printed}");
    }
}

/// The error's `Display` and `Debug`, and those of everything below it.
fn printed(error: &dyn Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        text.push_str(&format!("{error} {error:?} {error:#?}\n"));
        next = error.source();
    }
    text
}

/// The input must be refused, with an error that shows nothing of it.
fn refused<T, E: Error + 'static>(what: &str, result: Result<T, E>) {
    let Err(error) = result else { panic!("{what} was accepted") };
    assert!(!error.to_string().is_empty());
    clean(what, &printed(&error));
}

/// What a value shows in `Debug`.
fn hidden(what: &str, value: &dyn Debug) {
    clean(what, &format!("{value:?} {value:#?}"));
}

#[test]
fn the_search_finds_what_it_looks_for() {
    for leak in [
        format!("bad line: {MARKER}"),
        format!("{:?}", format!("-----BEGIN {MARKER}").as_bytes()),
        STANDARD.encode(format!("abc{MARKER}")),
        MARKER.bytes().map(|byte| format!("{byte:02X}")).collect(),
    ] {
        assert!(std::panic::catch_unwind(|| clean("a leak", &leak)).is_err(), "{leak}");
    }
}

/// PEM that holds a certificate and a key with the marker, spoilt in one way each.
fn spoilt_pem() -> Vec<(&'static str, String)> {
    let body = STANDARD.encode([b"\x30\x82\x01".as_slice(), MARKER.as_bytes(), MARKER.as_bytes()].concat());
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let (begin_key, end_key) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
    vec![
        ("line ends of two characters", format!("{begin_key}\\n{body}\\n{end_key}\\n{begin}\\n{body}\\n{end}\\n")),
        ("one line", format!("{begin_key} {body} {end_key} {begin} {body} {end}")),
        ("no end", format!("{begin}\n{body}\n")),
        ("end of another label", format!("{begin}\n{body}\n{end_key}\n")),
        ("wrong base64", format!("{begin}\n{body}!{MARKER}\n{end}\n")),
        ("no dashes after the label", format!("-----BEGIN {MARKER}\n{body}\n{end}\n")),
        ("a key that is not ended, then a certificate", format!("{begin_key}\n{body}\n{begin}\n{body}\n{end}\n")),
        ("no certificate in it", format!("{begin}\n{body}\n{end}\n")),
        ("a key alone", format!("{begin_key}\n{body}\n{end_key}\n")),
        ("cut short", format!("{begin}\n{}", &body[..32])),
        ("no PEM", MARKER.to_owned()),
        ("a comment and nothing else", format!("# {MARKER}\n")),
    ]
}

#[test]
fn certificates_in_pem_and_der() {
    let key = SecretBytes::from(MARKER.as_bytes());
    for (what, pem) in spoilt_pem() {
        refused(what, Certificate::from_pem(&pem));
        refused(what, DevCa::from_parts(&pem, &key));
        if let Err(error) = Certificate::chain_from_pem(&pem) {
            clean(what, &printed(&error));
        }
    }
    refused("DER", Certificate::from_der(MARKER.as_bytes()));
    refused("DER, cut", Certificate::from_der(&[b"\x30\x82\x04\x00\x30".as_slice(), MARKER.as_bytes()].concat()));
    refused("DER, long", Certificate::from_der(MARKER.repeat(1000).as_bytes()));
    let ca = DevCa::generate("authority", 1_800_000_000).unwrap();
    refused("bytes after DER", Certificate::from_der(&[ca.certificate().der(), MARKER.as_bytes()].concat()));
    refused("an authority's key", DevCa::from_parts(ca.ca_pem(), &key));
}

#[test]
fn pem_with_the_wrong_line_ends_is_told_the_rule() {
    let pem = DevCa::generate("authority", 1_800_000_000).unwrap().ca_pem().replace('\n', "\\n");
    let error = Certificate::from_pem(&pem).unwrap_err().to_string();
    assert!(error.contains("line feed"), "{error}");
}

#[test]
fn private_keys() {
    let whole = Signer::generate_rsa(RsaBits::B2048).unwrap().to_pkcs8().unwrap();
    let marked = |der: &[u8]| SecretBytes::from([der, MARKER.as_bytes()].concat());
    refused("no DER", Signer::from_pkcs8(&marked(b"")));
    refused("the beginning of a key", Signer::from_pkcs8(&marked(&whole.expose()[..64])));
    refused("half a key", Signer::from_pkcs8(&marked(&whole.expose()[..600])));
    refused("PEM instead of DER", Signer::from_pkcs8(&marked(b"-----BEGIN PRIVATE KEY-----\n")));
    hidden("a secret", &marked(b""));
}

#[test]
fn public_keys_and_jwks() {
    let encoded = STANDARD.encode(MARKER);
    refused("SPKI", RsaPublic::from_spki_der(MARKER.as_bytes()));
    refused("n", RsaPublic::from_jwk_members(&format!("{encoded}!"), "AQAB"));
    refused("n too short", RsaPublic::from_jwk_members(&encoded, "AQAB"));
    refused("e", RsaPublic::from_jwk_members(&"_".repeat(342), &format!("{MARKER}!")));
    let public = Signer::generate_rsa(RsaBits::B2048).unwrap().public().rsa().unwrap().clone();
    let jwk = RsaJwk::signing(&public, "kid", Some(Algorithm::Rs256));
    refused("another family", RsaJwk { kty: MARKER.to_owned(), ..jwk.clone() }.to_public());
    refused("the members of a private key", RsaJwk { n: encoded.clone(), e: encoded, ..jwk }.to_public());
}

/// A token whose segments are these texts.
fn token(header: &str, payload: &str, signature: &str) -> String {
    format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(payload),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

#[test]
fn tokens_and_assertions() {
    let header = r#"{"alg":"RS256","typ":"JWT"}"#;
    let payload = format!(r#"{{"iss":"{MARKER}"}}"#);
    let nested = format!("{}\"{MARKER}\"{}", "[".repeat(40), "]".repeat(40));
    let tokens = [
        ("no token", MARKER.to_owned()),
        ("two segments", format!("{MARKER}.{MARKER}")),
        ("four segments", format!("{MARKER}.{MARKER}.{MARKER}.{MARKER}")),
        ("too long", MARKER.repeat(2000)),
        ("not base64url", format!("{MARKER}!.{MARKER}!.{MARKER}!")),
        ("header not JSON", token(MARKER, &payload, MARKER)),
        ("header cut", token(&format!(r#"{{"alg":"{MARKER}"#), &payload, MARKER)),
        ("header a text", token(&format!("\"{MARKER}\""), &payload, MARKER)),
        ("alg", token(&format!(r#"{{"alg":"{MARKER}","typ":"JWT"}}"#), &payload, MARKER)),
        ("alg a number", token(&format!(r#"{{"alg":{NUMBER},"typ":"JWT"}}"#), &payload, MARKER)),
        ("kid a list", token(&format!(r#"{{"alg":"RS256","typ":"JWT","kid":["{MARKER}"]}}"#), &payload, MARKER)),
        ("crit", token(&format!(r#"{{"alg":"RS256","typ":"JWT","crit":["{MARKER}"]}}"#), &payload, MARKER)),
        ("member twice", token(&format!(r#"{{"alg":"RS256","{MARKER}":1,"{MARKER}":2}}"#), &payload, MARKER)),
        ("nested", token(&format!(r#"{{"alg":"RS256","typ":"JWT","x":{nested}}}"#), &payload, MARKER)),
        ("text after the header", token(&format!("{header}{MARKER}"), &payload, MARKER)),
    ];
    for (what, token) in &tokens {
        refused(what, Unverified::parse(token, jws::MAX_TOKEN_BYTES));
        refused(what, LaxAssertion::parse(token));
    }
    let typ = token(&format!(r#"{{"alg":"RS256","typ":"{MARKER}"}}"#), &payload, MARKER);
    refused("typ", Unverified::parse(&typ, jws::MAX_TOKEN_BYTES));
    for member in ["x5t", "x5t#S256"] {
        let spoilt = token(&format!(r#"{{"alg":"RS256","{member}":"{MARKER}"}}"#), &payload, MARKER);
        refused(member, LaxAssertion::parse(&spoilt));
    }
    let pem = STANDARD.encode(format!("-----BEGIN CERTIFICATE-----\n{MARKER}!\n-----END CERTIFICATE-----\n"));
    for x5c in [format!("[\"{MARKER}!\"]"), format!("{{\"{MARKER}\":1}}"), NUMBER.to_owned(), format!("[\"{pem}\"]")] {
        refused("x5c", LaxAssertion::parse(&token(&format!(r#"{{"alg":"RS256","x5c":{x5c}}}"#), &payload, MARKER)));
    }
    for spoilt in [MARKER.to_owned(), format!("[\"{MARKER}\"]"), format!(r#"{{"iss":"{MARKER}"#)] {
        refused("payload", LaxAssertion::parse(&token(header, &spoilt, MARKER)));
    }
}

#[test]
fn verified_tokens_do_not_show_their_claims() {
    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only its type matters")]
    struct Claims {
        sub: u32,
    }
    let signer = Signer::generate_rsa(RsaBits::B2048).unwrap();
    let header = r#"{"alg":"RS256","typ":"JWT","kid":"k"}"#;
    let claims = format!(r#"{{"sub":"{MARKER}"}}"#);
    let token = jws::sign_compact(&signer, Algorithm::Rs256, header, &claims).unwrap();

    let unverified = Unverified::parse(&token, jws::MAX_TOKEN_BYTES).unwrap();
    hidden("an unverified token", &unverified);
    let verified = unverified.verify(signer.public(), &[Algorithm::Rs256]).unwrap();
    hidden("a verified token", &verified);
    assert_eq!(verified.claims["sub"], MARKER);
    refused("claims of another type", verified.claims::<Claims>());

    let assertion = LaxAssertion::parse(&token).unwrap();
    hidden("an assertion", &assertion);
    let verified = assertion.verify(signer.public()).unwrap();
    hidden("a verified assertion", &verified);
    refused("an assertion's claims of another type", verified.claims::<Claims>());

    let other = Signer::generate_rsa(RsaBits::B2048).unwrap();
    refused("another key", assertion.verify(other.public()));
    refused("another key", unverified.verify(other.public(), &[Algorithm::Rs256]));
    // Only the payload of a token that verifies is read, so a signed one that is no JSON object.
    let signed = jws::sign_compact(&signer, Algorithm::Rs256, header, &format!("\"{MARKER}\"")).unwrap();
    refused("a payload", Unverified::parse(&signed, 16_384).unwrap().verify(signer.public(), &[Algorithm::Rs256]));
}

#[test]
fn sealed_values_and_keys() {
    let key = DataKey::generate();
    for kind in 0..4_u8 {
        let sealed = [&[kind][..], MARKER.as_bytes(), MARKER.as_bytes()].concat();
        refused("a sealed value", envelope::open(&key, &sealed, MARKER.as_bytes()));
        refused("a wrapped key", DataKey::unwrap_with(&key, &sealed, MARKER.as_bytes()));
        refused("a wrapped key's form", SealedKey::from_bytes(&sealed));
    }
    refused("a sealed value, cut", envelope::open(&key, &MARKER.as_bytes()[..5], b""));
    let sealed = envelope::seal(&key, MARKER.as_bytes(), b"here");
    refused("a value sealed for another place", envelope::open(&key, &sealed, b"there"));
    hidden("an opened value", &envelope::open(&key, &sealed, b"here").unwrap());
}

#[test]
fn root_key_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.key");
    for bytes in [MARKER.as_bytes().to_vec(), MARKER.repeat(2).into_bytes(), MARKER.as_bytes()[..8].to_vec()] {
        std::fs::write(&path, &bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        refused("a root key of another size", RootKey::load(&path));
        refused("a root key of another size", RootKey::load_or_create(&path));
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused("a root key that others can read", RootKey::load(&path));
}

#[test]
fn secrets_that_are_read_from_json() {
    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only how it prints matters")]
    struct Body {
        secret: SecretString,
    }
    for value in [
        NUMBER.to_owned(),
        format!("-{NUMBER}"),
        format!("{NUMBER}.5"),
        format!("{NUMBER}00000000000000000000"),
        format!("[\"{MARKER}\"]"),
        format!("{{\"{MARKER}\":\"{MARKER}\"}}"),
        "true".to_owned(),
        "null".to_owned(),
        format!("\"{MARKER}\\q\""),
        format!("\"{MARKER}"),
    ] {
        refused(&value, serde_json::from_str::<Body>(&format!("{{\"secret\":{value}}}")));
        refused(&value, serde_json::from_str::<SecretString>(&value));
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&value) {
            refused("a value", serde_json::from_value::<SecretString>(value));
        }
    }
    hidden("a body", &serde_json::from_str::<Body>(&format!("{{\"secret\":\"{MARKER}\"}}")).unwrap());
    refused("bytes that are no text", SecretString::try_from(SecretBytes::from([MARKER.as_bytes(), &[0xff]].concat())));
}

#[test]
fn faults_of_json() {
    let fault = |text: &str| {
        let error = serde_json::from_str::<Vec<u8>>(text).unwrap_err();
        let fault = json_fault(&error);
        clean(text, &fault);
        fault
    };
    assert!(serde_json::from_str::<Vec<u8>>(&format!("\"{MARKER}\"")).unwrap_err().to_string().contains(MARKER));
    assert!(
        fault(&format!("\"{MARKER}\""))
            .starts_with("a member is missing, unknown, twice there, or of another type (line 1,")
    );
    assert!(fault(&format!("[\n{NUMBER}]")).contains("(line 2,"));
    assert!(fault(&format!("[1 {MARKER}")).starts_with("it is not JSON (line 1,"));
    assert!(fault("[1").starts_with("its JSON is cut off (line 1,"));
    let error = serde_json::from_value::<Vec<u8>>(MARKER.into()).unwrap_err();
    assert_eq!(json_fault(&error), "a member is missing, unknown, twice there, or of another type");
}

#[test]
fn passwords_and_their_hashes() {
    let secret = SecretString::from(MARKER);
    let stored = password::hash(&secret);
    clean("a hash", &stored);
    assert!(password::verify(&secret, &stored));
    // A hash that cannot be read matches nothing: there is no error that could show it.
    for spoilt in [MARKER.to_owned(), format!("$argon2id${MARKER}"), stored.replace("argon2id", MARKER)] {
        assert!(!password::verify(&secret, &spoilt));
        assert!(password::needs_rehash(&spoilt));
    }
    hidden("a password", &secret);
}

#[test]
fn certificates_do_not_show_their_key() {
    let issued = DevCa::generate("authority", 1_800_000_000)
        .unwrap()
        .issue_server(&[denizen_keys::ca::SanEntry::Dns("localhost".to_owned())], 1_800_000_000, 1)
        .unwrap();
    let pem = issued.key_pem();
    let body = pem.expose().lines().nth(1).unwrap();
    assert!(!format!("{issued:?} {pem:?}").contains(body));
    let signer = Signer::generate_rsa(RsaBits::B2048).unwrap();
    let long = x509::self_signed(&signer, &MARKER.repeat(4), 0, 1);
    refused("a common name", long);
}
