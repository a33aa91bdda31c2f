//! A job of Azure Pipelines: who holds the job's access token is given a token of a service connection, which says
//! that the connection was used by that organisation's project, and which a token service federates with.
//!
//! | of the real service | here |
//! |---|---|
//! | `POST …/plans/{plan}/jobs/{job}/oidctoken?api-version=7.1&serviceConnectionId=…` | the same path |
//! | a wrong access token is led to a sign-in page, or refused when `X-TFS-FedAuthRedirect: Suppress` is sent | the same |
//! | issuer `https://vstoken.dev.azure.com/{organisation}`, subject `sc://{organisation}/{project}/{connection}` | the same |
//!
//! What it answers to an unknown connection is nowhere written down; here it is a 404 of the service's ordinary form.

use std::io;

use serde_json::json;

use crate::{
    authority::EXCHANGE_AUDIENCE,
    environment_of,
    issuer::Issuer,
    query::tidy,
    random_guid, random_hex,
    server::{Options, Recorded, Reply, Server},
};

const VERSION: &str = "7.1";
/// A token is good for ten minutes.
const LIFETIME: i64 = 600;

/// The endpoint that gives a job the tokens of its service connections.
pub struct PipelinesEndpoint {
    server: Server,
    job: Job,
}

#[derive(Clone)]
struct Job {
    path: String,
    access_token: String,
    connection: String,
    issuer: Issuer,
    subject: String,
}

impl PipelinesEndpoint {
    /// Starts one with a random job, whose project has one service connection. Of `options` it takes address and clock.
    ///
    /// # Errors
    /// The port cannot be had.
    pub async fn start(options: Options) -> io::Result<Self> {
        let [project, plan, job] = [random_guid()?, random_guid()?, random_guid()?];
        let job = Job {
            path: format!("/kit/{project}/_apis/distributedtask/hubs/build/plans/{plan}/jobs/{job}/oidctoken"),
            access_token: random_hex::<26>()?,
            connection: random_guid()?,
            issuer: Issuer::named(&format!("https://vstoken.dev.azure.com/{}", random_guid()?)),
            subject: "sc://kit/project/connection".to_owned(),
        };
        let (address, clock, known) = (options.address, options.clock, job.clone());
        let server = Server::start(address, None, move |request, _| known.answer(request, clock.now().0)).await?;
        Ok(Self { server, job })
    }

    /// Its listener.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The job's `$(System.AccessToken)`.
    pub fn access_token(&self) -> &str {
        &self.job.access_token
    }

    /// The id of the service connection.
    pub fn connection_id(&self) -> &str {
        &self.job.connection
    }

    /// Who signs its tokens, and [`subject`](Self::subject) for whom: what a federated credential names.
    pub fn issuer(&self) -> &Issuer {
        &self.job.issuer
    }

    /// The `sub` of its tokens.
    pub fn subject(&self) -> &str {
        &self.job.subject
    }

    /// `SYSTEM_OIDCREQUESTURI`.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("SYSTEM_OIDCREQUESTURI", format!("{}{}", self.server.url(), self.job.path))]
    }

    /// The same as a value.
    pub fn environment<E: FromIterator<(String, String)>>(&self) -> E {
        environment_of(self.variables())
    }
}

impl Job {
    fn answer(&self, request: &Recorded, now: i64) -> Reply {
        if request.header("authorization") != Some(format!("Bearer {}", self.access_token).as_str()) {
            return match request.header("x-tfs-fedauthredirect") {
                Some("Suppress") => Reply::empty(401),
                _ => Reply::empty(302).with("Location", "https://spsprodcus1.vssps.visualstudio.com/_signin"),
            };
        }
        if tidy(&request.path) != self.path {
            return refused(404, "the job is not there");
        }
        if request.method != "POST" {
            let method = &request.method;
            return refused(405, &format!("The requested resource does not support http method '{method}'."));
        }
        if request.parameter("api-version") != Some(VERSION) {
            return refused(400, "no, or another, api-version than 7.1");
        }
        if !request.parameter("serviceConnectionId").is_some_and(|id| id.eq_ignore_ascii_case(&self.connection)) {
            return refused(404, "no such service connection in this project, or this job may not use it");
        }
        let claims = json!({
            "iss": self.issuer.iss(), "sub": self.subject, "aud": EXCHANGE_AUDIENCE, "jti": random_guid().ok(),
            "iat": now, "nbf": now - 300, "exp": now + LIFETIME,
        });
        match self.issuer.sign(&claims) {
            Ok(token) => Reply::json(200, &json!({"oidcToken": token})),
            Err(error) => Reply::text(500, &error.to_string()),
        }
    }
}

/// As Azure DevOps writes its refusals.
fn refused(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({"count": 1, "value": {"Message": message}}))
}
