//! Keys in a token of SoftHSM's: what is made there and fails to be used is destroyed there.

use denizen_keys::{SecretString, pkcs11::Token};
use denizen_test_softhsm::{Child, LABEL, PIN, in_child};

use super::{
    fixture::{Deployment, FABRIKAM, KEY_ENCRYPTION_KEYS, NOW, deployment},
    *,
};

use SigningAlgorithm::{Es256, Rs256};

/// Both halves of a key.
const HALVES: usize = 2;

fn token(hsm: &Child) -> Token {
    Token::of_module(hsm.module(), LABEL, &SecretString::from(PIN)).unwrap()
}

/// The same store's keys in another custody.
fn ring(deployment: &Deployment, custody: Custody) -> KeyRing {
    KeyRing::in_custody(deployment.store.clone(), KEY_ENCRYPTION_KEYS.clone(), custody)
}

/// Keys in a token that makes none of elliptic curves.
fn ring_of_rsa_token(deployment: &Deployment, hsm: &Child) -> KeyRing {
    let custody = Custody::in_token(token(hsm));
    let mut ring = ring(deployment, custody.clone());
    Arc::get_mut(&mut ring.ring).unwrap().make_key = Arc::new(move |kind| match kind {
        KeyKind::Rsa2048 => custody.make(kind),
        KeyKind::EcP256 => Err(KeyError::Generation),
    });
    ring
}

/// What signs by this algorithm.
fn sign(deployment: &Deployment, ring: &KeyRing, algorithm: SigningAlgorithm) -> Result<String, SigningError> {
    let keys = ring.keys(&deployment.store.snapshot(), FABRIKAM).unwrap();
    keys.sign("{}", TokenVersion::V2, algorithm, NOW).map(|signed| signed.kid)
}

/// What a test is called where it runs again.
macro_rules! hsm {
    ($test:literal) => {
        match in_child(concat!("app::signing::device_tests::", $test)) {
            Some(hsm) => hsm,
            None => return,
        }
    };
}

#[tokio::test]
async fn a_device_without_elliptic_curves_has_rs256_keys_and_keeps_nothing_else() {
    let hsm = hsm!("a_device_without_elliptic_curves_has_rs256_keys_and_keeps_nothing_else");
    let d = deployment().await;
    let ring = ring_of_rsa_token(&d, &hsm);
    for _ in 0..2 {
        ring.ensure_keys(&d.auth(FABRIKAM, NOW)).await.unwrap();
        assert_eq!((d.signing_keys(FABRIKAM).len(), hsm.objects()), (2, 2 * HALVES));
    }
    let first = sign(&d, &ring, Rs256).unwrap();
    assert!(matches!(sign(&d, &ring, Es256), Err(SigningError::NoKey)));

    ring.rotate(&d.auth(FABRIKAM, NOW)).await.unwrap();
    assert_eq!((d.signing_keys(FABRIKAM).len(), hsm.objects()), (3, 3 * HALVES));
    let second = sign(&d, &ring, Rs256).unwrap();
    assert_ne!(first, second);
    ring.replace_all(&d.auth(FABRIKAM, NOW)).await.unwrap();
    assert_eq!((d.signing_keys(FABRIKAM).len(), hsm.objects()), (2, 2 * HALVES));
    assert_ne!(sign(&d, &ring, Rs256).unwrap(), second);
}

#[tokio::test]
async fn keys_of_an_algorithm_that_cannot_be_replaced_leave_in_an_emergency_and_it_is_said() {
    let hsm = hsm!("keys_of_an_algorithm_that_cannot_be_replaced_leave_in_an_emergency_and_it_is_said");
    let d = deployment().await;
    d.keys.ensure_keys(&d.auth(FABRIKAM, NOW)).await.unwrap();
    let before = d.signing_keys(FABRIKAM);
    let ring = ring_of_rsa_token(&d, &hsm);
    let said = ring.rotate(&d.auth(FABRIKAM, NOW)).await.unwrap_err();
    assert!(matches!(said, SigningError::Partly("ES256", _)), "{said}");
    let es256 = |keys: Vec<Arc<SigningKey>>| keys.into_iter().filter(|key| key.alg == Es256).collect::<Vec<_>>();
    assert_eq!(es256(d.signing_keys(FABRIKAM)), es256(before), "as they were");
    assert_eq!(hsm.objects(), HALVES);

    let said = ring.replace_all(&d.auth(FABRIKAM, NOW)).await.unwrap_err();
    assert!(matches!(said, SigningError::Partly("ES256", _)), "{said}");
    assert_eq!(es256(d.signing_keys(FABRIKAM)), [], "they may be in other hands");
    assert_eq!((d.signing_keys(FABRIKAM).len(), hsm.objects()), (2, 2 * HALVES));
}

