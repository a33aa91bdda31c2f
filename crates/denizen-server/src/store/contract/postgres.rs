//! A place for PostgreSQL: a database of its own on a server that all tests of this process share; and the attacks in its
//! own words.
//!
//! The intruder is the database's superuser.

use std::{
    fs,
    str::FromStr as _,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use denizen_test_postgres::Cluster;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tempfile::TempDir;

use super::{Attack, DataPlace, Engine, attacks::until, fixtures::*, secret_cycle::with_secrets, writes::founded};
use crate::store::{Postgres, SchemaFault, Store, StoreError, StoreKeys, Trail, db::Sql, secrets::VersionRow};

pub(super) struct Database {
    folder: TempDir,
    name: String,
}

/// An empty database with what the intruder keeps elsewhere, outside the schema of the server's tables.
const BLANK: &str = "CREATE SCHEMA side; \
    CREATE FUNCTION side.unhex(TEXT) RETURNS BYTEA LANGUAGE SQL IMMUTABLE AS $$ SELECT decode($1, 'hex') $$; \
    CREATE FUNCTION side.zeroblob(INT) RETURNS BYTEA LANGUAGE SQL IMMUTABLE AS $$ SELECT decode(repeat('00', $1), 'hex') $$; \
    CREATE FUNCTION side.nothing() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
    CREATE FUNCTION side.now_and_then() RETURNS BOOLEAN LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN random() < 0.025; END $$; \
    CREATE EXTENSION pageinspect SCHEMA side";

/// The server of this process. Losing power is what `copy` stands for, so that it need not wait for the disk.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start(&[
            ("fsync", "off"),
            ("full_page_writes", "off"),
            // Tests that look at what a vacuum does are not to meet another one.
            ("autovacuum", "off"),
            ("jit", "off"),
        ]);
        let cluster = cluster.unwrap();
        cluster.create("blank").unwrap();
        cluster.query("blank", BLANK).unwrap();
        cluster
    })
}

impl Database {
    /// A folder, and a name that no database has.
    fn named() -> Self {
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
        let found = Self::named();
        fs::create_dir_all(found.folder.path().join("replica")).unwrap();
        fs::write(found.engine().anchor(), fs::read(self.engine().anchor()).unwrap()).unwrap();
        fs::create_dir(found.engine().spool()).unwrap();
        found
    }

    async fn connect(&self) -> PgConnection {
        let options = PgConnectOptions::from_str(&cluster().socket_url(&self.name)).unwrap();
        // No key to another table, and no trigger, holds the intruder up.
        let options = options.options([("session_replication_role", "replica"), ("search_path", "public,side")]);
        PgConnection::connect_with(&options).await.unwrap()
    }

    /// A session that has a chain, as the one of a process that was killed.
    pub(super) async fn claims(&self, chain: &str) -> Session {
        let mut conn = self.connect().await;
        let lock = format!("SELECT pg_advisory_lock({})", crate::store::db::claim_number(chain));
        conn.execute(sqlx::raw_sql(AssertSqlSafe(lock))).await.unwrap();
        Session(conn)
    }

    /// Each answer's first column.
    async fn ask(&self, sql: String) -> Vec<String> {
        let mut conn = self.connect().await;
        let found = conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
        conn.close().await.unwrap();
        found.iter().map(|row| row.get(0)).collect()
    }

    /// The names of the server's tables.
    async fn tables(&self) -> Vec<String> {
        let sql = "SELECT relname::TEXT FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1";
        self.ask(sql.to_owned()).await
    }

    /// Puts a copy of another database in the place of this one.
    fn become_one(&self, of: &str) {
        cluster().remove(&self.name).unwrap();
        cluster().copy(of, &self.name).unwrap();
    }
}

impl DataPlace for Database {
    type Backup = Self;

    const IS_OVERWRITTEN_LATER: bool = true;
    const NOTICED_WITHIN: Duration = crate::store::db::LOOKED_AT_WITHIN;
    const NOW_AND_THEN: &str = "side.now_and_then()";

    fn new() -> Self {
        let place = Self::named();
        cluster().copy_files("blank", &place.name).unwrap();
        place
    }

