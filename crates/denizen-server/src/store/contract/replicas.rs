//! Several servers over one database: what one commits, all have; what one decides, it decides by what all have committed.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::oneshot, time::sleep};

use super::{
    DataPlace,
    attacks::until,
    durability::rename,
    fixtures::*,
    histories::{all_put_back, save},
    postgres::Database,
    writes::one_change,
};
use crate::{
    domain::{directory::ServicePrincipal, resources::JoinToken},
    store::{turn::Turn, *},
};

pub(super) async fn open(place: &Database, name: &str) -> Store {
    Store::open(Engine::Postgres(place.replica(name)), StoreKeys::of_test()).await.unwrap()
}

/// Two replicas, and tenant 1.
pub(super) async fn two(place: &Database) -> (Store, Store) {
    let one = open(place, "one").await;
    let mut tx = one.begin(&ctx(1)).await.unwrap();
    tx.insert(&tenant(1)).await.unwrap();
    tx.commit(event("tenant/create")).await.unwrap();
    (one, open(place, "two").await)
}

macro_rules! on_two_replicas {
    ($($test:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            Box::pin(tests::$test(Database::new())).await;
        })*
    };
}

on_two_replicas! {
    what_one_commits_the_other_has
    a_change_is_decided_by_what_the_other_has_committed
    d10_a_token_raced_on_two_replicas_is_used_once
    the_snapshots_of_all_are_what_is_loaded
    a_log_that_leaves_a_row_out_is_not_believed
    who_reads_a_row_has_the_newest
    a_replica_that_stops_in_the_middle_keeps_nobody_waiting
    a_replica_that_hears_nothing_is_stale
    each_replica_has_a_chain_and_says_where_the_others_end
    a_folder_belongs_to_one_replica
    an_older_database_is_not_what_is_known
    who_follows_beside_own_writes_reads_only_what_was_changed
    who_refuses_after_a_shipment_keeps_the_head_for_the_next
}

mod tests {
    use super::*;

    pub(super) async fn what_one_commits_the_other_has(place: Database) {
        let (one, two) = two(&place).await;
        assert_eq!(two.revision(), Revision(1), "it starts with all there is");
        let mut tx = one.begin(&ctx(1)).await.unwrap();
        insert_one_of_each(&mut tx).await;
        let revision = tx.commit(event("x")).await.unwrap();
        assert!(two.has(revision, Duration::from_secs(5)).await, "it does not come");
        assert!(*two.snapshot() == *one.snapshot());
        let mut tx = two.begin(&ctx(1)).await.unwrap();
        tx.remove::<ServicePrincipal>(&principal_id(1)).await.unwrap().unwrap();
        let revision = tx.commit(event("x")).await.unwrap();
        assert!(one.has(revision, Duration::from_secs(5)).await, "it does not come back");
        assert!(one.snapshot().principal(tenant_id(1), principal_id(1)).is_none());
        assert!(*two.snapshot() == *one.snapshot());
        assert!(!one.has(Revision(99), Duration::from_millis(50)).await);
    }

    pub(super) async fn a_change_is_decided_by_what_the_other_has_committed(place: Database) {
        let (one, two) = two(&place).await;
        let mut tx = one.begin(&ctx(1)).await.unwrap();
        tx.insert(&principal(1, 1)).await.unwrap();
        tx.commit(event("x")).await.unwrap();
        // Each reads a number, adds one and writes it: by the snapshot, which another may be writing past.
        let mut counting = tokio::task::JoinSet::new();
        for n in 0..40 {
            let store = if n % 2 == 0 { one.clone() } else { two.clone() };
            counting.spawn(async move {
                let by = ctx(1);
                let counted = store.write(&by, |tx| {
                    Box::pin(async move {
                        let snapshot = tx.snapshot();
                        let before = snapshot.principal(tenant_id(1), principal_id(1)).unwrap().epoch;
                        let it = tx.record::<ServicePrincipal>(&principal_id(1)).await?.unwrap();
                        assert_eq!(it.epoch, before, "the snapshot is not what the database has");
                        tx.put(&ServicePrincipal { epoch: before + 1, ..it }).await?;
                        Ok::<_, StoreError>(Write::commit("count", "x", ()))
                    })
                });
                counted.await.unwrap();
            });
        }
        counting.join_all().await;
        let last = one.revision().max(two.revision());
        assert_eq!(last, Revision(42));
        for store in [&one, &two] {
            assert!(store.has(last, Duration::from_secs(5)).await);
            assert_eq!(store.snapshot().principal(tenant_id(1), principal_id(1)).unwrap().epoch, 40);
        }
    }

