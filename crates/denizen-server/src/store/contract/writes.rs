//! One write path: atomic, unique, published, logged.

use std::time::Duration;

use serde_json::json;

use super::{DataPlace, attacks::until, fixtures::*};
use crate::{
    domain::{
        directory::{Application, ServicePrincipal, SigningKey, Tenant},
        hot::Assignment,
        resources::{Machine, Subscription, Vault},
        roles::{RoleAssignment, RoleDefinition},
    },
    store::*,
};

/// A store with tenant 1.
pub(super) async fn founded(place: &impl DataPlace) -> Store {
    let store = place.open().await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&tenant(1)).await.unwrap();
    tx.commit(event("tenant/create")).await.unwrap();
    store
}

pub(super) async fn a_commit_is_seen_by_whoever_asks_next(place: impl DataPlace) {
    let store = founded(&place).await;
    let old = store.snapshot();
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&principal(1, 7)).await.unwrap();
    tx.put(&application(1, 7, &["api://seven"])).await.unwrap();
    assert_eq!(tx.record::<ServicePrincipal>(&principal_id(7)).await.unwrap(), Some(principal(1, 7)));
    assert!(store.snapshot().principal(tenant_id(1), principal_id(7)).is_none(), "seen before it was committed");
    let revision = tx.commit(event("app/create")).await.unwrap();

    let new = store.snapshot();
    assert_eq!(new.revision(), revision);
    assert!(revision > old.revision());
    assert_eq!(**new.principal(tenant_id(1), principal_id(7)).unwrap(), hot(&principal(1, 7)));
    assert_eq!(**new.principal_of_client(tenant_id(1), client(7)).unwrap(), hot(&principal(1, 7)));
    assert_eq!(new.application_for_resource(tenant_id(1), "api://seven").unwrap().client_id, client(7));
    assert!(new.application_for_resource(tenant_id(1), "api://SEVEN").is_none(), "URIs are compared exactly");
    assert!(old.principal(tenant_id(1), principal_id(7)).is_none(), "a snapshot in use must not change");

    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.put(&ServicePrincipal { epoch: 3, ..principal(1, 7) }).await.unwrap();
    assert_eq!(tx.remove::<Application>(&client(7)).await.unwrap(), Some(application(1, 7, &["api://seven"])));
    assert_eq!(tx.remove::<Application>(&client(8)).await.unwrap(), None);
    tx.commit(event("app/delete")).await.unwrap();
    let new = store.snapshot();
    assert_eq!(new.principal(tenant_id(1), principal_id(7)).unwrap().epoch, 3);
    assert!(new.application_for_resource(tenant_id(1), "api://seven").is_none());
    assert!(new.application(tenant_id(1), client(7)).is_none());
}

pub(super) async fn a_dropped_transaction_leaves_nothing(place: impl DataPlace) {
    let store = founded(&place).await;
    let before = store.snapshot();
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    drop(tx);
    // And one whose future is dropped while the statement is under way.
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let _ = tokio::time::timeout(Duration::ZERO, tx.insert(&principal(1, 2))).await;
    drop(tx);

    let mut tx = store.begin(&ctx(1)).await.unwrap();
    for n in [1, 2] {
        assert_eq!(tx.record::<ServicePrincipal>(&principal_id(n)).await.unwrap(), None);
    }
    drop(tx);
    assert!(*store.snapshot() == *before);
    assert_eq!(store.audit_verify().await.unwrap(), 1);
    store.close().await;
    assert!(*place.open().await.snapshot() == *before);
}

