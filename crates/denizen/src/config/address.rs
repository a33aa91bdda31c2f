//! Where a service listens: one address, or what a URL calls `localhost`, which is two. Tests: below.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use denizen_serve::LOCALHOST;

/// Where a service listens whose URL says `localhost`: always on 127.0.0.1 and on [::1], at one port. Either address
/// may be written for the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Localhost {
    /// The address that was written, which must be there.
    pub(crate) written: Option<IpAddr>,
    /// Its port; 0 takes a free one.
    pub(crate) port: u16,
}

/// Where a service listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// On both addresses of `localhost`.
    Localhost(Localhost),
    /// On this one.
    One(SocketAddr),
}

impl FromStr for Localhost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(port) = text.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| format!("'{port}' is not a port; write localhost:8443"))?;
            return Ok(Self { written: None, port });
        }
        let addr: SocketAddr =
            text.parse().map_err(|_| "write localhost:PORT, 127.0.0.1:PORT or [::1]:PORT".to_owned())?;
        if !LOCALHOST.contains(&addr.ip()) {
            return Err("the development server listens on loopback only: localhost, 127.0.0.1 or [::1]".to_owned());
        }
        Ok(Self { written: Some(addr.ip()), port: addr.port() })
    }
}

impl Localhost {
    /// The host as it was written.
    pub(crate) fn host(self) -> String {
        match self.written {
            None => "localhost".to_owned(),
            Some(IpAddr::V4(ip)) => ip.to_string(),
            Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        }
    }
}

impl fmt::Display for Localhost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host(), self.port)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("localhost:") {
            return text.parse().map(Self::Localhost);
        }
        let rule = "write ADDR:PORT, as 0.0.0.0:8443, [::]:8443 or localhost:8443 (127.0.0.1 and [::1])";
        text.parse().map(Self::One).map_err(|_| rule.to_owned())
    }
}

impl Address {
    /// The port that was written; 0 takes a free one.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Localhost(at) => at.port,
            Self::One(at) => at.port(),
        }
    }

    /// Whether only this machine reaches it.
    pub(crate) fn is_loopback(self) -> bool {
        match self {
            Self::Localhost(_) => true,
            Self::One(at) => at.ip().is_loopback(),
        }
    }

    /// The host as it was written.
    pub(crate) fn host(self) -> String {
        match self {
            Self::Localhost(at) => at.host(),
            Self::One(SocketAddr::V4(at)) => at.ip().to_string(),
            Self::One(SocketAddr::V6(at)) => format!("[{}]", at.ip()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host(), self.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_written_three_ways_and_no_other() {
        for (text, shown) in
            [("localhost:8443", "localhost:8443"), ("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:8443", "[::1]:8443")]
        {
            assert_eq!(text.parse::<Localhost>().unwrap().to_string(), shown);
        }
        for (text, rule) in [
            ("localhost", "PORT"),
            ("localhost:http", "not a port"),
            ("8443", "PORT"),
            ("0.0.0.0:1", "loopback"),
            ("[::]:1", "loopback"),
            // No URL of ours says it, and no certificate of ours carries it.
            ("127.0.0.2:1", "loopback"),
        ] {
            let refused = text.parse::<Localhost>().unwrap_err();
            assert!(refused.contains(rule), "{text}: {refused}");
        }
    }

    #[test]
    fn an_address_is_one_or_localhost() {
        for (text, loopback) in
            [("localhost:1", true), ("127.0.0.1:1", true), ("[::1]:0", true), ("0.0.0.0:1", false), ("[::]:1", false)]
        {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_loopback()), (text, loopback));
        }
        for bad in ["", "8443", "host:1", "localhost", "127.0.0.1", "::1:1", "127.0.0.1:65536"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
