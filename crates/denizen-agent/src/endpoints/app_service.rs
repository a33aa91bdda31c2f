//! App Service's dialect: a secret in a header, which only the programs it was given to know.

use denizen_wire::{Clock, identity::APP_SERVICE_VERSION};
use http::{StatusCode, request::Parts};

use super::{
    answer::{Answer, Fault, Style},
    gate,
    query::Query,
};
use crate::{
    broker::{Broker, Dialect, TokenRequest},
    caller::Caller,
    proof::{HeaderSecret, Proof},
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
        let shown = match gate::one(&request.headers, SECRET_HEADER).and_then(|value| self.secret.check(value)) {
            Some(shown) => shown,
            None => {
                tracing::warn!(target: "audit", %caller, "App Service secret missing or wrong");
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
                proof: Proof::SecretHeader(shown),
                selector: asked.selector,
                resource: asked.resource,
                dialect: Dialect::AppService,
            })
            .await;
        Style::AppService.token(outcome, clock)
    }
}

fn version(version: Option<&str>) -> Result<(), Fault> {
    if version == Some(APP_SERVICE_VERSION) {
        return Ok(());
    }
    Err(Fault::bad(format!("The api-version is missing or unknown. Supported are {APP_SERVICE_VERSION}")))
}
