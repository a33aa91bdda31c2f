//! The signals that stop a server. Tests: `tests/it`.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{self, Failure};

/// SIGTERM and SIGINT, caught from the moment this is made.
pub(crate) struct StopSignals {
    pub(crate) terminate: Signal,
    pub(crate) interrupt: Signal,
}

impl StopSignals {
    pub(crate) fn catch() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(Failure::while_(exit::OS_ERROR, "SIGTERM"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::while_(exit::OS_ERROR, "SIGINT"))?,
        })
    }

    /// Waits for either.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
