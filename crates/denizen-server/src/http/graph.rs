//! Microsoft Graph: the part of it that tools ask of a directory, as `/v1.0` and as `/beta`.
//!
//! ```text
//! path has one reading    Graph::ambiguous     400
//! path                    Graph::enter         (appId='…') apart, no slash at the end
//! token -> caller, tenant Access               401; the tenant is the one whose key signed the token
//! path -> route           Router::find         400, 405
//! action, at /            Graph::authorize     403, naming the action
//! handler                 one file a noun      parameters and body -> use case -> answer
//! ```
//!
//! Roles are those of the directory, given at `/`. What an answer says of an object is in [`shape`]; what a list is asked for in
//! [`query`](crate::domain::query). Properties that are not kept here are refused where they are set.
//!
//! | file | holds |
//! |---|---|
//! | [`applications`], [`principals`], [`users`], [`groups`], [`grants`], [`objects`] | handlers |
//! | [`batch`] | several requests in one |
//! | [`fault`], [`shape`], [`request`] | error bodies; objects as answers have them; bodies and lists as requests ask for them |
//!
//! Tests: `graph/tests/`, and `tests/it` over the wire.

mod applications;
mod batch;
mod fault;
mod federated;
mod grants;
mod groups;
mod objects;
mod principals;
mod request;
mod shape;
#[cfg(test)]
mod tests;
mod users;

use std::sync::{Arc, LazyLock};

use denizen_wire::{ResourceId, TenantId};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use uuid::Uuid;

use self::fault::Fault;
use super::{
    Api, Call, PublicNames, Reply,
    call::Ambiguous,
    route::{BadRoute, Case, Params, Route, Router},
};
use crate::{
    app::{
        access::{Access, AuthError, Authorization, Caller, Refusal},
        directory::Directory,
        replica::Behind,
        strangers::{Reason, Stranger},
        trusts::Trusts,
    },
    domain::{Actor, authorize::Action, claims::audience},
    store::Snapshot,
};

/// What a refusal is recorded as whose token came before any operation was looked at.
const AUTHENTICATE: &str = "microsoft.directory/authenticate";
/// The resource that clients name, whoever serves it.
const GRAPH: &str = "https://graph.microsoft.com";

/// The directory's API.
pub struct Graph {
    directory: Directory,
    trusts: Trusts,
    access: Access,
    authority: String,
    audiences: Vec<String>,
    /// For the requests of a batch.
    router: Router<Self>,
}

/// A caller that proved itself.
pub struct Session {
    snapshot: Arc<Snapshot>,
    caller: Arc<Caller>,
}

/// What a handler gets: the authorization of its action, and what its answer's links are made of.
pub struct GraphAccess {
    authorization: Authorization,
    /// `https://localhost:8443/v1.0`
    base: String,
}

impl Graph {
    /// Creates the API of the use cases.
    ///
    /// # Errors
    /// [`BadRoute`] when its table cannot be served.
    pub fn new(directory: Directory, trusts: Trusts, access: Access, names: &PublicNames) -> Result<Self, BadRoute> {
        let authority = names.authority.clone();
        let audiences = vec![audience::canonical(GRAPH), audience::canonical(&authority)];
        Ok(Self { directory, trusts, access, authority, audiences, router: Router::new()? })
    }

    /// What links are made of.
    fn base(&self, params: &Params) -> String {
        let version = if params.segment(0).eq_ignore_ascii_case("beta") { "beta" } else { "v1.0" };
        format!("{}/{version}", self.authority)
    }

    /// Who sends a call.
    fn session(&self, call: &Call) -> Result<Session, Fault> {
        let snapshot = self.access.snapshot();
        let found = call
            .bearer()
            .ok_or_else(|| (None, Refusal::from(AuthError::Missing)))
            .and_then(|token| self.access.authenticate_in_any(&snapshot, token, &self.audiences, call.now));
        match found {
            Ok(caller) => Ok(Session { snapshot, caller }),
            Err((tenant, refusal)) => {
                self.not_believed(call, tenant, &refusal);
                Err(Fault::unauthenticated(&refusal.error, &self.authority, call.now))
            }
        }
    }

    /// Records whose token was refused; a token that proves nothing is counted.
    fn not_believed(&self, call: &Call, tenant: Option<TenantId>, refusal: &Refusal) {
        let error = &refusal.error;
        let known = tenant.and_then(|tenant| refusal.known(&call.ctx(tenant, Actor::Anonymous)));
        match known {
            Some(known) => self.directory.refused(&known, AUTHENTICATE, &error.to_string()),
            None => {
                let reason = match error {
                    AuthError::Missing => Reason::GraphNoToken,
                    AuthError::Expired(_) | AuthError::NotYet(_) => Reason::GraphTokenTime,
                    AuthError::Form(_)
                    | AuthError::Kind(_)
                    | AuthError::Key
                    | AuthError::Signature
                    | AuthError::Issuer { .. }
                    | AuthError::Audience { .. }
                    | AuthError::Principal(_)
                    | AuthError::Newer(_) => Reason::GraphToken,
                };
                self.access.strangers().refused(reason, Stranger { tenant, ..call.stranger() }, error);
            }
        }
    }
}

