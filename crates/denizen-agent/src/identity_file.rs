//! The agent's state: the node key, its certificate, and what enrolment gave.
//!
//! | file | what |
//! |---|---|
//! | `node.key` | the private key, PKCS #8 |
//! | `node.crt` | its self-signed certificate, PEM |
//! | `identity.json` | [`IdentityFile`] |
//! | `lock` | held by the agent that uses the directory |
//!
//! The directory is 0700, the files 0600, each written whole or not at all. Touches the file system only.
//! Tests: `identity_file/tests.rs`, and with those of enrolment.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use denizen_keys::{KeyError, Signer, secret::json_fault, x509::Certificate};
use denizen_wire::node::{Enrolled, MachineFacts};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::directory::{self, Directory, DirectoryError};

#[cfg(test)]
mod tests;

const KEY: &str = "node.key";
const CERTIFICATE: &str = "node.crt";
const IDENTITY: &str = "identity.json";
const LOCK: &str = "lock";
/// How often the lock is tried, and how long is waited in between.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// No file of ours is larger.
const MAX_FILE: u64 = 64 * 1024;

/// What enrolment gave, as it is kept. Members that this version does not know are kept when the file is rewritten.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityFile {
    /// The file's version. A higher one than [`IdentityFile::VERSION`] cannot be read by this agent; members that are
    /// only added do not raise it.
    #[serde(default = "first_version")]
    pub version: u32,
    /// The control plane, where the machine is enrolled: `https://host:port`.
    pub server: String,
    /// The token authority's origin, where it is not the control plane's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_authority: Option<String>,
    /// The machine's name.
    pub machine_name: String,
    /// Its identity, and where to ask for tokens.
    pub enrolled: Enrolled,
    /// What it said of itself.
    pub machine: MachineFacts,
    /// What another version of the agent wrote beside these.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl IdentityFile {
    /// The version that is written.
    pub const VERSION: u32 = 1;

    /// Where the token endpoint must be.
    pub fn token_authority(&self) -> &str {
        self.token_authority.as_deref().unwrap_or(&self.server)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        // First: another version may have given the other members another shape.
        let Version { version } = serde_json::from_slice(bytes).map_err(|e| json_fault(&e))?;
        if version > Self::VERSION {
            return Err(format!(
                "it has version {version}, of a later agent: this one reads version {}",
                Self::VERSION
            ));
        }
        serde_json::from_slice(bytes).map_err(|e| json_fault(&e))
    }
}

#[derive(Deserialize)]
struct Version {
    #[serde(default = "first_version")]
    version: u32,
}

/// Files without a version are of the first one.
fn first_version() -> u32 {
    1
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Nothing is enrolled there.
    #[error("this machine is not enrolled (no {IDENTITY} in {}): run `denizen-agent connect`", .0.display())]
    NotEnrolled(PathBuf),
    /// Another agent runs on it.
    #[error("another agent is using {}: stop it first", .0.display())]
    InUse(PathBuf),
    /// A file does not hold what it should.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In what way.
        reason: String,
    },
    /// The key could not be made, read or written out.
    #[error("the node key: {0}")]
    Key(#[from] KeyError),
    /// The directory, or the system.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// The open state directory. Held for as long as the agent runs: its lock goes with it.
#[derive(Debug)]
pub struct StateDirectory {
    directory: Directory,
    _lock: std::fs::File,
}

/// Takes the lock. A process that has just ended may have left it for a moment to a child that it was about to start, so
/// it is tried again.
#[expect(clippy::disallowed_methods, reason = "the agent has nothing else to do before it has its state")]
fn take(lock: &File) -> Result<bool, Errno> {
    for _ in 0..LOCK_TRIES {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            // Some network file systems have no locks.
            Err(other) => return Err(other),
        }
    }
    Ok(false)
}

