use std::{net::Ipv4Addr, task::Poll};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const NOW: UnixTime = UnixTime(1_795_239_900);
const TENANT: TenantId = TenantId(Uuid::from_u128(1));
const RATES: Rates = Rates { refused_per_address: 4, refused_per_client: 1, tokens_per_client: 3 };

fn client(n: u128) -> ClientId {
    ClientId(Uuid::from_u128(n))
}

fn v4(n: u32) -> Option<IpAddr> {
    Some(Ipv4Addr::from_bits(0x0a00_0000 + n).into())
}

/// How many refusals of these are not over a limit, until one is.
fn until_limited(mut refused: impl FnMut() -> Result<(), Limited>) -> (u32, Limited) {
    for n in 0..100_000 {
        if let Err(limited) = refused() {
            return (n, limited);
        }
    }
    panic!("there is no limit")
}

#[test]
fn a_burst_is_let_be_and_then_as_many_as_come_in_time() {
    let limits = Limits::at_once(RATES);
    let refused = |now| limits.asker(v4(1), now).naming(TENANT, client(1)).was_refused();
    let limited = Limited { limit: Limit::Client, retry_after: 1 };
    assert_eq!(until_limited(|| refused(NOW)), (10, limited));
    assert_eq!(refused(NOW), Err(limited), "and it does not wear off by asking");
    for second in 1..20 {
        assert_eq!([refused(NOW + second), refused(NOW + second)], [Ok(()), Err(limited)], "{second}");
    }
    assert_eq!(until_limited(|| refused(NOW + 3600)).0, 10, "an hour later all is forgotten");
}

#[test]
fn whether_something_may_cost_counts_nothing() {
    let limits = Limits::at_once(RATES);
    let asker = |now| limits.asker(v4(1), now).naming(TENANT, client(1));
    for _ in 0..1000 {
        asker(NOW).may_cost().unwrap();
    }
    assert_eq!(until_limited(|| asker(NOW).was_refused()).0, 10);
    assert_eq!(asker(NOW).may_cost().unwrap_err().limit, Limit::Client);
    asker(NOW + 1).may_cost().unwrap();
    asker(NOW + 1).may_cost().unwrap();
    asker(NOW + 1).was_refused().unwrap();
    assert_eq!(asker(NOW + 1).may_cost().unwrap_err().limit, Limit::Client);
}

#[test]
fn a_client_is_counted_with_its_address_and_no_other_is_shut_out() {
    let limits = Limits::at_once(RATES);
    let of = |address, n| limits.asker(v4(address), NOW).naming(TENANT, client(n));
    until_limited(|| of(1, 1).was_refused());
    for _ in 0..10_000 {
        assert_eq!(of(1, 1).was_refused().unwrap_err().limit, Limit::Client);
    }
    // The same client from elsewhere; others from the same address, since what was over the client's limit was not
    // counted for it; and the same client of another tenant.
    of(2, 1).was_refused().unwrap();
    of(1, 2).was_refused().unwrap();
    limits.asker(v4(1), NOW).naming(TenantId(Uuid::from_u128(2)), client(1)).was_refused().unwrap();
}

#[test]
fn whoever_goes_through_the_clients_reaches_the_limit_of_the_address() {
    let limits = Limits::at_once(RATES);
    let mut n = 0;
    let (let_be, limited) = until_limited(|| {
        n += 1;
        limits.asker(v4(1), NOW).naming(TENANT, client(n)).was_refused()
    });
    assert_eq!((let_be, limited), (40, Limited { limit: Limit::Address, retry_after: 1 }));
    assert_eq!(limits.asker(v4(1), NOW).was_refused(), Err(limited), "whoever names none as well");
    limits.asker(v4(2), NOW).naming(TENANT, client(1)).was_refused().unwrap();
}

#[test]
fn of_ipv6_a_subscriber_is_counted_not_an_address() {
    let limits = Limits::at_once(RATES);
    let refused = |text: &str| limits.asker(Some(text.parse().unwrap()), NOW).was_refused();
    let mut n = 0;
    let (let_be, _) = until_limited(|| {
        n += 1;
        refused(&format!("2001:db8:1:2:{n:x}::{n:x}"))
    });
    assert_eq!(let_be, 40);
    assert!(refused("2001:db8:1:2::").is_err());
    refused("2001:db8:1:3::1").unwrap();
    // An IPv4 address is itself however it is written, and each is counted.
    until_limited(|| refused("192.0.2.1"));
    assert!(refused("::ffff:192.0.2.1").is_err());
    refused("::ffff:192.0.2.2").unwrap();
}

