//! The audit: the chain, the spool before it, and a database that goes away.

use std::time::Duration;

use denizen_keys::hash;

use super::super::audit::{chain, spool};
use super::{DataPlace, fixtures::*, writes::founded};
use crate::{
    domain::{Actor, Ctx},
    store::*,
};

async fn actions(store: &Store, ctx: &Ctx) -> Vec<String> {
    store.audit_tail(ctx, 1_000_000).await.unwrap().into_iter().map(|it| it.action).collect()
}

/// Records an event and waits until it is in the chain, in a row of its own.
async fn recorded(store: &Store, event: &AuditEvent<'_>) {
    store.audit(&ctx(1), event).unwrap();
    store.audit_tail(&ctx(1), 1).await.unwrap();
}

pub(super) async fn every_write_is_recorded_with_its_actor(place: impl DataPlace) {
    let store = founded(&place).await;
    let by = Ctx { actor: Actor::Principal { id: principal_id(3), client: client(3) }, ..ctx(1) };
    let mut tx = store.begin(&by).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    let revision = tx.commit(event("principal/create")).await.unwrap();
    let refused = AuditEvent {
        detail: Some(serde_json::json!({ "why": "not yours" })),
        ..AuditEvent::refused("secret/get", "line one\nline two \u{2028} \"request_id\":\"three\"", "no role")
    };
    store.audit(&by, &refused).unwrap();
    store.audit(&ctx(2), &event("elsewhere")).unwrap();

    let tail = store.audit_tail(&by, 2).await.unwrap();
    assert_eq!(tail.iter().map(|it| it.seq).collect::<Vec<_>>(), [2, 3]);
    let AuditRecord { at, tenant, actor, request_id, revision: of, .. } = tail[0].clone();
    assert_eq!((at, tenant, request_id, of), (by.now, by.tenant, by.request_id, Some(revision)));
    assert_eq!(actor, format!("principal:{}", principal_id(3)));
    let AuditRecord { action, outcome, target, because, revision: of, detail, .. } = &tail[1];
    assert_eq!((action.as_str(), *outcome), ("secret/get", Outcome::Refused));
    assert_eq!((target.as_str(), because.as_str(), detail), (&*refused.target, "no role", &refused.detail));
    assert_eq!(*of, None, "it changed nothing");
    assert_eq!(actions(&store, &ctx(1)).await.len(), 3, "another tenant's event is among them");
}

pub(super) async fn an_edited_row_is_found(place: impl DataPlace) {
    let store = founded(&place).await;
    for n in 0..5 {
        recorded(&store, &event(&format!("read/{n}"))).await;
    }
    assert_eq!(store.audit_verify().await.unwrap(), 6);
    place.sql("UPDATE audit SET lines = replace(lines, 'read/2', 'read/9') WHERE seq = 4").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 4);
    place.sql("UPDATE audit SET lines = replace(lines, 'read/9', 'read/2') WHERE seq = 4").await;
    assert_eq!(store.audit_verify().await.unwrap(), 6);
    // Shown to another tenant.
    place.sql("UPDATE audit SET tenant = 'a0000000-0000-0000-0000-000000000002' WHERE seq = 3").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 3);
}

pub(super) async fn a_removed_row_is_found(place: impl DataPlace) {
    let store = founded(&place).await;
    for n in 0..5 {
        recorded(&store, &event(&format!("read/{n}"))).await;
    }
    // The last ones: the chain that is left is whole, but it is not the one this process wrote.
    place.sql("CREATE TABLE side.kept AS SELECT * FROM audit; DELETE FROM audit WHERE seq > 4").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 5);
    place.sql("DELETE FROM audit; INSERT INTO audit SELECT * FROM kept").await;
    assert_eq!(store.audit_verify().await.unwrap(), 6);
    place.sql("DELETE FROM audit WHERE seq = 2").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 2);
}