impl StateDirectory {
    /// Opens and locks `path`, making it when it is missing, and removes what a killed process left half-written. Nobody
    /// else may hold it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let settled = directory::settled(path).map_err(|source| DirectoryError::Io {
            doing: "resolve",
            path: path.to_owned(),
            source,
        })?;
        let directory = Directory::open_or_create(&settled, 0o700)?;
        rustix::fs::fchmod(&directory, rustix::fs::Mode::RWXU).map_err(|errno| DirectoryError::Io {
            doing: "close to others",
            path: settled.clone(),
            source: errno.into(),
        })?;
        let lock = match directory.create(LOCK, 0o600) {
            Ok(file) => file,
            Err(not_made) => match directory.open_file(LOCK) {
                Ok(file) => file,
                // A full or a read-only disk: that there is no file yet is not what is wrong.
                Err(error) if error.is_missing() => return Err(not_made.into()),
                Err(error) => return Err(error.into()),
            },
        };
        let taken = take(&lock).map_err(|errno| DirectoryError::Io {
            doing: "lock",
            path: settled.join(LOCK),
            source: errno.into(),
        })?;
        if !taken {
            return Err(StateError::InUse(settled));
        }
        directory.remove_temporaries();
        Ok(Self { directory, _lock: lock })
    }

    /// What enrolment gave, without taking the lock: for a look beside a running agent.
    pub fn peek(path: &Path) -> Result<IdentityFile, StateError> {
        let settled = directory::settled(path).map_err(|source| DirectoryError::Io {
            doing: "resolve",
            path: path.to_owned(),
            source,
        })?;
        let bytes = match Directory::open(&settled).and_then(|directory| directory.read(IDENTITY, MAX_FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Err(StateError::NotEnrolled(settled)),
            Err(error) => return Err(error.into()),
        };
        IdentityFile::parse(&bytes).map_err(|reason| StateError::Damaged { path: settled.join(IDENTITY), reason })
    }

    /// What enrolment gave, if this machine is enrolled.
    pub fn identity(&self) -> Result<Option<IdentityFile>, StateError> {
        let Some(bytes) = self.read(IDENTITY)? else { return Ok(None) };
        IdentityFile::parse(&bytes).map(Some).map_err(|reason| self.damaged(IDENTITY, &reason))
    }

    /// Reads what enrolment gave; not being enrolled is an error.
    pub fn enrolled(&self) -> Result<IdentityFile, StateError> {
        self.identity()?.ok_or_else(|| StateError::NotEnrolled(self.directory.path().to_owned()))
    }

    /// Keeps what enrolment gave.
    pub fn keep_identity(&self, identity: &IdentityFile) -> Result<(), StateError> {
        let json = serde_json::to_vec_pretty(identity).map_err(|e| self.damaged(IDENTITY, &json_fault(&e)))?;
        Ok(self.directory.replace(IDENTITY, &json, 0o600)?)
    }

    /// The node key, if one was made.
    pub fn key(&self) -> Result<Option<Signer>, StateError> {
        let Some(bytes) = self.read(KEY)? else { return Ok(None) };
        let der = bytes.to_vec().into();
        Signer::from_pkcs8(&der).map(Some).map_err(|e| self.damaged(KEY, &e.to_string()))
    }

    /// Keeps the node key.
    pub fn keep_key(&self, key: &Signer) -> Result<(), StateError> {
        Ok(self.directory.replace(KEY, key.to_pkcs8()?.expose(), 0o600)?)
    }

    /// The node key's certificate, if there is one; it must be this key's.
    pub fn certificate(&self, key: &Signer) -> Result<Option<Certificate>, StateError> {
        let Some(bytes) = self.read(CERTIFICATE)? else { return Ok(None) };
        let certificate = std::str::from_utf8(&bytes)
            .map_err(|e| e.to_string())
            .and_then(|pem| Certificate::from_pem(pem).map_err(|e| e.to_string()))
            .map_err(|reason| self.damaged(CERTIFICATE, &reason))?;
        let public = certificate.public_key().map_err(|e| self.damaged(CERTIFICATE, &e.to_string()))?;
        if key.public().rsa() != Some(&public) {
            return Err(self.damaged(CERTIFICATE, "it is of another key than node.key"));
        }
        Ok(Some(certificate))
    }

    /// Keeps the certificate.
    pub fn keep_certificate(&self, certificate: &Certificate) -> Result<(), StateError> {
        Ok(self.directory.replace(CERTIFICATE, certificate.pem().as_bytes(), 0o600)?)
    }

    /// A file that should be there and is not.
    pub fn missing(&self, name: &str) -> StateError {
        self.damaged(name, "it is missing: enrol again with a new join token, in an empty state directory")
    }

    fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
        match self.directory.read(name, MAX_FILE) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn damaged(&self, name: &str, reason: &str) -> StateError {
        StateError::Damaged { path: self.directory.path().join(name), reason: reason.to_owned() }
    }
}