#[test]
fn many_addresses_take_bounded_memory_and_an_attacker_stays_limited() {
    const KEYS: usize = 1000;
    let limits = Limits::with(RATES, KEYS, Duration::ZERO);
    let keys = |limit| limits.counts().find(|(it, ..)| *it == limit).unwrap().2;
    for n in 0..100_000 {
        limits.asker(v4(n), NOW).naming(TENANT, client(n.into())).was_refused().unwrap();
        if n % 997 == 0 {
            assert!(keys(Limit::Address) <= KEYS && keys(Limit::Client) <= KEYS, "after {n}");
        }
    }
    assert!(keys(Limit::Address) > KEYS / 2);
    // While others come, who keeps asking is kept.
    let mut limited = 0;
    for n in 0..10_000 {
        limits.asker(v4(200_000 + n), NOW).was_refused().unwrap();
        limited += u32::from(limits.asker(v4(150_000), NOW).was_refused().is_err());
    }
    assert!(limited > 9_000, "{limited}");
}

#[test]
fn a_clients_tokens_are_limited_where_somebody_says_so() {
    let limits = Limits::at_once(RATES);
    let (let_be, limited) = until_limited(|| limits.asks_for_token(TENANT, (client(1), None), NOW));
    assert_eq!((let_be, limited), (30, Limited { limit: Limit::Tokens, retry_after: 1 }));
    assert!(limited.to_string().contains("limits.tokens_per_client") && limited.to_string().contains("in 1 s"));
    limits.asks_for_token(TENANT, (client(2), None), NOW).unwrap();
    assert_eq!(until_limited(|| limits.asks_for_token(TENANT, (client(1), None), NOW + 1)).0, 3);
    let counts: Vec<_> = limits.counts().filter(|(_, reached, _)| *reached > 0).collect();
    assert_eq!(counts, [(Limit::Tokens, 2, 2)]);
    let default = Limits::new(Rates::default());
    assert!((0..1000).all(|_| default.asks_for_token(TENANT, (client(1), None), NOW).is_ok()), "off unless told");
}

#[test]
fn without_a_limit_or_an_address_nothing_is_counted() {
    let (none, some) = (Limits::none(), Limits::at_once(RATES));
    for _ in 0..1000 {
        none.asker(v4(1), NOW).naming(TENANT, client(1)).was_refused().unwrap();
        none.asks_for_token(TENANT, (client(1), None), NOW).unwrap();
        some.asker(None, NOW).naming(TENANT, client(1)).was_refused().unwrap();
    }
    // What strangers have kept is limited in any case.
    let counts: Vec<_> = none.counts().collect();
    assert_eq!(counts, [(Limit::DeviceCodesThere, 0, 0), (Limit::DeviceCodes, 0, 0)]);
    assert!(some.counts().all(|(_, reached, keys)| (reached, keys) == (0, 0)));
}

#[test]
fn device_codes_are_few_from_one_address_and_few_in_all() {
    let limits = Limits::none();
    let (given, limited) = until_limited(|| limits.asks_for_device_code(v4(1), NOW));
    assert_eq!((given, limited), (10, Limited { limit: Limit::DeviceCodesThere, retry_after: 5 }));
    assert_eq!(until_limited(|| limits.asks_for_device_code(v4(1), NOW + 5)).0, 1);
    assert_eq!(until_limited(|| limits.asks_for_device_code(v4(2), NOW + 5)).0, 10);
    let (given, limited) = until_limited(|| limits.keeps_device_code(NOW + 5));
    assert_eq!((given, limited), (60, Limited { limit: Limit::DeviceCodes, retry_after: 1 }));
    assert_eq!(until_limited(|| limits.keeps_device_code(NOW + 6)).0, 1);
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_out() {
    let limits = Limits::at_once(RATES);
    let refused = |now| limits.asker(v4(1), now).was_refused();
    until_limited(|| refused(NOW));
    // By a little, as requests overtake each other: still limited. By much: the count starts anew.
    assert!(refused(NOW - 1).is_err());
    refused(NOW - 86_400).unwrap();
    assert_eq!(until_limited(|| refused(NOW - 86_400)).0, 39);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_held_back_and_not_more_than_may_be() {
    let limits = Limits::with(RATES, KEYS, Duration::from_secs(3600));
    {
        let mut held = Box::pin(limits.hold());
        let waits = std::future::poll_fn(|cx| Poll::Ready(held.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
        assert_eq!(limits.0.held.available_permits(), HELD - 1);
    }
    let all = limits.0.held.acquire_many(u32::try_from(HELD).unwrap()).await.unwrap();
    limits.hold().await;
    drop(all);
    assert_eq!(limits.0.held.available_permits(), HELD);
}

proptest! {
    #[test]
    fn when_to_come_back_is_soon_and_right(rate in 1_u32..1000, wait in 0_i64..10, count in 1_u32..20_000) {
        let limits = Limits::at_once(Rates { refused_per_address: rate, ..Rates::NONE });
        let refused = |now| limits.asker(v4(1), now).was_refused();
        for _ in 0..count {
            let _ = refused(NOW);
        }
        if let Err(limited) = refused(NOW + wait) {
            prop_assert!((1..=LONGEST).contains(&limited.retry_after));
            let later = NOW + wait + i64::try_from(limited.retry_after).unwrap();
            prop_assert!(refused(later).is_ok());
        }
    }
}
