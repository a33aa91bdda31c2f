//! Both readers against well-formed tokens, every dialect of the clients, and the forgeries each must refuse.

use super::*;
use crate::{RsaBits, RsaPublic, hash};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate_rsa(RsaBits::B2048).unwrap());
static OTHER: LazyLock<Signer> = LazyLock::new(|| Signer::generate_rsa(RsaBits::B2048).unwrap());

const HEADER: &str = r#"{"typ":"JWT","alg":"RS256","kid":"k1","x5t":"-_v7-_v7-_v7-_v7-_v7-_v7-_s"}"#;
const CLAIMS: &str = r#"{"aud":"https://vault.azure.net","exp":1764000000,"oid":"o"}"#;

fn rs256() -> Vec<Algorithm> {
    vec![Algorithm::Rs256]
}

fn key() -> &'static RsaPublic {
    SIGNER.public().rsa().unwrap()
}

/// Signs segments that are already encoded, as a foreign client would have made them.
fn signed(alg: Algorithm, header: &str, payload: &str) -> String {
    let input = format!("{header}.{payload}");
    format!("{input}.{}", b64::url(&SIGNER.sign(alg, input.as_bytes()).unwrap()))
}

fn with_header(header: &str) -> String {
    signed(Algorithm::Rs256, &b64::url(header.as_bytes()), &b64::url(CLAIMS.as_bytes()))
}

fn strict_error(token: &str) -> JwsError {
    match Unverified::parse(token, MAX_TOKEN_BYTES) {
        Err(error) => error,
        Ok(parsed) => parsed.verify(key(), &rs256()).unwrap_err(),
    }
}

fn lax_error(token: &str) -> JwsError {
    match LaxAssertion::parse(token) {
        Err(error) => error,
        Ok(parsed) => parsed.verify(key()).unwrap_err(),
    }
}

#[test]
fn a_token_is_written_exactly_and_read_back() {
    let token = sign_compact(&SIGNER, Algorithm::Rs256, HEADER, CLAIMS).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(input, format!("{}.{}", b64::url(HEADER.as_bytes()), b64::url(CLAIMS.as_bytes())));
    assert_eq!(key().verify(Algorithm::Rs256, input.as_bytes(), &b64::decode_url(signature).unwrap()), Ok(()));

    let parsed = Unverified::parse(&token, MAX_TOKEN_BYTES).unwrap();
    assert_eq!(parsed.kid(), Some("k1"));
    assert_eq!(parsed.header().x5t.as_deref(), Some("-_v7-_v7-_v7-_v7-_v7-_v7-_s"));
    let verified = parsed.verify(key(), &rs256()).unwrap();
    assert_eq!(verified.claims, serde_json::from_str::<Value>(CLAIMS).unwrap());
    assert_eq!(verified.header().kid.as_deref(), Some("k1"));

    #[derive(serde::Deserialize)]
    struct Expiry {
        exp: i64,
    }
    assert_eq!(verified.claims::<Expiry>().unwrap().exp, 1_764_000_000);
    assert_eq!(verified.claims::<Vec<u8>>().unwrap_err(), JwsError::Claims);
}

