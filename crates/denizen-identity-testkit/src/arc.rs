//! Azure Arc: the agent names a file that only its friends can read, and wants its content back.
//!
//! The key files are real ones. By default they are in a directory of this endpoint's own; a client whose directory is
//! written into it (every one of Microsoft's) is tested by starting with that directory instead.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use denizen_wire::identity::{ARC_VERSIONS, TOKEN_PATH};
use rustix::fs::{CWD, FileType, Mode};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    environment_of,
    imds::{metadata_refusal, refused, token},
    query::{version, wanted},
    random_guid, random_hex,
    server::{Behavior, Options, Recorded, Reply, Server, lock},
};

/// How the agent departs from the truth. The default does not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ArcQuirks {
    /// What the 401's body is.
    pub body: ChallengeBody,
    /// How the 401 names the file.
    pub realm: Realm,
    /// What is at the place named.
    pub key: KeyFile,
    /// `Retry-After` on the 401, seconds.
    pub retry_after: Option<u32>,
    /// A token without a challenge.
    pub direct: bool,
    /// Every identity selector is ignored and none is echoed, as agents before 2026 do.
    pub ignores_selector: bool,
    /// The echo names another identity than the token's.
    pub echoes_another: bool,
    /// Every answer with a key is refused with another challenge.
    pub rejects_key: bool,
}

/// The body of the 401.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChallengeBody {
    /// What the real agent sends.
    #[default]
    Json,
    /// The same without a content type.
    JsonUntyped,
    /// Nothing.
    Empty,
    /// A sentence.
    Text,
}

/// How the 401 names the key file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Realm {
    /// `Basic realm=/dir/x.key`.
    #[default]
    Plain,
    /// `Basic realm="/dir/x.key"`.
    Quoted,
    /// `basic realm=/dir/x.key`.
    LowerCase,
    /// `/dir/x.key`.
    Bare,
    /// `Basic realm=/dir/x.key, charset="UTF-8"`.
    ExtraParameter,
    /// `Basic realm=/dir/../dir/x.key`.
    Roundabout,
    /// The file is in a directory inside the right one.
    Subdirectory,
    /// The file is in another directory, and one of the same name in the right one: a client that looks at the name
    /// alone finds that.
    Elsewhere,
    /// Two headers, of which the first names a file that is not there.
    Twice,
    /// No header.
    Absent,
    /// This text.
    Text(String),
}

/// What the place named holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyFile {
    /// The key.
    #[default]
    Plain,
    /// The key and a newline.
    Newline,
    /// A key of so many bytes.
    Size(usize),
    /// Nothing in the file.
    Empty,
    /// Bytes that are no text.
    Binary,
    /// A link to a file in the same directory.
    LinkInside,
    /// A link to a file in another directory.
    LinkOutside,
    /// A pipe that nobody writes to.
    Fifo,
    /// A directory.
    Directory,
    /// A socket.
    Socket,
    /// A second name of a file that is elsewhere.
    HardLink,
    /// The key, in a file of this user (only root can give files away).
    OwnedBy(u32),
    /// The key, in a file whose name ends otherwise.
    Extension(&'static str),
    /// No file.
    Missing,
}

/// An agent.
pub struct ArcEndpoint {
    server: Server,
    agent: Arc<Agent>,
}

struct Agent {
    options: Options,
    directory: PathBuf,
    /// Where files go that must not be in `directory`; removed with the agent.
    outside: TempDir,
    quirks: Mutex<ArcQuirks>,
    /// Keys given out and not yet spent.
    keys: Mutex<HashMap<String, PathBuf>>,
}

impl ArcEndpoint {
    /// Starts an agent with a key directory of its own: [`Self::key_directory`].
    ///
    /// # Errors
    /// The port or the directory cannot be had.
    pub async fn start(options: Options) -> io::Result<Self> {
        Self::launch(options, None).await
    }

    /// Starts an agent that puts its keys into `directory`, which is made if it is not there.
    ///
    /// # Errors
    /// The port or the directory cannot be had.
    pub async fn start_in(options: Options, directory: &Path) -> io::Result<Self> {
        Self::launch(options, Some(directory)).await
    }

