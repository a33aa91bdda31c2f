//! Rows that somebody wrote who has the database and not the root key: refused at start with the row named, and not
//! served by a server that runs meanwhile. Each attack is an intruder's SQL.

use super::{
    DataPlace,
    fixtures::*,
    writes::{founded, one_change},
};
use crate::{
    domain::{
        Ctx,
        deleted::DeletedObject,
        directory::{Application, ServicePrincipal, SigningKey},
        grants::{AppRoleAssignment, PermissionGrant},
        people::{Group, Membership, User},
        resources::{JoinToken, Machine, Vault},
        roles::RoleAssignment,
        secrets::SecretVersion,
    },
    store::*,
};

/// Every table whose rows carry a tag, and what its rows are called.
pub(super) const TABLES: [(&str, Kind); 19] = [
    ("tenants", Kind::Tenant),
    ("applications", Kind::Application),
    ("service_principals", Kind::ServicePrincipal),
    ("signing_keys", Kind::SigningKey),
    ("subscriptions", Kind::Subscription),
    ("resource_groups", Kind::ResourceGroup),
    ("machines", Kind::Machine),
    ("vaults", Kind::Vault),
    ("role_assignments", Kind::RoleAssignment),
    ("role_definitions", Kind::RoleDefinition),
    ("users", Kind::User),
    ("groups", Kind::Group),
    ("memberships", Kind::Membership),
    ("app_role_assignments", Kind::AppRoleAssignment),
    ("permission_grants", Kind::PermissionGrant),
    ("deleted_objects", Kind::DeletedObject),
    ("secrets", Kind::Secret),
    ("secret_versions", Kind::SecretVersion),
    ("one_time", Kind::JoinToken),
];

