//! A `denizen-agent run` of the bench's own, and the Arc exchange that a program has with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use http::{Response, StatusCode, header};
use hyper::body::Bytes;

use crate::{
    child::Child,
    dev::{self, Dev},
    http::{self as client, Connection, Origin},
    load::{Program, Session},
};

/// What the agent prints before the URL of its Arc endpoint.
const ARC: &str = "arc ";
/// Audiences that the token service knows without being told.
pub(crate) const RESOURCES: [&str; 5] = [
    "https://vault.azure.net",
    "https://management.azure.com",
    "https://graph.microsoft.com",
    "https://storage.azure.com",
    "https://database.windows.net",
];

/// A running agent.
pub(crate) struct Agent {
    /// The process, to be measured.
    pub(crate) child: Child,
    /// Its Arc endpoint.
    pub(crate) origin: Origin,
    /// Where it writes keys.
    pub(crate) key_dir: PathBuf,
}

impl Agent {
    /// Starts one as the machine that `dev` enrolled; `name` keeps several apart. Returns as soon as it listens.
    pub(crate) async fn start(dev: &Dev, name: &str) -> Result<Self> {
        let state = dev.copy_of_agent_state(&format!("{name}-state"))?;
        let key_dir = dev.directory().join(format!("{name}-tokens"));
        let ca_file = dev.ca_file();
        let group = group()?.1;
        let arguments = [
            "run",
            "--state-dir",
            dev::text(&state)?,
            "--listen",
            "127.0.0.1:0",
            "--imds-listen",
            "127.0.0.1:0",
            "--key-dir",
            dev::text(&key_dir)?,
            "--group",
            &group,
            "--ca-file",
            dev::text(&ca_file)?,
        ];
        let mut child = Child::start(&dev::beside_us("denizen-agent")?, &arguments, false)?;
        let url = child.says(ARC).await?;
        child.ignore_output();
        Ok(Self { child, origin: Origin::of(&url, None)?, key_dir })
    }

    /// Key files that are there now.
    pub(crate) fn keys_left(&self) -> Result<usize> {
        Ok(std::fs::read_dir(&self.key_dir).with_context(|| format!("reading {}", self.key_dir.display()))?.count())
    }
}

/// The group that keys are handed to: our own, so that we can read them; with its name.
pub(crate) fn group() -> Result<(u32, String)> {
    let gid = nix::unistd::getegid();
    let group = nix::unistd::Group::from_gid(gid)?.with_context(|| format!("group {gid} has no name"))?;
    Ok((gid.as_raw(), group.name))
}

/// Programs that have the whole Arc exchange: ask, be challenged, read the key, ask again.
#[derive(Clone)]
pub(crate) struct Exchanges {
    /// Whom they ask.
    pub(crate) origin: Origin,
    /// What for, in turn.
    pub(crate) resources: &'static [&'static str],
}

/// One of them.
pub(crate) struct Caller {
    connection: Connection,
    paths: Vec<String>,
    next: usize,
}

impl Program for Exchanges {
    type Session = Caller;

    async fn open(&self) -> Result<Caller> {
        let path = |resource: &&str| {
            let resource: String = form_urlencoded::byte_serialize(resource.as_bytes()).collect();
            format!("/metadata/identity/oauth2/token?api-version=2020-06-01&resource={resource}")
        };
        let paths = self.resources.iter().map(path).collect();
        Ok(Caller { connection: self.origin.connect().await?, paths, next: 0 })
    }
}

impl Session for Caller {
    async fn exchange(&mut self) -> Result<()> {
        let challenge = self.ask(None).await?;
        let key = std::fs::read_to_string(key_file(&challenge)?).context("reading the challenge's key")?;
        let token = self.ask(Some(&key)).await?;
        ensure!(token.status().is_success(), "no token: {}", client::excerpt(&token));
        self.next = (self.next + 1) % self.paths.len().max(1);
        Ok(())
    }
}

impl Caller {
    /// One request, with the key when there is one.
    pub(crate) async fn ask(&mut self, key: Option<&str>) -> Result<Response<Bytes>> {
        let path = self.paths.get(self.next).context("nothing to ask for")?;
        let request = match key {
            None => client::get(path, &[("metadata", "true")])?,
            Some(key) => client::get(path, &[("metadata", "true"), ("authorization", &format!("Basic {key}"))])?,
        };
        self.connection.send(request).await
    }
}

/// The file a challenge names.
pub(crate) fn key_file(challenge: &Response<Bytes>) -> Result<&Path> {
    let text = challenge.headers().get(header::WWW_AUTHENTICATE).and_then(|v| v.to_str().ok());
    ensure!(challenge.status() == StatusCode::UNAUTHORIZED, "no challenge: {}", client::excerpt(challenge));
    let path = text.and_then(|text| text.strip_prefix("Basic realm=")).context("a challenge that names no file")?;
    Ok(Path::new(path))
}
