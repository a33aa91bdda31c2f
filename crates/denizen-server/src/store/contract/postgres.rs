//! A place for PostgreSQL: a database of its own on a server that all tests of this process share.

use std::{
    fs,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use denizen_test_postgres::Cluster;
use tempfile::TempDir;

use super::{DataPlace, Engine};
use crate::store::Postgres;

pub(super) struct Database {
    folder: TempDir,
    name: String,
}

/// The server of this process. Losing power is what `copy` stands for, so that it need not wait for the disk.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(&[("fsync", "off"), ("full_page_writes", "off")]).unwrap())
}

impl Database {
    fn empty() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Self { folder: tempfile::tempdir().unwrap(), name }
    }

    /// How another replica opens the same database: in a folder of its own.
    pub(super) fn replica(&self, name: &str) -> Postgres {
        Postgres::new(cluster().url(&self.name), self.folder.path().join(name))
    }

    /// What is committed in the database, beside what is in this replica's folder.
    fn copy(&self) -> Self {
        let found = Self::empty();
        fs::create_dir_all(found.folder.path().join("replica")).unwrap();
        fs::write(found.engine().anchor(), fs::read(self.engine().anchor()).unwrap()).unwrap();
        fs::create_dir(found.engine().spool()).unwrap();
        found
    }
}

/// The words of SQLite that the attacks are written in, in PostgreSQL's.
fn translated(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len() + 64);
    let mut rest = sql;
    while let Some(at) = rest.find("x'") {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let end = from[2..].find('\'').unwrap() + 2;
        // The end of a word is no blob.
        if before.ends_with(|c: char| c.is_alphanumeric()) || !from[2..end].chars().all(|c| c.is_ascii_hexdigit()) {
            text.push_str("x'");
            rest = &from[2..];
        } else {
            text.push_str(&format!("'\\x{}'::BYTEA", &from[2..end]));
            rest = &from[end + 1..];
        }
    }
    text.push_str(rest);
    text.replace("zeroblob(32)", "decode(repeat('00', 32), 'hex')")
}

impl DataPlace for Database {
    fn new() -> Self {
        let place = Self::empty();
        cluster().create(&place.name).unwrap();
        place
    }

    fn engine(&self) -> Engine {
        Engine::Postgres(Postgres::new(cluster().url(&self.name), self.folder.path().join("replica")))
    }

    async fn sql(&self, text: &'static str) {
        // What an intruder keeps, it keeps elsewhere: `side.…` in the statements.
        let sql = format!(
            "SET client_min_messages = warning; SET session_replication_role = replica; \
             CREATE SCHEMA IF NOT EXISTS side; SET search_path = public, side; {}",
            translated(text)
        );
        let name = self.name.clone();
        tokio::task::spawn_blocking(move || cluster().query(&name, &sql).unwrap()).await.unwrap();
    }

    fn after_a_power_cut(&self) -> Self {
        let found = self.copy();
        // Of the spool only the names were brought to the disk.
        for file in fs::read_dir(self.engine().spool()).unwrap().map(Result::unwrap) {
            fs::write(found.engine().spool().join(file.file_name()), "").unwrap();
        }
        cluster().copy(&self.name, &found.name).unwrap();
        found
    }

    fn after_a_kill(&self) -> Self {
        // The spool first: what is moved into the data meanwhile is in both, and must not count twice.
        let found = self.copy();
        for file in fs::read_dir(self.engine().spool()).unwrap().map(Result::unwrap) {
            // One that has been moved meanwhile is gone.
            let _ = fs::copy(file.path(), found.engine().spool().join(file.file_name()));
        }
        cluster().copy(&self.name, &found.name).unwrap();
        found
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = cluster().remove(&self.name);
    }
}