    async fn launch(options: Options, directory: Option<&Path>) -> io::Result<Self> {
        let outside = tempfile::tempdir()?;
        let directory = directory.map_or_else(|| outside.path().join("tokens"), Path::to_owned);
        fs::create_dir_all(&directory)?;
        let address = options.address;
        let agent = Arc::new(Agent { options, directory, outside, quirks: Mutex::default(), keys: Mutex::default() });
        let answering = Arc::clone(&agent);
        let server = Server::start(address, None, move |request, behavior| answering.answer(request, behavior)).await?;
        Ok(Self { server, agent })
    }

    /// Its listener.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The token URL.
    pub fn token_url(&self) -> String {
        format!("{}{TOKEN_PATH}", self.server.url())
    }

    /// Where its keys are.
    pub fn key_directory(&self) -> &Path {
        &self.agent.directory
    }

    /// A directory that is not the keys', for what a test wants stolen.
    pub fn outside(&self) -> &Path {
        self.agent.outside.path()
    }

    /// Changes how it departs from the truth.
    pub fn set_quirks(&self, change: impl FnOnce(&mut ArcQuirks)) {
        change(&mut lock(&self.agent.quirks));
    }

    /// `IDENTITY_ENDPOINT` and `IMDS_ENDPOINT`.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![("IDENTITY_ENDPOINT", self.token_url()), ("IMDS_ENDPOINT", self.server.url())]
    }

    /// The same as a value.
    pub fn environment<E: FromIterator<(String, String)>>(&self) -> E {
        environment_of(self.variables())
    }
}

impl Drop for Agent {
    /// The directory may be another's: no key of ours stays in it.
    fn drop(&mut self) {
        for path in lock(&self.keys).values() {
            self.remove(path);
        }
    }
}

impl Agent {
    fn answer(&self, request: &Recorded, behavior: &Behavior) -> Reply {
        if let Some(refusal) = metadata_refusal(request) {
            return refusal;
        }
        let quirks = lock(&self.quirks).clone();
        if let Err(wrong) = version(request, ARC_VERSIONS) {
            return refused(400, &wrong);
        }
        if !quirks.direct && (quirks.rejects_key || !self.spent(request)) {
            return self.challenge(&quirks).unwrap_or_else(|error| Reply::text(500, &error.to_string()));
        }
        let mut behavior = behavior.clone();
        let mut pairs = request.query.clone();
        if quirks.ignores_selector {
            pairs.retain(|(key, _)| key == "resource");
            behavior.omit.extend(["client_id", "object_id", "msi_res_id"]);
        }
        // Arc knows this spelling on other platforms only, and ignores it here.
        pairs.retain(|(key, _)| key != "mi_res_id");
        if quirks.echoes_another {
            for name in ["client_id", "object_id", "msi_res_id"] {
                behavior.replace.insert(name.to_owned(), json!("50000000-0000-4000-8000-000000000009"));
            }
        }
        token(&self.options, wanted(&self.options.identities, &pairs), &behavior)
    }

    /// Whether the request brings a key that was given out. It is good once.
    fn spent(&self, request: &Recorded) -> bool {
        let Some(key) = request.header("authorization").and_then(|value| value.strip_prefix("Basic ")) else {
            return false;
        };
        match lock(&self.keys).remove(key) {
            None => false,
            Some(path) => {
                self.remove(&path);
                true
            }
        }
    }

