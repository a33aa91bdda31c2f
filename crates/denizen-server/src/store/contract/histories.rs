//! Two histories of one database: a state that was put back and written to by a replica that knew no better, as when a
//! standby is promoted that lacked the last changes. Whoever knows of what is missing adopts nothing of it. And one chain
//! written by two: a session that was thought dead, a folder that was copied.

use std::{fs, time::Duration};

use denizen_wire::Clock;

use super::{
    DataPlace,
    attacks::until,
    durability::rename,
    fixtures::*,
    postgres::Database,
    replicas::{open, two},
    tampering::{TABLES, put_back, save_each},
};
use crate::{
    app::readiness::Readiness,
    domain::{directory::ServicePrincipal, secrets::SecretVersion},
    store::*,
};

macro_rules! on_replicas {
    ($($test:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            Box::pin(tests::$test(Database::new())).await;
        })*
    };
}

on_replicas! {
    a_replica_does_not_adopt_another_history
    another_history_that_ends_with_the_same_rows_is_none
    a_digest_that_was_changed_leads_nowhere
    a_log_that_was_cut_is_refused_until_it_is_accepted
    a_log_of_nonsense_is_read_past
    a_state_that_is_gone_is_not_borne_witness_to
    a_chain_of_a_replica_that_is_gone_is_accepted_by_another
    a_number_alone_is_not_what_is_known
    a_replica_without_its_anchor_takes_no_chain_of_another
    a_row_whose_time_was_forged_removes_nothing
    a_commit_that_the_server_refuses_leaves_nothing_open
    what_is_cached_of_a_vault_does_not_depend_on_what_the_log_says
    accepting_beside_a_replica_that_writes_loses_nothing_of_it
    what_a_replica_has_seen_stays_seen
    the_size_is_of_all_chains_and_the_oldest_go_first
    a_chain_that_is_gone_keeps_no_log
    a_session_that_may_still_commit_is_waited_for
    a_session_that_does_not_end_is_ended
    a_copied_folder_writes_to_no_chain_twice
    who_goes_away_while_waiting_for_the_head_leaves_nothing_behind
}

/// Rows, head and log as they are, to be put back.
pub(super) async fn save(place: &Database) {
    save_each(place).await;
    place.sql("CREATE TABLE side.saved_changes AS SELECT * FROM changes").await;
}

pub(super) fn all_put_back() -> String {
    let tables = TABLES.iter().map(|(table, _)| *table).chain(["application_uris", "head", "changes"]);
    tables.map(put_back).collect::<Vec<_>>().join("; ")
}

fn is_forked(error: &StoreError) -> bool {
    matches!(error, StoreError::Trail(TrailFault::Forked { .. }))
}

/// Two replicas: `one` has written what `two` does not know, and it was undone.
async fn forked(place: &Database, after: &str) -> (Store, Store) {
    let (one, two) = two(place).await;
    rename(&one, 1, 1).await.unwrap();
    assert!(two.has(Revision(2), Duration::from_secs(5)).await);
    save(place).await;
    // It follows nothing meanwhile.
    let held = two.core.writer.lock().await;
    rename(&one, 1, 2).await.unwrap();
    rename(&one, 1, 3).await.unwrap();
    assert_eq!(one.revision(), Revision(4));
    place.sql((all_put_back() + after).leak()).await;
    drop(held);
    (one, two)
}

/// Whether a replica is not ready because it writes nothing, for a reason with these words.
async fn is_barred(store: &Store, because: &str) -> bool {
    let report = Readiness::of(store, &Clock::manual(NOW)).report().await;
    let reason = report.checks.iter().find(|checked| checked.check == "writes").unwrap().reason.as_ref();
    assert!(reason.is_none() || !report.is_ready(), "{report:?}");
    reason.is_some_and(|reason| reason.contains(because))
}

async fn trail(place: &Database, name: &str) -> Trail {
    Trail::open(Engine::Postgres(place.replica(name)), StoreKeys::of_test()).await.unwrap()
}

