//! The managed identity of the machine, container or application this process runs in.
//!
//! | found | verdict |
//! |---|---|
//! | no endpoint in the environment, nobody answers, the probe fails | unavailable |
//! | 400 that says no system-assigned identity is there | unavailable |
//! | 400 for any other reason: busy, an unknown resource, a version it does not know | failed |
//! | 403 "unreachable", an answer that is not JSON: a proxy or a captive portal | unavailable |
//! | any refusal for a user-assigned identity, or an Arc agent that does not confirm it | failed |
//! | the key file cannot be read or is not the agent's, a 401 after it was sent | failed |
//! | 429 or 5xx after every retry, whatever its body | failed |
//! | 502 or 504 that is not JSON: a gateway with nobody behind it | unavailable |

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use denizen_wire::Clock;
use http::StatusCode;

use super::{BoxFuture, cached_credential, workload_identity::Exchange};
use crate::{
    cache::{Cached, Fetch},
    context::CredentialContext,
    endpoint::{IdentityEndpoint, TokenError, UserAssigned},
    entra::{TenantOptions, TokenEndpoint},
    error::{CredentialError, Failed, FailureKind, Unavailable},
    http::HttpError,
    retry::RetryPolicy,
    source::{NoSource, Source, imds},
    token::{Ask, Token},
};

const NAME: &str = "ManagedIdentityCredential";
/// How long a probe waits for anybody to answer at the IMDS address.
const PROBE: Duration = Duration::from_secs(1);

/// The managed identity this process runs with: through Arc, App Service, Azure ML, Cloud Shell, Service Fabric,
/// token exchange or IMDS, whichever the environment names ([`Source`]).
pub struct ManagedIdentityCredential(Cached<Backend>);

cached_credential!(ManagedIdentityCredential);

/// Makes a [`ManagedIdentityCredential`].
#[derive(Debug, Default)]
pub struct ManagedIdentityCredentialBuilder {
    identity: Option<UserAssigned>,
    source: Option<Source>,
    retry: Option<RetryPolicy>,
    probe: Option<Duration>,
    context: Option<CredentialContext>,
}

/// What a [`ManagedIdentityCredential`] may be told.
#[cfg(feature = "azure_core")]
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ManagedIdentityCredentialOptions {
    /// This user-assigned identity; the system-assigned one if none is given.
    pub user_assigned_id: Option<UserAssigned>,
    /// Where it takes environment, clock, HTTP client and token cache from; the process if none is given.
    pub context: Option<CredentialContext>,
}

impl ManagedIdentityCredential {
    /// The system-assigned identity, unless the options name another.
    #[cfg(feature = "azure_core")]
    pub fn new(options: Option<ManagedIdentityCredentialOptions>) -> azure_core::Result<Arc<Self>> {
        let options = options.unwrap_or_default();
        let builder = ManagedIdentityCredentialBuilder {
            identity: options.user_assigned_id,
            context: options.context,
            ..ManagedIdentityCredentialBuilder::default()
        };
        Ok(builder.build()?)
    }

    /// With options.
    pub fn builder() -> ManagedIdentityCredentialBuilder {
        ManagedIdentityCredentialBuilder::default()
    }

    /// The endpoint chosen, or why there is none.
    pub fn source(&self) -> Result<&Source, &NoSource> {
        match &*self.0.fetch {
            Backend::Endpoint(endpoint) => Ok(endpoint.managed.source()),
            Backend::Exchange { source, .. } => Ok(source),
            Backend::None(why) => Err(why),
        }
    }
}

impl ManagedIdentityCredentialBuilder {
    /// This user-assigned identity instead of the system-assigned one.
    #[must_use]
    pub fn user_assigned(mut self, identity: UserAssigned) -> Self {
        self.identity = Some(identity);
        self
    }

    /// This endpoint, whatever the environment says.
    #[must_use]
    pub fn source(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }

