//! A join token is used once, however many try.

use serde_json::json;

use super::{DataPlace, fixtures::*, writes::founded};
use crate::{
    domain::{Ctx, resources::JoinToken, sign_in::RefreshToken},
    store::*,
};

pub(super) async fn d10_a_token_is_used_once(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.issue(&join_token(1, 1)).await.unwrap();
    tx.issue(&join_token(1, 2)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    assert_eq!(store.redeemable::<JoinToken>(&ctx(1)).await.unwrap(), [join_token(1, 1), join_token(1, 2)]);
    let kept = |used| Some(Kept { it: join_token(1, 1), used });
    assert_eq!(store.one_time::<JoinToken>(&join_token(1, 1).hash).await.unwrap(), kept(false));

    // A transaction that is given up gives the token back.
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert_eq!(tx.redeem::<JoinToken>(&join_token(1, 1).hash).await.unwrap(), join_token(1, 1));
    drop(tx);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert_eq!(tx.redeem::<JoinToken>(&join_token(1, 1).hash).await.unwrap(), join_token(1, 1));
    tx.commit(event("machine/enrol")).await.unwrap();
    assert_eq!(store.one_time::<JoinToken>(&join_token(1, 1).hash).await.unwrap(), kept(true));

    let why = async |hash: &str, ctx: &Ctx| {
        let mut tx = store.begin(ctx).await.unwrap();
        match tx.redeem::<JoinToken>(hash).await {
            Err(StoreError::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(why(&join_token(1, 1).hash, &ctx(1)).await, OneTimeRefused::Used);
    assert_eq!(why(&join_token(1, 3).hash, &ctx(1)).await, OneTimeRefused::Unknown);
    // It is worth nothing from the second it expires.
    let late = Ctx { now: join_token(1, 2).expires, ..ctx(1) };
    assert_eq!(why(&join_token(1, 2).hash, &late).await, OneTimeRefused::Expired);
    assert_eq!(store.redeemable::<JoinToken>(&late).await.unwrap(), []);
    let mut tx = store.begin(&Ctx { now: late.now - 1, ..ctx(1) }).await.unwrap();
    tx.redeem::<JoinToken>(&join_token(1, 2).hash).await.unwrap();
    tx.commit(event("machine/enrol")).await.unwrap();
    // A restart forgets none of it.
    store.close().await;
    let store = place.open().await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let refused = tx.redeem::<JoinToken>(&join_token(1, 1).hash).await;
    assert!(matches!(refused, Err(StoreError::Refused(OneTimeRefused::Used))), "{refused:?}");
    assert_eq!(tx.forget_expired(NOW + 601).await.unwrap(), 2);
}

pub(super) async fn d28_of_thirty_two_who_race_one_gets_the_token(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.issue(&join_token(1, 1)).await.unwrap();
    tx.commit(event("x")).await.unwrap();

    let mut racers = tokio::task::JoinSet::new();
    for n in 0..32u8 {
        let store = store.clone();
        racers.spawn(async move {
            let mut tx = store.begin(&ctx(1)).await.unwrap();
            match tx.redeem::<JoinToken>(&join_token(1, 1).hash).await {
                Ok(_) => {
                    tx.insert(&machine(1, n)).await.unwrap();
                    tx.commit(event("machine/enrol")).await.unwrap();
                    true
                }
                Err(StoreError::Refused(OneTimeRefused::Used)) => false,
                Err(other) => panic!("{other:?}"),
            }
        });
    }
    let won = racers.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!((won, machines_of(&store).await), (1, 1));
}

pub(super) async fn what_is_renewed_stays_one_row_and_is_renewed_once(place: impl DataPlace) {
    let store = founded(&place).await;
    let token = refresh_token(1, 1);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.issue(&token).await.unwrap();
    tx.commit(event("x")).await.unwrap();

    // Of many who have seen the first generation, one makes the second.
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, token) = (store.clone(), token.clone());
        racers.spawn(async move {
            let mut tx = store.begin(&ctx(1)).await.unwrap();
            let Kept { it, used } = tx.one_time::<RefreshToken>(&token.hash).await.unwrap().unwrap();
            assert!(!used);
            if it.generation != token.generation {
                return false;
            }
            let renewed =
                RefreshToken { generation: it.generation + 1, spent: Some(NOW), expires: it.expires + 60, ..it };
            tx.renew(&renewed).await.unwrap();
            tx.commit(event("renew")).await.unwrap();
            true
        });
    }
    assert_eq!(racers.join_all().await.into_iter().filter(|won| *won).count(), 1);
    let kept = store.one_time::<RefreshToken>(&token.hash).await.unwrap().unwrap();
    assert_eq!((kept.it.generation, kept.it.expires, kept.used), (2, token.expires + 60, false));
    let rows = store.rows("SELECT COUNT(*) FROM one_time", &[]).await.unwrap()[0].count(0).unwrap();
    assert_eq!(rows, 1);

    // The change log says that it was there before.
    let change = store.changes_since(&ctx(1), Revision(0), 100).await.unwrap().pop().unwrap();
    assert_eq!(change.before, Some(json!({ "expires": token.expires })));
    assert_eq!(change.after, Some(json!({ "expires": token.expires + 60 })));

    // Not one that is another's, that is not there, that has ended, or that was redeemed.
    let refused = async |ctx: &Ctx, it: &RefreshToken| {
        let mut tx = store.begin(ctx).await.unwrap();
        match tx.renew(it).await {
            Err(StoreError::Refused(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let late = Ctx { now: kept.it.expires, ..ctx(1) };
    assert_eq!(refused(&late, &kept.it).await, OneTimeRefused::Expired);
    assert_eq!(refused(&ctx(1), &refresh_token(1, 2)).await, OneTimeRefused::Unknown);
    let another = RefreshToken { id: uuid(0x71, 9), ..kept.it.clone() };
    assert_eq!(refused(&ctx(1), &another).await, OneTimeRefused::Unknown);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert!(!tx.revoke::<RefreshToken>(refresh_token(1, 2).id).await.unwrap());
    assert!(tx.revoke::<RefreshToken>(token.id).await.unwrap());
    assert!(!tx.revoke::<RefreshToken>(token.id).await.unwrap());
    tx.commit(event("revoke")).await.unwrap();
    assert_eq!(refused(&ctx(1), &kept.it).await, OneTimeRefused::Used);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let of_another = RefreshToken { tenant: tenant_id(2), ..kept.it };
    assert!(matches!(tx.renew(&of_another).await, Err(StoreError::OtherTenant { .. })));
    drop(tx);

    // A restart knows the row as it was written last.
    store.close().await;
    let kept = place.open().await.one_time::<RefreshToken>(&token.hash).await.unwrap().unwrap();
    assert_eq!((kept.it.generation, kept.used), (2, true));
}

pub(super) async fn what_has_ended_is_forgotten_some_at_a_time_the_longest_ended_first(place: impl DataPlace) {
    let store = founded(&place).await;
    let at_once = usize::try_from(Tx::FORGOTTEN_AT_ONCE).unwrap();
    let many = u128::try_from(at_once).unwrap() + 3;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    for n in 0..many {
        let (id, hash) = (uuid::Uuid::from_u128(n), format!("{n:064x}"));
        // The last of them ended first.
        let expires = NOW + 600 - i64::try_from(n).unwrap();
        tx.issue(&JoinToken { id, hash, expires, ..join_token(1, 1) }).await.unwrap();
    }
    tx.commit(event("x")).await.unwrap();
    for expected in [at_once, 3, 0] {
        let mut tx = store.begin(&ctx(1)).await.unwrap();
        assert_eq!(tx.forget_expired(NOW + 601).await.unwrap(), expected as u64);
        if expected == 0 {
            break;
        }
        tx.commit(event("x")).await.unwrap();
        let left = store.one_time::<JoinToken>(&format!("{:064x}", many - 1)).await.unwrap();
        assert_eq!(left, None);
        let left = store.one_time::<JoinToken>(&format!("{:064x}", 2)).await.unwrap();
        assert_eq!(left.is_some(), expected == at_once);
    }
    store.close().await;
    place.open().await;
}
