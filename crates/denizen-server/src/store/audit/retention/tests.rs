use super::*;

const NOW: UnixTime = UnixTime(1_000_000);

fn limits(age: u64, bytes: u64) -> Retention {
    Retention { age: Some(Duration::from_secs(age)), bytes: Some(bytes) }
}

#[test]
fn whichever_limit_is_reached_first_counts() {
    let kept = limits(100, 1000);
    assert_eq!(kept.why(NOW, NOW, 1000), None);
    assert_eq!(kept.why(NOW, UnixTime(NOW.0 - 100), 1000), None, "exactly the limit is kept");
    assert!(kept.why(NOW, UnixTime(NOW.0 - 101), 1).unwrap().contains("older"));
    assert!(kept.why(NOW, NOW, 1001).unwrap().contains("size"));
}

#[test]
fn no_limit_and_zero_keep_all() {
    let long_ago = UnixTime(i64::MIN);
    for kept in [limits(0, 0), Retention { age: None, bytes: None }] {
        assert_eq!(kept.why(UnixTime(i64::MAX), long_ago, u64::MAX), None);
    }
    assert!(limits(1, 0).why(NOW, long_ago, u64::MAX).unwrap().contains("older"));
    assert!(limits(0, 1).why(NOW, long_ago, u64::MAX).unwrap().contains("size"));
    assert_eq!(limits(u64::MAX, 0).why(UnixTime(i64::MAX), long_ago, 1), None, "an age that no clock reaches");
}

#[test]
fn a_record_of_the_future_is_not_old() {
    assert_eq!(limits(10, 0).why(NOW, UnixTime(NOW.0 + 1000), 1), None);
}

#[test]
fn four_hundred_days_and_four_gibibytes() {
    let kept = Retention::default();
    let day = 24 * 60 * 60;
    assert_eq!(kept.why(NOW, UnixTime(NOW.0 - 400 * day), 4 << 30), None);
    assert!(kept.why(NOW, UnixTime(NOW.0 - 400 * day - 1), 1).is_some());
    assert!(kept.why(NOW, NOW, (4 << 30) + 1).is_some());
    assert_eq!(kept.by_size().why(NOW, UnixTime(0), 1), None);
    assert!(kept.by_size().why(NOW, NOW, (4 << 30) + 1).is_some());
}