#[test]
fn d09_a_parsed_token_does_not_print_its_claims_or_signature() {
    let token = sign_compact(&SIGNER, Algorithm::Rs256, HEADER, r#"{"secret-claim":"zebra"}"#).unwrap();
    let signature = token.rsplit_once('.').unwrap().1.to_owned();
    let strict = format!("{:?}", Unverified::parse(&token, MAX_TOKEN_BYTES).unwrap());
    let lax = format!("{:?}", LaxAssertion::parse(&token).unwrap());
    for text in [strict, lax] {
        assert!(!text.contains("zebra") && !text.contains(&signature) && !text.contains("signature"), "{text}");
    }
}

#[test]
fn d25_any_changed_segment_is_refused_by_both_readers() {
    let token = sign_compact(&SIGNER, Algorithm::Rs256, HEADER, CLAIMS).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let other_header = b64::url(HEADER.replace("k1", "k2").as_bytes());
    let other_claims = b64::url(CLAIMS.replace("1764", "1964").as_bytes());
    let other_signature = b64::url(&OTHER.sign(Algorithm::Rs256, b"x").unwrap());
    for forged in [
        format!("{other_header}.{}.{}", parts[1], parts[2]),
        format!("{}.{other_claims}.{}", parts[0], parts[2]),
        format!("{}.{}.{other_signature}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
    ] {
        assert_eq!(strict_error(&forged), JwsError::BadSignature);
        assert_eq!(lax_error(&forged), JwsError::BadSignature);
    }
    let parsed = Unverified::parse(&token, MAX_TOKEN_BYTES).unwrap();
    assert_eq!(parsed.verify(OTHER.public(), &rs256()).unwrap_err(), JwsError::BadSignature);
    assert_eq!(LaxAssertion::parse(&token).unwrap().verify(OTHER.public()).unwrap_err(), JwsError::BadSignature);
}

#[test]
fn d25_alg_none_is_refused() {
    for alg in ["none", "None", "NONE", "", "rs256", "RS512", "ES256", "EdDSA"] {
        let header = json!({"typ": "JWT", "alg": alg}).to_string();
        let unsigned = format!("{}.{}.", b64::url(header.as_bytes()), b64::url(CLAIMS.as_bytes()));
        for token in [unsigned, with_header(&header)] {
            assert_eq!(strict_error(&token), JwsError::AlgorithmRefused, "{alg}");
            // Other issuers sign with it.
            let is_read = alg == "ES256";
            assert_eq!(LaxAssertion::parse(&token).is_ok(), is_read, "{alg}");
            match LaxAssertion::parse(&token) {
                Ok(read) => assert_eq!(read.verify(key()).unwrap_err(), JwsError::BadSignature),
                Err(error) => assert_eq!(error, JwsError::AlgorithmRefused, "{alg}"),
            }
        }
    }
    for header in [r#"{"typ":"JWT"}"#, r#"{"typ":"JWT","alg":null}"#, r#"{"typ":"JWT","alg":["RS256"]}"#] {
        assert_eq!(strict_error(&with_header(header)), JwsError::AlgorithmRefused);
        assert_eq!(lax_error(&with_header(header)), JwsError::AlgorithmRefused);
    }
}

#[test]
fn d25_the_public_key_does_not_serve_as_an_hmac_secret() {
    let header = b64::url(br#"{"typ":"JWT","alg":"HS256"}"#);
    let input = format!("{header}.{}", b64::url(CLAIMS.as_bytes()));
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", b64::standard(key().spki_der()));
    for secret in [key().spki_der(), pem.as_bytes(), key().n()] {
        let token = format!("{input}.{}", b64::url(&hash::hmac_sha256(secret, input.as_bytes())));
        assert_eq!(strict_error(&token), JwsError::AlgorithmRefused);
        assert_eq!(lax_error(&token), JwsError::AlgorithmRefused);
    }
}

#[test]
fn d25_a_key_brought_by_the_token_is_not_used() {
    let jwk = json!({"kty": "RSA", "n": OTHER.public().rsa().unwrap().n_base64url(), "e": "AQAB"});
    let header = json!({"typ": "JWT", "alg": "RS256", "jwk": jwk, "jku": "https://evil.example/keys",
        "x5u": "https://evil.example/cert"});
    let token = sign_compact(&OTHER, Algorithm::Rs256, &header.to_string(), CLAIMS).unwrap();
    assert_eq!(strict_error(&token), JwsError::BadSignature);
    assert_eq!(lax_error(&token), JwsError::BadSignature);
}

#[test]
fn the_strict_reader_takes_rs256_from_the_allow_list_only() {
    let token = sign_compact(&SIGNER, Algorithm::Rs256, HEADER, CLAIMS).unwrap();
    let parsed = Unverified::parse(&token, MAX_TOKEN_BYTES).unwrap();
    assert_eq!(parsed.verify(key(), &[]).unwrap_err(), JwsError::AlgorithmRefused);
    assert_eq!(parsed.verify(key(), &[Algorithm::Ps256]).unwrap_err(), JwsError::AlgorithmRefused);
    assert!(parsed.verify(key(), &[Algorithm::Ps256, Algorithm::Rs256]).is_ok());

    let header = HEADER.replace("RS256", "PS256");
    let token = sign_compact(&SIGNER, Algorithm::Ps256, &header, CLAIMS).unwrap();
    assert_eq!(strict_error(&token), JwsError::AlgorithmRefused);
    assert!(LaxAssertion::parse(&token).unwrap().verify(key()).is_ok());
}

#[test]
fn the_strict_reader_refuses_every_loosened_form() {
    let (header, claims) = (b64::url(HEADER.as_bytes()), b64::url(CLAIMS.as_bytes()));
    let token = signed(Algorithm::Rs256, &header, &claims);
    let encoding = |segment| JwsError::Encoding { segment };
    // One byte more than a multiple of three: these would carry padding.
    let padded_header = format!("{}==", b64::url(format!("{HEADER}{}", pad_to(HEADER, 1)).as_bytes()));
    let padded_claims = format!("{}==", b64::url(format!("{CLAIMS}{}", pad_to(CLAIMS, 1)).as_bytes()));
    assert_eq!(strict_error(&signed(Algorithm::Rs256, &padded_header, &claims)), encoding("header"));
    assert_eq!(strict_error(&signed(Algorithm::Rs256, &header, &padded_claims)), encoding("payload"));
    assert_eq!(strict_error(&format!("{token}==")), encoding("signature"));
    assert_eq!(strict_error(&format!(" {token}")), encoding("header"));
    assert_eq!(strict_error(&format!("{token}\n")), encoding("signature"));
    for cut in ["", ".", "a.b", "a.b.c.d", "...", &format!("{token}.x"), "no dots at all"] {
        assert_eq!(strict_error(cut), JwsError::NotCompact, "{cut}");
    }
    for typ in [r#""at+jwt""#, r#""jwt""#, "null", "1"] {
        let header = format!(r#"{{"typ":{typ},"alg":"RS256"}}"#);
        assert_eq!(strict_error(&with_header(&header)), JwsError::TypeRefused, "{typ}");
    }
    assert_eq!(strict_error(&with_header(r#"{"alg":"RS256"}"#)), JwsError::TypeRefused);
    assert_eq!(
        strict_error(&with_header(r#"{"typ":"JWT","alg":"RS256","kid":7}"#)),
        JwsError::Header { member: "kid" }
    );
}

/// Spaces that bring a JSON text's length to `remainder` modulo three.
fn pad_to(text: &str, remainder: usize) -> String {
    " ".repeat((3 + remainder - text.len() % 3) % 3)
}

#[test]
fn an_extension_nobody_understands_is_refused_by_both() {
    let header = r#"{"typ":"JWT","alg":"RS256","crit":["b64"],"b64":false}"#;
    let refused = JwsError::Header { member: "crit" };
    assert_eq!(strict_error(&with_header(header)), refused);
    assert_eq!(lax_error(&with_header(header)), refused);
}

#[test]
fn d28_a_repeated_member_is_refused_by_both() {
    let repeated = |segment| JwsError::Json { segment, reason: "a member appears twice" };
    for header in [
        r#"{"typ":"JWT","alg":"RS256","alg":"none"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"a","\u006bid":"b"}"#,
        r#"{"typ":"JWT","alg":"RS256","x":{"y":1,"y":2}}"#,
    ] {
        assert_eq!(strict_error(&with_header(header)), repeated("header"));
        assert_eq!(lax_error(&with_header(header)), repeated("header"));
    }
    let claims = b64::url(br#"{"sub":"a","sub":"b"}"#);
    let token = signed(Algorithm::Rs256, &b64::url(HEADER.as_bytes()), &claims);
    assert_eq!(strict_error(&token), repeated("payload"));
    assert_eq!(lax_error(&token), repeated("payload"));
}

#[test]
fn d34_depth_and_length_are_limited() {
    let nested = |depth: usize| {
        // The outer object is one level, each array another.
        let claims = format!(r#"{{"a":{}1{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        signed(Algorithm::Rs256, &b64::url(HEADER.as_bytes()), &b64::url(claims.as_bytes()))
    };
    let at_limit = nested(MAX_JSON_DEPTH);
    assert!(Unverified::parse(&at_limit, MAX_TOKEN_BYTES).unwrap().verify(key(), &rs256()).is_ok());
    assert!(LaxAssertion::parse(&at_limit).is_ok());
    for depth in [MAX_JSON_DEPTH + 1, 4000] {
        let too_deep = JwsError::Json { segment: "payload", reason: "nested too deeply" };
        assert_eq!(strict_error(&nested(depth)), too_deep);
        assert_eq!(lax_error(&nested(depth)), too_deep);
    }
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    assert_eq!(lax_error(&long), JwsError::TooLong { limit: MAX_TOKEN_BYTES });
    assert_eq!(Unverified::parse(&long, usize::MAX).unwrap_err(), JwsError::TooLong { limit: MAX_TOKEN_BYTES });
    assert_eq!(Unverified::parse(&at_limit, 100).unwrap_err(), JwsError::TooLong { limit: 100 });
}

#[test]
fn json_that_is_not_one_object_is_refused() {
    for (header, reason) in [
        ("[]", "not an object"),
        ("\"RS256\"", "not an object"),
        ("{} {}", "text follows the object"),
        ("{", "not well-formed"),
        ("", "not well-formed"),
    ] {
        assert_eq!(strict_error(&with_header(header)), JwsError::Json { segment: "header", reason }, "{header}");
    }
    let not_utf8 = signed(Algorithm::Rs256, &b64::url(b"{\"a\":\"\xff\"}"), &b64::url(b"{}"));
    assert_eq!(lax_error(&not_utf8), JwsError::Json { segment: "header", reason: "not well-formed" });
}

/// What each client library sends, rebuilt by hand: algorithm, header, payload, and whether the segments are padded.
mod dialects {
    use super::*;

    const SHA1: [u8; 20] = [0xfb; 20];
    const SHA256: [u8; 32] = [0xfb; 32];

    /// Base64url *with* padding, as Python's `urlsafe_b64encode` writes it.
    fn url_padded(bytes: &[u8]) -> String {
        b64::standard(bytes).replace('+', "-").replace('/', "_")
    }

    fn assertion(alg: Algorithm, header: &Value, claims: &Value, padded: bool) -> LaxAssertion {
        let encode = |bytes: &[u8]| if padded { url_padded(bytes) } else { b64::url(bytes) };
        let input = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let token = format!("{input}.{}", encode(&SIGNER.sign(alg, input.as_bytes()).unwrap()));
        assert_eq!(token.contains('='), padded, "the fixture must be what it claims to be");
        let parsed = LaxAssertion::parse(&token).unwrap();
        assert_eq!(parsed.alg, alg);
        assert_eq!(parsed.unverified_issuer(), Some("c"));
        assert_eq!(parsed.verify(OTHER.public()).unwrap_err(), JwsError::BadSignature);
        let verified = parsed.verify(key()).unwrap();
        assert_eq!(Value::Object(verified.claims.clone()), *claims);
        assert_eq!(verified.claims::<Value>().unwrap(), *claims);
        parsed
    }

    fn header(alg: &str, member: &str, value: impl Into<Value>) -> Value {
        let mut header = json!({"typ": "JWT", "alg": alg});
        header[member] = value.into();
        header
    }

    #[test]
    fn python_with_padded_x5t_and_fractional_dates() {
        let claims = json!({"iss": "c", "sub": "c", "iat": 1_763_700_000.625, "exp": 1_763_700_600.625});
        let parsed = assertion(Algorithm::Rs256, &header("RS256", "x5t", url_padded(&SHA1)), &claims, false);
        assert_eq!(parsed.x5t, Some(SHA1));
        assert_eq!(parsed.x5t_s256, None);
        assert!(parsed.x5c.is_empty());
    }

    #[test]
    fn python_asynchronous_with_padding_on_all_segments() {
        // Lengths chosen so that each of the three segments ends in padding.
        let claims = json!({"iss": "c", "sub": "c", "exp": 1_763_701_800, "nbf": 1_763_700_000});
        let mut header = header("PS256", "x5t#S256", url_padded(&SHA256));
        header["kid"] = json!("pad");
        for text in [header.to_string(), claims.to_string()] {
            assert_ne!(text.len() % 3, 0, "fixture would not be padded: {text}");
        }
        let parsed = assertion(Algorithm::Ps256, &header, &claims, true);
        assert_eq!(parsed.x5t_s256, Some(SHA256));
        assert_eq!(parsed.kid.as_deref(), Some("pad"));
    }

    #[test]
    fn node_with_unpadded_sha256_thumbprint() {
        let claims = json!({"iss": "c", "sub": "c", "nbf": 1, "iat": 1, "exp": 601});
        let parsed = assertion(Algorithm::Ps256, &header("PS256", "x5t#S256", b64::url(&SHA256)), &claims, false);
        assert_eq!(parsed.x5t_s256, Some(SHA256));
    }

    #[test]
    fn go_and_rust_with_standard_base64_thumbprints() {
        let claims = json!({"iss": "c", "sub": "c", "nbf": 1, "exp": 601});
        let go = assertion(Algorithm::Ps256, &header("PS256", "x5t#S256", b64::standard(&SHA256)), &claims, false);
        assert!(b64::standard(&SHA256).contains('+'), "the fixture must need the standard alphabet");
        assert_eq!(go.x5t_s256, Some(SHA256));
        let rust = assertion(Algorithm::Rs256, &header("RS256", "x5t", b64::standard(&SHA1)), &claims, false);
        assert_eq!(rust.x5t, Some(SHA1));
    }

    #[test]
    fn dotnet_with_text_dates_and_x5c_as_bare_text() {
        let claims = json!({"iss": "c", "sub": "c", "nbf": "1763700000", "exp": "1763700600"});
        let mut header = header("PS256", "x5t#S256", b64::url(&SHA256));
        header["x5c"] = json!(b64::standard(b"leaf certificate"));
        let parsed = assertion(Algorithm::Ps256, &header, &claims, false);
        assert_eq!(parsed.x5c, [b"leaf certificate"]);
    }

    #[test]
    fn java_with_rs256_beside_a_sha256_thumbprint_and_an_array_audience() {
        let claims = json!({"iss": "c", "sub": "c", "aud": ["https://a", "https://b"], "nbf": 1, "exp": 601});
        let parsed = assertion(Algorithm::Rs256, &header("RS256", "x5t#S256", b64::url(&SHA256)), &claims, false);
        assert_eq!(parsed.x5t_s256, Some(SHA256));
    }

    #[test]
    fn the_command_line_client_with_line_breaks_inside_x5c() {
        let (leaf, issuer) = ([0x30; 100], [0x31; 70]);
        let broken = |bytes: &[u8]| {
            let text = b64::standard(bytes);
            text.as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap() + "\n").collect::<String>()
        };
        assert_eq!(broken(&leaf).matches('\n').count(), 3);
        let claims = json!({"iss": "c", "sub": "c", "iat": 1.5, "exp": 601.5});
        let mut header = header("RS256", "x5t", url_padded(&SHA1));
        header["x5c"] = json!([broken(&leaf), broken(&issuer)]);
        let parsed = assertion(Algorithm::Rs256, &header, &claims, false);
        assert_eq!(parsed.x5c, [leaf.to_vec(), issuer.to_vec()]);
    }

    #[test]
    fn rust_with_base64_of_pem_text() {
        let pem = |bytes: &[u8]| {
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", b64::standard(bytes))
        };
        let claims = json!({"iss": "c", "sub": "c", "nbf": 1, "exp": 301});
        let mut header = header("RS256", "x5t", b64::standard(&SHA1));
        header["x5c"] = json!([b64::standard(pem(b"leaf").as_bytes()), b64::standard(pem(b"issuer").as_bytes())]);
        let parsed = assertion(Algorithm::Rs256, &header, &claims, false);
        assert_eq!(parsed.x5c, [b"leaf".to_vec(), b"issuer".to_vec()]);

        header["x5c"] = json!(b64::standard(format!("{}{}", pem(b"leaf"), pem(b"issuer")).as_bytes()));
        let parsed = assertion(Algorithm::Rs256, &header, &claims, false);
        assert_eq!(parsed.x5c, [b"leaf".to_vec(), b"issuer".to_vec()]);
    }

    #[test]
    fn thumbprints_and_certificates_that_mean_nothing_are_refused() {
        let refused = |member: &'static str, value: Value| {
            let header = header("RS256", member, value);
            assert_eq!(lax_error(&with_header(&header.to_string())), JwsError::Header { member });
        };
        refused("x5t", json!(b64::url(&SHA256)));
        refused("x5t", json!("!!"));
        refused("x5t", json!(5));
        refused("x5t#S256", json!(b64::url(&SHA1)));
        refused("x5c", json!({"leaf": "x"}));
        refused("x5c", json!([1]));
        refused("x5c", json!(["not base64!"]));
        refused("x5c", json!(b64::standard(b"-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n")));
        refused("x5c", json!(vec!["AAAA"; MAX_X5C_CERTIFICATES + 1]));
        refused("kid", json!(["k"]));
    }

    #[test]
    fn more_padding_than_base64_has_is_refused() {
        let (header, claims) = (b64::url(br#"{"alg":"RS256"}"#), b64::url(b"{}"));
        let token = signed(Algorithm::Rs256, &header, &claims);
        assert_eq!(lax_error(&format!("{token}===")), JwsError::Encoding { segment: "signature" });
        assert_eq!(lax_error(&signed(Algorithm::Rs256, &header, "e=30")), JwsError::Encoding { segment: "payload" });
    }
}

proptest! {
    #[test]
    fn d32_no_text_makes_a_reader_panic(text in ".{0,200}") {
        let _ = Unverified::parse(&text, MAX_TOKEN_BYTES);
        let _ = LaxAssertion::parse(&text);
    }

    #[test]
    fn d32_no_header_makes_a_reader_panic(header in "[ -~]{0,80}", payload: Vec<u8>, signature: Vec<u8>) {
        let token =
            format!("{}.{}.{}", b64::url(header.as_bytes()), b64::url(&payload), b64::url(&signature));
        let _ = Unverified::parse(&token, MAX_TOKEN_BYTES);
        let _ = LaxAssertion::parse(&token);
    }

    #[test]
    fn d32_no_x5c_makes_the_lax_reader_panic(entry: Vec<u8>, armour: bool) {
        let mut bytes = entry;
        if armour {
            bytes.splice(0..0, *b"-----BEGIN CERTIFICATE-----\n");
        }
        let header = json!({"alg": "RS256", "x5c": [b64::standard(&bytes)]}).to_string();
        let _ = LaxAssertion::parse(&format!("{}.{}.", b64::url(header.as_bytes()), b64::url(b"{}")));
    }

    #[test]
    fn what_is_signed_is_read_back(text in ".{0,100}", number: i64) {
        let claims = json!({"text": text, "number": number});
        let token = sign_compact(&SIGNER, Algorithm::Rs256, HEADER, &claims.to_string()).unwrap();
        let verified = Unverified::parse(&token, MAX_TOKEN_BYTES).unwrap().verify(key(), &[Algorithm::Rs256]).unwrap();
        prop_assert_eq!(&verified.claims, &claims);
        let lax = LaxAssertion::parse(&token).unwrap().verify(key()).unwrap();
        prop_assert_eq!(Value::Object(lax.claims), claims);
    }
}
