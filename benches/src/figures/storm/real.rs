//! Real agents, as many as this machine holds, that come back to a real server: `denizen server` with SQLite, stopped and
//! started again, and for each agent what `denizen-agent` asks for tokens with: its cache, its assertions, its HTTPS client.
//!
//! Each agent is a principal of its own with an assertion of its own; a few node keys are shared by all, since making one
//! takes longer than anything that is measured. Agents and server share this machine's cores, so what the agents take is
//! counted as well.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use denizen_agent::{
    cache::{RETRY_EMPTY_AFTER, TokenCache},
    custody::NodeKey,
    identity::Identity,
    metrics::Metrics,
    upstream::{
        TokenAuthority,
        assertion::AssertionCache,
        https::{HttpsClient, Outbound},
        oauth::OAuthClient,
    },
};
use denizen_keys::{RsaBits, Signer, envelope::RootKey, hash, x509};
use denizen_server::{
    app::access::SystemReason,
    domain::directory::KeyCredential,
    run::Server,
    store::{StoreError, Write},
};
use denizen_wire::{Clock, ResourceId, TenantId};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use super::simulation::Capacity;
use crate::{
    fleet::{self, Place},
    served::{Deployment, Served, word},
};

/// Node keys that all agents share.
const KEYS: usize = 16;
/// Agents that ask at a time while costs are measured.
const AT_ONCE: usize = 64;
/// Agents that costs are measured with.
const MEASURED: usize = 2000;
/// How often an agent tries before costs are measured.
const TRIES: usize = 5;
/// How long the server is away: each agent has failed more than once by then.
const AWAY: Duration = Duration::from_secs(4);
/// Whoever has no token after this long never gets one.
const PATIENCE: Duration = Duration::from_secs(180);
/// What is asked for: each time another, so that no agent has a token of it.
const RESOURCES: [&str; 4] = [
    "https://vault.azure.net",
    "https://management.azure.com",
    "https://storage.azure.com",
    "https://graph.microsoft.com",
];

/// What was measured.
pub(super) struct Measured {
    /// CPU seconds of the server for a connection.
    pub(super) handshake: f64,
    /// And for a token.
    pub(super) token: f64,
    /// The same as [`Self::handshake`] and [`Self::token`] on the cores that the agents left it: what it can do here.
    pub(super) here: Capacity,
    /// How long each agent waited after the server was back, seconds; sorted.
    pub(super) waits: Vec<f64>,
    /// Tries that failed after the server was back.
    pub(super) failed: u64,
    /// Connections that the server ended to make room.
    pub(super) ended: u64,
}

struct Agent {
    cache: TokenCache,
    identity: Identity,
    metrics: Arc<Metrics>,
}

/// Runs so many agents.
pub(super) async fn run(count: usize, places: usize) -> Result<Measured> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let deployment = Deployment::make(1, None).await?;
    // Makes what a server makes once.
    let server = deployment.start(0, false).await?;
    let url = server.control.url();
    server.stop().await?;
    let agents = Arc::new(make(&deployment, &url, count).await?);
    let server = deployment.start(0, false).await?;
    let [first, fresh, kept, storm] = RESOURCES;
    // Each signs its assertion, which real agents do each on its own machine.
    ask(&agents, count, first).await.context("the first tokens")?;
    let server = again(server, &deployment, Duration::ZERO).await?;
    let measured = MEASURED.min(count);
    let (cpu, began) = (server.child.cpu()?, Instant::now());
    ask(&agents, measured, fresh).await?;
    let (fresh, wall) = (server.child.cpu()? - cpu, began.elapsed().as_secs_f64());
    let cpu = server.child.cpu()?;
    ask(&agents, measured, kept).await?;
    let kept = server.child.cpu()? - cpu;
    let each = |seconds: f64| seconds / number(measured);
    let (whole, token) = (each(fresh), each(kept));
    ensure!(whole > token && token > 0.0, "a connection costs nothing: {whole} {token}");
    // With the agents on the same cores, the server has so much of one.
    let share = fresh / wall;
    let here = Capacity { cores: 1, handshake: (whole - token) / share, token: token / share, places };
    let (waits, failed, ended) = come_back(server, &deployment, &agents, storm).await?;
    Ok(Measured { handshake: whole - token, token, here, waits, failed, ended })
}

/// Stops the server and starts it again after a while.
async fn again(server: Served, deployment: &Deployment, away: Duration) -> Result<Served> {
    server.stop().await?;
    tokio::time::sleep(away).await;
    deployment.start(0, false).await
}

