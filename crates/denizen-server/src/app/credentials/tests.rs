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
    principal: ServicePrincipal,
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
            principal: principal(CONTOSO, APP),
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
        Ok(AuthenticatedClient { proof: ClientAuthMethod::Secret, credential: password_credential().key_id }),
    );
    for _ in 0..5 {
        assert_eq!(credentials.verify_secret(Some(known.client()), &right, NOW).await, proved);
    }
    assert_eq!(credentials.computations(), 1);

    let end = known.application.passwords[0].end;
    let expired = Err(CredentialError::SecretExpired(end));
    assert_eq!(credentials.verify_secret(Some(known.client()), &right, end - 1).await, proved);
    assert_eq!(credentials.verify_secret(Some(known.client()), &right, end).await, expired);

    known.application.passwords.clear();
    assert_eq!(credentials.verify_secret(Some(known.client()), &right, NOW).await, Err(CredentialError::WrongSecret));
}

#[tokio::test]
async fn d25_a_remembered_secret_is_no_other_clients() {
    let (credentials, known) = (Credentials::new(), Known::new());
    let right = SecretString::from(SECRET);
    credentials.verify_secret(Some(known.client()), &right, NOW).await.unwrap();
    let mut other = Known::new();
    other.application.passwords.clear();
    for id in [known.principal.client_id.0.as_u128() + 1, known.principal.client_id.0.as_u128()] {
        other.principal.client_id = ClientId(Uuid::from_u128(id));
        let refused = credentials.verify_secret(Some(other.client()), &right, NOW).await;
        assert_eq!(refused, Err(CredentialError::WrongSecret), "{id:x}");
    }
    // A new hash of the same secret under the same id is another credential.
    let mut reset = Known::new();
    reset.application.passwords[0].hash = password::hash(&SecretString::from("abc-something-else"));
    let refused = credentials.verify_secret(Some(reset.client()), &right, NOW).await;
    assert_eq!(refused, Err(CredentialError::WrongSecret));
}

#[tokio::test]
async fn whoever_asks_costs_one_hash_at_least() {
    let (credentials, known) = (Credentials::new(), Known::new());
    let mut none = Known::new();
    none.application.passwords.clear();
    let managed = Client { application: None, ..known.client() };
    for (client, secret) in [
        (None, SECRET),
        (Some(known.client()), "abcWRONG"),
        (Some(known.client()), "another beginning"),
        (Some(none.client()), SECRET),
        (Some(managed), SECRET),
    ] {
        let before = credentials.computations();
        let refused = credentials.verify_secret(client, &SecretString::from(secret), NOW).await;
        assert_eq!(refused, Err(CredentialError::WrongSecret), "{secret}");
        assert_eq!(credentials.computations(), before + 1, "{secret}");
    }
}

#[tokio::test]
async fn of_two_secrets_either_proves_and_is_named() {
    let (credentials, mut known) = (Credentials::new(), Known::new());
    let second = PasswordCredential {
        key_id: Uuid::from_u128(2),
        hint: "zzz".into(),
        hash: password::hash(&SecretString::from("zzz-second")),
        ..password_credential()
    };
    known.application.passwords.push(second);
    let proved = credentials.verify_secret(Some(known.client()), &SecretString::from("zzz-second"), NOW).await;
    assert_eq!(proved.unwrap().credential, Uuid::from_u128(2));
    assert_eq!(credentials.computations(), 1, "the hint says which");
    let proved = credentials.verify_secret(Some(known.client()), &SecretString::from(SECRET), NOW).await;
    assert_eq!(proved.unwrap().credential, password_credential().key_id);
    known.application.passwords[0].start = NOW + 1000;
    let early = credentials.verify_secret(Some(known.client()), &SecretString::from(SECRET), NOW).await;
    assert_eq!(early, Err(CredentialError::WrongSecret));
}

#[test]
fn an_assertion_is_verified_once_and_remembered_only_while_everything_holds() {
    let (credentials, mut known) = (Credentials::new(), Known::new());
    let text = assertion(&SIGNER, NOW.0 + 600);
    let verify = |known: &Known, now| credentials.verify_assertion(known.client(), &text, &[AUTHORITY.to_owned()], now);
    let proved = Ok(AuthenticatedClient { proof: ClientAuthMethod::Certificate, credential: key_credential().key_id });
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
    known.principal.keys = vec![key_credential()];
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
    assert_eq!(refused, Err(CredentialError::Claims(Reason::Audience)));
}
