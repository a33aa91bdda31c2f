//! The accept loop, written once: several listeners per service, limits, time-outs and a graceful stop. And what a URL
//! calls `localhost`, as listeners: [`bind_localhost`].
//!
//! ```text
//!   listeners --accept--> admit (yours, in the loop) --> connection (yours, a task)
//!                           None: closed unread            TLS or plain, then Http::serve
//! ```
//!
//! [`serve`] accepts. For each connection it calls the caller's function *in the loop*: what has to be known first (who
//! is calling, whether there is room for them) is decided there. The future it returns runs as a task; it does the TLS
//! handshake if there is one, and hands the stream to [`Http::serve`], which enforces the [`Limits`].
//!
//! ```no_run
//! # async fn example(listeners: Vec<tokio::net::TcpListener>, stop: tokio::sync::oneshot::Receiver<()>) {
//! use denizen_serve::{Accepted, Limits, serve};
//! use hyper::service::service_fn;
//!
//! let stopped = async { drop(stop.await) };
//! serve(listeners, Limits::default(), stopped, |accepted: Accepted| {
//!     Some(async move {
//!         let answer = service_fn(|_| async { Ok::<_, std::convert::Infallible>(http::Response::new(String::new())) });
//!         let _ = accepted.http.serve(accepted.stream, answer).await;
//!     })
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
    task::Poll,
    time::Duration,
};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::Service,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

mod localhost;
mod sampler;
#[cfg(test)]
mod tests;

pub use localhost::{BindError, LOCALHOST, Localhost, bind, bind_localhost};
pub use sampler::Sampler;

/// After an accept failed for want of resources (descriptors, most likely), the loop waits this long.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// What one service allows its clients, over all its listeners together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. At this number no more are accepted; the kernel's queue holds those that come.
    pub max_connections: usize,
    /// A request's head must be complete within this time: of the connection's start, or of the answer before it.
    pub head_timeout: Duration,
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
        max_connections: 1024,
        head_timeout: Duration::from_secs(15),
        max_head_bytes: 64 * 1024,
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

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The connection; Nagle's algorithm is off.
    pub stream: TcpStream,
    /// The address it was accepted at.
    pub local: SocketAddr,
    /// The address at its other end.
    pub peer: SocketAddr,
    /// Speaks HTTP on the connection, under the service's limits.
    pub http: Http,
}

/// Speaks HTTP/1.1 on one connection.
#[derive(Clone, Debug)]
pub struct Http {
    limits: Limits,
    /// Closed when the service stops.
    stop: watch::Receiver<()>,
}

/// Accepts on every listener until `stop` ends, then lets answers under way finish within [`Limits::grace`]. The
/// listeners are closed as soon as the stop begins.
///
/// `connection` is called in the loop for each connection and must not block. It returns what to do with the
/// connection, or None to close it unread.
pub async fn serve<C, F>(listeners: Vec<TcpListener>, limits: Limits, stop: impl Future<Output = ()>, connection: C)
where
    C: Fn(Accepted) -> Option<F>,
    F: Future<Output = ()> + Send + 'static,
{
    let (stopping, stopped) = watch::channel(());
    let http = Http { limits, stop: stopped };
    let mut connections = JoinSet::new();
    let mut first = 0;
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = stop.as_mut() => break,
            // Ended connections leave the set as they end, so that it does not grow.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listeners, &mut first), if connections.len() < limits.max_connections => accepted,
        };
        match accepted {
            Ok((stream, local, peer)) => {
                // An answer is often one small packet: it must not wait for another.
                let _ = stream.set_nodelay(true);
                if let Some(task) = connection(Accepted { stream, local, peer, http: http.clone() }) {
                    connections.spawn(task);
                }
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection ended before it was accepted");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
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
            .title_case_headers(limits.title_case_headers);
        if let Some(max_headers) = limits.max_headers {
            builder.max_headers(max_headers);
        }
        let serving = builder.serve_connection(TokioIo::new(io), service);
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
