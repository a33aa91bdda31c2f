//! What is done with each connection, between the accept loop of `denizen-serve` and the dispatcher.
//!
//! No session resumption is offered: a resumed session would skip whatever a full handshake checks.
//!
//! Tests: `tests/it`, over real sockets; request ids below.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use denizen_keys::random;
use denizen_serve::{Accepted, Arrival, Budget, Holder, Http, Limits, Room, Share, Stream};
use denizen_wire::Clock;
use http::{HeaderValue, Request, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::{Body, Call, Reply, Service};

/// What a service allows its clients. A token in a head is at most a few kilobytes.
const LIMITS: Limits = Limits { head_timeout: HEAD_TIMEOUT, ..Limits::DEFAULT };
/// Bytes of request bodies that one service holds at a time.
const BODIES: usize = 64 * 1024 * 1024;
/// The most connections of one service. Each takes up to 70 KiB before anybody has proved anything: a head, or the
/// pieces of a handshake.
pub const MAX_CONNECTIONS: usize = 4096;
/// The most of the metrics, which have one part in eight.
const METRICS_CONNECTIONS: usize = 512;
/// A TLS handshake takes at most this long, from the first byte waited for.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// The head of a request takes at most this long.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// What is read of plain HTTP at a TLS port, bytes, after it is answered.
const MAX_PLAIN: usize = 1024 * 1024;

/// Connections of the administrator's commands that are served at a time.
const LOCAL_CONNECTIONS: usize = 16;
/// An administrator's command is answered within this time.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(60);

/// One connection, for all its requests.
struct Connection {
    service: Arc<Service>,
    clock: Clock,
    peer: SocketAddr,
    share: Share,
    ids: RequestIds,
}

/// What the clients of each service may hold. Each has a part of its own, so that whoever fills one keeps nobody from
/// another.
#[derive(Clone, Debug)]
pub struct Budgets {
    /// Of the token service and enrolment.
    pub control: Arc<Budget>,
    /// Of the vault.
    pub vault: Arc<Budget>,
    /// Of the metrics.
    pub metrics: Arc<Budget>,
}

impl Budgets {
    /// Divides this many connections.
    pub fn new(connections: usize) -> Self {
        let metrics = (connections / 8).min(METRICS_CONNECTIONS);
        let half = (connections - metrics) / 2;
        let budget = |connections: usize| {
            Budget::new(Room { connections: connections.min(MAX_CONNECTIONS), reserved: 0, memory: BODIES })
        };
        Self { control: budget(half), vault: budget(half), metrics: budget(metrics) }
    }

    /// Each with its service's name.
    pub fn each(&self) -> [(&'static str, &Arc<Budget>); 3] {
        [("control", &self.control), ("vault", &self.vault), ("metrics", &self.metrics)]
    }
}

/// The ids of one connection's requests: random for the first, counted on from there. They name requests and prove
/// nothing, so one draw of randomness is enough.
struct RequestIds {
    first: u128,
    given: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        Self { first: u128::from_be_bytes(random::bytes()), given: AtomicU64::new(0) }
    }

    fn next(&self) -> Uuid {
        let number = self.first.wrapping_add(self.given.fetch_add(1, Ordering::Relaxed).into());
        uuid::Builder::from_random_bytes(number.to_be_bytes()).into_uuid()
    }
}

/// Serves on every listener until `stop` turns true, then lets connections in use finish. Without `tls` the listeners
/// must be on loopback: the caller has checked.
pub async fn serve(
    listeners: Vec<TcpListener>,
    tls: Option<Arc<rustls::ServerConfig>>,
    service: Arc<Service>,
    budget: Arc<Budget>,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let stopped = async {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    denizen_serve::serve(listeners, LIMITS, budget, stopped, |Arrival { peer, .. }| {
        let (service, clock, acceptor) = (Arc::clone(&service), clock.clone(), acceptor.clone());
        let connection = move |Accepted { stream, share, http }| {
            let ids = RequestIds::new();
            Connection { service, clock, peer, share, ids }.run(stream, http, acceptor)
        };
        Some((Holder::at(peer.ip()), connection))
    })
    .await;
}

/// Serves on a Unix socket until `stop` turns true. Who is at the other end is asked of the kernel, and is for the API
/// to judge.
pub async fn serve_local(listener: UnixListener, service: Arc<Service>, clock: Clock, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(LOCAL_CONNECTIONS));
    let mut connections = JoinSet::new();
    let stopped = async {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    tokio::pin!(stopped);
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { break };
        let stream = tokio::select! {
            () = stopped.as_mut() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an administrator's command");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (service, clock) = (Arc::clone(&service), clock.clone());
        connections.spawn(async move {
            let answering = tokio::time::timeout(LOCAL_TIMEOUT, answer_local(stream, service, clock));
            if answering.await.is_err() {
                tracing::debug!("an administrator's command took too long");
            }
            drop(place);
        });
    }
    drop(listener);
    let grace = Duration::from_secs(5);
    let _ = tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
}

/// Answers one request of an administrator's command.
async fn answer_local(stream: UnixStream, service: Arc<Service>, clock: Clock) {
    let user = stream.peer_cred().ok().map(|peer| peer.uid());
    let ids = RequestIds::new();
    let answer = service_fn(|request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let body = Body::Incoming(body, Share::unlimited());
        let peer = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut call = Call::new(head.method, &head.uri, head.headers, body, peer, clock.now(), ids.next());
        call.local_user = user;
        async { Ok::<_, Infallible>(service.handle(call).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(false);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(%error, "an administrator's command ended early");
    }
}

impl Connection {
    async fn run(self, stream: Stream, http: Http, acceptor: Option<TlsAcceptor>) {
        let peer = self.peer;
        let Some(acceptor) = acceptor else { return self.serve(stream, http).await };
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        match timeout_at(deadline, speaks_http(&stream)).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::debug!(%peer, "plain HTTP at a TLS port");
                return say_https(stream).await;
            }
            Err(_) => return tracing::debug!(%peer, "nothing came on a connection"),
        }
        match timeout_at(deadline, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, http).await,
            Ok(Err(e)) => tracing::debug!(%peer, error = %e, "no TLS handshake"),
            Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
        }
    }

    async fn serve<S>(self, stream: S, http: Http)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let service = service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await) });
        if let Err(e) = http.serve(stream, service).await {
            tracing::debug!(peer = %self.peer, error = %e, "a connection ended early");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        let (now, request_id) = (self.clock.now(), self.ids.next());
        let body = Body::Incoming(body, self.share.clone());
        let call = Call::new(head.method, &head.uri, head.headers, body, self.peer, now, request_id);
        // A client and what stands before it may not agree on where an ambiguous request ends either.
        let (unread, ambiguous) = (call.unread(), call.ambiguous().is_some());
        let mut reply = self.service.handle(call).await;
        if unread.is_true() || ambiguous {
            announce_close(&mut reply);
        }
        reply
    }
}