/// Whoever can write to the database can compute hashes too. The last one is also in this process's memory.
pub(super) async fn a_forged_end_is_found(place: impl DataPlace) {
    let store = founded(&place).await;
    for n in 0..3 {
        recorded(&store, &event(&format!("read/{n}"))).await;
    }
    let tail = store.audit_tail(&ctx(1), 9).await.unwrap();
    let rows = store.rows("SELECT spool FROM audit ORDER BY seq", &[]).await.unwrap();
    let positions: Vec<i64> = rows.iter().map(|row| row.int(0).unwrap()).collect();
    let chain = &store.core.chain.id;
    let forge = |text: &str| {
        let mut hash = String::new();
        let mut last = String::new();
        for mut record in tail.clone() {
            if record.seq == 4 {
                record.because = text.to_owned();
            }
            let place = format!("\"seq\":{},", record.seq);
            last = serde_json::to_string::<AuditRecord>(&record).unwrap().replace(&place, "") + "\n";
            let (seq, tenant, spool) = (record.seq, record.tenant, positions[usize::try_from(record.seq).unwrap() - 1]);
            hash = hash::hex(&hash::sha256(format!("{hash}{chain} {seq} {seq} {spool} {tenant}\n{last}").as_bytes()));
        }
        format!("UPDATE audit SET lines = '{last}', hash = '{hash}' WHERE seq = 4").leak()
    };
    place.sql(forge("forged")).await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 4);
    place.sql(forge("a test")).await;
    assert_eq!(store.audit_verify().await.unwrap(), 4, "the chain is not what is documented");

    // One row for all, with a record more than were written: it begins before the end that is known, and passes it.
    let lines: String = tail.iter().chain(&tail[..1]).fold(String::new(), |lines, record| {
        let place = format!("\"seq\":{},", record.seq);
        lines + &serde_json::to_string::<AuditRecord>(record).unwrap().replace(&place, "") + "\n"
    });
    let (tenant, spool) = (tail[0].tenant, positions[3]);
    let hash = hash::hex(&hash::sha256(format!("{chain} 1 5 {spool} {tenant}\n{lines}").as_bytes()));
    let whole = format!(
        "DELETE FROM audit; \
         INSERT INTO audit (chain, seq, last, tenant, at, revision, total, spool, state, hash, tag, lines) \
         VALUES ('{chain}', 1, 5, '{tenant}', 0, 0, 0, {spool}, unhex(''), '{hash}', unhex(''), '{lines}')"
    );
    place.sql(whole.leak()).await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 1);
}

/// The position in the spool decides what is shipped, so an edited one must neither pass nor swallow anything.
pub(super) async fn an_edited_position_swallows_nothing(place: impl DataPlace) {
    let store = founded(&place).await;
    recorded(&store, &event("read/0")).await;
    place.sql("UPDATE audit SET spool = 9000000000000 WHERE seq = 2").await;
    assert_eq!(store.audit_verify().await.unwrap_err().at, 2);
    let forget = async || {
        // The end is read again, as after a broken connection.
        let mut writer = store.core.writer.lock().await;
        let head = writer.ready(&store.core).await.unwrap();
        let unlike = super::super::ends::LogHead { hash: "unlike".to_owned(), ..head };
        assert!(writer.settle(&store.core.statements, unlike, StoreError::Closed).await.is_err());
    };
    forget().await;
    store.audit(&ctx(1), &event("read/1")).unwrap();
    let told = store.audit_tail(&ctx(1), 1).await.unwrap_err();
    assert!(matches!(&told, StoreError::Trail(TrailFault::EndForged { seq: 2 })), "{told}");
    assert!(store.audit_behind() > 0, "what was not shipped was let go");
    // Nor is one believed that carries its tag: far beyond what is written, or within.
    let good = store.core.heads.borrow().clone();
    for position in [9_000_000_000_000, store.core.spool.position().0 + 1] {
        store.core.writer.lock().await.advance(super::super::ends::LogHead { spool: position, ..good.clone() });
        let told = store.audit_tail(&ctx(1), 1).await.unwrap_err();
        assert!(matches!(&told, StoreError::Corrupt(why) if why.contains(&position.to_string())), "{told}");
        assert!(store.audit_behind() > 0, "what was not shipped was let go");
    }
}

