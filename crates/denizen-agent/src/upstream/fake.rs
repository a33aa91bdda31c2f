//! A TLS server for tests: answers from a closure, counts and keeps what it was asked.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use denizen_keys::ca::{DevCa, SanEntry};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// Now, for certificates: they are checked against the real time.
fn now() -> i64 {
    denizen_wire::Clock::system().now().0
}

type Handler = dyn FnMut(&str, &str) -> (u16, String) + Send;

/// The server.
pub(crate) struct FakeServer {
    pub(crate) address: SocketAddr,
    /// The CA that vouches for it.
    pub(crate) ca_file: PathBuf,
    /// Path and body of each request.
    pub(crate) asked: Arc<Mutex<Vec<(String, String)>>>,
    _temp: TempDir,
}

/// What its certificate says.
pub(crate) struct Certified {
    pub(crate) name: SanEntry,
    pub(crate) days: u32,
    pub(crate) issued: i64,
}

impl Default for Certified {
    fn default() -> Self {
        Self { name: SanEntry::Dns("localhost".into()), days: 1, issued: now() }
    }
}

impl FakeServer {
    pub(crate) async fn new(answer: impl FnMut(&str, &str) -> (u16, String) + Send + 'static) -> Self {
        Self::certified(Certified::default(), answer).await
    }

    pub(crate) async fn certified(
        certified: Certified,
        answer: impl FnMut(&str, &str) -> (u16, String) + Send + 'static,
    ) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let ca = DevCa::generate("test", certified.issued.min(now())).unwrap();
        let issued = ca.issue_server(&[certified.name], certified.issued, certified.days).unwrap();
        let ca_file = temp.path().join("ca.pem");
        std::fs::write(&ca_file, ca.ca_pem()).unwrap();
        let chain = issued.chain_der().into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::try_from(issued.key.expose().to_vec()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let tls = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let answer: Arc<Mutex<Box<Handler>>> = Arc::new(Mutex::new(Box::new(answer)));
        let log = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, log, answer) = (tls.clone(), log.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (log, answer) = (log.clone(), answer.clone());
                        async move {
                            let path = request.uri().path().to_owned();
                            let body = request.into_body().collect().await?.to_bytes();
                            let body = String::from_utf8(body.to_vec()).unwrap();
                            let (status, text) = (answer.lock().unwrap())(&path, &body);
                            log.lock().unwrap().push((path, body));
                            let mut response = Response::new(Full::new(Bytes::from(text)));
                            *response.status_mut() = StatusCode::from_u16(status).unwrap();
                            if status == 302 {
                                response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
                            }
                            Ok::<_, hyper::Error>(response)
                        }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, ca_file, asked, _temp: temp }
    }

    /// How a client reaches it that trusts it.
    pub(crate) fn outbound(&self) -> super::https::Outbound {
        super::https::Outbound { ca_file: Some(self.ca_file.clone()), proxy: None }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}
