//! Two tenants never see each other's rows.

use super::{DataPlace, fixtures::*, writes::founded};
use crate::{
    domain::{
        directory::{Application, ServicePrincipal, SigningKey},
        resources::{JoinToken, Machine, Subscription, Vault},
        roles::RoleAssignment,
    },
    store::*,
};

pub(super) async fn d34_a_record_of_another_tenant_is_refused(place: impl DataPlace) {
    let store = founded(&place).await;
    async fn refused<R: Record>(store: &Store, record: R) {
        for put in [false, true] {
            let mut tx = store.begin(&ctx(1)).await.unwrap();
            let answer = if put { tx.put(&record).await } else { tx.insert(&record).await };
            assert!(matches!(answer, Err(StoreError::OtherTenant { .. })), "{}: {answer:?}", R::KIND);
            assert!(tx.commit(event("x")).await.is_err(), "{}: committed all the same", R::KIND);
        }
    }
    refused(&store, tenant(2)).await;
    refused(&store, application(2, 1, &[])).await;
    refused(&store, principal(2, 1)).await;
    refused(&store, signing_key(2, 1)).await;
    refused(&store, subscription(2, 2)).await;
    refused(&store, group(2, "rg")).await;
    refused(&store, machine(2, 1)).await;
    refused(&store, vault(2, "v")).await;
    refused(&store, assignment(2, 1, &group_id(2, "rg"), 1)).await;
    refused(&store, custom_role(2, 1)).await;
    refused(&store, crate::domain::roles::RoleDefinition { tenant: None, ..custom_role(1, 1) }).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert!(matches!(tx.issue(&join_token(2, 1)).await, Err(StoreError::OtherTenant { .. })));
    drop(tx);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert!(matches!(tx.secret_add(&secret(2, "v", "s", 1)).await, Err(StoreError::OtherTenant { .. })));
    drop(tx);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert!(matches!(tx.secret_update(&secret(2, "v", "s", 1)).await, Err(StoreError::OtherTenant { .. })));
}

