//! Which addresses are this machine's own, and listeners on them.
//!
//! The agent listens on loopback only, and on [`METADATA_ADDRESS`] where the loopback interface has it. A name that
//! clients know as `localhost` is 127.0.0.1 for some and [::1] for others, so a listener on either takes both, with
//! one port.
//!
//! An address of the loopback interface is not out of reach: Linux takes a packet for any address of its own by any
//! interface. So each listener is bound to the loopback *interface* ([`check`]), and a connection of a neighbour on the
//! network, with a route here, meets no listener. Touches sockets, and `/proc/sys/net` where a kernel before Linux 5.7
//! refuses that. Tests: `net/tests.rs`, and over a link of two network namespaces in the end-to-end tests.

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

pub use denizen_serve::BindError;
use denizen_serve::{LOCALHOST, bind_localhost};
use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::InterfaceFlags,
    sys::socket::{getsockopt, setsockopt, sockopt::BindToDevice},
};
use tokio::net::TcpListener;

use crate::files;

#[cfg(test)]
mod tests;

/// Where Azure's own metadata service is, and where clients with a fixed address look for it.
pub const METADATA_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
/// Where the kernel shows its IPv4 settings, a directory for each interface.
const IPV4_SETTINGS: &str = "/proc/sys/net/ipv4/conf";

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
    /// The machine has no loopback interface that could be found.
    #[error("no loopback interface is found: the agent must be sure that no other machine reaches it")]
    NoLoopback,
    /// The kernel does not keep other interfaces' connections from it.
    #[error(
        "{address} cannot be closed to other machines: binding it to the interface '{interface}' failed ({source}). {hint}"
    )]
    OtherInterfaces {
        /// The listener's address.
        address: SocketAddr,
        /// The loopback interface's name.
        interface: String,
        /// What the administrator can do.
        hint: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The socket is unusable.
    #[error("a listener is unusable: {0}")]
    Io(#[from] io::Error),
}

/// Whether the address is this machine's own, reachable from no other.
pub fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || ip == METADATA_ADDRESS
}

/// Refuses a listener that anybody but this machine can reach, and binds the others to the loopback interface.
pub fn check(listener: &TcpListener) -> Result<SocketAddr, ListenerError> {
    let address = listener.local_addr()?;
    if !is_local(address.ip()) {
        return Err(ListenerError::NotLoopback(address));
    }
    let mut loopback = getifaddrs()
        .map_err(io::Error::from)?
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .peekable();
    if loopback.peek().is_none() {
        return Err(ListenerError::NoLoopback);
    }
    let interface = if address.ip() == METADATA_ADDRESS {
        loopback.find(is_at_metadata_address).ok_or(ListenerError::MetadataAddress)?
    } else {
        loopback.next().ok_or(ListenerError::NoLoopback)?
    };
    let bound = bind_to_interface(listener, &interface.interface_name);
    closed(bound, address, interface.interface_name, Path::new(IPV4_SETTINGS))?;
    Ok(address)
}

fn is_at_metadata_address(interface: &InterfaceAddress) -> bool {
    let address = interface.address.as_ref().and_then(|address| address.as_sockaddr_in());
    address.is_some_and(|address| IpAddr::V4(address.ip()) == METADATA_ADDRESS)
}

/// From now on the socket takes only what arrives by this interface. Before Linux 5.7 that needs `CAP_NET_RAW`; a
/// socket that is bound to an interface already stays so.
fn bind_to_interface(listener: &TcpListener, interface: &str) -> io::Result<()> {
    let interface = OsString::from(interface);
    if getsockopt(listener, BindToDevice).is_ok_and(|bound| bound == interface) {
        return Ok(());
    }
    Ok(setsockopt(listener, BindToDevice, &interface)?)
}

/// Where a listener could not be bound to the loopback interface, another rule of the kernel's has to close it: what
/// arrives for [::1] by another interface is dropped always, and for 127.0.0.0/8 as long as `route_localnet` is off.
fn closed(
    bound: io::Result<()>,
    address: SocketAddr,
    interface: String,
    ipv4_settings: &Path,
) -> Result<(), ListenerError> {
    let Err(source) = bound else { return Ok(()) };
    let hint = match address.ip() {
        IpAddr::V6(_) => return Ok(()),
        ip if ip == METADATA_ADDRESS => "It needs Linux 5.7, or the capability CAP_NET_RAW",
        IpAddr::V4(_) if !routes_localnet(ipv4_settings) => return Ok(()),
        IpAddr::V4(_) => {
            "It needs Linux 5.7, or the capability CAP_NET_RAW, or net.ipv4.conf.*.route_localnet=0 for every interface"
        }
    };
    Err(ListenerError::OtherInterfaces { address, interface, hint, source })
}

/// Whether an interface takes packets for 127.0.0.0/8; also when that cannot be read.
fn routes_localnet(ipv4_settings: &Path) -> bool {
    let Ok(interfaces) = std::fs::read_dir(ipv4_settings) else { return true };
    let off = |interface: io::Result<std::fs::DirEntry>| {
        let setting = interface.and_then(|interface| files::read_text(&interface.path().join("route_localnet"), 16));
        setting.is_ok_and(|setting| setting.trim() == "0")
    };
    !interfaces.into_iter().all(off)
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
