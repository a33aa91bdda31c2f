//! App Service's dialect: a secret in a header, which only the programs it was given to know.
//!
//! The api-version is checked before the secret: a client of the 2017 dialect sends its secret in another header, and
//! must be told the version, not that its secret is missing. The rest of the query is read after it.

use denizen_wire::{Clock, identity::APP_SERVICE_VERSION};
use http::{StatusCode, request::Parts};

use super::{
    answer::{Answer, Fault, Style},
    gate,
    query::{Query, parameter},
};
use crate::{
    broker::{Broker, Dialect, TokenRequest},
    caller::Caller,
    evidence::{Evidence, HeaderSecret},
};

/// The header that carries the secret.
pub const SECRET_HEADER: &str = "x-identity-header";

/// The App Service endpoint.
pub struct AppServiceEndpoint {
    /// The secret it asks for.
    pub secret: HeaderSecret,
}

/// The answer where the dialect is off.
pub fn off() -> Fault {
    Fault::bad("The App Service dialect is off on this machine: the agent was given no secret header")
}

impl AppServiceEndpoint {
    /// Answers a token request.
    pub async fn answer(&self, broker: &Broker, clock: &Clock, caller: Caller, request: &Parts, query: &str) -> Answer {
        if let Some(sent) = parameter(query, "api-version")
            && let Err(fault) = version(Some(&sent))
        {
            return Style::AppService.fault(fault);
        }
        let shown = match gate::one(&request.headers, SECRET_HEADER).and_then(|value| self.secret.check(value)) {
            Some(shown) => shown,
            None => {
                if let Some(held_back) = broker.refusals().admit(&caller) {
                    tracing::warn!(target: "audit", %caller, held_back, "App Service secret missing or wrong");
                }
                return Style::AppService.fault(Fault::new(
                    StatusCode::UNAUTHORIZED,
                    "unauthorized_client",
                    "The X-IDENTITY-HEADER header must carry the value of IDENTITY_HEADER",
                ));
            }
        };
        let asked = match Query::read(query, version) {
            Ok(asked) => asked,
            Err(fault) => return Style::AppService.fault(fault),
        };
        let outcome = broker
            .token(TokenRequest {
                caller,
                evidence: Evidence::SecretHeader(shown),
                selector: asked.selector,
                resource: asked.resource,
                dialect: Dialect::AppService,
            })
            .await;
        Style::AppService.token(outcome, clock)
    }
}

fn version(version: Option<&str>) -> Result<(), Fault> {
    match version {
        Some(APP_SERVICE_VERSION) => Ok(()),
        Some("2017-09-01") => Err(Fault::bad(format!(
            "The api-version 2017-09-01 and its Secret header are not served here: send api-version={APP_SERVICE_VERSION} \
             and IDENTITY_HEADER's value as X-IDENTITY-HEADER, or update the client library"
        ))),
        Some(_) | None => {
            Err(Fault::bad(format!("The api-version is missing or unknown. Supported are {APP_SERVICE_VERSION}")))
        }
    }
}
