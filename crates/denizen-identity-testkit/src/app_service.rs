//! App Service, Functions and Container Apps: a secret in a header. Both versions, on one path:
//!
//! | version | variables | header | user-assigned | `expires_on` |
//! |---|---|---|---|---|
//! | 2019-08-01 | `IDENTITY_ENDPOINT`, `IDENTITY_HEADER` | `X-IDENTITY-HEADER` | `client_id`, `object_id`, `mi_res_id` | seconds |
//! | 2017-09-01 | `MSI_ENDPOINT`, `MSI_SECRET` | `secret` | `clientid` | a date |

use std::io;

use denizen_wire::identity::{APP_SERVICE_PATH, APP_SERVICE_VERSION};
use serde_json::json;

use crate::{
    environment_of,
    query::{tidy, wanted},
    random_guid, random_hex,
    server::{Behavior, ExpiresOn, Options, Recorded, Reply, Server},
};

const VERSION_2017: &str = "2017-09-01";

/// An App Service identity endpoint.
pub struct AppServiceEndpoint {
    server: Server,
    secret: String,
}

impl AppServiceEndpoint {
    /// Starts one, with a random secret.
    ///
    /// # Errors
    /// The port cannot be had.
    pub async fn start(options: Options) -> io::Result<Self> {
        let secret = random_hex::<16>()?;
        let (address, expected) = (options.address, secret.clone());
        let server =
            Server::start(address, None, move |request, behavior| answer(&options, &expected, request, behavior))
                .await?;
        Ok(Self { server, secret })
    }

    /// Its listener.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The token URL.
    pub fn token_url(&self) -> String {
        format!("{}{APP_SERVICE_PATH}", self.server.url())
    }

    /// The secret that the header must carry.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The variables of 2019-08-01.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("IDENTITY_ENDPOINT", self.token_url()), ("IDENTITY_HEADER", self.secret.clone())]
    }

    /// The variables of 2017-09-01. Today's clients take the pair for Azure ML.
    pub fn variables_2017(&self) -> Vec<(&'static str, String)> {
        vec![("MSI_ENDPOINT", self.token_url()), ("MSI_SECRET", self.secret.clone())]
    }

    /// [`Self::variables`] as a value.
    pub fn environment<E: FromIterator<(String, String)>>(&self) -> E {
        environment_of(self.variables())
    }

    /// [`Self::variables_2017`] as a value.
    pub fn environment_2017<E: FromIterator<(String, String)>>(&self) -> E {
        environment_of(self.variables_2017())
    }
}

fn answer(options: &Options, secret: &str, request: &Recorded, behavior: &Behavior) -> Reply {
    if tidy(&request.path) != APP_SERVICE_PATH {
        return refused(404, "there is nothing at this path");
    }
    if request.method != "GET" {
        return refused(405, "GET is the only method").with("Allow", "GET");
    }
    let header = match request.parameter("api-version") {
        Some(APP_SERVICE_VERSION) => "x-identity-header",
        Some(VERSION_2017) => "secret",
        version => {
            let message = format!(
                "The HTTP resource that matches the request URI '{}' does not support the API version '{}'.",
                request.path,
                version.unwrap_or_default()
            );
            return Reply::json(400, &json!({"error": {"code": "UnsupportedApiVersion", "message": message}}));
        }
    };
    if request.header(header) != Some(secret) {
        return refused(401, &format!("the header {header} does not carry the secret"));
    }
    match wanted(&options.identities, &request.query) {
        Err(wrong) => refused(400, &wrong.reason),
        Ok((resource, identity)) => {
            let mut behavior = behavior.clone();
            if header == "secret" {
                // The old version knew neither relative times nor the identity.
                behavior.omit.extend([
                    "client_id",
                    "object_id",
                    "msi_res_id",
                    "expires_in",
                    "ext_expires_in",
                    "not_before",
                ]);
                if behavior.expires_on == ExpiresOn::Seconds {
                    behavior.expires_on = ExpiresOn::LinuxDate;
                }
            } else {
                behavior.omit.extend(["object_id", "msi_res_id", "expires_in", "ext_expires_in", "not_before"]);
            }
            match options.issuer.answer(identity, &resource, options.clock.now(), &behavior) {
                Ok(body) => Reply::json(200, &body).with("Cache-Control", "no-store"),
                Err(error) => Reply::text(500, &error.to_string()),
            }
        }
    }
}

fn refused(status: u16, message: &str) -> Reply {
    let id = random_guid().unwrap_or_default();
    Reply::json(status, &json!({"statusCode": status, "message": message, "correlationId": id}))
}
