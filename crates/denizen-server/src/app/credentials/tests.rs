use denizen_keys::{Algorithm, Signer, b64, jws::sign_compact};
use serde_json::json;

use super::*;
use crate::{
    app::signing::fixture::{
        APP, AUTHORITY, CONTOSO, NOW, SECRET, SIGNER, STRANGER, application, key_credential, password_credential,
        principal,
    },
    domain::directory::PasswordCredential,
};

struct Known {
    tenant: Tenant,
    principal: Principal,
    application: Application,
}

impl Known {
    fn new() -> Self {
        Self {
            tenant: Tenant {
                id: CONTOSO,
                domain: "contoso.test".into(),
                display_name: String::new(),
                sealed_kek: String::new(),
                created: NOW,
            },
            principal: Principal::of(&principal(CONTOSO, APP), |id| id.into()),
            application: application(CONTOSO, APP),
        }
    }

    fn client(&self) -> Client<'_> {
        Client { tenant: &self.tenant, principal: &self.principal, application: Some(&self.application) }
    }
}

fn assertion(signer: &Signer, exp: i64) -> String {
    let header = json!({"alg": "RS256", "typ": "JWT", "x5t": b64::url(&key_credential().x5t)});
    let claims = json!({"iss": APP, "sub": APP, "aud": AUTHORITY, "exp": exp});
    sign_compact(signer, Algorithm::Rs256, &header.to_string(), &claims.to_string()).unwrap()
}

#[tokio::test]
async fn a_secret_is_hashed_once_and_remembered_only_while_it_stands() {
    let (credentials, mut known) = (Credentials::new(), Known::new());
    let (right, proved) = (
        SecretString::from(SECRET),
        Ok(AuthenticatedClient {
            client: APP,
            proof: ClientAuthMethod::Secret,
            credential: password_credential().key_id,
        }),
    );
    for _ in 0..5 {
        assert_eq!(credentials.verify_secret(known.client(), &right, NOW).await, proved);
    }
    assert_eq!(credentials.computations(), 1);

    let end = known.application.passwords[0].end;
    let expired = Err(CredentialError::SecretExpired(end));
    assert_eq!(credentials.verify_secret(known.client(), &right, end - 1).await, proved);
    assert_eq!(credentials.verify_secret(known.client(), &right, end).await, expired);

    known.application.passwords.clear();
    assert_eq!(credentials.verify_secret(known.client(), &right, NOW).await, Err(CredentialError::WrongSecret));
}

#[tokio::test]
async fn d25_a_remembered_secret_is_no_other_clients() {
    let (credentials, known) = (Credentials::new(), Known::new());
    let right = SecretString::from(SECRET);
    credentials.verify_secret(known.client(), &right, NOW).await.unwrap();
    let mut other = Known::new();
    other.application.passwords.clear();
    for id in [known.principal.client_id.0.as_u128() + 1, known.principal.client_id.0.as_u128()] {
        other.principal.client_id = ClientId(Uuid::from_u128(id));
        let refused = credentials.verify_secret(other.client(), &right, NOW).await;
        assert_eq!(refused, Err(CredentialError::WrongSecret), "{id:x}");
    }
    // A new hash of the same secret under the same id is another credential.
    let mut reset = Known::new();
    reset.application.passwords[0].hash = password::hash(&SecretString::from("abc-something-else"));
    let refused = credentials.verify_secret(reset.client(), &right, NOW).await;
    assert_eq!(refused, Err(CredentialError::WrongSecret));
}

#[tokio::test]
async fn a_wrong_secret_costs_no_hash() {
    let (credentials, known) = (Credentials::new(), Known::new());
    let mut none = Known::new();
    none.application.passwords.clear();
    let managed = Client { application: None, ..known.client() };
    for (client, secret) in [
        (known.client(), "abcWRONG"),
        (known.client(), "abc"),
        (known.client(), ""),
        (known.client(), "another beginning"),
        (none.client(), SECRET),
        (managed, SECRET),
    ] {
        let refused = credentials.verify_secret(client, &SecretString::from(secret), NOW).await;
        assert_eq!(refused, Err(CredentialError::WrongSecret), "{secret}");
    }
    assert_eq!(credentials.computations(), 0);
}