pub(super) async fn an_error_in_the_middle_leaves_nothing(place: impl DataPlace) {
    let store = founded(&place).await;
    let before = store.snapshot();
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    let refused = tx.insert(&principal(1, 1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists { kind: Kind::ServicePrincipal, .. }), "{refused}");
    assert!(matches!(tx.insert(&principal(1, 2)).await, Err(StoreError::Aborted)), "it went on after an error");
    assert!(matches!(tx.commit(event("x")).await, Err(StoreError::Aborted)));
    assert!(*store.snapshot() == *before);

    // The audit record cannot be written: then neither is what it speaks of.
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    place.sql("CREATE TABLE side.kept AS SELECT * FROM audit; DELETE FROM audit WHERE seq = 2").await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&principal(1, 2)).await.unwrap();
    assert!(matches!(tx.commit(event("x")).await, Err(StoreError::Trail(_))));
    assert!(store.snapshot().principal(tenant_id(1), principal_id(2)).is_none());
    place.sql("DELETE FROM audit; INSERT INTO audit SELECT * FROM side.kept").await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert_eq!(tx.record::<ServicePrincipal>(&principal_id(2)).await.unwrap(), None, "kept without its audit record");
    tx.insert(&principal(1, 2)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    assert_eq!(store.audit_verify().await.unwrap(), 3);
}

pub(super) async fn what_must_be_unique_is(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(2)).await.unwrap();
    tx.insert(&tenant(2)).await.unwrap();
    tx.insert(&vault(2, "shared")).await.unwrap();
    tx.insert(&subscription(2, 2)).await.unwrap();
    tx.insert(&application(2, 9, &["api://a"])).await.unwrap();
    tx.insert(&principal(2, 9)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    // Within a tenant only: another tenant's application may have the same URI and the same ids.
    tx.insert(&application(1, 9, &["api://a"])).await.unwrap();
    tx.insert(&principal(1, 9)).await.unwrap();
    tx.commit(event("x")).await.unwrap();

    async fn taken<R: Record>(store: &Store, ctx: &crate::domain::Ctx, record: R) {
        for put in [false, true] {
            let mut tx = store.begin(ctx).await.unwrap();
            let refused = if put { tx.put(&record).await } else { tx.insert(&record).await };
            assert!(
                matches!(refused, Err(StoreError::Exists { kind, .. }) if kind == R::KIND),
                "{} put={put}: {refused:?}",
                R::KIND
            );
        }
    }
    taken(&store, &ctx(3), Tenant { domain: "T1.Example".to_owned(), ..tenant(3) }).await;
    taken(&store, &ctx(1), vault(1, "Shared")).await;
    taken(&store, &ctx(1), Subscription { tenant: tenant_id(1), ..subscription(2, 2) }).await;
    taken(&store, &ctx(1), application(1, 8, &["api://b", "api://a"])).await;
    taken(&store, &ctx(1), ServicePrincipal { id: principal_id(8), ..principal(1, 9) }).await;
    assert!(store.snapshot().tenant_named("t1.example").is_some_and(|it| it.id == tenant_id(1)));
    assert_eq!(store.snapshot().vault("SHARED").unwrap().tenant, tenant_id(2));
}

pub(super) async fn names_can_be_given_up_and_taken_again(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&application(1, 1, &["api://a", "api://b"])).await.unwrap();
    tx.put(&application(1, 1, &["api://b"])).await.unwrap();
    tx.insert(&application(1, 2, &["api://a"])).await.unwrap();
    tx.insert(&vault(1, "v")).await.unwrap();
    tx.remove::<Vault>(&vault_id(1, "V")).await.unwrap().unwrap();
    tx.insert(&Vault { id: vault_id(1, "w"), ..vault(1, "v") }).await.unwrap();
    tx.put(&Tenant { domain: "new.example".to_owned(), ..tenant(1) }).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    let now = store.snapshot();
    assert_eq!(now.application_for_resource(tenant_id(1), "api://a").unwrap().client_id, client(2));
    assert_eq!(now.application_for_resource(tenant_id(1), "api://b").unwrap().client_id, client(1));
    assert_eq!(now.vault("v").unwrap().id, vault_id(1, "w"));
    assert!(now.tenant_named("t1.example").is_none());
    assert!(now.tenant_named("new.example").is_some());
}

