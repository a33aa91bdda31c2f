//! Another schema than the migrations make: a view in a table's place, a trigger, a table that was changed. Before a start,
//! and under a running server.

use super::{Attack, DataPlace, fixtures::*, writes::founded};
use crate::{
    domain::{resources::JoinToken, secrets::SecretVersion},
    store::*,
};

async fn try_open(place: &impl DataPlace) -> Result<Store, StoreError> {
    Store::open(place.engine(), StoreKeys::of_test()).await
}

pub(super) async fn another_schema_is_refused_at_start<P: DataPlace>(place: P) {
    founded(&place).await.close().await;
    let mut changes = P::other_schemas();
    changes.extend([
        ("ALTER TABLE secret_versions RENAME TO v0", "table v0", SchemaFault::Added),
        ("CREATE TABLE elsewhere (x BIGINT)", "table elsewhere", SchemaFault::Added),
        ("CREATE VIEW looks AS SELECT 1", "view looks", SchemaFault::Added),
        ("CREATE UNIQUE INDEX i ON secrets (tag)", "index i", SchemaFault::Added),
        ("DROP INDEX secrets_by_purge", "index secrets_by_purge", SchemaFault::Missing),
        ("DROP TABLE one_time", "table one_time", SchemaFault::Missing),
        ("ALTER TABLE secrets ADD COLUMN x BIGINT", "table secrets", SchemaFault::Changed),
        (
            "DROP INDEX audit_by_tenant; CREATE INDEX audit_by_tenant ON changes (tenant)",
            "index audit_by_tenant",
            SchemaFault::Changed,
        ),
    ]);
    for (sql, named, why) in changes {
        let copy = place.after_a_power_cut();
        copy.sql(sql).await;
        let error = try_open(&copy).await.err().unwrap_or_else(|| panic!("it opens after {sql}"));
        let StoreError::Schema { object, why: said } = &error else { panic!("{sql}: {error:?}") };
        // The engine counts the names that it makes.
        let object = object.get(..named.len()).filter(|_| named.ends_with('_')).unwrap_or(object);
        assert_eq!((object, *said), (named, why), "{sql}");
        assert!(error.to_string().contains("restore"), "{error}");
        for read in [
            Trail::open(copy.engine(), StoreKeys::of_test()).await.map(drop),
            Trail::accept(&copy.engine(), &StoreKeys::of_test(), NOW).await.map(drop),
        ] {
            assert!(matches!(read, Err(StoreError::Schema { .. })), "{read:?}");
        }
    }
    // What the engine adds for its own planning is no fault, and neither is data that was written anew.
    let copy = place.after_a_power_cut();
    copy.tidy().await;
    try_open(&copy).await.unwrap().close().await;
}

