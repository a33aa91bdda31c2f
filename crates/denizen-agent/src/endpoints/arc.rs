//! Azure Arc's dialect: a challenge that names a key file, then the token.
//!
//! The first request is always answered 401, since clients take anything else for a failure; the 401 has a JSON body
//! and no `Retry-After`, and its one challenge is `Basic realm=<absolute path>`, without quotes.

use std::{sync::Arc, time::Duration};

use denizen_serve::Sampler;
use denizen_wire::{
    Clock,
    identity::{ARC_VERSIONS, Error},
};
use http::{HeaderValue, StatusCode, header, request::Parts};

use super::{
    answer::{Answer, Fault, Style, json},
    query::Query,
};
use crate::{
    broker::{Broker, Dialect, TokenRequest},
    caller::Caller,
    challenge::Challenges,
    evidence::Evidence,
    metrics::Metrics,
};
/// The Arc endpoint.
pub struct ArcEndpoint {
    challenges: Arc<Challenges>,
    metrics: Arc<Metrics>,
    /// Which failures to write a key file are logged.
    faults: Sampler,
}

/// So many failures to write a key file are logged in so long.
const FAULTS: u32 = 10;
const FAULTS_IN: Duration = Duration::from_secs(60);

/// The answer where the dialect is off.
pub fn off() -> Fault {
    Fault::bad("The Azure Arc dialect is off on this machine: the agent has no key directory. Use App Service or IMDS")
}

impl ArcEndpoint {
    /// Creates the endpoint that gives these challenges.
    pub fn new(challenges: Arc<Challenges>, metrics: Arc<Metrics>) -> Self {
        Self { challenges, metrics, faults: Sampler::new(FAULTS, FAULTS_IN) }
    }

    /// Answers a token request.
    pub async fn answer(&self, broker: &Broker, clock: &Clock, caller: Caller, request: &Parts, query: &str) -> Answer {
        let asked = match Query::read(query, version) {
            Ok(asked) => asked,
            Err(fault) => return Style::OAuth.fault(fault),
        };
        let mut presented = request.headers.get_all(header::AUTHORIZATION).iter();
        let authorization = match (presented.next(), presented.next()) {
            (None, _) => return self.challenge(&caller, "Missing Basic Authorization header"),
            (Some(value), None) => value.to_str().unwrap_or_default(),
            (Some(_), Some(_)) => return Style::OAuth.fault(Fault::bad("There is more than one Authorization header")),
        };
        let redeemed = match self.challenges.redeem(authorization, &caller, query) {
            Ok(redeemed) => redeemed,
            Err(refusal) => {
                if let Some(held_back) = broker.refusals().admit(&caller) {
                    tracing::warn!(target: "audit", %caller, %refusal, held_back, "challenge key refused");
                }
                return self.challenge(&caller, &refusal.to_string());
            }
        };
        let receipt = redeemed.receipt();
        let outcome = broker
            .token(TokenRequest {
                caller,
                evidence: Evidence::KeyFile(redeemed),
                selector: asked.selector,
                resource: asked.resource,
                dialect: Dialect::Arc,
            })
            .await;
        // Spent only after a success: after a failure clients repeat the request with the same key.
        if outcome.is_ok() {
            self.challenges.spend(receipt);
        }
        Style::OAuth.token(outcome, clock)
    }

    fn challenge(&self, caller: &Caller, description: &str) -> Answer {
        let path = match self.challenges.issue(caller) {
            Ok(path) => path,
            Err(error) => {
                // Whoever asks causes it, as often as they like.
                if let Some(held_back) = self.faults.admit() {
                    tracing::error!(%error, held_back, "no challenge");
                }
                let description = "The agent cannot write a key file: see its log";
                return Style::OAuth.fault(Fault::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "temporarily_unavailable",
                    description,
                ));
            }
        };
        self.metrics.challenges.count();
        let body = Error {
            error: "unauthorized_client".to_owned(),
            error_description: description.to_owned(),
            error_codes: vec![401],
        };
        let mut answer = json(StatusCode::UNAUTHORIZED, serde_json::to_vec(&body).unwrap_or_default().into());
        // The key directory refused every path that is not plain ASCII.
        if let Ok(challenge) = HeaderValue::from_str(&format!("Basic realm={path}")) {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        answer
    }
}

fn version(version: Option<&str>) -> Result<(), Fault> {
    if version.is_some_and(|version| ARC_VERSIONS.contains(&version)) {
        return Ok(());
    }
    // The words after 'Supported are' are parsed by Microsoft's own scripts.
    Err(Fault::bad(format!("The api-version not specified. Supported are {}", ARC_VERSIONS.join(" "))))
}
