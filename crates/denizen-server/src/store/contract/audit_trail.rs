//! The audit trail: the chain, the group commit, and a database that goes away.

use std::{
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use denizen_keys::hash;

use super::{Place, nouns::*, writes::founded};
use crate::{
    domain::{Actor, Ctx},
    store::*,
};

async fn actions(store: &Store, ctx: &Ctx) -> Vec<String> {
    store.audit_tail(ctx, 100_000).await.unwrap().into_iter().map(|it| it.action).collect()
}

pub(super) async fn every_write_is_recorded_with_its_actor(place: impl Place) {
    let store = founded(&place).await;
    let by = Ctx { actor: Actor::Principal { id: principal_id(3), client: client(3) }, ..ctx(1) };
    let mut tx = store.begin(&by).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    let revision = tx.commit(event("principal/create")).await.unwrap();
    let refused = AuditEvent {
        outcome: Outcome::Refused,
        target: "line one\nline two".to_owned(),
        detail: Some(serde_json::json!({ "why": "not yours" })),
        ..event("secret/get")
    };
    store.audit(&by, refused.clone()).await.unwrap();
    store.audit_soon(&ctx(2), event("elsewhere")).unwrap();

    let tail = store.audit_tail(&by, 2).await.unwrap();
    assert_eq!(tail.iter().map(|it| it.seq).collect::<Vec<_>>(), [2, 3]);
    let AuditRecord { at, tenant, actor, request_id, revision: of, .. } = tail[0].clone();
    assert_eq!((at, tenant, request_id, of), (by.now, by.tenant, by.request_id, Some(revision)));
    assert_eq!(actor, format!("principal:{}", principal_id(3)));
    let AuditRecord { action, outcome, target, because, revision: of, detail, .. } = tail[1].clone();
    assert_eq!(AuditEvent { action, outcome, target, because, detail }, refused);
    assert_eq!(of, None, "it changed nothing");
    assert_eq!(actions(&store, &ctx(1)).await.len(), 3, "another tenant's event is among them");
}

pub(super) async fn an_edited_row_is_found(place: impl Place) {
    let store = founded(&place).await;
    for n in 0..5 {
        store.audit(&ctx(1), event(&format!("read/{n}"))).await.unwrap();
    }
    assert_eq!(store.audit_verify().await.unwrap(), 6);
    place.sql("UPDATE audit SET line = replace(line, 'read/2', 'read/9') WHERE seq = 4").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 4);
    place.sql("UPDATE audit SET line = replace(line, 'read/9', 'read/2') WHERE seq = 4").await;
    assert_eq!(store.audit_verify().await.unwrap(), 6);
    // Shown to another tenant.
    place.sql("UPDATE audit SET tenant = 'a0000000-0000-0000-0000-000000000002' WHERE seq = 3").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 3);
}

pub(super) async fn a_removed_row_is_found(place: impl Place) {
    let store = founded(&place).await;
    for n in 0..5 {
        store.audit(&ctx(1), event(&format!("read/{n}"))).await.unwrap();
    }
    // The last ones: the chain that is left is whole, but it is not the one this process wrote.
    place.sql("CREATE TABLE kept AS SELECT * FROM audit; DELETE FROM audit WHERE seq > 4").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 5);
    place.sql("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept").await;
    assert_eq!(store.audit_verify().await.unwrap(), 6);
    place.sql("DELETE FROM audit WHERE seq = 2").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 2);
}

/// Whoever can write to the database can compute hashes too. The last one is also in this process's memory.
pub(super) async fn a_forged_end_is_found(place: impl Place) {
    let store = founded(&place).await;
    for n in 0..3 {
        store.audit(&ctx(1), event(&format!("read/{n}"))).await.unwrap();
    }
    let tail = store.audit_tail(&ctx(1), 9).await.unwrap();
    let forge = |text: &str| {
        let mut hash = String::new();
        let mut last = String::new();
        for mut record in tail.clone() {
            if record.seq == 4 {
                record.because = text.to_owned();
            }
            last = serde_json::to_string::<AuditRecord>(&record).unwrap();
            hash = hash::hex(&hash::sha256(format!("{hash}{last}").as_bytes()));
        }
        format!("UPDATE audit SET line = '{last}', hash = '{hash}' WHERE seq = 4").leak()
    };
    place.sql(forge("forged")).await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 4);
    place.sql(forge("a test")).await;
    assert_eq!(store.audit_verify().await.unwrap(), 4, "the chain is not what is documented");
}

