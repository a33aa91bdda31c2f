//! Users in a real store.

use super::*;
use crate::app::access::tests::fixture::{Fixture, NOW};

pub(crate) const NAME: &str = "ada@t1.test";
pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

pub(crate) fn new_user(name: &str, password: &str) -> NewUser {
    NewUser {
        name: name.to_owned(),
        display_name: "Ada".to_owned(),
        password: Some(secret(password)),
        must_change: false,
    }
}

pub(crate) fn users(fixture: &Fixture) -> Users {
    Users::new(
        fixture.store.clone(),
        fixture.key_encryption_keys.clone(),
        Passwords::new(crate::app::hashing::Hashing::of_this_machine()),
    )
}

async fn record(fixture: &Fixture, id: PrincipalId) -> User {
    fixture.store.record::<User>(&fixture.ctx(), &id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_user_is_made_once_and_its_password_is_kept_as_a_hash() {
    let fixture = Fixture::new().await;
    let users = users(&fixture);
    let user = users.create(&fixture.auth(), &new_user(NAME, PASSWORD)).await.unwrap();
    assert_eq!((user.mail_nickname.as_str(), user.enabled, user.created), ("ada", true, NOW));
    let kept = record(&fixture, user.id).await;
    let hash = kept.password.unwrap().hash;
    assert!(hash.starts_with("$argon2id$") && !hash.contains("horse"), "{hash}");
    let again = users.create(&fixture.auth(), &new_user("ADA@T1.test", PASSWORD)).await;
    assert!(matches!(again, Err(ChangeError::Store(crate::store::StoreError::Exists { .. }))));
    // Neither the change log nor the audit has it.
    for file in fixture.files() {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes()), "{}", file.display());
    }
}

#[tokio::test]
async fn a_name_is_one_of_the_tenants_domain() {
    let fixture = Fixture::new().await;
    let users = users(&fixture);
    let long = format!("{}@t1.test", "a".repeat(65));
    for name in [
        "ada",
        "@t1.test",
        "ada@other.test",
        "a b@t1.test",
        ".a@t1.test",
        "a.@t1.test",
        "a@b@t1.test",
        "ä@t1.test",
        &long,
    ] {
        let refused = users.create(&fixture.auth(), &new_user(name, PASSWORD)).await.err().map(|e| e.to_string());
        assert!(refused.as_ref().is_some_and(|text| text.contains("NAME@t1.test")), "{name}: {refused:?}");
    }
}

#[test]
fn a_password_has_a_length_and_is_not_the_users_name() {
    let long = "x".repeat(257);
    for (password, says) in [
        ("short12", Some("8 to 256")),
        (&long, Some("257")),
        ("ada@t1.test", Some("own name")),
        ("ADA@T1.TEST", Some("own name")),
        ("Passwörter", None),
        ("        ", None),
        // Three letters are in any word.
        ("adamant-adage", None),
    ] {
        let refused = good_password(NAME, &secret(password)).err().map(|error| error.to_string());
        assert_eq!(refused.is_some(), says.is_some(), "{password}: {refused:?}");
        assert!(refused.unwrap_or_default().contains(says.unwrap_or_default()), "{password}");
    }
    assert!(good_password("lovelace@t1.test", &secret("my-LoveLace-1815")).is_err());
}

#[tokio::test]
async fn what_ends_sessions_raises_the_epoch() {
    let fixture = Fixture::new().await;
    let users = users(&fixture);
    let auth = fixture.auth();
    let user = users.create(&auth, &new_user(NAME, PASSWORD)).await.unwrap().id;
    let auth = fixture.auth();
    let epoch = async || {
        let kept = fixture.store.snapshot().user(fixture.tenant, user).unwrap().clone();
        (kept.epoch, kept.enabled)
    };
    users.set_password(&auth, user, &secret("another password"), true).await.unwrap();
    assert_eq!(epoch().await, (1, true));
    assert!(record(&fixture, user).await.password.unwrap().must_change);
    users.revoke_sessions(&auth, user).await.unwrap();
    assert_eq!(epoch().await, (2, true));
    users.set_enabled(&auth, user, false).await.unwrap();
    assert_eq!(epoch().await, (3, false));
    users.set_enabled(&auth, user, false).await.unwrap();
    users.set_enabled(&auth, user, true).await.unwrap();
    assert_eq!(epoch().await, (3, true));
    let made = users.set_up_totp(&auth, user).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(epoch().await, (4, true));
    assert_eq!(made.uri, format!("otpauth://totp/T:ada%40t1.test?secret={}&issuer=T", made.key));
    users.remove_totp(&auth, user).await.unwrap();
    assert_eq!(record(&fixture, user).await.totp, None);
    let nobody = PrincipalId(uuid::Uuid::nil());
    assert!(matches!(users.revoke_sessions(&auth, nobody).await, Err(ChangeError::Missing(_))));
}

#[tokio::test]
async fn a_second_factors_key_is_sealed_for_its_user() {
    let fixture = Fixture::new().await;
    let users = users(&fixture);
    let [one, two] = [NAME, "bob@t1.test"].map(|name| new_user(name, PASSWORD));
    let (one, two) =
        (users.create(&fixture.auth(), &one).await.unwrap(), users.create(&fixture.auth(), &two).await.unwrap());
    let made = users.set_up_totp(&fixture.auth(), one.id).await.unwrap_or_else(|error| panic!("{error}"));
    let one = record(&fixture, one.id).await;
    let (totp, snapshot) = (one.totp.clone().unwrap(), fixture.store.snapshot());
    let tenant = snapshot.tenant(fixture.tenant).unwrap();
    let key = users.totp_key(tenant, &one, &totp).unwrap();
    assert_eq!(totp::base32(&key).expose(), made.key);
    assert_eq!(users.totp_key(tenant, &two, &totp).err(), Some(KeyError::Open));
    for damaged in ["", "AA==", "!", &totp.sealed[4..]] {
        let totp = Totp { sealed: damaged.to_owned(), ..totp.clone() };
        assert!(users.totp_key(tenant, &one, &totp).is_err(), "{damaged}");
    }
    for file in fixture.files() {
        let bytes = std::fs::read(&file).unwrap();
        for clear in [key.expose(), made.key.as_bytes()] {
            assert!(!bytes.windows(clear.len()).any(|part| part == clear), "{}", file.display());
        }
    }
}

#[tokio::test]
async fn a_use_case_takes_its_own_authorization_only() {
    let fixture = Fixture::new().await;
    let users = users(&fixture);
    let user = users.create(&fixture.auth(), &new_user(NAME, PASSWORD)).await.unwrap();
    let sign_in = crate::domain::sign_in::SignIn {
        tenant: fixture.tenant,
        user: user.id,
        epoch: 0,
        at: NOW,
        methods: Vec::new(),
        session: random::uuid_v4(),
    };
    let own = Authorization::by_user(&fixture.ctx(), fixture.store.snapshot(), actions::CHANGE_OWN_PASSWORD, &sign_in);
    assert!(matches!(users.revoke_sessions(&own, user.id).await, Err(ChangeError::Authorization(_))));
    assert!(matches!(users.create(&own, &new_user("b@t1.test", PASSWORD)).await, Err(ChangeError::Authorization(_))));
}
