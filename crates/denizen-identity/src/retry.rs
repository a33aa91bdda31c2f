//! When to ask again: exponential with jitter, as long as the server asks for, never beyond a deadline.
//!
//! The endpoints' own guidance: 404, 408, 410, 429 and 5xx are passing states of IMDS and Arc; a 410 (the service is
//! being updated) can last 70 seconds, so it is waited for longer than the others.

use std::{
    future::Future,
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use denizen_wire::Clock;
use http::{HeaderMap, Response, StatusCode, header};
use hyper::body::Bytes;

/// When to ask again. Take [`RetryPolicy::imds`] or another to begin with, and set the fields that are to differ.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How often, after the first attempt.
    pub retries: u32,
    /// The first pause; each following one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// All attempts and pauses together end before this.
    pub deadline: Duration,
    /// Whether 404 and 410 are passing states too, as they are of IMDS and Arc.
    pub not_found_passes: bool,
}

/// The first pause after a 410: 5 + 10 + 20 + 40 seconds outlast the 70 that an update may take.
const FIRST_AFTER_GONE: Duration = Duration::from_secs(5);

impl RetryPolicy {
    /// For the local endpoints that Microsoft's own guidance covers: IMDS and Arc.
    pub fn imds() -> Self {
        Self {
            retries: 5,
            first: Duration::from_millis(800),
            longest: Duration::from_secs(40),
            deadline: Duration::from_secs(120),
            not_found_passes: true,
        }
    }

    /// For the other local endpoints and the token service.
    pub fn service() -> Self {
        Self {
            retries: 3,
            first: Duration::from_millis(800),
            longest: Duration::from_secs(30),
            deadline: Duration::from_secs(60),
            not_found_passes: false,
        }
    }

    /// One attempt.
    pub fn none() -> Self {
        Self { retries: 0, ..Self::service() }
    }

    fn passes(&self, status: StatusCode) -> bool {
        match status.as_u16() {
            404 | 410 => self.not_found_passes,
            408 | 429 => true,
            status => (500..600).contains(&status) && status != 501 && status != 505,
        }
    }

    /// The pause before attempt number `attempt` (1 is the first retry), or `None` when it is not worth it.
    fn pause(&self, attempt: u32, status: StatusCode, wanted: Option<Duration>, chance: f64) -> Option<Duration> {
        if attempt > self.retries || !self.passes(status) {
            return None;
        }
        let doubled = 2_u32.saturating_pow(attempt - 1);
        if status == StatusCode::GONE {
            return Some(FIRST_AFTER_GONE.saturating_mul(doubled).min(self.longest).max(wanted.unwrap_or_default()));
        }
        let pause = self.first.saturating_mul(doubled).min(self.longest);
        // 0.8 to 1.2 of it: clients that failed together do not come back together.
        Some(pause.mul_f64(0.8 + 0.4 * chance).max(wanted.unwrap_or_default()))
    }

    /// Makes `attempt` until its answer is final, or time is up; the last answer is returned either way.
    pub(crate) async fn run<E, F>(&self, clock: &Clock, attempt: impl FnMut() -> F) -> Result<Response<Bytes>, E>
    where
        F: Future<Output = Result<Response<Bytes>, E>>,
    {
        self.run_with(clock, chance, |pause| wait(clock, pause), attempt).await
    }

    async fn run_with<E, F, W>(
        &self,
        clock: &Clock,
        chance: impl Fn() -> f64,
        wait: impl Fn(Duration) -> W,
        mut attempt: impl FnMut() -> F,
    ) -> Result<Response<Bytes>, E>
    where
        F: Future<Output = Result<Response<Bytes>, E>>,
        W: Future<Output = ()>,
    {
        let started = clock.now();
        let deadline = i64::try_from(self.deadline.as_secs()).unwrap_or(i64::MAX);
        let mut number = 0;
        loop {
            number += 1;
            let answer = attempt().await?;
            let wanted = retry_after(answer.headers());
            let Some(pause) = self.pause(number, answer.status(), wanted, chance()) else { return Ok(answer) };
            let after = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX);
            if clock.now().since(started).saturating_add(after) > deadline {
                return Ok(answer);
            }
            tracing::debug!(status = answer.status().as_u16(), attempt = number, ?pause, "the server is asked again");
            wait(pause).await;
        }
    }
}

