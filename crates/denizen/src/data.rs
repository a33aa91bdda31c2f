//! The data directory: one owner at a time, closed to everybody else, and the files written into it; of the development
//! server and of the one that a configuration describes.
//!
//! Touches the file system. Tests: `tests/it` (`refuse`, `server_config`).

use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use denizen_agent::files;
use denizen_identity::Environment;
use denizen_keys::{KeyError, envelope::RootKey};
use denizen_server::run::{database_in, root_key_in};
use denizen_wire::Causes;
use rustix::fs::{FlockOperation, OFlags, flock};

use crate::{
    config::StoreUrl,
    exit::{self, Failure},
};

const LOCK: &str = "lock";
const MANIFEST: &str = "dev.json";
/// No file of ours that is read again is larger, bytes.
pub(crate) const MAX_FILE: u64 = 1024 * 1024;

/// What a directory is named with, for the texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    /// The flag or the key.
    pub(crate) by: &'static str,
    /// Who uses such directories.
    pub(crate) who: &'static str,
}

/// The development server's.
pub(crate) const OF_DEV: Named = Named { by: "--data", who: "denizen dev" };
/// The server's, named by its configuration.
pub(crate) const OF_CONFIG: Named = Named { by: "data_dir", who: "denizen" };

/// The data directory, held.
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Opens a directory that is there already.
    pub(crate) fn existing(asked: Option<&Path>, environment: &Environment) -> Result<Self, Failure> {
        Self::open(Some(&existing_path(asked, environment)?), environment)
    }

    /// The directory of the development server.
    pub(crate) fn open(asked: Option<&Path>, environment: &Environment) -> Result<Self, Failure> {
        match asked {
            Some(path) => Self::open_at(path, OF_DEV),
            None => Self::open_at(&default_path(environment)?, OF_DEV),
        }
    }

    /// Makes the directory if need be, checks that it is ours alone, and takes its lock.
    pub(crate) fn open_at(path: &Path, named: Named) -> Result<Self, Failure> {
        let Named { by, .. } = named;
        let path = std::path::absolute(path).map_err(Failure::while_(exit::USAGE, by))?;
        let at = path.display().to_string();
        if path.is_file() {
            return Err(Failure::new(exit::CANNOT_CREATE, format!("{at} is a file; name a directory with {by}")));
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(Failure::while_(exit::CANNOT_CREATE, &format!("the data directory {at} cannot be made")))?;
        let meta = fs::symlink_metadata(&path).map_err(Failure::while_(exit::OS_ERROR, &at))?;
        if !meta.is_dir() {
            return Err(Failure::new(
                exit::NO_PERMISSION,
                format!("{at} is a link or a file; name a directory with {by}"),
            ));
        }
        let us = rustix::process::geteuid().as_raw();
        if meta.uid() != us {
            let text =
                format!("{at} belongs to user {}, not to {us}; name a directory of your own with {by}", meta.uid());
            return Err(Failure::new(exit::NO_PERMISSION, text));
        }
        if meta.mode() & 0o077 != 0 {
            // One that `mkdir` made is empty, and closing it takes nothing from anybody. /tmp is another matter.
            let empty = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
            if !empty && !path.join(LOCK).exists() {
                let text = format!(
                    "{at} is open to others, and has other files in it: it would have to be closed to them. Name an empty or \
                     a new directory with {by}"
                );
                return Err(Failure::new(exit::NO_PERMISSION, text));
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(Failure::while_(
                exit::NO_PERMISSION,
                &format!("{at} is open to others and cannot be closed"),
            ))?;
        }
        // A home behind a link is ordinary; below it nothing may be one.
        let path = path.canonicalize().map_err(Failure::while_(exit::OS_ERROR, &path.display().to_string()))?;
        let lock = lock(&path, named)?;
        remove_temporaries(&path);
        Ok(Self { path, lock })
    }

    /// Who holds the directory, and what that process says of itself.
    pub(crate) fn holder(asked: Option<&Path>, environment: &Environment) -> Result<(i32, serde_json::Value), Failure> {
        let path = match asked {
            Some(path) => path.to_owned(),
            None => default_path(environment)?,
        };
        let read = |name: &str| {
            let file = path.join(name);
            files::read_text(&file, MAX_FILE).map_err(Failure::while_(exit::DATA, &file.display().to_string()))
        };
        let pid =
            read(LOCK)?.trim().parse().map_err(Failure::while_(exit::DATA, "the holder of the data directory"))?;
        let manifest = serde_json::from_str(&read(MANIFEST)?).map_err(Failure::while_(exit::DATA, MANIFEST))?;
        Ok((pid, manifest))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.path.join("ca.pem")
    }

    pub(crate) fn ca_bundle_file(&self) -> PathBuf {
        self.path.join("ca-bundle.pem")
    }

    pub(crate) fn env_file(&self) -> PathBuf {
        self.path.join("env")
    }

    pub(crate) fn env_list_file(&self) -> PathBuf {
        self.path.join("env.list")
    }

    pub(crate) fn manifest_file(&self) -> PathBuf {
        self.path.join(MANIFEST)
    }

    pub(crate) fn agent_state(&self) -> PathBuf {
        self.path.join("agent")
    }

    /// The root key: made at the first start. Where there is a database, a new one would open nothing of it, so a
    /// missing one is said to be missing.
    pub(crate) fn root_key(&self) -> Result<RootKey, Failure> {
        root_key(&root_key_in(&self.path), database_in(&self.path).exists(), Sharing::Alone)
    }

    /// The manifest of the last run, if there was one.
    pub(crate) fn previous(&self) -> Result<Option<serde_json::Value>, Failure> {
        match files::read_whole(&self.manifest_file(), MAX_FILE) {
            // One that was cut short is as good as none: all it holds can be made anew.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Failure::new(exit::DATA, format!("{}: {e}", self.manifest_file().display()))),
        }
    }

    /// Lets go of the lock.
    pub(crate) fn close(self) {
        drop(self.lock);
    }
}

/// A root key, made where there is none and no database that another one would open.
pub(crate) fn root_key(file: &Path, has_database: bool, sharing: Sharing) -> Result<RootKey, Failure> {
    let key = if has_database { RootKey::load(file) } else { RootKey::load_or_create(file) };
    key.map_err(|error| no_root_key(file, &error, sharing))
}

/// Who has the root key of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// The one server that there is.
    Alone,
    /// Each of several.
    Shared,
}

