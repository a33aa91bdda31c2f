//! Keys in a PKCS#11 token: SoftHSM's, in a folder of each test's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap in a test is the test's own message")]

use std::thread;

use denizen_keys::{
    Algorithm, Custody, KeyError, KeyKind, PublicKey, SecretString, Signer, jws, jws::Unverified, pkcs11::Token, x509,
};
use denizen_test_softhsm::{Child, LABEL, PIN, in_child};

fn token(hsm: &Child) -> Token {
    Token::of_module(hsm.module(), LABEL, &SecretString::from(PIN)).unwrap()
}

/// What a device said, and whether it may recover.
fn said(error: KeyError) -> (String, bool) {
    let KeyError::Device { reason, may_recover, .. } = error else { panic!("{error}") };
    (reason, may_recover)
}

#[test]
fn a_key_of_a_token_signs_tokens_and_its_certificate_and_opens_again() {
    let Some(hsm) = in_child("a_key_of_a_token_signs_tokens_and_its_certificate_and_opens_again") else { return };
    let custody = Custody::in_token(token(&hsm));
    assert_eq!(custody.check(), Ok(()));
    for (kind, alg, bytes) in [(KeyKind::Rsa2048, Algorithm::Rs256, 256), (KeyKind::EcP256, Algorithm::Es256, 64)] {
        let made = custody.make(kind).unwrap();
        assert!(made.may_wait());
        assert_eq!(made.public().token_algorithm(), alg);
        assert_eq!(made.sign(alg, b"message").unwrap().len(), bytes);
        let certificate = x509::self_signed(&made, "signs tokens", 1_800_000_000, 1_900_000_000).unwrap();
        assert_eq!(&certificate.any_public_key().unwrap(), made.public());

        // Nothing of the key is in what is kept of it, and it does not come out.
        let kept = made.kept().unwrap();
        assert!(kept.len() < 128 && !kept.expose().starts_with(&[0x30]), "{kept:?}");
        assert!(matches!(made.to_pkcs8(), Err(KeyError::PrivateKey(_))));

        let again = Custody::sealed().with_token(token(&hsm)).open(&kept, made.public()).unwrap();
        let header = format!(r#"{{"typ":"JWT","alg":"{}","kid":"k"}}"#, alg.name());
        let written = jws::sign_compact(&again, alg, &header, r#"{"sub":"x"}"#).unwrap();
        let verified = Unverified::parse(&written, 4096).unwrap().verify(made.public(), &[alg]).unwrap();
        assert_eq!(verified.claims["sub"], "x");
        // By no other algorithm than its family's.
        for other in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256].into_iter().filter(|other| *other != alg) {
            assert_eq!(again.sign(other, b"m"), Err(KeyError::Signing));
        }
    }
}

#[test]
fn many_threads_sign_at_once() {
    let Some(hsm) = in_child("many_threads_sign_at_once") else { return };
    let signer = Custody::in_token(token(&hsm)).make(KeyKind::EcP256).unwrap();
    thread::scope(|scope| {
        for n in 0..24_u8 {
            let signer = &signer;
            scope.spawn(move || {
                for m in 0..20_u8 {
                    let signature = signer.sign(Algorithm::Es256, &[n, m]).unwrap();
                    assert_eq!(signer.public().verify(Algorithm::Es256, &[n, m], &signature), Ok(()));
                }
            });
        }
    });
}

#[test]
fn a_token_that_was_away_is_logged_into_again() {
    let Some(hsm) = in_child("a_token_that_was_away_is_logged_into_again") else { return };
    let custody = Custody::in_token(token(&hsm));
    let signers: Vec<Signer> =
        [KeyKind::Rsa2048, KeyKind::EcP256].into_iter().map(|kind| custody.make(kind).unwrap()).collect();
    for _ in 0..2 {
        let sign = |signer: &Signer| signer.sign(signer.public().token_algorithm(), b"m");
        assert!(signers.iter().all(|signer| sign(signer).is_ok() && signer.check().is_ok()));
        hsm.remove();
        for signer in &signers {
            assert!(said(sign(signer).unwrap_err()).1, "it may recover");
            assert!(said(signer.check().unwrap_err()).1, "it may recover");
        }
        assert!(said(custody.check().unwrap_err()).1, "it may recover");
        assert!(custody.make(KeyKind::EcP256).is_err());
        hsm.insert();
        for signer in &signers {
            assert_eq!(signer.check(), Ok(()));
            sign(signer).unwrap();
        }
        assert_eq!(custody.check(), Ok(()));
    }
}

#[test]
fn a_destroyed_key_signs_no_more_and_leaves_the_others() {
    let Some(hsm) = in_child("a_destroyed_key_signs_no_more_and_leaves_the_others") else { return };
    let custody = Custody::in_token(token(&hsm));
    let (gone, stays) = (custody.make(KeyKind::EcP256).unwrap(), custody.make(KeyKind::EcP256).unwrap());
    gone.sign(Algorithm::Es256, b"m").unwrap();
    gone.destroy().unwrap();
    gone.destroy().unwrap();
    gone.sign(Algorithm::Es256, b"m").unwrap_err();
    let (reason, _) = said(gone.check().unwrap_err());
    assert!(reason.contains("no private key"), "{reason}");
    stays.sign(Algorithm::Es256, b"m").unwrap();
}

#[test]
fn a_key_is_not_taken_for_destroyed_while_its_token_is_away() {
    let Some(hsm) = in_child("a_key_is_not_taken_for_destroyed_while_its_token_is_away") else { return };
    let key = Custody::in_token(token(&hsm)).make(KeyKind::EcP256).unwrap();
    key.sign(Algorithm::Es256, b"m").unwrap();
    hsm.remove();
    for _ in 0..2 {
        assert!(said(key.destroy().unwrap_err()).1, "it may recover");
    }
    hsm.insert();
    assert_eq!(hsm.objects(), 2);
    key.destroy().unwrap();
    assert_eq!(hsm.objects(), 0);
}

#[test]
fn another_key_under_the_same_id_is_found_by_its_signature() {
    let Some(hsm) = in_child("another_key_under_the_same_id_is_found_by_its_signature") else { return };
    let custody = Custody::in_token(token(&hsm));
    let (ours, other) = (custody.make(KeyKind::EcP256).unwrap(), custody.make(KeyKind::EcP256).unwrap());
    let posing = custody.open(&other.kept().unwrap(), ours.public()).unwrap();
    let (reason, may_recover) = said(posing.sign(Algorithm::Es256, b"m").unwrap_err());
    assert!(reason.contains("another") && !may_recover, "{reason}");
}

#[test]
fn what_is_wrong_with_a_token_is_named() {
    let Some(hsm) = in_child("what_is_wrong_with_a_token_is_named") else { return };
    let of = |label: &str, pin: &str| Token::of_module(hsm.module(), label, &SecretString::from(pin)).unwrap();

    let (reason, may_recover) = said(of("another", PIN).check().unwrap_err());
    assert!(reason.contains("no device has a token of this label") && may_recover, "{reason}");

    // A wrong PIN is tried once, however often it is asked for: SoftHSM would not lock the token, others do.
    let wrong = of(LABEL, "wrong-pin-1");
    for _ in 0..2 {
        let (reason, may_recover) = said(wrong.check().unwrap_err());
        assert!(reason.contains("signing.pkcs11_pin_file") && !may_recover, "{reason}");
        assert!(!reason.contains("wrong-pin-1") && !format!("{wrong:?}").contains("wrong-pin-1"));
    }

    let missing = Token::of_module("/nowhere/module.so".as_ref(), LABEL, &SecretString::from(PIN)).unwrap_err();
    assert!(said(missing).0.contains("/nowhere/module.so cannot be loaded"));
    // A library, and no PKCS#11 module: the one that this program has loaded, wherever a distribution puts it.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let loaded = maps.lines().filter_map(|line| line.split_once('/').map(|(_, path)| format!("/{path}")));
    match loaded.into_iter().find(|path| ["/libc.so", "/libc-", "/ld-musl"].iter().any(|name| path.contains(name))) {
        Some(library) => {
            let other = Token::of_module(library.as_ref(), LABEL, &SecretString::from(PIN)).unwrap_err();
            assert!(said(other).0.contains("cannot be loaded"));
        }
        None => denizen_skip::skip("needs a C library that is loaded as a file of its own"),
    }

    // A key of another token than the one that is configured.
    let ours = Custody::in_token(of(LABEL, PIN)).make(KeyKind::EcP256).unwrap();
    let elsewhere = Custody::sealed().with_token(of("another", PIN));
    let (reason, _) = said(elsewhere.open(&ours.kept().unwrap(), ours.public()).unwrap_err());
    assert!(reason.contains("signing.pkcs11_token"), "{reason}");
    assert!(matches!(ours.public(), PublicKey::Ec(_)));
}