pub(super) async fn a_tenant_that_goes_leaves_nothing_in_the_snapshot(place: impl DataPlace) {
    let store = founded(&place).await;
    let before = store.snapshot();
    let mut tx = store.begin(&ctx(2)).await.unwrap();
    tx.insert(&tenant(2)).await.unwrap();
    tx.insert(&assignment(2, 1, &group_id(2, "rg"), 1)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    assert_eq!(store.snapshot().tenants().count(), 2);
    let mut tx = store.begin(&ctx(2)).await.unwrap();
    tx.remove::<RoleAssignment>(&uuid(0xF0, 1)).await.unwrap().unwrap();
    tx.remove::<Tenant>(&tenant_id(2)).await.unwrap().unwrap();
    tx.commit(event("x")).await.unwrap();
    let now = store.snapshot();
    assert_eq!((now.tenants().count(), before.tenants().count()), (1, 1));
    store.close().await;
    assert!(*place.open().await.snapshot() == *now);
}

pub(super) async fn look_ups_ignore_case_where_azure_does(place: impl DataPlace) {
    let store = founded(&place).await;
    let scope = vault_id(1, "MyVault");
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&vault(1, "MyVault")).await.unwrap();
    tx.insert(&machine(1, 1)).await.unwrap();
    tx.insert(&group(1, "RG")).await.unwrap();
    tx.insert(&assignment(1, 1, &scope, 1)).await.unwrap();
    tx.insert(&assignment(1, 2, &scope, 2)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    let now = store.snapshot();
    let lower = |text: &str| text.to_lowercase().parse().unwrap();
    assert_eq!(now.vault("MYVAULT").unwrap().id.as_str(), scope.as_str());
    assert_eq!(
        store.record::<Machine>(&ctx(1), &lower(machine(1, 1).id.as_str())).await.unwrap().unwrap().id.name(),
        "Srv1"
    );
    assert!(now.resource_group(tenant_id(1), &group_id(1, "rg")).is_some());
    assert!(now.tenant_named("T1.EXAMPLE").is_some());
    assert!(now.tenant_named(&tenant_id(1).to_string().to_uppercase()).is_some());
    assert!(now.tenant_named("t9.example").is_none());
    let ids = |list: &[std::sync::Arc<Assignment>]| list.iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(ids(now.assignments_of(tenant_id(1), principal_id(2))), [uuid(0xF0, 2)]);
    let given = &now.assignments_of(tenant_id(1), principal_id(2))[0].scope;
    assert!(given.is(&lower(scope.as_str())) && !given.is(&group_id(1, "rg")), "only exactly at the scope");
    // The same id in another case is the same machine.
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let mut again = machine(1, 1);
    again.id = lower(again.id.as_str());
    assert!(matches!(tx.insert(&again).await, Err(StoreError::Exists { .. })));
}

pub(super) async fn the_change_log_says_what_changed_and_no_sealed_byte(place: impl DataPlace) {
    let store = founded(&place).await;
    let start = store.snapshot().revision();
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&application(1, 1, &[])).await.unwrap();
    tx.insert(&signing_key(1, 1)).await.unwrap();
    tx.insert(&vault(1, "v")).await.unwrap();
    tx.issue(&join_token(1, 1)).await.unwrap();
    tx.secret_add(&secret(1, "v", "s", 1)).await.unwrap();
    let first = tx.commit(event("x")).await.unwrap();
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.put(&Application { display_name: "Renamed".to_owned(), ..application(1, 1, &[]) }).await.unwrap();
    tx.remove::<SigningKey>(&"kid-1".to_owned()).await.unwrap();
    let second = tx.commit(event("x")).await.unwrap();
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&user(1, 1)).await.unwrap();
    tx.insert(&deleted_object(1, 1)).await.unwrap();
    let third = tx.commit(event("x")).await.unwrap();

    let changes = store.changes_since(&ctx(1), start, 100).await.unwrap();
    let told: Vec<_> =
        changes.iter().map(|it| (it.revision, it.kind, it.before.is_some(), it.after.is_some())).collect();
    assert_eq!(
        told,
        [
            (first, Kind::Application, false, true),
            (first, Kind::SigningKey, false, true),
            (first, Kind::Vault, false, true),
            (first, Kind::JoinToken, false, true),
            (first, Kind::Secret, false, true),
            (first, Kind::SecretVersion, false, true),
            (second, Kind::Application, true, true),
            (second, Kind::SigningKey, true, false),
            (third, Kind::User, false, true),
            (third, Kind::DeletedObject, false, true),
        ]
    );
    assert_eq!(changes[6].before.as_ref().unwrap()["display_name"], "App 1");
    assert_eq!(changes[6].after.as_ref().unwrap()["display_name"], "Renamed");
    assert_eq!(changes[5].after.as_ref().unwrap()["tags"]["env"], "dev");
    // From the first, so that the tenant is among them.
    let text = format!("{:?}", store.changes_since(&ctx(1), Revision(0), 100).await.unwrap());
    assert!(text.contains("t1.example"));
    let hidden = [
        "THE-PASSWORD-HASH",
        "abababab",
        "\"check\"",
        "THE-SEALED",
        "WRAPPED",
        "SEALED",
        "THE-USERS-HASH",
        "THE-HASH-OF",
    ];
    for sealed in hidden {
        assert!(!text.contains(sealed), "the change log repeats {sealed}");
    }
    assert!(text.contains("JoinToken") && !text.contains(&format!("{:064x}", 1)), "the change log repeats a hash");
    assert_eq!(store.changes_since(&ctx(1), first, 1).await.unwrap().len(), 1);
    assert!(store.changes_since(&ctx(1), third, 100).await.unwrap().is_empty());
}