/// Waits; a manual clock is moved on instead, so that tests need not.
async fn wait(clock: &Clock, pause: Duration) {
    if clock.is_manual() {
        clock.advance(i64::try_from(pause.as_secs()).unwrap_or(i64::MAX));
    } else {
        tokio::time::sleep(pause).await;
    }
}

/// A number in `0.0..1.0`, another one each time.
fn chance() -> f64 {
    // Not a secret, so the standard library's per-map seed is random enough.
    let bits = RandomState::new().build_hasher().finish() >> 32;
    u32::try_from(bits).map_or(0.0, |bits| f64::from(bits) / (f64::from(u32::MAX) + 1.0))
}

/// Whole seconds; the date form is not sent by any of these services.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        convert::Infallible,
    };

    use denizen_wire::UnixTime;

    use super::*;

    /// The answer, and the pauses on the way to it.
    async fn run<F>(policy: &RetryPolicy, attempt: impl FnMut() -> F) -> (Response<Bytes>, Vec<Duration>)
    where
        F: Future<Output = Result<Response<Bytes>, Infallible>>,
    {
        let (clock, pauses) = (Clock::manual(UnixTime(0)), RefCell::new(Vec::new()));
        let wait = |pause| {
            pauses.borrow_mut().push(pause);
            wait(&clock, pause)
        };
        let Ok(answer) = policy.run_with(&clock, || 0.5, wait, attempt).await;
        (answer, pauses.into_inner())
    }

    async fn pauses(policy: &RetryPolicy, status: u16, retry_after: Option<&str>) -> Vec<f64> {
        let attempt = || async {
            let mut answer = Response::builder().status(status);
            if let Some(value) = retry_after {
                answer = answer.header("retry-after", value);
            }
            Ok(answer.body(Bytes::new()).unwrap())
        };
        let (answer, pauses) = run(policy, attempt).await;
        assert_eq!(answer.status().as_u16(), status);
        pauses.iter().map(Duration::as_secs_f64).collect()
    }

    #[tokio::test]
    async fn pauses_double_and_end() {
        assert_eq!(pauses(&RetryPolicy::imds(), 500, None).await, [0.8, 1.6, 3.2, 6.4, 12.8]);
        assert_eq!(pauses(&RetryPolicy::service(), 503, None).await, [0.8, 1.6, 3.2]);
        assert_eq!(pauses(&RetryPolicy::none(), 503, None).await, [0.0; 0]);
    }

    #[tokio::test]
    async fn gone_is_waited_for_at_least_seventy_seconds() {
        assert!(pauses(&RetryPolicy::imds(), 410, None).await.iter().sum::<f64>() >= 70.0);
    }

    #[tokio::test]
    async fn the_server_may_ask_for_more_but_not_beyond_the_deadline() {
        assert_eq!(pauses(&RetryPolicy::service(), 429, Some("7")).await, [7.0, 7.0, 7.0]);
        assert_eq!(pauses(&RetryPolicy::service(), 429, Some("3600")).await, [0.0; 0]);
    }

    #[tokio::test]
    async fn what_is_final_is_not_asked_again() {
        for status in [200, 400, 401, 403] {
            assert_eq!(pauses(&RetryPolicy::imds(), status, None).await, [0.0; 0], "{status}");
        }
        assert_eq!(pauses(&RetryPolicy::service(), 404, None).await, [0.0; 0]);
        assert_eq!(pauses(&RetryPolicy::imds(), 404, None).await.len(), 5);
    }

    #[tokio::test]
    async fn it_stops_at_the_first_good_answer() {
        let left = Cell::new(2);
        let attempt = || async {
            let status = if left.get() == 0 { 200 } else { 500 };
            left.set(left.get() - 1);
            Ok(Response::builder().status(status).body(Bytes::new()).unwrap())
        };
        let (answer, pauses) = run(&RetryPolicy::imds(), attempt).await;
        assert_eq!((answer.status().as_u16(), pauses.len()), (200, 2));
    }

    #[test]
    fn chance_is_a_fraction_and_varies() {
        let drawn: Vec<f64> = (0..20).map(|_| chance()).collect();
        assert!(drawn.iter().all(|c| (0.0..1.0).contains(c)), "{drawn:?}");
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]), "{drawn:?}");
    }
}
