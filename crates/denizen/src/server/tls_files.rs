//! The server's certificate in two files: read at the start, and again when they change or at SIGHUP.
//!
//! A new pair must fit together and be in its time, and the key be nobody's but its owner's and group's. One that is not is
//! refused, logged and counted, and the one before it
//! is kept. Files that are being written are left alone until they have stood still for one look. Tests: `tests/it`.

use std::{path::Path, sync::Arc, time::Duration};

use denizen_agent::files::{self, Stamp};
use denizen_keys::SecretString;
use denizen_server::http::tls::{BadPair, Certificates, Pair, TlsHealth};
use denizen_wire::{Clock, UnixTime};
use tokio::signal::unix::Signal;

use crate::config::{Fault, TlsFiles};

/// No chain and no key is larger, bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Who renews a certificate has done so this long before its end.
const SOON: i64 = 7 * 24 * 3600;

/// Reads the pair, and checks that it can be served now.
pub(crate) fn read(at: &TlsFiles, now: UnixTime) -> Result<Pair, Fault> {
    let unread = |path: &Path, said: &str, error: std::io::Error| {
        Fault::new(format!("{said} {}", path.display()), format!("it cannot be read: {error}"))
    };
    let chain = files::read_text(&at.cert, MAX_FILE).map_err(|error| unread(&at.cert, &at.cert_at, error))?;
    let key = files::read_secret_text(&at.key, MAX_FILE).map_err(|error| unread(&at.key, &at.key_at, error))?;
    let key = SecretString::from(key);
    let in_key = |error: &BadPair| matches!(error, BadPair::Key | BadPair::Kind | BadPair::Mismatch);
    let pair = Pair::read(&chain, &key).and_then(|pair| pair.check_time(now).map(|()| pair));
    pair.map_err(|error| {
        let (said, path) = if in_key(&error) { (&at.key_at, &at.key) } else { (&at.cert_at, &at.cert) };
        Fault::new(format!("{said} {}", path.display()), error.to_string())
    })
}

/// Shows what the files hold, for as long as it runs.
pub(crate) async fn follow(
    at: TlsFiles,
    certificates: Arc<Certificates>,
    health: TlsHealth,
    clock: Clock,
    mut hang_up: Signal,
) {
    let stamps = || (Stamp::of(&at.cert), Stamp::of(&at.key));
    // What was read at the start may have changed since: what is read last is what stands there.
    let (mut tried, mut seen) = (None, stamps());
    loop {
        let told = tokio::select! {
            () = tokio::time::sleep(LOOK) => false,
            told = hang_up.recv() => told.is_some(),
        };
        let now = stamps();
        let stands_still = std::mem::replace(&mut seen, now) == now;
        if !told && (!stands_still || tried == Some(now)) {
            continue;
        }
        let first = tried.is_none() && !told;
        tried = Some(now);
        match read(&at, clock.now()) {
            Ok(pair) => {
                certificates.replace(&pair);
                let until = pair.not_after();
                if until.since(clock.now()) < SOON {
                    tracing::warn!(until = until.rfc3339(), "the TLS certificate ends within a week");
                } else if !first {
                    tracing::info!(until = until.rfc3339(), "the TLS certificate was read again");
                }
            }
            Err(fault) => {
                health.refused();
                tracing::error!(%fault, "the new TLS certificate cannot be served; the one before it is kept");
            }
        }
    }
}
