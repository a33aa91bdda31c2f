use std::fs;

use denizen_wire::{TenantId, vault::AttributesIn};
use uuid::Uuid;

use super::*;
use crate::{
    app::{
        ChangeError,
        access::tests::fixture::{Fixture, NOW, ctx, set_up},
        vaults::NewVault,
    },
    domain::{Ctx, secrets::MAX_RETENTION_DAYS},
};

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

struct Opened {
    version: Arc<SecretVersion>,
    value: SecretString,
}

impl Fixture {
    async fn read(&self, text: &str, version: Option<&str>) -> Result<Opened, SecretError> {
        self.read_in(&self.vault, text, version).await
    }

    async fn read_in(&self, vault: &Arc<Vault>, text: &str, version: Option<&str>) -> Result<Opened, SecretError> {
        let authorization = self.auth_of(ctx(vault.tenant));
        let (version, value) = self.secrets.get(&authorization, vault, &name(text), version).await?;
        Ok(Opened { version, value })
    }

    async fn value(&self, text: &str) -> String {
        self.read(text, None).await.ok().unwrap().value.expose().to_owned()
    }

    async fn error(&self, text: &str, version: Option<&str>) -> SecretError {
        self.read(text, version).await.err().unwrap()
    }

    async fn disable(&self, text: &str) {
        let attributes = Some(AttributesIn { enabled: Some(false), ..AttributesIn::default() });
        let change = UpdateSecret { attributes, ..UpdateSecret::default() };
        self.secrets.update(&self.auth(), &self.vault, &name(text), None, &change).await.unwrap();
    }

    async fn remove(&self, text: &str) -> DeletedSecret {
        self.secrets.delete(&self.auth(), &self.vault, &name(text)).await.unwrap()
    }
}

#[tokio::test]
async fn what_is_set_is_read_and_stands_nowhere_in_the_clear() {
    let fixture = Fixture::new().await;
    let value = "correct horse battery staple 7f3a";
    fixture.set("db", value).await;
    assert_eq!(fixture.value("db").await, value);
    fixture.secrets.delete(&fixture.auth(), &fixture.vault, &name("db")).await.unwrap();
    let mut files = 0;
    for path in fixture.files() {
        let bytes = fs::read(path).unwrap();
        files += usize::from(!bytes.is_empty());
        assert!(!bytes.windows(value.len()).any(|window| window == value.as_bytes()));
    }
    // The database and its log were among them.
    assert!(files >= 2);
}

#[tokio::test]
async fn the_latest_is_the_last_one_set_even_within_one_second() {
    let fixture = Fixture::new().await;
    let mut versions = Vec::new();
    for n in 0..5 {
        versions.push(fixture.set("s", &n.to_string()).await);
        assert_eq!(fixture.value("s").await, n.to_string());
    }
    let old = fixture.read("s", Some(&versions[1])).await.ok().unwrap();
    assert_eq!((old.value.expose(), &old.version.version), ("1", &versions[1]));
    let listed = fixture.secrets.versions(&fixture.auth(), &fixture.vault, &name("s"), None, 25).await.unwrap();
    versions.reverse();
    assert_eq!(listed.items.into_iter().map(|v| v.version).collect::<Vec<_>>(), versions);
    assert!(matches!(fixture.error("s", Some(&"0".repeat(32))).await, SecretError::NotFound));
}

#[tokio::test]
async fn names_are_found_in_any_case_and_keep_the_first() {
    let fixture = Fixture::new().await;
    fixture.set("Db-Password", "1").await;
    fixture.set("DB-PASSWORD", "2").await;
    assert_eq!(fixture.value("db-password").await, "2");
    assert_eq!(fixture.read("DB-PASSWORD", None).await.ok().unwrap().version.name, "Db-Password");
    let listed = fixture.secrets.list(&fixture.auth(), &fixture.vault, None, 25).await.unwrap();
    assert_eq!(listed.items.len(), 1);
}

