//! The HTTP client of this crate: HTTP/1.1 over TCP or TLS, bounded answers, no redirects. A client uses no proxy unless
//! it was made for the token service: a proxy would see the key of a local endpoint.
//!
//! TLS is made when the first `https` URL is asked for: reading the system's roots costs more than a whole exchange
//! with a local endpoint, which needs none of them.

use std::{
    io::BufReader,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use denizen_wire::proxy::Proxy;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Legacy, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject},
    },
};

use crate::{
    environment::Environment,
    file,
    pin::Pin,
    proxy::{self, Connector},
};

/// The largest answer that is read, bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// One exchange takes at most this long.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Who asks.
const USER_AGENT: &str = concat!("denizen-identity/", env!("CARGO_PKG_VERSION"));

type Tls = Legacy<HttpsConnector<Connector>, Full<Bytes>>;

/// A client. Cheap to clone; connections are kept and reused.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    plain: Legacy<HttpConnector, Full<Bytes>>,
    tls: OnceLock<Result<Tls, String>>,
    trust: Arc<Trust>,
    proxy: Option<Proxy>,
}

/// Whose certificates are believed.
enum Trust {
    /// The system's.
    System,
    /// These and no others.
    Roots(RootCertStore),
    /// The one certificate with this thumbprint, whoever signed it.
    Pinned(Pin),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The client could not be made.
    #[error("the TLS roots cannot be read: {0}")]
    Roots(String),
    /// The request is not one.
    #[error("not a request: {0}")]
    Request(#[from] http::Error),
    /// Nobody answered.
    #[error("no answer from {url}{}: {source}", through(proxy.as_deref()))]
    Connection {
        /// Whom we asked.
        url: String,
        /// `host:port` of the proxy on the way, if there is one.
        proxy: Option<String>,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody answered with a certificate that is not trusted here.
    #[error("no answer from {url}{}: {source}", through(proxy.as_deref()))]
    UntrustedCertificate {
        /// Whom we asked.
        url: String,
        /// `host:port` of the proxy on the way, if there is one.
        proxy: Option<String>,
        /// What is wrong with it.
        source: rustls::Error,
    },
}

impl Client {
    /// With the roots `SSL_CERT_FILE` names, or else the system's.
    pub fn new(environment: &Environment) -> Result<Self, HttpError> {
        let Some(path) = environment.get("SSL_CERT_FILE") else { return Ok(Self::trusting(Trust::System)) };
        let unreadable = |e: &dyn std::fmt::Display| HttpError::Roots(format!("SSL_CERT_FILE={path}: {e}"));
        let file = file::open(Path::new(path)).map_err(|e| unreadable(&e))?;
        let certificates = CertificateDer::pem_reader_iter(BufReader::new(file))
            .collect::<Result<Vec<_>, _>>()
            // The parser's own text shows the line, and the file may hold a private key as well.
            .map_err(|e| match e {
                pem::Error::Io(e) => unreadable(&e),
                pem::Error::MissingSectionEnd { .. }
                | pem::Error::IllegalSectionStart { .. }
                | pem::Error::Base64Decode(_)
                | pem::Error::NoItemsFound
                | pem::Error::SectionTooLarge
                | _ => unreadable(&"it is not PEM, or damaged"),
            })?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        Self::with_roots(roots)
    }

    /// With these roots and no others.
    pub fn with_roots(roots: RootCertStore) -> Result<Self, HttpError> {
        Ok(Self::trusting(Trust::Roots(roots)))
    }

    /// Believing the one certificate with this SHA-1 thumbprint, as Service Fabric names it.
    pub(crate) fn pinned(pin: Pin) -> Self {
        Self::trusting(Trust::Pinned(pin))
    }

    /// A client that believes the same certificates and reaches servers elsewhere through `proxy`.
    pub(crate) fn through(&self, proxy: Proxy) -> Self {
        Self::build(Arc::clone(&self.0.trust), Some(proxy))
    }

    fn trusting(trust: Trust) -> Self {
        Self::build(Arc::new(trust), None)
    }

    fn build(trust: Arc<Trust>, proxy: Option<Proxy>) -> Self {
        let plain = Legacy::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self(Arc::new(Inner { plain, tls: OnceLock::new(), trust, proxy }))
    }

    /// Sends one request and reads the answer whole.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Response<Bytes>, HttpError> {
        self.send_within(TIMEOUT, method, url, headers, body).await
    }

    /// The same, giving up after `timeout`.
    pub async fn send_within(
        &self,
        timeout: Duration,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Response<Bytes>, HttpError> {
        let mut request = Request::builder().method(method).uri(url).header(header::USER_AGENT, USER_AGENT);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let proxy = self.0.proxy.as_ref().and_then(|proxy| proxy::address_for(proxy, request.uri()));
        let failed = |source| HttpError::Connection { url: bare(url), proxy: proxy.clone(), source };
        let future = match request.uri().scheme_str() {
            Some("https") => self.0.tls()?.request(request),
            _ => self.0.plain.request(request),
        };
        let exchange = async {
            let (head, body) = future
                .await
                .map_err(|error| match untrusted_certificate(&error) {
                    Some(source) => HttpError::UntrustedCertificate { url: bare(url), proxy: proxy.clone(), source },
                    None => failed(deepest(&error)),
                })?
                .into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(failed)?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(failed(format!("nothing within {} ms", timeout.as_millis()).into())))
    }
}

impl Inner {
    fn tls(&self) -> Result<&Tls, HttpError> {
        let made = self.tls.get_or_init(|| {
            self.trust.config().map(|tls| {
                let connector = HttpsConnectorBuilder::new()
                    .with_tls_config(tls)
                    .https_only()
                    .enable_http1()
                    .wrap_connector(Connector::new(self.proxy.clone()));
                Legacy::builder(TokioExecutor::new()).build(connector)
            })
        });
        made.as_ref().map_err(|e| HttpError::Roots(e.clone()))
    }
}

impl Trust {
    fn config(&self) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        Ok(match self {
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(found.certs);
                for error in &found.errors {
                    tracing::debug!(%error, "some of the system's CA certificates cannot be read");
                }
                // Without any, each server's certificate would be said to be wrong.
                if let (true, Some(error)) = (roots.is_empty(), found.errors.first()) {
                    return Err(format!("the system's store: {error}"));
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            Self::Roots(roots) => builder.with_root_certificates(roots.clone()).with_no_client_auth(),
            Self::Pinned(pin) => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(pin.clone())).with_no_client_auth()
            }
        })
    }
}

/// What TLS found wrong with the server's certificate, if that is the reason. An I/O error keeps what it wraps to
/// itself: its `source` is that of what it wraps.
fn untrusted_certificate(error: &(dyn std::error::Error + 'static)) -> Option<rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls @ rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return Some(tls.clone());
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        next = wrapped.map(|wrapped| wrapped as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}

/// hyper's own text is "client error (Connect)": the reason is at the end of its chain.
fn deepest(error: &dyn std::error::Error) -> Box<dyn std::error::Error + Send + Sync> {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string().into()
}

fn through(proxy: Option<&str>) -> String {
    proxy.map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default()
}

/// Without the query, which names whom the token is for and says nothing about the connection.
fn bare(url: &str) -> String {
    url.split('?').next().unwrap_or(url).to_owned()
}
