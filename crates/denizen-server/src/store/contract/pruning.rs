//! What retention removes, and what it leaves.

use std::{fs, time::Duration};

use denizen_wire::UnixTime;

use super::attacks::audit_ctx;
use super::{DataPlace, fixtures::*, writes::founded};
use crate::{domain::Ctx, store::*};

const DAY: i64 = 24 * 60 * 60;

fn on_day(day: i64) -> Ctx {
    Ctx { now: UnixTime(NOW.0 + day * DAY), ..ctx(1) }
}

/// A change and a read, on a day.
async fn live(store: &Store, day: i64) {
    let mut tx = store.begin(&on_day(day)).await.unwrap();
    tx.put(&principal(1, 1)).await.unwrap();
    tx.commit(event(&format!("change/{day}"))).await.unwrap();
    store.audit(&on_day(day), &event(&format!("read/{day}"))).unwrap();
    store.audit_tail(&ctx(1), 1).await.unwrap();
}

fn days(days: u64) -> Retention {
    Retention { age: Some(Duration::from_secs(days * 24 * 60 * 60)), bytes: None }
}

async fn count(store: &Store, sql: &'static str) -> u64 {
    store.rows(sql, &[]).await.unwrap()[0].count(0).unwrap()
}

pub(super) async fn old_records_go_and_the_rest_is_verified(place: impl DataPlace) {
    let store = founded(&place).await;
    for day in 1..=10 {
        live(&store, day).await;
    }
    let now = on_day(10).now;
    assert_eq!(store.prune(days(11), now).await.unwrap(), Pruned::default());
    assert_eq!(store.audit_verify().await.unwrap(), 21);
    // The tenant's making, and the first five days.
    let pruned = store.prune(days(4), now).await.unwrap();
    assert_eq!(pruned.records, 11);
    let own = store.audit_tail(&audit_ctx(), 10).await.unwrap();
    assert_eq!(own[0].action, "audit/prune");
    let chain = &*store.core.chain.id;
    assert_eq!(own[0].detail, Some(serde_json::json!({ "chain": chain, "from": 1, "to": 11 })));
    assert!(own[0].because.contains("older"), "{}", own[0].because);
    let kept: Vec<_> = store.audit_tail(&ctx(1), 100).await.unwrap().into_iter().map(|it| it.action).collect();
    assert_eq!((kept.len(), kept[0].as_str()), (10, "change/6"));
    assert_eq!(own[1].action, "changes/prune");
    assert_eq!(store.audit_verify().await.unwrap(), 12);
    assert_eq!(store.audit_health().pruned, 11);
    assert_eq!(store.prune(days(4), now).await.unwrap(), Pruned::default(), "it is done once");
    store.close().await;
    // A restart goes on from there, and so does who kept a head that is still in it.
    let store = place.open().await;
    assert_eq!(store.audit_verify().await.unwrap(), 12);
    live(&store, 11).await;
    assert_eq!(store.audit_verify().await.unwrap(), 14);
    store.close().await;
    let trail = Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap();
    let kept = Head::parse(&fs::read_to_string(place.engine().anchor()).unwrap(), &StoreKeys::of_test()).unwrap();
    let verified = trail.verify(Some(&kept)).await.unwrap().verified;
    assert_eq!((verified.records, verified.first, verified.given_up), (14, 12, 0));
    // What it says can be compared for as long as its record is there, and it is said when that is over.
    let store = place.open().await;
    for day in 12..20 {
        live(&store, day).await;
    }
    store.prune(days(3), on_day(19).now).await.unwrap();
    store.audit_verify().await.unwrap();
    store.close().await;
    let trail = Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap();
    trail.verify(None).await.unwrap();
    let error = trail.verify(Some(&kept)).await.unwrap_err();
    assert!(error.to_string().contains("give a later head"), "{error}");
}