pub(super) async fn revisions_name_the_last_change(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&signing_key(1, 2)).await.unwrap();
    tx.insert(&signing_key(1, 1)).await.unwrap();
    tx.insert(&vault(1, "v")).await.unwrap();
    tx.insert(&vault(1, "other")).await.unwrap();
    let first = tx.commit(event("x")).await.unwrap();
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.secret_add(&secret(1, "V", "s", 1)).await.unwrap();
    let second = tx.commit(event("x")).await.unwrap();
    let now = store.snapshot();
    assert_eq!(now.signing_revision(), first);
    let kids: Vec<_> = now.signing_keys(tenant_id(1)).iter().map(|key| key.kid.as_str()).collect();
    assert_eq!(kids, ["kid-1", "kid-2"], "in the order in which they sign");
    assert_eq!((now.vault_revision(&vault_id(1, "v")), now.vault_revision(&vault_id(1, "other"))), (second, first));
    // A transaction that changed nothing has no revision of its own; its audit record stands.
    let tx = store.begin(&ctx(1)).await.unwrap();
    assert_eq!(tx.commit(event("looked")).await.unwrap(), second);
    assert_eq!(store.audit_tail(&ctx(1), 1).await.unwrap()[0].action, "looked");
    // Gone and come again, a vault does not have the revision it had.
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.remove::<Vault>(&vault_id(1, "other")).await.unwrap().unwrap();
    let third = tx.commit(event("x")).await.unwrap();
    assert_eq!(store.snapshot().vault_revision(&vault_id(1, "other")), third);
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.snapshot().vault_revision(&vault_id(1, "other")), third);
    assert_eq!((store.snapshot().revision(), store.snapshot().signing_revision()), (third, first));
}

/// A client that hangs up in the middle of a commit leaves the snapshot and the database equal.
pub(super) async fn a_commit_survives_its_caller(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut committed = 0;
    for n in 0..40u8 {
        let mut tx = store.begin(&ctx(1)).await.unwrap();
        tx.insert(&principal(1, n)).await.unwrap();
        let patience = Duration::from_micros(u64::from(n) * 20);
        committed += usize::from(tokio::time::timeout(patience, tx.commit(event("x"))).await.is_ok());
    }
    let kept = || store.snapshot().principals(tenant_id(1)).count();
    assert!(kept() >= committed);
    until("a commit that was begun goes through", async || kept() == 40).await;
    let now = store.snapshot();
    store.close().await;
    assert!(*place.open().await.snapshot() == *now);
}