#[tokio::test]
async fn a_key_that_is_made_and_gets_no_certificate_is_destroyed() {
    let hsm = hsm!("a_key_that_is_made_and_gets_no_certificate_is_destroyed");
    let d = deployment().await;
    let ring = ring(&d, Custody::in_token(token(&hsm)));
    // No certificate can say that year.
    let late = UnixTime(300_000_000_000);
    let said = ring.ensure_keys(&d.auth(FABRIKAM, late)).await.unwrap_err();
    assert!(matches!(said, SigningError::Key(KeyError::Certificate(_))), "{said}");
    assert_eq!((d.signing_keys(FABRIKAM).len(), hsm.objects()), (0, 0));
}

#[tokio::test]
async fn keys_that_are_made_for_who_went_away_are_destroyed() {
    let hsm = hsm!("keys_that_are_made_for_who_went_away_are_destroyed");
    let d = deployment().await;
    let ring = ring(&d, Custody::in_token(token(&hsm)));
    let authorization = d.auth(FABRIKAM, NOW);
    let asked = tokio::spawn(async move { ring.ensure_keys(&authorization).await });
    while hsm.objects() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    while hsm.objects() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(d.signing_keys(FABRIKAM), []);
}

#[tokio::test]
async fn a_key_that_left_while_its_device_was_away_is_destroyed_when_it_is_back() {
    let hsm = hsm!("a_key_that_left_while_its_device_was_away_is_destroyed_when_it_is_back");
    let d = deployment().await;
    let device = ring(&d, Custody::in_token(token(&hsm)));
    device.ensure_keys(&d.auth(FABRIKAM, NOW)).await.unwrap();
    let old = KeyRing::kids(&d.store.snapshot(), FABRIKAM);
    let signed = device.keys(&d.store.snapshot(), FABRIKAM).unwrap().sign("{}", TokenVersion::V2, Rs256, NOW).unwrap();

    // Also where this server has no such device at all.
    let (away, elsewhere) = (ring(&d, Custody::sealed().with_token(token(&hsm))), ring(&d, Custody::sealed()));
    hsm.remove();
    away.replace_all(&d.auth(FABRIKAM, NOW)).await.unwrap();
    let left = || {
        let mut left = KeyRing::withdrawn(&d.store.snapshot(), FABRIKAM);
        left.sort();
        left
    };
    let mut all = old.clone();
    all.sort();
    for ring in [&away, &elsewhere] {
        ring.ensure_keys(&d.auth(FABRIKAM, NOW)).await.unwrap();
        assert_eq!(left(), all, "something names what is in the device");
        // It signs and verifies nothing, whatever the clock says, and nothing is made in its place.
        for now in [NOW, UnixTime(0), NOW - 1_000_000] {
            let keys = ring.keys(&d.store.snapshot(), FABRIKAM).unwrap();
            assert!(keys.published(now).all(|key| !old.contains(&key.record.kid)));
            assert!(!old.contains(&keys.sign("{}", TokenVersion::V2, Rs256, now).unwrap().kid));
            let stored = d.signing_keys(FABRIKAM);
            assert!(stored.iter().all(|key| key.kid != signed.kid || !rotation::is_published(key, now)));
        }
        assert_eq!(KeyRing::kids(&d.store.snapshot(), FABRIKAM).len(), 4);
    }
    hsm.insert();
    assert_eq!(hsm.objects(), 4 * HALVES);
    elsewhere.ensure_keys(&d.auth(FABRIKAM, NOW)).await.unwrap();
    assert_eq!(left(), all);

    away.ensure_keys(&d.auth(FABRIKAM, NOW)).await.unwrap();
    assert_eq!((left(), hsm.objects()), (vec![], 0));
    assert_eq!(d.signing_keys(FABRIKAM).len(), 4);
}

#[tokio::test]
async fn a_key_that_leaves_by_schedule_is_destroyed_in_its_device() {
    let hsm = hsm!("a_key_that_leaves_by_schedule_is_destroyed_in_its_device");
    let d = deployment().await;
    let ring = ring(&d, Custody::in_token(token(&hsm)));
    ring.ensure_keys(&d.auth(FABRIKAM, NOW)).await.unwrap();
    ring.rotate(&d.auth(FABRIKAM, NOW)).await.unwrap();
    assert_eq!((d.signing_keys(FABRIKAM).len(), hsm.objects()), (6, 6 * HALVES));
    ring.ensure_keys(&d.auth(FABRIKAM, NOW + Policy::default().keep)).await.unwrap();
    assert_eq!((d.signing_keys(FABRIKAM).len(), hsm.objects()), (4, 4 * HALVES));
}