/// Ten times what is kept is written, with small limits.
pub(super) async fn the_size_stays_bounded(place: impl DataPlace) {
    const LIMIT: u64 = 512 * 1024;
    let store = founded(&place).await;
    let kept = Retention { age: None, bytes: Some(LIMIT) };
    let long = "x".repeat(1000);
    let (mut most, mut slowest) = (0, Duration::ZERO);
    for round in 0..40 {
        for n in 0..64 {
            store.audit(&ctx(1), &AuditEvent::allowed(&format!("read/{round}/{n}"), &long, "a test")).unwrap();
        }
        for _ in 0..64 {
            let mut tx = store.begin(&ctx(1)).await.unwrap();
            tx.put(&principal(1, 1)).await.unwrap();
            tx.commit(event("change")).await.unwrap();
        }
        store.audit_tail(&ctx(1), 1).await.unwrap();
        let began = std::time::Instant::now();
        store.prune(kept, NOW).await.unwrap();
        slowest = slowest.max(began.elapsed());
        assert!(store.audit_health().chain_bytes <= LIMIT + 8 * 1024, "{}", store.audit_health().chain_bytes);
        let size = place.size().await;
        if round == 20 {
            most = size;
        }
    }
    let (written, end) = (store.core.heads.borrow().total, place.size().await);
    assert!(written > 10 * LIMIT, "only {written}");
    assert!(end <= most + 256 * 1024, "it went on growing: {most}, then {end}");
    assert!(store.audit_verify().await.unwrap() > 100);
    assert!(count(&store, "SELECT COUNT(*) FROM changes").await < 1000);
    println!("{written} bytes written, {end} kept, slowest pruning {slowest:?}");
    store.close().await;
    let store = place.open().await;
    assert!(store.audit_verify().await.unwrap() > 100);
    assert!(store.audit_health().chain_bytes <= LIMIT + 8 * 1024);
}

pub(super) async fn what_the_snapshot_is_loaded_by_stays(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut tx = store.begin(&on_day(1)).await.unwrap();
    tx.insert(&subscription(1, 1)).await.unwrap();
    tx.insert(&group(1, "rg")).await.unwrap();
    tx.insert(&vault(1, "a")).await.unwrap();
    tx.insert(&vault(1, "b")).await.unwrap();
    tx.insert(&signing_key(1, 1)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    for n in 1..=3 {
        let mut tx = store.begin(&on_day(2)).await.unwrap();
        tx.secret_add(&secret(1, "a", "s", n)).await.unwrap();
        tx.commit(event("x")).await.unwrap();
    }
    for day in 3..50 {
        live(&store, day).await;
    }
    let before = store.snapshot();
    let pruned = store.prune(days(5), on_day(50).now).await.unwrap();
    assert!(pruned.changes > 30, "{pruned:?}");
    store.close().await;
    let store = place.open().await;
    assert!(*store.snapshot() == *before, "another snapshot is loaded");
    assert_eq!(store.snapshot().revision(), before.revision());
    let left = count(&store, "SELECT COUNT(*) FROM changes WHERE parent IS NOT NULL").await;
    assert_eq!(left, 4, "the newest of each vault and of each kind: both vaults, a secret, its version");
    let changes = store.changes_since(&ctx(1), Revision(0), 1000).await.unwrap();
    assert!(changes.iter().any(|change| change.kind == Kind::SigningKey));
    live(&store, 51).await;
    store.audit_verify().await.unwrap();
}

pub(super) async fn a_pruned_front_that_is_forged_is_found(place: impl DataPlace) {
    let store = founded(&place).await;
    for day in 1..=6 {
        live(&store, day).await;
    }
    place.sql("CREATE TABLE side.kept AS SELECT * FROM audit").await;
    // Somebody removes the front, as retention would.
    place.sql("DELETE FROM audit WHERE seq < 4").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 1);
    place
        .sql("INSERT INTO audit_start (chain, seq, hash, total, why, tag) SELECT chain, 3, hash, 0, 'pruned', tag FROM kept \
             WHERE last = 3")
        .await;
    assert!(store.audit_verify().await.unwrap_err().why.contains("start"));
    assert!(store.prune(days(1), on_day(6).now).await.is_err());
    place.sql("DELETE FROM audit_start; DELETE FROM audit; INSERT INTO audit SELECT * FROM kept").await;
    // A forged row at the front is not removed as if it were ours.
    place.sql("UPDATE audit SET at = 0, hash = 'x' WHERE seq = 3").await;
    let error = store.prune(days(4), on_day(6).now).await.unwrap_err();
    assert!(matches!(error, StoreError::Trail(TrailFault::Rewritten { seq: 3 })), "{error}");
    place.sql("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept").await;
    store.prune(days(4), on_day(6).now).await.unwrap();
    store.audit_verify().await.unwrap();
    // What was removed is put back.
    place.sql("INSERT INTO audit SELECT * FROM kept WHERE seq = 2").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 2);
}

