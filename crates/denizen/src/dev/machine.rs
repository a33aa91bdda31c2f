//! This machine: enrolled over the wire as any machine is, with a join token, and its agent.

use std::path::Path;

use denizen_agent::{
    Agent, AgentConfig, ArcConfig, Clock, Listeners, Outbound,
    enrol::{self, ConnectOptions},
    facts,
    identity_file::{IdentityFile, StateDirectory},
    keydir,
};
use denizen_keys::{SecretString, random};
use denizen_server::{app::access::SystemReason, http::PublicNames, run::Server};
use denizen_wire::{
    identity::{APP_SERVICE_PATH, ARC_KEY_DIRECTORY, AZCMAGENT_MARKER, TOKEN_PATH},
    node::MachineName,
};

use super::{
    ports::{AgentAddrs, room_for_connections},
    tenant::DevTenant,
};
use crate::{
    data::DataDir,
    exit::{self, Failure},
};

/// A join token made for ourselves is used at once.
const JOIN_TOKEN_LIFETIME: i64 = 300;
/// What a development machine may do in the development vault.
const ROLE: &str = "Key Vault Secrets Officer";

/// This machine and its running agent.
pub(crate) struct Machine {
    pub(crate) identity: IdentityFile,
    pub(crate) arc: Option<ArcUrls>,
    /// Which endpoint programs are pointed at, and why.
    pub(crate) why: String,
    pub(crate) imds_host: String,
    pub(crate) app_service: (String, SecretString),
    agent: Agent,
}

/// The Arc endpoint's two URLs.
#[derive(Clone)]
pub(crate) struct ArcUrls {
    pub(crate) identity_endpoint: String,
    pub(crate) imds_endpoint: String,
}

impl Machine {
    pub(crate) async fn start(
        server: &Server,
        dev_tenant: &DevTenant,
        data: &DataDir,
        names: &PublicNames,
        group: Option<&str>,
        listeners: Listeners,
        addrs: &AgentAddrs,
    ) -> Result<Self, Failure> {
        let identity = identity(server, dev_tenant, data, names).await?;
        let set_up = server.authorize(dev_tenant.tenant, SystemReason::SetUp);
        server
            .rbac
            .assign(&set_up, identity.enrolled.principal_id, ROLE, &dev_tenant.vault)
            .await
            .map_err(Failure::while_(exit::DATA, "this machine's role"))?;

        let marker = Path::new(AZCMAGENT_MARKER);
        let refusal = keydir::usable(Path::new(ARC_KEY_DIRECTORY), marker, group).err();
        let why = match &refusal {
            None => format!("Arc: the key directory {ARC_KEY_DIRECTORY} can be used"),
            Some(refusal) => format!("App Service, because Arc cannot be offered: {refusal}"),
        };
        let app_service_header = random::token(32);
        let config = AgentConfig {
            state_dir: data.agent_state(),
            arc: refusal
                .is_none()
                .then(|| ArcConfig { key_dir: ARC_KEY_DIRECTORY.into(), group: group.map(str::to_owned) }),
            app_service_header: Some(app_service_header.clone()),
            imds_group: group.map(str::to_owned),
            clock: Clock::system(),
            outbound: outbound(data),
            marker: marker.to_owned(),
            connections: room_for_connections()?.agent,
        };
        let agent = Agent::start(config, listeners).await.map_err(Failure::while_(exit::UNAVAILABLE, "the agent"))?;
        let local = format!("http://localhost:{}", addrs.local_port);
        let arc = refusal
            .is_none()
            .then(|| ArcUrls { identity_endpoint: format!("{local}{TOKEN_PATH}"), imds_endpoint: local.clone() });
        Ok(Self {
            identity,
            arc,
            why,
            imds_host: format!("http://{}", addrs.imds),
            app_service: (format!("{local}{APP_SERVICE_PATH}"), app_service_header),
            agent,
        })
    }

    pub(crate) async fn stop(self) {
        self.agent.shutdown().await;
    }
}

/// The identity this machine has, or gets now.
async fn identity(
    server: &Server,
    dev_tenant: &DevTenant,
    data: &DataDir,
    names: &PublicNames,
) -> Result<IdentityFile, Failure> {
    let state = data.agent_state();
    let fault = Failure::while_(exit::DATA, "this machine's identity");
    // Held only while it is read: the agent takes it next.
    let held = StateDirectory::open(&state).map_err(&fault)?;
    if let Some(mut known) = held.identity().map_err(&fault)? {
        if server.store.snapshot().principal(dev_tenant.tenant, known.enrolled.principal_id).is_none() {
            let text = "is enrolled in a database that is gone; remove the whole data directory and start again";
            return Err(Failure::new(exit::DATA, format!("the agent in {} {text}", state.display())));
        }
        // The port may be another one than at the last start.
        let endpoint = format!("{}/{}/oauth2/v2.0/token", names.authority, dev_tenant.tenant);
        if known.enrolled.token_endpoint != endpoint {
            known.enrolled.token_endpoint = endpoint;
            known.server.clone_from(&names.authority);
            held.keep_identity(&known).map_err(&fault)?;
        }
        return Ok(known);
    }
    drop(held);
    let set_up = server.authorize(dev_tenant.tenant, SystemReason::SetUp);
    let name = machine_name()?;
    let join_token = server
        .machines
        .create_join_token(&set_up, &dev_tenant.resource_group, Some(name.as_str()), JOIN_TOKEN_LIFETIME)
        .await
        .map_err(Failure::while_(exit::DATA, "a join token for this machine"))?;
    enrol::connect(ConnectOptions {
        server: names.authority.clone(),
        token_authority: None,
        outbound: outbound(data),
        join_token,
        machine_name: name,
        state_dir: state,
        clock: Clock::system(),
    })
    .await
    .map_err(Failure::while_(exit::UNAVAILABLE, "this machine's enrolment"))
}

/// The server is on this machine: no proxy, and no certificates but its own.
fn outbound(data: &DataDir) -> Outbound {
    Outbound { ca_file: Some(data.ca_file()), proxy: None }
}

/// The host's name, less what a machine's name cannot have.
fn machine_name() -> Result<MachineName, Failure> {
    let host = facts::gather(Path::new("/")).fqdn;
    let name = MachineName::sanitized(&host).map_or_else(|| "machine".parse(), Ok);
    name.map_err(Failure::while_(exit::SOFTWARE, "this machine's name"))
}