    /// When to ask again; by default as the endpoint's own guidance has it.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = Some(retry);
        self
    }

    /// How long a chain's probe of IMDS waits, one second by default.
    #[must_use]
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.probe = Some(timeout);
        self
    }

    /// Where it takes environment, clock, HTTP client and token cache from, instead of the process.
    #[must_use]
    pub fn context(mut self, context: CredentialContext) -> Self {
        self.context = Some(context);
        self
    }

    /// Decides the source. That there is no endpoint is said when a token is asked for; a source whose settings are wrong
    /// (client id, tenant, authority, proxy, certificates) fails here. `retry` and `probe_timeout` have no effect on a
    /// token exchange.
    pub fn build(self) -> Result<Arc<ManagedIdentityCredential>, CredentialError> {
        let context = self.context.unwrap_or_default();
        let source = match self.source {
            Some(source) => Ok((source, "the program names it")),
            None => Source::decide_with_reason(context.environment(), context.azcmagent),
        };
        match &source {
            Ok((source, reason)) => tracing::debug!(
                credential = NAME,
                source = source.name(),
                identity = ?self.identity,
                reason,
                "identity source chosen"
            ),
            Err(why) => tracing::debug!(credential = NAME, reason = %why, "no identity source"),
        }
        let source = source.map(|(source, _)| source);
        let clock = context.clock.clone();
        let key = source.as_ref().map_or_else(ToString::to_string, Source::cache_key);
        let mut label = format!("{NAME} {key} {:?}", self.identity);
        let backend = match source {
            Err(why) => Backend::None(why),
            Ok(Source::TokenExchange { tenant_id, client_id, token_file }) => {
                let client_id = match self.identity {
                    None => client_id.unwrap_or_default(),
                    Some(UserAssigned::ClientId(id)) => id,
                    Some(UserAssigned::ObjectId(_) | UserAssigned::ResourceId(_)) => {
                        return Err(Failed::configuration(NAME, "a token exchange names the identity by client id")
                            .with_remedy("give the identity's client id")
                            .into());
                    }
                };
                let options = TenantOptions::default();
                let endpoint = TokenEndpoint::new(NAME, &tenant_id, &client_id, &options, &context)?;
                // The authority and the client that was named here choose the identity as well.
                label = format!("{} {}", endpoint.identity(), token_file.display());
                let exchange = Box::new(Exchange { endpoint, file: token_file.clone() });
                Backend::Exchange {
                    exchange,
                    source: Source::TokenExchange { tenant_id, client_id: Some(client_id), token_file },
                }
            }
            Ok(source) => {
                let guided = matches!(source, Source::Arc { .. } | Source::Imds { .. });
                let default = if guided { RetryPolicy::imds } else { RetryPolicy::service };
                let managed = IdentityEndpoint::new(source, context.http(NAME)?)
                    .with_key_directory(&context.key_directory)
                    .with_clock(clock.clone());
                Backend::Endpoint(Box::new(Endpoint {
                    managed,
                    identity: self.identity,
                    retry: self.retry.unwrap_or_else(default),
                    clock: clock.clone(),
                    probe: self.probe.unwrap_or(PROBE),
                    answered: AtomicBool::new(false),
                }))
            }
        };
        Ok(Arc::new(ManagedIdentityCredential(Cached::new(backend, &label, &context.cache, clock))))
    }
}

enum Backend {
    Endpoint(Box<Endpoint>),
    Exchange { exchange: Box<Exchange>, source: Source },
    None(NoSource),
}

struct Endpoint {
    managed: IdentityEndpoint,
    identity: Option<UserAssigned>,
    retry: RetryPolicy,
    clock: Clock,
    probe: Duration,
    /// Somebody has answered there before: no probe is needed.
    answered: AtomicBool,
}

impl Fetch for Backend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(async move {
            match self {
                Self::Endpoint(endpoint) => endpoint.token(ask).await,
                Self::Exchange { exchange, .. } => exchange.token(ask).await,
                Self::None(why) => Err(Unavailable::new(NAME, why.to_string()).with_remedy(why.remedy()).into()),
            }
        })
    }
}

impl Endpoint {
    async fn token(&self, ask: &Ask) -> Result<Token, CredentialError> {
        let resource = ask.resource(NAME)?;
        if let Source::Imds { endpoint, named: false } = self.managed.source()
            && ask.in_chain
            && !self.answered.load(Ordering::Relaxed)
        {
            let probe = imds::probe(self.managed.http(), endpoint, self.probe).await;
            probe.map_err(|why| Unavailable::new(NAME, format!("IMDS: {why}")).with_remedy(self.nobody()))?;
        }
        let identity = self.identity.as_ref();
        let answer = self.retry.run(&self.clock, || self.managed.ask(resource, identity)).await;
        self.answered.fetch_or(answer.is_ok(), Ordering::Relaxed);
        let unreachable = answer.as_ref().is_ok_and(imds::is_unreachable);
        answer.and_then(|answer| self.managed.read(&answer, identity)).map_err(|e| self.verdict(e, unreachable))
    }

