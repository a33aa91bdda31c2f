use super::*;
use crate::caller::{KnownFrom, UnknownReason};

/// So that tests which reach the limits need not write thousands of files.
const SMALL: Limits = Limits { per_user: 64, open: 512, spent: 128 };
const NOW: UnixTime = UnixTime(1_800_000_000);

fn user(uid: u32) -> Caller {
    Caller::Known { uid, cgroup: None, known_from: KnownFrom::SockDiag }
}

fn challenges() -> (tempfile::TempDir, Challenges, Clock) {
    let temp = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let keys = KeyDirectory::open(&temp.path().join("tokens"), std::path::Path::new("/nonexistent"), None).unwrap();
    (temp, Challenges::with_limits(keys, clock.clone(), SMALL), clock)
}

fn key(path: &str) -> String {
    format!("Basic {}", std::fs::read_to_string(path).unwrap())
}

#[test]
fn challenges_stand_beside_each_other() {
    let (_temp, challenges, _) = challenges();
    let paths: Vec<_> = (0..10).map(|_| challenges.issue(&user(7)).unwrap()).collect();
    let keys: Vec<_> = paths.iter().map(|path| key(path)).collect();
    for (path, key) in paths.iter().zip(&keys).rev() {
        let redeemed = challenges.redeem(key, &user(7), "q").unwrap();
        challenges.spend(redeemed.receipt());
        assert!(!std::path::Path::new(path).exists());
    }
    let unique: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(unique.len(), 10);
}

#[test]
fn a_key_is_for_the_caller_it_was_made_for_even_an_unknown_one() {
    let (_temp, challenges, _) = challenges();
    let unknown = Caller::Unknown(UnknownReason::NoAnswer);
    let (ours, theirs) = (key(&challenges.issue(&user(7)).unwrap()), key(&challenges.issue(&unknown).unwrap()));
    assert_eq!(challenges.redeem(&ours, &user(8), "q").unwrap_err(), RedeemError::OtherCaller);
    assert_eq!(challenges.redeem(&ours, &unknown, "q").unwrap_err(), RedeemError::OtherCaller);
    assert_eq!(challenges.redeem(&theirs, &user(7), "q").unwrap_err(), RedeemError::OtherCaller);
    challenges.redeem(&theirs, &unknown, "q").unwrap();
    // Spent, it is no less personal.
    let redeemed = challenges.redeem(&ours, &user(7), "q").unwrap();
    challenges.spend(redeemed.receipt());
    assert_eq!(challenges.redeem(&ours, &user(8), "q").unwrap_err(), RedeemError::OtherCaller);
}

#[test]
fn a_key_buys_the_request_it_was_first_presented_with_and_nothing_else() {
    let (_temp, challenges, clock) = challenges();
    let key = key(&challenges.issue(&user(7)).unwrap());
    let first = challenges.redeem(&key, &user(7), "resource=a").unwrap();
    // Before the first success already: two at once do not get two tokens.
    assert_eq!(challenges.redeem(&key, &user(7), "resource=b").unwrap_err(), RedeemError::OtherRequest);
    challenges.spend(first.receipt());
    assert_eq!(challenges.redeem(&key, &user(7), "resource=b").unwrap_err(), RedeemError::Reused);
    clock.advance(GRACE);
    challenges.redeem(&key, &user(7), "resource=a").unwrap();
    clock.advance(1);
    assert_eq!(challenges.redeem(&key, &user(7), "resource=a").unwrap_err(), RedeemError::Reused);
}

#[test]
fn time_ends_a_challenge_forwards_and_backwards() {
    let (_temp, challenges, clock) = challenges();
    let path = challenges.issue(&user(7)).unwrap();
    let key = key(&path);
    clock.advance(LIFETIME - 1);
    challenges.redeem(&key, &user(7), "q").unwrap();
    clock.advance(1);
    assert_eq!(challenges.redeem(&key, &user(7), "q").unwrap_err(), RedeemError::Unknown);
    assert!(!std::path::Path::new(&path).exists());

    let path = challenges.issue(&user(7)).unwrap();
    let key = self::key(&path);
    clock.advance(-1);
    assert_eq!(
        challenges.redeem(&key, &user(7), "q").unwrap_err(),
        RedeemError::Unknown,
        "a clock set back says nothing"
    );
}

