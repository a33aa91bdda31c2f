//! Accept loops: one for each listener, HTTP/1.1 with keep-alive, names of headers in title case.
//!
//! Who is calling is asked of the kernel when a connection is accepted, and holds for all of it. Connections are
//! capped in all and for each user, headers in size and number, and silence in time.
//!
//! Touches sockets. Tests: with the endpoints' own.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::{
    caller::Caller,
    endpoints::{Endpoints, Face},
    metrics::Metrics,
};

/// Where Azure's own metadata service is, and where clients with a fixed address look for it.
pub const METADATA_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Connections at a time, on all listeners.
const MAX_CONNECTIONS: usize = 512;
/// Connections at a time from one user, so that no other user can take the last one.
const MAX_PER_USER: usize = 256;
/// A request's head is there within this time of the connection, or of the answer before it.
const SILENCE: Duration = Duration::from_secs(75);
/// A stop waits this long for answers that are under way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// The largest head of a request, and the largest buffer of a connection.
const MAX_HEAD: usize = 16 * 1024;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;

/// Why a listener is refused.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// It could be reached from elsewhere.
    #[error("{0} is not loopback, and the agent listens nowhere else")]
    NotLoopback(SocketAddr),
    /// The metadata address is on a real interface.
    #[error("{METADATA_ADDRESS} is not on the loopback interface: others on the network would reach the agent there")]
    MetadataAddress,
    /// The socket is unusable.
    #[error("a listener is unusable: {0}")]
    Io(#[from] io::Error),
}

/// Refuses a listener that anybody but this machine can reach.
pub fn check(listener: &TcpListener) -> Result<SocketAddr, ListenerError> {
    let address = listener.local_addr()?;
    if address.ip() == METADATA_ADDRESS {
        let here = |ip: &nix::sys::socket::SockaddrStorage| {
            ip.as_sockaddr_in().is_some_and(|ip| IpAddr::V4(ip.ip()) == METADATA_ADDRESS)
        };
        let mut interfaces = nix::ifaddrs::getifaddrs().map_err(io::Error::from)?;
        let on_loopback = interfaces.any(|interface| {
            interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_LOOPBACK)
                && interface.address.as_ref().is_some_and(here)
        });
        return if on_loopback { Ok(address) } else { Err(ListenerError::MetadataAddress) };
    }
    if address.ip().is_loopback() { Ok(address) } else { Err(ListenerError::NotLoopback(address)) }
}

/// Serves a listener until `stop` says so, then lets answers that are under way finish.
pub async fn serve(
    listener: TcpListener,
    face: Face,
    endpoints: Arc<Endpoints>,
    connections: Arc<Connections>,
    mut stop: watch::Receiver<bool>,
) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
            // Finished connections are taken off the list as they end.
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let caller = stream.local_addr().map_or(Caller::Unknown(crate::caller::Doubt::NoAnswer), |local| {
                    Caller::of_connection(local, peer)
                });
                // Over a cap the connection is closed unread: an answer would cost what the cap is to save.
                let Some(place) = connections.admit(&caller) else { continue };
                open.spawn(connection(stream, face, caller, endpoints.clone(), place, stop.clone()));
            }
            // Out of descriptors, most likely: those that are open will end.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(STOP_PATIENCE, async { while open.join_next().await.is_some() {} }).await;
}

/// Ends when the agent stops, or is dropped.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection(
    stream: TcpStream,
    face: Face,
    caller: Caller,
    endpoints: Arc<Endpoints>,
    _place: Place,
    mut stop: watch::Receiver<bool>,
) {
    // An answer is one small packet: it is not to wait for another.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let endpoints = endpoints.clone();
        async move {
            // No request has a body that matters; hyper discards what comes.
            let (head, _) = request.into_parts();
            Ok::<_, Infallible>(endpoints.answer(face, caller, &head).await)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        // The documented shell recipe greps for 'Www-Authenticate'.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let outcome = tokio::select! {
        outcome = served.as_mut() => outcome,
        () = stopped(&mut stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, %caller, "connection broken off");
    }
}

/// The connections that are open, in all and by user.
#[derive(Debug, Default)]
pub struct Connections {
    metrics: Arc<Metrics>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_user: HashMap<Option<u32>, usize>,
}

/// A place among the open connections, given back when dropped.
struct Place {
    connections: Arc<Connections>,
    uid: Option<u32>,
}

impl Connections {
    /// None open yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, open: Mutex::default() }
    }

    fn admit(self: &Arc<Self>, caller: &Caller) -> Option<Place> {
        let uid = caller.uid();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = open.by_user.get(&uid).copied().unwrap_or_default();
        if open.total >= MAX_CONNECTIONS || of_user >= MAX_PER_USER {
            drop(open);
            self.metrics.connections_refused.count();
            return None;
        }
        open.total += 1;
        open.by_user.insert(uid, of_user + 1);
        drop(open);
        self.metrics.connections.count();
        Some(Place { connections: self.clone(), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.by_user.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_user.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::How;

    #[test]
    fn d9_one_user_cannot_take_every_connection() {
        let connections = Arc::new(Connections::default());
        let user = |uid| Caller::Known { uid, cgroup: None, how: How::SockDiag };
        let mut places: Vec<_> = (0..MAX_PER_USER).map(|_| connections.admit(&user(1)).unwrap()).collect();
        assert!(connections.admit(&user(1)).is_none());
        let other = connections.admit(&user(2)).unwrap();
        drop(other);
        places.pop();
        assert!(connections.admit(&user(1)).is_some(), "a place is given back");
        drop(places);
        assert!(connections.open.lock().unwrap().by_user.is_empty());
        assert_eq!(connections.metrics.connections_refused.total(), 1);
    }

    #[tokio::test]
    async fn only_loopback_listeners_are_taken() {
        for (bind, taken) in
            [("127.0.0.1:0", true), ("[::1]:0", true), ("127.9.9.9:0", true), ("0.0.0.0:0", false), ("[::]:0", false)]
        {
            let listener = TcpListener::bind(bind).await.unwrap();
            assert_eq!(check(&listener).is_ok(), taken, "{bind}");
        }
    }
}
