//! Restarts, crashes, other processes, newer data, and a database nobody asks.

use super::{DataPlace, fixtures::*, writes::founded};
use crate::store::*;

pub(super) async fn a_restart_finds_everything(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    insert_one_of_each(&mut tx).await;
    tx.commit(event("x")).await.unwrap();
    let before = store.snapshot();
    store.close().await;
    let store = place.open().await;
    let now = store.snapshot();
    assert!(*now == *before);
    let one = tenant_id(1);
    assert_eq!(**now.application_for_resource(one, "api://a").unwrap(), application(1, 1, &["api://a"]));
    assert_eq!(**now.principal_of_client(one, client(1)).unwrap(), hot(&principal(1, 1)));
    assert_eq!(*now.signing_keys(one)[0], signing_key(1, 1));
    assert_eq!(**now.subscription(one, subscription_id(1)).unwrap(), subscription(1, 1));
    assert_eq!(**now.resource_group(one, &group_id(1, "rg")).unwrap(), group(1, "rg"));
    assert_eq!(store.record(&ctx(1), &machine(1, 1).id).await.unwrap(), Some(machine(1, 1)));
    assert_eq!(store.record(&ctx(1), &principal_id(1)).await.unwrap(), Some(principal(1, 1)));
    assert_eq!(**now.vault("v").unwrap(), vault(1, "v"));
    let given = assignment(1, 1, &vault_id(1, "v"), 1);
    assert_eq!(store.record(&ctx(1), &given.id).await.unwrap(), Some(given.clone()));
    let (whose, found) = now.assignment(one, given.id).unwrap();
    assert_eq!((whose, found.role, found.scope.is(&given.scope)), (given.principal, given.role, true));
    assert_eq!(**now.custom_role(one, custom_role(1, 1).id).unwrap(), custom_role(1, 1));
    assert_eq!(store.secret(&ctx(1), &vault_id(1, "v"), "s", None).await.unwrap(), Some(secret(1, "v", "s", 1)));
    assert_eq!(now.tenants().count(), 1);
}

pub(super) async fn a_power_cut_loses_no_acknowledged_write(place: impl DataPlace) {
    let store = founded(&place).await;
    for n in 0..20 {
        let mut tx = store.begin(&ctx(1)).await.unwrap();
        tx.insert(&principal(1, n)).await.unwrap();
        tx.commit(event("x")).await.unwrap();
        store.audit(&ctx(1), &event("read")).unwrap();
    }
    assert_eq!(store.audit_verify().await.unwrap(), 41, "what was verified is in the chain");
    // In progress when the power goes: not kept.
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&principal(1, 99)).await.unwrap();
    let found = place.after_a_power_cut();
    drop(tx);
    let again = found.open().await;
    assert!(*again.snapshot() == *store.snapshot());
    assert_eq!(again.snapshot().principals(tenant_id(1)).count(), 20);
    assert_eq!(again.audit_verify().await.unwrap(), 41);
    // The spool is gone and the chain is ahead of it: it goes on from there.
    again.audit(&ctx(1), &event("read")).unwrap();
    assert_eq!(again.audit_verify().await.unwrap(), 42);
}

/// Killed while the database has some of the records, or none.
pub(super) async fn a_kill_loses_no_record(place: impl DataPlace) {
    let store = founded(&place).await;
    // Nothing can be moved while this lasts.
    let tx = store.begin(&ctx(1)).await.unwrap();
    for n in 0..300 {
        store.audit(&ctx(1), &event(&format!("read/{n}"))).unwrap();
    }
    let killed = place.after_a_kill();
    drop(tx);
    let mut moments = vec![killed, place.after_a_kill()];
    store.audit_verify().await.unwrap();
    moments.push(place.after_a_kill());
    for found in moments {
        let again = found.open().await;
        let kept = again.audit_tail(&ctx(1), 1000).await.unwrap();
        let expected: Vec<_> = (0..300).map(|n| format!("read/{n}")).collect();
        assert_eq!(kept.into_iter().skip(1).map(|it| it.action).collect::<Vec<_>>(), expected, "each once, in order");
        assert_eq!(again.audit_verify().await.unwrap(), 301);
    }
}

pub(super) async fn the_data_belongs_to_one_process(place: impl DataPlace) {
    let store = founded(&place).await;
    let second = Store::open(place.engine(), crate::store::StoreKeys::of_test()).await.err();
    assert!(matches!(second, Some(StoreError::InUse { .. })), "{second:?}");
    store.close().await;
    place.open().await;
}

