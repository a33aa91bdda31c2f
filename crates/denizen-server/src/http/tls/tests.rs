//! Pairs that are good, broken, another's, over and not begun; names.

use denizen_keys::ca::{DevCa, SanEntry};

use super::*;

const NOW: UnixTime = UnixTime(1_795_239_900);
const DAY: i64 = 24 * 3600;

fn issued(now: UnixTime) -> (String, SecretString) {
    let ca = DevCa::generate("test", now.0).unwrap();
    let names = [SanEntry::Dns("localhost".into()), SanEntry::Dns("*.vault.denizen.test".into())];
    let server = ca.issue_server(&names, now.0, 90).unwrap();
    (server.chain_pem(), server.key_pem())
}

#[test]
fn a_pair_is_read_and_says_its_time_and_its_names() {
    let (chain, key) = issued(NOW);
    let pair = Pair::read(&chain, &key).unwrap();
    assert_eq!(pair.check_time(NOW), Ok(()));
    assert!(matches!(pair.check_time(NOW + 91 * DAY), Err(BadPair::Expired(at)) if at == pair.not_after()));
    assert!(matches!(pair.check_time(NOW - DAY), Err(BadPair::NotYet(_))));
    for (host, is_for) in [
        ("localhost", true),
        ("main.vault.denizen.test", true),
        ("vault.denizen.test", false),
        ("a.b.vault.denizen.test", false),
        ("127.0.0.1", false),
        ("[::1]", false),
        ("not a name", false),
    ] {
        assert_eq!(pair.is_for(host), is_for, "{host}");
    }
}

#[test]
fn what_cannot_be_served_is_refused_by_its_rule_and_not_shown() {
    const MARKER: &str = "TUFSS0VSLWh1bnRlcjI=";
    let ((chain, key), (other, _)) = (issued(NOW), issued(NOW));
    let damaged = format!("-----BEGIN PRIVATE KEY-----\n{MARKER}\n-----END PRIVATE KEY-----\n");
    let cases = [
        (other.as_str(), key.clone(), BadPair::Mismatch),
        ("", key.clone(), BadPair::Chain),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key.clone(), BadPair::Chain),
        (key.expose(), key.clone(), BadPair::Chain),
        (chain.as_str(), SecretString::from(chain.clone()), BadPair::Key),
        (chain.as_str(), SecretString::from(MARKER), BadPair::Key),
        (chain.as_str(), SecretString::from(damaged), BadPair::Kind),
    ];
    for (chain, key, expected) in cases {
        let error = Pair::read(chain, &key).unwrap_err();
        assert_eq!(error, expected);
        let printed = format!("{error} {error:?}");
        assert!(!printed.contains(MARKER) && !printed.contains("hunter2"), "{printed}");
    }
}

#[test]
fn a_replaced_pair_is_shown_and_said() {
    let ((chain, key), (later, later_key)) = (issued(NOW), issued(NOW + DAY));
    let (one, two) = (Pair::read(&chain, &key).unwrap(), Pair::read(&later, &later_key).unwrap());
    let health = TlsHealth::default();
    assert_eq!(health.not_after(), None);
    let certificates = Certificates::new(&one, health.clone());
    assert_eq!(health.not_after(), Some(one.not_after()));
    certificates.replace(&two);
    assert_eq!(health.not_after(), Some(two.not_after()));
    assert!(Arc::ptr_eq(&certificates.current.load_full(), &two.certified));
    health.refused();
    assert_eq!(health.failures(), 1);
}
