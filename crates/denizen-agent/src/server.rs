//! The agent's listeners: HTTP/1.1 with keep-alive, header names in title case.
//!
//! Who is calling is asked of the kernel when a connection is accepted, and holds for all of it. Connections are shared
//! between the people of the machine ([`crate::caller::owner`]): when there is no room, whoever has most loses one. Root
//! and the agent's own user have places of their own beside. The accept loop and the deadlines are [`denizen_serve`]'s.
//!
//! Touches sockets. Tests: below, and with the endpoints' own.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use denizen_serve::{Accepted, Arrival, Budget, Holder, Limits, Room};
use hyper::{Request, body::Incoming, service::service_fn};
use tokio::net::TcpListener;

use crate::{
    caller::{
        Caller,
        owner::{Owner, Owners},
    },
    endpoints::{Endpoints, ListenerKind},
    metrics::Metrics,
    net,
};

/// The most connections at a time, on all listeners.
const MAX_CONNECTIONS: usize = 512;
/// One in so many is for root and the agent's own user alone.
const RESERVED: usize = 8;

const LIMITS: Limits = Limits {
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
    let budget = connections.budget.clone();
    let who = move |Arrival { stream, local, peer }: Arrival<'_>| {
        // A neighbour on the network reaches the metadata address on the loopback interface by a route to it.
        if !net::is_local(peer.ip().to_canonical()) {
            connections.metrics.connections_refused.count();
            return None;
        }
        let caller = Caller::of_connection(stream, local, peer);
        connections.metrics.connections.count();
        let endpoints = endpoints.clone();
        Some((connections.holder(&caller), move |accepted| connection(accepted, kind, caller, endpoints)))
    };
    denizen_serve::serve(listeners, LIMITS, budget, stop, who).await;
}

async fn connection(accepted: Accepted, kind: ListenerKind, caller: Caller, endpoints: Arc<Endpoints>) {
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

/// The connections that may be open on all listeners together, and whose they are.
#[derive(Debug)]
pub struct Connections {
    budget: Arc<Budget>,
    owners: Arc<Owners>,
    own_uid: u32,
    metrics: Arc<Metrics>,
}

impl Connections {
    /// Creates the budget of an agent that has no connection yet; of `connections` it takes what it needs.
    pub fn new(connections: usize, owners: Arc<Owners>, metrics: Arc<Metrics>) -> Self {
        let connections = connections.min(MAX_CONNECTIONS);
        let reserved = connections / RESERVED;
        // No body of a request is kept.
        let budget = Budget::new(Room { connections: connections - reserved, reserved, memory: 0 });
        Self { budget, owners, own_uid: rustix::process::geteuid().as_raw(), metrics }
    }

    /// Whose place a caller's connection takes.
    fn holder(&self, caller: &Caller) -> Holder {
        match caller.uid() {
            // The exact uid: what runs under root's subordinate ones is not root.
            Some(uid) if uid == 0 || uid == self.own_uid => Holder::Reserved(uid),
            Some(uid) => match self.owners.owner_of(uid) {
                Owner::User(uid) => Holder::User(uid),
                Owner::Range(first) => Holder::Range(first),
                Owner::Unknown => Holder::Unknown,
            },
            None => Holder::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::KnownFrom;

    fn user(uid: u32) -> Caller {
        Caller::Known { uid, cgroup: None, known_from: KnownFrom::SockDiag }
    }

    #[test]
    fn d09_root_and_the_agents_user_have_places_and_subordinate_users_are_their_owners() {
        let files = tempfile::tempdir().unwrap();
        let (subuid, passwd) = (files.path().join("subuid"), files.path().join("passwd"));
        std::fs::write(&passwd, "root:x:0:0::/:/bin/sh\nmallory:x:1001:1001::/:/bin/sh\n").unwrap();
        std::fs::write(&subuid, "mallory:100000:65536\nroot:300000:65536\n").unwrap();
        let connections = Connections::new(512, Arc::new(Owners::of_files(&subuid, &passwd)), Arc::default());
        let own = rustix::process::geteuid().as_raw();
        let holder = |uid| connections.holder(&user(uid));
        assert_eq!([holder(0), holder(own)], [Holder::Reserved(0), Holder::Reserved(own)]);
        assert_eq!([holder(1001), holder(100_000), holder(165_535)], [Holder::User(1001); 3]);
        assert_eq!(holder(300_000), Holder::Range(300_000), "what runs under root's subordinate uids is not root");
        assert_eq!(holder(165_536), Holder::User(165_536));
        let unknown = Caller::Unknown(crate::caller::UnknownReason::NoAnswer);
        assert_eq!(connections.holder(&unknown), Holder::Unknown);
        assert_eq!(connections.budget.room(), Room { connections: 448, reserved: 64, memory: 0 });
        let few = Connections::new(100, Arc::new(Owners::of_files(&subuid, &passwd)), Arc::default());
        assert_eq!(few.budget.room(), Room { connections: 88, reserved: 12, memory: 0 });
    }
}