pub(super) async fn many_share_a_commit(place: impl Place) {
    let store = founded(&place).await;
    let before = store.counters();
    // While a transaction holds the writer, all of these come to wait; then they go together.
    let tx = store.begin(&ctx(1)).await.unwrap();
    let by = ctx(1);
    let mut waiting: Vec<_> = (0..400).map(|n| Box::pin(store.audit(&by, event(&format!("read/{n}"))))).collect();
    let mut idle = Context::from_waker(Waker::noop());
    for one in &mut waiting {
        assert!(one.as_mut().poll(&mut idle).is_pending());
    }
    tx.commit(event("x")).await.unwrap();
    for one in waiting {
        one.await.unwrap();
    }
    let after = store.counters();
    assert_eq!(after.audit_events - before.audit_events, 400);
    assert_eq!(after.audit_commits - before.audit_commits, 1);
    // BEGIN, the transaction's own record, COMMIT; the four hundred are counted above.
    assert_eq!(after.writes - before.writes, 3);

    // And when nobody arranges it, many at once still share.
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let store = store.clone();
        tasks.spawn(async move { store.audit(&ctx(1), event(&format!("more/{n}"))).await });
    }
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
    let end = store.counters();
    assert_eq!(end.audit_events - after.audit_events, 1000);
    assert!(end.audit_commits - after.audit_commits <= 500, "{} commits", end.audit_commits - after.audit_commits);
    assert_eq!(store.audit_verify().await.unwrap(), 1402);
}

pub(super) async fn a_database_that_goes_away_refuses_those_who_wait_and_keeps_the_rest(place: impl Place) {
    let store = founded(&place).await;
    place.sql("ALTER TABLE audit RENAME TO audit_away").await;
    assert!(matches!(store.audit(&ctx(1), event("read/refused")).await, Err(StoreError::Unavailable(_))));
    for n in 0..3 {
        store.audit_soon(&ctx(1), event(&format!("token/{n}"))).unwrap();
    }
    // Those who wait are told soon, whoever waits before them.
    let told = tokio::time::timeout(Duration::from_secs(5), store.audit(&ctx(1), event("read/refused"))).await;
    assert!(matches!(told, Ok(Err(_))), "{told:?}");
    assert!(store.snapshot().tenant(tenant_id(1)).is_some());
    store.audit_soon(&ctx(1), event("token/3")).unwrap();
    // The group they are in is tried, and fails, and is kept.
    let asked = || store.counters().reads + store.counters().writes;
    let (before, mut waited) = (asked(), 0);
    while asked() < before + 4 {
        waited += 1;
        assert!(waited < 2000, "it is not tried again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = tokio::time::timeout(Duration::from_secs(5), async {
        for _ in 0..50 {
            assert!(store.audit(&ctx(1), event("read/refused")).await.is_err());
        }
    });
    assert!(told.await.is_ok(), "those who wait are refused only when it is tried again");

    place.sql("ALTER TABLE audit_away RENAME TO audit").await;
    let mut tries = 0;
    while store.audit(&ctx(1), event("read/again")).await.is_err() {
        tries += 1;
        assert!(tries < 500, "it does not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        actions(&store, &ctx(1)).await,
        ["tenant/create", "token/0", "token/1", "token/2", "token/3", "read/again"],
        "each once and in order, and nothing that was refused"
    );
    assert_eq!(store.audit_verify().await.unwrap(), 6);
}

pub(super) async fn a_full_queue_refuses(place: impl Place) {
    let store = founded(&place).await;
    // A transaction in progress: nothing can be written, and nothing has failed.
    let tx = store.begin(&ctx(1)).await.unwrap();
    let mut taken = 0u64;
    while store.audit_soon(&ctx(1), event("token")).is_ok() {
        taken += 1;
        assert!(taken <= 65_536, "the queue has no end");
    }
    assert_eq!(taken, 65_536);
    assert!(matches!(store.audit_soon(&ctx(1), event("token")), Err(StoreError::AuditFull)));
    assert!(matches!(pin!(store.audit(&ctx(1), event("read"))).await, Err(StoreError::AuditFull)));
    drop(tx);
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.audit_verify().await.unwrap(), taken + 1, "what was accepted was not written");
    store.audit(&ctx(1), event("read")).await.unwrap();
}

pub(super) async fn closing_writes_what_waits(place: impl Place) {
    let store = founded(&place).await;
    for n in 0..2000 {
        store.audit_soon(&ctx(1), event(&format!("token/{n}"))).unwrap();
    }
    let other = store.clone();
    store.close().await;
    assert!(matches!(other.audit_soon(&ctx(1), event("late")), Err(StoreError::Closed)));
    assert!(matches!(other.audit(&ctx(1), event("late")).await, Err(StoreError::Closed)));
    assert!(matches!(other.begin(&ctx(1)).await.err(), Some(StoreError::Closed)));
    assert!(other.snapshot().tenant(tenant_id(1)).is_some());
    drop(other);
    let store = place.open().await;
    let expected: Vec<_> =
        std::iter::once("tenant/create".to_owned()).chain((0..2000).map(|n| format!("token/{n}"))).collect();
    assert_eq!(actions(&store, &ctx(1)).await, expected);
}
