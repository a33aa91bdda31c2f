//! The agent's listeners: all on loopback, all bound before anything is written. Tests: `tests/it`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use denizen_wire::identity::AZCMAGENT_MARKER;
use tokio::net::TcpListener;

use super::Args;
use crate::{
    config::Fault,
    exit::{self, Failure},
    server::ports::{self, bind_pair, in_use},
};

/// IMDS's own address, which a test's network namespace can put on its loopback.
const IMDS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Bound listeners of the agent.
pub(crate) struct Ports {
    pub(crate) agent: denizen_agent::Listeners,
    pub(crate) agent_addrs: AgentAddrs,
}

/// Where the agent's endpoints are.
pub(crate) struct AgentAddrs {
    /// The port at `localhost` of the Arc and App Service endpoints.
    pub(crate) local_port: u16,
    pub(crate) imds: SocketAddr,
}

impl Ports {
    pub(crate) async fn bind(args: &Args) -> Result<Self, Failure> {
        let owner = match std::path::Path::new(AZCMAGENT_MARKER).exists() {
            true => " (the Azure Connected Machine agent is installed here and owns it)",
            false => "",
        };
        let bound = bind_pair("--agent-listen", args.agent_listen, owner).await;
        let (local, local_port) = bound.map_err(|fault| unavailable(&fault))?;
        let (imds, imds_addr) = bind_imds("--imds-listen", args.imds_listen).await?;
        Ok(Self {
            agent: denizen_agent::Listeners { local, imds: vec![imds] },
            agent_addrs: AgentAddrs { local_port, imds: imds_addr },
        })
    }
}

fn unavailable(fault: &Fault) -> Failure {
    Failure::new(exit::UNAVAILABLE, fault.to_string())
}

/// IMDS is known by its address, never as `localhost`: one listener.
async fn bind_imds(flag: &str, asked: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    if !(asked.ip().is_loopback() || asked.ip() == IMDS) {
        let text = format!(
            "{flag} {asked}: the development server listens on loopback only: 127.0.0.1, [::1], or 169.254.169.254 where \
             that is on the loopback interface"
        );
        return Err(Failure::new(exit::USAGE, text));
    }
    let listener = TcpListener::bind(asked).await.map_err(|e| {
        let host = asked.to_string();
        let host = host.rsplit_once(':').map_or(host.as_str(), |(host, _)| host);
        unavailable(&in_use(flag, &asked.to_string(), &e.to_string(), asked.port(), host))
    })?;
    let addr = listener.local_addr().map_err(Failure::while_(exit::OS_ERROR, flag))?;
    Ok((listener, addr))
}

/// How many connections this process may have, by who serves them.
pub(super) struct RoomForConnections {
    pub(super) agent: usize,
    pub(super) server: usize,
}

/// Divides what the process's descriptors allow: the agent needs far less than its part.
pub(super) fn room_for_connections() -> Result<RoomForConnections, Failure> {
    let all = ports::room_for_connections()?;
    Ok(RoomForConnections { agent: all / 4, server: all - all / 4 })
}