#[tokio::test]
async fn a_hot_read_asks_the_database_nothing_and_is_recorded_each_time() {
    let fixture = Fixture::new().await;
    fixture.set("s", "v").await;
    fixture.value("s").await;
    let before = fixture.store.counters();
    for _ in 0..10 {
        assert_eq!(fixture.value("s").await, "v");
    }
    let after = fixture.store.counters();
    assert_eq!(after.reads, before.reads);
    // Nothing is written but the record, which is counted by itself.
    assert_eq!(after.writes, before.writes);
    assert_eq!(after.audit_events, before.audit_events + 10);
    let records = fixture.audited(actions::GET).await;
    assert_eq!(records.len(), 11);
    let version = fixture.read("s", None).await.ok().unwrap().version.version.clone();
    assert_eq!(records[0], (Outcome::Allowed, format!("{}/secrets/s/{version}", fixture.vault.id), "test".into()));
}

#[tokio::test]
async fn what_is_authorized_and_fails_is_recorded_as_that() {
    let fixture = Fixture::new().await;
    let (auth, vault, gone) = (fixture.auth(), &fixture.vault, name("gone"));
    assert!(fixture.secrets.update(&auth, vault, &gone, None, &UpdateSecret::default()).await.is_err());
    assert!(fixture.secrets.delete(&auth, vault, &gone).await.is_err());
    assert!(fixture.secrets.recover(&auth, vault, &gone).await.is_err());
    assert!(fixture.secrets.purge(&auth, vault, &gone).await.is_err());
    assert!(fixture.secrets.versions(&auth, vault, &gone, None, 5).await.is_err());
    assert!(fixture.secrets.deleted(&auth, vault, &gone).await.is_err());
    for (action, targets) in [
        (actions::UPDATE, &["gone"][..]),
        (actions::DELETE, &["gone"]),
        (actions::RECOVER, &["gone"]),
        (actions::PURGE, &["gone"]),
        (actions::READ_METADATA, &["gone/versions", "gone/deleted"]),
    ] {
        let records = fixture.audited(action).await;
        assert!(records.iter().all(|record| record.0 == Outcome::Failed), "{action}: {records:?}");
        let mut found: Vec<_> = records.into_iter().map(|record| record.1).collect();
        found.sort();
        let mut expected: Vec<_> = targets.iter().map(|target| format!("{}/secrets/{target}", vault.id)).collect();
        expected.sort();
        assert_eq!(found, expected, "{action}");
    }
}