    pub(super) async fn d10_a_token_raced_on_two_replicas_is_used_once(place: Database) {
        let (one, two) = two(&place).await;
        for n in 0..8 {
            let mut tx = one.begin(&ctx(1)).await.unwrap();
            tx.issue(&join_token(1, n)).await.unwrap();
            tx.commit(event("x")).await.unwrap();
            let redeem = async |store: &Store| {
                let by = ctx(1);
                let hash = &join_token(1, n).hash;
                let redeemed = store.write(&by, |tx| {
                    Box::pin(async move {
                        tx.redeem::<JoinToken>(hash).await?;
                        Ok::<_, StoreError>(Write::commit("redeem", "x", ()))
                    })
                });
                redeemed.await
            };
            let (first, second) = tokio::join!(redeem(&one), redeem(&two));
            let refused = [first, second].into_iter().filter_map(Result::err).collect::<Vec<_>>();
            assert!(matches!(&refused[..], [StoreError::Refused(OneTimeRefused::Used)]), "{n}: {refused:?}");
        }
    }

    pub(super) async fn the_snapshots_of_all_are_what_is_loaded(place: Database) {
        let (one, two) = two(&place).await;
        let mut next = numbers(0x9E37_79B9_7F4A_7C15);
        let mut kept = 0;
        for _ in 0..120 {
            let store = if next(2) == 0 { &one } else { &two };
            let who = 1 + next(2);
            let mut tx = store.begin(&ctx(who)).await.unwrap();
            let mut ok = true;
            for _ in 0..=next(6) {
                ok = ok && one_change(&mut tx, who, &mut next).await;
            }
            if ok && next(8) > 0 {
                tx.commit(event("x")).await.unwrap();
                kept += 1;
            }
        }
        assert!(kept > 30, "{kept} of 120");
        let last = one.revision().max(two.revision());
        let fresh = open(&place, "three").await;
        for store in [&one, &two] {
            assert!(store.has(last, Duration::from_secs(5)).await);
            // What is followed at once is all as new as the last of it: what is cached is left sooner than it need be.
            let as_new = |one: &Snapshot, other: &Snapshot| {
                let mut one = one.clone();
                one.outdate(other);
                one
            };
            let (followed, loaded) = (store.snapshot(), fresh.snapshot());
            assert!(
                as_new(&followed, &loaded) == as_new(&loaded, &followed),
                "what was followed is not what is loaded"
            );
            for n in 0..3 {
                let vault = vault_id(1, &format!("v1{n}"));
                assert!(followed.vault_revision(&vault) >= loaded.vault_revision(&vault));
            }
        }
        for store in [&one, &two, &fresh] {
            store.audit_verify().await.unwrap();
        }
    }

    pub(super) async fn a_log_that_leaves_a_row_out_is_not_believed(place: Database) {
        let (one, two) = two(&place).await;
        let held = two.core.writer.lock().await;
        let mut tx = one.begin(&ctx(1)).await.unwrap();
        tx.insert(&principal(1, 1)).await.unwrap();
        tx.insert(&principal(1, 2)).await.unwrap();
        tx.commit(event("x")).await.unwrap();
        place.sql("DELETE FROM changes WHERE revision = 2 AND ordinal = 1").await;
        drop(held);
        assert!(two.has(one.revision(), Duration::from_secs(5)).await);
        assert!(two.snapshot().principal(tenant_id(1), principal_id(2)).is_some());
    }

