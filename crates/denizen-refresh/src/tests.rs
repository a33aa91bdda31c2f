use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use denizen_wire::Clock;
use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::*;

const NOW: UnixTime = UnixTime(1_800_000_000);
const LIFE: i64 = 3600;
const SETTINGS: Settings = Settings { capacity: 4, retry_after: 30, retry_empty_after: 1 };

type Cache = RefreshCache<String, usize, &'static str>;

/// A cache, its clock, and a source that answers 1, 2, 3, … or fails.
struct Fixture {
    cache: Cache,
    clock: Clock,
    source: Arc<Source>,
}

struct Source {
    clock: Clock,
    asked: AtomicUsize,
    failing: Mutex<bool>,
    /// Each answer takes one permit.
    gate: Semaphore,
}

impl Source {
    async fn answer(self: Arc<Self>) -> Result<Fetched<usize>, &'static str> {
        let value = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let begins = self.clock.now();
        self.gate.acquire().await.unwrap().forget();
        if *self.failing.lock().unwrap() {
            return Err("down");
        }
        let lifetime =
            Lifetime::new(begins, begins + LIFE).with_refresh_at(begins + LIFE / 2).with_wait_at(begins + LIFE - 300);
        Ok(Fetched { value, lifetime })
    }
}

impl Fixture {
    fn new() -> Self {
        Self::with(SETTINGS)
    }

    fn with(settings: Settings) -> Self {
        let clock = Clock::manual(NOW);
        let source = Arc::new(Source {
            clock: clock.clone(),
            asked: AtomicUsize::new(0),
            failing: Mutex::new(false),
            gate: Semaphore::new(1_000_000),
        });
        let time = clock.clone();
        Self { cache: RefreshCache::new(settings, move || time.now()), clock, source }
    }

    async fn get(&self, key: &str) -> Result<usize, GetError<&'static str>> {
        let source = self.source.clone();
        self.cache.get(key, || source.answer()).await
    }

    fn get_later(&self, key: &str) -> tokio::task::JoinHandle<Result<usize, GetError<&'static str>>> {
        let (cache, source, key) = (self.cache.clone(), self.source.clone(), key.to_owned());
        tokio::spawn(async move { cache.get(key.as_str(), || source.answer()).await })
    }

    fn asked(&self) -> usize {
        self.source.asked.load(Ordering::SeqCst)
    }

    fn fail(&self, failing: bool) {
        *self.source.failing.lock().unwrap() = failing;
    }

    fn close_gate(&self) {
        self.source.gate.forget_permits(usize::MAX);
    }
}

/// Lets tasks that were started run until they wait for something.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hundred_callers_are_one_fetch_for_each_key() {
    let fixture = Fixture::new();
    let callers: Vec<_> = (0..100).map(|i| fixture.get_later(if i % 2 == 0 { "a" } else { "b" })).collect();
    let mut values = HashSet::new();
    for caller in callers {
        values.insert(caller.await.unwrap().unwrap());
    }
    assert_eq!((fixture.asked(), values.len()), (2, 2));
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_end_the_fetch_for_the_others() {
    let fixture = Fixture::new();
    fixture.close_gate();
    let first = fixture.get_later("k");
    settle().await;
    let second = fixture.get_later("k");
    settle().await;
    first.abort();
    fixture.source.gate.add_permits(1);
    assert_eq!(second.await.unwrap(), Ok(1));
    assert_eq!(fixture.asked(), 1);
}

#[tokio::test]
async fn a_value_that_is_due_is_served_and_renewed_once_in_the_background() {
    let fixture = Fixture::new();
    fixture.get("k").await.unwrap();
    fixture.clock.advance(LIFE / 2 - 1);
    assert_eq!((fixture.get("k").await, fixture.cache.peek("k"), fixture.asked()), (Ok(1), Some(1), 1));
    fixture.clock.advance(1);
    assert_eq!(fixture.cache.peek("k"), None, "something has to be done about it");
    fixture.close_gate();
    for _ in 0..10 {
        assert_eq!(fixture.get("k").await, Ok(1));
        settle().await;
    }
    assert_eq!(fixture.asked(), 2);
    fixture.source.gate.add_permits(1);
    settle().await;
    assert_eq!((fixture.get("k").await, fixture.cache.peek("k")), (Ok(2), Some(2)));
}

#[tokio::test]
async fn near_the_end_the_new_value_is_waited_for_and_the_old_one_serves_if_there_is_none() {
    let fixture = Fixture::new();
    fixture.get("k").await.unwrap();
    fixture.clock.advance(LIFE - 300);
    assert_eq!(fixture.get("k").await, Ok(2));
    fixture.clock.advance(LIFE - 300);
    fixture.fail(true);
    assert_eq!((fixture.get("k").await, fixture.asked()), (Ok(2), 3));
    // A fetch that fails only after the old value ended brings nothing.
    fixture.clock.advance(31);
    fixture.close_gate();
    let late = fixture.get_later("k");
    settle().await;
    fixture.clock.advance(300);
    fixture.source.gate.add_permits(1);
    assert_eq!(late.await.unwrap(), Err(GetError::Fetch("down")));
}