    /// What to do where no identity endpoint answers.
    fn nobody(&self) -> &'static str {
        match self.managed.source() {
            Source::Imds { named: false, .. } => {
                "run on a machine with a managed identity, or source the env file its agent wrote (IDENTITY_ENDPOINT, \
                 IMDS_ENDPOINT)"
            }
            Source::Imds { named: true, .. } => "start what AZURE_POD_IDENTITY_AUTHORITY_HOST names, or unset it",
            Source::Arc { .. }
            | Source::AppService { .. }
            | Source::AppService2017 { .. }
            | Source::AzureMl { .. }
            | Source::CloudShell { .. }
            | Source::ServiceFabric { .. }
            | Source::TokenExchange { .. } => {
                "start the agent; source the env file it wrote: the endpoint may have moved"
            }
        }
    }

    fn verdict(&self, error: TokenError, unreachable: bool) -> CredentialError {
        let source = self.managed.source().name();
        // What is no answer of an identity endpoint comes from something else.
        let stranger = matches!(&error, TokenError::MalformedAnswer(_))
            || matches!(&error, TokenError::Refused { status, reason }
                if *status != StatusCode::UNAUTHORIZED && serde_json::from_str::<serde_json::Value>(reason).is_err());
        let text = match stranger && !unreachable {
            true => format!("{source}: {error}; something else answers there"),
            false => format!("{source}: {error}"),
        };
        let failed =
            |kind, remedy: &str| CredentialError::from(Failed::new(NAME, kind, text.clone()).with_remedy(remedy));
        let unavailable =
            |remedy: &str| CredentialError::from(Unavailable::new(NAME, text.clone()).with_remedy(remedy));
        match error {
            TokenError::NoSource(why) => unavailable(why.remedy()),
            TokenError::Unsupported(_) => failed(FailureKind::Configuration, "see the decision table in the README"),
            TokenError::NotLocal(_) => failed(
                FailureKind::Configuration,
                "source the env file that this machine's agent wrote, or unset IDENTITY_ENDPOINT and IMDS_ENDPOINT",
            ),
            // The one server that is pinned: what answers there is somebody else, or the thumbprint is old.
            TokenError::Unavailable(HttpError::UntrustedCertificate { .. }) => {
                failed(FailureKind::Untrusted, "compare IDENTITY_SERVER_THUMBPRINT with the server's certificate")
            }
            TokenError::Unavailable(_) => unavailable(self.nobody()),
            TokenError::Challenge(why) => failed(FailureKind::Challenge, why.remedy()),
            TokenError::WrongIdentity => failed(
                FailureKind::WrongIdentity,
                "update the agent: an older one knows its own identity only; check AZURE_CLIENT_ID",
            ),
            TokenError::MalformedAnswer(_) => match self.identity {
                None => unavailable(self.nobody()),
                Some(_) => failed(FailureKind::MalformedAnswer, self.nobody()),
            },
            TokenError::Refused { .. } if unreachable => {
                unavailable("give this container a route to IMDS, or another identity")
            }
            TokenError::Refused { status, reason } => {
                let json: Option<serde_json::Value> = serde_json::from_str(&reason).ok();
                let code = json.as_ref().and_then(word).map(str::to_owned);
                let kind = FailureKind::Refused { status: status.as_u16(), code };
                match (status, &self.identity, json) {
                    (_, Some(_), _) => failed(kind, "assign this identity to the machine, or check its id"),
                    (StatusCode::BAD_REQUEST, None, Some(json)) if says_no_identity(&json) => {
                        unavailable("assign a system-assigned identity to the machine, or name a user-assigned one")
                    }
                    // An identity endpoint is there, and did not do what it was asked: going on would change identity.
                    (StatusCode::BAD_REQUEST, None, Some(_)) => {
                        failed(kind, "check the resource that is asked for, and try again later")
                    }
                    (StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT, None, None) => unavailable(self.nobody()),
                    (status, None, None) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                        failed(kind, "try again later; see the endpoint's own log")
                    }
                    (_, None, None) if status != StatusCode::UNAUTHORIZED => unavailable(self.nobody()),
                    (StatusCode::UNAUTHORIZED, None, _) if matches!(self.managed.source(), Source::Arc { .. }) => {
                        failed(kind, "restart the agent: it refuses the key that it wrote")
                    }
                    (StatusCode::UNAUTHORIZED, None, _) => {
                        failed(kind, "take the endpoint's secret anew: it changes when the endpoint restarts")
                    }
                    _ => failed(kind, "see the endpoint's own log, and try again later"),
                }
            }
        }
    }
}

/// Whether a refusal says that the machine has no identity of its own, in the words of the endpoints.
fn says_no_identity(json: &serde_json::Value) -> bool {
    const WORDS: [&str; 4] = [
        "identity not found",
        "no managed identity",
        "has not been assigned to this resource",
        "no user assigned or delegated managed identity found",
    ];
    ["/error_description", "/error/message", "/message"]
        .iter()
        .filter_map(|at| json.pointer(at)?.as_str())
        .any(|said| WORDS.iter().any(|words| said.to_ascii_lowercase().contains(words)))
}

/// `error`, as a word or as an object with a code.
fn word(json: &serde_json::Value) -> Option<&str> {
    let error = json.get("error")?;
    error.as_str().or_else(|| error.get("code")?.as_str())
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(endpoint) => write!(f, "{:?}, {:?}", endpoint.managed.source(), endpoint.identity),
            Self::Exchange { exchange, .. } => write!(f, "{exchange:?}"),
            Self::None(_) => f.write_str("no source"),
        }
    }
}