/// Has the first `count` agents ask once, some at a time.
async fn ask(agents: &Arc<Vec<Agent>>, count: usize, resource: &'static str) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut asking = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (agents, next) = (agents.clone(), next.clone());
        asking.spawn(async move {
            while let Some(agent) = agents.get(..count).and_then(|some| some.get(next.fetch_add(1, Ordering::Relaxed)))
            {
                // All are at one address here: a connection may be ended for another of the same holder.
                let mut tries = 1;
                while let Err(error) = agent.cache.get(&agent.identity, resource).await {
                    ensure!(tries < TRIES, "no token: {error}");
                    tries += 1;
                    tokio::time::sleep(Duration::from_secs(RETRY_EMPTY_AFTER.unsigned_abs())).await;
                }
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = asking.join_next().await {
        done??;
    }
    Ok(())
}

/// Everybody wants a token while there is no server, and goes on asking as soon as the agent would try again.
async fn come_back(
    server: Served,
    deployment: &Deployment,
    agents: &Arc<Vec<Agent>>,
    resource: &'static str,
) -> Result<(Vec<f64>, u64, u64)> {
    server.stop().await?;
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for at in 0..agents.len() {
        let agents = agents.clone();
        // All over a second, as programs that know nothing of each other.
        let first = Duration::from_secs_f64(number(at) / number(agents.len()));
        asking.spawn(async move {
            tokio::time::sleep(first).await;
            let agent = agents.get(at)?;
            while began.elapsed() < PATIENCE {
                if agent.cache.get(&agent.identity, resource).await.is_ok() {
                    return Some(began.elapsed());
                }
                tokio::time::sleep(Duration::from_secs(RETRY_EMPTY_AFTER.unsigned_abs())).await;
            }
            None
        });
    }
    tokio::time::sleep(AWAY).await;
    let server = deployment.start(0, false).await?;
    let returned = began.elapsed();
    let failed_before: u64 = agents.iter().map(|agent| agent.metrics.upstream_failures.total()).sum();
    let mut waits = Vec::new();
    while let Some(done) = asking.join_next().await {
        let at = done?.context("an agent never got its token")?;
        waits.push(at.saturating_sub(returned).as_secs_f64());
    }
    waits.sort_by(f64::total_cmp);
    let failed: u64 = agents.iter().map(|agent| agent.metrics.upstream_failures.total()).sum();
    let ended = server.evicted().await?;
    server.stop().await?;
    Ok((waits, failed - failed_before, ended))
}

/// Makes principals with keys, and the agents that have them.
async fn make(deployment: &Deployment, url: &str, count: usize) -> Result<Vec<Agent>> {
    let admin = deployment.admin()?;
    let tenant: TenantId = word(&admin, "tenant_id")?.parse()?;
    let subscription = word(&admin, "subscription_id")?;
    let group: ResourceId = format!("/subscriptions/{subscription}/resourceGroups/servers").parse()?;
    let now = Clock::system().now();
    let mut keys = Vec::new();
    for _ in 0..KEYS {
        let signer = Signer::generate_rsa(RsaBits::B2048)?;
        let certificate = x509::self_signed(&signer, "node", now.0 - 60, now.0 + 86_400)?;
        keys.push((signer, certificate));
    }
    let keys = &keys;
    let place = &Place { tenant, group, vault: None };
    let root_key = RootKey::load(&deployment.directory().join("root.key"))?;
    let server = Server::open_at_rest(&deployment.directory().join("data-0"), root_key, url, Clock::system()).await?;
    let authorization = server.authorize(tenant, SystemReason::SetUp);
    let mut identities: Vec<(Identity, usize)> = Vec::new();
    while identities.len() < count {
        let (first, last) = (identities.len(), count.min(identities.len() + 40));
        let made = server.store.write(&authorization, |tx| {
            Box::pin(async move {
                let mut made = Vec::new();
                for at in first..last {
                    let (mut principal, machine) = fleet::machine(place, u32::try_from(at).unwrap_or(0), now)?;
                    let which = at % KEYS;
                    let (signer, certificate) = keys.get(which).ok_or(StoreError::Aborted)?;
                    let public = signer.public().rsa().ok_or(StoreError::Aborted)?;
                    for credential in &mut principal.keys {
                        *credential = KeyCredential {
                            x5t: certificate.thumbprint_sha1(),
                            x5t_s256: certificate.thumbprint_sha256(),
                            n: hash::hex(public.n()),
                            e: hash::hex(public.e()),
                            ..credential.clone()
                        };
                    }
                    let (client_id, object_id) = (principal.client_id, principal.id);
                    made.push((Identity { client_id, object_id, resource_id: machine.id.clone() }, which));
                    tx.insert(&principal).await?;
                    tx.insert(&machine).await?;
                }
                Ok::<_, StoreError>(Write::commit("bench/fill", "/", made))
            })
        });
        identities.extend(made.await?);
    }
    let store = server.store.clone();
    drop(server);
    store.close().await;
    let outbound = Outbound { ca_file: Some(deployment.directory().join("ca.pem")), proxy: None };
    let endpoint = format!("{url}/{tenant}/oauth2/v2.0/token");
    let mut agents = Vec::with_capacity(count);
    for (identity, which) in identities {
        let (signer, certificate) = keys.get(which).context("no such key")?;
        let key = NodeKey::File(signer.clone());
        let assertions = AssertionCache::new(key, &certificate.thumbprint_sha256(), &endpoint, Clock::system());
        let client = OAuthClient::new(HttpsClient::new(url, &outbound)?, assertions)?;
        let metrics = Arc::new(Metrics::default());
        let authority = TokenAuthority::ClientAssertion(Box::new(client));
        agents.push(Agent { cache: TokenCache::new(authority, Clock::system(), metrics.clone()), identity, metrics });
    }
    Ok(agents)
}

#[expect(clippy::cast_precision_loss, reason = "some thousand agents")]
fn number(count: usize) -> f64 {
    count as f64
}