/// Whether the first byte is a letter, as a plain HTTP request begins. A TLS handshake begins with 22.
async fn speaks_http(stream: &Stream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1)) && first.iter().all(u8::is_ascii_alphabetic)
}

/// Answers plain HTTP at a TLS port in a way that a person and a program can read.
async fn say_https(mut stream: Stream) {
    const BODY: &str = r#"{"error":{"code":"BadRequest","message":"This port speaks HTTPS, and the request came as plain HTTP: write https:// in the URL."}}"#;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    let exchange = async {
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
        // Closing on unread bytes resets the connection, and the answer is lost: what the client still sends is read.
        let mut read = 0;
        let mut part = [0; 4096];
        while read < MAX_PLAIN {
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(n) => read += n,
            }
        }
    };
    let _ = tokio::time::timeout(HEAD_TIMEOUT, exchange).await;
}

/// A connection whose request was not read to its end cannot be used again. Unless it is told, a client sends its next
/// request into it.
fn announce_close(reply: &mut Reply) {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::net::TcpStream;

    use super::*;
    use crate::{app::readiness::Readiness, http::health::Health};

    /// However long the request is: the answer must not be lost to a reset.
    #[tokio::test]
    async fn plain_http_at_a_tls_port_is_told_to_use_https() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()));
        let (stop, stopped) = watch::channel(false);
        let service = Arc::new(Service::new("health", Health::new(Readiness::default())).unwrap());
        let serving = tokio::spawn(serve(
            vec![listener],
            Some(Arc::new(tls)),
            service,
            Budgets::new(100).vault,
            Clock::system(),
            stopped,
        ));
        for length in [0, 25_600, 500_000] {
            let mut client = TcpStream::connect(at).await.unwrap();
            let head = format!("PUT /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            client.write_all(&vec![b'a'; length]).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{length}: {answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
            assert!(body.contains("https://"), "{body}");
        }
        stop.send(true).unwrap();
        serving.await.unwrap();
    }

    #[test]
    fn request_ids_are_random_uuids_and_all_different() {
        for first in [0, u128::MAX, 7 << 64, (1 << 62) - 50, (1 << 64) - 50] {
            let ids = RequestIds { first, given: AtomicU64::new(0) };
            let given: HashSet<_> = (0..100).map(|_| ids.next()).collect();
            // Some seeds carry over the bits of the UUID's version and variant.
            assert!(given.len() == 100, "{first:x}: {}", given.len());
            assert!(given.iter().all(|id| id.get_version_num() == 4));
        }
        assert_ne!(RequestIds::new().next(), RequestIds::new().next());
    }
}
