//! The HTTP proxy on the way to the token service: an HTTPS server elsewhere is reached through it by `CONNECT`.
//!
//! Taken from `HTTPS_PROXY`, or else `ALL_PROXY`; the names and networks in `NO_PROXY` are reached directly. Lower-case
//! names count too. `HTTP_PROXY` does not: nothing is asked of the token service over plain HTTP. Local servers are
//! never reached through a proxy, and identity endpoints are asked by a client that has none: a proxy would see their
//! keys. Which servers those are, [`denizen_wire::proxy`] decides.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use denizen_wire::proxy::Proxy;
use http::Uri;
use hyper_util::{
    client::legacy::connect::{HttpConnector, proxy::Tunnel},
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::environment::Environment;

/// A proxy's variable that cannot be used. Its value may hold a password, so it is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is not the URL of an HTTP proxy")]
pub(crate) struct ProxyError {
    variable: &'static str,
}

impl ProxyError {
    pub(crate) const HINT: &str =
        "write http://host:port or http://user:password@host:port; other kinds of proxy are not supported";
}

/// The proxy that `environment` names, if any.
pub(crate) fn from_environment(environment: &Environment) -> Result<Option<Proxy>, ProxyError> {
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let Some((variable, url)) = names.into_iter().find_map(|name| Some((name, environment.get(name)?))) else {
        return Ok(None);
    };
    let excluded = environment.get("NO_PROXY").or(environment.get("no_proxy")).unwrap_or_default();
    Proxy::new(url, excluded).map(Some).map_err(|_| ProxyError { variable })
}

/// `host:port` of the proxy for `destination`, for messages.
pub(crate) fn address_for(proxy: &Proxy, destination: &Uri) -> Option<String> {
    let proxy = proxy.intercept(destination)?;
    let host = proxy.uri().host().unwrap_or_default();
    Some(format!("{host}:{}", proxy.uri().port_u16().unwrap_or(80)))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens TCP connections, through the proxy where there is one for the destination.
#[derive(Clone)]
pub(crate) struct Connector {
    direct: HttpConnector,
    proxy: Option<Proxy>,
}

impl Connector {
    pub(crate) fn new(proxy: Option<Proxy>) -> Self {
        let mut direct = HttpConnector::new();
        // TLS is put on top of it, so it is asked for https URLs.
        direct.enforce_http(false);
        Self { direct, proxy }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let Some(proxy) = self.proxy.as_ref().and_then(|proxy| proxy.intercept(&destination)) else {
            let connecting = self.direct.call(destination);
            return Box::pin(async move { Ok(connecting.await?) });
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct.clone());
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let connecting = tunnel.call(destination);
        Box::pin(async move { Ok(connecting.await?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy<const N: usize>(pairs: [(&str, &str); N]) -> Result<Option<Proxy>, ProxyError> {
        from_environment(&Environment::from(pairs))
    }

    fn address(proxy: &Proxy, url: &str) -> Option<String> {
        address_for(proxy, &url.parse().unwrap())
    }

    const ENTRA: &str = "https://login.microsoftonline.com/t/oauth2/v2.0/token";

    #[test]
    fn either_case_names_the_proxy_and_http_proxy_does_not() {
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            for value in ["http://proxy.example:3128", "proxy.example:3128", "http://u:p@proxy.example:3128/"] {
                let proxy = proxy([(name, value)]).unwrap().unwrap();
                assert_eq!(address(&proxy, ENTRA).as_deref(), Some("proxy.example:3128"), "{name}={value}");
            }
        }
        for pairs in [[("HTTP_PROXY", "http://p:1")], [("http_proxy", "http://p:1")], [("HTTPS_PROXY", "")]] {
            assert!(proxy(pairs).unwrap().is_none(), "{pairs:?}");
        }
    }

    #[test]
    fn local_servers_and_those_that_no_proxy_names_are_reached_directly() {
        let local = proxy([("HTTPS_PROXY", "http://p:1")]).unwrap().unwrap();
        assert_eq!(address(&local, "https://localhost:8443/x"), None);
        for name in ["NO_PROXY", "no_proxy"] {
            let proxy = proxy([("HTTPS_PROXY", "http://p:1"), (name, "internal.example, 10.0.0.0/8")]).unwrap();
            let proxy = proxy.unwrap();
            for url in ["https://internal.example", "https://a.internal.example:8443", "https://10.1.2.3"] {
                assert_eq!(address(&proxy, url), None, "{url}");
            }
            assert_eq!(address(&proxy, "https://notinternal.example").as_deref(), Some("p:1"));
        }
        let all = proxy([("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "*")]).unwrap().unwrap();
        assert_eq!(address(&all, ENTRA), None);
    }

    #[test]
    fn a_url_of_another_kind_is_refused_without_showing_it() {
        for url in ["https://u:MARKER@p:1", "socks5://u:MARKER@p:1", "http://", "http://u:MARKER@", "MARKER MARKER"] {
            let error = proxy([("https_proxy", url)]).unwrap_err();
            assert_eq!(format!("{error}"), "https_proxy is not the URL of an HTTP proxy");
            assert!(!format!("{error:?}").contains("MARKER"), "{url}");
        }
        let proxy = proxy([("HTTPS_PROXY", "http://u:MARKER@p:1")]).unwrap().unwrap();
        assert_eq!(format!("{proxy:?}"), "Proxy");
    }
}