    fn engine(&self) -> Engine {
        static EXPECTED: OnceLock<Postgres> = OnceLock::new();
        let postgres = Postgres::new(cluster().socket_url(&self.name), self.folder.path().join("replica"));
        let first = EXPECTED.get_or_init(|| postgres.clone());
        Engine::Postgres(Postgres { expected: first.expected.clone(), ..postgres })
    }

    async fn sql(&self, text: &'static str) {
        let mut conn = self.connect().await;
        conn.execute(sqlx::raw_sql(text)).await.unwrap_or_else(|error| panic!("{error} in {text}"));
        conn.close().await.unwrap();
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

    fn backup(&self) -> Self {
        let kept = Self::named();
        cluster().copy(&self.name, &kept.name).unwrap();
        kept
    }

    fn put_back(&self, backup: &Self) {
        self.become_one(&backup.name);
    }

    fn remove_data(&self) {
        self.become_one("blank");
    }

    // An empty database is what is left of a removed one.
    fn put_nothing(&self) {}

    async fn is_empty(&self) -> bool {
        self.tables().await.is_empty()
    }

    async fn content(&self) -> Vec<u8> {
        let mut content = Vec::new();
        for table in self.tables().await {
            let rows = self.ask(format!("SELECT t::TEXT FROM {table} AS t ORDER BY 1")).await;
            content.extend_from_slice(format!("{table}: {rows:?}\n").as_bytes());
        }
        content
    }

    async fn take_side(&self, from: &Self) {
        let sql = "SELECT relname::TEXT FROM pg_class WHERE relnamespace = 'side'::regnamespace AND relkind = 'r'";
        let mut to = self.connect().await;
        for table in from.ask(sql.to_owned()).await {
            let rows = from.ask(format!("SELECT t::TEXT FROM side.{table} AS t")).await;
            to.execute(AssertSqlSafe(format!("DELETE FROM side.{table}"))).await.unwrap();
            for row in rows {
                let insert = format!("INSERT INTO side.{table} SELECT ($1::side.{table}).*");
                sqlx::query(AssertSqlSafe(insert.replace("$1", &format!("'{}'", row.replace('\'', "''")))))
                    .execute(&mut to)
                    .await
                    .unwrap();
            }
        }
        to.close().await.unwrap();
    }

    /// In rows that are there, and in dead ones that a look into the pages still shows. The vacuum that follows a purge is
    /// waited for.
    async fn copies_of(&self, what: &str) -> usize {
        let mut found = 0;
        for table in self.tables().await {
            let sql = format!(
                "SELECT COUNT(*)::TEXT FROM generate_series(0, pg_relation_size('{table}') / 8192 - 1) AS block, \
                 side.heap_page_items(side.get_raw_page('{table}', block::INT)) AS item \
                 WHERE position('{what}'::BYTEA IN item.t_data) > 0"
            );
            found += self.ask(sql).await[0].parse::<usize>().unwrap();
        }
        found
    }

    /// After the vacuum that a server runs by itself when enough has changed.
    async fn size(&self) -> u64 {
        self.ask("VACUUM".to_owned()).await;
        let sql = "SELECT SUM(pg_total_relation_size(oid))::BIGINT::TEXT FROM pg_class \
                   WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
        self.ask(sql.to_owned()).await[0].parse().unwrap()
    }

    async fn tidy(&self) {
        for sql in ["ANALYZE", "VACUUM", "VACUUM FULL", "REINDEX SCHEMA public", "CLUSTER secrets USING secrets_pkey"] {
            self.ask(sql.to_owned()).await;
        }
    }

    fn ignoring(name: &str, act: &str, table: &str) -> String {
        format!("CREATE TRIGGER {name} BEFORE {act} ON {table} FOR EACH ROW EXECUTE FUNCTION side.nothing()")
    }

    fn renamed(table: &str, to: &str) -> String {
        format!("ALTER TABLE {table} RENAME TO {to}")
    }

    fn other_schemas() -> Vec<(&'static str, &'static str, SchemaFault)> {
        use SchemaFault::{Added, Changed, Missing};
        vec![
            (
                "CREATE TRIGGER t BEFORE DELETE ON secrets FOR EACH ROW EXECUTE FUNCTION side.nothing()",
                "trigger secrets.t",
                Added,
            ),
            ("ALTER TABLE head RENAME TO h; CREATE VIEW head AS SELECT * FROM h", "table h", Added),
            ("CREATE RULE r AS ON DELETE TO secrets DO INSTEAD NOTHING", "rule secrets.r", Added),
            ("ALTER TABLE secrets ENABLE ROW LEVEL SECURITY", "table secrets", Changed),
            ("CREATE POLICY p ON secrets USING (false)", "policy secrets.p", Added),
            ("CREATE TABLE side.more () INHERITS (secrets)", "table that inherits secrets.side.more", Added),
            ("ALTER TABLE secrets ALTER COLUMN name SET DEFAULT 'x'", "table secrets", Changed),
            ("ALTER TABLE secrets ALTER COLUMN deleted TYPE NUMERIC", "table secrets", Changed),
            ("ALTER TABLE secrets ALTER COLUMN name TYPE TEXT COLLATE \"POSIX\"", "table secrets", Changed),
            (
                "UPDATE pg_attribute SET attnotnull = false WHERE attrelid = 'secrets'::regclass AND attname = 'name'",
                "table secrets",
                Changed,
            ),
            (
                "ALTER TABLE secrets DROP CONSTRAINT secrets_tenant_vault_fkey",
                "constraint secrets.secrets_tenant_vault_fkey",
                Missing,
            ),
            (
                "ALTER TABLE secrets ADD CHECK (revision > 0) NOT VALID",
                "constraint secrets.secrets_revision_check",
                Added,
            ),
            ("ALTER TABLE secrets DISABLE TRIGGER ALL", "trigger secrets.RI_ConstraintTrigger_", Added),
            (
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'secrets_pkey'::regclass",
                "index secrets_pkey",
                Changed,
            ),
            (
                "UPDATE pg_index SET indisready = false WHERE indexrelid = 'secrets_by_purge'::regclass",
                "index secrets_by_purge",
                Changed,
            ),
            (
                "DROP INDEX secrets_by_purge; CREATE INDEX secrets_by_purge ON secrets (tenant, purge_at) WHERE tenant <> ''",
                "index secrets_by_purge",
                Changed,
            ),
            (
                "CREATE FUNCTION eq(TEXT, VARCHAR) RETURNS BOOLEAN LANGUAGE SQL AS 'SELECT true'",
                "function eq(text,character varying)",
                Added,
            ),
            ("CREATE SEQUENCE s", "relation S s", Added),
            ("CREATE MATERIALIZED VIEW m AS SELECT * FROM secrets", "relation m m", Added),
        ]
    }

    fn attacks_on_a_running_server() -> Vec<Attack> {
        let attack = |change, undo| Attack { change, undo };
        vec![
            attack(
                "ALTER TABLE secret_versions RENAME TO v0; CREATE VIEW secret_versions AS SELECT * FROM v0",
                "DROP VIEW secret_versions; ALTER TABLE v0 RENAME TO secret_versions",
            ),
            attack(
                "CREATE TRIGGER t BEFORE DELETE ON secrets FOR EACH ROW EXECUTE FUNCTION side.nothing()",
                "DROP TRIGGER t ON secrets",
            ),
            attack("CREATE TABLE x (y BIGINT)", "DROP TABLE x"),
            attack("CREATE RULE r AS ON DELETE TO secrets DO INSTEAD NOTHING", "DROP RULE r ON secrets"),
            attack("ALTER TABLE secrets ENABLE ROW LEVEL SECURITY", "ALTER TABLE secrets DISABLE ROW LEVEL SECURITY"),
            attack("CREATE TABLE side.more () INHERITS (secrets)", "DROP TABLE side.more"),
            attack("ALTER TABLE secrets DISABLE TRIGGER ALL", "ALTER TABLE secrets ENABLE TRIGGER ALL"),
            attack(
                "ALTER TABLE secrets ALTER COLUMN name SET DEFAULT 'x'",
                "ALTER TABLE secrets ALTER COLUMN name DROP DEFAULT",
            ),
            attack(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'secrets_pkey'::regclass",
                "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'secrets_pkey'::regclass",
            ),
        ]
    }

    /// A column of another type is another schema here.
    fn values_of_other_types() -> Vec<(&'static [&'static str], &'static str)> {
        vec![
            (&["ALTER TABLE machines ALTER COLUMN body TYPE BYTEA USING unhex('00FF')"], "table machines was changed"),
            (&["ALTER TABLE vaults ALTER COLUMN tag TYPE BIGINT USING 5"], "table vaults was changed"),
            (&["ALTER TABLE secrets ALTER COLUMN deleted TYPE TEXT USING 'never'"], "table secrets was changed"),
            (
                &[
                    "UPDATE pg_attribute SET attnotnull = false WHERE attrelid = 'machines'::regclass",
                    "UPDATE machines SET tenant = NULL",
                ],
                "table machines was changed",
            ),
            (
                &[
                    "UPDATE pg_attribute SET attnotnull = false WHERE attrelid = 'machines'::regclass",
                    "UPDATE machines SET tenant = NULL",
                    "UPDATE pg_attribute SET attnotnull = true WHERE attrelid = 'machines'::regclass AND attnum > 0",
                ],
                "a machine: its tenant",
            ),
        ]
    }

