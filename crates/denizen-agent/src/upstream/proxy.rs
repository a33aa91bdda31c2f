//! The HTTP proxy on the way out: which servers are reached through it, by `CONNECT`.
//!
//! Never local ones: what answers on this machine is not asked for through another. Touches nothing; the environment's
//! variables come in as values. Tests: with those of the HTTPS client, over sockets.

use std::{fmt, sync::Arc};

use denizen_wire::host;
use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::origin::Origin;

/// A proxy, and the servers that are reached without it.
#[derive(Clone)]
pub struct Proxy(Arc<Matcher>);

/// A proxy's URL that cannot be used. It may hold a password, so it is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the proxy's URL cannot be used: write http://host:port or http://user:password@host:port; only HTTP proxies are supported"
)]
pub struct ProxyError;

impl Proxy {
    /// Creates one from a URL as `HTTPS_PROXY` has it and a list as `NO_PROXY` has it.
    ///
    /// # Errors
    /// The URL is not an HTTP proxy's.
    pub fn new(url: &str, no_proxy: &str) -> Result<Self, ProxyError> {
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = url.parse().map_err(|_| ProxyError)?;
        let host = uri.host().unwrap_or_default();
        if uri.scheme_str() != Some("http") || host.is_empty() {
            return Err(ProxyError);
        }
        Ok(Self(Arc::new(Matcher::builder().https(url).no(no_proxy.to_owned()).build())))
    }

    /// How `origin` is reached through the proxy; none if it is reached directly.
    pub(super) fn intercept(&self, origin: &Origin) -> Option<Intercept> {
        if host::is_local(origin.host()) || host::is_link_local(origin.host()) {
            return None;
        }
        self.0.intercept(&origin.to_string().parse().ok()?)
    }
}

// Not derived: the URL may hold a password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_for_servers_elsewhere_that_no_proxy_does_not_name() {
        let proxy = Proxy::new("http://user:pass%40word@proxy.example:3128", "internal.example,10.0.0.0/8").unwrap();
        let through = |url: &str| proxy.intercept(&Origin::of(url).unwrap());
        let way = through("https://login.example").unwrap();
        assert_eq!((way.uri().host(), way.uri().port_u16()), (Some("proxy.example"), Some(3128)));
        // base64 of user:pass@word
        assert_eq!(way.basic_auth().unwrap().to_str().unwrap(), "Basic dXNlcjpwYXNzQHdvcmQ=");
        for url in [
            "https://localhost:8443",
            "https://dev.vault.localhost",
            "https://127.0.0.9:8443",
            "https://[::1]:8443",
            "https://169.254.169.254",
            "https://internal.example",
            "https://a.internal.example:8443",
            "https://10.1.2.3",
        ] {
            assert!(through(url).is_none(), "{url}");
        }
        assert!(
            Proxy::new("proxy.example:3128", "*")
                .unwrap()
                .intercept(&Origin::of("https://a.example").unwrap())
                .is_none()
        );
        assert!(
            Proxy::new("proxy.example:3128", "")
                .unwrap()
                .intercept(&Origin::of("https://a.example").unwrap())
                .is_some()
        );
    }

    #[test]
    fn a_url_that_is_no_http_proxys_is_refused_without_showing_it() {
        for url in ["", "https://u:MARKER@p:1", "socks5://u:MARKER@p:1", "http://", "http://u:MARKER@", "MARKER MARKER"]
        {
            let error = Proxy::new(url, "").unwrap_err();
            assert!(!format!("{error} {error:?}").contains("MARKER"), "{url}");
        }
        assert_eq!(format!("{:?}", Proxy::new("http://u:MARKER@p:1", "").unwrap()), "Proxy");
    }
}
