//! The owner of the other end of a loopback TCP connection, by one exact lookup in the kernel's socket table.
//!
//! `NETLINK_SOCK_DIAG` answers for any user's socket, without privileges, in a few microseconds. The question is about
//! the *client's* socket: its source is our peer, its destination is us. The kernel falls back to a listening socket
//! when the connection is gone, so the answer is believed only when it names exactly the addresses asked for, in state
//! ESTABLISHED.
//!
//! Layouts are `struct inet_diag_req_v2` and `struct inet_diag_msg` of `linux/inet_diag.h`: integers in host order,
//! addresses and ports in network order. Touches one netlink socket for each lookup. Tests: `sock_diag/tests.rs`.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recvfrom, sendto, socket_with},
};

use super::UnknownReason;
use crate::net::is_local;

#[cfg(test)]
mod tests;

const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const TCP_ESTABLISHED: u8 = 1;
/// Offset of an `inet_diag_msg`'s attributes, netlink header included.
const MESSAGE_END: usize = HEADER + 72;
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
/// The attribute that carries the cgroup id: `INET_DIAG_CGROUP_ID`, Linux 5.8.
const CGROUP_ID: u16 = 21;

/// The uid and the cgroup id of the socket bound to `client` and connected to `server`.
pub fn owner(client: SocketAddr, server: SocketAddr) -> Result<(u32, Option<u64>), UnknownReason> {
    let question = Question::new(client, server)?;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))
        .map_err(UnknownReason::CannotAsk)?;
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    sendto(&socket, &question.encode(), SendFlags::empty(), &kernel).map_err(UnknownReason::CannotAsk)?;
    // The kernel answers while it is being asked: the reply is there, or there is none.
    let mut buffer = [0_u8; 1024];
    let (received, whole, from) = recvfrom(&socket, &mut buffer, RecvFlags::DONTWAIT).map_err(|errno| match errno {
        Errno::AGAIN => UnknownReason::NoAnswer,
        other => UnknownReason::CannotAsk(other),
    })?;
    let from_kernel = from.and_then(|any| netlink::SocketAddrNetlink::try_from(any).ok()).is_some_and(|a| a.pid() == 0);
    if !from_kernel || whole > buffer.len() {
        return Err(UnknownReason::Malformed);
    }
    question.read(buffer.get(..received).ok_or(UnknownReason::Malformed)?)
}

/// A lookup of one connection.
#[derive(Debug, Clone, Copy)]
struct Question {
    client: (IpAddr, u16),
    server: (IpAddr, u16),
}

impl Question {
    fn new(client: SocketAddr, server: SocketAddr) -> Result<Self, UnknownReason> {
        // A client may reach 127.0.0.1 through an IPv6 socket (Java does): both sides are compared in one spelling.
        let (client, server) =
            ((client.ip().to_canonical(), client.port()), (server.ip().to_canonical(), server.port()));
        if !is_local(client.0) || !is_local(server.0) || client.0.is_ipv4() != server.0.is_ipv4() {
            return Err(UnknownReason::NotLoopback);
        }
        Ok(Self { client, server })
    }

    fn encode(&self) -> [u8; REQUEST] {
        let mut message = [0; REQUEST];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(field) = message.get_mut(at..at + bytes.len()) {
                field.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        // struct nlmsghdr
        put(&(REQUEST as u32).to_ne_bytes());
        put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        put(&NLM_F_REQUEST.to_ne_bytes());
        put(&[0; 8]); // sequence and port: one question for each socket, nothing to tell apart
        // struct inet_diag_req_v2
        let family = if self.client.0.is_ipv4() { AF_INET } else { AF_INET6 };
        put(&[family, IPPROTO_TCP, 0, 0]);
        put(&u32::MAX.to_ne_bytes()); // states: the kernel ignores them in an exact lookup
        put(&self.client.1.to_be_bytes());
        put(&self.server.1.to_be_bytes());
        put(&address(self.client.0));
        put(&address(self.server.0));
        put(&0_u32.to_ne_bytes()); // any interface
        put(&[0xff; 8]); // INET_DIAG_NOCOOKIE, twice
        message
    }

    fn read(&self, reply: &[u8]) -> Result<(u32, Option<u64>), UnknownReason> {
        let length = u32_at(reply, 0)? as usize;
        let reply = reply.get(..length).ok_or(UnknownReason::Malformed)?;
        match u16_at(reply, 4)? {
            SOCK_DIAG_BY_FAMILY => {}
            NLMSG_ERROR => {
                let errno = u32_at(reply, HEADER)?.cast_signed().wrapping_neg();
                return Err(match Errno::from_io_error(&io::Error::from_raw_os_error(errno)) {
                    Some(Errno::NOENT) => UnknownReason::NoSuchSocket,
                    Some(errno) => UnknownReason::CannotAsk(errno),
                    None => UnknownReason::Malformed,
                });
            }
            _ => return Err(UnknownReason::Malformed),
        }
        let body = HEADER;
        let [family, state] = array_at::<2>(reply, body)?;
        let client = (ip(family, array_at(reply, body + 8)?)?, u16::from_be_bytes(array_at(reply, body + 4)?));
        let server = (ip(family, array_at(reply, body + 24)?)?, u16::from_be_bytes(array_at(reply, body + 6)?));
        if client != self.client || server != self.server || state != TCP_ESTABLISHED {
            return Err(UnknownReason::Mismatch);
        }
        let uid = u32_at(reply, body + 64)?;
        Ok((uid, cgroup(reply)))
    }
}

fn cgroup(reply: &[u8]) -> Option<u64> {
    let mut at = MESSAGE_END;
    // struct rtattr: length (header included), type, then the value, padded to four bytes.
    while let (Ok(length), Ok(kind)) = (u16_at(reply, at), u16_at(reply, at + 2)) {
        let length = usize::from(length);
        if length < 4 {
            return None;
        }
        if kind == CGROUP_ID && length == 12 {
            return array_at(reply, at + 4).ok().map(u64::from_ne_bytes);
        }
        at += length.next_multiple_of(4);
    }
    None
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn ip(family: u8, bytes: [u8; 16]) -> Result<IpAddr, UnknownReason> {
    let [a, b, c, d, ..] = bytes;
    match family {
        AF_INET => Ok(IpAddr::from([a, b, c, d])),
        AF_INET6 => Ok(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()),
        _ => Err(UnknownReason::Malformed),
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], UnknownReason> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(UnknownReason::Malformed)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, UnknownReason> {
    array_at(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, UnknownReason> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}
