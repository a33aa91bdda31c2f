//! The authority before the eyes of a TLS client's own verifier, and before our own checks.

use super::*;
use rustls::CertificateError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::Duration;

const NOW: i64 = 1_763_700_000;

fn dns(name: &str) -> SanEntry {
    SanEntry::Dns(name.to_owned())
}

fn ip(address: &str) -> SanEntry {
    SanEntry::Ip(address.parse().unwrap())
}

/// Asks the verifier a TLS client would use, trusting `ca` alone.
fn verified(ca: &DevCa, chain: &[Vec<u8>], name: &str, at: i64) -> Result<(), rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(ca.certificate().der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let chain: Vec<CertificateDer<'_>> = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap()));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at).map(|_| ())
}

#[test]
fn a_tls_client_accepts_every_name_that_was_asked_for() {
    let ca = DevCa::generate("Denizen development CA", NOW).unwrap();
    let names = [dns("localhost"), dns("vault.denizen.test"), dns("*.vault.denizen.test"), ip("127.0.0.1"), ip("::1")];
    let chain = ca.issue_server(&names, NOW, 90).unwrap().chain_der();
    for name in ["localhost", "vault.denizen.test", "my.vault.denizen.test", "127.0.0.1", "::1"] {
        assert_eq!(verified(&ca, &chain, name, NOW), Ok(()), "{name}");
        assert_eq!(verified(&ca, &chain, name, NOW - 60), Ok(()), "a clock one minute behind");
    }
    let only_ip = ca.issue_server(&[ip("127.0.0.1")], NOW, 90).unwrap().chain_der();
    assert_eq!(verified(&ca, &only_ip, "127.0.0.1", NOW), Ok(()));
}

#[test]
fn d07_a_tls_client_refuses_wrong_host_expired_and_foreign_authority() {
    let ca = DevCa::generate("Denizen development CA", NOW).unwrap();
    let chain = ca.issue_server(&[dns("localhost")], NOW, 90).unwrap().chain_der();
    let wrong_host = verified(&ca, &chain, "other.denizen.test", NOW).unwrap_err();
    assert!(matches!(wrong_host, rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })));
    let expired = verified(&ca, &chain, "localhost", NOW + 91 * DAY).unwrap_err();
    assert!(matches!(expired, rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. })));
    // The same name and dates, another key: only the signature tells them apart.
    let other = DevCa::generate("Denizen development CA", NOW).unwrap();
    assert!(verified(&other, &chain, "localhost", NOW).is_err());
}

#[test]
fn the_constraints_bind_clients_even_if_we_forgot_to_check() {
    let ca = DevCa::generate("Denizen development CA", NOW).unwrap();
    let forge = |san: SanType| {
        let key = EcKey::generate().unwrap();
        let mut params = x509::params("Denizen server", NOW, NOW + DAY).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![san];
        vec![params.signed_by(&key, &ca.issuer().unwrap()).unwrap().der().to_vec()]
    };
    // The forgery itself is sound: with a permitted name it passes.
    let sound = forge(SanType::DnsName("localhost".try_into().unwrap()));
    assert_eq!(verified(&ca, &sound, "localhost", NOW + 1), Ok(()));
    let outside_dns = forge(SanType::DnsName("login.microsoftonline.com".try_into().unwrap()));
    let error = verified(&ca, &outside_dns, "login.microsoftonline.com", NOW + 1).unwrap_err();
    assert!(format!("{error:?}").contains("NameConstraintViolation"), "{error:?}");
    let outside_ip = forge(SanType::IpAddress("10.0.0.1".parse().unwrap()));
    let error = verified(&ca, &outside_ip, "10.0.0.1", NOW + 1).unwrap_err();
    assert!(format!("{error:?}").contains("NameConstraintViolation"), "{error:?}");
}

#[test]
fn d33_a_certificate_signed_by_a_leaf_is_refused() {
    let ca = DevCa::generate("Denizen development CA", NOW).unwrap();
    let leaf = ca.issue_server(&[dns("localhost")], NOW, 90).unwrap();
    let leaf_key = EcKey::from_pkcs8(&leaf.key).unwrap();
    let nested = |is_ca: IsCa| {
        let key = EcKey::generate().unwrap();
        let mut params = x509::params("nested", NOW, NOW + DAY).unwrap();
        params.is_ca = is_ca;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
        let issuer = x509::params("Denizen server", NOW, NOW + DAY).unwrap();
        params.signed_by(&key, &Issuer::new(issuer, &leaf_key)).unwrap().der().to_vec()
    };
    let chain = [nested(IsCa::NoCa), leaf.chain[0].der().to_vec()];
    let error = verified(&ca, &chain, "localhost", NOW + 1).unwrap_err();
    assert!(format!("{error:?}").contains("EndEntityUsedAsCa"), "{error:?}");
}

