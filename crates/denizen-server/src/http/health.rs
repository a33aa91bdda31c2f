//! `/healthz`: whether the process answers.

use std::convert::Infallible;

use http::{Method, StatusCode};

use super::{
    Api, Call, Reply,
    call::Ambiguous,
    reply,
    route::{Case, Handler, Params, Route},
};
use crate::domain::authorize::Action;

/// The health API.
pub struct Health;

/// What is wrong with a request. There is nothing else to refuse.
pub enum HealthFault {
    /// There is nothing at this path.
    NotFound,
    /// The path takes other methods.
    Method(String),
    /// The request has two readings.
    Ambiguous(Ambiguous),
}

impl Api for Health {
    const NAME: &'static str = "health";
    const CASE: Case = Case::Exact;
    type Session = ();
    type Authorized = Infallible;
    type Fault = HealthFault;

    fn routes() -> &'static [Route<Self>] {
        const ROUTES: &[Route<Health>] = &[Route {
            method: Method::GET,
            pattern: "/healthz",
            handler: Handler::Public {
                because: "health: a balancer has no credential, and the answer says nothing but that the process answers",
                run: |_, _| Box::pin(async { Ok(reply::json(StatusCode::OK, &serde_json::json!({"status": "ok"}))) }),
            },
        }];
        ROUTES
    }

    fn ambiguous(&self, _: &mut Call, why: Ambiguous) -> HealthFault {
        HealthFault::Ambiguous(why)
    }

    fn enter(&self, _: &mut Call) -> Result<(), HealthFault> {
        Ok(())
    }

    fn authorize(&self, (): (), _: &Call, _: &Action, _: &Params) -> Result<Infallible, HealthFault> {
        Err(HealthFault::NotFound)
    }

    fn not_found(&self, _: &Call) -> HealthFault {
        HealthFault::NotFound
    }

    fn method_not_allowed(&self, _: &Call, allow: &str) -> HealthFault {
        HealthFault::Method(allow.to_owned())
    }

    fn write_fault(&self, _: &Call, fault: HealthFault) -> Reply {
        let refuse = |status, message: &str| {
            let code = if status == StatusCode::NOT_FOUND { "NotFound" } else { "BadRequest" };
            reply::json(status, &serde_json::json!({"error": {"code": code, "message": message}}))
        };
        match fault {
            HealthFault::NotFound => {
                refuse(StatusCode::NOT_FOUND, "there is nothing at this path; health is at /healthz")
            }
            HealthFault::Ambiguous(why) => refuse(StatusCode::BAD_REQUEST, &why.to_string()),
            HealthFault::Method(allow) => refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {allow}")),
        }
    }
}
