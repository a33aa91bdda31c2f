//! The listeners: all on loopback, all bound before anything is written.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use denizen_wire::identity::AZCMAGENT_MARKER;
use tokio::net::TcpListener;

use super::Args;
use crate::exit::{self, Failure};

/// IMDS's own address, which a test's network namespace can put on its loopback.
const IMDS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Bound listeners.
pub(crate) struct Ports {
    pub(crate) control: TcpListener,
    pub(crate) control_addr: SocketAddr,
    pub(crate) vault: TcpListener,
    pub(crate) vault_addr: SocketAddr,
    pub(crate) metrics: TcpListener,
    pub(crate) metrics_addr: SocketAddr,
    pub(crate) agent: denizen_agent::Listeners,
    pub(crate) agent_addrs: AgentAddrs,
}

/// Where the agent's endpoints are.
pub(crate) struct AgentAddrs {
    pub(crate) local: SocketAddr,
    pub(crate) imds: SocketAddr,
}

impl Ports {
    pub(crate) async fn bind(args: &Args) -> Result<Self, Failure> {
        let (control, control_addr) = bind("--listen", args.listen, false).await?;
        let (vault, vault_addr) = bind("--vault-listen", args.vault_listen, false).await?;
        let (metrics, metrics_addr) = bind("--metrics-listen", args.metrics_listen, false).await?;
        let (local, local_addr) = bind("--agent-listen", args.agent_listen, false).await?;
        let (imds, imds_addr) = bind("--imds-listen", args.imds_listen, true).await?;
        let mut locals = vec![local];
        // Clients say `localhost`, which is [::1] first on many systems.
        if local_addr.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST)
            && let Ok(v6) = TcpListener::bind(SocketAddr::from(([0u16, 0, 0, 0, 0, 0, 0, 1], local_addr.port()))).await
        {
            locals.push(v6);
        }
        Ok(Self {
            control,
            control_addr,
            vault,
            vault_addr,
            metrics,
            metrics_addr,
            agent: denizen_agent::Listeners { local: locals, imds: vec![imds] },
            agent_addrs: AgentAddrs { local: local_addr, imds: imds_addr },
        })
    }
}

async fn bind(flag: &str, asked: SocketAddr, imds: bool) -> Result<(TcpListener, SocketAddr), Failure> {
    if !(asked.ip().is_loopback() || imds && asked.ip() == IMDS) {
        let text = format!("{flag} {asked}: the development server listens on loopback only, 127.0.0.1 or [::1]");
        return Err(Failure::new(exit::USAGE, text));
    }
    let listener = TcpListener::bind(asked).await.map_err(|e| {
        let arc = if std::path::Path::new(AZCMAGENT_MARKER).exists() && flag == "--agent-listen" {
            " (the Azure Connected Machine agent is installed here and owns it)"
        } else {
            ""
        };
        let port = asked.port();
        Failure::new(
            exit::UNAVAILABLE,
            format!(
                "{flag} {asked}: {e}{arc}; stop what uses port {port}, or take a free one with {flag} {}:0",
                asked.ip()
            ),
        )
    })?;
    let addr = listener.local_addr().map_err(Failure::while_(exit::OS_ERROR, flag))?;
    Ok((listener, addr))
}