/// Sixty-four who want to write at once cost a few commits, and each is told of its own.
pub(super) async fn writers_who_wait_commit_together(place: impl DataPlace) {
    let store = founded(&place).await;
    let before = store.counters().commits;
    let first = store.begin(&ctx(1)).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..64u8 {
        let store = store.clone();
        writers.spawn(async move {
            let new = &principal(1, n);
            let by = ctx(1);
            let written = store.write(&by, |tx| {
                Box::pin(async move {
                    tx.insert(new).await?;
                    Ok::<_, StoreError>(Write::commit("x", new.id.to_string(), tx.snapshot().revision()))
                })
            });
            let seen = written.await.unwrap();
            (seen, store.snapshot().principal(tenant_id(1), principal_id(n)).is_some())
        });
    }
    until("all wait", async || store.core.queue.len() == 64).await;
    first.commit(event("first")).await.unwrap();
    let mut seen: Vec<_> = writers.join_all().await;
    assert!(seen.iter().all(|(_, is_published)| *is_published), "answered before it was published");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 64, "each saw those before it, and nobody else saw the same");
    let commits = store.counters().commits - before;
    assert!(commits <= 3, "{commits} commits for 65 writes");
    let now = store.snapshot();
    assert_eq!(store.audit_verify().await.unwrap(), 66);
    store.close().await;
    assert!(*place.open().await.snapshot() == *now);
}

/// What one of a group writes is undone when it fails, and what the others write is kept.
pub(super) async fn who_fails_in_a_group_fails_alone(place: impl DataPlace) {
    let store = founded(&place).await;
    let first = store.begin(&ctx(1)).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..24u8 {
        let store = store.clone();
        writers.spawn(async move {
            let new = &principal(1, n);
            let by = ctx(1);
            let written = store.write(&by, |tx| {
                Box::pin(async move {
                    tx.insert(new).await?;
                    match n % 3 {
                        0 => Ok(Write::commit("x", new.id.to_string(), ())),
                        // A name that another has.
                        1 => tx.insert(&tenant(1)).await.map(|()| Write::commit("x", "", ())),
                        _ => Ok(Write::Unchanged(())),
                    }
                })
            });
            (n, written.await)
        });
    }
    until("all wait", async || store.core.queue.len() == 24).await;
    drop(first);
    for (n, written) in writers.join_all().await {
        match n % 3 {
            1 => assert!(matches!(written, Err(StoreError::Exists { .. })), "{n}: {written:?}"),
            _ => written.unwrap(),
        }
        let is_there = store.snapshot().principal(tenant_id(1), principal_id(n)).is_some();
        assert_eq!(is_there, n % 3 == 0, "{n}");
    }
    let now = store.snapshot();
    store.close().await;
    assert!(*place.open().await.snapshot() == *now);
}

/// An answer that leans on what another has written is worth nothing when that is lost.
pub(super) async fn what_was_decided_by_a_group_that_failed_is_decided_again(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut first = store.begin(&ctx(1)).await.unwrap();
    first.insert(&principal(1, 1)).await.unwrap();
    let unless_there = {
        let store = store.clone();
        tokio::spawn(async move {
            let new = &principal(1, 1);
            let by = ctx(1);
            let written = store.write(&by, |tx| {
                Box::pin(async move {
                    if tx.snapshot().principal(tenant_id(1), principal_id(1)).is_some() {
                        return Ok(Write::Unchanged("it was there"));
                    }
                    tx.insert(new).await?;
                    Ok::<_, StoreError>(Write::commit("x", "", "it was not there"))
                })
            });
            written.await.unwrap()
        })
    };
    until("it waits", async || store.core.queue.len() == 1).await;
    store.core.statements.fail_next_commit();
    let lost = first.commit(event("lost")).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert_eq!(unless_there.await.unwrap(), "it was not there");
    assert!(store.snapshot().principal(tenant_id(1), principal_id(1)).is_some());
    assert_eq!(store.audit_verify().await.unwrap(), 2);
}

