//! Which servers are reached through an HTTP proxy. With the feature `proxy`.
//!
//! Never local ones: what answers on this machine is not asked for through another. The variables of the environment
//! come in as values, and connecting is the caller's business. Tests: below.

use std::{fmt, sync::Arc};

use http::Uri;
/// The proxy for one server: its URL, and the header that it wants.
pub use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::client::proxy::matcher::Matcher;

use crate::host;

/// A proxy, and the servers that are reached without it. It is used for `https` servers: what is reached through it is
/// a tunnel by `CONNECT`.
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
        let url = url.trim();
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = url.parse().map_err(|_| ProxyError)?;
        if uri.scheme_str() != Some("http") || uri.host().unwrap_or_default().is_empty() {
            return Err(ProxyError);
        }
        Ok(Self(Arc::new(Matcher::builder().https(url).no(no_proxy.to_owned()).build())))
    }

    /// The proxy for `destination`; none if it is reached directly.
    pub fn intercept(&self, destination: &Uri) -> Option<Intercept> {
        let host = destination.host()?;
        if host::is_local(host) || host::is_link_local(host) { None } else { self.0.intercept(destination) }
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

    fn intercept(proxy: &Proxy, url: &str) -> Option<Intercept> {
        proxy.intercept(&url.parse().unwrap())
    }

    #[test]
    fn the_proxy_is_for_servers_elsewhere_that_no_proxy_does_not_name() {
        let proxy = Proxy::new("http://user:pass%40word@proxy.example:3128", "internal.example, 10.0.0.0/8").unwrap();
        for url in ["https://login.example", "https://notinternal.example", "https://login.example/t/oauth2/v2.0/token"]
        {
            let found = intercept(&proxy, url).unwrap();
            assert_eq!((found.uri().host(), found.uri().port_u16()), (Some("proxy.example"), Some(3128)), "{url}");
            // base64 of user:pass@word
            assert_eq!(found.basic_auth().unwrap().to_str().unwrap(), "Basic dXNlcjpwYXNzQHdvcmQ=");
        }
        for url in [
            "https://localhost:8443/x",
            "https://LOCALHOST./x",
            "https://dev.vault.localhost",
            "https://127.0.0.9:8443",
            "https://[::1]:8443",
            "https://[fe80::1]",
            "https://169.254.169.254",
            "https://internal.example",
            "https://a.internal.example:8443",
            "https://10.1.2.3",
            "http://login.example",
        ] {
            assert!(intercept(&proxy, url).is_none(), "{url}");
        }
        for (no_proxy, is_used) in [("*", false), ("", true)] {
            let proxy = Proxy::new(" proxy.example:3128 ", no_proxy).unwrap();
            assert_eq!(intercept(&proxy, "https://a.example").is_some(), is_used, "{no_proxy:?}");
        }
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