#[test]
fn names_outside_the_constraints_are_refused_at_once() {
    let ca = DevCa::generate("Denizen development CA", NOW).unwrap();
    for name in [
        dns("example.com"),
        dns("denizen.test.example.com"),
        dns("notdenizen.test"),
        dns("notlocalhost"),
        dns(""),
        dns("."),
        dns(".localhost"),
        dns("a..denizen.test"),
        dns("a b.denizen.test"),
        dns("*.*.denizen.test"),
        dns("-a.denizen.test"),
        dns("*"),
        ip("10.0.0.1"),
        ip("128.0.0.1"),
        ip("::2"),
        ip("::ffff:127.0.0.1"),
    ] {
        let refused = ca.issue_server(&[dns("localhost"), name.clone()], NOW, 90);
        assert!(matches!(refused, Err(KeyError::NameNotPermitted { .. })), "{name:?}");
    }
    assert!(ca.issue_server(&[dns("LOCALHOST"), dns("A.Denizen.Test"), ip("127.1.2.3")], NOW, 90).is_ok());
    assert!(matches!(ca.issue_server(&[], NOW, 90), Err(KeyError::Certificate(_))));
}

#[test]
fn dates_stay_within_the_authority() {
    let ca = DevCa::generate("Denizen development CA", NOW).unwrap();
    assert_eq!(ca.certificate().not_before(), NOW - BACKDATED_SECONDS);
    assert_eq!(ca.certificate().not_after(), NOW + CA_DAYS * DAY);
    let leaf = |now, days| ca.issue_server(&[dns("localhost")], now, days);
    assert_eq!(leaf(NOW, 90).unwrap().chain[0].not_after(), NOW + 90 * DAY);
    assert_eq!(leaf(NOW, u32::MAX).unwrap().chain[0].not_after(), ca.certificate().not_after());
    assert!(matches!(leaf(NOW, 0), Err(KeyError::Certificate(_))));
    assert!(matches!(leaf(ca.certificate().not_after(), 90), Err(KeyError::Certificate(_))));
    assert!(matches!(leaf(i64::MAX, 90), Err(KeyError::Certificate(_))));
}

#[test]
fn an_authority_is_taken_up_again_and_only_with_its_own_key() {
    let ca = DevCa::generate("Denizen development CA", NOW).unwrap();
    let again = DevCa::from_parts(ca.ca_pem(), ca.key()).unwrap();
    let chain = again.issue_server(&[dns("localhost")], NOW, 90).unwrap().chain_der();
    assert_eq!(verified(&ca, &chain, "localhost", NOW), Ok(()));

    let other = DevCa::generate("Denizen development CA", NOW).unwrap();
    let error = DevCa::from_parts(ca.ca_pem(), other.key()).unwrap_err();
    assert_eq!(error, KeyError::Certificate("it does not belong to this key"));
    // A leaf, or an authority without constraints, is not taken for one.
    let leaf = ca.issue_server(&[dns("localhost")], NOW, 90).unwrap();
    assert!(matches!(DevCa::from_parts(&leaf.chain_pem(), &leaf.key), Err(KeyError::Certificate(_))));
    let mut params = x509::params("free", NOW, NOW + DAY).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let free = Certificate::from_der(params.self_signed(&ca.key).unwrap().der()).unwrap();
    assert!(matches!(DevCa::from_parts(&free.pem(), ca.key()), Err(KeyError::Certificate(_))));
}

#[test]
fn what_is_issued_has_the_promised_extensions() {
    let ca = DevCa::generate("Denizen development CA", NOW).unwrap();
    let (_, parsed) = X509Certificate::from_der(ca.certificate().der()).unwrap();
    let basic = parsed.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && basic.value.ca);
    assert_eq!(basic.value.path_len_constraint, Some(0));
    let usage = parsed.key_usage().unwrap().unwrap();
    assert!(
        usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign() && !usage.value.digital_signature()
    );
    let names = parsed.name_constraints().unwrap().unwrap();
    assert!(names.critical);
    assert_eq!(names.value.permitted_subtrees.as_ref().unwrap().len(), 4);

    let leaf = ca.issue_server(&[dns("localhost"), ip("127.0.0.1")], NOW, 90).unwrap();
    let (_, parsed) = X509Certificate::from_der(leaf.chain[0].der()).unwrap();
    assert!(!parsed.is_ca());
    let purposes = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && !purposes.client_auth && !purposes.any);
    assert_eq!(parsed.raw_serial().len(), 16);
    assert_eq!(parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 2);
}

#[test]
fn d09_keys_are_not_printed() {
    let ca = DevCa::generate("Denizen development CA", NOW).unwrap();
    let leaf = ca.issue_server(&[dns("localhost")], NOW, 90).unwrap();
    let text = format!("{ca:?} {leaf:?}");
    assert!(text.contains("Denizen development CA"));
    for key in [ca.key(), &leaf.key] {
        assert!(!text.contains(&crate::hash::hex(key.expose())) && !text.contains(&format!("{:?}", key.expose())));
    }
    assert!(leaf.key_pem().expose().starts_with("-----BEGIN PRIVATE KEY-----\nMIG"));
}
