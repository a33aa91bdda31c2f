//! Asking the identity endpoint for a token, once: no cache, no retries, no chain. Programs want
//! [`ManagedIdentityCredential`](crate::ManagedIdentityCredential); this is what it is made of, and what a command
//! line that prints one token uses.

use std::path::PathBuf;

use denizen_wire::{Clock, identity};
use http::{Response, StatusCode};
use hyper::body::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use crate::token::Token;
use crate::{
    challenge::ChallengeError,
    environment::Environment,
    http::{Client, HttpError},
    pin::Pin,
    source::{NoSource, Source, answer::Answer, app_service, arc, azure_ml, cloud_shell, imds, service_fabric},
};

/// A managed identity, through the endpoint that serves this process.
#[derive(Clone)]
pub struct IdentityEndpoint {
    source: Source,
    http: Client,
    /// Believing Service Fabric's one certificate.
    pinned: Option<Client>,
    key_directory: PathBuf,
    clock: Clock,
}

/// A user-assigned identity, by one of its three names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserAssigned {
    /// By client id.
    ClientId(String),
    /// By object id.
    ObjectId(String),
    /// By resource id.
    ResourceId(String),
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// This process has no endpoint to ask.
    #[error(transparent)]
    NoSource(#[from] NoSource),
    /// The endpoint there is cannot do what is asked.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The environment says that Azure Arc's agent is on another machine. It is asked on loopback only: to whoever answers
    /// its challenge is sent what a file holds.
    #[error("Azure Arc's agent is at http://localhost, 127.0.0.1 or [::1], and {0} is not there")]
    NotLocal(String),
    /// Nobody answers there.
    #[error(transparent)]
    Unavailable(#[from] HttpError),
    /// The challenge cannot be answered.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    /// It refused.
    #[error("the identity endpoint refused with {status}{}", words(reason))]
    Refused {
        /// The status.
        status: StatusCode,
        /// Its own words.
        reason: String,
    },
    /// It answered something else than a token.
    #[error("the identity endpoint's answer is not a token: {0}")]
    MalformedAnswer(String),
    /// It gave a token for another identity than the one asked for.
    #[error("the identity endpoint did not confirm that the token is for the identity asked for")]
    WrongIdentity,
}

/// What a refusal says, led by a colon: of JSON its words, of a page that it is one.
fn words(body: &str) -> String {
    let body = body.trim();
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let text = |name: &str| json.as_ref()?.pointer(name)?.as_str();
    let said = match &json {
        Some(_) => {
            let code = text("/error").or_else(|| text("/error/code"));
            let why = text("/error_description").or_else(|| text("/error/message")).or_else(|| text("/message"));
            [code, why].into_iter().flatten().collect::<Vec<_>>().join(": ")
        }
        None if body.starts_with('<') => "an HTML page".to_owned(),
        None => body.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    let said = if said.is_empty() { body } else { &said };
    if said.is_empty() { String::new() } else { format!(": {}", said.chars().take(300).collect::<String>()) }
}

impl IdentityEndpoint {
    /// Through the endpoint `environment` names.
    pub fn detect(environment: &Environment, http: Client) -> Result<Self, TokenError> {
        Ok(Self::new(Source::detect(environment)?, http))
    }

    /// Through this source.
    pub fn new(source: Source, http: Client) -> Self {
        let thumbprint = if let Source::ServiceFabric { thumbprint, .. } = &source { Some(thumbprint) } else { None };
        let pinned = thumbprint.and_then(|thumbprint| Pin::parse(thumbprint)).map(Client::pinned);
        let key_directory = identity::ARC_KEY_DIRECTORY.into();
        Self { source, http, pinned, key_directory, clock: Clock::system() }
    }

    /// With Arc key files in `directory` and no other: for tests, and agents in a sandbox. Whoever can write there
    /// can choose what this process sends to the endpoint.
    #[must_use]
    pub fn with_key_directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { key_directory: directory.into(), ..self }
    }

    /// With this clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Where it asks.
    pub fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn http(&self) -> &Client {
        &self.http
    }

    /// A token for `resource` (`https://vault.azure.net`), for the system-assigned identity or the one named.
    pub async fn token(&self, resource: &str, identity: Option<&UserAssigned>) -> Result<Token, TokenError> {
        let answer = self.ask(resource, identity).await?;
        self.read(&answer, identity)
    }

    /// One exchange with the endpoint.
    pub(crate) async fn ask(
        &self,
        resource: &str,
        identity: Option<&UserAssigned>,
    ) -> Result<Response<Bytes>, TokenError> {
        let query = Query { resource, identity };
        let http = &self.http;
        match &self.source {
            Source::Arc { endpoint } => arc::ask(http, endpoint, &query, &self.key_directory).await,
            Source::AppService { endpoint, header } => app_service::ask(http, endpoint, header, &query).await,
            Source::AppService2017 { endpoint, secret } => app_service::ask_2017(http, endpoint, secret, &query).await,
            Source::AzureMl { endpoint, secret, default_client_id } => {
                azure_ml::ask(http, endpoint, secret, default_client_id.as_deref(), &query).await
            }
            Source::CloudShell { endpoint } => cloud_shell::ask(http, endpoint, &query).await,
            Source::ServiceFabric { endpoint, header, .. } => match &self.pinned {
                Some(pinned) => service_fabric::ask(pinned, endpoint, header, &query).await,
                None => Err(TokenError::Unsupported("IDENTITY_SERVER_THUMBPRINT is not a SHA-1 thumbprint")),
            },
            Source::Imds { endpoint, .. } => imds::ask(http, endpoint, &query).await,
            Source::TokenExchange { .. } => Err(TokenError::Unsupported(
                "a token exchange is made with the token service, not with an endpoint here",
            )),
        }
    }

    /// What the exchange brought.
    pub(crate) fn read(&self, answer: &Response<Bytes>, identity: Option<&UserAssigned>) -> Result<Token, TokenError> {
        if answer.status() != StatusCode::OK {
            // Whole: it is read as JSON. What is shown of it is cut.
            let reason = String::from_utf8_lossy(answer.body()).into_owned();
            return Err(TokenError::Refused { status: answer.status(), reason });
        }
        let body = Answer::read(answer.body()).map_err(TokenError::MalformedAnswer)?;
        // An older agent ignores the selector and gives the system-assigned identity's token.
        if matches!(self.source, Source::Arc { .. }) && !identity.is_none_or(|asked| body.confirms(asked)) {
            return Err(TokenError::WrongIdentity);
        }
        body.token(self.clock.now()).map_err(TokenError::MalformedAnswer)
    }
}

/// What is asked for, before an endpoint's dialect spells it.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) resource: &'a str,
    pub(crate) identity: Option<&'a UserAssigned>,
}

/// What RFC 3986 calls unreserved may stand as it is: ids stay readable in a log.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Query<'_> {
    pub(crate) fn encode(text: &str) -> String {
        utf8_percent_encode(text, RESERVED).to_string()
    }

    /// The URL of a GET. `resource_id` is how this endpoint spells the parameter of a resource id.
    pub(crate) fn url(&self, endpoint: &str, version: &str, resource_id: &str) -> String {
        let url = format!("{endpoint}?api-version={version}&resource={}", Self::encode(self.resource));
        let (name, id) = match self.identity {
            None => return url,
            Some(UserAssigned::ClientId(id)) => ("client_id", id),
            Some(UserAssigned::ObjectId(id)) => ("object_id", id),
            Some(UserAssigned::ResourceId(id)) => (resource_id, id),
        };
        format!("{url}&{name}={}", Self::encode(id))
    }
}
