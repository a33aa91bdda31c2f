//! What makes a token believed, and everything that makes it not so.

mod authorization;
pub(crate) mod fixture;

use denizen_keys::{Algorithm, b64, hash};
use fixture::{AUDIENCE, AUTHORITY, Fixture, NOW, Who, key, put, set_up, sign, sign_as, signing_key};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::directory::{ServicePrincipal, SigningAlgorithm, SigningKey};

fn audiences() -> Vec<String> {
    vec!["https://vault.denizen.test:8444".into(), AUDIENCE.into(), format!("{AUDIENCE}/")]
}

impl Fixture {
    fn believe(&self, token: &str) -> Result<Arc<Caller>, AuthError> {
        self.believe_at(token, NOW)
    }

    fn believe_at(&self, token: &str, now: UnixTime) -> Result<Arc<Caller>, AuthError> {
        self.access
            .authenticate(&self.store.snapshot(), token, &audiences(), self.tenant, now)
            .map_err(|refusal| refusal.error)
    }

    fn refusal(&self, token: &str) -> AuthError {
        let first = self.believe(token).unwrap_err();
        // A second try must not be answered otherwise, by a memory of the first.
        assert_eq!(self.believe(token).unwrap_err(), first);
        first
    }
}

fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

#[tokio::test]
async fn a_good_token_says_who_it_is_and_is_remembered() {
    let fixture = Fixture::new().await;
    let who = fixture.principal().await;
    let token = fixture.token(who);
    let caller = fixture.believe(&token).unwrap();
    assert_eq!((caller.principal, caller.client, caller.tenant), (who.principal, who.client, fixture.tenant));
    assert_eq!(caller.actor(), Actor::Principal { id: who.principal, client: who.client });
    assert!(Arc::ptr_eq(&caller, &fixture.believe(&token).unwrap()));

    let v2 = with(
        fixture.claims(who),
        &json!({"ver": "2.0", "iss": format!("{AUTHORITY}/{}/v2.0", fixture.tenant), "appid": null, "azp": who.client}),
    );
    assert_eq!(fixture.believe(&sign(&v2)).unwrap().client, who.client);
    for audience in audiences() {
        fixture.believe(&sign(&with(fixture.claims(who), &json!({"aud": audience})))).unwrap();
    }
}

#[tokio::test]
async fn d31_every_claim_is_checked() {
    let fixture = Fixture::new().await;
    let who = fixture.principal().await;
    let other = fixture.principal().await;
    let expected = format!("{AUTHORITY}/{}/", fixture.tenant);
    let issuer = |found: &str| AuthError::Issuer { expected: expected.clone(), found: found.to_owned() };
    let v2 = format!("{expected}v2.0");
    let audience = |found: &str| AuthError::Audience { expected: audiences()[0].clone(), found: found.to_owned() };
    let table = [
        (json!({"aud": "https://management.azure.com"}), audience("https://management.azure.com")),
        (json!({"aud": "https://vault.azure.net.evil"}), audience("https://vault.azure.net.evil")),
        (json!({"aud": "http://vault.azure.net"}), audience("http://vault.azure.net")),
        (json!({"iss": "https://sts.windows.net/x/"}), issuer("https://sts.windows.net/x/")),
        (json!({"iss": v2}), issuer(&v2)),
        (json!({"iss": expected.trim_end_matches('/')}), issuer(expected.trim_end_matches('/'))),
        (json!({"tid": Uuid::from_u128(5)}), issuer(&expected)),
        (json!({"exp": NOW.0}), AuthError::Expired(NOW)),
        (json!({"exp": 0}), AuthError::Expired(UnixTime(0))),
        (json!({"nbf": NOW.0 + 301}), AuthError::NotYet(NOW + 301)),
        (json!({"idtyp": "user"}), AuthError::Kind("it is neither an app-only access token nor a user's")),
        (json!({"sub": other.principal}), AuthError::Kind("it is neither an app-only access token nor a user's")),
        (json!({"appid": null}), AuthError::Kind("it names no client")),
        (json!({"appid": other.client}), AuthError::Principal("is not the one of this client")),
        (json!({"ver": "3.0"}), AuthError::Kind("it is of an unknown version")),
        (json!({"oid": Uuid::nil(), "sub": Uuid::nil()}), AuthError::Principal("does not exist any more")),
        (json!({"exp": null}), AuthError::Form(JwsError::Claims)),
        (json!({"exp": "soon"}), AuthError::Form(JwsError::Claims)),
        (json!({"nbf": null}), AuthError::Form(JwsError::Claims)),
        (json!({"iss": null}), AuthError::Form(JwsError::Claims)),
        (json!({"aud": [AUDIENCE]}), AuthError::Form(JwsError::Claims)),
        (json!({"idtyp": null}), AuthError::Form(JwsError::Claims)),
    ];
    for (changes, refusal) in table {
        let token = sign(&with(fixture.claims(who), &changes));
        assert_eq!(fixture.refusal(&token), refusal, "{changes}");
    }
    // Up to the edge it is good: a clock may be 300 s off, an end is an end.
    for changes in [json!({"nbf": NOW.0 + 300}), json!({"exp": NOW.0 + 1})] {
        fixture.believe(&sign(&with(fixture.claims(who), &changes))).unwrap();
    }
}

