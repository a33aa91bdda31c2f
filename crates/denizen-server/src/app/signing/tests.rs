use denizen_keys::{JwsError, jws::Unverified};

use super::{
    fixture::{CONTOSO, Deployment, FABRIKAM, NOW, deployment},
    *,
};

fn sign(deployment: &Deployment, tenant: TenantId, now: UnixTime) -> (String, String) {
    let keys = deployment.keys.keys(&deployment.store.snapshot(), tenant).unwrap();
    let signed = keys.sign(r#"{"sub":"x"}"#, TokenVersion::V1, now).unwrap();
    (signed.token.clone(), signed.kid.to_owned())
}

/// Whether one of the published keys has made the signature.
fn verifies(deployment: &Deployment, tenant: TenantId, token: &str, now: UnixTime) -> Result<(), JwsError> {
    let parsed = Unverified::parse(token, 4096).unwrap();
    let jwks = deployment.keys.jwks(&deployment.store.snapshot(), tenant, now, None).unwrap();
    let jwk = jwks.iter().find(|jwk| jwk.kid.as_deref() == parsed.kid()).ok_or(JwsError::BadSignature)?;
    parsed.verify(&jwk.to_public().unwrap(), &[Algorithm::Rs256]).map(drop)
}

#[tokio::test]
async fn two_keys_are_published_and_the_certificate_names_them() {
    let d = deployment().await;
    let jwks = d.keys.jwks(&d.store.snapshot(), CONTOSO, NOW, Some("https://i")).unwrap();
    assert_eq!(jwks.len(), 2);
    for jwk in &jwks {
        let der = b64::decode_standard(&jwk.x5c[0]).unwrap();
        let certificate = Certificate::from_der(&der).unwrap();
        assert_eq!(jwk.kid.as_deref(), Some(b64::url(&certificate.thumbprint_sha1()).as_str()));
        assert_eq!((jwk.x5t.as_ref(), jwk.issuer.as_deref()), (jwk.kid.as_ref(), Some("https://i")));
        assert_eq!(certificate.public_key().unwrap(), jwk.to_public().unwrap());
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
    assert_eq!(d.keys.jwks(&d.store.snapshot(), CONTOSO, NOW, None).unwrap().len(), 3);

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
    assert_eq!(d.signing_keys(CONTOSO).len(), 3);
}

#[tokio::test]
async fn keys_survive_a_restart_and_are_nowhere_in_the_clear() {
    let d = deployment().await;
    let (token, kid) = sign(&d, CONTOSO, NOW);
    let again = KeyRing::new(d.store.clone(), d.keys.ring.key_encryption_keys.clone());
    let keys = again.keys(&d.store.snapshot(), CONTOSO).unwrap();
    assert_eq!(keys.sign("{}", TokenVersion::V2, NOW).unwrap().kid, kid);
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
    let theirs = d.signing_keys(FABRIKAM)[0].clone();
    // Whoever can write rows moves Fabrikam's key into Contoso, to sign for Contoso with a key of Fabrikam's.
    let moved = SigningKey { tenant: CONTOSO, signs_from: NOW + 1, ..SigningKey::clone(&theirs) };
    d.put(CONTOSO, &moved).await;
    let keys = d.keys.keys(&d.store.snapshot(), CONTOSO).unwrap();
    let refused = keys.sign("{}", TokenVersion::V1, NOW + 1).unwrap_err();
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
    assert_eq!(d.signing_keys(CONTOSO).len(), 3);
}

#[tokio::test]
async fn a_tenant_that_is_not_there_has_no_keys() {
    let d = deployment().await;
    let nobody = TenantId(uuid::Uuid::from_u128(0xdead));
    assert!(matches!(d.keys.ensure_keys(&d.auth(nobody, NOW)).await, Err(SigningError::NoTenant)));
    assert!(matches!(d.keys.keys(&d.store.snapshot(), nobody), Err(SigningError::NoTenant)));
}