    fn ends_of_other_types() -> &'static [&'static str] {
        &["UPDATE audit SET hash = '' WHERE seq = 6", "UPDATE audit SET tenant = '\u{FFFD}', tag = '' WHERE seq = 6"]
    }
}

/// A session that takes itself for a replica checks no key between tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_keys_are_disabled_is_refused() {
    let place = Database::new();
    founded(&place).await.close().await;
    for (on, off) in [
        (
            "ALTER DATABASE {} SET session_replication_role = replica",
            "ALTER DATABASE {} RESET session_replication_role",
        ),
        // Tables of other names than ours, and one of ours, where a name is looked for first.
        ("ALTER DATABASE {} SET search_path = side, public", "ALTER DATABASE {} RESET search_path"),
    ] {
        place.ask(on.replace("{}", &place.name)).await;
        let refused = Store::open(place.engine(), StoreKeys::of_test()).await.err();
        assert!(refused.is_some(), "it opens after {on}");
        place.ask(off.replace("{}", &place.name)).await;
        Store::open(place.engine(), StoreKeys::of_test()).await.unwrap().close().await;
    }
}

/// What others do beside a running server is no alarm: maintenance, and a replica that starts and makes the schema that it
/// compares with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_and_other_replicas_are_no_changed_schema() {
    let place = Database::new();
    let store = founded(&place).await;
    place.tidy().await;
    let beside = Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap();
    tokio::time::sleep(Database::NOTICED_WITHIN).await;
    assert_eq!(store.secret(&ctx(1), &vault_id(1, "v"), "s", None).await.unwrap(), None);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    drop(beside);
}