/// `EntraIssued` puts that issuer under our own signature. What is signed so is for an emulator and opens nothing here,
/// whatever audience it names.
#[tokio::test]
async fn d25_a_token_of_ours_that_names_entra_is_refused() {
    let fixture = Fixture::new().await;
    let who = fixture.principal().await;
    let entra = format!("https://sts.windows.net/{}/", fixture.tenant);
    let refusal = AuthError::Issuer { expected: format!("{AUTHORITY}/{}/", fixture.tenant), found: entra.clone() };
    let audiences = audiences();
    for audience in ["https://storage.azure.com"].into_iter().chain(audiences.iter().map(String::as_str)) {
        let changes = json!({"aud": audience, "iss": entra, "idp": entra});
        let token = sign(&with(fixture.claims(who), &changes));
        assert_eq!(fixture.refusal(&token), refusal, "{audience}");
    }
}

#[tokio::test]
async fn d25_only_a_signature_by_a_published_key_of_the_tenant_counts() {
    let fixture = Fixture::new().await;
    let who = fixture.principal().await;
    let claims = fixture.claims(who);
    let good = fixture.token(who);
    let (kid, signature) = (key(0).1.kid(), good.rsplit('.').next().unwrap().to_owned());
    let header = |alg: &str| json!({"typ": "JWT", "alg": alg, "kid": kid});
    let encode = |value: &Value| b64::url(value.to_string().as_bytes());

    // No algorithm, and no or any signature.
    for signature in ["", signature.as_str()] {
        let none = format!("{}.{}.{signature}", encode(&header("none")), encode(&claims));
        assert_eq!(fixture.refusal(&none), AuthError::Form(JwsError::AlgorithmRefused));
    }
    // The public key as the secret of a MAC.
    let input = format!("{}.{}", encode(&header("HS256")), encode(&claims));
    for secret in [key(0).1.spki_der(), key(0).1.pem().as_bytes(), key(0).1.der()] {
        let token = format!("{input}.{}", b64::url(&hash::hmac_sha256(secret, input.as_bytes())));
        assert_eq!(fixture.refusal(&token), AuthError::Form(JwsError::AlgorithmRefused));
    }
    // Another key under our key's name; and under its own.
    assert_eq!(fixture.refusal(&sign_as(1, &header("RS256"), &claims)), AuthError::Signature);
    let own = json!({"typ": "JWT", "alg": "RS256", "kid": key(1).1.kid()});
    assert_eq!(fixture.refusal(&sign_as(1, &own, &claims)), AuthError::Key);
    assert_eq!(fixture.refusal(&sign_as(0, &json!({"typ": "JWT", "alg": "RS256"}), &claims)), AuthError::Key);
    // A key brought along.
    let brought = json!({"typ": "JWT", "alg": "RS256", "kid": key(1).1.kid(), "x5c": [b64::standard(key(1).1.der())]});
    assert_eq!(fixture.refusal(&sign_as(1, &brought, &claims)), AuthError::Key);
    // Changed claims, changed signature, no token at all.
    let mut parts: Vec<&str> = good.split('.').collect();
    let forged = encode(&with(claims, &json!({"exp": NOW.0 + 7200})));
    parts[1] = &forged;
    assert_eq!(fixture.refusal(&parts.join(".")), AuthError::Signature);
    assert_eq!(fixture.refusal(&good[..good.len() - 6]), AuthError::Signature);
    for nonsense in ["", ".", "a.b.c", "..", "Bearer x", &"a".repeat(100_000)] {
        assert!(matches!(fixture.refusal(nonsense), AuthError::Form(_)), "{nonsense:.20}");
    }
    fixture.believe(&good).unwrap();
}

