//! A secret's life: added, updated, deleted, recovered, purged; and what a purge leaves behind.

use super::{DataPlace, attacks::until, fixtures::*, writes::founded};
use crate::{
    domain::{
        Ctx,
        resources::Vault,
        secrets::{DeletedSecret, SecretVersion},
    },
    store::*,
};

/// A store with tenant 1, its vault `v`, and versions of secrets in it.
pub(super) async fn with_secrets(place: &impl DataPlace, secrets: &[(&str, u8)]) -> Store {
    let store = founded(place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&vault(1, "v")).await.unwrap();
    for (name, n) in secrets {
        tx.secret_add(&secret(1, "v", name, *n)).await.unwrap();
    }
    tx.commit(event("x")).await.unwrap();
    store
}

fn names(list: &[SecretVersion]) -> Vec<&str> {
    list.iter().map(|it| it.name.as_str()).collect()
}

pub(super) async fn versions_come_newest_first_and_the_last_is_the_latest(place: impl DataPlace) {
    // Versions are random in life: here the greater is the older, and all are of one second.
    let store = with_secrets(&place, &[("s", 9), ("s", 5), ("s", 7), ("other", 8)]).await;
    let vault = vault_id(1, "v");
    let get = async |version: Option<u8>| {
        let version = version.map(|n| format!("{n:032x}"));
        store.secret(&ctx(1), &vault, "s", version.as_deref()).await.unwrap()
    };
    assert_eq!(get(None).await, Some(secret(1, "v", "s", 7)));
    assert_eq!(get(Some(9)).await, Some(secret(1, "v", "s", 9)));
    assert_eq!(get(Some(8)).await, None, "the version of another secret");
    let versions = store.secret_versions(&ctx(1), &vault, "s", None, 10).await.unwrap();
    assert_eq!(versions, [secret(1, "v", "s", 7), secret(1, "v", "s", 5), secret(1, "v", "s", 9)]);

    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let again = tx.secret_add(&secret(1, "v", "s", 5)).await;
    assert!(matches!(again, Err(StoreError::Exists { kind: Kind::Secret, .. })), "{again:?}");
    drop(tx);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let nowhere = tx.secret_add(&secret(1, "absent", "s", 5)).await;
    assert!(matches!(nowhere, Err(StoreError::NotFound { kind: Kind::Vault, .. })), "{nowhere:?}");
}

pub(super) async fn names_are_kept_as_written_and_found_in_any_case(place: impl DataPlace) {
    let store = with_secrets(&place, &[("Db-Password", 1)]).await;
    let shouted: denizen_wire::ResourceId = vault_id(1, "v").as_str().to_uppercase().parse().unwrap();
    let found = store.secret(&ctx(1), &shouted, "DB-PASSWORD", None).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), &found.vault), ("Db-Password", &vault_id(1, "v")));
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.secret_add(&secret(1, "V", "db-password", 2)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    let versions = store.secret_versions(&ctx(1), &shouted, "db-PASSWORD", None, 10).await.unwrap();
    assert_eq!(names(&versions), ["Db-Password", "Db-Password"], "one secret, named as it was first written");
}

pub(super) async fn pages_follow_each_other(place: impl DataPlace) {
    let store = with_secrets(&place, &[("b", 1), ("A", 2), ("c", 3), ("D", 4), ("a", 5), ("a", 6)]).await;
    let vault = vault_id(1, "v");
    let first = store.secrets(&ctx(1), &vault, None, 3).await.unwrap();
    assert_eq!(names(&first), ["A", "b", "c"]);
    assert_eq!(first[0].version, secret(1, "v", "a", 6).version, "a list shows the latest version");
    let second = store.secrets(&ctx(1), &vault, Some("C"), 3).await.unwrap();
    assert_eq!(names(&second), ["D"]);

    let versions = async |after: Option<&str>| {
        store.secret_versions(&ctx(1), &vault, "a", after, 2).await.unwrap().into_iter().map(|it| it.version)
    };
    let first: Vec<_> = versions(None).await.collect();
    assert_eq!(first, [format!("{:032x}", 6), format!("{:032x}", 5)]);
    assert_eq!(versions(Some(&first[1])).await.collect::<Vec<_>>(), [format!("{:032x}", 2)]);
    assert_eq!(versions(Some("no such version")).await.count(), 0);

    let mut tx = store.begin(&ctx(1)).await.unwrap();
    for name in ["a", "b", "c"] {
        tx.secret_delete(&vault, name, NOW, NOW + 9).await.unwrap().unwrap();
    }
    tx.commit(event("x")).await.unwrap();
    let deleted = async |after: Option<&str>| {
        let page = store.deleted_secrets(&ctx(1), &vault, after, 2).await.unwrap();
        page.into_iter().map(|it| it.latest.name).collect::<Vec<_>>()
    };
    assert_eq!(deleted(None).await, ["A", "b"]);
    assert_eq!(deleted(Some("B")).await, ["c"]);
    assert_eq!(names(&store.secrets(&ctx(1), &vault, None, 9).await.unwrap()), ["D"]);
}