    /// Rows are not cached here: a read never finds less than what was committed before it began.
    pub(super) async fn who_reads_a_row_has_the_newest(place: Database) {
        let (one, two) = two(&place).await;
        let mut tx = one.begin(&ctx(1)).await.unwrap();
        insert_one_of_each(&mut tx).await;
        tx.commit(event("x")).await.unwrap();
        for n in 2..20 {
            let (writes, reads) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
            let mut tx = writes.begin(&ctx(1)).await.unwrap();
            tx.secret_add(&secret(1, "v", "s", n)).await.unwrap();
            tx.commit(event("x")).await.unwrap();
            let found = reads.secret(&ctx(1), &vault_id(1, "v"), "s", None).await.unwrap().unwrap();
            assert_eq!(found.version, secret(1, "v", "s", n).version);
        }
    }

    /// As one that is sent SIGSTOP while it holds the right to write.
    pub(super) async fn a_replica_that_stops_in_the_middle_keeps_nobody_waiting(place: Database) {
        let (one, two) = two(&place).await;
        let mut stopped = one.begin(&ctx(1)).await.unwrap();
        stopped.insert(&principal(1, 1)).await.unwrap();
        let mut tx = two.begin(&ctx(1)).await.unwrap();
        tx.insert(&principal(1, 2)).await.unwrap();
        tx.commit(event("x")).await.unwrap();
        let late = stopped.commit(event("late")).await;
        assert!(late.is_err(), "it was ended meanwhile: {late:?}");
        // And goes on, with what the other has done.
        let mut tx = one.begin(&ctx(1)).await.unwrap();
        assert!(tx.snapshot().principal(tenant_id(1), principal_id(2)).is_some());
        tx.insert(&principal(1, 3)).await.unwrap();
        tx.commit(event("x")).await.unwrap();
        assert!(one.snapshot().principal(tenant_id(1), principal_id(1)).is_none());
        one.audit_verify().await.unwrap();
    }

    pub(super) async fn a_replica_that_hears_nothing_is_stale(place: Database) {
        let (one, _two) = two(&place).await;
        let engine = Postgres { max_staleness: Duration::from_secs(1), ..place.replica("three") };
        let three = Store::open(Engine::Postgres(engine), StoreKeys::of_test()).await.unwrap();
        assert!(!three.is_stale() && three.staleness().is_some());
        place.sql("ALTER TABLE head RENAME TO away").await;
        until("it is too far behind", async || three.is_stale()).await;
        assert!(!one.is_stale(), "one may be a quarter of an hour behind");
        place.sql("ALTER TABLE away RENAME TO head").await;
        until("it has heard of the others", async || !three.is_stale()).await;
    }

