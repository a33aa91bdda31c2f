//! Load: some connections, each with one exchange after another, for a bounded time and number.
//!
//! A closed loop keeps the server busy and no busier: what is measured is CPU per exchange, so the pace does not
//! matter, and latency is the server's own, without a queue of ours before it.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::{child::Child, http::TIMEOUT};

/// Never more than this in one round, however fast the machine.
const MAX_EXCHANGES: u64 = 5_000_000;
/// Unmeasured exchanges on each connection, first.
const WARM_UP: u32 = 20;
/// The measured process may finish what an answered request left to do (a group of audit records, for one).
const SETTLE: Duration = Duration::from_millis(150);

/// Opens the sessions that make up a load.
pub(crate) trait Program: Send + Sync + 'static {
    /// One connection's state.
    type Session: Session;
    /// Opens one.
    fn open(&self) -> impl Future<Output = Result<Self::Session>> + Send;
}

/// One connection and what is done on it, again and again.
pub(crate) trait Session: Send + 'static {
    /// Does it once, and checks the answer.
    fn exchange(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// How much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Connections, each with one exchange at a time.
    pub(crate) connections: usize,
    /// For how long.
    pub(crate) time: Duration,
    /// At most this many exchanges.
    pub(crate) exchanges: u64,
    /// Unmeasured exchanges on each connection, first.
    pub(crate) warm_up: u32,
    /// Exchanges that are due in a second, on all connections together; none for as fast as they are answered.
    pub(crate) pace: Option<f64>,
}

/// What came of a round.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// Exchanges finished.
    pub(crate) exchanges: u64,
    /// CPU seconds charged to the measured process meanwhile.
    pub(crate) cpu: f64,
    /// Wall-clock seconds.
    pub(crate) wall: f64,
    /// Of each exchange, sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Load {
    /// `connections` for `time`.
    pub(crate) fn new(connections: usize, time: Duration) -> Self {
        Self { connections, time, exchanges: MAX_EXCHANGES, warm_up: WARM_UP, pace: None }
    }

    /// The same, with this many exchanges due in a second. A latency is then from when an exchange was due: one that
    /// waits for a slow one before it has waited.
    pub(crate) fn paced(self, rate: f64) -> Self {
        Self { pace: Some(rate), ..self }
    }

    /// Runs it against `child`. A single failed exchange fails the round: figures over errors mean nothing.
    pub(crate) async fn run<P: Program>(self, child: &mut Child, program: &P) -> Result<Round> {
        let mut sessions = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            let mut session = program.open().await?;
            for _ in 0..self.warm_up {
                session.exchange().await.context("warming up")?;
            }
            sessions.push(session);
        }
        tokio::time::sleep(SETTLE).await;
        let begun = Arc::new(AtomicU64::new(0));
        let (cpu, start) = (child.cpu()?, Instant::now());
        let deadline = start + self.time;
        let mut running = JoinSet::new();
        for (number, session) in (0u32..).zip(sessions) {
            let begun = Arc::clone(&begun);
            match self.pace {
                None => running.spawn(repeat(session, begun, self.exchanges, deadline)),
                Some(rate) => {
                    let between = Duration::from_secs_f64(f64::from(u32::try_from(self.connections)?) / rate);
                    // One after the other, not all at once.
                    let first = start + Duration::from_secs_f64(f64::from(number) / rate);
                    running.spawn(on_time(session, first, between, deadline))
                }
            };
        }
        let everything = async {
            let mut latencies = Vec::new();
            while let Some(done) = running.join_next().await {
                latencies.extend(done??);
            }
            Ok::<_, anyhow::Error>(latencies)
        };
        let mut latencies =
            tokio::time::timeout(self.time + TIMEOUT, everything).await.context("an exchange hangs")??;
        let wall = start.elapsed().as_secs_f64();
        tokio::time::sleep(SETTLE).await;
        child.alive()?;
        let cpu = child.cpu()? - cpu;
        ensure!(!latencies.is_empty() && cpu > 0.0, "nothing was measured");
        latencies.sort_unstable();
        Ok(Round { exchanges: u64::try_from(latencies.len())?, cpu, wall, latencies })
    }
}

async fn repeat<S: Session>(
    mut session: S,
    begun: Arc<AtomicU64>,
    limit: u64,
    deadline: Instant,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(1 << 14);
    let mut last = Instant::now();
    while last < deadline && begun.fetch_add(1, Ordering::Relaxed) < limit {
        session.exchange().await?;
        let now = Instant::now();
        latencies.push(now.duration_since(last));
        last = now;
    }
    Ok(latencies)
}

async fn on_time<S: Session>(
    mut session: S,
    first: Instant,
    between: Duration,
    deadline: Instant,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(1 << 12);
    let mut due = first;
    while due < deadline {
        tokio::time::sleep_until(due.into()).await;
        session.exchange().await?;
        latencies.push(due.elapsed());
        due += between;
    }
    Ok(latencies)
}

impl Round {
    /// Exchanges per wall-clock second.
    #[expect(clippy::cast_precision_loss, reason = "a round is bounded far below 2^52 exchanges")]
    pub(crate) fn per_second(&self) -> f64 {
        self.exchanges as f64 / self.wall
    }

    /// Exchanges per CPU second of the measured process.
    #[expect(clippy::cast_precision_loss, reason = "a round is bounded far below 2^52 exchanges")]
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.exchanges as f64 / self.cpu
    }

    /// The latency that `percent` of the exchanges did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * percent.min(100) / 100).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_rates_are_of_the_round() {
        let latencies = (1..=101).map(Duration::from_millis).collect();
        let round = Round { exchanges: 101, cpu: 0.5, wall: 1.0, latencies };
        assert_eq!(round.percentile(0), Duration::from_millis(1));
        assert_eq!(round.percentile(50), Duration::from_millis(51));
        assert_eq!(round.percentile(99), Duration::from_millis(100));
        assert_eq!(round.percentile(100), Duration::from_millis(101));
        assert!((round.per_cpu_second() - 202.0).abs() < 1e-9);
    }
}
