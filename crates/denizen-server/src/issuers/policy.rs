//! Which hosts may be asked for keys, and at which addresses.
//!
//! Pure. Tests: below.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::{IssuerError, Outbound};
use crate::domain::federation::HttpsUrl;

/// The hosts that may be asked: none, any, or those that are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Allowed);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Allowed {
    #[default]
    None,
    Any,
    Listed(Vec<Pattern>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Host(String),
    /// `.example.com`: whatever ends so.
    Below(String),
}

/// Networks whose addresses may be dialled though they are not public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

/// A text is no list of hosts or networks; it says what is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPolicy(&'static str);

/// Both.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    hosts: Hosts,
    networks: Networks,
}

impl FromStr for Hosts {
    type Err = BadPolicy;

    /// `none`, `any`, or hosts with commas between: `token.actions.githubusercontent.com, *.oic.example.com`.
    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        const RULE: BadPolicy = BadPolicy(
            "write none, any, or hosts with commas between, as id.example.com or *.example.com, without https:// and without ports",
        );
        match text.trim() {
            "none" => return Ok(Self(Allowed::None)),
            "any" => return Ok(Self(Allowed::Any)),
            _ => {}
        }
        let pattern = |part: &str| {
            let part = part.trim().to_ascii_lowercase();
            let (name, is_below) = part.strip_prefix("*.").map_or((part.as_str(), false), |name| (name, true));
            let bare = name.trim_start_matches('[').trim_end_matches(']');
            let is_address = bare.parse::<IpAddr>().is_ok();
            let url = if bare.contains(':') { format!("https://[{bare}]") } else { format!("https://{bare}") };
            let host = HttpsUrl::of_issuer(&url).map_err(|_| RULE)?.host;
            match is_below {
                true if is_address || !name.contains('.') => Err(RULE),
                true => Ok(Pattern::Below(format!(".{name}"))),
                false if host == bare => Ok(Pattern::Host(host)),
                false => Err(RULE),
            }
        };
        Ok(Self(Allowed::Listed(text.split(',').map(pattern).collect::<Result<_, _>>()?)))
    }
}

impl Hosts {
    fn allow(&self, host: &str) -> bool {
        match &self.0 {
            Allowed::None => false,
            Allowed::Any => true,
            Allowed::Listed(patterns) => patterns.iter().any(|pattern| match pattern {
                Pattern::Host(own) => own == host,
                Pattern::Below(suffix) => host.strip_suffix(suffix.as_str()).is_some_and(|head| !head.is_empty()),
            }),
        }
    }
}

impl FromStr for Networks {
    type Err = BadPolicy;

    /// `none`, or networks with commas between: `10.20.0.0/16, fd12::/32`.
    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        const RULE: BadPolicy = BadPolicy(
            "write none, or networks with commas between, as 10.20.0.0/16 or fd12::/32, with no bits set behind the length",
        );
        if text.trim() == "none" {
            return Ok(Self::default());
        }
        let network = |part: &str| {
            let (address, length) = part.trim().split_once('/')?;
            let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?);
            let width = if address.is_ipv4() { 32 } else { 128 };
            let is_whole = length <= width && head(address, length) == bits(address);
            is_whole.then_some((address, length))
        };
        text.split(',').map(network).collect::<Option<_>>().map(Self).ok_or(RULE)
    }
}

impl Networks {
    fn have(&self, address: IpAddr) -> bool {
        self.0
            .iter()
            .any(|(network, length)| network.is_ipv4() == address.is_ipv4() && head(address, *length) == bits(*network))
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(|(address, length)| format!("{address}/{length}")).collect();
        f.write_str(&texts.join(", "))
    }
}

