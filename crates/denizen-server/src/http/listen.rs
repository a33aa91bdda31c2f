//! The TLS accept loop: one per listener, with the limits that keep one caller from starving the others.
//!
//! No session resumption is offered: a resumed session would skip whatever a full handshake checks.
//!
//! Tests: `tests/it`, over real sockets; request ids below.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use denizen_keys::random;
use denizen_wire::UnixTime;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::{Body, Call, Reply, reply};
use crate::clock::Clock;

/// The most connections one listener holds at a time.
const MAX_CONNECTIONS: usize = 8192;
/// A handshake or a request's headers take at most this long.
const PATIENCE: Duration = Duration::from_secs(15);
/// Connections in use get this long to finish when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// The largest request head that is read, bytes. A token is at most a few kilobytes.
const MAX_HEAD: usize = 64 * 1024;

/// Something that answers calls.
pub trait Face: Send + Sync + 'static {
    /// What the requests of one connection leave behind for those after them.
    type Recall: Default + Send + Sync + 'static;

    /// Answers a request without a body at once, when this connection has asked the same before and nothing has
    /// changed. None: it has to be read.
    fn again(&self, _: &Self::Recall, _: &Asked<'_>) -> Option<Reply> {
        None
    }

    /// Answers one.
    fn handle(&self, recall: &Self::Recall, call: Call) -> impl Future<Output = Reply> + Send;
}

/// A request as it came, before it is read.
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Our id for this request.
    pub request_id: Uuid,
    /// When it came.
    pub now: UnixTime,
}

/// One connection, for all its requests.
struct Connection<F: Face> {
    face: Arc<F>,
    recall: F::Recall,
    clock: Clock,
    peer: SocketAddr,
    ids: RequestIds,
}

/// The ids of one connection's requests: random for the first, counted on from there. They name requests and prove
/// nothing, so the generator of keys need not be asked for each.
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

/// Serves until `stop` turns true, then lets connections in use finish.
pub async fn serve<F: Face>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    face: Arc<F>,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
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
                let (acceptor, face, clock, stop) = (acceptor.clone(), Arc::clone(&face), clock.clone(), stop.clone());
                connections.spawn(async move {
                    let _held = permit;
                    connection(stream, peer, acceptor, face, clock, stop).await;
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

async fn connection<F: Face>(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    face: Arc<F>,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return tracing::debug!(%peer, error = %e, "no TLS handshake"),
        Err(_) => return tracing::debug!(%peer, "the TLS handshake took too long"),
    };
    let here = Arc::new(Connection { face, recall: F::Recall::default(), clock, peer, ids: RequestIds::new() });
    let service = service_fn(|request: Request<Incoming>| {
        let (now, request_id) = (here.clock.now(), here.ids.next());
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let again = match request.body().is_end_stream() {
            true => here.face.again(&here.recall, &Asked { method, uri, headers, request_id, now }),
            false => None,
        };
        let rest = match again {
            Some(reply) => Ok(reply),
            // On the heap, so that the short way does not carry the long one's state along.
            None => Err(Box::pin(answer(Arc::clone(&here), request, now, request_id))),
        };
        async move {
            Ok::<_, Infallible>(match rest {
                Ok(reply) => reply,
                Err(answer) => answer.await,
            })
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
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
        tracing::debug!(%peer, error = %e, "a connection ended early");
    }
}

async fn answer<F: Face>(
    here: Arc<Connection<F>>,
    request: Request<Incoming>,
    now: UnixTime,
    request_id: Uuid,
) -> Reply {
    let (head, body) = request.into_parts();
    match Call::new(head.method, &head.uri, head.headers, Body::Incoming(body), here.peer, now, request_id) {
        Ok(call) => {
            let unread = call.unread();
            let mut reply = here.face.handle(&here.recall, call).await;
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
            // The bits that say which kind of id it is stand in the way of a number that is just about to reach them.
            assert!(given.len() == 100, "{first:x}: {}", given.len());
            assert!(given.iter().all(|id| id.get_version_num() == 4));
        }
        assert_ne!(RequestIds::new().next(), RequestIds::new().next());
    }
}
