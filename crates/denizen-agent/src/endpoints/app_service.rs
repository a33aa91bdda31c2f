//! App Service's dialect: a secret in a header, which only the programs it was given to know.

use denizen_keys::SecretString;
use denizen_wire::identity::APP_SERVICE_VERSION;
use http::{StatusCode, request::Parts};

use super::{
    answer::{Answer, Fault, Style},
    gate,
    query::Query,
};
use crate::{
    broker::{Broker, Dialect, TokenRequest},
    caller::Caller,
    policy::Proof,
};

/// The header that carries the secret.
pub const SECRET_HEADER: &str = "x-identity-header";

/// The App Service endpoint.
pub struct AppServiceEndpoint {
    secret: SecretString,
}

/// Evidence that a caller sent the secret. Only the endpoint makes it.
#[derive(Debug)]
pub struct SecretShown(());

/// The endpoint is not there, and that will not pass by itself.
pub fn off() -> Fault {
    Fault::bad("The App Service dialect is off on this machine: the agent was given no secret header")
}

impl AppServiceEndpoint {
    /// With its secret. An empty one would let in whoever sends an empty header, so there is no endpoint with it.
    pub fn new(secret: SecretString) -> Option<Self> {
        (!secret.is_empty()).then_some(Self { secret })
    }

    /// Answers a token request.
    pub async fn answer(&self, broker: &Broker, caller: Caller, request: &Parts, query: &str) -> Answer {
        let shown = match gate::one(&request.headers, SECRET_HEADER) {
            Some(value) if self.secret.ct_eq(value) => SecretShown(()),
            Some(_) | None => {
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
        Style::AppService.token(outcome)
    }
}

fn version(version: Option<&str>) -> Result<(), Fault> {
    if version == Some(APP_SERVICE_VERSION) {
        return Ok(());
    }
    Err(Fault::bad(format!("The api-version is missing or unknown. Supported are {APP_SERVICE_VERSION}")))
}
