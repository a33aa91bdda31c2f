//! The accept loop: one per listener, with the limits that keep one caller from starving the others.
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
use http::{HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::{Body, Call, Reply, Service, reply};
use crate::clock::Clock;

/// The most connections one listener holds at a time.
const MAX_CONNECTIONS: usize = 8192;
/// A TLS handshake takes at most this long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// The head of a request takes at most this long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections in use get this long to finish when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// The largest request head that is read, bytes. A token is at most a few kilobytes.
const MAX_HEAD: usize = 64 * 1024;

/// One connection, for all its requests.
struct Connection {
    service: Arc<Service>,
    clock: Clock,
    peer: SocketAddr,
    ids: RequestIds,
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

/// Serves until `stop` turns true, then lets connections in use finish. Without `tls` the listener must be on loopback:
/// the caller has checked.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    service: Arc<Service>,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
            // Ended connections are reaped as they end, so that the set does not grow.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection =
                    Connection { service: Arc::clone(&service), clock: clock.clone(), peer, ids: RequestIds::new() };
                let (acceptor, stop) = (acceptor.clone(), stop.clone());
                connections.spawn(async move {
                    let _held = permit;
                    connection.run(stream, acceptor, stop).await;
                });
            }
            Err(e) => {
                // Out of descriptors, most likely: leave room for connections to end rather than spin.
                tracing::warn!(error = %e, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

/// Waits until the server stops. The value's lock is let go of at once: it must not be held across an await.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Connection {
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>, stop: watch::Receiver<bool>) {
        let peer = self.peer;
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = acceptor else { return self.serve(stream, stop).await };
        if speaks_http(&stream).await {
            tracing::debug!(%peer, "plain HTTP at a TLS port");
            return say_https(stream).await;
        }
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream, stop).await,
            Ok(Err(e)) => tracing::debug!(%peer, error = %e, "no TLS handshake"),
            Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
        }
    }

    async fn serve<S>(self, stream: S, mut stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let service = service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await) });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = stopped(&mut stop) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(e) = ended {
            tracing::debug!(peer = %self.peer, error = %e, "a connection ended early");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        let (now, request_id) = (self.clock.now(), self.ids.next());
        match Call::new(head.method, &head.uri, head.headers, Body::Incoming(body), self.peer, now, request_id) {
            Ok(call) => {
                let unread = call.unread();
                let mut reply = self.service.handle(call).await;
                if unread.is_true() {
                    announce_close(&mut reply);
                }
                reply
            }
            Err(ambiguous) => {
                let mut reply = reply::json(
                    StatusCode::BAD_REQUEST,
                    &serde_json::json!({"error": {"code": "BadRequest", "message": format!("{ambiguous}; write it plainly")}}),
                );
                announce_close(&mut reply);
                reply
            }
        }
    }
}

/// Whether the first byte is a letter, as a plain HTTP request begins. A TLS handshake begins with 22.
async fn speaks_http(stream: &TcpStream) -> bool {
    let mut first = [0];
    let peeked = tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1))) && first.iter().all(u8::is_ascii_alphabetic)
}

/// Answers plain HTTP at a TLS port in a way that a person and a program can read.
async fn say_https(mut stream: TcpStream) {
    const BODY: &str = r#"{"error":{"code":"BadRequest","message":"This port speaks HTTPS, and the request came as plain HTTP: write https:// in the URL."}}"#;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    let exchange = async {
        // What was sent is read first: closing on unread bytes resets the connection, and the answer is lost.
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
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

    use super::*;

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