pub(super) async fn nobody_waits_and_many_share_a_commit(place: impl DataPlace) {
    let store = founded(&place).await;
    let before = store.counters();
    // While a transaction holds the writer, nothing is moved; and nobody waits for it.
    let tx = store.begin(&ctx(1)).await.unwrap();
    for n in 0..400 {
        store.audit(&ctx(1), &event(&format!("read/{n}"))).unwrap();
    }
    assert_eq!(store.counters().audit_commits, before.audit_commits);
    assert!(store.audit_behind() > 0);
    tx.commit(event("x")).await.unwrap();
    assert_eq!(actions(&store, &ctx(1)).await.len(), 402);
    let after = store.counters();
    assert_eq!(after.audit_events - before.audit_events, 400);
    assert_eq!(after.audit_commits - before.audit_commits, 1);
    // BEGIN, SAVEPOINT, the transaction's own record, RELEASE, COMMIT; the four hundred are counted above.
    assert_eq!(after.writes - before.writes, 5);
    assert_eq!(store.audit_behind(), 0);

    // From many threads, more than one statement takes.
    let mut tasks = tokio::task::JoinSet::new();
    for thread in 0..8 {
        let store = store.clone();
        tasks.spawn(
            async move { (0..1500).try_for_each(|n| store.audit(&ctx(1), &event(&format!("more/{thread}/{n}")))) },
        );
    }
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
    assert_eq!(store.audit_verify().await.unwrap(), 12_402);
    let mut seen = actions(&store, &ctx(1)).await.split_off(402);
    seen.sort();
    let mut expected: Vec<_> = (0..8).flat_map(|t| (0..1500).map(move |n| format!("more/{t}/{n}"))).collect();
    expected.sort();
    assert_eq!(seen, expected);
    let end = store.counters();
    assert!(end.audit_commits - after.audit_commits <= 100, "{} commits", end.audit_commits - after.audit_commits);
}

pub(super) async fn a_row_holds_one_tenants_records(place: impl DataPlace) {
    let store = founded(&place).await;
    let tx = store.begin(&ctx(1)).await.unwrap();
    let long = "x".repeat(1000);
    for n in 0..1000 {
        let who = if n % 3 == 0 { 2 } else { 1 };
        store.audit(&ctx(who), &AuditEvent::allowed(&format!("read/{n}"), &long, "a test")).unwrap();
    }
    drop(tx);
    let of =
        |who: u8| -> Vec<_> { (0..1000).filter(|n| (n % 3 == 0) == (who == 2)).map(|n| format!("read/{n}")).collect() };
    assert_eq!(actions(&store, &ctx(1)).await.split_off(1), of(1));
    assert_eq!(actions(&store, &ctx(2)).await, of(2));
    assert_eq!(store.audit_tail(&ctx(2), 3).await.unwrap().last().unwrap().action, "read/999");
    assert_eq!(store.audit_tail(&ctx(2), 3).await.unwrap().len(), 3);
    assert_eq!(store.audit_verify().await.unwrap(), 1001);
}

