//! `/healthz`: whether the process answers. `/readyz`: whether it should be sent requests, and if not, why.
//!
//! Tests: `http/tests.rs`, and `tests/it`.

use std::convert::Infallible;

use http::{HeaderValue, Method, StatusCode, header};

use super::{
    Api, Call, Reply,
    call::Ambiguous,
    reply,
    route::{Case, Handler, Params, Route},
};
use crate::{
    app::{
        readiness::{Readiness, Report, Severity},
        replica::Behind,
    },
    domain::authorize::Action,
};

/// The health API.
pub struct Health {
    readiness: Readiness,
}

impl Health {
    /// Creates the API of the checks.
    pub fn new(readiness: Readiness) -> Self {
        Self { readiness }
    }

    async fn ready(&self) -> Reply {
        let report = self.readiness.report().await;
        let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut reply = reply::json(status, &as_json(&report));
        reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }
}

fn as_json(report: &Report) -> serde_json::Value {
    let checks = report.checks.iter().map(|checked| {
        let severity = match checked.severity {
            Severity::Fails => "fails",
            Severity::Warns => "warns",
        };
        let (check, ok, reason) = (checked.check, checked.reason.is_none(), &checked.reason);
        serde_json::json!({"check": check, "ok": ok, "severity": severity, "reason": reason})
    });
    let status = match (report.is_ready(), report.is_draining()) {
        (true, _) => "ready",
        (false, true) => "draining",
        (false, false) => "not ready",
    };
    serde_json::json!({"status": status, "checks": checks.collect::<Vec<_>>()})
}

/// What is wrong with a request. There is nothing else to refuse.
pub enum HealthFault {
    /// There is nothing at this path.
    NotFound,
    /// The path takes other methods.
    Method(String),
    /// The request has two readings.
    Ambiguous(Ambiguous),
    /// This replica must not answer just now.
    Behind(Behind),
}

impl Api for Health {
    const NAME: &'static str = "health";
    const CASE: Case = Case::Exact;
    type Session = ();
    type Authorized = Infallible;
    type Fault = HealthFault;

    fn routes() -> &'static [Route<Self>] {
        const ROUTES: &[Route<Health>] = &[
            Route {
                method: Method::GET,
                pattern: "/healthz",
                handler: Handler::Public {
                    because: "health: a balancer has no credential, and the answer says nothing but that the process answers",
                    run: |_, _| {
                        Box::pin(async { Ok(reply::json(StatusCode::OK, &serde_json::json!({"status": "ok"}))) })
                    },
                },
            },
            Route {
                method: Method::GET,
                pattern: "/readyz",
                handler: Handler::Public {
                    because: "health: a balancer has no credential, and the answer names rules of ours and nothing of this machine",
                    run: |health, _| Box::pin(async { Ok(health.ready().await) }),
                },
            },
        ];
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

    fn behind(&self, _: &Call, why: Behind) -> HealthFault {
        HealthFault::Behind(why)
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
                refuse(StatusCode::NOT_FOUND, "there is nothing at this path; health is at /healthz and /readyz")
            }
            HealthFault::Behind(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
            HealthFault::Ambiguous(why) => refuse(StatusCode::BAD_REQUEST, &why.to_string()),
            HealthFault::Method(allow) => refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {allow}")),
        }
    }
}
