//! `/node/v1`: where agents enrol. After that they speak OAuth like everybody else.
//!
//! Tests: `app/machines/tests.rs` for the rules, `tests/it` over the wire.

use denizen_wire::node::{ENROL_PATH, EnrolRequest, MAX_ENROL_REQUEST, Refused, RefusedReason};
use http::{HeaderValue, Method, StatusCode, header};

use super::{
    Call, Reply, Requires, Route, reply,
    route::{Answer, Case, Found, Params, find},
};
use crate::app::machines::{EnrolError, Machines};

/// The enrolment face.
pub struct Node {
    machines: Machines,
}

/// Its routes.
pub const ROUTES: &[Route<Node>] = &[Route {
    method: Method::POST,
    pattern: ENROL_PATH,
    requires: Requires::Credential("a single-use join token and a proof of possession of the node key"),
    run: enrol,
}];

impl Node {
    /// Over the use case.
    pub fn new(machines: Machines) -> Self {
        Self { machines }
    }

    /// Answers one call.
    pub async fn handle(&self, call: Call) -> Reply {
        match find(ROUTES, &call.method, &call.segments, Case::Exact) {
            Found::Row(route, params) => (route.run)(self, params, (), call).await,
            Found::OtherMethod => refuse(StatusCode::METHOD_NOT_ALLOWED, "BadRequest", "this path takes POST only"),
            Found::Nothing => refuse(StatusCode::NOT_FOUND, "NotFound", "there is nothing at this path"),
        }
    }
}

fn enrol(node: &Node, _: Params, (): (), mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let body = match call.body(MAX_ENROL_REQUEST).await {
            Ok(body) => body,
            Err(e) => return refuse(StatusCode::BAD_REQUEST, "BadRequest", &e.to_string()),
        };
        let request: EnrolRequest = match serde_json::from_slice(&body) {
            Ok(request) => request,
            Err(e) => return refuse(StatusCode::BAD_REQUEST, "BadRequest", &format!("not an enrolment request: {e}")),
        };
        match node.machines.enrol(&request, call.now, call.request_id).await {
            Ok(enrolled) => {
                let mut answer = reply::json(StatusCode::OK, &enrolled);
                answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                answer
            }
            Err(refused) => {
                tracing::warn!(request_id = %call.request_id, machine = ?request.machine_name, reason = %refused, "enrolment refused");
                let (status, code) = match &refused {
                    EnrolError::Malformed(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
                    EnrolError::Token(_) | EnrolError::OtherName(_) => (StatusCode::FORBIDDEN, "JoinTokenRefused"),
                    EnrolError::Proof(_) => (StatusCode::FORBIDDEN, "ProofRefused"),
                    EnrolError::Exists(_) => (StatusCode::CONFLICT, "MachineExists"),
                    EnrolError::Store(_) => {
                        let text = "the directory cannot be written just now; try again";
                        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", text);
                    }
                };
                refuse(status, code, &refused.to_string())
            }
        }
    })
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Reply {
    reply::json(status, &Refused { error: RefusedReason { code: code.to_owned(), message: message.to_owned() } })
}
