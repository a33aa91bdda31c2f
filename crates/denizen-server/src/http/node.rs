//! `/node/v1`: where agents enrol. After that they speak OAuth like everybody else.
//!
//! Tests: `app/machines/tests.rs` for the rules, `tests/it` over the wire.

use std::convert::Infallible;

use denizen_wire::{
    Causes,
    node::{ENROL_PATH, EnrolRequest, MAX_ENROL_REQUEST, Refused, RefusedReason},
};
use http::{HeaderValue, Method, StatusCode, header};

use super::{
    Api, Call, Reply,
    call::Ambiguous,
    reply,
    route::{Case, Handler, Params, Request, Route},
};
use crate::{
    app::{
        machines::{EnrolError, Machines},
        replica::Behind,
        strangers::Reason,
    },
    domain::{Actor, authorize::Action},
};

/// The enrolment API.
pub struct Node {
    machines: Machines,
}

/// Why a machine is refused.
pub enum NodeFault {
    /// There is nothing at this path.
    NotFound,
    /// The path takes other methods.
    Method(String),
    /// This replica must not answer just now.
    Behind(Behind),
    /// The request is not one.
    Malformed(String),
    /// The use case refused.
    Enrol(EnrolError),
}

/// For the log, which is told no more of a request that nobody stands behind.
#[derive(Debug, thiserror::Error)]
#[error("not an enrolment request")]
struct NotARequest;

impl Node {
    /// Creates the API of the use cases.
    pub fn new(machines: Machines) -> Self {
        Self { machines }
    }

    async fn enrol(&self, call: &mut Call) -> Result<Reply, NodeFault> {
        let malformed = |call: &Call, error: &dyn std::error::Error, text: String| {
            self.machines.strangers().refused(Reason::Enrolment, call.stranger(), error);
            NodeFault::Malformed(text)
        };
        let body = call.body(MAX_ENROL_REQUEST).await;
        let body = body.map_err(|error| malformed(call, &error, error.to_string()))?;
        // The position only: serde's own text may quote what stands there, and a join token may stand there.
        let request: EnrolRequest = serde_json::from_slice(&body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let text = format!("not an enrolment request (line {line}, column {column})");
            malformed(call, &NotARequest, text)
        })?;
        let enrolled = self.machines.enrol(&request, |tenant| call.ctx(tenant, Actor::Anonymous)).await;
        let enrolled = enrolled.map_err(|refused| {
            match refused.of_a_stranger() {
                Some(reason) => self.machines.strangers().refused(reason, call.stranger(), &refused),
                None => {
                    let (machine, reason) = (&request.machine_name, Causes(&refused));
                    tracing::warn!(request_id = %call.request_id, ?machine, %reason, "enrolment refused");
                }
            }
            NodeFault::Enrol(refused)
        })?;
        let mut answer = reply::json(StatusCode::OK, &enrolled);
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(answer)
    }
}

impl Api for Node {
    const NAME: &'static str = "node";
    const CASE: Case = Case::Exact;
    type Session = ();
    type Authorized = Infallible;
    type Fault = NodeFault;

    fn routes() -> &'static [Route<Self>] {
        const ROUTES: &[Route<Node>] = &[Route {
            method: Method::POST,
            pattern: ENROL_PATH,
            handler: Handler::OwnCredential {
                credential: "a single-use join token and a proof of possession of the node key",
                run: |node, Request { call, .. }| Box::pin(node.enrol(call)),
            },
        }];
        ROUTES
    }

    fn ambiguous(&self, _: &mut Call, why: Ambiguous) -> NodeFault {
        NodeFault::Malformed(why.to_string())
    }

    fn enter(&self, _: &mut Call) -> Result<(), NodeFault> {
        Ok(())
    }

    fn authorize(&self, (): (), _: &Call, _: &Action, _: &Params) -> Result<Infallible, NodeFault> {
        Err(NodeFault::NotFound)
    }

    fn behind(&self, _: &Call, why: Behind) -> NodeFault {
        NodeFault::Behind(why)
    }

    fn not_found(&self, _: &Call) -> NodeFault {
        NodeFault::NotFound
    }

    fn method_not_allowed(&self, _: &Call, allow: &str) -> NodeFault {
        NodeFault::Method(allow.to_owned())
    }

    fn write_fault(&self, _: &Call, fault: NodeFault) -> Reply {
        let (status, code, message) = match fault {
            NodeFault::NotFound => (StatusCode::NOT_FOUND, "NotFound", "there is nothing at this path".to_owned()),
            NodeFault::Method(methods) => {
                let text = format!("this path takes {methods} only");
                (StatusCode::METHOD_NOT_ALLOWED, "BadRequest", text)
            }
            NodeFault::Behind(why) => (StatusCode::SERVICE_UNAVAILABLE, "Unavailable", why.to_string()),
            NodeFault::Malformed(why) => (StatusCode::BAD_REQUEST, "BadRequest", why),
            NodeFault::Enrol(refused) => match &refused {
                EnrolError::Malformed(_) => (StatusCode::BAD_REQUEST, "BadRequest", refused.to_string()),
                EnrolError::Token(_) | EnrolError::GroupGone | EnrolError::OtherName(_) => {
                    (StatusCode::FORBIDDEN, "JoinTokenRefused", refused.to_string())
                }
                EnrolError::Proof(_) => (StatusCode::FORBIDDEN, "ProofRefused", refused.to_string()),
                EnrolError::Exists(_) => (StatusCode::CONFLICT, "MachineExists", refused.to_string()),
                EnrolError::Authorization(_) => {
                    let text = "the server refused its own operation; its log names the fault";
                    (StatusCode::INTERNAL_SERVER_ERROR, "InternalError", text.to_owned())
                }
                EnrolError::Store(_) | EnrolError::Unread(_) => {
                    let text = "the directory cannot be written just now; try again";
                    (StatusCode::SERVICE_UNAVAILABLE, "Unavailable", text.to_owned())
                }
            },
        };
        reply::json(status, &Refused { error: RefusedReason { code: code.to_owned(), message } })
    }
}