/// The engine may have ended the transaction with it: nobody of the group is told that its work was kept when it was not.
pub(super) async fn a_savepoint_that_is_refused_loses_nothing_silently(place: impl DataPlace) {
    let store = founded(&place).await;
    let mut refused = 0;
    for round in 0..4 {
        let mut first = store.begin(&ctx(1)).await.unwrap();
        first.insert(&principal(1, round)).await.unwrap();
        store.audit(&ctx(1), &event("read")).unwrap();
        let second = tokio::spawn({
            let store = store.clone();
            async move { store.begin(&ctx(1)).await.map(drop) }
        });
        until("somebody waits", async || !store.core.queue.is_empty()).await;
        // Of who waits, or of who comes next where the engine needs none for the former.
        store.core.statements.refuse_next_savepoint();
        let kept = first.commit(event("first")).await.is_ok();
        refused += u32::from(second.await.unwrap().is_err());
        refused += u32::from(store.begin(&ctx(1)).await.is_err());
        let _ = store.core.statements.savepoint();
        assert_eq!(store.snapshot().principal(tenant_id(1), principal_id(round)).is_some(), kept, "{round}");
        let shipped = store.audit_tail(&ctx(1), 100).await.unwrap();
        assert_eq!(
            shipped.iter().filter(|it| it.action == "read").count(),
            usize::from(round) + 1,
            "a record was lost"
        );
        store.audit_verify().await.unwrap();
    }
    assert!(refused > 0, "none was refused");
    let before = store.snapshot();
    store.close().await;
    assert!(*place.open().await.snapshot() == *before);
}

/// The snapshot is made of changes; what is loaded at start is made of rows. They must never differ.
pub(super) async fn the_snapshot_equals_what_is_loaded_after_a_thousand_changes(place: impl DataPlace) {
    let mut store = founded(&place).await;
    let mut next = numbers(0x9E37_79B9_7F4A_7C15);
    let mut kept = 0;
    for round in 0..250 {
        let who = 1 + next(2);
        let mut tx = store.begin(&ctx(who)).await.unwrap();
        let mut ok = true;
        for _ in 0..=next(6) {
            ok = ok && one_change(&mut tx, who, &mut next).await;
        }
        if ok && next(8) > 0 {
            tx.commit(event("x")).await.unwrap();
            kept += 1;
        } else {
            drop(tx);
        }
        if round % 50 == 49 {
            let before = store.snapshot();
            store.close().await;
            store = place.open().await;
            assert!(*store.snapshot() == *before, "round {round}: what was loaded differs");
        }
    }
    assert!(kept > 100, "only {kept} of 250 transactions were kept");
    let now = store.snapshot();
    assert!(machines_of(&store).await > 0 && (0..8).any(|n| now.assignment(tenant_id(2), uuid(0xF0, n)).is_some()));
    assert_eq!(store.audit_verify().await.unwrap(), kept + 1);
}