mod tests {
    use super::*;

    pub(super) async fn a_replica_does_not_adopt_another_history(place: Database) {
        let (one, two) = forked(&place, "").await;
        for epoch in 7..10 {
            rename(&two, 1, epoch).await.unwrap();
        }
        assert_eq!(two.revision(), Revision(5));
        for _ in 0..2 {
            assert!(!one.has(Revision(5), Duration::from_millis(300)).await);
            let refused = rename(&one, 2, 1).await.unwrap_err();
            assert!(is_forked(&refused), "{refused:?}");
            assert!(is_barred(&one, "another history").await && two.barred().is_none());
            assert_eq!(one.snapshot().principal(tenant_id(1), principal_id(1)).unwrap().epoch, 3, "it was adopted");
        }
        one.keeper.anchored().await;
        let refused = trail(&place, "one").await.verify(None).await.unwrap_err();
        assert!(is_forked(&refused), "the command says other things than the server: {refused:?}");
        let refused = trail(&place, "two").await.verify(None).await.unwrap_err().to_string();
        assert!(refused.contains("two histories") && refused.contains("transaction 3"), "{refused}");
        one.close().await;
        let again = Store::open(Engine::Postgres(place.replica("one")), StoreKeys::of_test()).await;
        assert!(again.as_ref().is_err_and(is_forked), "{:?}", again.err());
        // Once somebody has accepted it, it goes on from what is there.
        let engine = Engine::Postgres(place.replica("one"));
        let now = NOW + 60;
        let accepted = Trail::accept(&engine, &StoreKeys::of_test(), now).await.unwrap().unwrap();
        assert!(accepted.was.contains("another history"), "{}", accepted.was);
        let one = open(&place, "one").await;
        assert_eq!(one.snapshot().principal(tenant_id(1), principal_id(1)).unwrap().epoch, 9);
        rename(&one, 2, 1).await.unwrap();
        assert!(two.has(Revision(6), Duration::from_secs(5)).await);
    }

    /// All that was undone is written over: the rows that the log names are all that differ.
    pub(super) async fn another_history_that_ends_with_the_same_rows_is_none(place: Database) {
        let (one, two) = forked(&place, "").await;
        for epoch in 7..11 {
            rename(&two, 1, epoch).await.unwrap();
        }
        // The log says of every transaction after the fourth all there is to say.
        assert!(!one.has(Revision(6), Duration::from_millis(300)).await);
        assert!(is_forked(&rename(&one, 2, 1).await.unwrap_err()));
        // So does one whose records of the audit are gone, and with them what another replica could compare.
        place.sql("DELETE FROM audit WHERE revision IN (3, 4, 5)").await;
        assert!(is_forked(&rename(&one, 2, 1).await.unwrap_err()));
    }

    pub(super) async fn a_digest_that_was_changed_leads_nowhere(place: Database) {
        let (one, two) = two(&place).await;
        let held = two.core.writer.lock().await;
        rename(&one, 1, 1).await.unwrap();
        place.sql("UPDATE changes SET digest = zeroblob(32) WHERE revision = 2").await;
        drop(held);
        assert!(!two.has(Revision(2), Duration::from_millis(300)).await);
        assert!(is_forked(&rename(&two, 1, 2).await.unwrap_err()));
    }

    pub(super) async fn a_log_that_was_cut_is_refused_until_it_is_accepted(place: Database) {
        let (one, two) = two(&place).await;
        // Nothing may be followed meanwhile: the other holds its own writer.
        let held = two.core.writer.lock().await;
        for n in 0..3 {
            rename(&one, n, 1).await.unwrap();
        }
        place.sql("DELETE FROM changes WHERE revision < 4").await;
        drop(held);
        assert!(!two.has(one.revision(), Duration::from_millis(300)).await);
        let refused = rename(&two, 1, 2).await.unwrap_err();
        assert!(matches!(refused, StoreError::Trail(TrailFault::Unproven { known: 1, revision: 4 })), "{refused:?}");
        assert!(is_barred(&two, "does not lead").await);
        two.keeper.anchored().await;
        let verified = trail(&place, "two").await.verify(None).await.unwrap_err();
        assert!(matches!(verified, StoreError::Trail(TrailFault::Unproven { .. })), "{verified:?}");
        two.close().await;
        let engine = Engine::Postgres(place.replica("two"));
        Trail::accept(&engine, &StoreKeys::of_test(), NOW).await.unwrap().unwrap();
        let two = open(&place, "two").await;
        assert_eq!(two.revision(), Revision(4));
        rename(&two, 1, 2).await.unwrap();
        assert!(one.has(Revision(5), Duration::from_secs(5)).await);
    }

