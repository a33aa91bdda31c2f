//! Signing in, with a real store.

use denizen_wire::PrincipalId;

use super::*;
use crate::{
    app::{
        access::tests::fixture::{Fixture, NOW},
        users::tests::{NAME, PASSWORD, new_user, secret, users},
    },
    domain::hot,
};

struct People {
    fixture: Fixture,
    users: Users,
    service: SignInService,
    ada: PrincipalId,
}

impl People {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let users = users(&fixture);
        let service = service(&fixture, &users);
        let ada = users.create(&fixture.auth(), &new_user(NAME, PASSWORD)).await.unwrap().id;
        Self { fixture, users, service, ada }
    }

    fn at(&self, now: UnixTime) -> Ctx {
        Ctx { now, address: Some([192, 0, 2, 1].into()), ..self.fixture.ctx() }
    }

    async fn password(&self, now: UnixTime, name: &str, password: &str) -> Result<Step, SignInError> {
        self.service.password(&self.at(now), self.fixture.tenant, name, &secret(password)).await
    }

    /// The code of Ada's second factor.
    async fn code(&self, now: UnixTime) -> String {
        let record = self.fixture.store.record::<User>(&self.fixture.ctx(), &self.ada).await.unwrap().unwrap();
        let snapshot = self.fixture.store.snapshot();
        let tenant = snapshot.tenant(self.fixture.tenant).unwrap();
        let key = self.users.totp_key(tenant, &record, record.totp.as_ref().unwrap()).unwrap();
        totp::code(&key, u64::try_from(now.0 / totp::STEP).unwrap())
    }

    fn user(&self) -> Arc<hot::User> {
        Arc::clone(self.fixture.store.snapshot().user(self.fixture.tenant, self.ada).unwrap())
    }
}

fn service(fixture: &Fixture, users: &Users) -> SignInService {
    SignInService::new(
        fixture.store.clone(),
        users.clone(),
        Passwords::new(crate::app::hashing::Hashing::of_this_machine()),
        Strangers::default(),
    )
}

fn code_of<T>(result: Result<T, SignInError>) -> i32 {
    result.err().map_or(0, |error| error.code())
}

#[tokio::test]
async fn the_right_password_signs_in_whatever_the_names_case() {
    let people = People::new().await;
    for name in [NAME, "ADA@t1.TEST"] {
        let Step::Done(sign_in) = people.password(NOW, name, PASSWORD).await.unwrap() else { panic!("more to do") };
        assert_eq!(
            (sign_in.user, sign_in.epoch, sign_in.at, sign_in.methods),
            (people.ada, 0, NOW, vec!["pwd".to_owned()])
        );
    }
}

#[tokio::test]
async fn nobody_learns_who_is_there() {
    let people = People::new().await;
    let no_password = crate::app::users::NewUser { password: None, ..new_user("bob@t1.test", PASSWORD) };
    people.users.create(&people.fixture.auth(), &no_password).await.unwrap();
    let mut said = Vec::new();
    for (name, password) in [
        (NAME, "wrong password"),
        ("nobody@t1.test", PASSWORD),
        ("bob@t1.test", PASSWORD),
        ("", ""),
        ("ada@other.test", PASSWORD),
    ] {
        let before = people.service.passwords.computed();
        let error = people.password(NOW, name, password).await.unwrap_err();
        // One argon2id, whoever it is: what the time of an answer is made of.
        assert_eq!(people.service.passwords.computed(), before + 1, "{name}");
        said.push((error.code(), error.to_string()));
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].0, 50_126);
    assert_eq!(people.service.strangers.count(Reason::Password), 5);
    // A stranger leaves no record.
    assert_eq!(people.fixture.audited(SIGN_IN).await, []);
}

#[tokio::test]
async fn an_account_that_is_guessed_at_is_closed_for_a_growing_time() {
    let people = People::new().await;
    for name in [NAME, "nobody@t1.test"] {
        for _ in 0..10 {
            assert_eq!(code_of(people.password(NOW, name, "wrong password").await), 50_126);
        }
        let before = people.service.passwords.computed();
        let refused = people.password(NOW, name, PASSWORD).await.unwrap_err();
        assert!(matches!(refused, SignInError::Locked(until) if until == NOW + 60), "{refused:?}");
        assert_eq!(people.service.passwords.computed(), before, "refused before anything is hashed");
        assert_eq!(code_of(people.password(NOW + 59, name, PASSWORD).await), 50_053);
        assert_eq!(code_of(people.password(NOW + 60, name, "wrong password").await), 50_126);
        assert_eq!(code_of(people.password(NOW + 120, name, PASSWORD).await), 50_053);
    }
    assert_eq!(code_of(people.password(NOW + 60 + 120, NAME, PASSWORD).await), 0);
    assert_eq!(code_of(people.password(NOW + 60 + 120, NAME, "wrong password").await), 50_126);
}

