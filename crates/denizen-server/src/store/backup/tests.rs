//! Round trips on both engines and across, files that were tampered with, and what is refused.

use std::{collections::BTreeSet, fs, path::PathBuf, sync::OnceLock};

use denizen_keys::envelope::RootKey;
use denizen_test_postgres::Cluster;
use tempfile::TempDir;

use super::{super::contract::fixtures::*, file::FRAME, *};
use crate::store::{Postgres, Trail, db::args};

/// A folder with a root key, and a database in it or on the server of these tests.
struct Place {
    folder: TempDir,
    engine: Engine,
    root: RootKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

const BOTH: [Kind; 2] = [Kind::Sqlite, Kind::Postgres];

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(&[("fsync", "off"), ("full_page_writes", "off")]).unwrap())
}

impl Place {
    fn new(kind: Kind) -> Self {
        Self::under(kind, None)
    }

    /// Empty, under the root key of another.
    fn beside(&self, kind: Kind) -> Self {
        Self::under(kind, Some(&self.root_file()))
    }

    fn under(kind: Kind, key: Option<&PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        if let Some(key) = key {
            fs::copy(key, path.join("root.key")).unwrap();
        }
        let root = RootKey::load_or_create(&path.join("root.key")).unwrap();
        let engine = match kind {
            Kind::Sqlite => Engine::Sqlite { path: path.join("denizen.db") },
            Kind::Postgres => {
                let name = format!("b{}", denizen_keys::random::uuid_v4().simple());
                cluster().create(&name).unwrap();
                Engine::Postgres(Postgres::new(cluster().url(&name), path.join("replica")))
            }
        };
        Self { folder, engine, root }
    }

    fn root_file(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("root.key")
    }

    async fn open(&self) -> Store {
        Store::open(self.engine.clone(), StoreKeys::of(&self.root)).await.unwrap()
    }

    async fn trail(&self) -> Trail {
        Trail::open(self.engine.clone(), StoreKeys::of(&self.root)).await.unwrap()
    }

    async fn backup(&self) -> (Vec<u8>, BackupSummary) {
        let mut bytes = Vec::new();
        let made = Backup::create(&self.engine, &self.root, new(), &mut bytes).await.unwrap();
        assert_eq!(made.bytes, Some(bytes.len() as u64));
        (bytes, made)
    }

    async fn restore(&self, backup: &[u8]) -> Result<Restored, BackupError> {
        Backup::restore(&self.engine, &self.root, NOW + 100, &mut &*backup).await
    }

    async fn verify(&self, backup: &[u8]) -> Result<BackupSummary, BackupError> {
        Backup::verify(&self.root, &mut &*backup).await
    }

    /// All rows of all tables but the audit's, to be compared.
    async fn rows(&self) -> Vec<Vec<Vec<Cell>>> {
        let statements = Statements::default();
        let mut conn = opened_at_one_moment(&self.engine, &statements).await.unwrap();
        let mut all = Vec::new();
        for table in tables(db::newest_migration()).iter().filter(|table| table.name != "audit") {
            let mut source = Source::Database(&mut conn, &statements);
            let (mut found, mut after) = (Vec::new(), table.first());
            loop {
                let page = source.page(table, &after).await.unwrap();
                let Some(last) = page.last() else { break };
                after = last.iter().take(table.key).cloned().collect();
                found.extend(page);
            }
            all.push(found);
        }
        conn.rollback(&statements).await.unwrap();
        conn.close().await.unwrap();
        all
    }
}

fn new() -> NewBackup<'static> {
    NewBackup { id: denizen_keys::random::uuid_v4(), release: "0.0.0-test", at: NOW + 50 }
}

/// One of each kind of row, and more than a frame of sealed bytes.
async fn fill_with_everything(store: &Store) {
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&tenant(1)).await.unwrap();
    insert_one_of_each(&mut tx).await;
    tx.issue(&join_token(1, 1)).await.unwrap();
    tx.commit(event("test/fill")).await.unwrap();
    for n in 2..8 {
        let mut tx = store.begin(&ctx(1)).await.unwrap();
        let mut version = secret(1, "v", &format!("large-{n}"), n);
        version.sealed_value = vec![n; FRAME / 2];
        tx.secret_add(&version).await.unwrap();
        tx.commit(event("test/large")).await.unwrap();
        store.audit(&ctx(1), &event("test/read")).unwrap();
    }
    store.audit_tail(&ctx(1), 1).await.unwrap();
}