#[tokio::test]
async fn d34_a_token_is_good_in_its_tenant_only() {
    let fixture = Fixture::new().await;
    let who = fixture.principal().await;
    let other = TenantId(Uuid::from_u128(0xbad));
    // The other tenant even publishes the same key.
    set_up(&fixture.store, &fixture.key_encryption_keys, other, 2, &[key(0)]).await;
    let token = fixture.token(who);
    let at_other =
        || fixture.access.authenticate(&fixture.store.snapshot(), &token, &audiences(), other, NOW).unwrap_err().error;
    let first = at_other();
    assert!(matches!(first, AuthError::Issuer { .. }), "{first:?}");
    // Remembered as good in its own tenant, it is still good nowhere else.
    fixture.believe(&token).unwrap();
    assert_eq!(
        at_other(),
        AuthError::Issuer {
            expected: format!("{AUTHORITY}/{other}/"),
            found: format!("{AUTHORITY}/{}/", fixture.tenant)
        }
    );
}

/// The key says by which algorithm a token is verified, the token does not.
#[tokio::test]
async fn d25_a_keys_family_decides_the_algorithm() {
    let fixture = Fixture::new().await;
    let who = fixture.principal().await;
    let signer = denizen_keys::Signer::generate_ec().unwrap();
    let certificate = denizen_keys::x509::self_signed(&signer, "test", NOW.0 - 1000, NOW.0 + 1_000_000).unwrap();
    let ec = SigningKey { alg: SigningAlgorithm::Es256, ..signing_key(fixture.tenant, &certificate) };
    put(&fixture.store, &fixture::ctx(fixture.tenant), &ec).await;
    let (rsa_kid, ec_kid) = (key(0).1.kid(), certificate.kid());
    let claims = fixture.claims(who).to_string();
    let header = |alg: &str, kid: &str| json!({"typ": "JWT", "alg": alg, "kid": kid}).to_string();
    let by_ec = |alg: &str, kid: &str| {
        denizen_keys::jws::sign_compact(&signer, Algorithm::Es256, &header(alg, kid), &claims).unwrap()
    };
    let by_rsa = |alg: &str, kid: &str| {
        denizen_keys::jws::sign_compact(&key(0).0, Algorithm::Rs256, &header(alg, kid), &claims).unwrap()
    };
    assert_eq!(fixture.believe(&by_ec("ES256", &ec_kid)).unwrap().principal, who.principal);
    assert_eq!(fixture.believe(&by_rsa("RS256", &rsa_kid)).unwrap().principal, who.principal);

    let refused = AuthError::Form(JwsError::AlgorithmRefused);
    // Each key with the other's algorithm, whoever has signed.
    for token in [
        by_ec("RS256", &ec_kid),
        by_ec("ES256", &rsa_kid),
        by_rsa("ES256", &rsa_kid),
        by_rsa("RS256", &ec_kid),
        by_ec("PS256", &ec_kid),
        by_ec("ES384", &ec_kid),
        by_ec("es256", &ec_kid),
    ] {
        assert_eq!(fixture.refusal(&token), refused, "{token}");
    }
    // The right algorithm's name over the other key's signature.
    assert_eq!(fixture.refusal(&by_rsa("ES256", &ec_kid)), AuthError::Signature);
    assert_eq!(fixture.refusal(&by_ec("RS256", &rsa_kid)), AuthError::Signature);
    // A signature of nothing: both numbers are zero.
    let (input, _) = by_ec("ES256", &ec_kid).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(fixture.refusal(&format!("{input}.{}", b64::url(&[0; 64]))), AuthError::Signature);
    // A MAC under the published point.
    let public = signer.public().spki_der();
    let mac = denizen_keys::hash::hmac_sha256(public, input.as_bytes());
    assert_eq!(fixture.refusal(&format!("{input}.{}", b64::url(&mac))), AuthError::Signature);

    // A row whose algorithm is not its key's proves nothing.
    let other = SigningKey { alg: SigningAlgorithm::Rs256, ..signing_key(fixture.tenant, &certificate) };
    put(&fixture.store, &fixture::ctx(fixture.tenant), &other).await;
    let fresh = fixture::access(&fixture.store);
    let token = by_ec("ES256", &ec_kid);
    let found = fresh.authenticate(&fixture.store.snapshot(), &token, &audiences(), fixture.tenant, NOW);
    assert_eq!(found.unwrap_err().error, AuthError::Key);
}