/// A change that comes after a transaction has begun, and before it uses the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_changed_in_the_middle_of_a_transaction_is_not_written_by() {
    let place = Database::new();
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    place.sql("CREATE TRIGGER t BEFORE DELETE ON secrets FOR EACH ROW EXECUTE FUNCTION side.nothing()").await;
    tx.insert(&principal(1, 1)).await.unwrap();
    let refused = tx.commit(event("x")).await;
    assert!(matches!(refused, Err(StoreError::SchemaChanged)), "{refused:?}");
    assert!(store.snapshot().principal(tenant_id(1), principal_id(1)).is_none());
}

/// What is followed is read by key, however much else lies in the same vault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_changed_are_looked_up() {
    let place = Database::new();
    let store = with_secrets(&place, &[("s", 1), ("t", 2)]).await;
    place
        .sql(
            "INSERT INTO secret_versions SELECT tenant, vault, 'other-' || n, version, ordinal, content_type, tags, enabled, \
             nbf, exp, created, updated, wrapped_key, sealed_value, sealed_hash, revision, tag \
             FROM secret_versions, generate_series(1, 5000) AS n WHERE name = 's'",
        )
        .await;
    let statement = Sql::keys(VersionRow::KEYS_SQL, "(tenant, vault, name, version)", 2, 4);
    let of = |n| {
        let it = secret(1, "v", if n == 1 { "s" } else { "t" }, n);
        format!("'{}', '{}', '{}', '{}'", tenant_id(1), it.vault, it.name, it.version)
    };
    let plan = format!(
        "PREPARE looks(TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT) AS {}; EXPLAIN (ANALYZE) EXECUTE looks({}, {})",
        statement.text(),
        of(1),
        of(2)
    );
    let plan = place.ask(plan).await.join("\n");
    assert!(plan.contains("rows=2 ") && plan.contains("Index Scan"), "{plan}");
    assert!(!plan.contains("Rows Removed") && !plan.contains("Seq Scan"), "{plan}");
    drop(store);
}