async fn made(kind: Kind) -> (Place, Vec<u8>, BackupSummary) {
    let place = Place::new(kind);
    let store = place.open().await;
    fill_with_everything(&store).await;
    let (backup, summary) = place.backup().await;
    store.close().await;
    (place, backup, summary)
}

#[test]
fn every_table_and_every_column_is_in_the_list() {
    for (schema, _) in db::known_migrations() {
        let columns = |table: &Table| {
            let name = table.name.to_owned();
            table.columns.iter().map(|(column, _)| (name.clone(), (*column).to_owned())).collect::<Vec<_>>()
        };
        let ours: BTreeSet<(String, String)> = tables(schema).iter().flat_map(columns).collect();
        let mut made = db::columns_of_test(schema);
        for not_ours in ["leases", "schema_migrations"] {
            let all = made.len();
            made.retain(|(table, _)| table != not_ours);
            assert!(made.len() < all, "there is such a table");
        }
        assert_eq!(ours, made, "after migration {schema}");
    }
    for table in tables(db::newest_migration()) {
        let key = table.columns.iter().take(table.key).map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        assert!(table.select.contains(&format!("WHERE ({key}) > ($1")), "{}", table.select);
        let limit = format!("ORDER BY {key} LIMIT ${}", table.key + 1);
        assert!(table.select.ends_with(&limit), "{}", table.select);
    }
}