    /// What it names is anybody's word: then all rows are read.
    pub(super) async fn a_log_of_nonsense_is_read_past(place: Database) {
        let (one, two) = two(&place).await;
        let mut tx = one.begin(&ctx(1)).await.unwrap();
        insert_one_of_each(&mut tx).await;
        tx.commit(event("x")).await.unwrap();
        for nonsense in [
            "kind = 'x'",
            "tenant = 'x'",
            "kind = 'secret', id = 'x'",
            "kind = 'secret_version', id = 'x/secrets/y'",
            "kind = 'secret', id = '/subscriptions/x/secrets/y/z'",
            "kind = 'join_token', id = ''",
        ] {
            let held = two.core.writer.lock().await;
            let revision = rename(&one, 1, one.revision().0).await.unwrap();
            let sql = format!("UPDATE changes SET {nonsense} WHERE revision = {}", revision.0);
            place.sql(sql.leak()).await;
            drop(held);
            assert!(two.has(revision, Duration::from_secs(5)).await, "{nonsense}");
            let found = two.snapshot().principal(tenant_id(1), principal_id(1)).unwrap().epoch;
            assert_eq!(found, revision.0 - 1, "{nonsense}");
        }
    }

    /// As after a failover that lost a transaction which this replica had followed.
    pub(super) async fn a_state_that_is_gone_is_not_borne_witness_to(place: Database) {
        let (one, two) = two(&place).await;
        save(&place).await;
        rename(&one, 1, 1).await.unwrap();
        assert!(two.has(Revision(2), Duration::from_secs(5)).await);
        one.close().await;
        place.sql((all_put_back() + "; DELETE FROM audit WHERE revision = 2").leak()).await;
        for _ in 0..3 {
            two.audit(&ctx(1), &event("read")).unwrap();
            assert!(two.audit_tail(&ctx(1), 1).await.is_err(), "it is shipped");
        }
        assert!(is_barred(&two, "is older").await);
        two.keeper.anchored().await;
        let verified = trail(&place, "two").await.verify(None).await.unwrap_err();
        assert!(matches!(verified, StoreError::Trail(TrailFault::Older { .. })), "{verified:?}");
        // So whoever knows nothing of it starts on what there is, and the others go on when it was accepted.
        let three = open(&place, "three").await;
        assert_eq!(three.revision(), Revision(1));
        three.close().await;
        two.close().await;
        Trail::accept(&Engine::Postgres(place.replica("two")), &StoreKeys::of_test(), NOW).await.unwrap().unwrap();
        let two = open(&place, "two").await;
        let kept = two.audit_tail(&ctx(1), 100).await.unwrap();
        assert_eq!(kept.iter().filter(|it| it.action == "read").count(), 3, "the spool kept them");
    }

