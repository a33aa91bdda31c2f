//! The Unix socket by which this machine's administrator reaches a running server.
//!
//! It lies in the data directory, which nobody else can enter, and is its owner's alone. Only who holds the directory's
//! lock makes it. Touches the file system. Tests: `tests/it`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

use crate::{
    data::{DataDir, remove_if_there},
    exit::{self, Failure},
};

/// Where it is.
pub(crate) fn path_in(data: &Path) -> PathBuf {
    data.join("admin.sock")
}

/// Makes it, in place of one that a server left when it was killed.
pub(crate) fn bind(data: &DataDir) -> Result<UnixListener, Failure> {
    let path = path_in(data.path());
    remove_if_there(&path)?;
    let what = format!("the socket {}", path.display());
    let failed = Failure::while_(exit::CANNOT_CREATE, &what);
    let listener = UnixListener::bind(&path).map_err(&failed)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(&failed)?;
    Ok(listener)
}
