//! A whole agent: state, upstream, endpoints and accept loops, put together.
//!
//! Everything it uses comes in by [`AgentConfig`] and [`Listeners`], so any number of agents run in one process.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use crate::{
    broker::Broker,
    cache::TokenCache,
    caller::owner::Owners,
    challenge::Challenges,
    config::AgentConfig,
    custody::NodeKey,
    endpoints::{
        Endpoints, ListenerKind, app_service::AppServiceEndpoint, arc::ArcEndpoint, instance::InstanceDocument,
    },
    evidence::HeaderSecret,
    identity::{Identities, Identity},
    identity_file::{IdentityFile, StateDirectory, StateError},
    keydir::{KeyDirectory, KeyDirectoryError},
    metrics::Metrics,
    net::{self, ListenerError, Listeners},
    policy::Policy,
    refusals::Refusals,
    server::{self, Connections},
    upstream::{
        TokenAuthority,
        assertion::AssertionCache,
        https::{HttpsClient, HttpsError},
        oauth::OAuthClient,
    },
};

/// How often expired challenges are removed and tokens renewed.
pub const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(15);
/// Every so many intervals the key directory is swept of files that belong to no challenge.
const SWEEP_EVERY: u64 = 20;

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its state: not enrolled, in use, damaged.
    #[error(transparent)]
    State(#[from] StateError),
    /// The Arc key directory.
    #[error(transparent)]
    KeyDirectory(#[from] KeyDirectoryError),
    /// A listener.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// The way upstream.
    #[error(transparent)]
    Upstream(#[from] HttpsError),
    /// The App Service secret is empty.
    #[error("the App Service secret is empty: anybody could send it")]
    EmptySecret,
}

/// A running agent.
pub struct Agent {
    identity: IdentityFile,
    local: Vec<SocketAddr>,
    imds: Vec<SocketAddr>,
    metrics: Arc<Metrics>,
    challenges: Option<Arc<Challenges>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Its lock keeps a second agent off the same state.
    _state: StateDirectory,
}

impl Agent {
    /// Starts an agent for an enrolled machine. When this returns, the listeners answer.
    pub async fn start(config: AgentConfig, listeners: Listeners) -> Result<Self, AgentError> {
        let state = StateDirectory::open(&config.state_dir)?;
        let identity = state.enrolled()?;
        let key = state.key()?.ok_or_else(|| state.missing("node.key"))?;
        let certificate = state.certificate(&key)?.ok_or_else(|| state.missing("node.crt"))?;
        let https = HttpsClient::new(identity.token_authority(), &config.outbound)?;
        let assertions = AssertionCache::new(
            NodeKey::File(key),
            &certificate.thumbprint_sha256(),
            &identity.enrolled.token_endpoint,
            config.clock.clone(),
        );
        let client = OAuthClient::new(https, assertions)?;
        Self::assemble(config, listeners, state, identity, TokenAuthority::ClientAssertion(Box::new(client)))
    }

    pub(crate) fn assemble(
        config: AgentConfig,
        listeners: Listeners,
        state: StateDirectory,
        identity: IdentityFile,
        authority: TokenAuthority,
    ) -> Result<Self, AgentError> {
        let AgentConfig { arc, app_service_header, imds_group, clock, marker, connections, .. } = config;
        let check_all = |listeners: &[_]| listeners.iter().map(net::check).collect::<Result<Vec<_>, _>>();
        let (local, imds) = (check_all(&listeners.local)?, check_all(&listeners.imds)?);
        let metrics = Arc::new(Metrics::default());
        let owners = Arc::new(Owners::system());
        let tokens = TokenCache::new(authority, clock.clone(), metrics.clone());
        let policy = Policy::Group { own_uid: rustix::process::geteuid().as_raw(), group: imds_group };
        let system_assigned = Identity {
            client_id: identity.enrolled.client_id,
            object_id: identity.enrolled.principal_id,
            resource_id: identity.enrolled.resource_id.clone(),
        };
        let challenges = match arc {
            Some(arc) => {
                let keys = KeyDirectory::open(&arc.key_dir, &marker, arc.group.as_deref())?;
                Some(Arc::new(Challenges::new(keys, owners.clone(), clock.clone())))
            }
            None => None,
        };
        let app_service = match app_service_header {
            Some(secret) => {
                let secret = HeaderSecret::new(secret).ok_or(AgentError::EmptySecret)?;
                Some(AppServiceEndpoint { secret })
            }
            None => None,
        };
        let refusals = Arc::new(Refusals::new(owners.clone()));
        let endpoints = Arc::new(Endpoints {
            broker: Broker::new(
                Identities::new(system_assigned),
                policy,
                tokens.clone(),
                &clock,
                refusals.clone(),
                metrics.clone(),
            ),
            arc: challenges.clone().map(|challenges| ArcEndpoint::new(challenges, metrics.clone())),
            app_service,
            instance: InstanceDocument::new(&identity),
            clock,
        });
        let connections = Arc::new(Connections::new(connections, owners, metrics.clone()));
        let (stop, stopping) = watch::channel(false);
        let serve = |listeners, kind| {
            let stop = stopped(stopping.clone());
            tokio::spawn(server::serve(listeners, kind, endpoints.clone(), connections.clone(), stop))
        };
        let tasks = vec![
            serve(listeners.local, ListenerKind::Local),
            serve(listeners.imds, ListenerKind::Imds),
            tokio::spawn(maintain(tokens, challenges.clone(), refusals, stopped(stopping))),
        ];
        Ok(Self { identity, local, imds, metrics, challenges, stop, tasks, _state: state })
    }

    /// The machine's identity.
    pub fn identity(&self) -> &IdentityFile {
        &self.identity
    }

    /// Where Arc, App Service and instance metadata answer.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local
    }

    /// Where IMDS answers.
    pub fn imds_addrs(&self) -> &[SocketAddr] {
        &self.imds
    }

    /// What it has counted so far.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Stops: takes no more connections, lets answers finish, removes its key files.
    pub async fn shutdown(self) {
        // The tasks hold the other ends for as long as they run.
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        if let Some(challenges) = self.challenges {
            challenges.close();
        }
    }
}

/// Ends when the agent stops, or is dropped.
async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Does what has to happen though nobody asks: expiry, renewal of what is in use, and the count of what was not logged.
async fn maintain(
    tokens: TokenCache,
    challenges: Option<Arc<Challenges>>,
    refusals: Arc<Refusals>,
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    let mut intervals: u64 = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(MAINTENANCE_INTERVAL) => {}
            () = stop.as_mut() => return,
        }
        intervals = intervals.wrapping_add(1);
        tokens.refresh_due();
        refusals.clean();
        if let Some(challenges) = &challenges {
            challenges.expire();
            if intervals.is_multiple_of(SWEEP_EVERY) {
                challenges.sweep();
            }
        }
    }
}