/// A list reads its page by an index, however many there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_read_by_index() {
    let place = Database::new();
    let store = founded(&place).await;
    place
        .sql(
            "INSERT INTO users SELECT 'tenant', 'id-' || n, 'name-' || n, json_build_object('display_name', 'User ' || n, 'mail', 'm' || n), 1, '' FROM generate_series(1, 4000) AS n;
            INSERT INTO groups SELECT tenant, id, body, 1, '' FROM users;
            INSERT INTO applications SELECT tenant, id, json_build_object('display_name', id, 'object_id', id), 1, '' FROM users;
            INSERT INTO service_principals SELECT tenant, id, id, json_build_object('display_name', id, 'kind', CASE WHEN id LIKE '%0' THEN \
             json_build_object('ManagedIdentity', json_build_object('resource_id', id)) ELSE '\"Application\"'::json END), 1, '' FROM users;
            INSERT INTO deleted_objects SELECT tenant, id, json_build_object('display_name', id, 'kind', CASE WHEN id LIKE '%0' THEN 'user' ELSE 'group' END), 1, '' FROM users;
            INSERT INTO app_role_assignments SELECT tenant, id, json_build_object('principal', id, 'resource', id), 1, '' FROM users;
            INSERT INTO permission_grants SELECT tenant, id, json_build_object('client', id), 1, '' FROM users;
            ANALYZE",
        )
        .await;
    for (statement, index) in super::lists::statements(place.engine().dialect()) {
        let places = (1..=9).take_while(|n| statement.contains(&format!("${n}"))).count();
        let types = vec!["TEXT"; places - 1].join(", ");
        let values = vec!["'m'"; places - 2].join(", ");
        let comma = if values.is_empty() { "" } else { ", " };
        let plan = format!(
            "PREPARE lists({types}, BIGINT) AS {statement}; EXPLAIN EXECUTE lists('tenant', {values}{comma}100)"
        );
        let plan = place.ask(plan).await.join("\n");
        assert!(plan.contains(&format!(" {index} ")), "{statement}: {plan}");
        assert!(!plan.contains("Seq Scan"), "{statement}: {plan}");
    }
    drop(store);
}

/// A transaction that began before a purge may read what it removed: it goes when that one is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_while_somebody_read_goes_afterwards() {
    let place = Database::new();
    let store = with_secrets(&place, &[("doomed", 1)]).await;
    let mut reader = place.connect().await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM secret_versions";
    reader.execute(sqlx::raw_sql(begin)).await.unwrap();
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.secret_delete(&vault_id(1, "v"), "doomed", NOW, NOW).await.unwrap().unwrap();
    assert!(tx.secret_purge(&vault_id(1, "v"), "doomed").await.unwrap());
    tx.commit(event("x")).await.unwrap();
    assert!(place.copies_of("SEALED-doomed-1").await > 0, "nobody reads it");
    reader.execute("COMMIT").await.unwrap();
    until("it is vacuumed", async || place.copies_of("SEALED-doomed-1").await == 0).await;
}

/// A session of the server's.
pub(super) struct Session(PgConnection);

impl Session {
    /// Ends it; whether it was still there.
    pub(super) async fn end(mut self) -> bool {
        let is_there = self.0.execute("SELECT 1").await.is_ok();
        let _ = self.0.close().await;
        is_there
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        // Nobody waits for it.
        std::thread::spawn(move || cluster().remove(&name));
    }
}
