//! A place for SQLite: a file in a folder of its own; and what is asked of a file only.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{DataPlace, Engine, Store, fixtures::*, writes::founded};

pub(super) struct File {
    folder: TempDir,
}

impl File {
    fn path(&self) -> PathBuf {
        self.folder.path().join("denizen.db")
    }

    fn side(&self) -> PathBuf {
        self.folder.path().join("side.db")
    }

    fn take_side(&self, from: &Self) {
        if from.side().exists() {
            fs::copy(from.side(), self.side()).unwrap();
        }
    }

    /// The anchor as it is at this moment: all else that is copied is copied later, and so is not behind it.
    fn take_anchor(&self, from: &Self) {
        fs::write(self.engine().anchor(), fs::read(from.engine().anchor()).unwrap()).unwrap();
    }
}

impl DataPlace for File {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn engine(&self) -> Engine {
        Engine::Sqlite { path: self.path() }
    }

    async fn sql(&self, text: &'static str) {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        conn.pragma_update(None, "foreign_keys", "OFF").unwrap();
        // What an intruder keeps, it keeps elsewhere: `side.…` in the statements.
        fs::OpenOptions::new().create(true).append(true).open(self.side()).unwrap();
        conn.execute("ATTACH ?1 AS side", [self.side().to_str().unwrap()]).unwrap();
        conn.execute_batch(text).unwrap();
        conn.close().unwrap();
    }