#[tokio::test]
async fn a_failed_renewal_is_repeated_after_a_while() {
    let fixture = Fixture::new();
    fixture.get("k").await.unwrap();
    fixture.clock.advance(LIFE / 2);
    fixture.fail(true);
    for asked in [2, 2, 3] {
        assert_eq!(fixture.get("k").await, Ok(1));
        settle().await;
        assert_eq!(fixture.asked(), asked);
        fixture.clock.advance(SETTINGS.retry_after / 2);
    }
    fixture.clock.advance(-1000);
    assert_eq!(fixture.get("k").await, Ok(1));
    settle().await;
    fixture.clock.advance(1000 - SETTINGS.retry_after);
    fixture.get("k").await.unwrap();
    settle().await;
    assert_eq!(fixture.asked(), 4, "a failure in the future holds nothing off");
    fixture.clock.advance(LIFE);
    assert_eq!(fixture.get("k").await, Err(GetError::Fetch("down")));
}

#[tokio::test]
async fn without_a_value_the_error_is_shared_for_as_long_as_set() {
    let fixture = Fixture::new();
    fixture.fail(true);
    for _ in 0..5 {
        assert_eq!(fixture.get("k").await, Err(GetError::Fetch("down")));
    }
    assert_eq!(fixture.asked(), 1);
    fixture.clock.advance(SETTINGS.retry_empty_after);
    fixture.get("k").await.unwrap_err();
    assert_eq!(fixture.asked(), 2);

    let fixture = Fixture::with(Settings { retry_empty_after: 0, ..SETTINGS });
    fixture.fail(true);
    fixture.get("k").await.unwrap_err();
    fixture.get("k").await.unwrap_err();
    assert_eq!(fixture.asked(), 2);
}

#[tokio::test]
async fn a_value_is_never_served_after_its_end_nor_before_its_beginning() {
    let fixture = Fixture::new();
    fixture.get("k").await.unwrap();
    fixture.clock.advance(LIFE);
    assert_eq!((fixture.cache.peek("k"), fixture.get("k").await), (None, Ok(2)));
    fixture.clock.advance(-1);
    assert_eq!((fixture.cache.peek("k"), fixture.get("k").await), (None, Ok(3)));
}

#[tokio::test]
async fn a_value_may_serve_before_its_beginning_and_is_renewed_meanwhile() {
    let fixture = Fixture::new();
    let lifetime = Lifetime::new(NOW, NOW + LIFE).with_serves_before(60);
    fixture.cache.put(&"k".into(), Fetched { value: 7, lifetime });
    fixture.clock.advance(-60);
    assert_eq!((fixture.cache.peek("k"), fixture.get("k").await), (None, Ok(7)));
    settle().await;
    assert_eq!((fixture.get("k").await, fixture.asked()), (Ok(1), 1));
    fixture.cache.put(&"k".into(), Fetched { value: 7, lifetime });
    fixture.clock.advance(-1);
    assert_eq!(fixture.get("k").await, Ok(2), "too long before it");
}

#[tokio::test]
async fn a_newer_value_is_fetched_when_the_present_one_is_not_enough() {
    let fixture = Fixture::new();
    let newer = async |least: usize| {
        let source = fixture.source.clone();
        fixture.cache.get_newer("k", |value| *value >= least, 300, || source.answer()).await
    };
    assert_eq!(newer(1).await, Ok(1), "there was none");
    assert_eq!(newer(2).await, Ok(1), "the last fetch ended just now");
    fixture.clock.advance(300);
    assert_eq!((newer(1).await, fixture.asked()), (Ok(1), 1));
    assert_eq!(newer(2).await, Ok(2));
    fixture.clock.advance(300);
    fixture.fail(true);
    assert_eq!((newer(9).await, fixture.asked()), (Ok(2), 3), "the old one, when no newer can be had");
    assert_eq!((newer(9).await, fixture.asked()), (Ok(2), 3), "a failure holds off the next fetch as well");
    fixture.clock.advance(LIFE);
    assert_eq!(newer(1).await, Err(GetError::Fetch("down")));
}

#[tokio::test]
async fn what_is_due_and_in_use_is_renewed_and_what_ended_is_forgotten() {
    let fixture = Fixture::new();
    let renew = || fixture.cache.refresh_due(|_| fixture.source.clone().answer());
    fixture.get("used").await.unwrap();
    fixture.get("unused").await.unwrap();
    fixture.get("used").await.unwrap();
    renew();
    settle().await;
    assert_eq!(fixture.asked(), 2, "nothing is due");
    fixture.clock.advance(LIFE / 2);
    renew();
    renew();
    settle().await;
    assert_eq!(fixture.asked(), 3);
    fixture.clock.advance(LIFE / 2);
    renew();
    settle().await;
    assert_eq!((fixture.cache.len(), fixture.asked()), (1, 3), "not asked for since: not renewed");
}

