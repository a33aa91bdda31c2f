//! The dispatcher: the only way from a listener to a handler.
//!
//! ```text
//! listener -> Service -> mount (by first path segment) -> Api::ambiguous  when the request has two readings
//!                                                      -> Api::enter      who calls
//!                                                      -> Router::find    404, 405
//!                                                      -> Api::authorize  when the row names an action
//!                                                      -> handler -> Reply, or Fault -> Api::write_fault
//! ```
//!
//! A listener serves a [`Service`] and nothing else, and a service serves only APIs that were mounted, so
//! [`Service::routes`] lists everything that can be reached. Tests that walk every route take their list from there.
//!
//! Tests: `http/tests.rs`, and `tests/it` over the wire.

use std::{future::Future, pin::Pin, sync::Arc, time::Instant};

use http::{HeaderValue, Method, header};
use tracing::Instrument as _;

use super::{
    Call, Reply,
    call::Ambiguous,
    requests::{NO_ROUTE, Requests},
    route::{BadRoute, Case, Found, Handler, Params, Request, Route, RouteInfo, Router},
    trace::TraceParent,
};
use crate::{
    app::replica::{Behind, Replica},
    domain::authorize::Action,
};

/// The header that says by which state of the directory an answer was made. A request that carries it is answered by that
/// state or a later one, whichever replica it reaches.
pub const REVISION: &str = "x-denizen-revision";

/// A protocol: its routes, how it finds out who calls and what they may do, and how its faults are written.
pub trait Api: Send + Sync + Sized + 'static {
    /// What logs and tests call it.
    const NAME: &'static str;
    /// Whether the literal segments of its paths are compared exactly.
    const CASE: Case;
    /// What is known about the caller before the route is.
    type Session: Send + Sync;
    /// The proof that a handler of an authorized row gets. [`Infallible`](std::convert::Infallible) for a protocol that
    /// authorizes nothing: a handler that takes one can never run.
    type Authorized: Send + Sync;
    /// A refusal or a failure, not yet written.
    type Fault: Send;

    /// Its routes.
    fn routes() -> &'static [Route<Self>];

    /// The fault of a request with two readings. Nothing else is asked about it.
    fn ambiguous(&self, call: &mut Call, why: Ambiguous) -> Self::Fault;

    /// Finds out who calls, before the route is looked up. A protocol that tells strangers nothing refuses them here.
    ///
    /// # Errors
    /// What the caller is answered.
    fn enter(&self, call: &mut Call) -> Result<Self::Session, Self::Fault>;

    /// Decides whether the caller may do `action`.
    ///
    /// # Errors
    /// What the caller is answered.
    fn authorize(
        &self,
        session: Self::Session,
        call: &Call,
        action: &Action,
        params: &Params,
    ) -> Result<Self::Authorized, Self::Fault>;

    /// The fault of a replica that must not answer just now: 503, in this protocol's shape.
    fn behind(&self, call: &Call, why: Behind) -> Self::Fault;

    /// The fault of a path that is not known.
    fn not_found(&self, call: &Call) -> Self::Fault;

    /// The fault of a known path with a method that it does not take; `allow` lists those it takes. The dispatcher adds
    /// the `Allow` header.
    fn method_not_allowed(&self, call: &Call, allow: &str) -> Self::Fault;

    /// Writes a fault: the one place where errors of this protocol become bytes.
    fn write_fault(&self, call: &Call, fault: Self::Fault) -> Reply;
}

/// What one listener serves.
pub struct Service {
    name: &'static str,
    replica: Option<Replica>,
    mounts: Vec<(&'static [&'static str], Box<dyn Mounted>)>,
}

/// An API with its compiled routes.
struct Mount<A: Api> {
    api: A,
    router: Router<A>,
    requests: Arc<Requests>,
}

/// The method and the pattern of the row that a call reached.
type Row = Option<(&'static Method, &'static str)>;

trait Mounted: Send + Sync {
    fn handle<'a>(
        &'a self,
        call: Call,
        replica: Option<&'a Replica>,
    ) -> Pin<Box<dyn Future<Output = (Reply, Row)> + Send + 'a>>;
    fn routes(&self, service: &'static str) -> Vec<RouteInfo>;
    fn api(&self) -> &'static str;
    fn requests(&self) -> &Arc<Requests>;
}

/// Takes every path that no other mount of the service takes.
const FALLBACK: &[&str] = &[];

impl Service {
    /// Creates a service for everything that `fallback` does not leave to a later [`Self::mount`].
    ///
    /// # Errors
    /// [`BadRoute`] when the table cannot be served.
    pub fn new<A: Api>(name: &'static str, fallback: A) -> Result<Self, BadRoute> {
        Self { name, replica: None, mounts: Vec::new() }.mount(FALLBACK, fallback)
    }

    /// Has its guarded rows answered only by a replica that is not behind, and its answers say by which state they were made.
    #[must_use]
    pub fn of_replica(mut self, replica: Replica) -> Self {
        self.replica = Some(replica);
        self
    }