/// Fifty who guess at one client, and know how its secret begins. Its own secret has not been seen yet, and it is neither
/// kept waiting by them nor locked out for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_a_client_do_not_keep_it_from_its_token() {
    const GUESSERS: usize = 50;
    const GUESSES: usize = 40;
    let (credentials, known) = (Arc::new(Credentials::new()), Arc::new(Known::new()));
    let begin = Arc::new(tokio::sync::Barrier::new(GUESSERS + 1));
    let mut guessing = tokio::task::JoinSet::new();
    for guesser in 0..GUESSERS {
        let (credentials, known, begin) = (Arc::clone(&credentials), Arc::clone(&known), Arc::clone(&begin));
        guessing.spawn(async move {
            begin.wait().await;
            for guess in 0..GUESSES {
                let secret = SecretString::from(format!("abc{guesser}-{guess}"));
                let refused = credentials.verify_secret(known.client(), &secret, NOW).await;
                assert_eq!(refused, Err(CredentialError::WrongSecret));
                tokio::task::yield_now().await;
            }
        });
    }
    begin.wait().await;
    credentials.verify_secret(known.client(), &SecretString::from(SECRET), NOW).await.unwrap();
    assert_eq!(guessing.join_all().await.len(), GUESSERS);
    assert_eq!(credentials.computations(), 1, "the right secret's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_with_one_secret_cost_as_many_hashes_as_run_at_once() {
    let (credentials, known) = (Arc::new(Credentials::new()), Arc::new(Known::new()));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (credentials, known) = (Arc::clone(&credentials), Arc::clone(&known));
        asking.spawn(async move {
            credentials.verify_secret(known.client(), &SecretString::from(SECRET), NOW).await.unwrap();
        });
    }
    assert_eq!(asking.join_all().await.len(), 50);
    assert!((1..=HASHING as u64).contains(&credentials.computations()), "{}", credentials.computations());
}

#[tokio::test]
async fn a_secret_that_has_ended_is_hashed_once() {
    let (credentials, known) = (Credentials::new(), Known::new());
    let end = known.application.passwords[0].end;
    for _ in 0..5 {
        let refused = credentials.verify_secret(known.client(), &SecretString::from(SECRET), end).await;
        assert_eq!(refused, Err(CredentialError::SecretExpired(end)));
    }
    assert_eq!(credentials.computations(), 1);
}

#[tokio::test]
async fn of_two_secrets_either_proves_and_is_named() {
    let (credentials, mut known) = (Credentials::new(), Known::new());
    let second = PasswordCredential {
        key_id: Uuid::from_u128(2),
        hint: "zzz".into(),
        check: PasswordCredential::check_of(Uuid::from_u128(2), "zzz-second"),
        hash: password::hash(&SecretString::from("zzz-second")),
        ..password_credential()
    };
    known.application.passwords.push(second);
    let proved = credentials.verify_secret(known.client(), &SecretString::from("zzz-second"), NOW).await;
    assert_eq!(proved.unwrap().credential(), Uuid::from_u128(2));
    assert_eq!(credentials.computations(), 1, "only what can match is hashed");
    let proved = credentials.verify_secret(known.client(), &SecretString::from(SECRET), NOW).await;
    assert_eq!(proved.unwrap().credential(), password_credential().key_id);
    known.application.passwords[0].start = NOW + 1000;
    let early = credentials.verify_secret(known.client(), &SecretString::from(SECRET), NOW).await;
    assert_eq!(early, Err(CredentialError::WrongSecret));
}