/// Chains that nobody wrote under the root key: they neither shorten what is kept nor keep what is to go.
pub(super) async fn what_somebody_put_beside_the_trail_takes_no_share_of_it(place: impl DataPlace) {
    let store = founded(&place).await;
    for day in 1..=6 {
        live(&store, day).await;
    }
    let size = store.audit_health().chain_bytes;
    for n in 0..50 {
        let garbage = format!(
            "INSERT INTO audit SELECT '{n:032x}', seq, last, tenant, at, revision, total, spool, state, hash, tag, lines \
             FROM audit WHERE chain = '{}' AND seq > {};
             INSERT INTO audit_start VALUES ('{n:032x}', 0, '', {n}, 'pruned', zeroblob(32))",
            store.core.chain.id,
            n % 12
        );
        place.sql(garbage.leak()).await;
    }
    let kept = Retention { age: None, bytes: Some(size) };
    assert_eq!(store.prune(kept, on_day(6).now).await.unwrap(), Pruned::default(), "it erased itself");
    assert_eq!(store.audit_verify().await.unwrap(), 13);
    assert_eq!(store.prune(days(3), on_day(6).now).await.unwrap().records, 5);
    let pruned = store.prune(days(1), on_day(6).now).await.unwrap();
    assert!(pruned.records > 0 && pruned.changes > 0, "{pruned:?}");
    store.close().await;
    // They are told by who goes through the trail.
    let trail = Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap();
    let broken = trail.verify(None).await.unwrap_err().to_string();
    assert!(broken.contains("chain 0000"), "{broken}");
}

pub(super) async fn records_that_were_given_up_go_when_their_time_comes(place: impl DataPlace) {
    let store = founded(&place).await;
    live(&store, 1).await;
    store.close().await;
    place.sql("UPDATE audit SET lines = replace(lines, 'change', 'nothing') WHERE seq = 2; UPDATE audit SET hash = 'x' WHERE seq = 3").await;
    let accepted = Trail::accept(&place.engine(), &StoreKeys::of_test(), on_day(2).now).await.unwrap().unwrap();
    assert_eq!((accepted.seq, accepted.given_up), (4, 3));
    let trail = Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap();
    let verified = trail.verify(None).await.unwrap().verified;
    assert_eq!((verified.records, verified.first, verified.given_up), (1, 4, 3));
    let store = place.open().await;
    live(&store, 10).await;
    assert_eq!(store.prune(days(20), on_day(10).now).await.unwrap(), Pruned::default());
    assert_eq!(count(&store, "SELECT COUNT(*) FROM audit").await, 6);
    store.prune(days(5), on_day(10).now).await.unwrap();
    assert_eq!(count(&store, "SELECT MIN(seq) FROM audit").await, 5);
    store.audit_verify().await.unwrap();
    store.close().await;
    let store = place.open().await;
    store.audit_verify().await.unwrap();
}