/// One row of each kind: a tenant with one of everything.
pub(super) async fn one_of_each(place: &impl DataPlace) -> Store {
    let store = founded(place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    insert_one_of_each(&mut tx).await;
    tx.issue(&join_token(1, 1)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    store
}

/// Writes every row again, with another content.
pub(super) async fn change_each(store: &Store) {
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let renamed = crate::domain::directory::Tenant { display_name: "renamed".to_owned(), ..tenant(1) };
    tx.put(&renamed).await.unwrap();
    tx.put(&Application { display_name: "renamed".to_owned(), ..application(1, 1, &["api://a"]) }).await.unwrap();
    tx.put(&ServicePrincipal { epoch: 1, enabled: false, ..principal(1, 1) }).await.unwrap();
    tx.put(&SigningKey { signs_until: Some(NOW), ..signing_key(1, 1) }).await.unwrap();
    let renamed = crate::domain::resources::Subscription { display_name: "renamed".to_owned(), ..subscription(1, 1) };
    tx.put(&renamed).await.unwrap();
    tx.put(&crate::domain::resources::ResourceGroup { location: "x".to_owned(), ..group(1, "rg") }).await.unwrap();
    tx.put(&Machine { location: "x".to_owned(), ..machine(1, 1) }).await.unwrap();
    tx.put(&Vault { location: "x".to_owned(), ..vault(1, "v") }).await.unwrap();
    tx.put(&RoleAssignment { created_by: "x".to_owned(), ..assignment(1, 1, &vault_id(1, "v"), 1) }).await.unwrap();
    tx.put(&crate::domain::roles::RoleDefinition { name: "x".to_owned(), ..custom_role(1, 1) }).await.unwrap();
    tx.put(&User { enabled: false, ..user(1, 1) }).await.unwrap();
    tx.put(&Group { display_name: "renamed".to_owned(), ..user_group(1, 1) }).await.unwrap();
    tx.put(&Membership { since: NOW + 1, ..membership(1, 1, user(1, 1).id) }).await.unwrap();
    tx.put(&AppRoleAssignment { created: NOW + 1, ..app_role(1, 1, user(1, 1).id) }).await.unwrap();
    tx.put(&PermissionGrant { scopes: Vec::new(), ..permission_grant(1, 1, 1) }).await.unwrap();
    tx.put(&DeletedObject { display_name: "renamed".to_owned(), ..deleted_object(1, 1) }).await.unwrap();
    tx.secret_update(&SecretVersion { enabled: false, ..secret(1, "v", "s", 1) }).await.unwrap();
    tx.secret_delete(&vault_id(1, "v"), "s", NOW, NOW + 9).await.unwrap().unwrap();
    tx.redeem::<JoinToken>(&join_token(1, 1).hash).await.unwrap();
    tx.commit(event("x")).await.unwrap();
}

async fn opened(place: &impl DataPlace) -> Result<Store, StoreError> {
    Store::open(place.engine(), StoreKeys::of_test()).await
}

/// Runs an intruder's SQL on a copy of the data, and says what its start says.
async fn start_after(place: &impl DataPlace, sql: &str) -> StoreError {
    let copy = place.after_a_power_cut();
    copy.sql(sql.to_owned().leak()).await;
    match opened(&copy).await {
        Ok(_) => panic!("it started after: {sql}"),
        Err(error) => error,
    }
}

#[track_caller]
fn assert_tampered(error: &StoreError, kind: Kind, why: Tampering, context: &str) {
    let StoreError::Tampered { kind: found, why: said, id, .. } = error else { panic!("{context}: {error:?}") };
    assert_eq!((*found, *said), (kind, why), "{context}: {error}");
    let text = error.to_string();
    assert!(text.contains(id.as_str()) && text.contains("restore"), "{context}: {text}");
}

pub(super) async fn a_row_that_was_edited_is_refused_at_start(place: impl DataPlace) {
    one_of_each(&place).await.close().await;
    let mut edits = vec![
        ("tenants", "domain = 'other.example'".to_owned()),
        ("service_principals", "client_id = 'c0000000-0000-0000-0000-000000000009'".to_owned()),
        ("users", "name = 'other@t1.example'".to_owned()),
        ("subscriptions", "subscription = '50000000-0000-0000-0000-000000000009'".to_owned()),
        ("vaults", "name = 'other'".to_owned()),
        ("secrets", "written = 'S'".to_owned()),
        ("secrets", "latest = 'x'".to_owned()),
        ("secrets", "deleted = 1".to_owned()),
        ("secrets", "purge_at = 1".to_owned()),
        ("secrets", "name = 't'".to_owned()),
        ("secrets", "vault = vault || 'x'".to_owned()),
        ("secret_versions", "version = 'x'".to_owned()),
        ("secret_versions", "sealed_hash = unhex('00')".to_owned()),
        ("one_time", format!("hash = '{:064x}'", 7)),
        ("one_time", "expires = expires + 1".to_owned()),
        ("one_time", "used_at = 1".to_owned()),
        ("one_time", "id = '70000000-0000-0000-0000-000000000009'".to_owned()),
    ];
    for column in ["ordinal", "enabled", "created", "updated", "nbf", "exp"] {
        edits.push(("secret_versions", format!("{column} = COALESCE({column}, 0) + 1")));
    }
    for column in ["content_type", "tags"] {
        edits.push(("secret_versions", format!("{column} = {column} || ' '")));
    }
    for (table, kind) in TABLES {
        if !matches!(kind, Kind::Secret | Kind::SecretVersion) {
            edits.push((table, "body = body || ' '".to_owned()));
        }
        edits.push((table, "revision = revision + 1".to_owned()));
        edits.push((table, "tag = zeroblob(32)".to_owned()));
        edits.push((table, "tag = unhex('')".to_owned()));
        edits.push((table, "tenant = 'a0000000-0000-0000-0000-000000000002'".to_owned()));
    }
    for (table, edit) in edits {
        let kind = TABLES.iter().find(|(name, _)| *name == table).unwrap().1;
        let error = start_after(&place, &format!("UPDATE {table} SET {edit}")).await;
        assert_tampered(&error, kind, Tampering::Forged, &format!("{table}: {edit}"));
    }
    // Nothing but the intruder's SQL made it fail.
    opened(&place.after_a_power_cut()).await.unwrap();
}

/// Pages are checked by several threads at once. Nothing of that is seen from outside.
pub(super) async fn the_first_wrong_row_of_many_pages_is_named(place: impl DataPlace) {
    let store = founded(&place).await;
    let ids: Vec<uuid::Uuid> = (0..5 * u128::from(load::PAGE) + 7).map(|n| uuid::Uuid::from_u128(n + 1)).collect();
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    for (n, id) in ids.iter().enumerate() {
        let principal = u8::try_from(n % 200).unwrap();
        let given = RoleAssignment { id: *id, ..assignment(1, 1, &vault_id(1, "v"), principal) };
        tx.insert(&given).await.unwrap();
    }
    tx.commit(event("x")).await.unwrap();
    let before = store.snapshot();
    store.close().await;
    let store = place.open().await;
    assert!(*store.snapshot() == *before);
    assert_eq!(before.assignments_of(tenant_id(1), principal_id(7)).len(), ids.len().div_ceil(200));
    store.close().await;
    for first in [1, ids.len() / 2, ids.len() - 2] {
        let wrong = [ids[first], ids[first + 1], *ids.last().unwrap()];
        let edit = |id: &uuid::Uuid| format!("UPDATE role_assignments SET body = body || ' ' WHERE id = '{id}';");
        for _ in 0..3 {
            let error = start_after(&place, &wrong.iter().map(edit).collect::<String>()).await;
            assert_tampered(&error, Kind::RoleAssignment, Tampering::Forged, "one of many");
            assert!(error.to_string().contains(&wrong[0].to_string()), "{error}");
        }
    }
}

/// What a start reads a part of, it holds against its row as it does what it reads whole. The rows carry good tags: such
/// a body is a fault of ours.
pub(super) async fn a_body_that_names_another_is_refused_at_start(place: impl DataPlace) {
    async fn wrong<R: Record>(place: &impl DataPlace, record: R, edit: (&str, &str)) {
        let store = place.open().await;
        let mut tx = store.begin(&ctx(1)).await.unwrap();
        let body = serde_json::to_string(&record).unwrap();
        let edited = body.replacen(edit.0, edit.1, 1);
        assert_ne!(edited, body);
        tx.write(R::TABLE.upsert, &record, &edited).await.unwrap();
        tx.commit(event("x")).await.unwrap();
        store.close().await;
        let error = opened(place).await.map(drop).unwrap_err();
        let expected = format!("{} {} of tenant", R::KIND, R::key_text(&record.key()));
        assert!(matches!(&error, StoreError::Corrupt(why) if why.contains(&expected)), "{error}");
    }
    const OTHER: (&str, &str) = ("a0000000-0000-0000-0000-000000000001", "a0000000-0000-0000-0000-000000000002");
    for edit in [OTHER, ("b0000000-0000-0000-0000-000000000001", "b0000000-0000-0000-0000-000000000002")] {
        wrong(&place.another(), principal(1, 1), edit).await;
    }
    for edit in [OTHER, ("Srv1", "Srv2")] {
        wrong(&place.another(), machine(1, 1), edit).await;
    }
    for edit in [OTHER, ("f0000000-0000-0000-0000-000000000001", "f0000000-0000-0000-0000-000000000002")] {
        wrong(&place.another(), assignment(1, 1, &vault_id(1, "v"), 1), edit).await;
    }
    wrong(&place.another(), signing_key(1, 1), OTHER).await;
}

/// The attack of the run: one added signing key, or one added role assignment, opens every vault.
pub(super) async fn a_row_that_was_added_is_refused_at_start(place: impl DataPlace) {
    one_of_each(&place).await.close().await;
    let other = "a0000000-0000-0000-0000-000000000002";
    for (table, kind, columns, id) in [
        ("signing_keys", Kind::SigningKey, "tenant, 'kid-9', replace(body, 'kid-1', 'kid-9'), revision, tag", "kid-9"),
        (
            "role_assignments",
            Kind::RoleAssignment,
            "tenant, 'f0000000-0000-0000-0000-000000000009', replace(body, '000000000001', '000000000009'), revision, tag",
            "f0000000-0000-0000-0000-000000000009",
        ),
        (
            "service_principals",
            Kind::ServicePrincipal,
            "'a0000000-0000-0000-0000-000000000002', id, body, revision, tag",
            "b0000000-0000-0000-0000-000000000001",
        ),
    ] {
        let unique = if kind == Kind::ServicePrincipal { ", client_id" } else { "" };
        let into = format!("{table} (tenant, id, body, revision, tag{unique})");
        let error = start_after(&place, &format!("INSERT INTO {into} SELECT {columns}{unique} FROM {table}")).await;
        assert_tampered(&error, kind, Tampering::Forged, table);
        assert!(error.to_string().contains(id), "{error}");
        if kind == Kind::ServicePrincipal {
            assert!(error.to_string().contains(other), "{error}");
        }
    }
    let version = "INSERT INTO secret_versions SELECT tenant, vault, name, 'x', ordinal + 1, content_type, tags, \
                   enabled, nbf, exp, created, updated, wrapped_key, sealed_value, sealed_hash, revision, tag \
                   FROM secret_versions";
    assert_tampered(&start_after(&place, version).await, Kind::SecretVersion, Tampering::Forged, "a version");
}

/// `saved_…` beside every table: its rows as they are now.
pub(super) async fn save_each(place: &impl DataPlace) {
    for (table, _) in TABLES {
        place
            .sql(
                format!(
                    "DROP TABLE IF EXISTS side.saved_{table}; CREATE TABLE side.saved_{table} AS SELECT * FROM {table}"
                )
                .leak(),
            )
            .await;
    }
    for table in ["head", "application_uris"] {
        place
            .sql(
                format!(
                    "DROP TABLE IF EXISTS side.saved_{table}; CREATE TABLE side.saved_{table} AS SELECT * FROM {table}"
                )
                .leak(),
            )
            .await;
    }
}

pub(super) fn put_back(table: &str) -> String {
    format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM saved_{table}")
}

pub(super) async fn a_row_that_was_rolled_back_is_refused_at_start(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    save_each(&place).await;
    change_each(&store).await;
    store.close().await;
    for (table, kind) in TABLES {
        let error = start_after(&place, &put_back(table)).await;
        assert_tampered(&error, kind, Tampering::Older, table);
        // With the head of that time as well: it does not fit the trail, nor the rows that were left alone.
        let error = start_after(&place, &format!("{}; {}", put_back(table), put_back("head"))).await;
        assert!(matches!(error, StoreError::Trail(TrailFault::OfOtherRows { rows: 2, trail: 3 })), "{error:?}");
    }
    opened(&place).await.unwrap();
}

pub(super) async fn a_row_that_was_removed_is_refused_at_start(place: impl DataPlace) {
    one_of_each(&place).await.close().await;
    for (table, kind) in TABLES {
        let error = start_after(&place, &format!("DELETE FROM {table}")).await;
        assert_tampered(&error, kind, Tampering::Missing, table);
    }
}

pub(super) async fn a_row_whose_columns_are_of_other_types_is_refused_at_start<P: DataPlace>(place: P) {
    one_of_each(&place).await.close().await;
    let mut values = P::values_of_other_types();
    values.push((&["UPDATE machines SET revision = -5"], "its column revision: -5 is negative"));
    for (attack, says) in values {
        let copy = place.after_a_power_cut();
        for sql in attack {
            copy.sql(sql).await;
        }
        let error = opened(&copy).await.err().unwrap_or_else(|| panic!("it starts after {attack:?}")).to_string();
        assert!(error.contains(says), "{attack:?}: {error}");
    }
}

pub(super) async fn a_row_that_was_purged_and_put_back_is_refused_at_start(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    save_each(&place).await;
    change_each(&store).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert!(tx.secret_purge(&vault_id(1, "v"), "s").await.unwrap());
    tx.remove::<RoleAssignment>(&uuid(0xF0, 1)).await.unwrap().unwrap();
    tx.remove::<SigningKey>(&"kid-1".to_owned()).await.unwrap().unwrap();
    assert_eq!(tx.forget_expired(NOW + 10_000).await.unwrap(), 1);
    tx.commit(event("x")).await.unwrap();
    store.close().await;
    for table in ["secrets", "secret_versions", "role_assignments", "signing_keys", "one_time"] {
        let kind = TABLES.iter().find(|(name, _)| *name == table).unwrap().1;
        assert_tampered(&start_after(&place, &put_back(table)).await, kind, Tampering::Unknown, table);
    }
    let both = format!("{}; {}", put_back("secrets"), put_back("secret_versions"));
    let error = start_after(&place, &both).await;
    assert!(matches!(error, StoreError::Tampered { why: Tampering::Unknown, others: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("(and 1 more)"), "{error}");
}

pub(super) async fn a_head_that_is_not_of_these_rows_is_refused_at_start(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    save_each(&place).await;
    change_each(&store).await;
    store.close().await;
    let bad = async |sql: &str| {
        let error = start_after(&place, sql).await;
        let StoreError::Head(bad) = error else { panic!("{sql}: {error:?}") };
        bad
    };
    assert_eq!(bad("DELETE FROM head").await, HeadFault::Missing);
    let old = start_after(&place, &put_back("head")).await;
    assert!(matches!(old, StoreError::Trail(TrailFault::OfOtherRows { rows: 2, trail: 3 })), "{old:?}");
    for edit in ["revision = revision - 1", "seen = seen + 8640000", "state = zeroblob(32)", "tag = zeroblob(32)"] {
        assert_eq!(bad(&format!("UPDATE head SET {edit}")).await, HeadFault::Forged, "{edit}");
    }
    // Whoever looks with `denizen audit verify` what is wrong is told.
    for (sql, fault) in
        [("UPDATE head SET tag = zeroblob(32)", HeadFault::Forged), ("DELETE FROM head", HeadFault::Missing)]
    {
        place.sql(sql).await;
        let verified = Trail::open(place.engine(), StoreKeys::of_test()).await.unwrap().verify(None).await;
        assert!(matches!(&verified, Err(StoreError::Head(found)) if *found == fault), "{verified:?}");
    }
}

pub(super) async fn names_that_the_applications_do_not_say_are_refused_at_start(place: impl DataPlace) {
    one_of_each(&place).await.close().await;
    for sql in [
        "DELETE FROM application_uris",
        "INSERT INTO application_uris SELECT tenant, 'api://b', application FROM application_uris",
        "UPDATE application_uris SET application = 'c0000000-0000-0000-0000-000000000002'",
        "UPDATE application_uris SET uri = 'api://b'",
        "INSERT INTO application_uris VALUES ('a0000000-0000-0000-0000-000000000002', 'api://a', 'x')",
    ] {
        assert_tampered(&start_after(&place, sql).await, Kind::Application, Tampering::Names, sql);
    }
}

/// The log names rows, and whoever writes the database writes it too: a log that is made to fit changes no decision.
pub(super) async fn the_change_log_decides_nothing(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    save_each(&place).await;
    change_each(&store).await;
    store.close().await;
    let rolled_back = put_back("role_assignments");
    for log in [
        "DELETE FROM changes",
        "DELETE FROM changes WHERE revision > 2",
        "DELETE FROM changes WHERE revision = 2",
        "UPDATE changes SET revision = revision + 1000",
    ] {
        let error = start_after(&place, &format!("{rolled_back}; {log}")).await;
        assert!(matches!(error, StoreError::Tampered { .. } | StoreError::Head(HeadFault::OfOtherRows)), "{error:?}");
    }
    // And one with a hole, while the rows are good, refuses nothing.
    let copy = place.after_a_power_cut();
    copy.sql("DELETE FROM changes WHERE revision = 2").await;
    opened(&copy).await.unwrap();
}

pub(super) async fn another_root_key_opens_nothing(place: impl DataPlace) {
    one_of_each(&place).await.close().await;
    let another = StoreKeys::of_test_with(9);
    let refused = Store::open(place.engine(), another).await.err().unwrap();
    let StoreError::Trail(fault @ TrailFault::AnchorUnreadable { .. }) = &refused else { panic!("{refused:?}") };
    assert!(fault.to_string().contains("another root key"), "{fault}");
}

#[track_caller]
fn assert_why<T: std::fmt::Debug>(answer: Result<T, StoreError>, kind: Kind, why: Tampering) {
    assert_tampered(&answer.unwrap_err(), kind, why, "a read");
}

pub(super) async fn a_secret_that_was_changed_under_a_running_server_is_not_served(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    let (one, v) = (ctx(1), vault_id(1, "v"));
    place.sql("CREATE TABLE side.saved_secrets AS SELECT * FROM secrets").await;
    place.sql("CREATE TABLE side.saved_secret_versions AS SELECT * FROM secret_versions").await;
    let first = secret(1, "v", "s", 1).version;
    let mut tx = store.begin(&one).await.unwrap();
    tx.secret_update(&SecretVersion { enabled: false, ..secret(1, "v", "s", 1) }).await.unwrap();
    tx.secret_add(&secret(1, "v", "s", 2)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    place.sql("CREATE TABLE side.good_secrets AS SELECT * FROM secrets").await;
    place.sql("CREATE TABLE side.good_secret_versions AS SELECT * FROM secret_versions").await;
    let good = "DELETE FROM secrets; INSERT INTO secrets SELECT * FROM good_secrets; \
                DELETE FROM secret_versions; INSERT INTO secret_versions SELECT * FROM good_secret_versions";

    // What is the latest, rolled back.
    place.sql(put_back("secrets").leak()).await;
    assert_why(store.secret(&one, &v, "s", None).await, Kind::Secret, Tampering::Older);
    assert_why(store.secret(&one, &v, "s", Some(&first)).await, Kind::Secret, Tampering::Older);
    assert_why(store.secrets(&one, &v, None, 9).await, Kind::Secret, Tampering::Older);
    assert_why(store.secret_versions(&one, &v, "s", None, 9).await, Kind::Secret, Tampering::Older);
    let mut tx = store.begin(&one).await.unwrap();
    assert_why(tx.secret_add(&secret(1, "v", "s", 3)).await, Kind::Secret, Tampering::Older);
    assert!(tx.commit(event("x")).await.is_err(), "it went on after a row that was changed");
    // Whether a version is enabled, rolled back: that version is refused, and the other is served.
    place.sql(good).await;
    let old = "DELETE FROM secret_versions WHERE version = (SELECT version FROM saved_secret_versions); \
               INSERT INTO secret_versions SELECT * FROM saved_secret_versions";
    place.sql(old).await;
    assert_why(store.secret(&one, &v, "s", Some(&first)).await, Kind::SecretVersion, Tampering::Older);
    assert_eq!(store.secret(&one, &v, "s", None).await.unwrap(), Some(secret(1, "v", "s", 2)));
    // Removed: lost rows are not "never there".
    place.sql("DELETE FROM secret_versions").await;
    assert_why(store.secret(&one, &v, "s", None).await, Kind::SecretVersion, Tampering::Missing);
    assert_why(store.secret(&one, &v, "s", Some(&first)).await, Kind::SecretVersion, Tampering::Missing);
    assert_why(store.secrets(&one, &v, None, 9).await, Kind::SecretVersion, Tampering::Missing);
    place.sql("DELETE FROM secrets").await;
    assert_why(store.secret(&one, &v, "s", None).await, Kind::Secret, Tampering::Missing);
    assert_why(store.secret(&one, &v, "s", Some(&first)).await, Kind::Secret, Tampering::Missing);
    assert_why(store.deleted_secret(&one, &v, "s").await, Kind::Secret, Tampering::Missing);
    assert_why(store.secret_versions(&one, &v, "s", None, 9).await, Kind::Secret, Tampering::Missing);
    assert_eq!(store.secret(&one, &v, "never", None).await.unwrap(), None);
    // Edited.
    for (edit, kind) in [
        ("UPDATE secrets SET deleted = 1, purge_at = 2", Kind::Secret),
        ("UPDATE secret_versions SET enabled = 1", Kind::SecretVersion),
        ("UPDATE secret_versions SET sealed_value = unhex('00')", Kind::SecretVersion),
        ("UPDATE secret_versions SET wrapped_key = unhex('00')", Kind::SecretVersion),
    ] {
        place.sql(good).await;
        assert!(store.secret(&one, &v, "s", Some(&first)).await.unwrap().is_some());
        place.sql(edit).await;
        assert_why(store.secret(&one, &v, "s", Some(&first)).await, kind, Tampering::Forged);
    }
    // A date of purge that was moved purges nothing.
    place.sql(good).await;
    let mut tx = store.begin(&one).await.unwrap();
    tx.secret_delete(&v, "s", NOW, NOW + 1000).await.unwrap().unwrap();
    tx.commit(event("x")).await.unwrap();
    place.sql(format!("UPDATE secrets SET purge_at = {}", NOW.0).leak()).await;
    assert_why(store.secrets_due(&one, 9).await, Kind::Secret, Tampering::Forged);
    assert_why(store.deleted_secrets(&one, &v, None, 9).await, Kind::Secret, Tampering::Forged);
    let mut tx = store.begin(&one).await.unwrap();
    assert_why(tx.secret_purge(&v, "s").await, Kind::Secret, Tampering::Forged);
    drop(tx);
    place.sql(format!("UPDATE secrets SET purge_at = {}", NOW.0 + 1000).leak()).await;
    // Purged, and put back.
    let mut tx = store.begin(&one).await.unwrap();
    assert!(tx.secret_purge(&v, "s").await.unwrap());
    tx.commit(event("x")).await.unwrap();
    assert_eq!(store.secret(&one, &v, "s", None).await.unwrap(), None);
    place.sql(good).await;
    assert_why(store.secret(&one, &v, "s", None).await, Kind::Secret, Tampering::Unknown);
    assert_why(store.secrets(&one, &v, None, 9).await, Kind::Secret, Tampering::Unknown);
}

pub(super) async fn a_record_that_was_changed_under_a_running_server_is_not_written_over(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    save_each(&place).await;
    change_each(&store).await;
    let changed = store.snapshot();
    async fn tried(store: &Store, one: &Ctx) -> [StoreError; 3] {
        let mut tx = store.begin(one).await.unwrap();
        let read = tx.record::<ServicePrincipal>(&principal_id(1)).await.unwrap_err();
        drop(tx);
        let mut tx = store.begin(one).await.unwrap();
        let put = tx.put(&ServicePrincipal { epoch: 7, ..principal(1, 1) }).await.unwrap_err();
        assert!(tx.commit(event("x")).await.is_err());
        let mut tx = store.begin(one).await.unwrap();
        let inserted = tx.insert(&principal(1, 1)).await.unwrap_err();
        [read, put, inserted]
    }
    place.sql(put_back("service_principals").leak()).await;
    for error in tried(&store, &ctx(1)).await {
        assert_tampered(&error, Kind::ServicePrincipal, Tampering::Older, "rolled back");
    }
    place.sql("UPDATE service_principals SET body = replace(body, '\"enabled\":true', '\"enabled\":false')").await;
    for error in tried(&store, &ctx(1)).await {
        assert_tampered(&error, Kind::ServicePrincipal, Tampering::Forged, "edited");
    }
    place.sql("DELETE FROM service_principals").await;
    for error in tried(&store, &ctx(1)).await {
        assert_tampered(&error, Kind::ServicePrincipal, Tampering::Missing, "removed");
    }
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.remove::<Machine>(&machine(1, 1).id).await.unwrap().unwrap();
    tx.commit(event("x")).await.unwrap();
    place.sql(put_back("machines").leak()).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    let again = tx.insert(&machine(1, 1)).await.unwrap_err();
    assert_tampered(&again, Kind::Machine, Tampering::Unknown, "put back");
    // What is served is what was committed.
    let now = store.snapshot();
    assert_eq!(now.principal(tenant_id(1), principal_id(1)), changed.principal(tenant_id(1), principal_id(1)));
}

pub(super) async fn a_used_token_stays_used_under_a_running_server(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    let hash = &join_token(1, 1).hash;
    save_each(&place).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    tx.redeem::<JoinToken>(hash).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    place.sql("CREATE TABLE side.good_one_time AS SELECT * FROM one_time").await;
    for (sql, why) in
        [("UPDATE one_time SET used_at = NULL".to_owned(), Tampering::Forged), (put_back("one_time"), Tampering::Older)]
    {
        place.sql(sql.leak()).await;
        let mut tx = store.begin(&ctx(1)).await.unwrap();
        assert_why(tx.redeem::<JoinToken>(hash).await, Kind::JoinToken, why);
        drop(tx);
        assert_why(store.one_time::<JoinToken>(hash).await, Kind::JoinToken, why);
        assert_why(store.redeemable::<JoinToken>(&ctx(1)).await, Kind::JoinToken, why);
    }
    place.sql("DELETE FROM one_time; INSERT INTO one_time SELECT * FROM side.good_one_time").await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert_eq!(tx.forget_expired(NOW + 10_000).await.unwrap(), 1);
    tx.commit(event("x")).await.unwrap();
    place.sql(put_back("one_time").leak()).await;
    let mut tx = store.begin(&ctx(1)).await.unwrap();
    assert_why(tx.redeem::<JoinToken>(hash).await, Kind::JoinToken, Tampering::Unknown);
    drop(tx);
    assert!(
        !format!("{:?}", store.one_time::<JoinToken>(hash).await).contains(hash.as_str()),
        "an error repeats the hash"
    );
}

pub(super) async fn a_head_that_was_changed_under_a_running_server_stops_writes(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    save_each(&place).await;
    change_each(&store).await;
    for sql in [put_back("head"), "DELETE FROM head".to_owned()] {
        place.sql("CREATE TABLE side.good_head AS SELECT * FROM head").await;
        place.sql(sql.leak()).await;
        for _ in 0..2 {
            let refused = async {
                let mut tx = store.begin(&ctx(1)).await?;
                tx.put(&ServicePrincipal { epoch: 7, ..principal(1, 1) }).await?;
                tx.commit(event("x")).await
            };
            let refused = refused.await.unwrap_err();
            assert!(super::rollback::went_back(&refused), "{refused:?}");
        }
        place.sql("DELETE FROM head; INSERT INTO head SELECT * FROM good_head; DROP TABLE good_head").await;
        let mut tx = store.begin(&ctx(1)).await.unwrap();
        tx.put(&ServicePrincipal { epoch: 8, ..principal(1, 1) }).await.unwrap();
        tx.commit(event("x")).await.unwrap();
    }
    store.close().await;
    opened(&place).await.unwrap();
}

/// What must be unique is unique by what is served as well: a table that was changed does not give a name twice.
pub(super) async fn a_name_that_was_freed_under_a_running_server_is_not_given_again(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    let mut tx = store.begin(&ctx(2)).await.unwrap();
    tx.insert(&tenant(2)).await.unwrap();
    tx.commit(event("x")).await.unwrap();
    place
        .sql(
            "DELETE FROM application_uris; UPDATE vaults SET name = 'x'; UPDATE service_principals SET client_id = 'x'; \
             UPDATE subscriptions SET subscription = 'x'; UPDATE tenants SET domain = 'x' WHERE id LIKE '%1'",
        )
        .await;
    async fn taken<R: Record>(store: &Store, ctx: &Ctx, record: R) {
        for put in [false, true] {
            let mut tx = store.begin(ctx).await.unwrap();
            let refused = if put { tx.put(&record).await } else { tx.insert(&record).await };
            assert!(matches!(refused, Err(StoreError::Exists { .. })), "{} put={put}: {refused:?}", R::KIND);
        }
    }
    taken(&store, &ctx(1), application(1, 2, &["api://a"])).await;
    taken(&store, &ctx(2), Vault { tenant: tenant_id(2), ..vault(2, "V") }).await;
    taken(&store, &ctx(1), ServicePrincipal { id: principal_id(2), ..principal(1, 1) }).await;
    taken(&store, &ctx(2), crate::domain::resources::Subscription { tenant: tenant_id(2), ..subscription(1, 1) }).await;
    taken(&store, &ctx(3), crate::domain::directory::Tenant { domain: "T1.example".into(), ..tenant(3) }).await;
}

/// A reader may be a moment ahead of what has been published, or behind it.
pub(super) async fn readers_beside_writers_see_no_alarm(place: impl DataPlace) {
    let store = one_of_each(&place).await;
    let v = vault_id(1, "v");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for who in 0..4 {
        let (store, v, stop) = (store.clone(), v.clone(), stop.clone());
        readers.spawn(async move {
            let mut reads = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                match who {
                    0 => drop(store.secret(&ctx(1), &v, "s", None).await.unwrap()),
                    1 => drop(store.secrets(&ctx(1), &v, None, 99).await.unwrap()),
                    2 => drop(store.deleted_secret(&ctx(1), &v, "t").await.unwrap()),
                    _ => drop(store.one_time::<JoinToken>(&join_token(1, 7).hash).await.unwrap()),
                }
                reads += 1;
            }
            reads
        });
    }
    for round in 2..80u8 {
        let mut tx = store.begin(&ctx(1)).await.unwrap();
        tx.secret_add(&secret(1, "v", "s", round)).await.unwrap();
        if round % 2 == 0 {
            tx.secret_add(&secret(1, "v", "t", round)).await.unwrap();
            tx.issue(&join_token(1, 7)).await.unwrap();
        } else {
            tx.secret_delete(&v, "t", NOW, NOW).await.unwrap().unwrap();
            assert!(tx.secret_purge(&v, "t").await.unwrap());
            assert_eq!(tx.forget_expired(NOW + 10_000).await.unwrap(), if round == 3 { 2 } else { 1 });
        }
        tx.commit(event("x")).await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(readers.join_all().await.into_iter().all(|reads| reads > 0));
}

pub(super) async fn the_sum_in_memory_is_that_of_a_fresh_load(place: impl DataPlace) {
    let mut store = founded(&place).await;
    let mut next = numbers(0x1234_5678_9ABC_DEF1);
    let mut kept = 0;
    for round in 0..240 {
        let who = 1 + next(2);
        let mut tx = store.begin(&ctx(who)).await.unwrap();
        let mut ok = true;
        for _ in 0..=next(5) {
            ok = ok && one_change(&mut tx, who, &mut next).await && one_cold_change(&mut tx, who, &mut next).await;
        }
        if ok && next(8) > 0 {
            tx.commit(event("x")).await.unwrap();
            kept += 1;
        } else {
            drop(tx);
        }
        if round % 30 == 29 {
            let (vouched, marks) = (store.core.writer.lock().await.rows_now(), store.core.live.marks().len());
            store.close().await;
            store = place.open().await;
            assert!(store.core.writer.lock().await.rows_now() == vouched, "round {round}");
            assert_eq!(store.core.live.marks().len(), marks, "round {round}");
        }
    }
    assert!(kept > 100 && store.core.live.marks().len() > 20, "{kept} of 240 transactions were kept");
}

/// One random change of what the snapshot does not hold; false when the store refused it.
async fn one_cold_change(tx: &mut Tx<'_>, who: u8, next: &mut impl FnMut(u64) -> u8) -> bool {
    let (n, name) = (next(6), ["One", "two", "THREE"][usize::from(next(3))]);
    let vault = format!("v{who}{}", n % 3);
    let v = vault_id(who, &vault);
    let done = match next(9) {
        0 => tx.secret_delete(&v, name, NOW, NOW).await.map(drop),
        1 => tx.secret_recover(&v, name).await.map(drop),
        2 => tx.secret_purge(&v, name).await.map(drop),
        3 => tx.secrets_purge_all(&v).await.map(drop),
        4 => match tx.secret(&v, name, None).await.unwrap() {
            Some(it) => tx.secret_update(&SecretVersion { enabled: n > 2, ..it }).await,
            None => Ok(()),
        },
        5 => tx.issue(&JoinToken { expires: NOW + i64::from(n), ..join_token(who, 10 * who + n) }).await,
        6 => match tx.redeem::<JoinToken>(&join_token(who, 10 * who + n).hash).await {
            Ok(_) | Err(StoreError::Refused(_)) => Ok(()),
            Err(other) => Err(other),
        },
        7 => tx.forget_expired(NOW + i64::from(n)).await.map(drop),
        _ => Ok(()),
    };
    match done {
        Ok(()) => true,
        Err(StoreError::Exists { .. } | StoreError::SecretDeleted { .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}