impl Api for Graph {
    const NAME: &'static str = "graph";
    const CASE: Case = Case::Ignored;
    type Session = Session;
    type Authorized = GraphAccess;
    type Fault = Fault;

    fn routes() -> &'static [Route<Self>] {
        static ROUTES: LazyLock<Vec<Route<Graph>>> = LazyLock::new(|| {
            let tables = [
                applications::routes(),
                federated::routes(),
                principals::routes(),
                users::routes(),
                groups::routes(),
                grants::routes(),
                objects::routes(),
                batch::routes(),
            ];
            tables.into_iter().flatten().collect()
        });
        &ROUTES
    }

    fn ambiguous(&self, _: &mut Call, why: Ambiguous) -> Fault {
        Fault::bad(format!("{why}."))
    }

    fn enter(&self, call: &mut Call) -> Result<Session, Fault> {
        call.correlation_id = call.header(CLIENT_REQUEST_ID.as_str()).and_then(|id| Uuid::try_parse(id).ok());
        call.response_headers = response_headers(call);
        let session = self.session(call)?;
        tidy(&mut call.segments);
        Ok(session)
    }

    fn authorize(&self, session: Session, call: &Call, action: &Action, params: &Params) -> Result<GraphAccess, Fault> {
        let Session { snapshot, caller } = session;
        let ctx = call.ctx(caller.tenant, caller.actor());
        let authorized = self.access.authorize(&snapshot, &caller, ctx, action, &ResourceId::root());
        let authorization = authorized.map_err(|denied| {
            let known = caller.known(&call.ctx(caller.tenant, Actor::Anonymous));
            self.directory.refused(&known, action.name(), &denied.because.to_string());
            Fault::denied(action.name(), &denied.because)
        })?;
        Ok(GraphAccess { authorization, base: self.base(params) })
    }

    fn behind(&self, _: &Call, why: Behind) -> Fault {
        Fault::behind(why)
    }

    fn not_found(&self, _: &Call) -> Fault {
        Fault::no_route()
    }

    fn method_not_allowed(&self, _: &Call, allow: &str) -> Fault {
        Fault::method(allow)
    }

    fn write_fault(&self, call: &Call, fault: Fault) -> Reply {
        fault.write(call)
    }
}

/// Rows for both versions. The handler is an async function of API, access, parameters and call.
macro_rules! rows {
    ($($method:ident $pattern:literal, $action:expr, $handler:ident;)*) => {
        Vec::from([$($crate::http::graph::rows!(@ "/v1.0", $method $pattern, $action, $handler),
            $crate::http::graph::rows!(@ "/beta", $method $pattern, $action, $handler),)*])
    };
    (@ $version:literal, $method:ident $pattern:literal, $action:expr, $handler:ident) => {
        $crate::http::route::Route {
            method: ::http::Method::$method,
            pattern: concat!($version, $pattern),
            handler: $crate::http::route::Handler::Authorized {
                action: $crate::domain::authorize::Action::control($action),
                run: |api, access, $crate::http::route::Request { params, call }| {
                    Box::pin(async move { $handler(api, access, &params, call).await })
                },
            },
        }
    };
}
use rows;

/// `applications(appId='…')` becomes two segments, and what is empty at the end goes.
fn tidy(segments: &mut Vec<String>) {
    while segments.len() > 1 && segments.last().is_some_and(String::is_empty) {
        segments.pop();
    }
    let Some(keyed) = segments.get(1) else { return };
    let Some((noun, key)) = keyed.strip_suffix(')').and_then(|keyed| keyed.split_once('(')) else { return };
    let key = match key.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("appId") => format!("appId={}", value.trim_matches('\'')),
        Some(_) => return,
        None => key.trim_matches('\'').to_owned(),
    };
    let noun = noun.to_owned();
    segments.splice(1..2, [noun, key]);
}

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");

fn response_headers(call: &Call) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("odata-version"), HeaderValue::from_static("4.0"));
    if let Ok(id) = HeaderValue::from_str(&call.request_id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    let client_id = call.headers.get(&CLIENT_REQUEST_ID).filter(|id| id.len() <= 128 && id.to_str().is_ok());
    if let Some(id) = client_id {
        headers.insert(CLIENT_REQUEST_ID, id.clone());
    }
    headers
}