pub(super) async fn a_lease_is_taken_renewed_and_ends(place: impl DataPlace) {
    const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);
    let store = founded(&place).await;
    assert!(store.lease("work", NOW, MINUTE).await.unwrap());
    assert!(store.lease("work", NOW + 30, MINUTE).await.unwrap(), "renewed");
    place.sql("UPDATE leases SET holder = 'another'").await;
    for (after, is_ours) in [(30, false), (89, false), (90, true)] {
        assert_eq!(store.lease("work", NOW + after, MINUTE).await.unwrap(), is_ours, "{after} seconds later");
    }
    // By a clock that was a year ahead: nobody would ever work.
    place.sql("UPDATE leases SET holder = 'another', until = until + 31536000").await;
    assert!(store.lease("work", NOW + 91, MINUTE).await.unwrap());
    place.sql("UPDATE leases SET holder = 'another'").await;
    store.release("work").await.unwrap();
    assert!(!store.lease("work", NOW + 92, MINUTE).await.unwrap(), "it gave back what was not its own");
    place.sql("UPDATE leases SET until = 0").await;
    assert!(store.lease("work", NOW + 92, MINUTE).await.unwrap());
    store.release("work").await.unwrap();
    place.sql("INSERT INTO leases (name, holder, until) VALUES ('work', 'another', 9999999999999)").await;
    assert_eq!(store.audit_verify().await.unwrap(), 1, "leases are not recorded");
}

pub(super) async fn newer_data_is_refused(place: impl DataPlace) {
    founded(&place).await.close().await;
    place
        .sql(
            "INSERT INTO schema_migrations (version, name, checksum) \
             SELECT 77, 'from the future', checksum FROM schema_migrations WHERE version = 1",
        )
        .await;
    let refused = Store::open(place.engine(), crate::store::StoreKeys::of_test()).await.err().unwrap();
    assert!(matches!(refused, StoreError::SchemaTooNew { found: 77, known: 2 }), "{refused}");
    assert!(refused.to_string().contains("schema 77"), "{refused}");
}

pub(super) async fn data_of_another_build_is_refused_with_what_to_do(place: impl DataPlace) {
    founded(&place).await.close().await;
    place.sql("UPDATE schema_migrations SET checksum = (SELECT state FROM head)").await;
    let refused = Store::open(place.engine(), crate::store::StoreKeys::of_test()).await.err().unwrap();
    assert!(matches!(refused, StoreError::SchemaUnknown(_)), "{refused}");
    assert!(refused.to_string().contains("name an empty directory"), "{refused}");
}

pub(super) async fn reading_the_snapshot_asks_the_database_nothing(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    tx.insert(&assignment(1, 1, &group_id(1, "rg"), 1)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    place.sql("ALTER TABLE service_principals RENAME TO gone; ALTER TABLE role_assignments RENAME TO gone_too").await;
    let before = store.counters();
    for _ in 0..1000 {
        let now = store.snapshot();
        assert!(now.principal_of_client(tenant_id(1), client(1)).is_some());
        assert_eq!(now.assignments_of(tenant_id(1), principal_id(1)).len(), 1);
    }
    assert_eq!(store.counters(), before);
    assert!(before.reads > 0 && before.writes > 0, "nothing is counted");
}

/// As after a commit whose answer was lost: the database has what the snapshot has not.
pub(super) async fn a_database_that_is_ahead_is_loaded_again(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    let revision = tx.commit(event("x")).await.unwrap();
    let core = &store.core;
    let (snapshot, marks) = (core.snapshot.load_full(), core.live.marks());
    let mut writer = core.writer.lock().await;
    let known = (writer.ready(core).await.unwrap(), writer.rows_now());
    drop(writer);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.put(&crate::domain::directory::ServicePrincipal { epoch: 5, ..principal(1, 1) }).await.unwrap();
    let next = tx.commit(event("its answer is lost")).await.unwrap();
    core.snapshot.store(snapshot);
    core.live.replace(marks);
    core.writer.lock().await.forget_of_test(known);
    assert_eq!(store.snapshot().revision(), revision);
    let tx = store.begin(&ctx(1)).await.unwrap();
    assert_eq!(tx.snapshot().revision(), next);
    assert_eq!(tx.snapshot().principal(tenant_id(1), principal_id(1)).unwrap().epoch, 5);
    drop(tx);
    // What it loaded is what it goes on from.
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.put(&principal(1, 1)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    store.close().await;
    place.open().await;
}

pub(super) async fn a_write_of_unknown_outcome_is_looked_up(place: impl DataPlace) {
    let store = founded(&place).await;
    let statements = &store.core.statements;
    let mut writer = store.core.writer.lock().await;
    let kept = writer.ready(&store.core).await.unwrap();
    assert!(writer.settle(statements, kept.clone(), StoreError::Closed).await.is_ok(), "it is in the log: it was kept");
    let lost = super::super::ends::LogHead { hash: "another".to_owned(), ..kept };
    assert!(matches!(writer.settle(statements, lost, StoreError::Closed).await, Err(StoreError::Closed)));
}
