//! The agent's listeners: HTTP/1.1 with keep-alive, header names in title case.
//!
//! Who is calling is asked of the kernel when a connection is accepted, and holds for all of it. Connections are
//! limited in all and for each user; the accept loop and the other limits are [`denizen_serve`]'s.
//!
//! Touches sockets. Tests: below, and with the endpoints' own.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use denizen_serve::{Accepted, Limits};
use hyper::{Request, body::Incoming, service::service_fn};
use tokio::net::TcpListener;

use crate::{
    caller::Caller,
    endpoints::{Endpoints, ListenerKind},
    metrics::Metrics,
    net,
};

/// Connections at a time, on all listeners.
const MAX_CONNECTIONS: usize = 512;
/// Connections at a time from one user, so that no other user can take the last one.
const MAX_PER_USER: usize = 256;

const LIMITS: Limits = Limits {
    // Over its own limits the agent closes a connection rather than let it wait: see `Connections::admit`.
    max_connections: MAX_CONNECTIONS + 1,
    head_timeout: Duration::from_secs(75),
    max_head_bytes: 16 * 1024,
    max_headers: Some(64),
    // The documented shell recipe greps for 'Www-Authenticate'.
    title_case_headers: true,
    grace: Duration::from_secs(5),
    ..Limits::DEFAULT
};

/// Serves these listeners until `stop` ends, then lets answers that are under way finish.
pub async fn serve(
    listeners: Vec<TcpListener>,
    kind: ListenerKind,
    endpoints: Arc<Endpoints>,
    connections: Arc<Connections>,
    stop: impl Future<Output = ()>,
) {
    let connection = move |accepted: Accepted| {
        // A neighbour on the network reaches the metadata address on the loopback interface by a route to it.
        if !net::is_local(accepted.peer.ip().to_canonical()) {
            connections.metrics.connections_refused.count();
            return None;
        }
        let caller = Caller::of_connection(&accepted.stream, accepted.local, accepted.peer);
        // Over a limit the connection is closed unread: an answer would cost what the limit is to save.
        let slot = connections.admit(&caller)?;
        Some(connection(accepted, kind, caller, endpoints.clone(), slot))
    };
    denizen_serve::serve(listeners, LIMITS, stop, connection).await;
}

async fn connection(accepted: Accepted, kind: ListenerKind, caller: Caller, endpoints: Arc<Endpoints>, _slot: Slot) {
    let service = service_fn(|request: Request<Incoming>| {
        let endpoints = &endpoints;
        async move {
            // No request has a body that matters; hyper discards what comes.
            let (head, _) = request.into_parts();
            Ok::<_, Infallible>(endpoints.answer(kind, caller, &head).await)
        }
    });
    if let Err(error) = accepted.http.serve(accepted.stream, service).await {
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

/// One of the connections that may be open; given back when dropped.
struct Slot {
    connections: Arc<Connections>,
    uid: Option<u32>,
}

impl Connections {
    /// Creates the count of an agent that has no connection yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, open: Mutex::default() }
    }

    fn admit(self: &Arc<Self>, caller: &Caller) -> Option<Slot> {
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
        Some(Slot { connections: self.clone(), uid })
    }
}

impl Drop for Slot {
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
    use crate::caller::KnownFrom;

    #[test]
    fn d09_one_user_cannot_take_every_connection() {
        let connections = Arc::new(Connections::default());
        let user = |uid| Caller::Known { uid, cgroup: None, known_from: KnownFrom::SockDiag };
        let mut slots: Vec<_> = (0..MAX_PER_USER).map(|_| connections.admit(&user(1)).unwrap()).collect();
        assert!(connections.admit(&user(1)).is_none());
        let other = connections.admit(&user(2)).unwrap();
        drop(other);
        slots.pop();
        assert!(connections.admit(&user(1)).is_some(), "a slot is given back");
        drop(slots);
        assert!(connections.open.lock().unwrap().by_user.is_empty());
        assert_eq!(connections.metrics.connections_refused.total(), 1);
    }
}