    pub(super) async fn a_chain_of_a_replica_that_is_gone_is_accepted_by_another(place: Database) {
        let (one, two) = two(&place).await;
        save(&place).await;
        rename(&one, 1, 1).await.unwrap();
        rename(&two, 1, 2).await.unwrap();
        let gone = two.core.chain.id.clone();
        one.close().await;
        two.close().await;
        let of_one = "; DELETE FROM audit WHERE revision > 1 AND chain <> '";
        place.sql(format!("{}{of_one}{gone}'", all_put_back()).leak()).await;
        // The second's folder is lost. Nothing starts; and somebody has put a chain there, beside one that was edited.
        let garbage = format!(
            "INSERT INTO audit SELECT '{:032x}', seq, last, tenant, at, revision, total, spool, state, hash, tag, lines \
             FROM audit WHERE chain = '{gone}'",
            7
        );
        place.sql(garbage.leak()).await;
        let three = Engine::Postgres(place.replica("three"));
        assert!(Store::open(three.clone(), StoreKeys::of_test()).await.is_err());
        let accepted = Trail::accept(&three, &StoreKeys::of_test(), NOW + 60).await.unwrap().unwrap();
        assert!(accepted.seq > 0);
        let three = open(&place, "three").await;
        rename(&three, 1, 9).await.unwrap();
        three.close().await;
        // The first knows more than there is, and accepts that for itself.
        let one = Engine::Postgres(place.replica("one"));
        Trail::accept(&one, &StoreKeys::of_test(), NOW + 120).await.unwrap().unwrap();
        trail(&place, "one").await.verify(None).await.unwrap();
        let again = Trail::accept(&one, &StoreKeys::of_test(), NOW + 180).await.unwrap();
        assert_eq!(again, None, "it is accepted once");
        let one = open(&place, "one").await;
        rename(&one, 1, 10).await.unwrap();
    }

    /// Another state under the number that this replica knows, and the number of before on the head: neither is fresh.
    pub(super) async fn a_number_alone_is_not_what_is_known(place: Database) {
        let (one, two) = forked(&place, "").await;
        for epoch in 7..9 {
            rename(&two, 1, epoch).await.unwrap();
        }
        assert_eq!(two.revision(), one.revision(), "the numbers are the same");
        let is_left_behind = async || one.staleness().unwrap() > Duration::from_millis(1500);
        until("it does not take the other for what it knows", is_left_behind).await;
        drop((one, two));

        let place = Database::new();
        let (one, two) = super::two(&place).await;
        let held = one.core.writer.lock().await;
        rename(&two, 1, 1).await.unwrap();
        place.sql("UPDATE head SET revision = 1").await;
        drop(held);
        let is_left_behind = async || one.staleness().unwrap() > Duration::from_millis(1500);
        until("it does not take an edited head for what it knows", is_left_behind).await;
    }

    pub(super) async fn a_replica_without_its_anchor_takes_no_chain_of_another(place: Database) {
        let (one, two) = two(&place).await;
        let path = Engine::Postgres(place.replica("two")).anchor();
        until("it has one", async || path.exists()).await;
        two.close().await;
        fs::remove_file(path).unwrap();
        let refused = Store::open(Engine::Postgres(place.replica("two")), StoreKeys::of_test()).await.err();
        assert!(matches!(refused, Some(StoreError::Trail(TrailFault::AnchorMissing { .. }))), "{refused:?}");
        rename(&one, 1, 1).await.unwrap();
        Trail::accept(&Engine::Postgres(place.replica("two")), &StoreKeys::of_test(), NOW).await.unwrap().unwrap();
        let two = open(&place, "two").await;
        assert_ne!(two.core.chain.id, one.core.chain.id);
        rename(&one, 1, 2).await.unwrap();
        rename(&two, 1, 3).await.unwrap();
    }

    pub(super) async fn a_row_whose_time_was_forged_removes_nothing(place: Database) {
        let (one, two) = two(&place).await;
        lived(&one, &two).await;
        let forged = format!("UPDATE audit SET at = 9999999999 WHERE chain = '{}' AND seq = 1", two.core.chain.id);
        place.sql(forged.leak()).await;
        let kept = Retention { age: None, bytes: Some(one.audit_health().chain_bytes / 2) };
        let refused = one.prune(kept, NOW).await;
        assert!(matches!(refused, Err(StoreError::Trail(TrailFault::Rewritten { seq: 1 }))), "{refused:?}");
        assert!(one.audit_verify().await.unwrap() > 40, "records of another chain were removed for it");
    }