#[tokio::test]
async fn the_key_that_was_not_asked_for_the_longest_makes_room() {
    let fixture = Fixture::new();
    fixture.get("kept").await.unwrap();
    for i in 0..20 {
        fixture.get("kept").await.unwrap();
        fixture.get(&i.to_string()).await.unwrap();
        assert!(fixture.cache.len() <= SETTINGS.capacity);
    }
    assert_eq!(fixture.asked(), 21);
    // Values that ended go first, and what is being fetched goes last.
    fixture.clock.advance(LIFE);
    fixture.close_gate();
    let waiting = fixture.get_later("waiting");
    settle().await;
    assert_eq!(fixture.cache.len(), 1);
    for i in 0..SETTINGS.capacity {
        fixture.cache.put(&i.to_string(), Fetched { value: 99, lifetime: Lifetime::new(NOW, NOW + 2 * LIFE) });
    }
    fixture.source.gate.add_permits(1);
    assert_eq!(waiting.await.unwrap(), Ok(22));
    assert_eq!(fixture.cache.peek("waiting"), Some(22));
}

#[tokio::test]
async fn what_is_put_is_served_and_what_is_removed_does_not_come_back() {
    let fixture = Fixture::new();
    fixture.cache.put(&"k".into(), Fetched { value: 7, lifetime: Lifetime::new(NOW, NOW + 10) });
    assert_eq!((fixture.get("k").await, fixture.asked()), (Ok(7), 0));
    fixture.cache.remove("k");
    assert!(fixture.cache.is_empty());
    fixture.close_gate();
    let waiting = fixture.get_later("k");
    settle().await;
    fixture.cache.clear();
    fixture.source.gate.add_permits(1);
    assert_eq!(waiting.await.unwrap(), Ok(1), "who waited is answered");
    assert_eq!(fixture.cache.peek("k"), None, "but the result of an earlier fetch is not kept");
}

#[tokio::test]
async fn what_is_put_stays_when_an_older_fetch_ends() {
    let fixture = Fixture::new();
    fixture.get("k").await.unwrap();
    fixture.clock.advance(LIFE / 2);
    fixture.close_gate();
    assert_eq!(fixture.get("k").await, Ok(1), "renewed in the background");
    settle().await;
    let now = fixture.clock.now();
    fixture.cache.put(&"k".into(), Fetched { value: 77, lifetime: Lifetime::new(now, now + LIFE) });
    fixture.source.gate.add_permits(1);
    settle().await;
    assert_eq!((fixture.get("k").await, fixture.asked()), (Ok(77), 2));
}

#[tokio::test]
async fn a_lost_fetch_is_an_error_for_its_caller_and_tried_anew_by_those_who_waited() {
    let fixture = Fixture::new();
    let gate = Arc::new(Semaphore::new(0));
    let (cache, permit) = (fixture.cache.clone(), gate.clone());
    let starter = tokio::spawn(async move {
        let lost = || async move {
            permit.acquire().await.unwrap().forget();
            panic!("a fetch that panics");
        };
        cache.get("k", lost).await
    });
    settle().await;
    let waiter = fixture.get_later("k");
    settle().await;
    assert_eq!(fixture.asked(), 0);
    gate.add_permits(1);
    assert_eq!(starter.await.unwrap(), Err(GetError::Lost));
    assert_eq!(waiter.await.unwrap(), Ok(1));
}

#[test]
fn a_fetch_that_ended_with_its_runtime_is_not_waited_for() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fixture = Fixture::new();
    fixture.close_gate();
    let first = runtime();
    first.block_on(async {
        fixture.get_later("k");
        settle().await;
    });
    drop(first);
    fixture.source.gate.add_permits(1);
    assert_eq!(runtime().block_on(fixture.get("k")), Ok(2));
}

#[test]
fn nothing_of_a_value_is_in_the_debug_text() {
    let cache: RefreshCache<String, &str, &str> = RefreshCache::new(Settings::default(), || NOW);
    cache.put(&"k".into(), Fetched { value: "the secret", lifetime: Lifetime::new(NOW, NOW + 1) });
    assert!(!format!("{cache:?}").contains("secret"));
}

proptest! {
    #[test]
    fn the_times_of_a_lifetime_are_in_order(begins in 0_i64..100, ends in 0_i64..100, refresh in 0_i64..200, wait in 0_i64..200) {
        let (refresh, wait) = (UnixTime(refresh), UnixTime(wait));
        let new = Lifetime::new(UnixTime(begins), UnixTime(ends));
        for lifetime in [new, new.with_refresh_at(refresh), new.with_refresh_at(refresh).with_wait_at(wait), new.with_wait_at(wait).with_refresh_at(refresh)] {
            prop_assert!(lifetime.refresh_at <= lifetime.wait_at && lifetime.wait_at <= lifetime.ends);
        }
    }
}
