//! Which addresses are this machine's own, and listeners on them.
//!
//! The agent listens on loopback only, and on [`METADATA_ADDRESS`] where the loopback interface has it. A name that
//! clients know as `localhost` is 127.0.0.1 for some and [::1] for others, so a listener on either takes both, with
//! one port. Touches sockets. Tests: `net/tests.rs`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

pub use denizen_serve::BindError;
use denizen_serve::{LOCALHOST, bind_localhost};
use tokio::net::TcpListener;

#[cfg(test)]
mod tests;

/// Where Azure's own metadata service is, and where clients with a fixed address look for it.
pub const METADATA_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Sockets the caller has bound, so that a port is never free between two agents. All must be loopback, or
/// [`METADATA_ADDRESS`] where the loopback interface has it.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For Arc, App Service and instance metadata.
    pub local: Vec<TcpListener>,
    /// For IMDS: it gives tokens without a key file, so it is never on the local one's port.
    pub imds: Vec<TcpListener>,
}

/// Why a listener is refused.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// It could be reached from elsewhere.
    #[error("{0} is not loopback, and the agent listens nowhere else")]
    NotLoopback(SocketAddr),
    /// The metadata address is on a real interface.
    #[error("{METADATA_ADDRESS} is not on the loopback interface: others on the network would reach the agent there")]
    MetadataAddress,
    /// The socket is unusable.
    #[error("a listener is unusable: {0}")]
    Io(#[from] io::Error),
}

/// Whether the address is this machine's own, reachable from no other.
pub fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || ip == METADATA_ADDRESS
}

/// Refuses a listener that anybody but this machine can reach.
pub fn check(listener: &TcpListener) -> Result<SocketAddr, ListenerError> {
    let address = listener.local_addr()?;
    if address.ip() == METADATA_ADDRESS {
        let here = |ip: &nix::sys::socket::SockaddrStorage| {
            ip.as_sockaddr_in().is_some_and(|ip| IpAddr::V4(ip.ip()) == METADATA_ADDRESS)
        };
        let mut interfaces = nix::ifaddrs::getifaddrs().map_err(io::Error::from)?;
        let on_loopback = interfaces.any(|interface| {
            interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_LOOPBACK)
                && interface.address.as_ref().is_some_and(here)
        });
        return if on_loopback { Ok(address) } else { Err(ListenerError::MetadataAddress) };
    }
    if address.ip().is_loopback() { Ok(address) } else { Err(ListenerError::NotLoopback(address)) }
}

impl Listeners {
    /// Binds what was asked for; 127.0.0.1 and [::1] each bring the other along, with the same port.
    ///
    /// A port that is taken on the other family is an error: whoever has it would answer clients that say
    /// `localhost`. A family that the machine does not have is logged once, and done without.
    pub async fn bind(local: SocketAddr, imds: &[SocketAddr]) -> Result<Self, BindError> {
        let mut missing = None;
        let mut listeners = Self { local: bind(local, &mut missing).await?, imds: Vec::new() };
        for address in imds {
            let bound = |listener: &TcpListener| listener.local_addr().is_ok_and(|bound| bound == *address);
            // Named beside its counterpart, which brought it along.
            if !listeners.imds.iter().any(bound) {
                listeners.imds.extend(bind(*address, &mut missing).await?);
            }
        }
        if let Some(address) = missing {
            tracing::info!("{address} is not available on this machine: 'localhost' answers on the other address only");
        }
        Ok(listeners)
    }
}

/// The listeners on `asked`: with its counterpart when it is one of the addresses of `localhost`.
async fn bind(asked: SocketAddr, missing: &mut Option<IpAddr>) -> Result<Vec<TcpListener>, BindError> {
    if !LOCALHOST.contains(&asked.ip()) {
        return Ok(vec![denizen_serve::bind(asked).await?]);
    }
    let bound = bind_localhost(asked.port(), Some(asked.ip())).await?;
    *missing = bound.missing.or(*missing);
    Ok(bound.listeners)
}
