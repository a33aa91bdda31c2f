//! Listeners on what a URL calls `localhost`: 127.0.0.1 for some clients, [::1] for others, so both, at one port.
//!
//! Touches sockets. Tests: below.

use std::{
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::io::Errno;
use tokio::net::TcpListener;

/// The two addresses of `localhost`.
pub const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// With port 0 the kernel chooses a port by one family alone; so many are tried until one is free in both.
const PORT_ATTEMPTS: usize = 32;

/// Bound sockets.
#[derive(Debug)]
pub struct Localhost {
    /// One for each family that the machine has; the required one first.
    pub listeners: Vec<TcpListener>,
    /// Their port.
    pub port: u16,
    /// The address of the family that the machine does not have.
    pub missing: Option<IpAddr>,
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address; it may be the other one of `localhost` than was asked for.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Binds both addresses of `localhost` at `port`; 0 is a port that is free in both families.
///
/// A family that the machine does not have, or has switched off, is left out, unless `required` is its address: clients
/// find nobody there.
///
/// # Errors
/// The first address that cannot be bound. A port that somebody else has in one family is one: they would answer in our
/// name.
pub async fn bind_localhost(port: u16, required: Option<IpAddr>) -> Result<Localhost, BindError> {
    let mut attempts = 1;
    loop {
        match bind_once(port, required).await {
            Err(error) if port == 0 && error.source.kind() == io::ErrorKind::AddrInUse && attempts < PORT_ATTEMPTS => {
                attempts += 1;
            }
            outcome => return outcome,
        }
    }
}

async fn bind_once(port: u16, required: Option<IpAddr>) -> Result<Localhost, BindError> {
    let mut bound = Localhost { listeners: Vec::new(), port, missing: None };
    let mut last = None;
    let mut addresses = LOCALHOST;
    addresses.sort_by_key(|ip| required != Some(*ip));
    for ip in addresses {
        let address = SocketAddr::new(ip, bound.port);
        match bind(address).await {
            Ok(listener) => {
                bound.port = listener.local_addr().map_err(|source| BindError { address, source })?.port();
                bound.listeners.push(listener);
            }
            Err(error) if required != Some(ip) && is_missing_family(&error.source) => {
                bound.missing = Some(ip);
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match last {
        Some(error) if bound.listeners.is_empty() => Err(error),
        Some(_) | None => Ok(bound),
    }
}

/// Binds one address.
///
/// # Errors
/// It cannot be bound.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Whether the machine has no such address family, or has it switched off.
fn is_missing_family(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::ADDRNOTAVAIL, Errno::AFNOSUPPORT].iter().any(|errno| code == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_families_are_bound_at_one_port_the_required_one_first() {
        for required in [None, Some(LOCALHOST[0]), Some(LOCALHOST[1])] {
            let bound = bind_localhost(0, required).await.unwrap();
            let addresses: Vec<_> = bound.listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
            assert_eq!(addresses[0].ip(), required.unwrap_or(LOCALHOST[0]));
            assert!(addresses.iter().all(|address| address.port() == bound.port && LOCALHOST.contains(&address.ip())));
            assert_eq!(addresses.len(), 2 - usize::from(bound.missing.is_some()));
        }
    }

    #[tokio::test]
    async fn a_port_that_somebody_has_in_the_other_family_is_refused() {
        let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = holder.local_addr().unwrap();
        for required in [None, Some(LOCALHOST[0]), Some(LOCALHOST[1])] {
            let error = bind_localhost(taken.port(), required).await.unwrap_err();
            assert_eq!((error.address, error.source.kind()), (taken, io::ErrorKind::AddrInUse));
            assert!(error.to_string().contains(&taken.to_string()), "{error}");
        }
        drop(holder);
    }

    #[test]
    fn a_missing_family_is_told_from_other_errors() {
        for (errno, missing) in
            [(Errno::ADDRNOTAVAIL, true), (Errno::AFNOSUPPORT, true), (Errno::ADDRINUSE, false), (Errno::ACCESS, false)]
        {
            assert_eq!(is_missing_family(&io::Error::from_raw_os_error(errno.raw_os_error())), missing, "{errno}");
        }
    }
}
