//! One server on the way out: scheme, host and port. Touches nothing. Tests: below.

use std::fmt;

use http::Uri;

/// Why a URL cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// Not an `https://host[:port]` URL.
    #[error("'{0}' is not a URL of the form https://host or https://host:port")]
    NotAnOrigin(String),
    /// The URL is of another server than the configured one.
    #[error("{url} is not on {origin}, the only server that is asked here")]
    OtherOrigin {
        /// What was to be fetched.
        url: String,
        /// What is configured.
        origin: String,
    },
}

/// Scheme, host and port, of an `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// Takes the origin of any absolute `https` URL; path and query are left aside.
    pub fn of(url: &str) -> Result<Self, OriginError> {
        let refuse = || OriginError::NotAnOrigin(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| refuse())?;
        let authority = uri.authority().ok_or_else(refuse)?;
        if uri.scheme_str() != Some("https") || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(refuse());
        }
        Ok(Self { host: authority.host().to_ascii_lowercase(), port: uri.port_u16().unwrap_or(443) })
    }

    /// The host: a name, or an address, an IPv6 one in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path of `url`, when it is on this origin.
    pub fn path_of(&self, url: &str) -> Result<String, OriginError> {
        if Self::of(url)? != *self {
            return Err(OriginError::OtherOrigin { url: url.to_owned(), origin: self.to_string() });
        }
        let uri: Uri = url.parse().map_err(|_| OriginError::NotAnOrigin(url.to_owned()))?;
        Ok(uri.path().to_owned())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            443 => write!(f, "https://{}", self.host),
            port => write!(f, "https://{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_https_with_a_host_and_nothing_before_it() {
        let origin = Origin::of("https://LocalHost:8443/tenant/oauth2/v2.0/token").unwrap();
        assert_eq!(origin.to_string(), "https://localhost:8443");
        assert_eq!(Origin::of("https://login.example").unwrap().to_string(), "https://login.example");
        assert_eq!(Origin::of("https://[::1]:8443").unwrap().to_string(), "https://[::1]:8443");
        for bad in
            ["http://localhost", "localhost", "https://", "https://user@host/", "file:///etc/passwd", "/path", ""]
        {
            assert!(Origin::of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn d08_a_url_of_another_origin_has_no_path_here() {
        let origin = Origin::of("https://localhost:8443").unwrap();
        assert_eq!(origin.path_of("https://localhost:8443/t/token").unwrap(), "/t/token");
        for other in [
            "https://localhost/t",
            "https://localhost:8443.evil.test/t",
            "https://127.0.0.1:8443/t",
            "http://localhost:8443/t",
        ] {
            assert!(origin.path_of(other).is_err(), "{other}");
        }
    }
}
