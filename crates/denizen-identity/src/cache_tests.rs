use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;

use super::*;
use crate::error::Unavailable;

/// Gives tokens `1`, `2`, … of a set life, one per permit; every `fail`ing one is an error.
struct Mint {
    clock: Clock,
    life: i64,
    made: AtomicUsize,
    gate: Semaphore,
    fail: Mutex<bool>,
}

impl Fetch for Mint {
    fn name(&self) -> &'static str {
        "Mint"
    }

    fn fetch<'a>(&'a self, _: &'a Ask) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            let number = self.made.fetch_add(1, Ordering::SeqCst) + 1;
            if *self.fail.lock().unwrap() {
                return Err(Unavailable::new("Mint", format!("try {number}")).into());
            }
            Ok(Token::new(number.to_string(), self.clock.now() + self.life))
        })
    }
}

fn mint(life: i64, permits: usize) -> (Arc<Cached<Mint>>, Clock) {
    let clock = Clock::manual(UnixTime(1_000_000));
    let mint = Mint {
        clock: clock.clone(),
        life,
        made: AtomicUsize::new(0),
        gate: Semaphore::new(permits),
        fail: Mutex::new(false),
    };
    let dynamic: Clock = clock.clone() as _;
    (Arc::new(Cached::new(mint, "mint", &TokenCache::default(), dynamic)), clock)
}

async fn get(cached: &Cached<Mint>, scope: &str) -> String {
    cached.token(TokenRequest::new(&[scope])).await.map(|t| t.secret().to_owned()).unwrap_or_else(|e| e.to_string())
}

