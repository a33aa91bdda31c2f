//! The accept loop, written once: several listeners per service, deadlines, a budget and a graceful stop. And what a URL
//! calls `localhost`, as listeners: [`bind_localhost`].
//!
//! ```text
//!   listeners --accept--> who (yours, in the loop) --> budget --> connection (yours, a task)
//!                           None: closed unread        ends       TLS or plain, then Http::serve
//!                                                      another
//!                                                      when full
//! ```
//!
//! [`serve`] accepts. For each connection it calls the caller's function *in the loop*, which says who holds it, or that
//! it is not wanted. The [`Budget`] finds room for it. What the function returns with the holder is called then; the
//! future it gives runs as a task, does the TLS handshake if there is one, and hands the stream to [`Http::serve`].
//!
//! No client can keep what it was given for longer than the [`Limits`] say:
//!
//! | it keeps us waiting for | at most | where |
//! |---|---|---|
//! | a request's head, or the next request | [`Limits::head_timeout`] | [`Http::serve`] |
//! | a request's body | the time given to [`read_body`] | [`body`] |
//! | reading its answer | [`Limits::write_timeout`], and a second more for each 64 KiB it took | [`stream`] |
//! | a connection, while others want one | until it holds more than they do | [`budget`] |
//!
//! A handshake is the caller's to limit, before [`Http::serve`]. After the stop everything has ended within
//! [`Limits::grace`].
//!
//! ```no_run
//! # async fn example(listeners: Vec<tokio::net::TcpListener>, stop: tokio::sync::oneshot::Receiver<()>) {
//! use denizen_serve::{Accepted, Arrival, Budget, Holder, Limits, Room, serve};
//! use hyper::service::service_fn;
//!
//! let stopped = async { drop(stop.await) };
//! let budget = Budget::new(Room { connections: 1024, reserved: 0, memory: 16 << 20 });
//! serve(listeners, Limits::default(), budget, stopped, |arrival: Arrival<'_>| {
//!     Some((Holder::at(arrival.peer.ip()), |accepted: Accepted| async move {
//!         let answer = service_fn(|_| async { Ok::<_, std::convert::Infallible>(http::Response::new(String::new())) });
//!         let _ = accepted.http.serve(accepted.stream, answer).await;
//!     }))
//! })
//! .await;
//! # }
//! ```
//!
//! Touches the sockets it is given. Tests: `tests.rs`, over loopback.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::{
    error::Error,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

mod body;
mod budget;
mod descriptors;
mod localhost;
mod sampler;
mod stream;
#[cfg(test)]
mod tests;

pub use body::{BodyError, discard_body, read_body};
pub use budget::{Budget, Holder, Memory, OverBudget, Room, Share};
pub use descriptors::raise_descriptors;
pub use localhost::{BindError, LOCALHOST, Localhost, bind, bind_localhost};
pub use sampler::Sampler;
pub use stream::Stream;

/// After an accept failed for want of resources (descriptors, most likely), the loop waits this long.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// What one service allows each of its connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A request's head must be complete within this time: of the connection's start, or of the answer before it.
    pub head_timeout: Duration,
    /// Writes of an answer may wait this long for the client to read, in all.
    pub write_timeout: Duration,
    /// The largest request head, and the largest buffer of a connection, bytes. At least 8,192.
    pub max_head_bytes: usize,
    /// The most headers of a request. None: hyper's own limit, 100, which needs no allocation.
    pub max_headers: Option<usize>,
    /// Whether a connection may carry more than one request.
    pub keep_alive: bool,
    /// Whether header names are sent as `Content-Type` instead of `content-type`.
    pub title_case_headers: bool,
    /// After the stop, answers under way get this long. Then their connections are closed.
    pub grace: Duration,
}

