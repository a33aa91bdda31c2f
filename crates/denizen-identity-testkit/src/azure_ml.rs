//! Azure Machine Learning: App Service's old dialect with seconds instead of dates.
//!
//! What its errors look like is nowhere written down; they are given here in the form of its neighbours.

use std::io;

use serde_json::json;

use crate::{
    environment_of,
    query::{tidy, wanted},
    random_hex,
    server::{Behavior, Options, Recorded, Reply, Server},
};

const PATH: &str = "/msi/token";
const VERSION: &str = "2017-09-01";

/// An Azure ML compute's identity endpoint.
pub struct AzureMlEndpoint {
    server: Server,
    secret: String,
    default_client: Option<String>,
}

impl AzureMlEndpoint {
    /// Starts one, with a random secret.
    ///
    /// # Errors
    /// The port cannot be had.
    pub async fn start(options: Options) -> io::Result<Self> {
        let secret = random_hex::<16>()?;
        let default_client = options.identities.system.as_ref().map(|identity| identity.client_id.clone());
        let (address, expected) = (options.address, secret.clone());
        let server =
            Server::start(address, None, move |request, behavior| answer(&options, &expected, request, behavior))
                .await?;
        Ok(Self { server, secret, default_client })
    }

    /// Its listener.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The secret that the header must carry.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// `MSI_ENDPOINT`, `MSI_SECRET`, and `DEFAULT_IDENTITY_CLIENT_ID` where there is a system-assigned identity: most
    /// clients name it even when they mean "the default".
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables =
            vec![("MSI_ENDPOINT", format!("{}{PATH}", self.server.url())), ("MSI_SECRET", self.secret.clone())];
        variables.extend(self.default_client.clone().map(|id| ("DEFAULT_IDENTITY_CLIENT_ID", id)));
        variables
    }

    /// The same as a value.
    pub fn environment<E: FromIterator<(String, String)>>(&self) -> E {
        environment_of(self.variables())
    }
}

fn answer(options: &Options, secret: &str, request: &Recorded, behavior: &Behavior) -> Reply {
    if tidy(&request.path) != PATH {
        return nested(404, "NotFound", "there is nothing at this path");
    }
    if request.method != "GET" {
        return nested(405, "MethodNotAllowed", "GET is the only method").with("Allow", "GET");
    }
    if request.parameter("api-version") != Some(VERSION) {
        return nested(400, "UnsupportedApiVersion", "2017-09-01 is the only api-version");
    }
    if request.header("secret") != Some(secret) {
        return nested(401, "Unauthorized", "the header 'secret' does not carry the secret");
    }
    match wanted(&options.identities, &request.query) {
        Err(wrong) => nested(400, wrong.error, &wrong.reason),
        Ok((resource, identity)) => {
            let mut behavior = behavior.clone();
            behavior.omit.extend(["object_id", "msi_res_id", "expires_in", "ext_expires_in", "not_before"]);
            match options.issuer.answer(identity, &resource, options.clock.now(), &behavior) {
                Ok(body) => Reply::json(200, &body),
                Err(error) => Reply::text(500, &error.to_string()),
            }
        }
    }
}

/// `{"error":{"code","message"}}`: Azure ML's and Cloud Shell's.
pub(crate) fn nested(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"code": code, "message": message}}))
}
