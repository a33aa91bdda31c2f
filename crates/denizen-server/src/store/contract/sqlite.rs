//! A place for SQLite: a file in a folder of its own; and what is asked of a file only.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    Attack, DataPlace, Engine,
    attacks::{live, lived, refused, try_open, until},
    fixtures::*,
    secret_cycle::with_secrets,
    writes::founded,
};
use crate::store::{SchemaFault, Store, StoreError, TrailFault};

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

    /// The files of the data.
    fn files(&self) -> Vec<PathBuf> {
        ["", "-wal"]
            .map(|suffix| self.folder.path().join(format!("denizen.db{suffix}")))
            .into_iter()
            .filter(|path| path.exists())
            .collect()
    }

    fn take_side_file(&self, from: &Self) {
        if from.side().exists() {
            fs::copy(from.side(), self.side()).unwrap();
        }
    }

    /// The anchor as it is at this moment: all else that is copied is copied later, and so is not behind it.
    fn take_anchor(&self, from: &Self) {
        fs::write(self.engine().anchor(), fs::read(from.engine().anchor()).unwrap()).unwrap();
    }
}

/// The files of the data as they were.
pub(super) struct Copy(Vec<(PathBuf, Vec<u8>)>);

/// Keeps rows from being removed.
const KEPT: &str = "CREATE TRIGGER t BEFORE DELETE ON secrets BEGIN SELECT RAISE(IGNORE); END";

impl DataPlace for File {
    type Backup = Copy;

    const NOTICED_WITHIN: Duration = Duration::ZERO;
    const NOW_AND_THEN: &str = "random() % 40 = 0";
    const NUMBER_SET_BACK: &str = "PRAGMA schema_version = 1";

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
        found.take_side_file(self);
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
        found.take_side_file(self);
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

    fn backup(&self) -> Copy {
        Copy(self.files().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect())
    }

    fn put_back(&self, backup: &Copy) {
        self.remove_data();
        backup.0.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }

    fn remove_data(&self) {
        self.files().into_iter().for_each(|path| fs::remove_file(path).unwrap());
    }

    fn put_nothing(&self) {
        fs::write(self.path(), "").unwrap();
    }

    async fn is_empty(&self) -> bool {
        self.files().is_empty()
    }

