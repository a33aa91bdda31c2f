//! Cloud Shell: a form post, for the person's own account; there is no other identity to choose.

use std::io;

use crate::{
    azure_ml::nested,
    environment_of,
    query::{tidy, wanted},
    server::{Behavior, Options, Recorded, Reply, Server},
};

const PATH: &str = "/oauth2/token";

/// A Cloud Shell's token endpoint.
pub struct CloudShellEndpoint {
    server: Server,
}

impl CloudShellEndpoint {
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

    /// `MSI_ENDPOINT` alone.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("MSI_ENDPOINT", format!("{}{PATH}", self.server.url()))]
    }

    /// The same as a value.
    pub fn environment<E: FromIterator<(String, String)>>(&self) -> E {
        environment_of(self.variables())
    }
}

fn answer(options: &Options, request: &Recorded, behavior: &Behavior) -> Reply {
    if tidy(&request.path) != PATH {
        return nested(404, "NotFound", "there is nothing at this path");
    }
    let pairs = match request.method.as_str() {
        "POST" => request.form(),
        // No client sends it, people with curl do.
        "GET" => request.query.clone(),
        _ => return nested(405, "MethodNotAllowed", "POST is the method"),
    };
    if !request.has_metadata() {
        return nested(400, "bad_request", "Required metadata header not specified");
    }
    let asks_for = |name: &str| pairs.iter().any(|(key, _)| key == name);
    if ["client_id", "object_id", "msi_res_id", "mi_res_id"].into_iter().any(asks_for) {
        return nested(400, "bad_request", "there is no identity to choose in Cloud Shell");
    }
    match wanted(&options.identities, &pairs) {
        Err(wrong) => nested(400, wrong.error, &wrong.reason),
        Ok((resource, identity)) => {
            let mut behavior = behavior.clone();
            behavior.omit.extend(["client_id", "object_id", "msi_res_id"]);
            match options.issuer.answer(identity, &resource, options.clock.now(), &behavior) {
                Ok(body) => Reply::json(200, &body),
                Err(error) => Reply::text(500, &error.to_string()),
            }
        }
    }
}