    pub(super) async fn a_commit_that_the_server_refuses_leaves_nothing_open(place: Database) {
        let (one, two) = two(&place).await;
        for round in 0..3 {
            one.core.statements.break_next_commit();
            rename(&one, 1, round).await.unwrap_err();
            rename(&two, 1, 10 + round).await.unwrap();
            rename(&one, 1, 20 + round).await.unwrap();
        }
        one.audit(&ctx(1), &event("read")).unwrap();
        one.core.statements.break_next_commit();
        let _ = one.audit_tail(&ctx(1), 1).await;
        let shipped = one.audit_tail(&ctx(1), 100).await.unwrap();
        assert_eq!(shipped.iter().filter(|it| it.action == "read").count(), 1);
        assert!(two.has(one.revision(), Duration::from_secs(5)).await);
    }

    pub(super) async fn what_is_cached_of_a_vault_does_not_depend_on_what_the_log_says(place: Database) {
        let (one, two) = two(&place).await;
        let mut tx = one.begin(&ctx(1)).await.unwrap();
        insert_one_of_each(&mut tx).await;
        tx.insert(&vault(1, "w")).await.unwrap();
        tx.commit(event("x")).await.unwrap();
        assert!(two.has(Revision(2), Duration::from_secs(5)).await);
        let v = vault_id(1, "v");
        for (n, lie) in [
            "UPDATE changes SET parent = NULL WHERE kind IN ('secret', 'secret_version')",
            "UPDATE changes SET parent = replace(parent, '/v', '/w') WHERE kind IN ('secret', 'secret_version')",
            "INSERT INTO changes SELECT revision - 1, 99, tenant, at, kind, id, parent, before_body, after_body, NULL \
             FROM changes WHERE kind = 'secret_version' ORDER BY revision DESC LIMIT 1",
        ]
        .into_iter()
        .enumerate()
        {
            let held = two.core.writer.lock().await;
            rename(&one, 3, n as u64).await.unwrap();
            let mut tx = one.begin(&ctx(1)).await.unwrap();
            let it = tx.secret(&v, "s", None).await.unwrap().unwrap();
            tx.secret_update(&SecretVersion { enabled: !it.enabled, ..it }).await.unwrap();
            let revision = tx.commit(event("x")).await.unwrap();
            place.sql(lie).await;
            drop(held);
            assert!(two.has(revision, Duration::from_secs(5)).await, "{lie}");
            assert_eq!(two.snapshot().vault_revision(&v), revision, "{lie}");
        }
    }

    pub(super) async fn accepting_beside_a_replica_that_writes_loses_nothing_of_it(place: Database) {
        let (one, two) = two(&place).await;
        one.close().await;
        let engine = Engine::Postgres(place.replica("one"));
        for _ in 0..6 {
            fs::remove_file(engine.anchor()).unwrap();
            let writes = async {
                for epoch in 0..25 {
                    rename(&two, 1, epoch).await.unwrap();
                }
            };
            let keys = StoreKeys::of_test();
            let (accepted, ()) = tokio::join!(Box::pin(Trail::accept(&engine, &keys, NOW)), writes);
            accepted.unwrap().unwrap();
        }
        let (last, logged) = (two.revision(), "SELECT COUNT(DISTINCT revision) FROM changes");
        let logged = two.rows(logged, &[]).await.unwrap()[0].count(0).unwrap();
        assert_eq!(logged, last.0, "entries of a replica that writes were removed");
        let one = open(&place, "one").await;
        rename(&one, 1, 99).await.unwrap();
        assert!(two.has(Revision(last.0 + 1), Duration::from_secs(5)).await);
        drop((one, two));
    }

