//! The one way out of the agent: HTTPS to one configured origin.
//!
//! A [`HttpsClient`] is made for an origin and takes paths, so there is no call by which a URL from a request could be
//! fetched. Redirects are answers like any other. The roots are one CA file, or the system's.
//! Tests: with those of enrolment and of the token client, against a TLS server.

use std::{path::Path, sync::Arc, time::Duration};

use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject as _};

/// A connection is made within this time, or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request is answered within this time, or failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// An idle connection is kept this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// What kept a request from being made or answered.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// Not an `https://host[:port]` URL.
    #[error("'{0}' is not a URL of the form https://host or https://host:port")]
    NotAnOrigin(String),
    /// The URL is of another server than the configured one.
    #[error("{url} is not on {origin}, the only server this agent talks to")]
    OtherOrigin {
        /// What was to be fetched.
        url: String,
        /// What is configured.
        origin: String,
    },
    /// The CA file, or the system's roots.
    #[error("no usable CA certificates in {from}: {reason}")]
    Roots {
        /// The file, or the system.
        from: String,
        /// What was wrong with it.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No connection, a broken one, or a certificate that was refused.
    #[error("cannot reach {origin}: {reason}")]
    Unreachable {
        /// The server.
        origin: String,
        /// The innermost reason.
        reason: String,
    },
    /// Time ran out.
    #[error("{0} did not answer in time")]
    TimedOut(String),
}

/// A client of one origin.
#[derive(Clone)]
pub struct HttpsClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    origin: Origin,
}

/// Scheme, host and port, of an `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// Of any absolute `https` URL; path and query are left aside.
    pub fn of(url: &str) -> Result<Self, HttpsError> {
        let refuse = || HttpsError::NotAnOrigin(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| refuse())?;
        let authority = uri.authority().ok_or_else(refuse)?;
        if uri.scheme_str() != Some("https") || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(refuse());
        }
        Ok(Self { host: authority.host().to_ascii_lowercase(), port: uri.port_u16().unwrap_or(443) })
    }

    /// The path of `url`, when it is on this origin.
    pub fn path_of(&self, url: &str) -> Result<String, HttpsError> {
        if Self::of(url)? != *self {
            return Err(HttpsError::OtherOrigin { url: url.to_owned(), origin: self.to_string() });
        }
        let uri: Uri = url.parse().map_err(|_| HttpsError::NotAnOrigin(url.to_owned()))?;
        Ok(uri.path().to_owned())
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            443 => write!(f, "https://{}", self.host),
            port => write!(f, "https://{}:{port}", self.host),
        }
    }
}

impl HttpsClient {
    /// For the origin of `server`, trusting the certificates in `ca_file` and no others; without one, the system's.
    pub fn new(server: &str, ca_file: Option<&Path>) -> Result<Self, HttpsError> {
        let origin = Origin::of(server)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(ca_file)?)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(2)
            .build(connector);
        Ok(Self { client, origin })
    }

    /// The server.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Posts `body` to `path` and returns the status and the whole answer.
    pub async fn post(
        &self,
        path: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), HttpsError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.origin))
            .header(header::CONTENT_TYPE, content_type)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("denizen-agent/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|_| HttpsError::NotAnOrigin(format!("{}{path}", self.origin)))?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|e| self.unreachable(&e))?;
            let status = answer.status();
            let body =
                Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|e| self.unreachable(&*e))?;
            Ok((status, body.to_bytes()))
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, exchange).await {
            Ok(done) => done,
            Err(_) => Err(HttpsError::TimedOut(self.origin.to_string())),
        }
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> HttpsError {
        // The outer errors say only "client error (Connect)"; the cause is what a person can act on.
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        HttpsError::Unreachable { origin: self.origin.to_string(), reason: innermost.to_string() }
    }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, HttpsError> {
    let mut store = RootCertStore::empty();
    let (from, reason) = match ca_file {
        Some(path) => {
            let from = path.display().to_string();
            let fault = |reason: String| HttpsError::Roots { from: from.clone(), reason };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| fault(e.to_string()))? {
                store.add(certificate.map_err(|e| fault(e.to_string()))?).map_err(|e| fault(e.to_string()))?;
            }
            (from, "there is none in it".to_owned())
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            let reason = found.errors.first().map_or_else(|| "there is none".to_owned(), ToString::to_string);
            ("the system's store".to_owned(), reason)
        }
    };
    if store.is_empty() { Err(HttpsError::Roots { from, reason }) } else { Ok(store) }
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
    fn d8_a_url_of_another_origin_has_no_path_here() {
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

    #[test]
    fn a_ca_file_without_certificates_is_refused_by_name() {
        let temp = tempfile::tempdir().unwrap();
        let empty = temp.path().join("ca.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        for path in [empty, temp.path().join("missing.pem")] {
            let error = HttpsClient::new("https://localhost:1", Some(&path)).err().unwrap().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
    }
}
