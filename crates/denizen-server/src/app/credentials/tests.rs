use denizen_keys::{Algorithm, Signer, b64, jws::sign_compact};
use serde_json::json;

use super::*;
use crate::app::{
    limits::{Limit, Limits, Rates},
    signing::fixture::{
        APP, AUTHORITY, CONTOSO, KEY_ENCRYPTION_KEYS, NOW, SECRET, SIGNER, STRANGER, application, key_credential,
        new_password_credential, password_credential, principal,
    },
};

/// The checks, asked by somebody at one address.
struct Checks {
    credentials: Credentials,
    limits: Limits,
}

impl Checks {
    fn new() -> Self {
        Self::limited(Rates::NONE)
    }

    fn limited(rates: Rates) -> Self {
        let credentials = Credentials::new(KEY_ENCRYPTION_KEYS.clone(), Hashing::of_this_machine());
        Self { credentials, limits: Limits::at_once(rates) }
    }

    fn asker(&self, client: Client<'_>, now: UnixTime) -> Asker<'_> {
        let address = "192.0.2.1".parse().unwrap();
        self.limits.asker(Some(address), now).naming(client.tenant.id, client.principal.client_id)
    }

    async fn verify_secret(
        &self,
        client: Client<'_>,
        secret: &SecretString,
        now: UnixTime,
    ) -> Result<AuthenticatedClient, CredentialError> {
        self.credentials.verify_secret(client, secret, now, self.asker(client, now)).await
    }

    fn verify_assertion(
        &self,
        client: Client<'_>,
        text: &str,
        authorities: &[String],
        now: UnixTime,
    ) -> Result<AuthenticatedClient, CredentialError> {
        self.credentials.verify_assertion(client, text, authorities, now, self.asker(client, now))
    }

    fn computations(&self) -> u64 {
        self.credentials.computations()
    }
}

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
                sealed_kek: KEY_ENCRYPTION_KEYS.create(CONTOSO),
                created: NOW,
            },
            principal: Principal::of(&principal(CONTOSO, APP), |id| id.into()),
            application: application(CONTOSO, APP),
        }
    }

    /// With a secret as it is kept now.
    fn by_mac() -> Self {
        let mut known = Self::new();
        known.application.passwords = vec![new_password_credential(&known.tenant, APP, SECRET)];
        known
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
    let (credentials, mut known) = (Checks::new(), Known::new());
    let (right, proved) = (
        SecretString::from(SECRET),
        Ok(AuthenticatedClient {
            client: APP,
            proof: ClientAuthMethod::Secret,
            credential: password_credential().key_id,
            token: None,
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
    let (credentials, known) = (Checks::new(), Known::new());
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
    let (hash, check) = (password::hash(&SecretString::from("abc-something-else")), 7);
    reset.application.passwords[0].kept = Kept::Argon2id { hash, check };
    let refused = credentials.verify_secret(reset.client(), &right, NOW).await;
    assert_eq!(refused, Err(CredentialError::WrongSecret));
}

#[tokio::test]
async fn a_wrong_secret_costs_no_hash() {
    let (credentials, known) = (Checks::new(), Known::new());
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
    let (credentials, known) = (Arc::new(Checks::new()), Arc::new(Known::new()));
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
    let (credentials, known) = (Arc::new(Checks::new()), Arc::new(Known::new()));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (credentials, known) = (Arc::clone(&credentials), Arc::clone(&known));
        asking.spawn(async move {
            credentials.verify_secret(known.client(), &SecretString::from(SECRET), NOW).await.unwrap();
        });
    }
    assert_eq!(asking.join_all().await.len(), 50);
    let at_once = Hashing::of_this_machine().at_once() as u64;
    assert!((1..=at_once).contains(&credentials.computations()), "{}", credentials.computations());
}

#[tokio::test]
async fn a_secret_of_ours_costs_no_hash_and_is_good_only_while_it_stands() {
    let (credentials, mut known) = (Checks::new(), Known::by_mac());
    let right = SecretString::from(SECRET);
    let credential = known.application.passwords[0].key_id;
    let proved = Ok(AuthenticatedClient { client: APP, proof: ClientAuthMethod::Secret, credential, token: None });
    for _ in 0..5 {
        assert_eq!(credentials.verify_secret(known.client(), &right, NOW).await, proved);
    }
    for wrong in ["", "abc", &SECRET[1..], &format!("{SECRET}x"), "abcDEF-0123456789_the-right-secreT"] {
        let refused = credentials.verify_secret(known.client(), &wrong.into(), NOW).await;
        assert_eq!(refused, Err(CredentialError::WrongSecret), "{wrong}");
    }
    let end = known.application.passwords[0].end;
    assert_eq!(credentials.verify_secret(known.client(), &right, end - 1).await, proved);
    let expired = Err(CredentialError::SecretExpired(end));
    assert_eq!(credentials.verify_secret(known.client(), &right, end).await, expired);
    known.application.passwords[0].start = NOW + 1000;
    assert_eq!(credentials.verify_secret(known.client(), &right, NOW).await, Err(CredentialError::WrongSecret));
    known.application.passwords.clear();
    assert_eq!(credentials.verify_secret(known.client(), &right, NOW).await, Err(CredentialError::WrongSecret));
    assert_eq!(credentials.computations(), 0, "there is nothing slow about it, and nothing to remember");
}

#[tokio::test]
async fn every_changed_bit_of_what_is_kept_is_noticed() {
    let (credentials, mut known) = (Checks::new(), Known::by_mac());
    let Kept::Mac(kept) = known.application.passwords[0].kept else { panic!("kept otherwise") };
    for bit in 0..256 {
        let mut changed = kept;
        changed[bit / 8] ^= 1 << (bit % 8);
        known.application.passwords[0].kept = Kept::Mac(changed);
        let refused = credentials.verify_secret(known.client(), &SECRET.into(), NOW).await;
        assert_eq!(refused, Err(CredentialError::WrongSecret), "bit {bit}");
    }
    // Whoever reads what is kept cannot send it.
    known.application.passwords[0].kept = Kept::Mac(kept);
    let read = denizen_keys::hash::hex(&kept);
    let refused = credentials.verify_secret(known.client(), &read.as_str().into(), NOW).await;
    assert_eq!(refused, Err(CredentialError::WrongSecret));
}

#[tokio::test]
async fn d25_what_is_kept_of_a_secret_is_no_other_clients() {
    let (credentials, known) = (Checks::new(), Known::by_mac());
    let right = SecretString::from(SECRET);
    credentials.verify_secret(known.client(), &right, NOW).await.unwrap();
    // The same row in another client's record, and the same client with another tenant's key.
    let (mut moved, mut elsewhere) = (Known::by_mac(), Known::by_mac());
    moved.tenant = known.tenant.clone();
    moved.application.passwords.clone_from(&known.application.passwords);
    moved.principal.client_id = ClientId(Uuid::from_u128(0xb2));
    elsewhere.application.passwords.clone_from(&known.application.passwords);
    for other in [moved, elsewhere] {
        let refused = credentials.verify_secret(other.client(), &right, NOW).await;
        assert_eq!(refused, Err(CredentialError::WrongSecret));
    }
    // A tenant whose key is not this deployment's is our fault, not the client's.
    let mut broken = Known::by_mac();
    broken.tenant.sealed_kek = "nonsense".into();
    let refused = credentials.verify_secret(broken.client(), &right, NOW).await;
    assert_eq!(refused, Err(CredentialError::Unopened(KeyError::SealedForm)));
}

#[tokio::test]
async fn an_old_secret_beside_a_new_one_proves_as_well() {
    let (credentials, mut known) = (Checks::new(), Known::by_mac());
    known.application.passwords[0] = new_password_credential(&known.tenant, APP, "a-newer-secret");
    known.application.passwords.insert(0, password_credential());
    for (secret, credential, computations) in [("a-newer-secret", 0x5ec2, 0), (SECRET, 0x5ec, 1)] {
        let proved = credentials.verify_secret(known.client(), &secret.into(), NOW).await.unwrap();
        assert_eq!(proved.credential(), Uuid::from_u128(credential));
        assert_eq!(credentials.computations(), computations);
    }
    let refused = credentials.verify_secret(known.client(), &"neither".into(), NOW).await;
    assert_eq!(refused, Err(CredentialError::WrongSecret));
    assert_eq!(credentials.computations(), 1);
}

/// Whoever is over the limit gets no costly look, and what is cheap is good all the same.
#[tokio::test]
async fn d31_over_the_limit_nothing_costly_is_done_and_what_is_cheap_is_good() {
    let rates = Rates { refused_per_client: 1, ..Rates::NONE };
    let (credentials, old, new) = (Checks::limited(rates), Known::new(), Known::by_mac());
    let (seen, unseen) = (assertion(&SIGNER, NOW.0 + 600), assertion(&SIGNER, NOW.0 + 601));
    let assert = |text: &str, now| credentials.verify_assertion(old.client(), text, &[AUTHORITY.to_owned()], now);
    assert(&seen, NOW).unwrap();
    let asker = credentials.asker(old.client(), NOW);
    while asker.was_refused().is_ok() {}
    let limited = |error| matches!(error, CredentialError::Limited(limited) if limited.limit == Limit::Client);
    assert!(limited(assert(&unseen, NOW).unwrap_err()));
    assert!(limited(credentials.verify_secret(old.client(), &SECRET.into(), NOW).await.unwrap_err()));
    assert_eq!(credentials.computations(), 1, "the one before");
    assert(&seen, NOW).unwrap();
    credentials.verify_secret(new.client(), &SECRET.into(), NOW).await.unwrap();
    assert_eq!(credentials.computations(), 1);
    // A second later there is room again, and what is remembered then is cheap.
    assert(&unseen, NOW + 1).unwrap();
    credentials.verify_secret(old.client(), &SECRET.into(), NOW + 1).await.unwrap();
    while credentials.asker(old.client(), NOW + 1).was_refused().is_ok() {}
    credentials.verify_secret(old.client(), &SECRET.into(), NOW + 1).await.unwrap();
    assert_eq!(credentials.computations(), 3);
}

#[tokio::test]
async fn a_secret_that_has_ended_is_hashed_once() {
    let (credentials, known) = (Checks::new(), Known::new());
    let end = known.application.passwords[0].end;
    for _ in 0..5 {
        let refused = credentials.verify_secret(known.client(), &SecretString::from(SECRET), end).await;
        assert_eq!(refused, Err(CredentialError::SecretExpired(end)));
    }
    assert_eq!(credentials.computations(), 1);
}

#[tokio::test]
async fn of_two_secrets_either_proves_and_is_named() {
    let (credentials, mut known) = (Checks::new(), Known::new());
    let second = PasswordCredential {
        key_id: Uuid::from_u128(2),
        hint: "zzz".into(),
        kept: Kept::Argon2id {
            hash: password::hash(&SecretString::from("zzz-second")),
            check: Kept::check_of(Uuid::from_u128(2), "zzz-second"),
        },
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
    let (credentials, mut known) = (Checks::new(), Known::new());
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
    let (credentials, known) = (Checks::new(), Known::new());
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
    let (credentials, known, mut other) = (Checks::new(), Known::new(), Known::new());
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