/// An address as a number of 128 bits, its first bit first.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The same with everything behind the first `length` bits cleared.
fn head(address: IpAddr, length: u8) -> u128 {
    bits(address) & u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

impl Policy {
    pub(super) fn of(outbound: &Outbound) -> Self {
        Self { hosts: outbound.hosts.clone(), networks: outbound.networks.clone() }
    }

    /// Whether a host may be asked, before its addresses are looked up.
    pub(super) fn check_host(&self, url: &HttpsUrl) -> Result<(), IssuerError> {
        if self.hosts.allow(&url.host) { Ok(()) } else { Err(IssuerError::Host(url.host.clone())) }
    }

    /// Whether an address may be dialled.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        // An IPv4 address is judged as one, however it is dressed.
        let address = address.to_canonical();
        self.networks.have(address)
            || match address {
                IpAddr::V4(address) => is_public(address),
                IpAddr::V6(address) => is_global(address),
            }
    }
}

/// Not special by RFC 6890 and its followers, and not where Azure's machines find their host.
fn is_public(address: Ipv4Addr) -> bool {
    const SPECIAL: [(Ipv4Addr, u8); 15] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(168, 63, 129, 16), 32),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(192, 88, 99, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        // Multicast and everything above.
        (Ipv4Addr::new(224, 0, 0, 0), 3),
    ];
    !SPECIAL.iter().any(|(network, length)| head(address.into(), *length) == bits((*network).into()))
}

/// Global unicast, and none of the blocks in which another address is hidden or that are for documents.
fn is_global(address: Ipv6Addr) -> bool {
    const SPECIAL: [(Ipv6Addr, u8); 3] = [
        // Teredo, benchmarks and the like.
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
        // 6to4.
        (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    ];
    head(address.into(), 3) == bits(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0).into())
        && !SPECIAL.iter().any(|(network, length)| head(address.into(), *length) == bits((*network).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(hosts: &str, networks: &str) -> Policy {
        Policy { hosts: hosts.parse().unwrap(), networks: networks.parse().unwrap() }
    }

    #[test]
    fn a_host_is_allowed_by_name_or_below_one() {
        let asked = |policy: &Policy, host: &str| {
            policy.check_host(&HttpsUrl::of_issuer(&format!("https://{host}/x")).unwrap()).is_ok()
        };
        let listed = policy("id.example.com, *.Oic.example.net,[2001:db8::1], 192.0.2.7", "none");
        for host in [
            "id.example.com",
            "ID.Example.com:8443",
            "a.oic.example.net",
            "a.b.oic.example.net",
            "[2001:db8::1]",
            "192.0.2.7",
        ] {
            assert!(asked(&listed, host), "{host}");
        }
        for host in [
            "example.com",
            "x.id.example.com",
            "oic.example.net",
            "aoic.example.net",
            "id.example.com.evil.test",
            "192.0.2.8",
        ] {
            assert!(!asked(&listed, host), "{host}");
            assert!(asked(&policy("any", "none"), host) && !asked(&policy("none", "none"), host));
        }
        for bad in
            ["", "https://id.example.com", "id.example.com:443", "*", "*.", "*.com", "a b", "x,", "*.10.0.0.1", "a/b"]
        {
            assert!(bad.parse::<Hosts>().is_err(), "{bad}");
        }
    }

    #[test]
    fn d08_only_public_addresses_are_dialled_unless_a_network_is_allowed() {
        let strict = policy("any", "none");
        let allows = |policy: &Policy, address: &str| policy.allows(address.parse().unwrap());
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "100::1",
            "fec0::1",
        ] {
            assert!(!allows(&strict, address), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "223.255.255.254",
            "2606:4700::1",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(allows(&strict, address), "{address}");
        }
        let private = policy("any", "10.20.0.0/16, fd12::/32,127.0.0.1/32");
        for (address, is_allowed) in [
            ("10.20.255.1", true),
            ("::ffff:10.20.1.1", true),
            ("10.21.0.1", false),
            ("fd12::5", true),
            ("fd12:1::5", false),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("169.254.169.254", false),
        ] {
            assert_eq!(allows(&private, address), is_allowed, "{address}");
        }
        assert!(allows(&policy("any", "0.0.0.0/0, ::/0"), "169.254.169.254"));
        for bad in ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "::/129", "x/8", "10.0.0.0/8,"] {
            assert!(bad.parse::<Networks>().is_err(), "{bad}");
        }
    }
}
