//! IMDS's dialect: a token for whoever the kernel says is root, the agent's user or a member of its group.
//!
//! It has a listener of its own: were it on the Arc port, it would be a way around the challenge.

use denizen_wire::Clock;
use http::StatusCode;

use super::{
    answer::{Answer, Fault, Style, json},
    query::Query,
};
use crate::{
    broker::{Broker, Dialect, TokenRequest},
    caller::Caller,
    evidence::Evidence,
};

/// Every api-version of the real service, oldest first.
pub const VERSIONS: &[&str] = &[
    "2017-03-01",
    "2017-04-02",
    "2017-08-01",
    "2017-10-01",
    "2017-12-01",
    "2018-02-01",
    "2018-04-02",
    "2018-10-01",
    "2019-02-01",
    "2019-03-11",
    "2019-04-30",
    "2019-06-01",
    "2019-06-04",
    "2019-08-01",
    "2019-08-15",
    "2019-11-01",
    "2020-06-01",
    "2020-07-15",
    "2020-09-01",
    "2020-10-01",
    "2020-12-01",
    "2021-01-01",
    "2021-02-01",
    "2021-03-01",
    "2021-05-01",
    "2021-08-01",
    "2021-10-01",
    "2021-11-01",
    "2021-11-15",
    "2021-12-13",
    "2023-07-01",
    "2023-11-15",
    "2024-03-15",
    "2024-07-17",
    "2025-04-07",
];
/// Identity came with this one.
const FIRST_WITH_IDENTITY: &str = "2018-02-01";

/// Answers a token request.
pub async fn token(broker: &Broker, clock: &Clock, caller: Caller, query: &str) -> Answer {
    let asked = match Query::read(query, version) {
        Ok(asked) => asked,
        Err(fault) => return Style::OAuth.fault(fault),
    };
    let outcome = broker
        .token(TokenRequest {
            caller,
            evidence: Evidence::Peer,
            selector: asked.selector,
            resource: asked.resource,
            dialect: Dialect::Imds,
        })
        .await;
    Style::OAuth.token(outcome, clock)
}

/// Answers `/metadata/versions`.
pub fn versions() -> Answer {
    let body = serde_json::json!({ "apiVersions": VERSIONS });
    json(StatusCode::OK, body.to_string().into())
}

fn version(version: Option<&str>) -> Result<(), Fault> {
    // Dates of this form sort as text.
    if version.is_some_and(|version| version >= FIRST_WITH_IDENTITY && VERSIONS.contains(&version)) {
        return Ok(());
    }
    let supported: Vec<_> = VERSIONS.iter().copied().filter(|version| *version >= FIRST_WITH_IDENTITY).collect();
    Err(Fault::bad(format!("The api-version is missing or unknown. Supported are {}", supported.join(" "))))
}