pub(super) async fn an_update_changes_metadata_only(place: impl DataPlace) {
    let store = with_secrets(&place, &[("s", 1), ("s", 2)]).await;
    let changed = SecretVersion {
        content_type: None,
        tags: [("env".to_owned(), "prod".to_owned())].into(),
        enabled: false,
        nbf: Some(NOW + 1),
        exp: None,
        updated: NOW + 5,
        ..secret(1, "v", "s", 1)
    };
    let forged = SecretVersion {
        created: NOW + 99,
        wrapped_key: b"forged".to_vec(),
        sealed_value: b"forged".to_vec(),
        ..changed.clone()
    };
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.secret_update(&forged).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    let read = store.secret(&ctx(1), &vault_id(1, "v"), "s", Some(&changed.version)).await.unwrap();
    assert_eq!(read, Some(changed));
    let latest = store.secret(&ctx(1), &vault_id(1, "v"), "s", None).await.unwrap();
    assert_eq!(latest, Some(secret(1, "v", "s", 2)), "another version was changed");
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let absent = tx.secret_update(&secret(1, "v", "s", 3)).await;
    assert!(matches!(absent, Err(StoreError::NotFound { kind: Kind::Secret, .. })), "{absent:?}");
}

pub(super) async fn delete_recover_purge(place: impl DataPlace) {
    let store = with_secrets(&place, &[("S", 1), ("s", 2)]).await;
    let (vault, purge_at) = (vault_id(1, "v"), NOW + 7 * 86_400);
    let latest = SecretVersion { name: "S".to_owned(), ..secret(1, "v", "s", 2) };
    let deleted = DeletedSecret { latest: latest.clone(), deleted: NOW, purge_at };

    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert!(!tx.secret_purge(&vault, "s").await.unwrap(), "purged what was not deleted");
    assert_eq!(tx.secret_recover(&vault, "s").await.unwrap(), None);
    assert_eq!(tx.secret_delete(&vault, "absent", NOW, purge_at).await.unwrap(), None);
    assert_eq!(tx.secret_delete(&vault, "s", NOW, purge_at).await.unwrap(), Some(deleted.clone()));
    assert_eq!(tx.secret_delete(&vault, "s", NOW, purge_at).await.unwrap(), None, "deleted twice");
    tx.commit(event("x")).await.unwrap();

    assert_eq!(store.secret(&ctx(1), &vault, "s", None).await.unwrap(), None);
    assert_eq!(store.secret(&ctx(1), &vault, "s", Some(&latest.version)).await.unwrap(), None);
    assert_eq!(store.secret_versions(&ctx(1), &vault, "s", None, 9).await.unwrap(), []);
    assert_eq!(store.deleted_secret(&ctx(1), &vault, "S").await.unwrap(), Some(deleted.clone()));
    assert_eq!(store.secrets_due(&Ctx { now: purge_at - 1, ..ctx(1) }, 9).await.unwrap(), []);
    assert_eq!(store.secrets_due(&Ctx { now: purge_at, ..ctx(1) }, 9).await.unwrap(), [deleted]);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let held = tx.secret_add(&secret(1, "v", "s", 3)).await;
    assert!(matches!(held, Err(StoreError::SecretDeleted { .. })), "{held:?}");
    drop(tx);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let held = tx.secret_update(&secret(1, "v", "s", 2)).await;
    assert!(matches!(held, Err(StoreError::NotFound { .. })), "{held:?}");
    drop(tx);

    let before = store.snapshot().vault_revision(&vault);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert_eq!(tx.secret_recover(&vault, "s").await.unwrap(), Some(latest.clone()));
    tx.commit(event("x")).await.unwrap();
    assert!(store.snapshot().vault_revision(&vault) > before, "what was cached of the vault would go on being served");
    assert_eq!(store.secret(&ctx(1), &vault, "s", None).await.unwrap(), Some(latest));
    assert_eq!(store.secret_versions(&ctx(1), &vault, "s", None, 9).await.unwrap().len(), 2);

    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.secret_delete(&vault, "s", NOW, purge_at).await.unwrap().unwrap();
    assert!(tx.secret_purge(&vault, "S").await.unwrap());
    tx.secret_add(&secret(1, "v", "s", 1)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    let versions = store.secret_versions(&ctx(1), &vault, "s", None, 9).await.unwrap();
    assert_eq!(versions, [secret(1, "v", "s", 1)], "a purged name starts anew, as it is written now");
}

pub(super) async fn a_purge_leaves_no_copy_of_the_sealed_bytes<P: DataPlace>(place: P) {
    let store = with_secrets(&place, &[("doomed", 1), ("doomed", 2), ("other", 3)]).await;
    assert!(place.copies_of("WRAPPED-doomed-1").await > 0, "the search finds nothing, so it proves nothing");
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.secret_delete(&vault_id(1, "v"), "doomed", NOW, NOW).await.unwrap().unwrap();
    tx.secret_purge(&vault_id(1, "v"), "doomed").await.unwrap();
    tx.commit(event("x")).await.unwrap();
    for gone in ["WRAPPED-doomed", "SEALED-doomed"] {
        if P::IS_OVERWRITTEN_LATER {
            until(gone, async || place.copies_of(gone).await == 0).await;
        }
        assert_eq!(place.copies_of(gone).await, 0, "{gone}");
    }
    assert!(place.copies_of("WRAPPED-other-3").await > 0);
}

pub(super) async fn a_vault_with_secrets_cannot_go(place: impl DataPlace) {
    let store = with_secrets(&place, &[("s", 1), ("t", 2)]).await;
    let vault = vault_id(1, "v");
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert!(tx.remove::<Vault>(&vault).await.is_err());
    drop(tx);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert_eq!(tx.secrets_purge_all(&vault).await.unwrap(), 2);
    tx.remove::<Vault>(&vault).await.unwrap().unwrap();
    tx.commit(event("x")).await.unwrap();
    assert!(store.snapshot().vault("v").is_none());
    assert_eq!(store.secrets(&ctx(1), &vault, None, 9).await.unwrap(), []);
}