/// Tables and columns as the migration's text has them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_is_there_again_on_either_engine() {
    for from in BOTH {
        let (place, backup, summary) = made(from).await;
        let rows = place.rows().await;
        for (table, rows) in tables(db::newest_migration()).iter().filter(|table| table.name != "audit").zip(&rows) {
            assert!(!rows.is_empty() || table.name == "audit_start", "nothing of {} is tried", table.name);
        }
        assert!(backup.len() > 2 * FRAME, "several frames");
        assert!(!String::from_utf8_lossy(&backup).contains("SEALED-s-1"), "rows can be read without the key");
        let verified = place.verify(&backup).await.unwrap();
        assert_eq!(BackupSummary { bytes: summary.bytes, ..verified }, summary);
        assert_eq!(Backup::inspect(&mut &*backup).unwrap(), summary.header);
        for to in BOTH {
            let other = place.beside(to);
            let restored = other.restore(&backup).await.unwrap();
            assert_eq!(restored.seq, summary.header.seq + 1, "{from:?} to {to:?}");
            assert!(!restored.was_finished && restored.missing.is_none());
            assert_eq!(other.rows().await, rows, "{from:?} to {to:?}");
            // A server starts on it, and finds nothing to complain of.
            let store = other.open().await;
            store.record_findings(NOW + 100).unwrap();
            let mut tx = store.begin(&ctx(1)).await.unwrap();
            tx.secret_add(&secret(1, "v", "later", 9)).await.unwrap();
            tx.commit(event("test/later")).await.unwrap();
            store.audit(&ctx(1), &event("test/later")).unwrap();
            let tail = store.audit_tail(&ctx(1), 100).await.unwrap();
            assert_eq!(tail.iter().filter(|record| record.action == "test/read").count(), 6);
            store.close().await;
            let checked = other.trail().await.verify(None).await.unwrap();
            assert_eq!(checked.unanchored, None);
            let accepted = &checked.verified.accepted;
            assert!(accepted.len() == 1 && accepted[0].restored, "{accepted:?}");
            assert!(accepted[0].why.contains(&summary.header.id.to_string()), "{accepted:?}");
            let mut gaps = 0;
            let count = |line: &str| -> Result<(), StoreError> {
                gaps += usize::from(line.contains("audit/gap"));
                Ok(())
            };
            other.trail().await.export(1, count).await.unwrap();
            assert_eq!(gaps, 0, "{from:?} to {to:?}: a gap that is none was recorded");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_copied_to_the_other_engine_and_back() {
    let (place, ..) = made(Kind::Sqlite).await;
    // What a killed server left in its spool comes with it.
    let store = place.open().await;
    store.audit(&ctx(1), &event("test/last")).unwrap();
    drop(store);
    let rows = place.rows().await;
    let (postgres, back) = (place.beside(Kind::Postgres), place.beside(Kind::Sqlite));
    for (from, to) in [(&place, &postgres), (&postgres, &back)] {
        let copied = loop {
            match Box::pin(Backup::copy(&from.engine, &to.engine, &place.root, new())).await {
                // The store that was dropped has not let go yet.
                Err(BackupError::Store(StoreError::InUse { .. })) => tokio::task::yield_now().await,
                copied => break copied.unwrap(),
            }
        };
        assert_eq!(to.rows().await, rows);
        assert!(copied.from.records >= 11, "{copied:?}");
        let store = to.open().await;
        let tail = store.audit_tail(&ctx(1), 100).await.unwrap();
        assert!(tail.iter().any(|record| record.action == "test/last"));
        store.close().await;
        // Nobody goes on with the one before, but who wants to copy it once more or to go back to it.
        let refused = Store::open(from.engine.clone(), StoreKeys::of(&place.root)).await.err().unwrap();
        assert!(matches!(&refused, StoreError::Copied { path, .. } if path.exists()), "{refused:?}");
        let said = refused.to_string();
        assert!(said.contains(&to.engine.place()) && said.contains(&new().at.rfc3339()), "{said}");
        let accepted = Box::pin(Trail::accept(&from.engine, &StoreKeys::of(&place.root), NOW)).await;
        assert!(matches!(accepted, Err(StoreError::Copied { .. })), "{accepted:?}");
        let again = place.beside(Kind::Sqlite);
        Box::pin(Backup::copy(&from.engine, &again.engine, &place.root, new())).await.unwrap();
        assert_eq!(again.rows().await, rows);
        fs::write(from.engine.copy_note(), "").unwrap();
        let refused = Store::open(from.engine.clone(), StoreKeys::of(&place.root)).await.err();
        assert!(matches!(refused, Some(StoreError::Copied { .. })), "an empty note is none: {refused:?}");
    }
    // What is filled anew is nobody's source.
    let (path, empty) = (place.engine.copy_note(), place.beside(Kind::Sqlite));
    fs::copy(path, empty.engine.copy_note()).unwrap();
    Box::pin(Backup::copy(&back.engine, &empty.engine, &place.root, new())).await.unwrap();
    empty.open().await.close().await;
    fs::remove_file(place.engine.copy_note()).unwrap();
    place.open().await.close().await;
    let same = Box::pin(Backup::copy(&place.engine, &place.engine, &place.root, new())).await;
    assert!(matches!(same, Err(BackupError::Same)), "{same:?}");
    let refused = Box::pin(Backup::copy(&place.engine, &back.engine, &place.root, new())).await;
    assert!(matches!(refused, Err(BackupError::NotEmpty { table: "head" })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_beside_writers_is_of_one_moment() {
    for kind in BOTH {
        let place = Place::new(kind);
        let store = place.open().await;
        fill_with_everything(&store).await;
        let writing = store.clone();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let writer = tokio::spawn(async move {
            let mut written = 0u32;
            while !*stopped.borrow() {
                let mut tx = writing.begin(&ctx(1)).await.unwrap();
                let version = secret(1, "v", &format!("w{}", written % 7), 0);
                let version = crate::domain::secrets::SecretVersion { version: format!("{written:032x}"), ..version };
                tx.secret_add(&version).await.unwrap();
                tx.commit(event("test/write")).await.unwrap();
                writing.audit(&ctx(1), &event("test/read")).unwrap();
                written += 1;
            }
            written
        });
        let mut seen = BTreeSet::new();
        for _ in 0..8 {
            let (backup, summary) = place.backup().await;
            place.verify(&backup).await.unwrap();
            seen.insert(summary.header.revision);
        }
        stop.send(true).unwrap();
        assert!(writer.await.unwrap() > 8);
        assert!(seen.len() > 2, "{kind:?}: nothing was written meanwhile");
        store.close().await;
    }
}

/// Where the frames of a backup begin, each with its length.
fn frames(backup: &[u8]) -> (usize, Vec<std::ops::Range<usize>>) {
    let number = |at: usize| u32::from_be_bytes(backup[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 17 + 4 + number(17) + 61;
    let (first, mut found) = (at, Vec::new());
    while at < backup.len() {
        let end = at + 4 + (number(at) & 0x7fff_ffff);
        found.push(at..end);
        at = end;
    }
    (first, found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_tampered_with_is_refused() {
    let (place, good, _) = made(Kind::Sqlite).await;
    let (first, frames) = frames(&good);
    assert!(frames.len() >= 3);
    let mut bad: Vec<(String, Vec<u8>)> = Vec::new();
    // Every byte before the frames, and some of each frame: its length, its mark of the last, its text, its tag.
    let some = frames.iter().flat_map(|it| [it.start, it.start + 3, it.start + 4, it.start + 40, it.end - 1]);
    for at in (0..first).chain(some) {
        let mut changed = good.clone();
        changed[at] ^= 0x80;
        bad.push((format!("byte {at} of {first}"), changed));
    }
    let part = |frame: usize| good[frames[frame].clone()].to_vec();
    let head = good[..first].to_vec();
    let last = frames.len() - 1;
    let joined = |parts: &[usize]| parts.iter().fold(head.clone(), |text, frame| [text, part(*frame)].concat());
    let all: Vec<usize> = (0..=last).collect();
    bad.push(("swapped".into(), joined(&[&[1, 0], &all[2..]].concat())));
    bad.push(("repeated".into(), joined(&[&[0], &all[..]].concat())));
    bad.push(("one left out".into(), joined(&all[1..])));
    bad.push(("the last left out".into(), joined(&all[..last])));
    bad.push(("the last alone".into(), joined(&[last])));
    bad.push(("the last again".into(), joined(&[&all[..], &[last]].concat())));
    bad.push(("longer".into(), [&good[..], b"x"].concat()));
    for at in [0, 1, 16, 17, 19, 40, first - 1, first, first + 2, first + 9, good.len() / 2, good.len() - 1] {
        bad.push((format!("cut at {at}"), good[..at].to_vec()));
    }
    // Frames of another backup under the same root key.
    let (other, _) = place.backup().await;
    let (other_first, _) = self::frames(&other);
    bad.push(("frames of another".into(), [&head[..], &other[other_first..]].concat()));
    bad.push(("header of another".into(), [&other[..other_first], &good[first..]].concat()));
    bad.push(("key of another".into(), [&good[..first - 61], &other[other_first - 61..]].concat()));
    let target = place.beside(Kind::Sqlite);
    for (what, backup) in &bad {
        let refused = place.verify(backup).await;
        let refused = refused.err().unwrap_or_else(|| panic!("{what}: taken for good"));
        let is_said = matches!(
            refused,
            BackupError::Damaged(_)
                | BackupError::NotABackup
                | BackupError::Empty
                | BackupError::Version
                | BackupError::OtherRootKey
        );
        assert!(is_said, "{what}: {refused:?}");
    }
    // Who has no key is told what is missing, and nothing of a key.
    for (length, says) in [
        (0, "it is empty"),
        (1, "it ends within its header"),
        (17, "it ends within its header"),
        (19, "it ends within its header"),
        (40, "it ends within its header"),
    ] {
        let said = Backup::inspect(&mut &good[..length]).unwrap_err().to_string();
        assert!(said.contains(says) && !said.contains("key"), "cut at {length}: {said}");
    }
    assert!(matches!(Backup::inspect(&mut &b"denied"[..]), Err(BackupError::NotABackup)));
    let mut unreadable = good.clone();
    unreadable[21] = b'x';
    let said = Backup::inspect(&mut &*unreadable).unwrap_err().to_string();
    assert!(said.contains("its header cannot be read"), "{said}");
    // A restore that finds it in the middle leaves nothing.
    for (what, backup) in bad.iter().rev().take(24) {
        assert!(target.restore(backup).await.is_err(), "{what}");
    }
    target.restore(&good).await.unwrap();
    let other_key = Place::new(Kind::Sqlite);
    assert!(matches!(other_key.verify(&good).await, Err(BackupError::OtherRootKey)));
    assert!(matches!(other_key.restore(&good).await, Err(BackupError::OtherRootKey)));
}

/// Whoever has the root key could make a file of rows that were never together: the head tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_do_not_belong_together_are_refused() {
    let (place, ..) = made(Kind::Sqlite).await;
    let statements = Statements::default();
    for (what, sql) in [
        ("a row left out", "DELETE FROM one_time"),
        ("a row changed", "UPDATE secrets SET latest = 'x' WHERE name = 's'"),
        ("sealed bytes changed", "UPDATE secret_versions SET sealed_value = x'00' WHERE name = 's'"),
        ("the head changed", "UPDATE head SET revision = revision + 1"),
        ("a name added", "INSERT INTO application_uris SELECT tenant, uri || 'x', application FROM application_uris"),
        ("a name left out", "DELETE FROM application_uris"),
        ("the audit cut", "DELETE FROM audit WHERE seq = (SELECT MAX(seq) FROM audit WHERE lines LIKE '%test/large%')"),
        ("a record left out", "DELETE FROM audit WHERE seq = 1"),
        ("a record changed", "UPDATE audit SET lines = replace(lines, 'test/fill', 'test/sill')"),
    ] {
        let Engine::Sqlite { path } = &place.engine else { unreachable!() };
        let copy = place.folder.path().join("tampered.db");
        let _ = fs::remove_file(&copy);
        fs::copy(path, &copy).unwrap();
        let engine = Engine::Sqlite { path: copy };
        let mut conn = db::open(&engine).await.unwrap().writer;
        assert!(conn.execute(&statements, sql, args![]).await.unwrap() > 0, "{what}");
        conn.close().await.unwrap();
        let made = Backup::create(&engine, &place.root, new(), &mut Vec::new()).await;
        assert!(matches!(made, Err(BackupError::Store(_))), "{what}: {made:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_takes_nothing_away_and_can_be_run_again() {
    let (place, backup, _) = made(Kind::Sqlite).await;
    for kind in BOTH {
        let other = place.beside(kind);
        // Records that are in no backup stand in the spool.
        if let Engine::Postgres(postgres) = &other.engine {
            fs::create_dir(&postgres.folder).unwrap();
        }
        fs::create_dir(other.engine.spool()).unwrap();
        let segment = other.engine.spool().join("00000000000000000000.jsonl");
        fs::write(&segment, "a record\n").unwrap();
        let refused = other.restore(&backup).await.unwrap_err();
        assert!(matches!(refused, BackupError::Store(StoreError::Spool { .. })), "{refused}");
        assert!(refused.to_string().contains("move the folder"), "{refused}");
        fs::remove_file(&segment).unwrap();
        other.restore(&backup).await.unwrap();
        // As after a kill between the commit and the anchor.
        fs::remove_file(other.engine.anchor()).unwrap();
        let again = other.restore(&backup).await.unwrap();
        assert!(again.was_finished);
        other.open().await.close().await;
        // There is data now, and it stays.
        let rows = other.rows().await;
        let (second, _) = place.backup().await;
        assert!(matches!(other.restore(&second).await, Err(BackupError::NotEmpty { table: "head" })));
        assert_eq!(other.rows().await, rows);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_was_kept_elsewhere_tells_what_the_backup_did_not_have() {
    let (place, backup, summary) = made(Kind::Sqlite).await;
    let store = place.open().await;
    for _ in 0..5 {
        store.audit(&ctx(1), &event("test/lost")).unwrap();
        store.audit_tail(&ctx(1), 1).await.unwrap();
    }
    store.close().await;
    let kept = place.trail().await.head().await.unwrap();
    let (earlier, anchor) = (summary.header.seq, fs::read(place.engine.anchor()).unwrap());
    assert!(kept.seq > earlier);

    // The anchor is left where the database was: how many records are missing is known.
    let with_anchor = place.beside(Kind::Sqlite);
    fs::write(with_anchor.engine.anchor(), &anchor).unwrap();
    let restored = with_anchor.restore(&backup).await.unwrap();
    assert_eq!(restored.missing, Some((earlier + 1, kept.seq)));
    let without = place.beside(Kind::Sqlite);
    assert_eq!(without.restore(&backup).await.unwrap().missing, None);
    for place in [&with_anchor, &without] {
        let store = place.open().await;
        for _ in 0..9 {
            store.audit(&ctx(1), &event("test/after")).unwrap();
            store.audit_tail(&ctx(1), 1).await.unwrap();
        }
        store.close().await;
        let refused = place.trail().await.verify(Some(&kept)).await.unwrap_err().to_string();
        assert!(refused.contains("A backup was restored on"), "{refused}");
    }
}