#[tokio::test]
async fn d25_what_changes_is_seen_on_the_next_use_of_a_remembered_token() {
    type Change = fn(&mut ServicePrincipal);
    let changes: [(Change, &str); 3] = [
        (|principal| principal.enabled = false, "is disabled"),
        (|principal| principal.epoch = 1, "had its tokens revoked; get a new one"),
        (|principal| principal.client_id = ClientId(Uuid::nil()), "is not the one of this client"),
    ];
    for (change, reason) in changes {
        let fixture = Fixture::new().await;
        let who = fixture.principal().await;
        let token = fixture.token(who);
        fixture.believe(&token).unwrap();
        let mut record = fixture.record_of(who);
        change(&mut record);
        put(&fixture.store, &fixture.ctx(), &record).await;
        assert_eq!(fixture.believe(&token).unwrap_err(), AuthError::Principal(reason));
    }

    // A client that handles challenges is told to get a newer one where it can have one.
    for (change, expected) in [
        (changes[0].0, AuthError::Principal("is disabled")),
        (changes[1].0, AuthError::Newer("had its tokens revoked; get a new one")),
    ] {
        let fixture = Fixture::new().await;
        let who = fixture.principal().await;
        let mut claims = fixture.claims(who);
        claims["xms_cc"] = json!(["cp1"]);
        let token = sign(&claims);
        fixture.believe(&token).unwrap();
        let mut record = fixture.record_of(who);
        change(&mut record);
        put(&fixture.store, &fixture.ctx(), &record).await;
        assert_eq!(fixture.believe(&token).unwrap_err(), expected);
    }

    let fixture = Fixture::new().await;
    let who = fixture.principal().await;
    let token = fixture.token(who);
    fixture.believe(&token).unwrap();
    assert_eq!(fixture.believe_at(&token, NOW + 3600).unwrap_err(), AuthError::Expired(NOW + 3600));
    let other = [format!("{AUDIENCE}/x")];
    let elsewhere = fixture.access.authenticate(&fixture.store.snapshot(), &token, &other, fixture.tenant, NOW);
    assert!(matches!(elsewhere.unwrap_err().error, AuthError::Audience { .. }));

    // A key that leaves the published set takes its tokens along: at its time, and when it is taken out at once.
    let mut leaving = signing_key(fixture.tenant, &key(0).1);
    leaving.published_until = Some(NOW + 60);
    put(&fixture.store, &fixture.ctx(), &leaving).await;
    fixture.believe_at(&token, NOW + 59).unwrap();
    assert_eq!(fixture.believe_at(&token, NOW + 60).unwrap_err(), AuthError::Key);
    // Another key under the same name verifies nothing that the first one signed, once the memory is gone.
    leaving = signing_key(fixture.tenant, &key(1).1);
    leaving.kid = key(0).1.kid();
    put(&fixture.store, &fixture.ctx(), &leaving).await;
    let again = fixture::access(&fixture.store);
    let answer = again.authenticate(&fixture.store.snapshot(), &token, &audiences(), fixture.tenant, NOW);
    assert_eq!(answer.unwrap_err().error, AuthError::Signature);
}

#[tokio::test]
async fn decisions_read_the_tenants_assignments_and_roles() {
    let fixture = Fixture::new().await;
    let read = Action::data("Microsoft.KeyVault/vaults/secrets/getSecret/action");
    let may = |who: Who, action: &Action| {
        let snapshot = fixture.store.snapshot();
        let caller = fixture.believe(&fixture.token(who)).unwrap();
        fixture.access.authorize(&snapshot, &caller, fixture.ctx(), action, &fixture.vault.id).is_ok()
    };
    let reader = fixture.with_role("Key Vault Secrets User", &fixture.group).await;
    assert!(may(reader, &read));
    assert!(!may(reader, &Action::data("Microsoft.KeyVault/vaults/secrets/setSecret/action")));
    assert!(!may(fixture.principal().await, &read));

    let custom = RoleDefinition {
        tenant: Some(fixture.tenant),
        id: RoleId(Uuid::from_u128(77)),
        name: "Custom".into(),
        description: String::new(),
        actions: vec![],
        not_actions: vec![],
        data_actions: vec!["microsoft.keyvault/vaults/SECRETS/*".into()],
        not_data_actions: vec!["*/purge/action".into()],
        assignable_scopes: vec![fixture.group.clone()],
    };
    put(&fixture.store, &fixture.ctx(), &custom).await;
    let who = fixture.principal().await;
    let assignment = crate::domain::roles::RoleAssignment {
        tenant: fixture.tenant,
        id: Uuid::from_u128(78),
        scope: fixture.vault.id.clone(),
        principal: who.principal,
        role: custom.id,
        created: NOW,
        created_by: "test".into(),
    };
    put(&fixture.store, &fixture.ctx(), &assignment).await;
    assert!(may(who, &read));
    assert!(!may(who, &Action::data("Microsoft.KeyVault/vaults/secrets/purge/action")));
}