impl Sharing {
    pub(crate) fn of(url: &StoreUrl) -> Self {
        if matches!(url, StoreUrl::Postgres(_)) { Self::Shared } else { Self::Alone }
    }
}

/// Why a root key cannot be used, and what would mend it.
pub(crate) fn no_root_key(file: &Path, error: &KeyError, sharing: Sharing) -> Failure {
    if !error.is_missing_file() {
        return Failure::new(exit::DATA, format!("the root key: {}", Causes(error)));
    }
    let fix = match sharing {
        Sharing::Alone => "nothing else opens the database: copy the one that you keep elsewhere there",
        Sharing::Shared => {
            "all servers over one database have the same: copy the root key file of the first server there"
        }
    };
    let text = format!("there is no root key at {}, and {fix}, for this user alone (mode 0600)", file.display());
    Failure::new(exit::CONFIG, text)
}

/// The path of a directory that is there already, which another process may hold.
pub(crate) fn existing_path(asked: Option<&Path>, environment: &Environment) -> Result<PathBuf, Failure> {
    let path = match asked {
        Some(path) => path.to_owned(),
        None => default_path(environment)?,
    };
    if !path.exists() {
        let text = format!("there is no data directory {}; name another --data", path.display());
        return Err(Failure::new(exit::DATA, text));
    }
    Ok(path)
}

fn default_path(environment: &Environment) -> Result<PathBuf, Failure> {
    let state = match (environment.get("XDG_STATE_HOME"), environment.get("HOME")) {
        (Some(state), _) if Path::new(state).is_absolute() => PathBuf::from(state),
        (_, Some(home)) => Path::new(home).join(".local/state"),
        _ => {
            return Err(Failure::new(
                exit::USAGE,
                "neither XDG_STATE_HOME nor HOME is set; name a directory with --data",
            ));
        }
    };
    Ok(state.join("denizen/dev"))
}

fn lock(path: &Path, Named { by, who }: Named) -> Result<File, Failure> {
    let at = path.join(LOCK);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // A pipe in its place must not hold us up, and a link must not have us write elsewhere.
        .custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed())
        .open(&at)
        .and_then(|file| files::regular(&file).map(|()| file))
        .and_then(|file| match file.metadata()?.nlink() {
            1 => Ok(file),
            _ => Err(std::io::Error::other("it has other names (hard links) too: remove it")),
        })
        .map_err(Failure::while_(exit::CANNOT_CREATE, &format!("{}", at.display())))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let _ = file.set_len(0);
            let _ = write!(file, "{}", std::process::id());
            Ok(file)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder).map(drop));
            Err(Failure::new(
                exit::TRY_AGAIN,
                format!(
                    "another {who} (process {}) is using {}; stop it, or name another directory with {by}",
                    holder.trim(),
                    path.display()
                ),
            ))
        }
        Err(e) => Err(Failure::new(exit::OS_ERROR, format!("{} cannot be locked: {e}", at.display()))),
    }
}

/// Removes what [`write`] leaves when it is killed. Nobody else writes here: the lock is held.
fn remove_temporaries(path: &Path) {
    let temporary = |name: &str| {
        let id = name.strip_prefix('.').and_then(|name| name.rsplit_once('.')).map(|(_, id)| id);
        id.is_some_and(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(temporary)) {
        if let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(%error, "{} stays behind", entry.path().display());
        }
    }
}

/// Writes a file that anyone may read, whole or not at all.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write(path, bytes, 0o644)
}

/// Writes a file that only we may read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write(path, bytes, 0o600)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let failed =
        |e: std::io::Error| Failure::new(exit::CANNOT_CREATE, format!("{} cannot be written: {e}", path.display()));
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("file");
    let temporary = path.with_file_name(format!(".{name}.{}", denizen_keys::random::uuid_v4().simple()));
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

/// Removes a file that an earlier run may have left.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(exit::CANNOT_CREATE, format!("{}: {e}", path.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