    fn challenge(&self, quirks: &ArcQuirks) -> io::Result<Reply> {
        let path = self.place(quirks)?;
        let reply = match quirks.body {
            ChallengeBody::Json => Reply::json(401, &missing_authorization()),
            ChallengeBody::JsonUntyped => {
                Reply { body: missing_authorization().to_string().into(), ..Reply::empty(401) }
            }
            ChallengeBody::Empty => Reply::empty(401),
            ChallengeBody::Text => Reply::text(401, "Missing Basic Authorization header"),
        };
        let shown = path.display();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let directory = self.directory.display();
        let leaf = self.directory.file_name().unwrap_or_default().to_string_lossy();
        let plain = format!("Basic realm={shown}");
        let realms = match &quirks.realm {
            Realm::Plain | Realm::Subdirectory | Realm::Elsewhere => vec![plain],
            Realm::Quoted => vec![format!("Basic realm=\"{shown}\"")],
            Realm::LowerCase => vec![format!("basic realm={shown}")],
            Realm::Bare => vec![shown.to_string()],
            Realm::ExtraParameter => vec![format!("{plain}, charset=\"UTF-8\"")],
            Realm::Roundabout => vec![format!("Basic realm={directory}/../{leaf}/{name}")],
            Realm::Twice => vec![format!("Basic realm={directory}/absent.key"), plain],
            Realm::Absent => vec![],
            Realm::Text(text) => vec![text.clone()],
        };
        let reply = realms.iter().fold(reply, |reply, realm| reply.with("Www-Authenticate", realm));
        Ok(match quirks.retry_after {
            Some(seconds) => reply.with("Retry-After", &seconds.to_string()),
            None => reply,
        })
    }

    /// Makes the key file, before anybody hears of it, and says where it is.
    fn place(&self, quirks: &ArcQuirks) -> io::Result<PathBuf> {
        let directory = if quirks.realm == Realm::Elsewhere {
            self.outside.path().join("elsewhere")
        } else if quirks.realm == Realm::Subdirectory {
            self.directory.join("inner")
        } else {
            self.directory.clone()
        };
        fs::create_dir_all(&directory)?;
        let name = random_guid()?;
        let extension = if let KeyFile::Extension(extension) = quirks.key { extension } else { "key" };
        let path = directory.join(format!("{name}.{extension}"));
        let key = if let KeyFile::Size(size) = quirks.key {
            random_hex::<16>()?.chars().cycle().take(size).collect()
        } else {
            random_hex::<32>()?
        };
        match &quirks.key {
            KeyFile::Plain | KeyFile::Size(_) | KeyFile::Extension(_) => write(&path, key.as_bytes())?,
            KeyFile::Newline => write(&path, format!("{key}\n").as_bytes())?,
            KeyFile::Empty => write(&path, b"")?,
            KeyFile::Binary => write(&path, &[0xff, 0x00, 0xfe, 0x0a])?,
            KeyFile::OwnedBy(user) => {
                write(&path, key.as_bytes())?;
                std::os::unix::fs::chown(&path, Some(*user), None)?;
            }
            KeyFile::LinkInside => {
                let target = directory.join(format!("{name}-target.key"));
                write(&target, key.as_bytes())?;
                symlink(target, &path)?;
            }
            KeyFile::LinkOutside => symlink(self.elsewhere(&name, &key)?, &path)?,
            KeyFile::HardLink => fs::hard_link(self.elsewhere(&name, &key)?, &path)?,
            KeyFile::Fifo => rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?,
            KeyFile::Directory => fs::create_dir(&path)?,
            KeyFile::Socket => drop(std::os::unix::net::UnixListener::bind(&path)?),
            KeyFile::Missing => {}
        }
        if quirks.realm == Realm::Elsewhere {
            write(&self.directory.join(path.file_name().unwrap_or_default()), key.as_bytes())?;
        }
        lock(&self.keys).insert(key, path.clone());
        Ok(path)
    }

    /// Removes what was put at a place, whatever it is. What is gone already needs no removing.
    fn remove(&self, path: &Path) {
        drop(fs::remove_file(path).or_else(|_| fs::remove_dir(path)));
        drop(fs::remove_file(self.directory.join(path.file_name().unwrap_or_default())));
    }

    fn elsewhere(&self, name: &str, key: &str) -> io::Result<PathBuf> {
        let target = self.outside.path().join(format!("{name}.key"));
        write(&target, key.as_bytes())?;
        Ok(target)
    }
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o440).open(path)?;
    io::Write::write_all(&mut file, content)
}

fn missing_authorization() -> serde_json::Value {
    json!({
        "error": "unauthorized_client",
        "error_description": "Missing Basic Authorization header",
        "error_codes": [401],
    })
}
