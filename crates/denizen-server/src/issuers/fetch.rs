//! One document over HTTPS: from a host that is allowed, at the address that was checked, within a time and a size.
//!
//! A name is resolved once for each document, the addresses are checked, and one of those that passed is dialled by its
//! number: what the name means a moment later is of no account. Nothing of the environment has a say: no proxy, no
//! `.netrc`, no cookie. A redirect is an error.
//!
//! Touches the network. Tests: `tests.rs` beside this file.

use std::{future::Future, io, net::IpAddr, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use denizen_wire::Causes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    body::{Body as _, Bytes},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    IssuerError,
    documents::{self, IssuerKeys},
    policy::Policy,
};
use crate::domain::federation::HttpsUrl;

/// Both documents of an issuer are there within this time.
const DEADLINE: Duration = Duration::from_secs(10);
/// One address answers a connection within this time.
const CONNECT: Duration = Duration::from_secs(3);
/// No document is longer, bytes.
const MAX_DOCUMENT: usize = 256 * 1024;
/// The head of an answer is no longer, bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Of the addresses of a name this many are tried.
const MOST_ADDRESSES: usize = 4;
/// So many issuers are asked at a time.
pub(super) const AT_A_TIME: usize = 8;

pub(super) type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
/// What turns a name into addresses.
type Resolve = Box<dyn Fn(&str, u16) -> Addresses + Send + Sync>;

/// Fetches documents.
pub(super) struct Fetcher {
    policy: Policy,
    tls: Option<TlsConnector>,
    resolve: Resolve,
    turns: Semaphore,
    /// [`DEADLINE`], but in tests.
    pub(super) deadline: Duration,
}

impl Fetcher {
    pub(super) fn new(policy: Policy, roots: &Arc<RootCertStore>) -> Self {
        Self::resolving(policy, roots, |host, port| {
            let name = (host.to_owned(), port);
            Box::pin(async move { Ok(tokio::net::lookup_host(name).await?.collect()) })
        })
    }

    pub(super) fn resolving(
        policy: Policy,
        roots: &Arc<RootCertStore>,
        resolve: impl Fn(&str, u16) -> Addresses + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map(|builder| {
            let mut config = builder.with_root_certificates(Arc::clone(roots)).with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            config.resumption = rustls::client::Resumption::disabled();
            TlsConnector::from(Arc::new(config))
        });
        Self { policy, tls: tls.ok(), resolve: Box::new(resolve), turns: Semaphore::new(AT_A_TIME), deadline: DEADLINE }
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    #[cfg(test)]
    pub(super) fn free_turns(&self) -> usize {
        self.turns.available_permits()
    }

    /// The keys that an issuer publishes now.
    pub(super) async fn keys(&self, issuer: &str) -> Result<IssuerKeys, IssuerError> {
        let fetching = async {
            let _turn = self.turns.acquire().await;
            let configuration = HttpsUrl::of_issuer(issuer)?.configuration();
            let keys_at = documents::keys_at(&self.document(&configuration).await?, issuer)?;
            documents::keys(&self.document(&keys_at).await?, issuer)
        };
        timeout(self.deadline, fetching).await.unwrap_or(Err(IssuerError::TimedOut))
    }

    async fn document(&self, url: &HttpsUrl) -> Result<Bytes, IssuerError> {
        self.policy.check_host(url)?;
        let host = url.authority();
        let unreachable = |reason: &dyn std::error::Error| IssuerError::Unreachable {
            host: host.clone(),
            reason: Causes(reason).to_string(),
        };
        let tcp = self.connect(url).await?;
        let name = ServerName::try_from(url.host.clone()).map_err(|error| unreachable(&error))?;
        let Some(tls) = &self.tls else {
            return Err(unreachable(&rustls::Error::General("TLS could not be set up".to_owned())));
        };
        let tls = tls.connect(name, tcp).await.map_err(|error| unreachable(&error))?;
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(tls)).await;
        let (mut sender, connection) = handshake.map_err(|error| unreachable(&error))?;
        let request = Request::get(&url.path)
            .header(header::HOST, &host)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("denizen/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| unreachable(&error))?;
        let asking = async {
            let answer = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
            let status = answer.status();
            if status.is_redirection() {
                return Err(IssuerError::Redirect(host.clone()));
            }
            if status.as_u16() != 200 {
                return Err(IssuerError::Status { host: host.clone(), status: status.as_u16() });
            }
            let too_long = || IssuerError::TooLong(host.clone());
            if answer.body().size_hint().lower() > MAX_DOCUMENT as u64 {
                return Err(too_long());
            }
            match Limited::new(answer.into_body(), MAX_DOCUMENT).collect().await {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_long()),
                Err(error) => Err(unreachable(&*error)),
            }
        };
        // The connection is driven here, and is gone with this future: nothing of it outlives its deadline.
        let mut connection = std::pin::pin!(connection);
        let mut asking = std::pin::pin!(asking);
        tokio::select! {
            biased;
            answered = &mut asking => answered,
            ended = &mut connection => match ended {
                Ok(()) => asking.await,
                Err(error) => Err(unreachable(&error)),
            },
        }
    }

    /// A connection to an address that was checked.
    async fn connect(&self, url: &HttpsUrl) -> Result<TcpStream, IssuerError> {
        let addresses = match url.host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, url.port)],
            Err(_) => (self.resolve)(&url.host, url.port).await.unwrap_or_default(),
        };
        if addresses.is_empty() {
            return Err(IssuerError::Unresolved(url.host.clone()));
        }
        // One that may not be dialled spoils the others: a name that means both is not what it says.
        if addresses.iter().any(|address| !self.policy.allows(address.ip())) {
            return Err(IssuerError::Address(url.host.clone()));
        }
        let mut reason = String::new();
        for address in addresses.into_iter().take(MOST_ADDRESSES) {
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => reason = error.to_string(),
                Err(_) => reason = "no answer".to_owned(),
            }
        }
        Err(IssuerError::Unreachable { host: url.authority(), reason })
    }
}
