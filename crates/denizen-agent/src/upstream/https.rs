//! The one way out of the agent: HTTPS to one configured origin, directly or through a proxy.
//!
//! A [`HttpsClient`] is made for an origin and takes paths, so there is no call by which a URL from a request could be
//! fetched. Redirects are answers like any other. The roots are one CA file, or the system's.
//! Tests: `https/tests.rs`, and those of enrolment and of the token client, against a TLS server.

use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

use denizen_keys::random;
use denizen_wire::proxy::Proxy;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Response, body::Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client, Error as ClientError,
        connect::{HttpConnector, proxy::Tunnel},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::CertificateDer,
    pki_types::pem::{self, PemObject as _},
};

use super::origin::{Origin, OriginError};
use crate::files;

#[cfg(test)]
mod tests;

/// A connection is made within this time and up to [`CONNECT_SPREAD`] more, or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What each process adds to it at random. After an outage agents begin to ask within one second of each other, and the
/// SYNs that a full server drops are sent again after fixed times: with one time-out for all, all would go on asking in
/// the same seconds, and the server would have nothing to do between them.
const CONNECT_SPREAD: Duration = Duration::from_secs(3);
/// A request is answered within this time, or failed.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// An idle connection is kept this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;
/// The largest file of CA certificates, bytes; a distribution's bundle has a quarter of a million.
const MAX_CA_FILE: u64 = 16 * 1024 * 1024;

/// What kept a request from being made or answered.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The URL cannot be used here.
    #[error(transparent)]
    Origin(#[from] OriginError),
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
    #[error("cannot reach {origin}{via}: {reason}")]
    Unreachable {
        /// The server.
        origin: String,
        /// ` through the proxy …`; nothing when it is asked directly.
        via: String,
        /// The innermost reason.
        reason: String,
    },
    /// Time ran out.
    #[error("{0} did not answer in time")]
    TimedOut(String),
}

/// How servers are reached.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    /// The only certificates that are trusted, PEM; without, the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The proxy for servers that are not on this machine.
    pub proxy: Option<Proxy>,
}

/// A client of one origin.
#[derive(Clone)]
pub struct HttpsClient {
    client: Route,
    origin: Origin,
    /// For error texts.
    via: String,
}

/// The way to the origin.
#[derive(Clone)]
enum Route {
    Direct(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    Tunnel(Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>),
}

impl Route {
    async fn request(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        match self {
            Self::Direct(client) => client.request(request).await,
            Self::Tunnel(client) => client.request(request).await,
        }
    }
}

impl HttpsClient {
    /// Creates a client of the origin of `server`.
    pub fn new(server: &str, outbound: &Outbound) -> Result<Self, HttpsError> {
        let origin = Origin::of(server)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(outbound.ca_file.as_deref())?)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect_timeout(u16::from_ne_bytes(random::bytes()))));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1();
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).pool_max_idle_per_host(2);
        let intercept = outbound.proxy.as_ref().and_then(|proxy| proxy.intercept(&origin.to_string().parse().ok()?));
        let (client, via) = match intercept {
            None => (Route::Direct(builder.build(https.wrap_connector(connector))), String::new()),
            Some(intercept) => {
                let mut tunnel = Tunnel::new(intercept.uri().clone(), connector);
                if let Some(authorization) = intercept.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                // The matcher has taken user and password out of it.
                let via = format!(" through the proxy {}", intercept.uri().authority().map_or("", |a| a.as_str()));
                (Route::Tunnel(builder.build(https.wrap_connector(tunnel))), via)
            }
        };
        Ok(Self { client, origin, via })
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
            .map_err(|_| OriginError::NotAnOrigin(format!("{}{path}", self.origin)))?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|e| self.unreachable(&e))?;
            let status = answer.status();
            let body =
                Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|e| self.unreachable(&*e))?;
            Ok((status, body.to_bytes()))
        };
        match tokio::time::timeout(REQUEST_TIMEOUT, exchange).await {
            Ok(done) => done,
            Err(_) => Err(HttpsError::TimedOut(format!("{}{}", self.origin, self.via))),
        }
    }

    fn unreachable(&self, error: &(dyn Error + 'static)) -> HttpsError {
        // The outer errors say only "client error (Connect)"; the cause is what a person can act on.
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        HttpsError::Unreachable {
            origin: self.origin.to_string(),
            via: self.via.clone(),
            reason: innermost.to_string(),
        }
    }
}

/// Within what time a process makes its connections. `random` is uniform.
pub fn connect_timeout(random: u16) -> Duration {
    CONNECT_TIMEOUT + CONNECT_SPREAD * u32::from(random) / u32::from(u16::MAX)
}

/// What is wrong with a PEM file. The parser's own text shows the line, and the file may hold a private key as well.
fn pem_fault(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is none in it".to_owned(),
        pem::Error::MissingSectionEnd { .. }
        | pem::Error::IllegalSectionStart { .. }
        | pem::Error::Base64Decode(_)
        | pem::Error::SectionTooLarge
        | _ => "it is not PEM, or damaged: each section needs its BEGIN and END marks on lines of their own".to_owned(),
    }
}

fn roots(ca_file: Option<&std::path::Path>) -> Result<RootCertStore, HttpsError> {
    let mut store = RootCertStore::empty();
    let (from, reason) = match ca_file {
        Some(path) => {
            let from = path.display().to_string();
            let fault = |reason: String| HttpsError::Roots { from: from.clone(), reason };
            let pem = files::read_whole(path, MAX_CA_FILE).map_err(|e| fault(e.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                store.add(certificate.map_err(|e| fault(pem_fault(&e)))?).map_err(|e| fault(e.to_string()))?;
            }
            (from, "there is none in it".to_owned())
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
            let reason = found.errors.first().map_or_else(|| "there is none".to_owned(), ToString::to_string);
            for error in &found.errors {
                tracing::warn!(%error, "some of the system's CA certificates cannot be read");
            }
            ("the system's store".to_owned(), reason)
        }
    };
    if store.is_empty() { Err(HttpsError::Roots { from, reason }) } else { Ok(store) }
}
