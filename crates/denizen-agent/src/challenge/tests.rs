use super::*;
use crate::caller::{KnownFrom, UnknownReason};

/// So that tests which reach the limits need not write thousands of files.
const SMALL: Limits = Limits { per_owner: 64, open: 512, spent: 128 };
const NOW: UnixTime = UnixTime(1_800_000_000);

fn user(uid: u32) -> Caller {
    Caller::Known { uid, cgroup: None, known_from: KnownFrom::SockDiag }
}

/// Of whom uids from 100000 to 165535 are subordinate.
const DELEGATE: u32 = 1000;
const SUBORDINATE: u32 = 100_000;

fn challenges() -> (tempfile::TempDir, Challenges, Clock) {
    challenges_with(SMALL)
}

fn challenges_with(limits: Limits) -> (tempfile::TempDir, Challenges, Clock) {
    let temp = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let keys = KeyDirectory::open(&temp.path().join("tokens"), std::path::Path::new("/nonexistent"), None).unwrap();
    let (subuid, passwd) = (temp.path().join("subuid"), temp.path().join("passwd"));
    std::fs::write(&subuid, format!("{DELEGATE}:{SUBORDINATE}:65536\n")).unwrap();
    let owners = Arc::new(Owners::of_files(&subuid, &passwd));
    (temp, Challenges::with_limits(keys, owners, clock.clone(), limits), clock)
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
    assert!(state.open.is_empty() && state.by_owner.is_empty());
    drop(state);
    for _ in 0..SMALL.open / SMALL.per_owner + 1 {
        for uid in 0..=(SMALL.open / SMALL.per_owner) as u32 {
            (0..SMALL.per_owner / 8).for_each(|_| drop(challenges.issue(&user(uid)).unwrap()));
        }
    }
    let state = challenges.state();
    assert_eq!(state.open.len(), SMALL.open);
    assert_eq!(state.by_owner.values().map(|open| open.total).sum::<usize>(), SMALL.open);
    let counted = |open: &OfOwner| open.by_uid.values().map(VecDeque::len).sum::<usize>();
    assert!(state.by_owner.values().all(|open| open.total <= SMALL.per_owner && counted(open) == open.total));
}

#[test]
fn a_poller_that_never_answers_keeps_nobody_out() {
    let (temp, challenges, _) = challenges();
    let poll = |uid: u32, times: usize| (0..times).for_each(|_| drop(challenges.issue(&user(uid)).unwrap()));
    let redeem = |path: &str, uid: u32| challenges.redeem(&key(path), &user(uid), "q").is_ok();
    // Of the same user: the oldest unanswered one goes, and its file with it.
    poll(7, SMALL.per_owner * 3);
    let mine = challenges.issue(&user(7)).unwrap();
    poll(7, SMALL.per_owner - 1);
    assert!(redeem(&mine, 7));
    // One that is being answered stays.
    poll(7, SMALL.per_owner * 2);
    assert!(redeem(&mine, 7));
    assert_eq!(std::fs::read_dir(temp.path().join("tokens")).unwrap().count(), SMALL.per_owner);
    // Of many other users together, who fill all the room there is: each of them loses before a user who has one.
    let mine = challenges.issue(&user(8)).unwrap();
    for uid in 1000..1000 + (SMALL.open / SMALL.per_owner) as u32 + 4 {
        poll(uid, SMALL.per_owner);
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

/// The attack of issue 8: 65 subordinate uids of one user, each with as many as one uid may have.
#[test]
fn d09_subordinate_uids_take_no_more_room_than_their_user_has() {
    let (temp, challenges, _) = challenges_with(LIMITS);
    let open = |uid: u32| challenges.issue(&user(uid)).unwrap();
    let (of_root, of_another) = (open(0), open(8));
    for _ in 0..64 {
        (0..65).for_each(|n| drop(open(SUBORDINATE + n)));
    }
    assert_eq!(challenges.state().of_owner(Owner::User(DELEGATE)), MAX_PER_OWNER);
    assert_eq!(std::fs::read_dir(temp.path().join("tokens")).unwrap().count(), MAX_PER_OWNER + 2);
    // While it goes on, everybody else opens and redeems.
    for (path, uid) in [(of_root, 0), (of_another, 8), (open(0), 0), (open(9), 9)] {
        (0..65).for_each(|n| drop(open(SUBORDINATE + n)));
        let redeemed = challenges.redeem(&key(&path), &user(uid), "q").unwrap();
        challenges.spend(redeemed.receipt());
    }
    // The user's own uid keeps its one: the uids that have more lose first.
    let own = open(DELEGATE);
    (0..MAX_PER_OWNER as u32).for_each(|n| drop(open(SUBORDINATE + n % 65)));
    challenges.redeem(&key(&own), &user(DELEGATE), "q").unwrap();
}

#[test]
fn a_key_is_for_the_exact_uid_not_for_all_of_its_owner() {
    let (_temp, challenges, _) = challenges();
    let key = key(&challenges.issue(&user(SUBORDINATE)).unwrap());
    for other in [DELEGATE, SUBORDINATE + 1] {
        assert_eq!(challenges.redeem(&key, &user(other), "q").unwrap_err(), RedeemError::OtherCaller);
    }
    challenges.redeem(&key, &user(SUBORDINATE), "q").unwrap();
}

#[test]
fn root_loses_no_challenge_to_others_however_many_they_are() {
    let (_temp, challenges, _) = challenges();
    let of_root = key(&challenges.issue(&user(0)).unwrap());
    // More owners than there is room for, as subordinate uids are that no file names.
    for uid in 0..SMALL.open as u32 * 2 {
        challenges.issue(&user(2000 + uid)).unwrap();
    }
    challenges.redeem(&of_root, &user(0), "q").unwrap();
    assert_eq!(challenges.state().open.len(), SMALL.open);
}

#[test]
fn what_an_owner_took_is_given_back_though_the_files_name_another_by_then() {
    let (temp, mut challenges, clock) = challenges();
    (0..5).for_each(|n| drop(challenges.issue(&user(SUBORDINATE + n)).unwrap()));
    let none = temp.path().join("none");
    challenges.owners = Arc::new(Owners::of_files(&none, &none));
    clock.advance(LIFETIME);
    challenges.expire();
    let state = challenges.state();
    assert!(state.open.is_empty() && state.by_owner.is_empty());
}