    pub(super) async fn each_replica_has_a_chain_and_says_where_the_others_end(place: Database) {
        let (one, two) = two(&place).await;
        for store in [&one, &two, &one] {
            let mut tx = store.begin(&ctx(1)).await.unwrap();
            tx.put(&ServicePrincipal { epoch: store.revision().0, ..principal(1, 1) }).await.unwrap();
            tx.commit(event("x")).await.unwrap();
            store.audit(&ctx(1), &event("read")).unwrap();
            store.audit_tail(&ctx(1), 1).await.unwrap();
        }
        for store in [&one, &two] {
            store.witness(NOW).await.unwrap();
            store.audit_tail(&ctx(1), 1).await.unwrap();
        }
        assert_eq!(one.audit_tail(&ctx(1), 100).await.unwrap().len(), 7, "of all chains");
        let chains = [one.core.chain.id.clone(), two.core.chain.id.clone()];
        one.close().await;
        two.close().await;
        let verify = async |place: &Database| {
            let engine = Engine::Postgres(place.replica("one"));
            Trail::open(engine, StoreKeys::of_test()).await.unwrap().verify(None).await
        };
        let checked = verify(&place).await.unwrap();
        assert_eq!(checked.others.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), [&*chains[1]]);
        assert_eq!((checked.verified.records, checked.others[0].1.records), (6, 3));
        for cut in ["chain", "chain, without its last record"] {
            let whole = cut == "chain";
            let condition =
                if whole { "" } else { "AND seq >= (SELECT MAX(a.seq) FROM audit a WHERE a.chain = audit.chain) - 1" };
            let id = &chains[1];
            let sql = format!(
                "DROP TABLE IF EXISTS side.kept; CREATE TABLE side.kept AS SELECT * FROM audit; \
                 DELETE FROM audit WHERE chain = '{id}' {condition}"
            );
            place.sql(sql.leak()).await;
            let broken = verify(&place).await.unwrap_err().to_string();
            assert!(broken.contains(&**id), "{cut}: {broken}");
            place.sql("DELETE FROM audit; INSERT INTO audit SELECT * FROM side.kept").await;
        }
        verify(&place).await.unwrap();
    }

    pub(super) async fn an_older_database_is_not_what_is_known(place: Database) {
        let (one, two) = two(&place).await;
        rename(&one, 1, 1).await.unwrap();
        save(&place).await;
        for epoch in 2..6 {
            rename(&one, 1, epoch).await.unwrap();
        }
        two.close().await;
        place.sql(all_put_back().leak()).await;
        until("it has not heard of what it knows", async || one.staleness().unwrap() > Duration::from_secs(2)).await;
        place.sql("UPDATE head SET revision = 0").await;
        sleep(Duration::from_secs(1)).await;
        assert!(one.staleness().unwrap() > Duration::from_secs(2));
    }

    pub(super) async fn who_follows_beside_own_writes_reads_only_what_was_changed(place: Database) {
        let (one, two) = two(&place).await;
        let ends = std::time::Instant::now() + Duration::from_secs(4);
        let writers = [&one, &two].map(|store| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut written = 0;
                while std::time::Instant::now() < ends {
                    rename(&store, 1 + (written % 9) as u8, written).await.unwrap();
                    written += 1;
                }
                written
            })
        });
        for writer in writers {
            assert!(writer.await.unwrap() > 20);
        }
        let whole = [&one, &two].map(|store| store.core.statements.whole_reads.load(Ordering::Relaxed));
        assert_eq!(whole, [0, 0]);
    }

    /// A lock that is taken after a savepoint goes with what is rolled back to it.
    pub(super) async fn who_refuses_after_a_shipment_keeps_the_head_for_the_next(place: Database) {
        let (one, two) = two(&place).await;
        let begin = |refuses: bool| {
            let ((tell, told), (begun, has_begun)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
            let two = two.clone();
            let task = tokio::spawn(async move {
                let mut tx = two.begin(&ctx(1)).await?;
                let _ = begun.send(());
                let _ = told.await;
                if refuses {
                    return tx.dismiss().await;
                }
                tx.put(&principal(1, 2)).await?;
                tx.commit(event("x")).await.map(drop)
            });
            (tell, has_begun, task)
        };
        let turn = Turn::next(&two.core).await;
        two.audit(&ctx(1), &event("read")).unwrap();
        until("the shipper waits", async || two.core.queue.len() == 1).await;
        let (refuse, refuses, refused) = begin(true);
        until("who refuses waits", async || two.core.queue.len() == 2).await;
        let (write, writes, written) = begin(false);
        until("who writes waits", async || two.core.queue.len() == 3).await;
        drop(turn);
        refuses.await.unwrap();
        refuse.send(()).unwrap();
        writes.await.unwrap();
        let other = tokio::spawn({
            let one = one.clone();
            async move { rename(&one, 1, 1).await }
        });
        sleep(Duration::from_secs(1)).await;
        assert!(!other.is_finished(), "two have the right to change rows");
        write.send(()).unwrap();
        refused.await.unwrap().unwrap();
        written.await.unwrap().unwrap();
        other.await.unwrap().unwrap();
    }

    pub(super) async fn a_folder_belongs_to_one_replica(place: Database) {
        let (one, two) = two(&place).await;
        let again = Store::open(Engine::Postgres(place.replica("one")), StoreKeys::of_test()).await.err();
        assert!(matches!(again, Some(StoreError::InUse { .. })), "{again:?}");
        let chain = Arc::clone(&one.core.chain.id);
        one.close().await;
        let one = open(&place, "one").await;
        assert_eq!(one.core.chain.id, chain, "it goes on with its chain");
        assert_ne!(two.core.chain.id, chain);
    }
}