    fn after_a_power_cut(&self) -> Self {
        let found = Self::new();
        found.take_anchor(self);
        found.take_side(self);
        for file in self.files() {
            fs::copy(&file, found.folder.path().join(file.file_name().unwrap())).unwrap();
        }
        // Of the spool only the names were brought to the disk.
        let (from, to) = (self.engine().spool(), found.engine().spool());
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
            fs::write(to.join(file.file_name()), "").unwrap();
        }
        found
    }

    fn after_a_kill(&self) -> Self {
        // The spool first: what is moved into the data meanwhile is in both, and must not count twice.
        let found = Self::new();
        found.take_anchor(self);
        found.take_side(self);
        let (from, to) = (self.engine().spool(), found.engine().spool());
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
            // One that has been moved meanwhile is gone.
            let _ = fs::copy(file.path(), to.join(file.file_name()));
        }
        for file in self.files() {
            fs::copy(&file, found.folder.path().join(file.file_name().unwrap())).unwrap();
        }
        found
    }

    fn files(&self) -> Vec<PathBuf> {
        ["", "-wal"]
            .map(|suffix| self.folder.path().join(format!("denizen.db{suffix}")))
            .into_iter()
            .filter(|path| path.exists())
            .collect()
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = File::new();
    // Made beforehand by someone careless.
    fs::write(place.path(), b"").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o644)).unwrap();
    // And the spool's folder, open to all.
    fs::create_dir(place.folder.path().join("denizen.db.audit")).unwrap();
    // And a head of what there was, under the same root key.
    let head = crate::store::audit::anchor::of_nothing(&crate::store::StoreKeys::of_test());
    fs::write(place.engine().anchor(), head).unwrap();
    fs::set_permissions(place.engine().anchor(), fs::Permissions::from_mode(0o644)).unwrap();
    let store = founded(&place).await;
    store.keeper.close().await;
    let mut seen = 0;
    for entry in fs::read_dir(place.folder.path()).unwrap() {
        let entry = entry.unwrap();
        let expected = if entry.metadata().unwrap().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, expected, "{:?}", entry.file_name());
        seen += 1;
    }
    assert_eq!(seen, 6, "the data, its log, its index, its lock, and the audit's spool and head");
    for segment in fs::read_dir(place.folder.path().join("denizen.db.audit")).unwrap() {
        assert_eq!(segment.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// Where the database looks for its files somebody may have put something else.
#[tokio::test]
async fn what_is_no_file_is_refused_at_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let open = async |place: &File| {
        let opening = Store::open(place.engine(), crate::store::StoreKeys::of_test());
        let opened = tokio::time::timeout(std::time::Duration::from_secs(5), opening).await;
        opened.expect("it hangs").err().expect("it opens").to_string()
    };
    for suffix in ["", ".lock", "-wal", "-shm"] {
        for kind in ["fifo", "link", "folder"] {
            let place = File::new();
            if suffix.starts_with('-') {
                founded(&place).await.close().await;
            }
            let (path, target) =
                (place.folder.path().join(format!("denizen.db{suffix}")), place.folder.path().join("t"));
            fs::write(&target, "").unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
            put_no_file(kind, &path, &target);
            let error = open(&place).await;
            assert!(error.contains(path.to_str().unwrap()), "{kind} for {suffix}: {error}");
            assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o644, "{kind} for {suffix}");
        }
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let path = File::new().folder.path().join("absent").join("denizen.db");
    let error =
        Store::open(Engine::Sqlite { path: path.clone() }, crate::store::StoreKeys::of_test()).await.err().unwrap();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

/// A new table carries tags and is among those that are attacked, or stands here with the reason.
#[tokio::test]
async fn every_table_carries_tags_or_decides_nothing() {
    const NONE: [&str; 7] = [
        // The migrator's own.
        "schema_migrations",
        // Repeats the applications' rows, and is compared with them.
        "application_uris",
        // Said of what happened, and read by people: the audit has its chain.
        "audit",
        "changes",
        // These have tags of another kind.
        "audit_start",
        "head",
        // Who does what, and not what may be done.
        "leases",
    ];
    let place = File::new();
    founded(&place).await.close().await;
    let conn = Connection::open(place.path()).unwrap();
    let sql = "SELECT name, (SELECT COUNT(*) FROM pragma_table_info(m.name) c WHERE c.name IN ('tag', 'revision')) \
               FROM sqlite_master m WHERE type = 'table'";
    let mut found = conn.prepare(sql).unwrap();
    let tables = found.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let tables: Vec<(String, i64)> = tables.map(Result::unwrap).collect();
    let mut tagged = 0;
    for (table, columns) in tables.iter().filter(|(table, _)| !NONE.contains(&table.as_str())) {
        assert_eq!(*columns, 2, "{table} has no revision and tag");
        assert!(super::tampering::TABLES.iter().any(|(known, _)| known == table), "{table} is not attacked");
        tagged += 1;
    }
    assert_eq!(tagged, super::tampering::TABLES.len());
}

/// The other process of the test below: writes until it is killed, and says what was acknowledged.
#[tokio::test]
#[ignore = "it writes until it is killed: run by the test below"]
async fn child_that_writes() {
    let mut path = String::new();
    std::io::stdin().read_line(&mut path).unwrap();
    let store =
        Store::open(Engine::Sqlite { path: path.trim_end().into() }, crate::store::StoreKeys::of_test()).await.unwrap();
    for n in 0..250u8 {
        let mut tx = store.begin(&ctx(1)).await.unwrap();
        tx.insert(&principal(1, n)).await.unwrap();
        tx.insert(&machine(1, n)).await.unwrap();
        tx.commit(event("enrol")).await.unwrap();
        store.audit(&ctx(1), &event("read")).unwrap();
        println!("acknowledged {n}");
    }
}

/// A real process, a real SIGKILL, at three moments.
#[tokio::test]
async fn kill_9_loses_no_acknowledged_write() {
    for moment in [1usize, 17, 60] {
        let place = File::new();
        let this = "store::contract::sqlite::child_that_writes";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this, "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{}", place.path().display()).unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        while acknowledged < moment {
            let line = output.next().expect("the child ended early").unwrap();
            acknowledged += usize::from(line.contains("acknowledged"));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said between the last line read and its end counts too.
        acknowledged += output.filter(|line| line.as_ref().is_ok_and(|line| line.contains("acknowledged"))).count();

        let store = place.open().await;
        let now = store.snapshot();
        let kept = now.principals(tenant_id(1)).count();
        assert!(kept >= acknowledged, "{acknowledged} were acknowledged, {kept} were kept");
        assert_eq!(machines_of(&store).await, kept as u64, "half a transaction was kept");
        let recorded = usize::try_from(store.audit_verify().await.unwrap()).unwrap();
        assert!(recorded >= acknowledged * 2, "{acknowledged} were acknowledged, {recorded} records were kept");
    }
}