impl Limits {
    /// What suits a service without special needs.
    pub const DEFAULT: Self = Self {
        head_timeout: Duration::from_secs(15),
        write_timeout: Duration::from_secs(10),
        max_head_bytes: 32 * 1024,
        max_headers: None,
        keep_alive: true,
        title_case_headers: false,
        grace: Duration::from_secs(5),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A connection that came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The connection.
    pub stream: &'a TcpStream,
    /// The address it was accepted at.
    pub local: SocketAddr,
    /// The address at its other end.
    pub peer: SocketAddr,
}

/// A connection that has a place.
#[derive(Debug)]
pub struct Accepted {
    /// The connection; Nagle's algorithm is off.
    pub stream: Stream,
    /// Its part of the budget.
    pub share: Share,
    /// Speaks HTTP on the connection, under the service's limits.
    pub http: Http,
}

/// Speaks HTTP/1.1 on one connection.
#[derive(Debug)]
pub struct Http {
    limits: Limits,
    share: Share,
    /// Told when a request begins.
    begun: Arc<AtomicBool>,
    /// Closed when the service stops.
    stop: watch::Receiver<()>,
}

/// Accepts on every listener until `stop` ends, then lets answers under way finish within [`Limits::grace`]. The
/// listeners are closed as soon as the stop begins.
///
/// `who` is called in the loop for each connection and must not block. It says who holds the connection and what to do
/// with it, or None to close it unread.
pub async fn serve<W, C, F>(
    listeners: Vec<TcpListener>,
    limits: Limits,
    budget: Arc<Budget>,
    stop: impl Future<Output = ()>,
    who: W,
) where
    W: Fn(Arrival<'_>) -> Option<(Holder, C)>,
    C: FnOnce(Accepted) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut first = 0;
    let failures = Sampler::new(1, Duration::from_secs(60));
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = stop.as_mut() => break,
            // Ended connections leave the set as they end, so that it does not grow.
            Some(_) = connections.join_next() => continue,
            accepted = async {
                budget.settled().await;
                accept(&listeners, &mut first).await
            } => accepted,
        };
        match accepted {
            Ok((tcp, local, peer)) => {
                let Some((holder, connection)) = who(Arrival { stream: &tcp, local, peer }) else { continue };
                // An answer is often one small packet: it must not wait for another.
                let _ = tcp.set_nodelay(true);
                let (share, begun) = (budget.admit(holder), Arc::new(AtomicBool::new(false)));
                let stream = Stream::new(tcp, limits.write_timeout, begun.clone());
                let http = Http { limits, share: share.clone(), begun, stop: stopped.clone() };
                share.bind(connections.spawn(connection(Accepted { stream, share: share.clone(), http })));
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                if let Some(held_back) = failures.admit() {
                    tracing::warn!(%error, held_back, "cannot accept connections");
                }
                tokio::select! {
                    () = stop.as_mut() => break,
                    () = tokio::time::sleep(ACCEPT_BACK_OFF) => {}
                }
            }
        }
    }
    drop((listeners, stopping));
    // What is left in the set after the grace is aborted as the set is dropped.
    let _ = tokio::time::timeout(limits.grace, async { while connections.join_next().await.is_some() {} }).await;
}

/// Waits for a connection on any of the listeners. Each call asks another listener first, so that a busy one does not
/// keep the others waiting.
async fn accept(listeners: &[TcpListener], first: &mut usize) -> io::Result<(TcpStream, SocketAddr, SocketAddr)> {
    *first = first.wrapping_add(1);
    let order = || {
        let (front, back) = listeners.split_at(first.checked_rem(listeners.len()).unwrap_or(0));
        back.iter().chain(front)
    };
    let (stream, peer) = poll_fn(|context| {
        let ready = order().map(|listener| listener.poll_accept(context)).find(Poll::is_ready);
        ready.unwrap_or(Poll::Pending)
    })
    .await?;
    let local = stream.local_addr()?;
    Ok((stream, local, peer))
}

/// Whether the error says something about the connection that was to be accepted, and nothing about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected};
    [ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected].contains(&error.kind())
}

impl Http {
    /// Answers the requests of one connection: `io` is the accepted stream, or what a TLS handshake made of it.
    ///
    /// # Errors
    /// What broke the connection off: the client, a time-out, a malformed request.
    pub async fn serve<I, S, B>(self, io: I, service: S) -> Result<(), hyper::Error>
    where
        I: AsyncRead + AsyncWrite + Unpin,
        S: Service<Request<Incoming>, Response = Response<B>>,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let limits = &self.limits;
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(limits.max_head_bytes)
            .keep_alive(limits.keep_alive)
            // A client that has said all it has to say may close its side and still wants its answer.
            .half_close(true)
            .title_case_headers(limits.title_case_headers);
        if let Some(max_headers) = limits.max_headers {
            builder.max_headers(max_headers);
        }
        let (share, begun) = (&self.share, &self.begun);
        let noting = service_fn(|request| {
            begun.store(true, Ordering::Relaxed);
            let (work, answer) = (share.working(), service.call(request));
            async move {
                let answer = answer.await;
                drop(work);
                answer
            }
        });
        let serving = builder.serve_connection(TokioIo::new(io), noting);
        tokio::pin!(serving);
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = self.stopped() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    }

    /// Ends when the service stops: for what a connection waits for outside of [`Http::serve`], as a handshake.
    pub async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // Nothing is ever sent: the error says that the sender is gone.
        let _ = stop.changed().await;
    }
}
