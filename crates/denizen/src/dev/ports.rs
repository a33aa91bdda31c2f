//! The listeners: all on loopback, all bound before anything is written.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use denizen_serve::{BindError, LOCALHOST, bind_localhost};
use denizen_server::run;
use denizen_wire::identity::AZCMAGENT_MARKER;
use tokio::net::TcpListener;

use super::Args;
use crate::exit::{self, Failure};

/// IMDS's own address, which a test's network namespace can put on its loopback.
const IMDS: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Where a service listens whose URL says `localhost`: always on 127.0.0.1 and on [::1], at one port. Either address
/// may be written for the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Localhost {
    written: Option<IpAddr>,
    port: u16,
}

impl FromStr for Localhost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(port) = text.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| format!("'{port}' is not a port; write localhost:8443"))?;
            return Ok(Self { written: None, port });
        }
        let addr: SocketAddr =
            text.parse().map_err(|_| "write localhost:PORT, 127.0.0.1:PORT or [::1]:PORT".to_owned())?;
        if !LOCALHOST.contains(&addr.ip()) {
            return Err("the development server listens on loopback only: localhost, 127.0.0.1 or [::1]".to_owned());
        }
        Ok(Self { written: Some(addr.ip()), port: addr.port() })
    }
}

impl Localhost {
    fn host(self) -> String {
        match self.written {
            None => "localhost".to_owned(),
            Some(IpAddr::V4(ip)) => ip.to_string(),
            Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        }
    }
}

impl fmt::Display for Localhost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host(), self.port)
    }
}

/// Bound listeners.
pub(crate) struct Ports {
    pub(crate) server: run::Listeners,
    pub(crate) control_port: u16,
    pub(crate) vault_port: u16,
    pub(crate) metrics_port: u16,
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
        let (control, control_port) = bind_pair("--listen", args.listen).await?;
        let (vault, vault_port) = bind_pair("--vault-listen", args.vault_listen).await?;
        let (metrics, metrics_port) = bind_pair("--metrics-listen", args.metrics_listen).await?;
        let (local, local_port) = bind_pair("--agent-listen", args.agent_listen).await?;
        let (imds, imds_addr) = bind_imds("--imds-listen", args.imds_listen).await?;
        Ok(Self {
            server: run::Listeners { control, vault, metrics, admin: None },
            control_port,
            vault_port,
            metrics_port,
            agent: denizen_agent::Listeners { local, imds: vec![imds] },
            agent_addrs: AgentAddrs { local_port, imds: imds_addr },
        })
    }
}

/// The listeners, which take what comes by the loopback interface and nothing else.
async fn bind_pair(flag: &str, at: Localhost) -> Result<(Vec<TcpListener>, u16), Failure> {
    let bound = bind_localhost(at.port, at.written).await.map_err(|BindError { address, source: e }| {
        let owner = if std::path::Path::new(AZCMAGENT_MARKER).exists() && flag == "--agent-listen" {
            " (the Azure Connected Machine agent is installed here and owns it)"
        } else {
            ""
        };
        let e = if at.written == Some(address.ip()) { e.to_string() } else { format!("{address}: {e}") };
        in_use(flag, &at.to_string(), &format!("{e}{owner}"), at.port, &at.host())
    })?;
    for listener in &bound.listeners {
        denizen_agent::net::check(listener).map_err(Failure::while_(exit::UNAVAILABLE, flag))?;
    }
    Ok((bound.listeners, bound.port))
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
        in_use(flag, &asked.to_string(), &e.to_string(), asked.port(), host)
    })?;
    let addr = listener.local_addr().map_err(Failure::while_(exit::OS_ERROR, flag))?;
    Ok((listener, addr))
}

fn in_use(flag: &str, at: &str, why: &str, port: u16, host: &str) -> Failure {
    let hint = format!("stop what uses port {port}, or take a free one with {flag} {host}:0");
    Failure::new(exit::UNAVAILABLE, format!("{flag} {at}: {why}; {hint}"))
}

/// How many connections this process may have, by who serves them.
pub(super) struct RoomForConnections {
    pub(super) agent: usize,
    pub(super) server: usize,
}

/// Fewer connections than this are no server.
const LEAST_CONNECTIONS: usize = 128;

/// Divides what the process's descriptors allow: the agent needs far less than its part.
pub(super) fn room_for_connections() -> Result<RoomForConnections, Failure> {
    let all = denizen_serve::raise_descriptors();
    if all < LEAST_CONNECTIONS {
        let text = "this process may open too few files for a server: raise the limit to 320 or more (ulimit -n 1024)";
        return Err(Failure::new(exit::OS_ERROR, text));
    }
    Ok(RoomForConnections { agent: all / 4, server: all - all / 4 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_written_three_ways_and_no_other() {
        for (text, shown) in
            [("localhost:8443", "localhost:8443"), ("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:8443", "[::1]:8443")]
        {
            assert_eq!(text.parse::<Localhost>().unwrap().to_string(), shown);
        }
        for (text, rule) in [
            ("localhost", "PORT"),
            ("localhost:http", "not a port"),
            ("8443", "PORT"),
            ("0.0.0.0:1", "loopback"),
            ("[::]:1", "loopback"),
            // No URL of ours says it, and no certificate of ours carries it.
            ("127.0.0.2:1", "loopback"),
        ] {
            let refused = text.parse::<Localhost>().unwrap_err();
            assert!(refused.contains(rule), "{text}: {refused}");
        }
    }
}
