//! The clock of a server that runs, stepped by hours at random for a while, under load, on both engines.

use std::time::Duration;

use super::seconds;
use crate::{
    balanced::{Random, cluster},
    clock::{over, stepped},
    operator::Operator,
    sandbox::Sandbox,
};

/// Between two steps.
const BETWEEN: Duration = Duration::from_millis(1500);

/// Steps to between the right time and 20 hours after it: within a day, which a clock may be ahead. The first of them such
/// that the clock is behind what was seen.
fn steps(seed: u64) -> Vec<i64> {
    let mut random = Random::new(seed);
    let count = seconds(30).as_millis() / BETWEEN.as_millis();
    let hour = |_| i64::try_from(random.below(21)).unwrap();
    let middle: Vec<i64> = (0..count).map(hour).collect();
    [&[0, 1, 0], &middle[..]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_stepped_again_and_again_loses_nothing_with_sqlite() {
    let sandbox = Sandbox::new().await;
    stepped(&Operator::new(&sandbox), &steps(5), BETWEEN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_stepped_again_and_again_loses_nothing_with_postgresql() {
    let sandbox = Sandbox::new().await;
    let cluster = cluster(&[]).await;
    stepped(&Operator::with(&sandbox, &over(&cluster.url("denizen"))), &steps(6), BETWEEN).await;
}