    pub(super) async fn what_a_replica_has_seen_stays_seen(place: Database) {
        let (one, two) = two(&place).await;
        let clock = Clock::manual(NOW + 600);
        one.watch_clock(clock.clone()).await.unwrap();
        two.watch_clock(Clock::manual(NOW + 500)).await.unwrap();
        let seen = async || two.rows("SELECT seen FROM head", &[]).await.unwrap()[0].int(0).unwrap();
        assert_eq!(seen().await, NOW.0 + 600);
        rename(&two, 1, 1).await.unwrap();
        assert_eq!(seen().await, NOW.0 + 600, "another clock set it back");
        // One that could not be kept is not said to be.
        let before = seen().await;
        clock.advance(60);
        one.core.statements.fail_next_commit();
        one.look_at_clock().await.unwrap_err();
        assert_eq!(seen().await, before);
        two.confirm_clock().await.unwrap();
        assert_eq!(seen().await, NOW.0 + 500, "somebody has said that this is right");
    }

    /// Many records of each of two chains, the first's the older.
    async fn lived(one: &Store, two: &Store) {
        let long = "x".repeat(2000);
        for (store, day) in [(one, 1), (two, 2), (one, 3), (two, 4)] {
            let by = crate::domain::Ctx { now: NOW + day * 24 * 60 * 60, ..ctx(1) };
            for _ in 0..20 {
                store.audit(&by, &AuditEvent::allowed("read", &long, "a test")).unwrap();
                store.audit_tail(&ctx(1), 1).await.unwrap();
            }
        }
    }

    pub(super) async fn the_size_is_of_all_chains_and_the_oldest_go_first(place: Database) {
        let (one, two) = two(&place).await;
        lived(&one, &two).await;
        let size = one.audit_health().chain_bytes + two.audit_health().chain_bytes;
        let kept = |bytes| Retention { age: None, bytes: Some(bytes) };
        let now = NOW + 5 * 24 * 60 * 60;
        // Neither what somebody else has put beside them, nor chains that are gone, take a share of it.
        for n in 0..40 {
            let garbage = format!(
                "INSERT INTO audit SELECT '{n:032x}', seq, last, tenant, at, revision, total, spool, state, hash, tag, lines \
                 FROM audit WHERE chain = '{}' ORDER BY seq DESC LIMIT 1; \
                 INSERT INTO audit_start VALUES ('{n:032x}', 1, '', 1, 'pruned', '')",
                one.core.chain.id
            );
            place.sql(garbage.leak()).await;
        }
        assert_eq!(one.prune(kept(size), now).await.unwrap(), Pruned::default(), "it erased itself");
        place.sql("DELETE FROM audit WHERE chain < '00000000000000000000000000001000'; DELETE FROM audit_start").await;
        one.prune(kept(size / 2), now).await.unwrap();
        one.audit_tail(&ctx(1), 1).await.unwrap();
        two.witness(now).await.unwrap();
        let left = one.audit_health().chain_bytes + two.audit_health().chain_bytes;
        assert!(left <= size / 2 + 16 * 1024 && left > size / 3, "{left} of {size}");
        for store in [&one, &two] {
            let sql = format!("SELECT MIN(at) FROM audit WHERE chain = '{}'", store.core.chain.id).leak();
            let oldest = store.rows(sql, &[]).await.unwrap()[0].int(0).unwrap();
            assert!(
                oldest >= NOW.0 + 2 * 24 * 60 * 60,
                "an older record was kept, and a younger one removed: {oldest}"
            );
            store.audit_verify().await.unwrap();
        }
    }

    pub(super) async fn a_chain_that_is_gone_keeps_no_log(place: Database) {
        let (one, two) = two(&place).await;
        rename(&one, 1, 1).await.unwrap();
        one.close().await;
        let day = |day: i64| crate::domain::Ctx { now: NOW + day * 24 * 60 * 60, ..ctx(1) };
        for epoch in 0..20 {
            let mut tx = two.begin(&day(100)).await.unwrap();
            tx.put(&ServicePrincipal { epoch, ..principal(1, 1) }).await.unwrap();
            tx.commit(event("x")).await.unwrap();
        }
        let mut tx = two.begin(&day(200)).await.unwrap();
        tx.put(&principal(1, 1)).await.unwrap();
        tx.commit(event("x")).await.unwrap();
        let kept = Retention { age: Some(Duration::from_secs(30 * 24 * 60 * 60)), bytes: None };
        let pruned = two.prune(kept, day(200).now).await.unwrap();
        assert!(pruned.changes >= 20, "{pruned:?}");
        two.audit_verify().await.unwrap();
    }