#[tokio::test]
async fn many_guesses_at_a_time_are_no_more_than_one_after_the_other() {
    let people = Arc::new(People::new().await);
    let mut tried = tokio::task::JoinSet::new();
    for _ in 0..25 {
        let people = Arc::clone(&people);
        tried.spawn(async move { code_of(people.password(NOW, NAME, "wrong password").await) });
    }
    let codes = tried.join_all().await;
    assert_eq!(codes.iter().filter(|code| **code == 50_126).count(), 10, "{codes:?}");
    assert_eq!(people.service.passwords.computed(), 10);
}

#[tokio::test]
async fn an_address_that_tries_many_names_is_closed_and_another_is_not() {
    let people = People::new().await;
    for n in 0..50 {
        assert_eq!(code_of(people.password(NOW, &format!("user{n}@t1.test"), "wrong").await), 50_126);
    }
    assert_eq!(code_of(people.password(NOW, NAME, PASSWORD).await), 50_053);
    let elsewhere = Ctx { address: Some([192, 0, 2, 2].into()), ..people.at(NOW) };
    let there = people.service.password(&elsewhere, people.fixture.tenant, NAME, &secret(PASSWORD)).await;
    assert!(there.is_ok());
}

#[tokio::test]
async fn a_disabled_user_is_told_so_when_it_knows_its_password() {
    let people = People::new().await;
    people.users.set_enabled(&people.fixture.auth(), people.ada, false).await.unwrap();
    assert_eq!(code_of(people.password(NOW, NAME, "wrong password").await), 50_126);
    assert_eq!(code_of(people.password(NOW, NAME, PASSWORD).await), 50_057);
    let records = people.fixture.audited(SIGN_IN).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert!(records[0].2.contains("disabled"));
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_each_code_is_good_once() {
    let people = People::new().await;
    assert!(people.users.set_up_totp(&people.fixture.auth(), people.ada).await.is_ok());
    let step = people.password(NOW, NAME, PASSWORD).await.unwrap();
    assert_eq!(code_of(step.clone().done()), 50_076);
    let Step::Next(NextStep::Code, sign_in) = step else { panic!("{step:?}") };
    let ctx = people.at(NOW);
    let kept = people.service.keep(&ctx, NextStep::Code, &sign_in).await.unwrap();
    let other = people.service.keep(&ctx, NextStep::Code, &sign_in).await.unwrap();
    assert_eq!(code_of(people.service.code(&ctx, &kept, "000000x").await), 500_121);
    assert_eq!(code_of(people.service.code(&ctx, &secret("nothing"), "123456").await), 50_089);
    // What is typed between is another step's.
    assert_eq!(code_of(people.service.new_password(&ctx, &kept, &secret("another password")).await), 50_089);
    let code = people.code(NOW).await;
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    let Step::Done(done) = people.service.code(&ctx, &kept, &spaced).await.unwrap() else { panic!("more to do") };
    assert_eq!(done.methods, ["pwd", "mfa"]);
    // Neither the code nor the step is good again.
    assert_eq!(code_of(people.service.code(&ctx, &other, &code).await), 500_121);
    assert_eq!(code_of(people.service.code(&ctx, &kept, &code).await), 50_089);
    let later = people.at(NOW + 30);
    assert!(people.service.code(&later, &other, &people.code(NOW + 30).await).await.is_ok());
}

#[tokio::test]
async fn guesses_at_a_second_factor_are_few_and_a_step_ends() {
    let people = People::new().await;
    assert!(people.users.set_up_totp(&people.fixture.auth(), people.ada).await.is_ok());
    let Step::Next(_, sign_in) = people.password(NOW, NAME, PASSWORD).await.unwrap() else { panic!("done") };
    let ctx = people.at(NOW);
    let kept = people.service.keep(&ctx, NextStep::Code, &sign_in).await.unwrap();
    for _ in 0..5 {
        assert_eq!(code_of(people.service.code(&ctx, &kept, "").await), 500_121);
        // The right password in between gives no more guesses.
        assert!(people.password(NOW, NAME, PASSWORD).await.is_ok());
    }
    let code = people.code(NOW).await;
    assert_eq!(code_of(people.service.code(&ctx, &kept, &code).await), 50_053);
    let late = people.at(NOW + STEPS_LIFETIME);
    assert_eq!(code_of(people.service.code(&late, &kept, &code).await), 50_089);
}

#[tokio::test]
async fn who_has_been_given_a_password_chooses_another_first() {
    let people = People::new().await;
    people.users.set_password(&people.fixture.auth(), people.ada, &secret("given by somebody"), true).await.unwrap();
    let step = people.password(NOW, NAME, "given by somebody").await.unwrap();
    assert_eq!(code_of(step.clone().done()), 50_055);
    let Step::Next(NextStep::NewPassword, sign_in) = step else { panic!("{step:?}") };
    let ctx = people.at(NOW);
    let kept = people.service.keep(&ctx, NextStep::NewPassword, &sign_in).await.unwrap();
    let other = people.service.keep(&ctx, NextStep::NewPassword, &sign_in).await.unwrap();
    let session = people.service.open_session(&ctx, &sign_in, None).await.unwrap();
    // What breaks a rule is not hashed.
    for (bad, hashes) in [("short", 0), ("given by somebody", 1)] {
        let before = people.service.passwords.computed();
        assert_eq!(code_of(people.service.new_password(&ctx, &kept, &secret(bad)).await), 50_142, "{bad}");
        assert_eq!(people.service.passwords.computed(), before + hashes, "{bad}");
    }
    let done = people.service.new_password(&ctx, &kept, &secret("my own choice")).await.unwrap();
    assert_eq!((done.epoch, done.epoch), (people.user().epoch, sign_in.epoch + 1));
    let over = people.service.session(&ctx, &session).await.unwrap();
    assert_eq!(over, None, "what was signed in by the old one is over");
    // Nor does another browser that had come as far go on.
    assert_eq!(code_of(people.service.new_password(&ctx, &other, &secret("yet another")).await), 50_089);
    assert_eq!(people.user().epoch, done.epoch);
    assert_eq!(code_of(people.service.new_password(&ctx, &kept, &secret("yet another")).await), 50_089);
    assert!(matches!(people.password(NOW, NAME, "my own choice").await, Ok(Step::Done(_))));
}

#[tokio::test]
async fn a_session_ends_by_time_by_signing_out_and_with_its_users_epoch() {
    let people = People::new().await;
    let ctx = people.at(NOW);
    let Step::Done(sign_in) = people.password(NOW, NAME, PASSWORD).await.unwrap() else { panic!("more to do") };
    let fresh = || SignIn { session: random::uuid_v4(), epoch: people.user().epoch, ..sign_in.clone() };
    let first = people.service.open_session(&ctx, &sign_in, None).await.unwrap();
    assert_eq!(people.service.session(&ctx, &first).await.unwrap(), Some(sign_in.clone()));
    assert_eq!(people.service.session(&ctx, &secret("another")).await.unwrap(), None);
    let end = people.at(NOW + crate::domain::sign_in::SESSION_LIFETIME);
    assert_eq!(people.service.session(&end, &first).await.unwrap(), None);
    let second = people.service.open_session(&ctx, &fresh(), Some(&first)).await.unwrap();
    assert_eq!(people.service.session(&ctx, &first).await.unwrap(), None, "the one before has ended");
    people.service.close_session(&ctx, &second).await.unwrap();
    people.service.close_session(&ctx, &second).await.unwrap();
    assert_eq!(people.service.session(&ctx, &second).await.unwrap(), None);
    for end in ["revoke", "disable"] {
        let session = people.service.open_session(&ctx, &fresh(), None).await.unwrap();
        assert!(people.service.session(&ctx, &session).await.unwrap().is_some());
        match end {
            "revoke" => people.users.revoke_sessions(&people.fixture.auth(), people.ada).await.unwrap(),
            _ => people.users.set_enabled(&people.fixture.auth(), people.ada, false).await.unwrap(),
        }
        assert_eq!(people.service.session(&ctx, &session).await.unwrap(), None, "{end}");
        people.service.close_session(&ctx, &session).await.unwrap();
    }
}

#[tokio::test]
async fn a_new_password_is_compared_with_the_old_one_a_few_times_only() {
    let people = People::new().await;
    people.users.set_password(&people.fixture.auth(), people.ada, &secret("given by somebody"), true).await.unwrap();
    let Step::Next(_, sign_in) = people.password(NOW, NAME, "given by somebody").await.unwrap() else { panic!("done") };
    let ctx = people.at(NOW);
    let kept = people.service.keep(&ctx, NextStep::NewPassword, &sign_in).await.unwrap();
    for _ in 0..10 {
        let same = people.service.new_password(&ctx, &kept, &secret("given by somebody")).await;
        assert_eq!(code_of(same), 50_142);
    }
    let before = people.service.passwords.computed();
    assert_eq!(code_of(people.service.new_password(&ctx, &kept, &secret("my own choice")).await), 50_053);
    assert_eq!(people.service.passwords.computed(), before);
    let later = people.at(NOW + 60);
    assert!(people.service.new_password(&later, &kept, &secret("my own choice")).await.is_ok());
}

/// Whoever is at another address has counts of its own, and many together close only where the owner has not been.
#[tokio::test]
async fn nobody_keeps_an_accounts_owner_out_from_where_it_has_signed_in() {
    let people = People::new().await;
    let from = async |n: u8, password: &str| {
        let ctx = Ctx { address: Some([198, 51, 100, n].into()), ..people.at(NOW) };
        code_of(people.service.password(&ctx, people.fixture.tenant, NAME, &secret(password)).await)
    };
    assert_eq!(from(100, PASSWORD).await, 0);
    for n in 0..10 {
        for _ in 0..10 {
            assert_eq!(from(n, "wrong password").await, 50_126);
        }
        assert_eq!(from(n, PASSWORD).await, 50_053);
    }
    assert_eq!(from(101, PASSWORD).await, 50_053);
    assert_eq!(from(100, PASSWORD).await, 0);
    // Nor does it help to guess from there.
    for _ in 0..10 {
        assert_eq!(from(100, "wrong password").await, 50_126);
    }
    assert_eq!(from(100, PASSWORD).await, 50_053);
}

/// Fifty people behind one address sign in day after day, and mistype now and then.
#[tokio::test]
async fn an_address_from_where_many_sign_in_is_not_closed_by_that() {
    let guard = guard::Guard::default();
    let tenant = TenantId(uuid::Uuid::from_u128(1));
    for minute in 0..3 * 24 * 60 {
        let now = NOW + minute * 60;
        let name = format!("user{}@t1.test", minute % 50);
        let admitted = guard.admit(tenant, &name, Some([192, 0, 2, 1].into()), now).unwrap();
        // One in ninety is wrong: sixteen a day.
        if minute % 90 == 0 { drop(admitted) } else { admitted.was_right() }
    }
}

/// A failure of ours says nothing of the password: it neither counts nor forgets what counted.
#[tokio::test]
async fn what_was_not_decided_changes_no_count() {
    let guard = guard::Guard::default();
    let tenant = TenantId(uuid::Uuid::from_u128(1));
    let admit = || guard.admit(tenant, NAME, Some([192, 0, 2, 1].into()), NOW);
    for _ in 0..9 {
        drop(admit().unwrap());
    }
    for _ in 0..20 {
        let failed: Result<(), _> = Err(SignInError::Unhashed(Unhashed::Busy));
        assert!(admit().unwrap().end(failed).is_err());
    }
    drop(admit().unwrap());
    assert_eq!(admit().err(), Some(NOW + 60));
}

/// Whoever has come as far by a password that is not the user's any more learns nothing of the one that is.
#[tokio::test]
async fn an_old_step_says_nothing_of_the_new_password() {
    let people = People::new().await;
    people.users.set_password(&people.fixture.auth(), people.ada, &secret("given by somebody"), true).await.unwrap();
    let Step::Next(_, sign_in) = people.password(NOW, NAME, "given by somebody").await.unwrap() else { panic!("done") };
    let ctx = people.at(NOW);
    let [hers, left] = [
        people.service.keep(&ctx, NextStep::NewPassword, &sign_in).await.unwrap(),
        people.service.keep(&ctx, NextStep::NewPassword, &sign_in).await.unwrap(),
    ];
    people.service.new_password(&ctx, &hers, &secret("my own choice")).await.unwrap();
    let before = people.service.passwords.computed();
    for guess in ["my own choice", "another choice"] {
        assert_eq!(code_of(people.service.new_password(&ctx, &left, &secret(guess)).await), 50_089, "{guess}");
    }
    assert_eq!(people.service.passwords.computed(), before, "nothing is compared");
}
