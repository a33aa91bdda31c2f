//! The caller, as the kernel names it: never by its address or by what the request says.
//!
//! * [`sock_diag`] — the owner of the other end of a loopback TCP connection;
//! * [`group`] — whether that user is a member of a group;
//! * [`owner`] — which person stands behind that user, for whatever is shared out.
//!
//! The answer is bound to the connection when it is accepted, and any doubt is [`Caller::Unknown`], which no policy
//! lets in on its own.

use std::{fmt, net::SocketAddr};

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
    /// It answered about another socket, or about one that is no longer an open connection.
    #[error("the kernel's answer is about another or a closed connection")]
    Mismatch,
    /// The answer could not be read.
    #[error("the kernel's answer is malformed")]
    Malformed,
    /// The kernel could not be asked (a sandbox without netlink).
    #[error("the kernel could not be asked who owns the connection")]
    NoAnswer,
}

impl Caller {
    /// Asks the kernel who is at `peer`, the other end of a connection accepted at `local`.
    pub fn of_connection(local: SocketAddr, peer: SocketAddr) -> Self {
        match sock_diag::owner(peer, local) {
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
