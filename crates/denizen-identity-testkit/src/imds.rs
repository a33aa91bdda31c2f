//! IMDS: a header proves that a program asks and not a browser, and nothing more.

use std::io;

use denizen_wire::identity::TOKEN_PATH;
use serde_json::json;

use crate::{
    environment_of,
    query::{Wrong, tidy, version, wanted},
    server::{Behavior, Options, Recorded, Reply, Server},
};

/// The versions in which the identity category exists; clients send the first and, in Rust, the second.
const VERSIONS: &[&str] =
    &["2018-02-01", "2019-08-01", "2018-04-02", "2018-10-01", "2019-02-01", "2019-11-01", "2020-06-01", "2021-02-01"];

/// An instance metadata service, its identity part.
pub struct ImdsEndpoint {
    server: Server,
}

impl ImdsEndpoint {
    /// Starts one.
    ///
    /// # Errors
    /// The port cannot be had.
    pub async fn start(options: Options) -> io::Result<Self> {
        let address = options.address;
        let server = Server::start(address, None, move |request, behavior| answer(&options, request, behavior)).await?;
        Ok(Self { server })
    }

    /// Its listener.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The token URL.
    pub fn token_url(&self) -> String {
        format!("{}{TOKEN_PATH}", self.server.url())
    }

    /// What leads a client here instead of to 169.254.169.254.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", self.server.url())]
    }

    /// The same as a value.
    pub fn environment<E: FromIterator<(String, String)>>(&self) -> E {
        environment_of(self.variables())
    }
}

fn answer(options: &Options, request: &Recorded, behavior: &Behavior) -> Reply {
    if let Some(refusal) = metadata_refusal(request) {
        return refusal;
    }
    let outcome = version(request, VERSIONS).and_then(|()| wanted(&options.identities, &request.query));
    token(options, outcome, behavior)
}

/// What Arc and IMDS refuse before they look at the query: paths and methods that are none, programs that do not say
/// they are local, and proxies.
pub(crate) fn metadata_refusal(request: &Recorded) -> Option<Reply> {
    if tidy(&request.path) != TOKEN_PATH {
        // 404 and not 400 for the second version's paths too: .NET takes a 400 there for a yes.
        return Some(refused(404, &Wrong::new("not_found", "there is nothing at this path")));
    }
    if request.method != "GET" {
        return Some(refused(405, &Wrong::new("method_not_allowed", "GET is the only method")).with("Allow", "GET"));
    }
    if request.headers.contains_key("x-forwarded-for") {
        return Some(refused(400, &Wrong::new("invalid_request", "a forwarded request is not answered")));
    }
    // This is the availability probe's answer as well: it must come at once and hold no token.
    (!request.has_metadata())
        .then(|| refused(400, &Wrong::new("invalid_request", "Required metadata header not specified")))
}

/// The token, or the refusal, of Arc and IMDS.
pub(crate) fn token(
    options: &Options,
    outcome: Result<(String, &super::Identity), Wrong>,
    behavior: &Behavior,
) -> Reply {
    match outcome {
        Err(wrong) => refused(400, &wrong),
        Ok((resource, identity)) => match options.issuer.answer(identity, &resource, options.clock.now(), behavior) {
            Ok(body) => Reply::json(200, &body).with("Cache-Control", "no-store"),
            Err(error) => Reply::text(500, &error.to_string()),
        },
    }
}

/// A refusal in the words of Arc and IMDS.
pub(crate) fn refused(status: u16, wrong: &Wrong) -> Reply {
    Reply::json(status, &json!({"error": wrong.error, "error_description": wrong.reason}))
}
