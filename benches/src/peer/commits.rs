//! Rows of the size of a secret, each committed for itself, in SQLite as the store sets it up: what one sync after the other
//! gives.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::announce;

/// What it prints before the number of commits in a second.
pub(crate) const COMMITS: &str = "commits a second: ";

/// `bench peer commits`.
#[derive(clap::Args)]
pub(crate) struct Commits {
    /// The database, which is made
    #[arg(long)]
    file: PathBuf,
    /// For how long
    #[arg(long)]
    seconds: u64,
}

pub(crate) fn run(args: &Commits) -> Result<()> {
    let database = rusqlite::Connection::open(&args.file)?;
    database.pragma_update(None, "journal_mode", "wal")?;
    database.pragma_update(None, "synchronous", "full")?;
    database.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, content BLOB NOT NULL)", [])?;
    let mut insert = database.prepare("INSERT INTO kept (content) VALUES (?1)")?;
    let (start, content) = (Instant::now(), [7_u8; 500]);
    let end = Duration::from_secs(args.seconds);
    let mut count = 0_u32;
    while start.elapsed() < end {
        insert.execute([&content[..]])?;
        count += 1;
    }
    announce(COMMITS, &format!("{:.1}", f64::from(count) / start.elapsed().as_secs_f64()));
    Ok(())
}