pub(super) async fn two_secrets(place: &impl DataPlace) -> Store {
    let store = founded(place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&subscription(1, 1)).await.unwrap();
    tx.insert(&group(1, "rg")).await.unwrap();
    tx.insert(&vault(1, "v")).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    tx.insert(&principal(1, 2)).await.unwrap();
    for (name, n) in [("s", 1), ("t", 3)] {
        tx.secret_add(&secret(1, "v", name, n)).await.unwrap();
        tx.secret_add(&secret(1, "v", name, n + 1)).await.unwrap();
    }
    tx.issue(&join_token(1, 1)).await.unwrap();
    tx.issue(&join_token(1, 2)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    store
}

pub(super) async fn another_schema_is_not_used_by_a_running_server<P: DataPlace>(place: P) {
    for Attack { change, undo } in P::attacks_on_a_running_server() {
        let place = place.another();
        let store = two_secrets(&place).await;
        let (one, v) = (ctx(1), vault_id(1, "v"));
        assert!(store.secret(&one, &v, "s", None).await.unwrap().is_some());
        let before = store.snapshot();
        let refused = async || {
            let read = store.secret(&one, &v, "s", None).await;
            assert!(matches!(read, Err(StoreError::SchemaChanged)), "{change}: {read:?}");
            let read = store.one_time::<JoinToken>(&join_token(1, 1).hash).await;
            assert!(matches!(read, Err(StoreError::SchemaChanged)), "{change}: {read:?}");
            let begun = store.begin(&one).await.err();
            assert!(matches!(begun, Some(StoreError::SchemaChanged)), "{change}: {begun:?}");
        };
        place.sql(change).await;
        tokio::time::sleep(P::NOTICED_WITHIN).await;
        refused().await;
        // Undone, or with the number set back, it is refused all the same.
        place.sql(P::NUMBER_SET_BACK).await;
        refused().await;
        place.sql(undo).await;
        refused().await;
        // What needs no row goes on: tokens, and the audit.
        assert!(*store.snapshot() == *before);
        store.audit(&one, &event("read")).unwrap();
        store.audit_verify().await.unwrap();
        store.close().await;
        let store = try_open(&place).await.unwrap();
        assert_eq!(store.secret(&one, &v, "s", None).await.unwrap(), Some(secret(1, "v", "s", 2)));
        store.close().await;
    }
}

/// Many copies of the row `of`, which say now and then that they are `as_if`: so one is chosen as that, and then shows what
/// it is.
fn swapped<P: DataPlace>(table: &str, column: &str, of: &str, as_if: &str) -> String {
    let columns: Vec<_> = match table {
        "secrets" => "tenant vault name written latest deleted purge_at revision tag",
        "secret_versions" => {
            "tenant vault name version ordinal content_type tags enabled nbf exp created updated wrapped_key sealed_value \
             sealed_hash revision tag"
        }
        _ => "tenant purpose hash id expires used_at body revision tag",
    }
    .split_whitespace()
    .map(|it| match it == column {
        true => {
            let now_and_then = P::NOW_AND_THEN;
            format!("CASE WHEN {it} = '{of}' AND {now_and_then} THEN '{as_if}' ELSE {it} END AS {it}")
        }
        false => it.to_owned(),
    })
    .collect();
    // An engine may look for a name's versions by the name that was asked for, and by the one that it shows.
    let versions = match table {
        "secrets" => swapped::<P>("secret_versions", "name", of, as_if) + ";",
        _ => String::new(),
    };
    format!(
        "{versions} {renamed}; \
         CREATE TABLE made_{table} AS SELECT * FROM was_{table} WHERE {column} <> '{as_if}'; \
         INSERT INTO made_{table} WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 600) \
         SELECT w.* FROM was_{table} AS w, n WHERE w.{column} = '{of}'; \
         CREATE VIEW {table} AS SELECT {columns} FROM made_{table}",
        renamed = P::renamed(table, &format!("was_{table}")),
        columns = columns.join(", "),
    )
}

/// Every row is good, and is another than the one that was asked for.
pub(super) async fn rows_that_were_not_asked_for_are_refused<P: DataPlace>(place: P) {
    let (one, v) = (ctx(1), vault_id(1, "v"));
    let [first, latest] = [1, 2].map(|n| secret(1, "v", "s", n).version);
    async fn refused<T: std::fmt::Debug>(mut read: impl AsyncFnMut() -> Result<T, StoreError>) -> bool {
        let mut found = false;
        for _ in 0..12 {
            let error = read().await.expect_err("it is served");
            assert!(matches!(error, StoreError::Tampered { .. }), "{error:?}");
            found |= matches!(error, StoreError::Tampered { why: Tampering::Misplaced, .. });
        }
        found
    }
    for (table, column, of, as_if) in [
        ("secret_versions", "version", &first, &latest),
        ("secrets", "name", &"t".to_owned(), &"s".to_owned()),
        ("one_time", "hash", &join_token(1, 2).hash, &join_token(1, 1).hash),
    ] {
        let place = place.another();
        let store = two_secrets(&place).await;
        store.core.schema.blind_of_test();
        place.sql(swapped::<P>(table, column, of, as_if).leak()).await;
        let found = match table {
            "one_time" => {
                refused(async || store.one_time::<JoinToken>(as_if).await).await
                    & refused(async || store.begin(&one).await?.redeem::<JoinToken>(as_if).await).await
            }
            _ => {
                refused(async || store.secret(&one, &v, "s", None).await).await
                    & refused(async || store.begin(&one).await?.secret(&v, "s", None).await).await
            }
        };
        assert!(found, "{table}: no row was found to be another than the one that was asked for");
        if table == "secret_versions" {
            assert!(refused(async || store.secret(&one, &v, "s", Some(&latest)).await).await);
        }
    }
}

/// A statement that says it is done, and did nothing.
pub(super) async fn what_was_not_written_is_not_acknowledged<P: DataPlace>(place: P) {
    let store = two_secrets(&place).await;
    let (one, v) = (ctx(1), vault_id(1, "v"));
    let mut tx = store.begin(&one).await.unwrap();
    tx.secret_delete(&v, "t", NOW, NOW).await.unwrap().unwrap();
    tx.insert(&application(1, 1, &["api://a"])).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    store.core.schema.blind_of_test();
    let tables = ["secrets", "secret_versions", "service_principals", "one_time", "application_uris", "applications"];
    for (at, table) in tables.into_iter().enumerate() {
        for act in ["INSERT", "UPDATE", "DELETE"] {
            place.sql(P::ignoring(&format!("t_{at}_{act}"), act, table).leak()).await;
        }
    }
    macro_rules! refused {
        ($($call:ident $args:tt),*) => { $({
            let mut tx = store.begin(&one).await.unwrap();
            let said = tx.$call $args .await.map(drop);
            let is_refused = matches!(&said, Err(StoreError::Tampered { .. } | StoreError::Exists { .. }));
            assert!(is_refused, "{}: {said:?}", stringify!($call));
            assert!(matches!(tx.commit(event("x")).await, Err(StoreError::Aborted)));
        })* };
    }
    refused!(
        secret_purge(&v, "t"),
        secret_add(&secret(1, "v", "new", 7)),
        secret_add(&secret(1, "v", "s", 7)),
        secret_update(&SecretVersion { enabled: false, ..secret(1, "v", "s", 1) }),
        secret_delete(&v, "s", NOW, NOW),
        secret_recover(&v, "t"),
        put(&crate::domain::directory::ServicePrincipal { epoch: 9, ..principal(1, 1) }),
        put(&application(1, 1, &["api://b"])),
        insert(&principal(1, 3)),
        issue(&join_token(1, 3))
    );
    let mut tx = store.begin(&one).await.unwrap();
    let said = tx.remove::<crate::domain::directory::ServicePrincipal>(&principal_id(1)).await;
    assert!(matches!(said, Err(StoreError::Tampered { why: Tampering::Unwritten, .. })), "{said:?}");
    drop(tx);
    let mut tx = store.begin(&one).await.unwrap();
    let said = tx.redeem::<JoinToken>(&join_token(1, 1).hash).await;
    assert!(matches!(said, Err(StoreError::Tampered { .. })), "{said:?}");
}

/// A row that was moved out of a purge's way would survive it.
pub(super) async fn a_purge_that_misses_a_version_is_refused(place: impl DataPlace) {
    let store = two_secrets(&place).await;
    let (one, v) = (ctx(1), vault_id(1, "v"));
    let mut tx = store.begin(&one).await.unwrap();
    tx.secret_delete(&v, "t", NOW, NOW).await.unwrap().unwrap();
    tx.commit(event("x")).await.unwrap();
    for hide in [
        "UPDATE secret_versions SET name = 'elsewhere' WHERE name = 't' AND ordinal = 1",
        "UPDATE secret_versions SET vault = 'elsewhere' WHERE name = 't' AND ordinal = 1",
        "DELETE FROM secret_versions WHERE name = 't' AND ordinal = 1",
        "UPDATE secret_versions SET enabled = 0 WHERE name = 't' AND ordinal = 1",
    ] {
        place.sql("DROP TABLE IF EXISTS side.kept; CREATE TABLE side.kept AS SELECT * FROM secret_versions").await;
        place.sql(hide).await;
        let mut tx = store.begin(&one).await.unwrap();
        let said = tx.secret_purge(&v, "t").await;
        assert!(matches!(said, Err(StoreError::Tampered { kind: Kind::SecretVersion, .. })), "{hide}: {said:?}");
        assert!(tx.commit(event("x")).await.is_err());
        let mut tx = store.begin(&one).await.unwrap();
        let said = tx.secrets_purge_all(&v).await;
        assert!(matches!(said, Err(StoreError::Tampered { kind: Kind::SecretVersion, .. })), "{hide}: {said:?}");
        drop(tx);
        place.sql("DELETE FROM secret_versions; INSERT INTO secret_versions SELECT * FROM side.kept").await;
    }
    let mut tx = store.begin(&one).await.unwrap();
    assert!(tx.secret_purge(&v, "t").await.unwrap());
    assert_eq!(tx.secrets_purge_all(&v).await.unwrap(), 1);
    tx.commit(event("x")).await.unwrap();
    store.close().await;
    try_open(&place).await.unwrap();
}

/// What has ended is told by the tag, and not by the column that the statement looks at.
pub(super) async fn what_an_edit_made_expire_is_not_forgotten(place: impl DataPlace) {
    let store = two_secrets(&place).await;
    place.sql("UPDATE one_time SET expires = 1").await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let said = tx.forget_expired(NOW).await;
    assert!(matches!(said, Err(StoreError::Tampered { why: Tampering::Forged, .. })), "{said:?}");
    assert!(tx.commit(event("x")).await.is_err());
    let left = store.rows("SELECT COUNT(*) FROM one_time", &[]).await.unwrap();
    assert_eq!(left[0].int(0).unwrap(), 2);
}
