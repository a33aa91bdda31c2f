//! Over raw sockets: what goes over the wire, byte for byte, with a scripted upstream and a clock that is moved.

use std::{net::SocketAddr, path::PathBuf};

use denizen_wire::{Clock, UnixTime};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    agent::Agent,
    config::{AgentConfig, ArcConfig},
    identity_file::{IdentityFile, StateDirectory},
    net::Listeners,
    upstream::{TokenAuthority, https::Outbound, scripted::Script},
};

mod app_service;
mod arc;
mod gate;
mod imds;
mod instance;

pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(super) const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";
pub(super) const OBJECT_ID: &str = "66666666-7777-8888-9999-000000000000";
pub(super) const MACHINE: &str = "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourceGroups/Dev/providers/Microsoft.HybridCompute/machines/web-1";
pub(super) const SECRET: &str = "an-app-service-secret";
pub(super) const TOKEN: &str = "/metadata/identity/oauth2/token";
pub(super) const ARC: &str = "/metadata/identity/oauth2/token?api-version=2020-06-01&resource=https://vault.azure.net";
pub(super) const IMDS: &str = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net";
pub(super) const APP_SERVICE: &str = "/msi/token?api-version=2019-08-01&resource=https://vault.azure.net";
pub(super) const METADATA: (&str, &str) = ("Metadata", "true");

/// An agent of its own for one test.
pub(super) struct Sandbox {
    pub(super) agent: Agent,
    pub(super) upstream: Script,
    pub(super) clock: Clock,
    pub(super) keys: PathBuf,
    _temp: TempDir,
}

pub(super) fn identity() -> IdentityFile {
    serde_json::from_value(serde_json::json!({
        "server": "https://localhost:8443",
        "machineName": "web-1",
        "enrolled": {
            "tenantId": "aaaaaaaa-0000-0000-0000-000000000000",
            "resourceId": MACHINE,
            "clientId": CLIENT_ID,
            "principalId": OBJECT_ID,
            "tokenEndpoint": "https://localhost:8443/t/oauth2/v2.0/token",
            "machineId": "bbbbbbbb-0000-0000-0000-000000000000",
            "location": "westeurope",
        },
        "machine": { "osType": "linux", "osName": "Debian GNU/Linux 12 (bookworm)", "osVersion": "6.1.0" },
    }))
    .unwrap()
}

impl Sandbox {
    pub(super) async fn new() -> Self {
        Self::with(Script::tokens(14_400), None).await
    }

    pub(super) async fn with(upstream: Script, group: Option<&str>) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let keys = temp.path().join("tokens");
        let config = AgentConfig {
            state_dir: temp.path().join("state"),
            arc: Some(ArcConfig { key_dir: keys.clone(), group: None }),
            app_service_header: Some(SECRET.into()),
            imds_group: group.map(str::to_owned),
            clock: clock.clone(),
            outbound: Outbound::default(),
            marker: temp.path().join("himds"),
            connections: 512,
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let listeners = Listeners::bind(any, &[any]).await.unwrap();
        let state = StateDirectory::open(&config.state_dir).unwrap();
        let agent =
            Agent::assemble(config, listeners, state, identity(), TokenAuthority::Scripted(upstream.clone())).unwrap();
        Self { agent, upstream, clock, keys, _temp: temp }
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.agent.local_addrs()[0]
    }

    pub(super) fn imds(&self) -> SocketAddr {
        self.agent.imds_addrs()[0]
    }

    /// One request to the local listener, on a connection of its own.
    pub(super) async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Reply {
        Wire::to(self.local()).await.get(target, headers).await
    }

    /// One request to the IMDS listener.
    pub(super) async fn get_imds(&self, target: &str, headers: &[(&str, &str)]) -> Reply {
        Wire::to(self.imds()).await.get(target, headers).await
    }

    /// The key files that are there.
    pub(super) fn key_files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.keys).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// A connection.
pub(super) struct Wire {
    stream: TcpStream,
    host: String,
}

impl Wire {
    pub(super) async fn to(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), host: address.to_string() }
    }

    pub(super) async fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = format!("GET {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request += &format!("Host: {}\r\n", self.host);
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        self.send(&format!("{request}\r\n")).await
    }

    /// Sends these bytes and reads one answer.
    pub(super) async fn send(&mut self, request: &str) -> Reply {
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            let mut chunk = [0; 4096];
            let n = self.stream.read(&mut chunk).await.unwrap();
            assert!(n > 0, "closed in the head: {}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&chunk[..n]);
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = bytes[end..].to_vec();
        while body.len() < length {
            let mut chunk = [0; 4096];
            let n = self.stream.read(&mut chunk).await.unwrap();
            assert!(n > 0, "closed in the body");
            body.extend_from_slice(&chunk[..n]);
        }
        Reply { head, body: String::from_utf8(body).unwrap() }
    }
}

/// An answer, raw.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// A header by its exact bytes.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.head.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = found.next();
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// A member that must be a string.
    pub(super) fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("{member} is no string in {}", self.body)).to_owned()
    }

    pub(super) fn error(&self) -> (u16, String, String) {
        (self.status(), self.text("error"), self.text("error_description"))
    }

    /// The path a challenge names.
    pub(super) fn challenged(&self) -> PathBuf {
        assert_eq!(self.status(), 401, "{self:?}");
        let challenge = self.header("Www-Authenticate").expect("the exact name");
        PathBuf::from(challenge.strip_prefix("Basic realm=").expect("the exact prefix"))
    }

    /// `Basic` and the content of the challenge's file.
    pub(super) fn key(&self) -> String {
        format!("Basic {}", std::fs::read_to_string(self.challenged()).unwrap())
    }
}
