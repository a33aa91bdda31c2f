//! All rows put back as they were at one moment, with the head that vouches for them, and the audit's trail left as it is:
//! before a start, and under a running server.

use super::{
    DataPlace,
    attacks::audit_ctx,
    fixtures::*,
    tampering::{TABLES, change_each, one_of_each, put_back, save_each},
};
use crate::{domain::directory::ServicePrincipal, store::*};
use denizen_wire::Clock;

/// Every row of the directory and the vaults, and the head.
fn all_put_back() -> String {
    let tables = TABLES.iter().map(|(table, _)| *table).chain(["application_uris", "head"]);
    tables.map(put_back).collect::<Vec<_>>().join("; ")
}

async fn try_open(place: &impl DataPlace) -> Result<Store, StoreError> {
    Store::open(place.engine(), StoreKeys::of_test()).await
}

#[track_caller]
fn assert_of_other_rows(opened: Result<Store, StoreError>, rows: u64, trail: u64) {
    let error = opened.err().expect("it opens");
    let StoreError::Trail(fault) = &error else { panic!("{error:?}") };
    assert_eq!(*fault, TrailFault::OfOtherRows { rows, trail });
    assert!(error.to_string().contains("denizen audit accept`"), "{error}");
}

async fn rename(store: &Store, epoch: u64) {
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.put(&ServicePrincipal { epoch, ..principal(1, 1) }).await.unwrap();
    tx.commit(event("x")).await.unwrap();
}

pub(super) async fn rows_of_another_time_than_the_trail_are_refused(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    save_each(&place).await;
    change_each(&store).await;
    store.audit(&ctx(1), &event("read")).unwrap();
    store.close().await;
    let newest = place.after_a_power_cut();
    // The change log is anybody's to write: however it is made to fit, it decides nothing.
    for log in [
        "",
        "; UPDATE changes SET revision = revision + 100000 WHERE revision > (SELECT revision FROM head)",
        "; DELETE FROM changes WHERE revision > (SELECT revision FROM head)",
    ] {
        let copy = place.after_a_power_cut();
        copy.sql((all_put_back() + log).leak()).await;
        assert_of_other_rows(try_open(&copy).await, 2, 3);
    }
    // The other way round: the rows of now, and the trail of then. The anchor has seen more of it.
    let copy = place.after_a_power_cut();
    copy.sql("DELETE FROM audit WHERE revision > 2").await;
    let error = try_open(&copy).await.err().unwrap();
    assert!(matches!(error, StoreError::Trail(TrailFault::Cut { .. })), "{error:?}");

    // Accepted, it goes on from the rows there are; and the record of it speaks of them.
    place.sql(all_put_back().leak()).await;
    let accepted = Trail::accept(&place.engine(), &StoreKeys::of_test(), NOW).await.unwrap().unwrap();
    assert!(accepted.was.contains("do not belong together"), "{}", accepted.was);
    let store = try_open(&place).await.unwrap();
    assert_eq!(store.revision(), Revision(2));
    assert!(store.audit_tail(&audit_ctx(), 9).await.unwrap().iter().any(|record| record.action == "audit/accept"));
    // Another transaction 3 than the one of before.
    rename(&store, 9).await;
    assert_eq!(store.revision(), Revision(3));
    store.close().await;
    try_open(&place).await.unwrap().close().await;
    // The number alone does not tell the one transaction 3 from the other.
    save_each(&newest).await;
    place.take_side(&newest).await;
    place.sql(all_put_back().leak()).await;
    assert_of_other_rows(try_open(&place).await, 3, 3);
}

pub(super) async fn rows_of_another_time_are_not_adopted_by_a_running_server(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    let clock = Clock::manual(NOW);
    store.watch_clock(clock.clone()).await.unwrap();
    save_each(&place).await;
    change_each(&store).await;
    let before = store.snapshot();
    place.sql(all_put_back().leak()).await;
    for _ in 0..3 {
        // What the schedule does each hour.
        clock.advance(3600);
        let kept = store.look_at_clock().await;
        assert!(kept.as_ref().is_err_and(went_back), "{kept:?}");
        let refused = async {
            let mut tx = store.begin(&ctx(1)).await?;
            tx.insert(&machine(1, 7)).await?;
            tx.commit(event("x")).await
        };
        let refused = refused.await;
        assert!(refused.as_ref().is_err_and(went_back), "{refused:?}");
        assert!(*store.snapshot() == *before, "it serves what was put back");
        let read = store.secret(&ctx(1), &vault_id(1, "v"), "s", None).await;
        let is_told = |error: &StoreError| {
            matches!(error, StoreError::Tampered { why: Tampering::Older, .. }) || went_back(error)
        };
        assert!(read.as_ref().is_err_and(is_told), "{read:?}");
    }
    store.close().await;
    assert_of_other_rows(try_open(&place).await, 2, 3);
}

/// A commit whose answer was lost was kept, or it was not: what somebody else has put there meanwhile is neither.
pub(super) async fn a_commit_in_doubt_adopts_nothing_else(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    save_each(&place).await;
    change_each(&store).await;
    // It would adopt the newest rows whenever they are there.
    store.follower.close().await;
    let core = &store.core;
    let known = async || {
        let mut writer = core.writer.lock().await;
        (writer.ready(core).await.unwrap(), writer.rows_now())
    };
    let (before, snapshot, marks) = (known().await, core.snapshot.load_full(), core.live.marks());
    rename(&store, 9).await;
    core.snapshot.store(snapshot.clone());
    core.live.replace(marks);
    core.writer.lock().await.forget_of_test(before);
    let newest = {
        let tables = || TABLES.iter().map(|(table, _)| *table).chain(["application_uris", "head"]);
        let save = tables().map(|table| format!("CREATE TABLE side.good_{table} AS SELECT * FROM {table};"));
        place.sql(save.collect::<String>().leak()).await;
        let back =
            tables().map(|table| format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM side.good_{table};"));
        back.collect::<String>()
    };
    for (bad, is_head) in [
        (all_put_back(), true),
        (put_back("head"), true),
        ("DELETE FROM head".to_owned(), true),
        (put_back("service_principals"), false),
    ] {
        place.sql(bad.leak()).await;
        for _ in 0..2 {
            let refused = store.begin(&ctx(1)).await.err().expect("it goes on");
            match is_head {
                true => assert!(went_back(&refused), "{refused:?}"),
                false => assert!(matches!(refused, StoreError::Tampered { .. }), "{refused:?}"),
            }
            assert!(*store.snapshot() == *snapshot, "it serves what was put back");
        }
        place.sql(newest.clone().leak()).await;
    }
    let tx = store.begin(&ctx(1)).await.unwrap();
    assert_eq!(tx.snapshot().principal(tenant_id(1), principal_id(1)).unwrap().epoch, 9);
}

/// What a server says that finds another head than the one it knows. Where replicas share the database, an older one is
/// told from one that was replaced.
pub(super) fn went_back(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Head(HeadFault::Replaced | HeadFault::Missing) | StoreError::Trail(TrailFault::Older { .. })
    )
}