    async fn content(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    async fn take_side(&self, from: &Self) {
        self.take_side_file(from);
    }

    /// In its files.
    async fn copies_of(&self, what: &str) -> usize {
        let found = |file: &PathBuf| {
            fs::read(file).unwrap().windows(what.len()).filter(|window| *window == what.as_bytes()).count()
        };
        self.files().iter().map(found).sum()
    }

    async fn size(&self) -> u64 {
        self.files().iter().map(|path| fs::metadata(path).unwrap().len()).sum()
    }

    async fn tidy(&self) {
        self.sql("ANALYZE; VACUUM").await;
    }

    fn ignoring(name: &str, act: &str, table: &str) -> String {
        format!("CREATE TRIGGER {name} BEFORE {act} ON {table} BEGIN SELECT RAISE(IGNORE); END")
    }

    fn renamed(table: &str, to: &str) -> String {
        format!("PRAGMA legacy_alter_table = ON; ALTER TABLE {table} RENAME TO {to}")
    }

    fn other_schemas() -> Vec<(&'static str, &'static str, SchemaFault)> {
        vec![
            (KEPT, "trigger t", SchemaFault::Added),
            (
                "PRAGMA legacy_alter_table=ON; ALTER TABLE head RENAME TO h; CREATE VIEW head AS SELECT * FROM h",
                "table h",
                SchemaFault::Added,
            ),
            ("CREATE VIEW pragma_schema_version AS SELECT 1", "view pragma_schema_version", SchemaFault::Added),
            (
                "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql = replace(sql, 'name     TEXT   NOT NULL,', \
                 'name     TEXT   NOT NULL COLLATE NOCASE,') WHERE name = 'secrets'",
                "table secrets",
                SchemaFault::Changed,
            ),
        ]
    }

    fn attacks_on_a_running_server() -> Vec<Attack> {
        vec![
            Attack {
                change: "ALTER TABLE secret_versions RENAME TO v0; CREATE VIEW secret_versions AS SELECT * FROM v0",
                // The engine puts a name that it changed into quotes.
                undo: "DROP VIEW secret_versions; ALTER TABLE v0 RENAME TO secret_versions; \
                       PRAGMA writable_schema = ON; \
                       UPDATE sqlite_schema SET sql = replace(sql, '\"secret_versions\"', 'secret_versions')",
            },
            Attack { change: KEPT, undo: "DROP TRIGGER t" },
            Attack { change: "CREATE TABLE x (y)", undo: "DROP TABLE x" },
        ]
    }

    fn values_of_other_types() -> Vec<(&'static [&'static str], &'static str)> {
        vec![
            (&["UPDATE machines SET body = x'00FF'"], "machine a0000000"),
            (&["UPDATE vaults SET tag = 5"], "vault a0000000"),
            (&["UPDATE secrets SET deleted = 'never'"], "secret a0000000"),
            (&["UPDATE secret_versions SET ordinal = 'one'"], "its column ordinal"),
            (&["UPDATE one_time SET expires = 'never'"], "join token a0000000"),
            (&["UPDATE signing_keys SET tenant = x'41'"], "signing key ?"),
            // A key that no page comes to: the engine keeps texts in these columns only as long as the schema is read anew.
            (
                &[
                    "PRAGMA writable_schema = ON; CREATE TABLE side.schema AS SELECT name, sql FROM sqlite_schema; \
                     UPDATE sqlite_schema SET sql = replace(replace(sql, 'tenant   TEXT   NOT NULL', 'tenant   TEXT'), \
                     'tenant  TEXT', 'tenant TEXT') WHERE name = 'machines'; PRAGMA schema_version = 9000",
                    "UPDATE machines SET tenant = NULL",
                    "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = (SELECT s.sql FROM side.schema s \
                     WHERE s.name = 'machines') WHERE name = 'machines'; PRAGMA schema_version = 9001",
                ],
                "its column tenant",
            ),
        ]
    }

    fn ends_of_other_types() -> &'static [&'static str] {
        &["UPDATE audit SET hash = x'00' WHERE seq = 6", "UPDATE audit SET tenant = x'ff', tag = 'x' WHERE seq = 6"]
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

/// A file can take another's name while the engine has that open. A server's databases cannot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_replaced_under_a_running_server_refuses_writes() {
    let place = File::new();
    let store = lived(&place).await;
    store.close().await;
    let old = place.backup();
    let store = try_open(&place).await.unwrap();
    live(&store, 2).await;
    let path = place.files().remove(0);
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    for (name, bytes) in &old.0 {
        fs::write(name, bytes).unwrap();
    }
    // Nobody has to write for that.
    until("it is noticed", async || store.barred().is_some_and(|rule| rule.contains("replaced"))).await;
    let error = store.begin(&ctx(1)).await.err().unwrap();
    assert!(matches!(error, StoreError::Trail(TrailFault::Replaced)), "{error}");
    assert!(store.audit_health().disagreements > 0);
    fs::remove_file(&path).unwrap();
    assert!(store.begin(&ctx(1)).await.is_err());
    // Put right, it goes on.
    fs::rename(&aside, &path).unwrap();
    until("it is ready again", async || store.barred().is_none()).await;
    assert!(store.begin(&ctx(1)).await.is_ok());
    live(&store, 3).await;
    assert_eq!(store.audit_verify().await.unwrap(), 16);
    store.close().await;
    // Left so, the next start says that it is an old one.
    let store = try_open(&place).await.unwrap();
    live(&store, 4).await;
    fs::rename(&path, &aside).unwrap();
    place.put_back(&old);
    until("it is noticed again", async || store.begin(&ctx(1)).await.is_err()).await;
    store.close().await;
    assert!(matches!(refused(&place).await, TrailFault::Older { .. }));
}