pub(super) async fn d34_tenants_never_see_each_others_rows(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(2)).await.unwrap();
    tx.insert(&tenant(2)).await.unwrap();
    tx.insert(&application(2, 1, &["api://two"])).await.unwrap();
    tx.insert(&principal(2, 1)).await.unwrap();
    tx.insert(&signing_key(2, 1)).await.unwrap();
    tx.insert(&subscription(2, 2)).await.unwrap();
    tx.insert(&group(2, "rg")).await.unwrap();
    tx.insert(&machine(2, 1)).await.unwrap();
    tx.insert(&vault(2, "v2")).await.unwrap();
    tx.insert(&assignment(2, 1, &group_id(2, "rg"), 1)).await.unwrap();
    tx.insert(&custom_role(2, 1)).await.unwrap();
    tx.issue(&join_token(2, 1)).await.unwrap();
    tx.secret_add(&secret(2, "v2", "s", 1)).await.unwrap();
    tx.secret_add(&secret(2, "v2", "gone", 1)).await.unwrap();
    tx.secret_delete(&vault_id(2, "v2"), "gone", NOW, NOW).await.unwrap().unwrap();
    tx.commit(event("two/founded")).await.unwrap();

    // Everything is there for tenant 2 ...
    let now = store.snapshot();
    let two = tenant_id(2);
    assert!(now.application(two, client(1)).is_some());
    assert!(store.record::<Machine>(&ctx(2), &machine_id(2, "srv1")).await.unwrap().is_some());
    assert!(store.secret(&ctx(2), &vault_id(2, "v2"), "s", None).await.unwrap().is_some());
    // ... and nothing of it for tenant 1, by the same keys.
    let one = tenant_id(1);
    assert!(now.application(one, client(1)).is_none());
    assert!(now.application_for_resource(one, "api://two").is_none());
    assert!(now.principal(one, principal_id(1)).is_none());
    assert!(now.principal_of_client(one, client(1)).is_none());
    assert!(now.signing_keys(one).is_empty());
    assert!(now.subscription(one, subscription_id(2)).is_none());
    assert!(now.resource_group(one, &group_id(2, "rg")).is_none());
    assert!(store.record::<Machine>(&ctx(1), &machine_id(2, "srv1")).await.unwrap().is_none());
    assert!(now.vault_by_id(one, &vault_id(2, "v2")).is_none());
    assert!(now.assignment(one, uuid(0xF0, 1)).is_none());
    assert!(now.assignments_of(one, principal_id(1)).is_empty());
    assert!(now.custom_role(one, custom_role(2, 1).id).is_none());
    assert_eq!(now.vaults(one).count() + now.principals(one).count(), 0);

    let (vault, ctx) = (vault_id(2, "v2"), ctx(1));
    assert_eq!(store.secret(&ctx, &vault, "s", None).await.unwrap(), None);
    assert_eq!(store.secret(&ctx, &vault, "s", Some(&secret(2, "v2", "s", 1).version)).await.unwrap(), None);
    assert_eq!(store.secrets(&ctx, &vault, None, 10).await.unwrap(), []);
    assert_eq!(store.secret_versions(&ctx, &vault, "s", None, 10).await.unwrap(), []);
    assert_eq!(store.deleted_secret(&ctx, &vault, "gone").await.unwrap(), None);
    assert_eq!(store.deleted_secrets(&ctx, &vault, None, 10).await.unwrap(), []);
    assert_eq!(store.secrets_due(&ctx, 10).await.unwrap(), []);
    assert_eq!(store.redeemable::<JoinToken>(&ctx).await.unwrap(), []);
    assert!(store.changes_since(&ctx, Revision(0), 100).await.unwrap().iter().all(|it| it.tenant == one));
    assert!(store.audit_tail(&ctx, 100).await.unwrap().iter().all(|it| it.tenant == one));

    let mut tx = store.begin(&ctx).await.unwrap();
    assert_eq!(tx.remove::<Application>(&client(1)).await.unwrap(), None);
    assert_eq!(tx.remove::<ServicePrincipal>(&principal_id(1)).await.unwrap(), None);
    assert_eq!(tx.remove::<SigningKey>(&"kid-1".to_owned()).await.unwrap(), None);
    assert_eq!(tx.remove::<Subscription>(&subscription_id(2)).await.unwrap(), None);
    assert_eq!(tx.remove::<Machine>(&machine_id(2, "srv1")).await.unwrap(), None);
    assert_eq!(tx.remove::<Vault>(&vault).await.unwrap(), None);
    assert_eq!(tx.remove::<RoleAssignment>(&uuid(0xF0, 1)).await.unwrap(), None);
    assert_eq!(tx.secret_delete(&vault, "s", NOW, NOW).await.unwrap(), None);
    assert_eq!(tx.secret_recover(&vault, "gone").await.unwrap(), None);
    assert!(!tx.secret_purge(&vault, "gone").await.unwrap());
    assert_eq!(tx.secrets_purge_all(&vault).await.unwrap(), 0);
    assert_eq!(tx.forget_expired(NOW + 10_000).await.unwrap(), 0);
    let refused = tx.redeem::<JoinToken>(&join_token(2, 1).hash).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(OneTimeRefused::Unknown)), "{refused}");
    tx.commit(event("tried")).await.unwrap();
    assert!(*store.snapshot() == *now, "tenant 1 changed something of tenant 2");
}

pub(super) async fn d34_a_row_moved_to_another_tenant_is_not_served(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    store.close().await;
    place.sql("UPDATE service_principals SET tenant = 'a0000000-0000-0000-0000-000000000002'").await;
    let refused = Store::open(place.engine(), crate::store::StoreKeys::of_test()).await.err();
    assert!(
        matches!(refused, Some(StoreError::Tampered { kind: Kind::ServicePrincipal, why: Tampering::Forged, .. })),
        "{refused:?}"
    );
}
