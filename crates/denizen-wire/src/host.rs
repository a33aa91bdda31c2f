//! Hosts that need no network: a server there is this machine, and a proxy could only reach its own.

use std::net::IpAddr;

/// Whether `host`, as a URL has it, is this machine: `localhost` and the names below it (RFC 6761), the loopback
/// addresses, and the unspecified ones, which connect to loopback.
pub fn is_local(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || address(&name).is_some_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// Whether `host` is an address that no router forwards: the metadata service is at one.
pub fn is_link_local(host: &str) -> bool {
    address(host).is_some_and(|ip| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    })
}

/// An IPv4 address in IPv6's form is the IPv4 address.
fn address(host: &str) -> Option<IpAddr> {
    host.trim_end_matches('.').trim_matches(['[', ']']).parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_in_every_spelling() {
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "x.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "127.0.0.1.",
            "0.0.0.0",
            "::1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "localhost.example",
            "notlocalhost",
            "10.0.0.1",
            "169.254.169.254",
            "[2001:db8::1]",
            "127.0.0.1.example",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn link_local_addresses_are_told_from_names() {
        for (host, is) in [
            ("169.254.169.254", true),
            ("[fe80::1]", true),
            ("::ffff:169.254.1.1", true),
            ("169.253.1.1", false),
            ("localhost", false),
            ("fe80.example", false),
        ] {
            assert_eq!(is_link_local(host), is, "{host}");
        }
    }
}
