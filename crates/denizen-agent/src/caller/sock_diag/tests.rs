use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
};

use super::*;

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// An accepted connection and its client: `(client address, server address)` with both ends kept open.
fn pair(bind: &str, connect: Option<&str>) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(bind).unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = match connect {
        Some(host) => TcpStream::connect((host, port)).unwrap(),
        None => TcpStream::connect(listener.local_addr().unwrap()).unwrap(),
    };
    (client, listener.accept().unwrap().0)
}

#[test]
fn the_kernel_names_the_owner_and_its_cgroup_on_both_families() {
    for bind in ["127.0.0.1:0", "127.0.0.7:0", "[::1]:0"] {
        let (_client, accepted) = pair(bind, None);
        let (uid, cgroup) = owner(accepted.peer_addr().unwrap(), accepted.local_addr().unwrap()).unwrap();
        assert_eq!(uid, us());
        // The id is the inode of the cgroup's directory, where a cgroup2 tree is mounted to compare with.
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        if let Some(path) = own.lines().find_map(|l| l.strip_prefix("0::"))
            && let Ok(directory) = std::fs::metadata(format!("/sys/fs/cgroup{path}"))
            && std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
        {
            assert_eq!(cgroup, Some(directory.ino()));
        }
    }
}

#[test]
fn a_client_on_an_ipv6_socket_is_found_behind_its_ipv4_address() {
    let (_client, accepted) = pair("127.0.0.1:0", Some("::ffff:127.0.0.1"));
    assert!(accepted.peer_addr().unwrap().is_ipv4());
    assert_eq!(owner(accepted.peer_addr().unwrap(), accepted.local_addr().unwrap()).unwrap().0, us());
}