#[test]
fn an_assertion_is_verified_once_and_remembered_only_while_everything_holds() {
    let (credentials, mut known) = (Credentials::new(), Known::new());
    let text = assertion(&SIGNER, NOW.0 + 600);
    let verify = |known: &Known, now| credentials.verify_assertion(known.client(), &text, &[AUTHORITY.to_owned()], now);
    let proved = Ok(by_certificate(APP, &KeyCheck::from(&key_credential())));
    for _ in 0..5 {
        assert_eq!(verify(&known, NOW), proved);
    }
    assert_eq!(credentials.computations(), 1);

    let until = NOW + 600;
    let late = until + assertion::SKEW;
    assert_eq!(verify(&known, late), Err(CredentialError::Claims(Reason::Ended { until, now: late })));

    known.application.keys[0].end = NOW + 1;
    let (start, end) = (known.application.keys[0].start, known.application.keys[0].end);
    assert_eq!(verify(&known, NOW + 1), Err(CredentialError::Key(KeyReason::OutsideValidity(start, end))));

    known.application.keys.clear();
    let Err(CredentialError::Key(KeyReason::Unknown(_))) = verify(&known, NOW) else { panic!("a removed key proves") };
    // The credential moved to the principal proves again: it is the same one.
    known.principal.keys = [Key::of(&key_credential())].into_iter().collect();
    assert_eq!(verify(&known, NOW), proved);
}

#[test]
fn d31_what_is_cheap_is_refused_before_any_signature_is_verified() {
    let (credentials, known) = (Credentials::new(), Known::new());
    let refused = |header: serde_json::Value, claims: serde_json::Value| {
        let text = sign_compact(&SIGNER, Algorithm::Rs256, &header.to_string(), &claims.to_string()).unwrap();
        credentials.verify_assertion(known.client(), &text, &[AUTHORITY.to_owned()], NOW).unwrap_err()
    };
    let x5t = b64::url(&key_credential().x5t);
    let claims = json!({"iss": APP, "sub": APP, "aud": AUTHORITY, "exp": NOW.0 + 600});
    assert_eq!(refused(json!({"alg": "RS256"}), claims.clone()), CredentialError::Key(KeyReason::NoThumbprint));
    let unknown = CredentialError::Key(KeyReason::Unknown("00".repeat(20)));
    assert_eq!(refused(json!({"alg": "RS256", "x5t": b64::url(&[0; 20])}), claims.clone()), unknown);
    // Two thumbprints that name two certificates name none.
    let both = json!({"alg": "RS256", "x5t": x5t, "x5t#S256": b64::url(&[0; 32])});
    assert!(matches!(refused(both, claims.clone()), CredentialError::Key(KeyReason::Unknown(_))));
    let foreign = json!({"iss": "https://idp.test", "sub": "x", "aud": "y", "exp": 1});
    let issuer = CredentialError::Claims(Reason::Issuer("https://idp.test".into()));
    assert_eq!(refused(json!({"alg": "RS256", "x5t": x5t}), foreign), issuer);
    for alg in ["none", "HS256", "ES256", "RS512"] {
        let error = refused(json!({"alg": alg, "x5t": x5t}), claims.clone());
        assert_eq!(error, CredentialError::Malformed(JwsError::AlgorithmRefused), "{alg}");
    }
    assert_eq!(credentials.computations(), 0);

    let strangers = assertion(&STRANGER, NOW.0 + 600);
    let error = credentials.verify_assertion(known.client(), &strangers, &[AUTHORITY.to_owned()], NOW).unwrap_err();
    assert_eq!(error, CredentialError::Key(KeyReason::Signature));
    assert_eq!(credentials.computations(), 1);
}

#[test]
fn d34_a_remembered_assertion_is_refused_in_another_tenant() {
    let (credentials, known, mut other) = (Credentials::new(), Known::new(), Known::new());
    let header = json!({"alg": "RS256", "x5t": b64::url(&key_credential().x5t)});
    let aud = format!("{AUTHORITY}/{CONTOSO}/oauth2/v2.0/token");
    let claims = json!({"iss": APP, "sub": APP, "aud": aud, "exp": NOW.0 + 600});
    let text = sign_compact(&SIGNER, Algorithm::Rs256, &header.to_string(), &claims.to_string()).unwrap();
    credentials.verify_assertion(known.client(), &text, &[AUTHORITY.to_owned()], NOW).unwrap();
    other.tenant.id = TenantId(Uuid::from_u128(0xfa));
    other.tenant.domain = "fabrikam.test".into();
    let refused = credentials.verify_assertion(other.client(), &text, &[AUTHORITY.to_owned()], NOW);
    let by = by_certificate(APP, &KeyCheck::from(&key_credential()));
    assert_eq!(refused, Err(CredentialError::Misdirected { by, reason: Reason::Audience }));
}
