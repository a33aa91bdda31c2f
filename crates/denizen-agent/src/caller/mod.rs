//! The caller, as the kernel names it: never by its address or by what the request says.
//!
//! * [`sock_diag`] — the owner of the other end of a loopback TCP connection;
//! * [`group`] — whether that user is a member of a group;
//! * [`owner`] — which person stands behind that user, for whatever is shared out.
//!
//! The answer is bound to the connection when it is accepted, and any doubt is [`Caller::Unknown`], which no policy
//! lets in on its own. Tests: below, and with each part.

use std::{fmt, net::SocketAddr};

use rustix::io::Errno;
use tokio::net::TcpStream;

pub mod group;
pub mod owner;
pub mod sock_diag;

/// The uid the kernel shows for a user it cannot name in our user namespace. It identifies nobody.
pub const OVERFLOW_UID: u32 = 65534;

/// The process at the other end of a connection, as far as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The kernel named the owner.
    Known {
        /// The user who made the client's socket.
        uid: u32,
        /// The cgroup v2 id of that socket: the systemd unit or the container. Linux 5.8 and later.
        cgroup: Option<u64>,
        /// Where this is known from.
        known_from: KnownFrom,
    },
    /// The kernel did not, and this is why.
    Unknown(UnknownReason),
}

/// Where a caller is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownFrom {
    /// Loopback TCP: the kernel's socket table.
    SockDiag,
}

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownReason {
    /// The address is not loopback: no kernel of ours knows its owner.
    #[error("the connection does not come over loopback")]
    NotLoopback,
    /// The kernel has no such socket in our network namespace.
    #[error("the kernel knows no such connection")]
    NoSuchSocket,
    /// The client reset the connection: by the time the kernel was asked, its addresses may have been another's.
    #[error("the client closed the connection before its owner was known")]
    Closed,
    /// It answered about another socket, or about one that is no longer an open connection.
    #[error("the kernel's answer is about another or a closed connection")]
    Mismatch,
    /// The answer could not be read.
    #[error("the kernel's answer is malformed")]
    Malformed,
    /// The kernel was asked and said nothing.
    #[error("the kernel did not answer who owns the connection")]
    NoAnswer,
    /// The kernel could not be asked (a sandbox without netlink, no descriptor left), or refused.
    #[error("the kernel could not be asked who owns the connection: {0}")]
    CannotAsk(Errno),
}

impl Caller {
    /// Asks the kernel who is at `peer`, the other end of `accepted`, a connection accepted at `local`.
    pub fn of_connection(accepted: &TcpStream, local: SocketAddr, peer: SocketAddr) -> Self {
        match sock_diag::owner(peer, local) {
            // A client may send, reset and be gone while the connection waits to be accepted; then its port is free for
            // another user's socket, and that was the one asked about. As long as ours is not closed, its addresses
            // cannot be another connection's: so this comes after the question. A closed one has no peer any more.
            Ok(_) if accepted.peer_addr().ok() != Some(peer) => Self::Unknown(UnknownReason::Closed),
            Ok((uid, cgroup)) => Self::Known { uid, cgroup, known_from: KnownFrom::SockDiag },
            Err(doubt) => Self::Unknown(doubt),
        }
    }

    /// The user, when known.
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Known { uid, .. } => Some(*uid),
            Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { uid, cgroup: Some(cgroup), .. } => write!(f, "uid {uid}, cgroup {cgroup}"),
            Self::Known { uid, cgroup: None, .. } => write!(f, "uid {uid}"),
            Self::Unknown(doubt) => write!(f, "unknown: {doubt}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpSocket},
    };

    use super::*;

    /// The first client's request is there to be read, and its addresses are the second's by now.
    #[tokio::test]
    async fn d17_a_reset_connection_is_not_the_next_ones_who_has_its_addresses() {
        for host in ["127.0.0.1", "::1"] {
            let any = SocketAddr::new(host.parse().unwrap(), 0);
            let listener = TcpListener::bind(any).await.unwrap();
            let server = listener.local_addr().unwrap();
            let socket = || if any.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
            let first = socket();
            first.bind(any).unwrap();
            let mut first = first.connect(server).await.unwrap();
            let address = first.local_addr().unwrap();
            first.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            rustix::net::sockopt::set_socket_linger(&first, Some(Duration::ZERO)).unwrap();
            drop(first);

            let second = socket();
            second.bind(address).unwrap();
            let _second = second.connect(server).await.unwrap();

            let (mut accepted, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, address);
            assert!(sock_diag::owner(peer, server).is_ok(), "the kernel names the second's owner for both");
            assert_eq!(Caller::of_connection(&accepted, server, peer), Caller::Unknown(UnknownReason::Closed));
            let mut request = [0; 3];
            accepted.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"GET");

            let (accepted, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, address);
            let us = rustix::process::geteuid().as_raw();
            assert_eq!(Caller::of_connection(&accepted, server, peer).uid(), Some(us));
        }
    }
}
