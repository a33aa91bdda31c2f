use super::*;

/// One core: 1,000 agents a second.
const CAPACITY: Capacity = Capacity { cores: 1, handshake: 0.0007, token: 0.0003, places: 4096 };
const LIFE: i64 = 4 * 3600;

fn case(agents: u32, outage: Outage) -> Case {
    Case { agents, outage, capacity: CAPACITY, round_trip: 0.02, seed: 7 }
}

#[test]
fn nobody_waits_whose_token_is_still_good() {
    // A token is renewed at half its life, so after two thirds of that nobody has run out of it.
    let outcome = run(case(5000, Outage::Away { seconds: 4800, life: LIFE }));
    assert_eq!((outcome.waits.len(), outcome.without), (0, 0), "{outcome:?}");
    assert!(outcome.settled > 0.0, "what was due is renewed all the same");
}

#[test]
fn after_an_outage_as_long_as_a_token_lives_all_wait_as_long_as_the_server_takes_for_them() {
    let all = run(case(20_000, Outage::Away { seconds: 4 * 3600, life: LIFE }));
    assert_eq!((all.waits.len(), all.without), (20_000, 0));
    // 20,000 of 1 ms each, on one core; beside it the time that a dropped client takes to come again.
    let most = all.percentile(100);
    assert!((20.0..30.0).contains(&most), "{most}");
    let of_two =
        run(Case { capacity: Capacity { cores: 2, ..CAPACITY }, ..case(20_000, Outage::AllStarted { life: LIFE }) });
    assert!((10.0..20.0).contains(&of_two.percentile(100)), "{of_two:?}");
}

#[test]
fn agents_do_not_ask_in_the_same_seconds_and_leave_the_server_idle_between() {
    let capacity = Capacity { cores: 8, ..CAPACITY };
    let outcome = run(Case { capacity, ..case(200_000, Outage::AllStarted { life: LIFE }) });
    // 25 s of work for eight cores. With one connect time-out for all it takes 49 s: the accept queue is empty in an eighth of
    // a second, and nobody comes in three of every six.
    assert!((25.0..37.0).contains(&outcome.settled), "{}", outcome.settled);
}

#[test]
fn some_wait_when_the_outage_is_longer_than_what_the_oldest_tokens_had_left() {
    let outcome = run(case(5000, Outage::Away { seconds: 3 * 3600, life: LIFE }));
    assert!((1000..4000).contains(&outcome.waits.len()), "{}", outcome.waits.len());
    assert_eq!(outcome.without, 0);
}

#[test]
fn a_server_that_is_asked_more_than_it_can_do_drops_and_ends_none_that_it_has_taken() {
    let outcome = run(case(50_000, Outage::AllStarted { life: LIFE }));
    assert!(outcome.peak > 10_000 && outcome.failed > 0, "{}", outcome.peak);
    assert_eq!((outcome.ended, outcome.without), (0, 0));
}

#[test]
fn with_fewer_places_than_come_in_a_round_trip_nearly_nobody_is_ever_served() {
    let round_trip = 0.2;
    let all = Outage::AllStarted { life: LIFE };
    let few = run(Case { capacity: Capacity { places: 4, ..CAPACITY }, round_trip, ..case(100, all) });
    let enough = run(Case { round_trip, ..case(100, all) });
    assert!(few.ended > 1000 && few.without > 50, "{} {}", few.ended, few.without);
    assert_eq!((enough.ended, enough.without), (0, 0));
}

#[test]
fn a_seed_says_everything() {
    let outage = Outage::Away { seconds: 3 * 3600, life: LIFE };
    assert_eq!(run(case(1000, outage)).waits, run(case(1000, outage)).waits);
    assert_ne!(run(case(1000, outage)).waits, run(Case { seed: 8, ..case(1000, outage) }).waits);
}
