//! The server's listeners, bound as the configuration says or taken from a service manager, before anything is served.
//!
//! Touches sockets. Tests: `tests/it`.

use std::net::SocketAddr;

use denizen_serve::{BindError, bind, bind_localhost};
use denizen_server::run;
use tokio::net::TcpListener;

use super::{launch::Faulty, sockets::Sockets};
use crate::{
    config::{
        Config, Fault, LEAST_CONNECTIONS, Listen,
        address::{Address, Localhost},
    },
    exit::{self, Failure},
};

/// Bound listeners.
pub(crate) struct Bound {
    pub(crate) listeners: run::Listeners,
    pub(crate) control: SocketAddr,
    pub(crate) vault: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

impl Bound {
    /// Binds all three, or takes those that were opened for us; everything that is wrong goes to `faults`.
    pub(crate) async fn bind(config: &Config, sockets: Sockets, faults: &mut Faulty) -> Option<Self> {
        let Sockets { control, vault, metrics } = sockets;
        let control = bound(control, &config.listen, faults).await;
        let vault = bound(vault, &config.vault_listen, faults).await;
        let metrics = bound(metrics, &config.metrics_listen, faults).await;
        let ((control, control_at), (vault, vault_at), (metrics, metrics_at)) = (control?, vault?, metrics?);
        for listener in &metrics {
            // What comes by another interface is no loopback, whatever address it names.
            if let Err(error) = denizen_agent::net::check(listener) {
                faults.add(exit::UNAVAILABLE, Fault::new(&config.metrics_listen.at, error.to_string()));
            }
        }
        let listeners = run::Listeners { control, vault, metrics, admin: None };
        Some(Self { listeners, control: control_at, vault: vault_at, metrics: metrics_at })
    }
}

async fn bound(
    given: Vec<TcpListener>,
    listen: &Listen,
    faults: &mut Faulty,
) -> Option<(Vec<TcpListener>, SocketAddr)> {
    let listeners = if given.is_empty() {
        match bind_one(listen).await {
            Ok(listeners) => listeners,
            Err(fault) => {
                faults.add(exit::UNAVAILABLE, fault);
                return None;
            }
        }
    } else {
        given
    };
    match listeners.first().map(TcpListener::local_addr) {
        Some(Ok(at)) => Some((listeners, at)),
        Some(Err(error)) => {
            faults.add(exit::OS_ERROR, Fault::new(&listen.at, error.to_string()));
            None
        }
        None => None,
    }
}

async fn bind_one(listen: &Listen) -> Result<Vec<TcpListener>, Fault> {
    match listen.address {
        Address::Localhost(at) => bind_pair(&listen.at, at, "").await.map(|(listeners, _)| listeners),
        Address::One(at) => {
            let listener = bind(at).await.map_err(|BindError { source, .. }| {
                in_use(&listen.at, &listen.address.to_string(), &source.to_string(), at.port(), &listen.address.host())
            })?;
            Ok(vec![listener])
        }
    }
}

/// The listeners of a pair, which take what comes by the loopback interface and nothing else. `owner` says who may have
/// the port.
pub(crate) async fn bind_pair(at: &str, pair: Localhost, owner: &str) -> Result<(Vec<TcpListener>, u16), Fault> {
    let bound = bind_localhost(pair.port, pair.written).await.map_err(|BindError { address, source: e }| {
        let e = if pair.written == Some(address.ip()) { e.to_string() } else { format!("{address}: {e}") };
        in_use(at, &pair.to_string(), &format!("{e}{owner}"), pair.port, &pair.host())
    })?;
    for listener in &bound.listeners {
        denizen_agent::net::check(listener).map_err(|error| Fault::new(at, error.to_string()))?;
    }
    Ok((bound.listeners, bound.port))
}

/// What somebody else has.
pub(crate) fn in_use(at: &str, address: &str, why: &str, port: u16, host: &str) -> Fault {
    let hint = if at.starts_with("--") && !at.starts_with("--set") {
        format!("stop what uses port {port}, or take a free one with {at} {host}:0")
    } else {
        format!("stop what uses port {port}, or write another")
    };
    Fault::new(format!("{at} {address}"), format!("{why}; {hint}"))
}

/// How many connections this process may have.
pub(crate) fn room_for_connections() -> Result<usize, Failure> {
    let all = denizen_serve::raise_descriptors();
    if all < LEAST_CONNECTIONS {
        let text = "this process may open too few files for a server: raise the limit to 320 or more (ulimit -n 1024)";
        return Err(Failure::new(exit::OS_ERROR, text));
    }
    Ok(all)
}
