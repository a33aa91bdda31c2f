//! Service Fabric: a secret in a header, over TLS with a certificate of the node's own, which the client knows by its
//! SHA-1 thumbprint and by nothing else.

use std::io;

use denizen_wire::identity::TOKEN_PATH;
use rustls::RootCertStore;
use serde_json::json;

use crate::{
    environment_of,
    query::{tidy, wanted},
    random_guid, random_hex,
    server::{Behavior, Options, Recorded, Reply, Server},
    tls::ServerCertificate,
};

/// The second is .NET's.
const VERSIONS: [&str; 2] = ["2019-07-01-preview", "2020-05-01"];

/// A node's identity endpoint.
pub struct ServiceFabricEndpoint {
    server: Server,
    secret: String,
    thumbprint: String,
    roots: RootCertStore,
}

impl ServiceFabricEndpoint {
    /// Starts one, with a random secret and a new certificate.
    ///
    /// # Errors
    /// The port cannot be had, or no certificate made.
    pub async fn start(options: Options) -> io::Result<Self> {
        let secret = random_hex::<16>()?;
        let certificate = ServerCertificate::generate()?;
        let (address, expected) = (options.address, secret.clone());
        let answer = move |request: &Recorded, behavior: &Behavior| answer(&options, &expected, request, behavior);
        let server = Server::start(address, Some(certificate.acceptor()?), answer).await?;
        Ok(Self { server, secret, thumbprint: certificate.thumbprint(), roots: certificate.roots() })
    }

    /// Its listener.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The secret that the header must carry.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// SHA-1 of its certificate, in upper-case hexadecimal digits.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Roots that prove it all the same. On a real node there are none.
    pub fn roots(&self) -> RootCertStore {
        self.roots.clone()
    }

    /// `IDENTITY_ENDPOINT`, `IDENTITY_HEADER` and `IDENTITY_SERVER_THUMBPRINT`.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("IDENTITY_ENDPOINT", format!("{}{TOKEN_PATH}", self.server.url())),
            ("IDENTITY_HEADER", self.secret.clone()),
            ("IDENTITY_SERVER_THUMBPRINT", self.thumbprint.clone()),
        ]
    }

    /// The same as a value.
    pub fn environment<E: FromIterator<(String, String)>>(&self) -> E {
        environment_of(self.variables())
    }
}

fn answer(options: &Options, secret: &str, request: &Recorded, behavior: &Behavior) -> Reply {
    if tidy(&request.path) != TOKEN_PATH || request.method != "GET" {
        return refused(404, "EndpointNotFound", "there is nothing at this path");
    }
    if !request.parameter("api-version").is_some_and(|version| VERSIONS.contains(&version)) {
        return refused(400, "UnsupportedApiVersion", &format!("the api-versions are {}", VERSIONS.join(" ")));
    }
    match request.header("secret") {
        None => return refused(400, "SecretHeaderNotFound", "the header 'secret' is missing"),
        Some(given) if given != secret => {
            return refused(404, "ManagedIdentityNotFound", "the secret names no application of this node");
        }
        Some(_) => {}
    }
    match wanted(&options.identities, &request.query) {
        Err(wrong) => refused(400, "ArgumentNullOrEmpty", &wrong.reason),
        Ok((resource, identity)) => {
            let mut behavior = behavior.clone();
            behavior.omit.extend([
                "client_id",
                "object_id",
                "msi_res_id",
                "expires_in",
                "ext_expires_in",
                "not_before",
            ]);
            match options.issuer.answer(identity, &resource, options.clock.now(), &behavior) {
                Ok(body) => Reply::json(200, &body),
                Err(error) => Reply::text(500, &error.to_string()),
            }
        }
    }
}

fn refused(status: u16, code: &str, message: &str) -> Reply {
    let id = random_guid().unwrap_or_default();
    Reply::json(status, &json!({"error": {"correlationId": id, "code": code, "message": message}}))
}
