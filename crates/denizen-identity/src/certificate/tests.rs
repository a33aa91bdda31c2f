//! Against files OpenSSL wrote: what people have.

use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};

use super::*;

/// Of the leaf in every file, as OpenSSL computes it.
const THUMBPRINT: &str = include_str!("../../tests/certificates/thumbprint.txt");
const PASSWORD: Option<&str> = Some("fixture");

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/certificates/", $name)).as_slice()
    };
}

fn why(bytes: &[u8], password: Option<&str>) -> CertificateError {
    SigningCertificate::read(bytes, password).err().unwrap()
}

#[test]
fn every_file_that_openssl_writes_is_read() {
    for (name, bytes, password, certificates) in [
        ("PKCS#1, leaf last", file!("pkcs1.pem"), None, 2),
        ("encrypted PKCS#8", file!("encrypted.pem"), PASSWORD, 1),
        ("PKCS#12", file!("modern.pfx"), PASSWORD, 2),
        ("PKCS#12 of old", file!("legacy.pfx"), PASSWORD, 1),
        ("PKCS#12 without a password", file!("nopassword.pfx"), None, 1),
    ] {
        let read = SigningCertificate::read(bytes, password).map_err(|e| e.to_string());
        let read = read.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((read.thumbprint().as_str(), read.chain.len()), (THUMBPRINT.trim(), certificates), "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    assert_eq!(why(file!("encrypted.pem"), None), CertificateError::PasswordNeeded);
    assert_eq!(why(file!("encrypted.pem"), Some("wrong")), CertificateError::NotDecrypted);
    assert_eq!(why(file!("modern.pfx"), Some("wrong")), CertificateError::NotDecrypted);
    assert_eq!(why(file!("modern.pfx"), None), CertificateError::PasswordNeeded);
    assert_eq!(why(file!("ec.pem"), None), CertificateError::EllipticCurve);
    assert_eq!(why(file!("mismatched.pem"), None), CertificateError::OtherKey);
    assert_eq!(why(b"neither", None), CertificateError::Form);
    assert_eq!(
        why(b"-----BEGIN NOTHING-----\n-----END NOTHING-----\n", None),
        CertificateError::Missing("private key")
    );
}

#[test]
fn an_assertion_is_signed_by_the_key_of_the_certificate_it_names() {
    let read = SigningCertificate::read(file!("pkcs1.pem"), None).ok().unwrap();
    let now = UnixTime(1_795_239_900);
    let jwt = read.assertion("client", "https://sts/t/oauth2/v2.0/token", now, true).unwrap();
    let mut parts = jwt.split('.');
    let mut next = || URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap();
    let (header, claims, signature) = (next(), next(), next());
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((header["alg"].as_str(), header["x5t#S256"].as_str()), (Some("PS256"), Some(THUMBPRINT.trim())));
    let leaf = STANDARD.decode(header["x5c"][0].as_str().unwrap()).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &leaf)), THUMBPRINT.trim());
    assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("client"), Some("client")));
    assert_eq!(claims["aud"], "https://sts/t/oauth2/v2.0/token");
    assert_eq!((claims["nbf"].as_i64(), claims["exp"].as_i64()), (Some(now.0), Some(now.0 + 600)));
    let signed = jwt.rsplit_once('.').unwrap().0;
    let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, read.key.public_key().as_ref());
    key.verify(signed.as_bytes(), &signature).unwrap();
    assert!(key.verify(b"something else", &signature).is_err());
}
