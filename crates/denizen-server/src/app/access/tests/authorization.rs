//! What an authorization is good for, and that it is not good for anything else.

use super::{
    bed::{Bed, NOW},
    *,
};
use crate::{
    app::secrets::{SecretError, actions},
    store::{Authorized, StoreError},
};

async fn authorization(bed: &Bed, role: &str, action: &'static str, scope: &ResourceId) -> (bed::Who, Authorization) {
    let who = bed.with_role(role, &bed.vault.id).await;
    let snapshot = bed.store.snapshot();
    let audiences = [bed::AUDIENCE.to_owned()];
    let caller = bed.access.authenticate(&snapshot, &bed.token(who), &audiences, bed.tenant, NOW).unwrap();
    let authorized = bed.access.authorize(&snapshot, &caller, bed.ctx(), &Action::data(action), scope);
    (who, authorized.unwrap())
}

#[tokio::test]
async fn d26_it_is_good_for_its_action_at_its_scope_and_below() {
    let bed = Bed::new().await;
    let secret = bed.vault.id.child("secrets", "db").unwrap();
    let (_, of_secret) = authorization(&bed, "Key Vault Secrets User", actions::GET, &secret).await;
    let vault = bed.vault.id.canonical();
    assert_eq!(of_secret.check(actions::GET, bed.tenant, &[vault, "/secrets/", "db"]), Ok(()));
    assert_eq!(of_secret.check(actions::GET, bed.tenant, &[vault, "/secrets/db", "/versions/1"]), Ok(()));
    for (action, tenant, scope) in [
        (actions::SET, bed.tenant, &[vault, "/secrets/", "db"][..]),
        (actions::GET, TenantId(uuid::Uuid::from_u128(9)), &[vault, "/secrets/", "db"]),
        (actions::GET, bed.tenant, &[vault]),
        (actions::GET, bed.tenant, &[vault, "/secrets/"]),
        (actions::GET, bed.tenant, &[vault, "/secrets/", "db-2"]),
        (actions::GET, bed.tenant, &[vault, "/secrets/", "d"]),
        (actions::GET, bed.tenant, &[]),
    ] {
        assert!(of_secret.check(action, tenant, scope).is_err(), "{action} {scope:?}");
    }
    let (_, of_vault) = authorization(&bed, "Key Vault Secrets User", actions::GET, &bed.vault.id).await;
    assert_eq!(of_vault.check(actions::GET, bed.tenant, &[vault, "/secrets/", "db"]), Ok(()));
    assert!(of_vault.check(actions::GET, bed.tenant, &[&format!("{vault}-2"), "/secrets/", "db"]).is_err());
}

#[tokio::test]
async fn d26_a_use_case_refuses_the_authorization_of_another() {
    let bed = Bed::new().await;
    bed.set("db", "v").await;
    let name = "db".parse().unwrap();
    let (_, reading) = authorization(&bed, "Key Vault Secrets User", actions::GET, &bed.vault.id).await;
    assert!(bed.secrets.get(&reading, &bed.vault, &name, None).await.is_ok());
    let refused = bed.secrets.delete(&reading, &bed.vault, &name).await;
    assert!(matches!(refused, Err(SecretError::Authorization(_))));
    assert!(bed.secrets.get(&reading, &bed.vault, &name, None).await.is_ok(), "it is still there");
}

#[tokio::test]
async fn a_right_that_is_lost_after_the_decision_writes_nothing() {
    let bed = Bed::new().await;
    bed.set("db", "v").await;
    let name = "db".parse().unwrap();
    let (who, deleting) = authorization(&bed, "Key Vault Secrets Officer", actions::DELETE, &bed.vault.id).await;
    assert!(deleting.still_holds(&bed.store.snapshot()));
    put(&bed.store, &bed.ctx(), &ServicePrincipal { enabled: false, ..bed.record_of(who) }).await;
    assert!(!deleting.still_holds(&bed.store.snapshot()));
    let refused = bed.secrets.delete(&deleting, &bed.vault, &name).await;
    assert!(matches!(refused, Err(SecretError::Store(StoreError::NotAuthorized))));
    assert!(bed.secrets.get(&bed.auth(), &bed.vault, &name, None).await.is_ok(), "it is still there");
}