/// One random change; false when the store refused it.
pub(super) async fn one_change(tx: &mut Tx<'_>, who: u8, next: &mut impl FnMut(u64) -> u8) -> bool {
    const SECRETS: [&str; 3] = ["One", "two", "THREE"];
    let n = next(8);
    let scopes = [group_id(who, "rg"), vault_id(who, "v"), denizen_wire::ResourceId::root()];
    let name = format!("v{who}{}", n % 3);
    let done = match next(21) {
        0 => tx.put(&tenant(who)).await,
        1 | 2 => tx.put(&application(who, n, &[&format!("api://{}", next(8))])).await,
        3 => tx.remove::<Application>(&client(n)).await.map(drop),
        4 | 5 => tx.put(&ServicePrincipal { epoch: u64::from(next(9)), ..principal(who, n) }).await,
        6 => tx.remove::<ServicePrincipal>(&principal_id(n)).await.map(drop),
        7 => tx.put(&signing_key(who, n)).await,
        8 => tx.remove::<SigningKey>(&format!("kid-{n}")).await.map(drop),
        9 => tx.put(&subscription(who, who)).await,
        10 => tx.put(&group(who, "RG")).await,
        11 | 12 => tx.put(&machine(who, n)).await,
        13 => tx.remove::<Machine>(&machine(who, n).id).await.map(drop),
        14 => tx.put(&vault(who, &name)).await,
        15 | 16 => {
            let scope = scopes[usize::from(next(3))].clone();
            tx.put(&assignment(who, n, &scope, next(4))).await
        }
        17 => tx.remove::<RoleAssignment>(&uuid(0xF0, n)).await.map(drop),
        18 => tx.put(&custom_role(who, n)).await,
        19 => tx.remove::<RoleDefinition>(&custom_role(who, n).id).await.map(drop),
        _ => {
            tx.put(&vault(who, &name)).await.unwrap();
            tx.secret_add(&secret(who, &name, SECRETS[usize::from(n % 3)], next(200))).await
        }
    };
    match done {
        Ok(()) => true,
        Err(StoreError::Exists { .. } | StoreError::SecretDeleted { .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// A newer release writes members that this one does not know, and both run while a cluster is upgraded.
pub(super) async fn what_a_newer_release_wrote_stays(place: impl DataPlace) {
    let store = founded(&place).await;
    let app = application(1, 1, &["api://a"]);
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.insert(&app).await.unwrap();
    tx.insert(&principal(1, 1)).await.unwrap();
    tx.commit(event("made")).await.unwrap();
    // As the newer release writes them, tags and all.
    let newer = |body: serde_json::Value, more: serde_json::Value| {
        let mut body = body;
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let mut body = newer(serde_json::to_value(&app).unwrap(), json!({"newer": {"a": [1]}}));
    body["passwords"][0]["newer"] = json!("p");
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.put(&app).await.unwrap();
    tx.put(&principal(1, 1)).await.unwrap();
    tx.write(Application::TABLE.upsert, &app, &body.to_string()).await.unwrap();
    let body = newer(serde_json::to_value(principal(1, 1)).unwrap(), json!({"newer": 7}));
    tx.write(ServicePrincipal::TABLE.upsert, &principal(1, 1), &body.to_string()).await.unwrap();
    tx.commit(event("written by a newer release")).await.unwrap();
    store.close().await;
    let store = place.open().await;
    let kept = store.snapshot().application(tenant_id(1), app.client_id).unwrap().clone();
    let changed = Application { display_name: "changed".into(), identifier_uris: vec![], ..Application::clone(&kept) };
    let gone = ServicePrincipal { token_lifetime: None, ..principal(1, 1) };
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.put(&changed).await.unwrap();
    tx.put(&gone).await.unwrap();
    tx.commit(event("changed")).await.unwrap();
    let rows =
        store.rows("SELECT body FROM applications UNION ALL SELECT body FROM service_principals", &[]).await.unwrap();
    let bodies: Vec<serde_json::Value> =
        rows.iter().map(|row| serde_json::from_str(&row.text(0).unwrap()).unwrap()).collect();
    let read: Application = serde_json::from_value(bodies[0].clone()).unwrap();
    assert_eq!(read, changed, "what is known is what was written");
    assert_eq!((&bodies[0]["newer"], &bodies[0]["passwords"][0]["newer"]), (&json!({"a": [1]}), &json!("p")));
    assert_eq!(bodies[1]["newer"], json!(7));
    store.close().await;
}
