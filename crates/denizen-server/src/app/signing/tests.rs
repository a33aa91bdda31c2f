use denizen_keys::{Algorithm, JwsError, jws::Unverified};

use super::{
    fixture::{CONTOSO, Deployment, FABRIKAM, NOW, deployment},
    *,
};

use SigningAlgorithm::{Es256, Rs256};

fn sign(deployment: &Deployment, tenant: TenantId, now: UnixTime) -> (String, String) {
    sign_by(deployment, tenant, Rs256, now)
}

fn sign_by(deployment: &Deployment, tenant: TenantId, algorithm: SigningAlgorithm, now: UnixTime) -> (String, String) {
    let keys = deployment.keys.keys(&deployment.store.snapshot(), tenant).unwrap();
    let signed = keys.sign(r#"{"sub":"x"}"#, TokenVersion::V1, algorithm, now).unwrap();
    (signed.token, signed.kid)
}

/// How many of a tenant's keys sign by this algorithm.
fn count(deployment: &Deployment, tenant: TenantId, algorithm: SigningAlgorithm) -> usize {
    deployment.signing_keys(tenant).iter().filter(|key| key.alg == algorithm).count()
}

/// Whether one of the published keys has made the signature.
fn verifies(deployment: &Deployment, tenant: TenantId, token: &str, now: UnixTime) -> Result<(), JwsError> {
    let parsed = Unverified::parse(token, 4096).unwrap();
    let jwks = deployment.keys.jwks(&deployment.store.snapshot(), tenant, now, None).unwrap();
    let jwk = jwks.iter().find(|jwk| jwk.kid() == parsed.kid()).ok_or(JwsError::BadSignature)?;
    let public = jwk.to_public().unwrap();
    parsed.verify(&public, &[public.token_algorithm()]).map(drop)
}

#[tokio::test]
async fn two_keys_of_each_algorithm_are_published_and_the_certificate_names_them() {
    let d = deployment().await;
    let jwks = d.keys.jwks(&d.store.snapshot(), CONTOSO, NOW, Some("https://i")).unwrap();
    let algorithms: Vec<Algorithm> = jwks.iter().map(|jwk| jwk.to_public().unwrap().token_algorithm()).collect();
    assert_eq!(algorithms.len(), 4);
    assert_eq!(algorithms.iter().filter(|algorithm| **algorithm == Algorithm::Es256).count(), 2);
    for jwk in &jwks {
        let json = serde_json::to_value(jwk).unwrap();
        let der = b64::decode_standard(json["x5c"][0].as_str().unwrap()).unwrap();
        let certificate = Certificate::from_der(&der).unwrap();
        assert_eq!(jwk.kid(), Some(b64::url(&certificate.thumbprint_sha1()).as_str()));
        assert_eq!((json["x5t"].as_str(), json["issuer"].as_str()), (jwk.kid(), Some("https://i")));
        assert_eq!(certificate.any_public_key().unwrap(), jwk.to_public().unwrap());
    }
    // Nothing is due, so nothing is written.
    let writes = d.store.counters().writes;
    d.keys.ensure_keys(&d.auth(CONTOSO, NOW + 3600)).await.unwrap();
    assert_eq!(d.store.counters().writes, writes);
}

#[tokio::test]
async fn a_rotation_keeps_both_keys_live() {
    let d = deployment().await;
    let (before, old_kid) = sign(&d, CONTOSO, NOW);
    d.keys.rotate(&d.auth(CONTOSO, NOW)).await.unwrap();
    let (after, new_kid) = sign(&d, CONTOSO, NOW);
    assert_ne!(old_kid, new_kid);
    assert_eq!(verifies(&d, CONTOSO, &before, NOW), Ok(()));
    assert_eq!(verifies(&d, CONTOSO, &after, NOW), Ok(()));
    assert_eq!((count(&d, CONTOSO, Rs256), count(&d, CONTOSO, Es256)), (3, 3));

    // When every token it signed has ended, the old key goes, its private half with it.
    let later = NOW + Policy::default().keep;
    assert_eq!(verifies(&d, CONTOSO, &before, later), Err(JwsError::BadSignature));
    d.keys.ensure_keys(&d.auth(CONTOSO, later)).await.unwrap();
    assert!(d.signing_keys(CONTOSO).iter().all(|key| key.kid != old_kid));
    assert_eq!(verifies(&d, CONTOSO, &after, later), Ok(()));
}

#[tokio::test]
async fn the_turn_passes_by_the_clock_to_a_key_shown_before() {
    let d = deployment().await;
    let turn = NOW + Policy::default().sign;
    let shown: Vec<_> = d.signing_keys(CONTOSO).iter().map(|key| key.kid.clone()).collect();
    let (_, first) = sign(&d, CONTOSO, turn - 1);
    let (_, second) = sign(&d, CONTOSO, turn);
    assert_ne!(first, second);
    assert!(shown.contains(&second), "a resource could have read it for a month");
    d.keys.ensure_keys(&d.auth(CONTOSO, turn)).await.unwrap();
    assert_eq!((count(&d, CONTOSO, Rs256), count(&d, CONTOSO, Es256)), (3, 3));
}

#[tokio::test]
async fn keys_survive_a_restart_and_are_nowhere_in_the_clear() {
    let d = deployment().await;
    let (token, kid) = sign(&d, CONTOSO, NOW);
    let again = KeyRing::new(d.store.clone(), d.keys.ring.key_encryption_keys.clone());
    let keys = again.keys(&d.store.snapshot(), CONTOSO).unwrap();
    assert_eq!(keys.sign("{}", TokenVersion::V2, Rs256, NOW).unwrap().kid, kid);
    assert_eq!(verifies(&d, CONTOSO, &token, NOW), Ok(()));
    for record in d.signing_keys(CONTOSO) {
        let (wrapped, sealed) = record.sealed.split_once('.').unwrap();
        assert!(Signer::from_pkcs8(&b64::decode_standard(sealed).unwrap().into()).is_err());
        assert_eq!(b64::decode_standard(wrapped).unwrap().len(), 1 + 12 + 32 + 16);
    }
}

#[tokio::test]
async fn d34_no_tenants_key_opens_as_anothers() {
    let d = deployment().await;
    d.keys.ensure_keys(&d.auth(FABRIKAM, NOW)).await.unwrap();
    let theirs = d.signing_keys(FABRIKAM).into_iter().find(|key| key.alg == Rs256).unwrap();
    // Whoever can write rows moves Fabrikam's key into Contoso, to sign for Contoso with a key of Fabrikam's.
    let moved = SigningKey { tenant: CONTOSO, signs_from: NOW + 1, ..SigningKey::clone(&theirs) };
    d.put(CONTOSO, &moved).await;
    let keys = d.keys.keys(&d.store.snapshot(), CONTOSO).unwrap();
    let refused = keys.sign("{}", TokenVersion::V1, Rs256, NOW + 1).unwrap_err();
    assert!(matches!(refused, SigningError::Key(KeyError::Signing)), "{refused}");
}

#[tokio::test]
async fn many_at_once_rotate_to_one_set_of_keys() {
    let d = deployment().await;
    let turn = NOW + Policy::default().sign;
    let all: Vec<_> = (0..8)
        .map(|_| {
            let keys = d.keys.clone();
            let authorization = d.auth(CONTOSO, turn);
            tokio::spawn(async move { keys.ensure_keys(&authorization).await })
        })
        .collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    assert_eq!((count(&d, CONTOSO, Rs256), count(&d, CONTOSO, Es256)), (3, 3));
}

#[tokio::test]
async fn a_key_signs_by_its_own_algorithm_and_opens_as_no_other() {
    let d = deployment().await;
    for (algorithm, name) in [(Rs256, "RS256"), (Es256, "ES256")] {
        let (token, kid) = sign_by(&d, CONTOSO, algorithm, NOW);
        let parsed = Unverified::parse(&token, 4096).unwrap();
        assert_eq!((parsed.header().alg.name(), parsed.kid()), (name, Some(kid.as_str())));
        assert_eq!(verifies(&d, CONTOSO, &token, NOW), Ok(()));
    }
    // A row that says another algorithm than its key has signs nothing.
    let key = d.signing_keys(CONTOSO).into_iter().find(|key| key.alg == Es256).unwrap();
    d.put(CONTOSO, &SigningKey { alg: Rs256, signs_from: NOW + 1, ..SigningKey::clone(&key) }).await;
    let keys = d.keys.keys(&d.store.snapshot(), CONTOSO).unwrap();
    assert!(keys.sign("{}", TokenVersion::V1, Rs256, NOW + 1).is_err());
}

#[tokio::test]
async fn a_row_of_an_earlier_release_is_an_rs256_key() {
    let d = deployment().await;
    let key = d.signing_keys(CONTOSO).into_iter().find(|key| key.alg == Rs256).unwrap();
    let json = serde_json::to_value(&*key).unwrap();
    assert_eq!(json.get("alg"), None, "what an earlier release reads is written as it wrote it");
    assert_eq!(serde_json::from_value::<SigningKey>(json).unwrap(), *key);
}

#[tokio::test]
async fn an_emergency_leaves_no_old_key_and_no_token_that_one_signed() {
    let d = deployment().await;
    let before = [Rs256, Es256].map(|algorithm| sign_by(&d, CONTOSO, algorithm, NOW));
    let old: Vec<String> = d.signing_keys(CONTOSO).iter().map(|key| key.kid.clone()).collect();
    d.keys.replace_all(&d.auth(CONTOSO, NOW)).await.unwrap();
    assert!(d.signing_keys(CONTOSO).iter().all(|key| !old.contains(&key.kid)), "private halves and all");
    for (token, _) in &before {
        assert_eq!(verifies(&d, CONTOSO, token, NOW), Err(JwsError::BadSignature));
    }
    for algorithm in [Rs256, Es256] {
        let (token, kid) = sign_by(&d, CONTOSO, algorithm, NOW);
        assert!(!old.contains(&kid));
        assert_eq!(verifies(&d, CONTOSO, &token, NOW), Ok(()));
        assert_eq!(count(&d, CONTOSO, algorithm), 2, "the next is published ahead again");
    }
    // It is the tenant's alone.
    d.keys.ensure_keys(&d.auth(FABRIKAM, NOW)).await.unwrap();
    let theirs = d.signing_keys(FABRIKAM);
    d.keys.replace_all(&d.auth(CONTOSO, NOW)).await.unwrap();
    assert_eq!(d.signing_keys(FABRIKAM), theirs);
}

#[tokio::test]
async fn a_tenant_that_is_not_there_has_no_keys() {
    let d = deployment().await;
    let nobody = TenantId(uuid::Uuid::from_u128(0xdead));
    assert!(matches!(d.keys.ensure_keys(&d.auth(nobody, NOW)).await, Err(SigningError::NoTenant)));
    assert!(matches!(d.keys.keys(&d.store.snapshot(), nobody), Err(SigningError::NoTenant)));
}

#[tokio::test]
async fn a_device_that_hangs_holds_one_thread_however_often_it_is_checked() {
    let d = deployment().await;
    let (let_go, hangs) = std::sync::mpsc::channel::<()>();
    let first = d.keys.ask_device(move || {
        let _ = hangs.recv();
        Ok(())
    });
    // As readiness gives up.
    assert!(timeout(Duration::from_millis(20), first).await.is_err());
    for _ in 0..3 {
        let said = d.keys.ask_device(|| panic!("one more thread")).await.unwrap_err();
        assert!(said.contains("has not answered"), "{said}");
        assert_eq!(d.keys.check(NOW).await, Err(said));
    }
    let_go.send(()).unwrap();
    while d.keys.check(NOW).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_first_keys_of_an_algorithm_that_comes_later_are_published_before_they_sign() {
    let d = deployment().await;
    // As an earlier release left it.
    for key in d.signing_keys(CONTOSO).iter().filter(|key| key.alg == Es256) {
        d.remove::<SigningKey>(CONTOSO, &key.kid).await;
    }
    let upgraded = NOW + 3600;
    d.keys.ensure_keys(&d.auth(CONTOSO, upgraded)).await.unwrap();
    let signs_by = |now| {
        let (token, _) = sign_by(&d, CONTOSO, Es256, now);
        assert_eq!(verifies(&d, CONTOSO, &token, now), Ok(()));
        Unverified::parse(&token, 4096).unwrap().header().alg
    };
    let published = |now| {
        let jwks = d.keys.jwks(&d.store.snapshot(), CONTOSO, now, None).unwrap();
        jwks.iter().filter(|jwk| jwk.to_public().unwrap().token_algorithm() == Algorithm::Es256).count()
    };
    let turn = upgraded + Policy::default().prepublish;
    assert_eq!((published(upgraded), signs_by(upgraded)), (2, Algorithm::Rs256));
    assert_eq!((signs_by(turn - 1), signs_by(turn)), (Algorithm::Rs256, Algorithm::Es256));

    // A command changes what signs, and does not bring forward what nobody has read.
    let es256 = |keys: Vec<Arc<SigningKey>>| keys.into_iter().filter(|key| key.alg == Es256).collect::<Vec<_>>();
    let before = es256(d.signing_keys(CONTOSO));
    d.keys.rotate(&d.auth(CONTOSO, upgraded + 60)).await.unwrap();
    assert_eq!((count(&d, CONTOSO, Rs256), es256(d.signing_keys(CONTOSO))), (3, before));
    let writes = d.store.counters().writes;
    d.keys.ensure_keys(&d.auth(CONTOSO, upgraded + 3600)).await.unwrap();
    assert_eq!(d.store.counters().writes, writes, "nothing is due");
    d.keys.ensure_keys(&d.auth(CONTOSO, turn)).await.unwrap();
    assert_eq!((count(&d, CONTOSO, Es256), signs_by(turn)), (2, Algorithm::Es256));

    // Where one may be in other hands, none waits.
    d.keys.replace_all(&d.auth(CONTOSO, turn)).await.unwrap();
    assert_eq!(signs_by(turn), Algorithm::Es256);
}
