//! Sockets that a service manager opened for us: systemd's socket activation.
//!
//! They are told apart by their names (`FileDescriptorName=control`, `vault`, `metrics`); without any, by their order.
//! Touches the environment and the descriptors that it names. Tests: `tests/it`.

use denizen_identity::Environment;
use listenfd::ListenFd;
use tokio::net::TcpListener;

use crate::exit::{self, Failure};

/// The names, in the order that stands for them.
const NAMES: [&str; 3] = ["control", "vault", "metrics"];

/// Listeners that were given; none of a service that is bound by the configuration.
#[derive(Default)]
pub(crate) struct Sockets {
    pub(crate) control: Vec<TcpListener>,
    pub(crate) vault: Vec<TcpListener>,
    pub(crate) metrics: Vec<TcpListener>,
}

impl Sockets {
    /// Takes what was given to this process.
    ///
    /// # Errors
    /// A descriptor is no TCP listener, or has a name that is none of ours.
    pub(crate) fn given(environment: &Environment) -> Result<Self, Failure> {
        let mut given = ListenFd::from_env();
        let names: Vec<&str> =
            environment.get("LISTEN_FDNAMES").map_or_else(Vec::new, |names| names.split(':').collect());
        let mut sockets = Self::default();
        for at in 0..given.len() {
            let wrong = |why: &str| {
                let rule =
                    "name the sockets control, vault and metrics with FileDescriptorName=, or give them in that order";
                Failure::new(exit::CONFIG, format!("the socket {at} of LISTEN_FDS {why}: {rule}"))
            };
            // systemd says `unknown` of a socket without a name, and the unit's name where none is set.
            let named = names.get(at).copied().filter(|name| NAMES.contains(name));
            let by_order = NAMES.get(at).copied().filter(|_| !names.iter().any(|name| NAMES.contains(name)));
            let name = named.or(by_order).ok_or_else(|| wrong("is for no service"))?;
            let listener = given.take_tcp_listener(at).map_err(|error| wrong(&format!("cannot be used ({error})")))?;
            let listener = listener.ok_or_else(|| wrong("is gone"))?;
            let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
            let listener = listener.map_err(|error| wrong(&format!("cannot be used ({error})")))?;
            match name {
                "control" => sockets.control.push(listener),
                "vault" => sockets.vault.push(listener),
                _ => sockets.metrics.push(listener),
            }
        }
        Ok(sockets)
    }
}