#[test]
fn d09_what_is_remembered_is_bounded() {
    let (_temp, challenges, _) = challenges();
    for _ in 0..SMALL.spent + 50 {
        let redeemed = challenges.redeem(&key(&challenges.issue(&user(7)).unwrap()), &user(7), "q").unwrap();
        challenges.spend(redeemed.receipt());
    }
    let state = challenges.state();
    assert!(state.spent.len() <= SMALL.spent && state.spent_order.len() <= SMALL.spent);
    assert!(state.open.is_empty() && state.by_user.is_empty());
    drop(state);
    for _ in 0..SMALL.open / SMALL.per_user + 1 {
        for uid in 0..=(SMALL.open / SMALL.per_user) as u32 {
            (0..SMALL.per_user / 8).for_each(|_| drop(challenges.issue(&user(uid)).unwrap()));
        }
    }
    let state = challenges.state();
    assert_eq!(state.open.len(), SMALL.open);
    assert_eq!(state.by_user.values().map(VecDeque::len).sum::<usize>(), SMALL.open);
    assert!(state.by_user.values().all(|open| open.len() <= SMALL.per_user));
}

#[test]
fn a_poller_that_never_answers_keeps_nobody_out() {
    let (temp, challenges, _) = challenges();
    let poll = |uid: u32, times: usize| (0..times).for_each(|_| drop(challenges.issue(&user(uid)).unwrap()));
    let redeem = |path: &str, uid: u32| challenges.redeem(&key(path), &user(uid), "q").is_ok();
    // Of the same user: the oldest unanswered one goes, and its file with it.
    poll(7, SMALL.per_user * 3);
    let mine = challenges.issue(&user(7)).unwrap();
    poll(7, SMALL.per_user - 1);
    assert!(redeem(&mine, 7));
    // One that is being answered stays.
    poll(7, SMALL.per_user * 2);
    assert!(redeem(&mine, 7));
    assert_eq!(std::fs::read_dir(temp.path().join("tokens")).unwrap().count(), SMALL.per_user);
    // Of many other users together, who fill all the room there is: each of them loses before a user who has one.
    let mine = challenges.issue(&user(8)).unwrap();
    for uid in 1000..1000 + (SMALL.open / SMALL.per_user) as u32 + 4 {
        poll(uid, SMALL.per_user);
    }
    assert!(redeem(&mine, 8));
    assert_eq!(challenges.state().open.len(), SMALL.open);
}

#[test]
fn many_users_with_one_challenge_each_push_out_the_oldest_first() {
    let (_temp, challenges, _) = challenges();
    let mut uids = 1000..;
    let mut crowd = |size: usize| {
        uids.by_ref().take(size).for_each(|uid| drop(challenges.issue(&user(uid)).unwrap()));
    };
    crowd(SMALL.open);
    let mine = key(&challenges.issue(&user(7)).unwrap());
    crowd(SMALL.open - 1);
    assert!(challenges.redeem(&mine, &user(7), "q").is_ok(), "there was room for as many");
    assert_eq!(challenges.state().open.len(), SMALL.open);
}

#[test]
fn no_two_secrets_are_alike_and_none_is_kept() {
    let (_temp, challenges, _) = challenges();
    let key = key(&challenges.issue(&user(7)).unwrap());
    let kept = format!("{:?}", challenges.state().open.keys().collect::<Vec<_>>());
    assert!(!kept.contains(&key["Basic ".len()..]));
    for scheme in ["basic", "BASIC"] {
        let other = key.replace("Basic", scheme);
        challenges.redeem(&other, &user(7), "q").unwrap();
    }
}
