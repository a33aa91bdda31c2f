//! What a service manager is told: systemd's `Type=notify`. Without one, nothing.
//!
//! Touches the socket that NOTIFY_SOCKET names. Tests: `tests/it`.

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

/// Says that everything answers.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Says that this process is about to stop.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Says that this process lives, twice as often as it must, where the manager wants to hear that. A runtime that does
/// nothing any more does not say so either, and is started anew.
pub(crate) fn watchdog() -> Option<JoinHandle<()>> {
    let every = sd_notify::watchdog_enabled()? / 2;
    Some(tokio::spawn(async move {
        loop {
            notify(&[NotifyState::Watchdog]);
            tokio::time::sleep(every).await;
        }
    }))
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
