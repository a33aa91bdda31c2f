//! `denizen backup create`, `verify`, `inspect`: everything in one sealed file, also while the server runs.
//!
//! `create` is recorded in the audit before anything is read, by the server that runs or by this process, and reads on a
//! connection that cannot write. `verify` and `inspect` read the file alone.
//!
//! Touches the database, and the file. Tests: `tests/it`.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use denizen_agent::files;
use denizen_keys::{envelope::RootKey, random};
use denizen_server::{
    app::administration::{BackupBegins, BackupBegun},
    http::admin::BACKUPS,
    store::{Backup, BackupError, BackupSummary, NewBackup, StoreError},
};
use denizen_wire::{Causes, Clock};

use crate::{
    admin_client::Administrator,
    config::{Config, Sources, engine},
    data::{self, Sharing},
    exit::{self, Failure},
};

/// The release that makes backups.
pub(crate) const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// What is read and written at once, bytes.
const BUFFER: usize = 1024 * 1024;

/// Backups of everything: directory, vaults, audit.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes everything of one moment into one sealed file, also while the server runs. The root key opens it, and is
    /// not in it: keep that elsewhere
    Create {
        #[command(flatten)]
        sources: Sources,
        /// A new file, mode 0600, or - for standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Opens a whole backup and checks every row and every record of the audit, and writes nothing
    Verify {
        #[command(flatten)]
        sources: Sources,
        /// The backup, or - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Prints what stands at a backup's beginning, without the root key; nothing of it is proved
    Inspect {
        /// The backup, or - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Create { sources, out } => create(&sources.load()?, &out).await?,
        Command::Verify { sources, file } => {
            let root = root_key(&sources.load()?)?;
            let verified =
                Backup::verify(&root, &mut *input(&file)?).await.map_err(|error| of_backup(&file, &error))?;
            print(&format!("every row is as it was written\n{}", told(&verified)))?;
        }
        Command::Inspect { file } => {
            let header = Backup::inspect(&mut *input(&file)?).map_err(|error| of_backup(&file, &error))?;
            print(&serde_json::to_string_pretty(&header).map_err(Failure::while_(exit::SOFTWARE, "JSON"))?)?;
        }
    }
    Ok(ExitCode::from(exit::OK))
}

async fn create(config: &Config, path: &Path) -> Result<(), Failure> {
    let root = root_key(config)?;
    let mut out = Out::open(path)?;
    let id = random::uuid_v4();
    let _: BackupBegun = Administrator::reach(config).await?.ask(BACKUPS, &BackupBegins { id }).await?;
    let new = NewBackup { id, release: RELEASE, at: Clock::system().now() };
    let made = Backup::create(&engine(config)?, &root, new, &mut out).await.map_err(|error| wrong(&error))?;
    let text = format!("made the backup {id}\n{}", told(&made));
    if out.finish()? {
        print(&text)
    } else {
        // Standard output has the backup.
        writeln!(io::stderr(), "{text}").map_err(Failure::while_(exit::OS_ERROR, "it cannot be printed"))
    }
}

/// What a backup holds.
pub(crate) fn told(summary: &BackupSummary) -> String {
    let BackupSummary { header, rows, records, bytes } = summary;
    let at = header.at.rfc3339();
    let audit = match header.seq {
        0 => "the server that was asked has recorded nothing yet".to_owned(),
        seq => format!("its chain {} ends at {seq}", header.chain),
    };
    let mut text = format!(
        "taken {at} of revision {} ({}, release {}); the audit has {records} records, {audit}",
        header.revision.0, header.engine, header.release
    );
    for (table, rows) in rows.iter().filter(|(_, rows)| *rows > 0) {
        text += &format!("\n{rows:>10} {table}");
    }
    let empty: Vec<_> = rows.iter().filter(|(_, rows)| *rows == 0).map(|(table, _)| *table).collect();
    if !empty.is_empty() {
        text += &format!("\n   nothing in {}", empty.join(", "));
    }
    if let Some(bytes) = bytes {
        text += &format!("\n{bytes:>10} bytes");
    }
    text
}

pub(crate) fn root_key(config: &Config) -> Result<RootKey, Failure> {
    data::root_key(&config.root_key, true, Sharing::of(&config.store.url))
}

/// Opens a backup to read.
pub(crate) fn input(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, io::stdin())));
    }
    let file = files::open(path).map_err(Failure::while_(exit::DATA, &path.display().to_string()))?;
    Ok(Box::new(BufReader::with_capacity(BUFFER, file)))
}