pub(super) async fn a_database_that_goes_away_loses_no_record(place: impl DataPlace) {
    let store = founded(&place).await;
    place.sql("ALTER TABLE audit RENAME TO audit_away").await;
    for n in 0..3 {
        store.audit(&ctx(1), &event(&format!("read/{n}"))).unwrap();
    }
    // Whoever wants to see the chain is told.
    assert!(matches!(store.audit_tail(&ctx(1), 1).await, Err(StoreError::Unavailable(_))));
    assert!(store.snapshot().tenant(tenant_id(1)).is_some());
    store.audit(&ctx(1), &event("read/3")).unwrap();
    // The batch they are in is tried, and fails, and is kept.
    let asked = || store.counters().reads + store.counters().writes;
    let (before, mut waited) = (asked(), 0);
    while asked() < before + 4 {
        waited += 1;
        assert!(waited < 2000, "it is not tried again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    place.sql("ALTER TABLE audit_away RENAME TO audit").await;
    let mut tries = 0;
    while store.audit_tail(&ctx(1), 1).await.is_err() {
        tries += 1;
        assert!(tries < 500, "it does not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store.audit(&ctx(1), &event("read/again")).unwrap();
    assert_eq!(
        actions(&store, &ctx(1)).await,
        ["tenant/create", "read/0", "read/1", "read/2", "read/3", "read/again"],
        "each once and in order"
    );
    assert_eq!(store.audit_verify().await.unwrap(), 6);
}

/// It does not err, and does not answer: whoever holds the writer looks the same from here.
pub(super) async fn a_database_that_hangs_leaves_the_spool_on_the_disk(place: impl DataPlace) {
    let store = founded(&place).await;
    let tx = store.begin(&ctx(1)).await.unwrap();
    store.audit(&ctx(1), &event("read")).unwrap();
    let mut waited = 0;
    while store.core.spool.syncs.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        waited += 1;
        assert!(waited < 1000, "it is not brought to the disk");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(store.audit_behind() > 0);
    drop(tx);
    assert_eq!(actions(&store, &ctx(1)).await, ["tenant/create", "read"]);
}

/// The statement was executed, and its answer was lost: as when a connection breaks during the commit.
pub(super) async fn a_batch_whose_commit_ended_in_doubt_is_written_once(place: impl DataPlace) {
    let store = founded(&place).await;
    {
        let mut writer = store.core.writer.lock().await;
        for n in 0..5 {
            store.audit(&ctx(1), &event(&format!("read/{n}"))).unwrap();
        }
        // What the shipper does, with the spool not told. It will find the position in the chain's last row.
        let start = writer.ready(&store.core).await.unwrap();
        let known = spool::Known { shipped: start.spool, spooled: None };
        let spool = spool::Spool::open(store.core.spool.folder(), known, &store.core.keys.spool).unwrap();
        let (rows, head) = chain::Row::of_batch(&start, &store.core.chain, &spool.take().unwrap()).unwrap();
        chain::append(&mut writer, &store.core, &rows, &start).await.unwrap();
        writer.advance(head);
    }
    assert_eq!(actions(&store, &ctx(1)).await, ["tenant/create", "read/0", "read/1", "read/2", "read/3", "read/4"]);
    assert_eq!(store.audit_verify().await.unwrap(), 6);
}

pub(super) async fn a_full_disk_refuses(place: impl DataPlace) {
    let store = founded(&place).await;
    store.audit(&ctx(1), &event("read")).unwrap();
    store.core.spool.fill_the_disk();
    let refused = store.audit(&ctx(1), &event("unrecorded")).unwrap_err();
    assert!(matches!(refused, StoreError::Spool { .. }), "{refused}");
    assert!(refused.to_string().contains(".audit cannot be written"), "{refused}");
    assert_eq!(actions(&store, &ctx(1)).await, ["tenant/create", "read"]);
}

pub(super) async fn a_full_spool_refuses(place: impl DataPlace) {
    let store = founded(&place).await;
    // A transaction in progress: nothing can be moved, and nothing has failed.
    let tx = store.begin(&ctx(1)).await.unwrap();
    let long = "x".repeat(10_000);
    let token = AuditEvent::allowed("token", &long, "a test");
    let mut taken = 0u64;
    while store.audit(&ctx(1), &token).is_ok() {
        taken += 1;
        assert!(taken * 10_000 <= spool::ROOM, "the spool has no end");
    }
    assert!((taken + 1) * 10_300 > spool::ROOM, "only {taken} were taken");
    assert!(matches!(store.audit(&ctx(1), &token), Err(StoreError::AuditFull)));
    drop(tx);
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.audit_verify().await.unwrap(), taken + 1, "what was accepted was not written");
    store.audit(&ctx(1), &token).unwrap();
}

pub(super) async fn closing_moves_what_waits(place: impl DataPlace) {
    let store = founded(&place).await;
    for n in 0..10_000 {
        store.audit(&ctx(1), &event(&format!("token/{n}"))).unwrap();
    }
    let (other, folder) = (store.clone(), store.core.spool.folder().to_owned());
    store.close().await;
    assert!(matches!(other.audit(&ctx(1), &event("late")), Err(StoreError::Closed)));
    assert!(matches!(other.begin(&ctx(1)).await.err(), Some(StoreError::Closed)));
    assert!(other.snapshot().tenant(tenant_id(1)).is_some());
    drop(other);
    let left: u64 = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(left, 0, "the spool was not cleared");
    let store = place.open().await;
    let expected: Vec<_> =
        std::iter::once("tenant/create".to_owned()).chain((0..10_000).map(|n| format!("token/{n}"))).collect();
    assert_eq!(actions(&store, &ctx(1)).await, expected);
}