/// Every operation, when the store cannot do it: recorded as failed, with the cause.
#[tokio::test]
async fn what_the_store_cannot_do_is_recorded_as_failed() {
    let fixture = Fixture::new().await;
    fixture.set("s", "v").await;
    let database = rusqlite::Connection::open(fixture.dir.path().join("denizen.db")).unwrap();
    let sql = "ALTER TABLE secret_versions RENAME TO elsewhere_1; ALTER TABLE secrets RENAME TO elsewhere_2";
    database.execute_batch(sql).unwrap();
    let (auth, vault, s) = (fixture.auth(), &fixture.vault, name("s"));
    let secrets = &fixture.secrets;
    let failed = [
        secrets.set(&auth, vault, &s, NewSecret::of("w".into())).await.map(drop),
        secrets.get(&auth, vault, &s, None).await.map(drop),
        secrets.update(&auth, vault, &s, None, &UpdateSecret::default()).await.map(drop),
        secrets.list(&auth, vault, None, 5).await.map(drop),
        secrets.versions(&auth, vault, &s, None, 5).await.map(drop),
        secrets.delete(&auth, vault, &s).await.map(drop),
        secrets.deleted(&auth, vault, &s).await.map(drop),
        secrets.list_deleted(&auth, vault, None, 5).await.map(drop),
        secrets.recover(&auth, vault, &s).await.map(drop),
        secrets.purge(&auth, vault, &s).await,
    ];
    for error in failed {
        assert!(
            matches!(error, Err(SecretError::Store(StoreError::Unavailable(_) | StoreError::SchemaChanged))),
            "{error:?}"
        );
    }
    let mut found = Vec::new();
    for record in fixture.store.audit_tail(&fixture.ctx(), 1000).await.unwrap() {
        if record.outcome == Outcome::Failed {
            let because = &record.because;
            assert!(because.contains("no such table") || because.contains("schema was changed"), "{because}");
            found.push((record.action, record.target));
        }
    }
    let id = &vault.id;
    let expected = [
        (actions::SET, "/secrets/s"),
        (actions::GET, "/secrets/s"),
        (actions::UPDATE, "/secrets/s"),
        (actions::READ_METADATA, "/secrets"),
        (actions::READ_METADATA, "/secrets/s/versions"),
        (actions::DELETE, "/secrets/s"),
        (actions::READ_METADATA, "/secrets/s/deleted"),
        (actions::READ_METADATA, "/deletedsecrets"),
        (actions::RECOVER, "/secrets/s"),
        (actions::PURGE, "/secrets/s"),
    ];
    let expected: Vec<_> = expected.map(|(action, part)| (action.to_owned(), format!("{id}{part}"))).into();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn every_write_in_the_vault_is_seen_by_the_next_read() {
    let fixture = Fixture::new().await;
    fixture.set("s", "1").await;
    assert_eq!(fixture.value("s").await, "1");
    fixture.set("s", "2").await;
    assert_eq!(fixture.value("s").await, "2");
    fixture.disable("s").await;
    assert!(matches!(fixture.error("s", None).await, SecretError::Disabled));
    fixture.remove("s").await;
    assert!(matches!(fixture.error("s", None).await, SecretError::NotFound));
    fixture.secrets.recover(&fixture.auth(), &fixture.vault, &name("s")).await.unwrap();
    assert!(matches!(fixture.error("s", None).await, SecretError::Disabled));
    let outcomes: Vec<_> = fixture.audited(actions::GET).await.into_iter().map(|r| r.0).collect();
    assert_eq!(outcomes, [Outcome::Allowed, Outcome::Allowed, Outcome::Failed, Outcome::Failed, Outcome::Failed]);
}

#[tokio::test]
async fn a_read_that_cannot_be_recorded_is_refused() {
    let fixture = Fixture::new().await;
    fixture.set("s", "v").await;
    fixture.value("s").await;
    fixture.store.clone().close().await;
    // It is cached, so everything but the record would be at hand.
    assert!(matches!(fixture.error("s", None).await, SecretError::Unrecorded(_)));
    let list = fixture.secrets.list(&fixture.auth(), &fixture.vault, None, 25).await;
    assert!(list.is_err());
}

#[tokio::test]
async fn d34_a_sealed_row_opens_only_where_it_was_made() {
    let fixture = Fixture::new().await;
    fixture.set("a", "the value of a").await;
    let other = TenantId(Uuid::from_u128(0x0b));
    let group = set_up(&fixture.store, &fixture.key_encryption_keys, other, 2, &[]).await;
    let new = NewVault { name: "other", location: "here", retention_days: 7 };
    let foreign = Arc::new(fixture.vaults.create(&fixture.auth_of(ctx(other)), &group, &new).await.unwrap());
    let home = NewVault { name: "second", location: "here", retention_days: 7 };
    let second = Arc::new(fixture.vaults.create(&fixture.auth(), &fixture.group, &home).await.unwrap());

    // Copied, sealed as it is, by somebody who can write the database: to another name, version, vault, tenant.
    let row = fixture.store.secret(&fixture.ctx(), &fixture.vault.id, "a", None).await.unwrap().unwrap();
    let places = [
        (&fixture.vault, "b", row.version.clone()),
        (&fixture.vault, "a", "1".repeat(32)),
        (&second, "a", row.version.clone()),
        (&foreign, "a", row.version.clone()),
    ];
    for (vault, text, version) in places {
        let moved = SecretVersion {
            tenant: vault.tenant,
            vault: vault.id.clone(),
            name: text.into(),
            version: version.clone(),
            ..row.clone()
        };
        let (store, ctx, moved) = (&fixture.store, ctx(vault.tenant), &moved);
        let written = store.write(&ctx, |tx| {
            Box::pin(async move {
                tx.secret_add(moved).await?;
                Ok::<_, StoreError>(Write::commit("test", "test", ()))
            })
        });
        written.await.unwrap();
        let error = fixture.read_in(vault, text, Some(&version)).await.err().unwrap();
        assert!(matches!(error, SecretError::Key(KeyError::Open)), "{error}");
    }
    assert_eq!(fixture.read("a", Some(&row.version)).await.ok().unwrap().value.expose(), "the value of a");
    // And a tenant's secret cannot be asked for in another's name.
    let asked = fixture.secrets.get(&fixture.auth_of(ctx(other)), &second, &name("a"), None).await;
    assert!(matches!(asked.err().unwrap(), SecretError::Authorization(_)));
}

#[tokio::test]
async fn deletion_keeps_the_name_until_it_is_recovered_or_purged() {
    let fixture = Fixture::new().await;
    fixture.set("s", "1").await;
    let gone = fixture.remove("S").await;
    assert_eq!((gone.deleted, gone.purge_at), (NOW, NOW + 90 * 24 * 3600));
    let again = NewSecret::of("2".into());
    let refused = fixture.secrets.set(&fixture.auth(), &fixture.vault, &name("s"), again).await;
    assert!(matches!(refused.err().unwrap(), SecretError::Deleted));
    assert_eq!(fixture.secrets.deleted(&fixture.auth(), &fixture.vault, &name("S")).await.unwrap().latest.name, "s");
    fixture.secrets.recover(&fixture.auth(), &fixture.vault, &name("S")).await.unwrap();
    assert_eq!(fixture.value("s").await, "1");
    let not_deleted = fixture.secrets.purge(&fixture.auth(), &fixture.vault, &name("s")).await;
    assert!(matches!(not_deleted.err().unwrap(), SecretError::NotFound));
    fixture.remove("s").await;
    fixture.secrets.purge(&fixture.auth(), &fixture.vault, &name("s")).await.unwrap();
    assert!(matches!(fixture.error("s", None).await, SecretError::NotFound));
    fixture.set("s", "new").await;
    assert_eq!(fixture.value("s").await, "new");
}

#[tokio::test]
async fn a_deleted_secret_past_its_time_is_gone_before_and_after_it_is_cleared_away() {
    let fixture = Fixture::new().await;
    for text in ["s", "t", "kept"] {
        fixture.set(text, "1").await;
    }
    let due = fixture.remove("s").await.purge_at;
    fixture.remove("t").await;
    let late = fixture.auth_of(Ctx { now: due, ..fixture.ctx() });
    let early = fixture.auth_of(Ctx { now: due - 1, ..fixture.ctx() });
    assert!(fixture.secrets.deleted(&early, &fixture.vault, &name("s")).await.is_ok());
    for result in [
        fixture.secrets.deleted(&late, &fixture.vault, &name("s")).await.map(drop),
        fixture.secrets.recover(&late, &fixture.vault, &name("s")).await.map(drop),
    ] {
        assert!(matches!(result.unwrap_err(), SecretError::NotFound));
    }
    assert!(fixture.secrets.list_deleted(&late, &fixture.vault, None, 25).await.unwrap().items.is_empty());
    assert_eq!(fixture.secrets.list_deleted(&early, &fixture.vault, None, 25).await.unwrap().items.len(), 2);
    // It does not hold its name any more.
    let new = NewSecret::of("2".into());
    fixture.secrets.set(&late, &fixture.vault, &name("s"), new).await.unwrap();
    let records = fixture.store.audit_tail(&fixture.ctx(), 1000).await.unwrap();
    let details: Vec<_> =
        records.iter().filter(|r| r.action == actions::SET).filter_map(|r| r.detail.clone()).collect();
    assert_eq!(details, [serde_json::json!({"purged": true})], "what one of the four destroyed is in its record");
    assert_eq!(fixture.value("s").await, "2");
    assert_eq!(fixture.secrets.purge_due(&early).await.unwrap(), 0);
    assert_eq!(fixture.secrets.purge_due(&late).await.unwrap(), 1);
    assert!(fixture.store.deleted_secret(late.ctx(), &fixture.vault.id, "t").await.unwrap().is_none());
    assert_eq!(fixture.value("kept").await, "1");
}

#[tokio::test]
async fn all_that_is_due_is_purged_however_much_it_is() {
    let fixture = Fixture::new().await;
    let count = usize::try_from(DUE_AT_ONCE).unwrap() + 3;
    let mut due = NOW;
    for n in 0..count {
        fixture.set(&format!("s{n}"), "v").await;
        due = fixture.remove(&format!("s{n}")).await.purge_at;
    }
    let late = fixture.auth_of(Ctx { now: due, ..fixture.ctx() });
    assert_eq!(fixture.secrets.purge_due(&late).await.unwrap(), count);
    assert!(fixture.store.secrets_due(late.ctx(), 5).await.unwrap().is_empty());
}

#[tokio::test]
async fn lists_are_cut_into_pages_that_meet() {
    let fixture = Fixture::new().await;
    for n in 0..7 {
        fixture.set(&format!("s{n}"), "v").await;
    }
    let (mut seen, mut after) = (Vec::new(), None);
    for size in [3, 3, 1] {
        let page = fixture.secrets.list(&fixture.auth(), &fixture.vault, after.as_deref(), 3).await.unwrap();
        assert_eq!(page.items.len(), size);
        seen.extend(page.items.into_iter().map(|s| s.name));
        after = page.next;
    }
    assert_eq!(after, None);
    assert_eq!(seen, ["s0", "s1", "s2", "s3", "s4", "s5", "s6"]);
    // A page that ends with the list has no next one.
    assert_eq!(fixture.secrets.list(&fixture.auth(), &fixture.vault, None, 7).await.unwrap().next, None);
    for n in 0..7 {
        fixture.set("many", &n.to_string()).await;
    }
    let first = fixture.secrets.versions(&fixture.auth(), &fixture.vault, &name("many"), None, 4).await.unwrap();
    let rest = fixture
        .secrets
        .versions(&fixture.auth(), &fixture.vault, &name("many"), first.next.as_deref(), 4)
        .await
        .unwrap();
    assert_eq!((first.items.len(), rest.items.len(), rest.next), (4, 3, None));
    let missing = fixture.secrets.versions(&fixture.auth(), &fixture.vault, &name("none"), None, 4).await;
    assert!(matches!(missing.unwrap_err(), SecretError::NotFound));
}

#[tokio::test]
async fn a_vault_needs_a_good_name_of_its_own() {
    let fixture = Fixture::new().await;
    let new = |name, retention_days| NewVault { name, location: "here", retention_days };
    let create = async |tenant, group: &ResourceId, new: NewVault<'_>| {
        fixture.vaults.create(&fixture.auth_of(ctx(tenant)), group, &new).await.map(|vault| vault.name)
    };
    for bad in ["ab", "a--b", "1abc", "abc-", "a.b.c", "abcdefghijklmnopqrstuvwxyz"] {
        let error = create(fixture.tenant, &fixture.group, new(bad, 90)).await.unwrap_err();
        assert!(matches!(error, ChangeError::Invalid(_)), "{bad}");
    }
    for days in [0, 6, MAX_RETENTION_DAYS + 1] {
        let error = create(fixture.tenant, &fixture.group, new("good", days)).await.unwrap_err();
        assert!(matches!(error, ChangeError::Invalid(_)), "{days}");
    }
    let nowhere = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/no".parse().unwrap();
    assert!(matches!(create(fixture.tenant, &nowhere, new("good", 7)).await.unwrap_err(), ChangeError::Missing(_)));
    assert_eq!(create(fixture.tenant, &fixture.group, new("Good", 7)).await.unwrap(), "good");
    // The name is a host name, so it is taken for everybody, in any case.
    let other = TenantId(Uuid::from_u128(0x0c));
    let group = set_up(&fixture.store, &fixture.key_encryption_keys, other, 3, &[]).await;
    for taken in ["dev", "DEV"] {
        let error = create(other, &group, new(taken, 90)).await.unwrap_err();
        assert!(matches!(error, ChangeError::Store(StoreError::Exists { .. })), "{error}");
    }
}