/// What went wrong, with the code that says whose it is.
pub(crate) fn wrong(error: &BackupError) -> Failure {
    Failure::new(whose(error).0, Causes(error).to_string())
}

/// The same of a restore: the backup is named where it is what is wrong.
pub(crate) fn wrong_in(backup: &Path, error: &BackupError) -> Failure {
    if whose(error).1 { of_backup(backup, error) } else { wrong(error) }
}

/// The same where nothing but the backup is read.
fn of_backup(backup: &Path, error: &BackupError) -> Failure {
    let name = if backup == Path::new("-") { "standard input".to_owned() } else { backup.display().to_string() };
    Failure::new(whose(error).0, format!("{name}: {}", Causes(error)))
}

/// The code, and whether it is the backup that is wrong.
const fn whose(error: &BackupError) -> (u8, bool) {
    match error {
        BackupError::NotABackup
        | BackupError::Empty
        | BackupError::Version
        | BackupError::OtherRootKey
        | BackupError::Damaged(_)
        | BackupError::Schema { .. }
        | BackupError::OlderSchema => (exit::DATA, true),
        BackupError::Read(_) => (exit::OS_ERROR, true),
        BackupError::Store(StoreError::InUse { .. } | StoreError::Interrupted) => (exit::TRY_AGAIN, false),
        BackupError::Store(StoreError::Unavailable(_)) => (exit::UNAVAILABLE, false),
        BackupError::Write(_) | BackupError::Note { .. } => (exit::CANNOT_CREATE, false),
        BackupError::Store(_)
        | BackupError::NotEmpty { .. }
        | BackupError::Same
        | BackupError::Key(_)
        | BackupError::Refused(_) => (exit::DATA, false),
    }
}

pub(crate) fn print(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(Failure::while_(exit::OS_ERROR, "it cannot be printed"))
}

/// Where a backup is written: beside FILE until it is whole.
enum Out {
    Stdout(BufWriter<io::Stdout>),
    File { file: BufWriter<File>, path: PathBuf, temporary: PathBuf, is_whole: bool },
}

impl Out {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdout(BufWriter::with_capacity(BUFFER, io::stdout())));
        }
        let failed =
            |why: &dyn std::fmt::Display| Failure::new(exit::CANNOT_CREATE, format!("--out {}: {why}", path.display()));
        let Some(name) = path.file_name() else { return Err(failed(&"name a new file")) };
        if path.symlink_metadata().is_ok() {
            return Err(failed(&"there is something of that name, and it was not touched; name a new file"));
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", random::uuid_v4().simple()));
        let temporary = path.with_file_name(hidden);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&temporary);
        let file = BufWriter::with_capacity(BUFFER, file.map_err(|error| failed(&error))?);
        Ok(Self::File { file, path: path.to_owned(), temporary, is_whole: false })
    }

    /// Brings it to the disk under its name; whether there is a file.
    fn finish(mut self) -> Result<bool, Failure> {
        let finished = match &mut self {
            Self::Stdout(out) => out.flush().map(|()| false),
            Self::File { file, path, temporary, is_whole } => (|| {
                file.flush()?;
                file.get_ref().sync_all()?;
                // Nothing takes the place of what has come to stand there.
                rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &*temporary,
                    rustix::fs::CWD,
                    &*path,
                    rustix::fs::RenameFlags::NOREPLACE,
                )?;
                *is_whole = true;
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
                Ok(true)
            })(),
        };
        finished.map_err(Failure::while_(exit::CANNOT_CREATE, "the backup cannot be written"))
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File { file, .. } => file.flush(),
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if let Self::File { temporary, is_whole: false, .. } = self {
            let _ = fs::remove_file(temporary);
        }
    }
}
