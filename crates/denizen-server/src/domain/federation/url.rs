//! The URL of an issuer or of its keys: https, a host, and nothing that could be read in two ways.
//!
//! Pure. Tests: `tests.rs` beside this file.

use std::net::IpAddr;

use http::Uri;

/// An https URL without user, query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsUrl {
    /// Lower case; an IPv6 address without its brackets.
    pub host: String,
    /// 443 unless it names one.
    pub port: u16,
    /// From the slash on.
    pub path: String,
}

/// Why a text is no such URL: follows "the issuer" or "the key document's URL".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be https://HOST[:PORT][/PATH]: {0}")]
pub struct UrlError(&'static str);

impl HttpsUrl {
    /// Reads the URL of an issuer, which has no query (OpenID Connect Discovery, section 2).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_issuer(text: &str) -> Result<Self, UrlError> {
        if text.contains('?') {
            return Err(UrlError("it has a query"));
        }
        Self::read(text)
    }

    /// Reads the URL of a document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, UrlError> {
        if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['\\', '#', '@', '"', '<', '>']) {
            return Err(UrlError("it has a blank, a user, a fragment, or a character that URLs do not have"));
        }
        let Some(rest) = text.strip_prefix("https://") else { return Err(UrlError("it does not begin so")) };
        if rest.is_empty() || rest.starts_with(['/', ':', '?']) {
            return Err(UrlError("it names no host"));
        }
        let uri: Uri = text.parse().map_err(|_| UrlError("it cannot be read"))?;
        let host = uri.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // A name ends in letters, so that no spelling of a number is taken for one by a resolver.
        let is_name = |name: &str| {
            let last = name.rsplit('.').next().unwrap_or_default();
            !last.is_empty()
                && !last.bytes().all(|b| b.is_ascii_digit())
                && !last.to_ascii_lowercase().starts_with("0x")
                && name.split('.').all(|label| {
                    !label.is_empty()
                        && label.len() <= 63
                        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                })
        };
        if bare.parse::<IpAddr>().is_err() && !is_name(bare) || bare.len() > 253 {
            return Err(UrlError("its host is neither a domain name nor an address"));
        }
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let port = match uri.port_u16() {
            Some(port) => port,
            None if authority == host => 443,
            None => return Err(UrlError("its port is no number from 1 to 65535")),
        };
        if port == 0 {
            return Err(UrlError("its port is no number from 1 to 65535"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { host: bare.to_ascii_lowercase(), port, path })
    }

    /// `host` or `host:port`, as a Host header has it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 443 { host } else { format!("{host}:{}", self.port) }
    }

    /// The document that this issuer publishes about itself.
    #[must_use]
    pub fn configuration(&self) -> Self {
        let path = format!("{}/.well-known/openid-configuration", self.path.strip_suffix('/').unwrap_or(&self.path));
        Self { path, ..self.clone() }
    }
}

impl std::fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path)
    }
}
