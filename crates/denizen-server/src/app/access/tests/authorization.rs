//! What an authorization is good for, and that it is not good for anything else.

use super::{
    fixture::{Fixture, NOW},
    *,
};
use crate::{
    app::secrets::{SecretError, actions},
    domain::roles::RoleAssignment,
    store::{StoreError, Write, WriteProof},
};

async fn authorization(
    fixture: &Fixture,
    role: &str,
    action: &'static str,
    scope: &ResourceId,
) -> (fixture::Who, Authorization) {
    let who = fixture.with_role(role, &fixture.vault.id).await;
    let snapshot = fixture.store.snapshot();
    let audiences = [fixture::AUDIENCE.to_owned()];
    let caller = fixture.access.authenticate(&snapshot, &fixture.token(who), &audiences, fixture.tenant, NOW).unwrap();
    let authorized = fixture.access.authorize(&snapshot, &caller, fixture.ctx(), &Action::data(action), scope);
    (who, authorized.unwrap())
}

#[tokio::test]
async fn d26_it_is_good_for_its_action_at_its_scope_and_below() {
    let fixture = Fixture::new().await;
    let secret = fixture.vault.id.child("secrets", "db").unwrap();
    let (_, of_secret) = authorization(&fixture, "Key Vault Secrets User", actions::GET, &secret).await;
    let vault = fixture.vault.id.canonical();
    assert_eq!(of_secret.check(actions::GET, fixture.tenant, &[vault, "/secrets/", "db"]), Ok(()));
    assert_eq!(of_secret.check(actions::GET, fixture.tenant, &[vault, "/secrets/db", "/versions/1"]), Ok(()));
    for (action, tenant, scope) in [
        (actions::SET, fixture.tenant, &[vault, "/secrets/", "db"][..]),
        (actions::GET, TenantId(uuid::Uuid::from_u128(9)), &[vault, "/secrets/", "db"]),
        (actions::GET, fixture.tenant, &[vault]),
        (actions::GET, fixture.tenant, &[vault, "/secrets/"]),
        (actions::GET, fixture.tenant, &[vault, "/secrets/", "db-2"]),
        (actions::GET, fixture.tenant, &[vault, "/secrets/", "d"]),
        (actions::GET, fixture.tenant, &[]),
    ] {
        assert!(of_secret.check(action, tenant, scope).is_err(), "{action} {scope:?}");
    }
    let (_, of_vault) = authorization(&fixture, "Key Vault Secrets User", actions::GET, &fixture.vault.id).await;
    assert_eq!(of_vault.check(actions::GET, fixture.tenant, &[vault, "/secrets/", "db"]), Ok(()));
    assert!(of_vault.check(actions::GET, fixture.tenant, &[&format!("{vault}-2"), "/secrets/", "db"]).is_err());
}

#[tokio::test]
async fn d26_a_use_case_refuses_the_authorization_of_another() {
    let fixture = Fixture::new().await;
    fixture.set("db", "v").await;
    let name = "db".parse().unwrap();
    let (_, reading) = authorization(&fixture, "Key Vault Secrets User", actions::GET, &fixture.vault.id).await;
    assert!(fixture.secrets.get(&reading, &fixture.vault, &name, None).await.is_ok());
    let refused = fixture.secrets.delete(&reading, &fixture.vault, &name).await;
    assert!(matches!(refused, Err(SecretError::Authorization(_))));
    assert!(fixture.secrets.get(&reading, &fixture.vault, &name, None).await.is_ok(), "it is still there");
}

#[tokio::test]
async fn a_right_that_is_lost_after_the_decision_writes_nothing() {
    let fixture = Fixture::new().await;
    fixture.set("db", "v").await;
    let name = "db".parse().unwrap();
    let (who, deleting) =
        authorization(&fixture, "Key Vault Secrets Officer", actions::DELETE, &fixture.vault.id).await;
    assert!(deleting.still_holds(&fixture.store.snapshot()));
    let is_refused = async |why: &str| {
        assert!(!deleting.still_holds(&fixture.store.snapshot()), "{why}");
        let refused = fixture.secrets.delete(&deleting, &fixture.vault, &name).await;
        assert!(matches!(refused, Err(SecretError::Store(StoreError::NotAuthorized))), "{why}");
    };
    let good = fixture.record_of(who);
    for (why, record) in [
        ("disabled", ServicePrincipal { enabled: false, ..good.clone() }),
        ("its tokens are revoked", ServicePrincipal { epoch: 1, ..good.clone() }),
    ] {
        put(&fixture.store, &fixture.ctx(), &record).await;
        is_refused(why).await;
    }
    put(&fixture.store, &fixture.ctx(), &good).await;
    assert!(deleting.still_holds(&fixture.store.snapshot()), "everything is as it was");
    let snapshot = fixture.store.snapshot();
    let [assignment] = snapshot.assignments_of(fixture.tenant, who.principal) else { panic!("one assignment") };
    let assignment = assignment.id;
    let ctx = fixture.ctx();
    let removed = fixture.store.write(&ctx, |tx| {
        Box::pin(async move {
            tx.remove::<RoleAssignment>(&assignment).await?;
            Ok::<_, StoreError>(Write::commit("test", "test", ()))
        })
    });
    removed.await.unwrap();
    is_refused("its role was taken away").await;
    assert!(fixture.secrets.get(&fixture.auth(), &fixture.vault, &name, None).await.is_ok(), "it is still there");
}