/// Lets the renewal in the background come to its end.
async fn settled() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_at_once_are_one_fetch() {
    let (cached, _) = mint(3600, 0);
    let askers: Vec<_> = (0..50)
        .map(|_| {
            let cached = Arc::clone(&cached);
            tokio::spawn(async move { get(&cached, "s").await })
        })
        .collect();
    tokio::task::yield_now().await;
    cached.fetch.gate.add_permits(50);
    for asker in askers {
        assert_eq!(asker.await.unwrap(), "1");
    }
    assert_eq!(cached.fetch.made.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_failure_is_told_to_all_who_waited_and_not_kept() {
    let (cached, _) = mint(3600, 0);
    *cached.fetch.fail.lock().unwrap() = true;
    let askers: Vec<_> = (0..9)
        .map(|_| {
            let cached = Arc::clone(&cached);
            tokio::spawn(async move { get(&cached, "s").await })
        })
        .collect();
    tokio::task::yield_now().await;
    cached.fetch.gate.add_permits(50);
    for asker in askers {
        assert_eq!(asker.await.unwrap(), "Mint is unavailable: try 1");
    }
    *cached.fetch.fail.lock().unwrap() = false;
    assert_eq!(get(&cached, "s").await, "2");
}

#[tokio::test]
async fn one_who_gives_up_does_not_take_the_token_with_him() {
    let (cached, _) = mint(3600, 0);
    let gone = {
        let cached = Arc::clone(&cached);
        tokio::spawn(async move { get(&cached, "s").await })
    };
    tokio::task::yield_now().await;
    gone.abort();
    cached.fetch.gate.add_permits(50);
    assert_eq!(get(&cached, "s").await, "1");
}

#[tokio::test]
async fn each_resource_has_its_own() {
    let (cached, _) = mint(3600, 50);
    assert_eq!([get(&cached, "a").await, get(&cached, "b").await, get(&cached, "a").await], ["1", "2", "1"]);
}

#[tokio::test]
async fn a_long_life_is_renewed_at_half_in_the_background() {
    let (cached, clock) = mint(7200, 50);
    assert_eq!(get(&cached, "s").await, "1");
    clock.advance(3599);
    assert_eq!(get(&cached, "s").await, "1");
    settled().await;
    assert_eq!(cached.fetch.made.load(Ordering::SeqCst), 1, "too early to renew");
    clock.advance(1);
    assert_eq!(get(&cached, "s").await, "1", "nobody waits for the renewal");
    settled().await;
    assert_eq!(get(&cached, "s").await, "2");
}

#[tokio::test]
async fn a_short_life_is_renewed_in_its_last_five_minutes() {
    let (cached, clock) = mint(3600, 50);
    get(&cached, "s").await;
    clock.advance(3299);
    assert_eq!(get(&cached, "s").await, "1");
    clock.advance(1);
    assert_eq!(get(&cached, "s").await, "2");
}

#[tokio::test]
async fn a_very_short_life_is_not_fetched_with_every_call() {
    let (cached, clock) = mint(200, 50);
    assert_eq!([get(&cached, "s").await, get(&cached, "s").await], ["1", "1"]);
    clock.advance(100);
    assert_eq!(get(&cached, "s").await, "2");
}

#[tokio::test]
async fn the_old_token_serves_while_it_is_valid_and_renewal_is_tried_twice_a_minute() {
    let (cached, clock) = mint(3600, 50);
    get(&cached, "s").await;
    *cached.fetch.fail.lock().unwrap() = true;
    clock.advance(3400);
    assert_eq!([get(&cached, "s").await, get(&cached, "s").await], ["1", "1"]);
    assert_eq!(cached.fetch.made.load(Ordering::SeqCst), 2, "one try, not one per call");
    clock.advance(29);
    get(&cached, "s").await;
    assert_eq!(cached.fetch.made.load(Ordering::SeqCst), 2);
    clock.advance(1);
    get(&cached, "s").await;
    assert_eq!(cached.fetch.made.load(Ordering::SeqCst), 3);
    clock.advance(170);
    assert_eq!(get(&cached, "s").await, "Mint is unavailable: try 4", "an ended token is never handed out");
}

#[tokio::test]
async fn claims_and_fresh_go_past_the_cache_and_what_they_bring_is_kept() {
    let (cached, _) = mint(3600, 50);
    get(&cached, "s").await;
    let scopes = ["s"];
    let claimed = cached.token(TokenRequest::new(&scopes).with_claims("{}")).await.map(|t| t.secret().to_owned());
    assert_eq!(claimed.unwrap(), "2");
    assert_eq!(get(&cached, "s").await, "2");
    let fresh = cached.token(TokenRequest::new(&scopes).fresh()).await.map(|t| t.secret().to_owned());
    assert_eq!(fresh.unwrap(), "3");
}

#[test]
fn a_fetch_lost_with_its_runtime_is_made_again() {
    let (cached, _) = mint(3600, 0);
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let first = runtime();
    first.block_on(async {
        let asker = Arc::clone(&cached);
        tokio::spawn(async move { get(&asker, "s").await });
        tokio::task::yield_now().await;
    });
    drop(first);
    cached.fetch.gate.add_permits(1);
    assert_eq!(runtime().block_on(get(&cached, "s")), "1");
}

#[tokio::test]
async fn credentials_of_one_identity_share_a_cache_and_others_do_not() {
    let clock = Clock::manual(UnixTime(0));
    let cache = TokenCache::default();
    let make = |identity: &str| {
        let mint = Mint {
            clock: clock.clone(),
            life: 3600,
            made: AtomicUsize::new(0),
            gate: Semaphore::new(9),
            fail: Mutex::new(false),
        };
        Cached::new(mint, identity, &cache, clock.clone() as Clock)
    };
    let (one, same, other) = (make("a"), make("a"), make("b"));
    get(&one, "s").await;
    get(&same, "s").await;
    get(&other, "s").await;
    let made = |c: &Cached<Mint>| c.fetch.made.load(Ordering::SeqCst);
    assert_eq!((made(&one), made(&same), made(&other)), (1, 0, 1));
    cache.clear();
    get(&one, "s").await;
    assert_eq!(made(&one), 2);
}
