//! What the proof decides, and what a body's end means. Whole transactions are the contract suite's.

use denizen_wire::{SubscriptionId, TenantId, UnixTime};
use uuid::Uuid;

use super::*;
use crate::{
    domain::{Actor, resources::Subscription},
    store::Engine,
};

const TENANT: TenantId = TenantId(Uuid::from_u128(1));

struct Proven {
    ctx: Ctx,
    holds: bool,
}

impl RecordProof for Proven {
    fn ctx(&self) -> &Ctx {
        &self.ctx
    }
}

impl WriteProof for Proven {
    fn reason(&self) -> &str {
        "a reason"
    }

    fn action(&self) -> &str {
        "x/write"
    }

    fn target(&self) -> String {
        "/x/7".to_owned()
    }

    fn still_holds(&self, _: &Snapshot) -> bool {
        self.holds
    }
}

fn proof(holds: bool) -> Proven {
    Proven { ctx: Ctx::new(TENANT, Actor::System("test"), UnixTime(7), Uuid::from_u128(2)), holds }
}

fn subscription(n: u128) -> Subscription {
    Subscription {
        tenant: TENANT,
        id: SubscriptionId(Uuid::from_u128(n)),
        display_name: "S".into(),
        created: UnixTime(7),
    }
}

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store =
        Store::open(Engine::Sqlite { path: folder.path().join("denizen.db") }, crate::store::StoreKeys::of_test())
            .await
            .unwrap();
    (folder, store)
}

#[tokio::test]
async fn a_commit_is_recorded_with_the_reason_of_its_proof() {
    let (_folder, store) = store().await;
    let made = store
        .write(&proof(true), |tx| {
            Box::pin(async move {
                tx.insert(&subscription(1)).await?;
                Ok::<_, StoreError>(
                    Write::commit("x/write", "/subscriptions/1", 41 + 1).detail(serde_json::json!({"n": 1})),
                )
            })
        })
        .await;
    assert_eq!(made.unwrap(), 42);
    let records = store.audit_tail(&proof(true).ctx, 10).await.unwrap();
    let said: Vec<_> = records.iter().map(|r| (&*r.action, &*r.target, &*r.because, r.actor.as_str())).collect();
    assert_eq!(said, [("x/write", "/subscriptions/1", "a reason", "system:test")]);
    assert!(store.snapshot().subscription(TENANT, subscription(1).id).is_some());
}

#[tokio::test]
async fn a_right_that_was_lost_while_waiting_for_the_lock_writes_nothing() {
    let (_folder, store) = store().await;
    let refused = store
        .write(&proof(false), |tx| {
            Box::pin(async move {
                tx.insert(&subscription(1)).await?;
                Ok::<_, StoreError>(Write::commit("x/write", "", ()))
            })
        })
        .await;
    assert!(matches!(refused, Err(StoreError::NotAuthorized)), "{refused:?}");
    assert!(store.snapshot().subscription(TENANT, subscription(1).id).is_none());
    let records = store.audit_tail(&proof(true).ctx, 10).await.unwrap();
    let said: Vec<_> = records.iter().map(|record| (&*record.action, record.outcome)).collect();
    assert_eq!(said, [("x/write", Outcome::Refused)]);
}

#[tokio::test]
async fn what_is_unchanged_or_fails_leaves_nothing() {
    let (_folder, store) = store().await;
    let before = store.revision();
    let unchanged = store
        .write(&proof(true), |tx| {
            Box::pin(async move {
                tx.insert(&subscription(1)).await?;
                Ok::<_, StoreError>(Write::Unchanged("there"))
            })
        })
        .await;
    assert_eq!(unchanged.unwrap(), "there");
    let failed: Result<(), _> = store
        .write(&proof(true), |tx| {
            Box::pin(async move {
                tx.insert(&subscription(2)).await?;
                Err(StoreError::Aborted)
            })
        })
        .await;
    assert!(matches!(failed, Err(StoreError::Aborted)));
    assert_eq!(store.revision(), before);
    assert!(store.snapshot().subscription(TENANT, subscription(1).id).is_none());
}

/// Handlers are spawned, so a write's future must be `Send` whatever it borrows.
#[tokio::test]
async fn a_write_can_be_awaited_in_a_spawned_task() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    let (_folder, store) = store().await;
    let (name, proof) = (&String::from("borrowed"), proof(true));
    let writing = is_send(store.write(&proof, |tx| {
        Box::pin(async move {
            tx.insert(&Subscription { display_name: name.clone(), ..subscription(3) }).await?;
            Ok::<_, StoreError>(Write::commit("x/write", "", name.len()))
        })
    }));
    assert_eq!(writing.await.unwrap(), 8);
}