/// An index that says other things than its table: a look through it leaves rows out, and no row shows that. The attack
/// reads the index as a table, which only this engine can be made to do.
#[tokio::test]
async fn an_index_that_leaves_rows_out_is_refused_at_start() {
    let place = File::new();
    with_secrets(&place, &[("s", 1), ("s", 2)]).await.close().await;
    place
        .sql(
            "PRAGMA writable_schema=ON; \
             INSERT INTO sqlite_schema SELECT 'table', 'imp', 'imp', rootpage, \
             'CREATE TABLE imp (tenant, vault, name, ordinal, rid, PRIMARY KEY (tenant, vault, name, ordinal, rid)) \
             WITHOUT ROWID' FROM sqlite_schema WHERE name = 'sqlite_autoindex_secret_versions_2'; \
             PRAGMA writable_schema=RESET; \
             UPDATE imp SET name = 'zzz' WHERE ordinal = 1; \
             PRAGMA writable_schema=ON; DELETE FROM sqlite_schema WHERE name = 'imp'; PRAGMA writable_schema=RESET",
        )
        .await;
    let error = try_open(&place).await.err().unwrap();
    assert!(
        matches!(&error, StoreError::Corrupt(why) if why.contains("integrity_check('secret_versions')")),
        "{error:?}"
    );
}

/// Whoever reads what was there before keeps it in the log: it goes when that one is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_while_somebody_read_goes_afterwards() {
    let place = File::new();
    let store = with_secrets(&place, &[("doomed", 1)]).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.secret_delete(&vault_id(1, "v"), "doomed", NOW, NOW).await.unwrap().unwrap();
    tx.commit(event("x")).await.unwrap();
    let reader = rusqlite::Connection::open(place.files().remove(0)).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM secret_versions").unwrap();
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert!(tx.secret_purge(&vault_id(1, "v"), "doomed").await.unwrap());
    tx.commit(event("x")).await.unwrap();
    assert!(place.copies_of("SEALED-doomed-1").await > 0, "nobody reads it");
    reader.execute_batch("COMMIT").unwrap();
    until("nothing is left of it", async || {
        store.look_at_clock().await.unwrap();
        let mut tx = store.begin(&ctx(1)).await.unwrap();
        tx.put(&principal(1, 1)).await.unwrap();
        tx.commit(event("x")).await.unwrap();
        place.copies_of("SEALED-doomed-1").await == 0
    })
    .await;
}

/// A list reads its page by an index, in the order of that index.
#[tokio::test]
async fn lists_are_read_by_index() {
    let place = File::new();
    let store = founded(&place).await;
    let conn = Connection::open(place.path()).unwrap();
    for (statement, index) in super::lists::statements(place.engine().dialect()) {
        if statement.contains("id) > (") && statement.contains(" < $") {
            // SQLite begins at the first of several bounds of one index: where the page goes on, and not where the filter begins.
            assert!(statement.find("id) > (") < statement.find(" < $"), "{statement}");
        }
        let mut explained = conn.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let plan = explained.raw_query().mapped(|row| row.get::<_, String>(3)).collect::<Result<Vec<_>, _>>().unwrap();
        let plan = plan.join("; ");
        assert!(plan.contains(&format!("USING INDEX {index} (")), "{statement}: {plan}");
        // One row, or few, may be sorted.
        let is_of_few = statement.matches("= $").count() > 1;
        assert!(is_of_few || !plan.contains("TEMP B-TREE"), "{statement}: {plan}");
        assert_eq!(statement.contains(", id) "), plan.contains(">?") || plan.contains("<?"), "{statement}: {plan}");
    }
    drop(store);
}