#[test]
fn another_users_connection_is_another_users() {
    if !denizen_skip::is_root() {
        return; // becoming another user needs root
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut child = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c"])
        .arg(format!("exec 3<>/dev/tcp/127.0.0.1/{port}; read -r line <&3"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (accepted, peer) = listener.accept().unwrap();
    let found = owner(peer, accepted.local_addr().unwrap());
    drop(accepted);
    child.wait().unwrap();
    assert_eq!(found.unwrap().0, 65534);
}

#[test]
fn d17_a_closed_or_unknown_connection_has_no_owner() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    // Nobody is connected from there: the kernel finds the listener or nothing, and neither is an owner.
    let unused = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    assert!(matches!(owner(unused, server), Err(UnknownReason::NoSuchSocket | UnknownReason::Mismatch)));
    // Asked the wrong way round, about a client address that is itself a listener.
    assert!(matches!(owner(server, unused), Err(UnknownReason::NoSuchSocket | UnknownReason::Mismatch)));

    let (client, accepted) = pair("127.0.0.1:0", None);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let half_closed = owner(accepted.peer_addr().unwrap(), accepted.local_addr().unwrap());
    assert_eq!(half_closed, Err(UnknownReason::Mismatch), "not ESTABLISHED any more");
}

#[test]
fn d17_only_loopback_is_asked_about() {
    let outside = SocketAddr::from(([192, 0, 2, 1], 1000));
    let inside = SocketAddr::from(([127, 0, 0, 1], 1000));
    let six: SocketAddr = "[::1]:1000".parse().unwrap();
    for (client, server) in [(outside, inside), (inside, outside), (inside, six)] {
        assert_eq!(owner(client, server), Err(UnknownReason::NotLoopback), "{client} {server}");
    }
}

fn question() -> Question {
    Question::new("127.0.0.1:2000".parse().unwrap(), "127.0.0.1:40342".parse().unwrap()).unwrap()
}

/// A reply as the kernel would write it.
fn reply(
    family: u8,
    state: u8,
    client: ([u8; 16], u16),
    server: ([u8; 16], u16),
    uid: u32,
    attributes: &[u8],
) -> Vec<u8> {
    let mut reply = Vec::new();
    reply.extend(((MESSAGE_END + attributes.len()) as u32).to_ne_bytes());
    reply.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    reply.extend([0; 10]);
    reply.extend([family, state, 0, 0]);
    reply.extend(client.1.to_be_bytes());
    reply.extend(server.1.to_be_bytes());
    reply.extend(client.0);
    reply.extend(server.0);
    reply.extend([0; 12]); // interface, cookie
    reply.extend([0; 12]); // expires, queues
    reply.extend(uid.to_ne_bytes());
    reply.extend([0; 4]); // inode
    reply.extend(attributes);
    reply
}

#[test]
fn an_answer_counts_only_for_exactly_the_connection_asked_for() {
    let here = address(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let there = address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
    let ok = reply(AF_INET, TCP_ESTABLISHED, (here, 2000), (here, 40342), 7, &[]);
    assert_eq!(question().read(&ok), Ok((7, None)));
    let six = reply(AF_INET6, TCP_ESTABLISHED, (mapped, 2000), (mapped, 40342), 7, &[]);
    assert_eq!(question().read(&six), Ok((7, None)));
    let mut cgroup = Vec::new();
    cgroup.extend([5, 0, 8, 0, 1, 0, 0, 0]); // another attribute, one byte long and padded
    cgroup.extend([12, 0, 21, 0]);
    cgroup.extend(99_u64.to_ne_bytes());
    let with = reply(AF_INET, TCP_ESTABLISHED, (here, 2000), (here, 40342), 7, &cgroup);
    assert_eq!(question().read(&with), Ok((7, Some(99))));
    for (what, other) in [
        ("client port", reply(AF_INET, TCP_ESTABLISHED, (here, 2001), (here, 40342), 0, &[])),
        ("server port", reply(AF_INET, TCP_ESTABLISHED, (here, 2000), (here, 40343), 0, &[])),
        ("client address", reply(AF_INET, TCP_ESTABLISHED, (there, 2000), (here, 40342), 0, &[])),
        ("server address", reply(AF_INET, TCP_ESTABLISHED, (here, 2000), (there, 40342), 0, &[])),
        ("listening", reply(AF_INET, 10, (here, 2000), (here, 40342), 0, &[])),
        ("closing", reply(AF_INET, 8, (here, 2000), (here, 40342), 0, &[])),
    ] {
        assert_eq!(question().read(&other), Err(UnknownReason::Mismatch), "{what}");
    }
    assert_eq!(
        question().read(&reply(1, TCP_ESTABLISHED, (here, 2000), (here, 40342), 0, &[])),
        Err(UnknownReason::Malformed)
    );
}

#[test]
fn d04_no_reply_however_cut_or_garbled_names_an_owner_or_panics() {
    let here = address(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let whole = reply(AF_INET, TCP_ESTABLISHED, (here, 2000), (here, 40342), 7, &[12, 0, 21, 0, 1]);
    for end in 0..whole.len() {
        assert_eq!(question().read(&whole[..end]), Err(UnknownReason::Malformed), "cut at {end}");
    }
    let mut random = 12345_u32;
    for _ in 0..20_000 {
        let mut garbled = whole.clone();
        for _ in 0..4 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (random >> 8) as usize % garbled.len();
            garbled[at] = (random >> 24) as u8;
        }
        let _ = question().read(&garbled);
    }
}

#[test]
fn what_the_kernel_says_against_it_is_kept() {
    let refusal = |errno: Errno| {
        let mut reply = Vec::new();
        reply.extend(36_u32.to_ne_bytes());
        reply.extend(NLMSG_ERROR.to_ne_bytes());
        reply.extend([0; 10]);
        reply.extend((-errno.raw_os_error()).to_ne_bytes());
        reply.extend([0; 16]);
        question().read(&reply)
    };
    assert_eq!(refusal(Errno::NOENT), Err(UnknownReason::NoSuchSocket));
    assert_eq!(refusal(Errno::PERM), Err(UnknownReason::CannotAsk(Errno::PERM)));
    let text = UnknownReason::CannotAsk(Errno::PERM).to_string();
    assert!(text.contains("not permitted") || text.contains("Operation"), "{text}");
}
