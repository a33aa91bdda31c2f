//! IMDS: whoever can reach the address may ask. On a machine without it, asking takes as long as the network likes,
//! so a chain probes first.

use std::time::Duration;

use http::{Method, Response, StatusCode};
use hyper::body::Bytes;

use crate::{
    endpoint::{Query, TokenError},
    http::Client,
};

const VERSION: &str = "2018-02-01";

pub(crate) async fn ask(http: &Client, endpoint: &str, query: &Query<'_>) -> Result<Response<Bytes>, TokenError> {
    let url = query.url(endpoint, VERSION, "msi_res_id");
    Ok(http.send(Method::GET, &url, &[("Metadata", "true")], None).await?)
}

/// Whether anybody is there. The bare path without the `Metadata` header never yields a token; any answer will do but
/// the one a container host gives for a network it does not route.
pub(crate) async fn probe(http: &Client, endpoint: &str, timeout: Duration) -> Result<(), String> {
    let answer = http.send_within(timeout, Method::GET, endpoint, &[], None).await.map_err(|e| e.to_string())?;
    match is_unreachable(&answer) {
        true => Err("a proxy answered in its place: unreachable".into()),
        false => Ok(()),
    }
}

/// Docker Desktop answers so for the address it does not route.
pub(crate) fn is_unreachable(answer: &Response<Bytes>) -> bool {
    answer.status() == StatusCode::FORBIDDEN
        && String::from_utf8_lossy(answer.body()).to_ascii_lowercase().contains("unreachable")
}