    pub(super) async fn a_session_that_may_still_commit_is_waited_for(place: Database) {
        let (one, _two) = two(&place).await;
        let chain = one.core.chain.id.clone();
        one.close().await;
        // As one whose process was killed while it committed.
        let session = place.claims(&chain).await;
        let ends = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            session.end().await
        });
        let one = open(&place, "one").await;
        assert!(ends.is_finished(), "it did not wait");
        assert!(ends.await.unwrap(), "it was ended in the middle");
        rename(&one, 1, 1).await.unwrap();
    }

    pub(super) async fn a_session_that_does_not_end_is_ended(place: Database) {
        let (one, _two) = two(&place).await;
        let chain = one.core.chain.id.clone();
        one.close().await;
        let session = place.claims(&chain).await;
        let one = open(&place, "one").await;
        assert!(!session.end().await, "it is still there");
        rename(&one, 1, 1).await.unwrap();
        // The same for its own, after the connection was lost.
        let lost = "SELECT pg_terminate_backend(l.pid) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) \
                    WHERE locktype = 'advisory' AND datname = current_database()";
        place.sql(lost).await;
        until("it writes again", async || rename(&one, 1, 2).await.is_ok()).await;
    }

    pub(super) async fn a_copied_folder_writes_to_no_chain_twice(place: Database) {
        let (one, two) = two(&place).await;
        rename(&one, 1, 1).await.unwrap();
        let (from, to) = (place.replica("one"), place.replica("copy"));
        fs::create_dir_all(&to.folder).unwrap();
        until("the anchor is written", async || Engine::Postgres(from.clone()).anchor().exists()).await;
        fs::copy(Engine::Postgres(from.clone()).anchor(), Engine::Postgres(to.clone()).anchor()).unwrap();
        let copy = open(&place, "copy").await;
        // Who was there before knows it without having written; and when it is over.
        until("it is barred", async || is_barred(&one, "another process").await).await;
        copy.close().await;
        until("it is over", async || one.barred().is_none()).await;
        rename(&one, 1, 1).await.unwrap();
        let copy = open(&place, "copy").await;
        rename(&copy, 1, 2).await.unwrap();
        // Who was there before writes no more, and says why.
        let refused = rename(&one, 1, 3).await.unwrap_err();
        assert!(denizen_wire::Causes(&refused).to_string().contains("directory"), "{refused:?}");
        copy.audit_verify().await.unwrap();
        assert!(two.has(copy.revision(), Duration::from_secs(5)).await);
        rename(&two, 1, 4).await.unwrap();
    }

    /// As a client that hangs up.
    pub(super) async fn who_goes_away_while_waiting_for_the_head_leaves_nothing_behind(place: Database) {
        let (one, two) = two(&place).await;
        for round in 0..5 {
            let mut held = two.begin(&ctx(1)).await.unwrap();
            held.put(&ServicePrincipal { epoch: round, ..principal(1, 1) }).await.unwrap();
            let by = ctx(1);
            let gone = tokio::time::timeout(Duration::from_millis(100 * (round + 1)), one.begin(&by)).await;
            assert!(gone.is_err(), "it did not wait");
            held.commit(event("x")).await.unwrap();
            // Its session ends the transaction by itself: nobody else has to, and it goes on.
            let open = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL \
                        AND pid <> pg_backend_pid() AND query NOT LIKE 'autovacuum%'";
            until("its transaction is over", async || two.rows(open, &[]).await.unwrap()[0].count(0).unwrap() == 0)
                .await;
            rename(&one, 2, round).await.unwrap();
        }
        one.audit_verify().await.unwrap();
    }
}