    /// Adds an API for the paths whose first segment is one of `first_segments`.
    ///
    /// # Errors
    /// [`BadRoute`] when the table cannot be served, or another API has these paths.
    pub fn mount<A: Api>(mut self, first_segments: &'static [&'static str], api: A) -> Result<Self, BadRoute> {
        let taken = |segment: &&&str| self.mounts.iter().any(|(others, _)| others.contains(segment));
        let has_fallback = self.mounts.iter().any(|(others, _)| others.is_empty());
        let twice = first_segments.iter().find(taken).or((first_segments.is_empty() && has_fallback).then_some(&""));
        if let Some(segment) = twice {
            return Err(BadRoute::new(A::NAME, segment, "another API of this service has these paths"));
        }
        let rows = A::routes().iter().map(|route| (&route.method, route.pattern));
        let requests = Arc::new(Requests::new(self.name, A::NAME, rows));
        self.mounts.push((first_segments, Box::new(Mount { api, router: Router::new()?, requests })));
        Ok(self)
    }

    /// What is counted of its requests, by API.
    pub(super) fn requests(&self) -> impl Iterator<Item = Arc<Requests>> {
        self.mounts.iter().map(|(_, mounted)| Arc::clone(mounted.requests()))
    }

    /// Everything that can be reached through this service.
    pub fn routes(&self) -> Vec<RouteInfo> {
        self.mounts.iter().flat_map(|(_, mounted)| mounted.routes(self.name)).collect()
    }

    /// Answers one call, under a span that carries its ids; counts it, and logs it as `access`.
    pub async fn handle(&self, call: Call) -> Reply {
        let first = call.segments.first().map_or("", String::as_str);
        let named = self.mounts.iter().find(|(segments, _)| segments.contains(&first));
        // `new` mounts the fallback, so there is always one.
        let Some((_, mounted)) = named.or_else(|| self.mounts.iter().find(|(segments, _)| segments.is_empty())) else {
            return super::reply::empty(http::StatusCode::NOT_FOUND);
        };
        let (began, request_id, peer) = (Instant::now(), call.request_id, call.peer.ip().to_canonical());
        let trace = TraceParent::of(&call.headers);
        let span = tracing::info_span!(
            "request",
            api = mounted.api(),
            %request_id,
            correlation_id = tracing::field::Empty,
            trace_id = trace.as_ref().map(TraceParent::trace_id),
        );
        if let Some(trace) = trace {
            trace.adopt(&span);
        }
        let (reply, row) = mounted.handle(call, self.replica.as_ref()).instrument(span.clone()).await;
        let took = began.elapsed();
        mounted.requests().answered(row, reply.status(), took);
        // The pattern, and nothing that a client wrote.
        let (method, route) = row.map_or((NO_ROUTE, NO_ROUTE), |(method, pattern)| (method.as_str(), pattern));
        let (status, milliseconds) = (reply.status().as_u16(), took.as_micros() as f64 / 1000.0);
        let _entered = span.enter();
        if reply.status().is_server_error() {
            tracing::info!(target: "access", %peer, method, route, status, milliseconds, "answered");
        } else {
            tracing::debug!(target: "access", %peer, method, route, status, milliseconds, "answered");
        }
        reply
    }
}

impl<A: Api> Mounted for Mount<A> {
    fn handle<'a>(
        &'a self,
        mut call: Call,
        replica: Option<&'a Replica>,
    ) -> Pin<Box<dyn Future<Output = (Reply, Row)> + Send + 'a>> {
        Box::pin(async move {
            let mut row = None;
            let mut reply = match self.run(&mut call, replica, &mut row).await {
                Ok(reply) => reply,
                Err(fault) => {
                    // Whatever came with the request is read and thrown away: the connection stays good, and nothing
                    // of a body that may not be used is kept.
                    call.discard_body().await;
                    self.api.write_fault(&call, fault)
                }
            };
            call.add_headers(&mut reply);
            (reply, row)
        })
    }

    fn routes(&self, service: &'static str) -> Vec<RouteInfo> {
        let info = |route: &Route<A>| RouteInfo {
            service,
            api: A::NAME,
            method: route.method.clone(),
            pattern: route.pattern,
            requires: route.requirement(),
        };
        A::routes().iter().map(info).collect()
    }

    fn api(&self) -> &'static str {
        A::NAME
    }

    fn requests(&self) -> &Arc<Requests> {
        &self.requests
    }
}

impl<A: Api> Mount<A> {
    async fn run(&self, call: &mut Call, replica: Option<&Replica>, row: &mut Row) -> Result<Reply, A::Fault> {
        if let Some(why) = call.ambiguous() {
            return Err(self.api.ambiguous(call, why));
        }
        // Before anything is decided by what this replica has.
        if let (Some(replica), Some(token)) = (replica, call.header(REVISION)) {
            let token = token.to_owned();
            replica.reach(&token).await.map_err(|why| self.api.behind(call, why))?;
        }
        let entered = self.api.enter(call);
        if let Some(correlation_id) = call.correlation_id {
            tracing::Span::current().record("correlation_id", tracing::field::display(correlation_id));
        }
        let session = entered?;
        let (route, params) = match self.router.find(&call.method, &mut call.segments) {
            Found::Route(route, params) => (route, params),
            Found::OtherMethod(allow) => {
                // RFC 9110, section 15.5.6: the answer names the methods.
                if let Ok(methods) = HeaderValue::from_str(allow) {
                    call.response_headers.insert(header::ALLOW, methods);
                }
                return Err(self.api.method_not_allowed(call, allow));
            }
            Found::Nothing => return Err(self.api.not_found(call)),
        };
        *row = Some((&route.method, route.pattern));
        let is_public = matches!(route.handler, Handler::Public { .. });
        let replica = replica.filter(|_| !is_public);
        if let Some(replica) = replica {
            replica.refuse_stale().map_err(|why| self.api.behind(call, why))?;
        }
        let mut reply = match &route.handler {
            Handler::Public { run, .. } | Handler::OwnCredential { run, .. } => {
                run(&self.api, Request { params, call }).await?
            }
            Handler::Authorized { action, run } => {
                let authorized = self.api.authorize(session, call, action, &params)?;
                run(&self.api, &authorized, Request { params, call }).await?
            }
        };
        if let Some(replica) = replica
            && let Ok(token) = HeaderValue::from_str(&replica.token())
        {
            reply.headers_mut().insert(REVISION, token);
        }
        Ok(reply)
    }
}
