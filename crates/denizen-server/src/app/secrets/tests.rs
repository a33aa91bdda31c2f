use std::fs;

use denizen_wire::{TenantId, vault::AttributesIn};
use uuid::Uuid;

use super::*;
use crate::{
    app::{
        ChangeError,
        access::tests::bed::{Bed, NOW, ctx, set_up},
        vaults::NewVault,
    },
    domain::secrets::MAX_RETENTION_DAYS,
};

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

struct Opened {
    version: Arc<SecretVersion>,
    value: SecretString,
}

impl Bed {
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
    let bed = Bed::new().await;
    let value = "correct horse battery staple 7f3a";
    bed.set("db", value).await;
    assert_eq!(bed.value("db").await, value);
    bed.secrets.delete(&bed.auth(), &bed.vault, &name("db")).await.unwrap();
    let mut files = 0;
    for path in bed.files() {
        let bytes = fs::read(path).unwrap();
        files += usize::from(!bytes.is_empty());
        assert!(!bytes.windows(value.len()).any(|window| window == value.as_bytes()));
    }
    // The database and its log were among them.
    assert!(files >= 2);
}

#[tokio::test]
async fn the_latest_is_the_last_one_set_even_within_one_second() {
    let bed = Bed::new().await;
    let mut versions = Vec::new();
    for n in 0..5 {
        versions.push(bed.set("s", &n.to_string()).await);
        assert_eq!(bed.value("s").await, n.to_string());
    }
    let old = bed.read("s", Some(&versions[1])).await.ok().unwrap();
    assert_eq!((old.value.expose(), &old.version.version), ("1", &versions[1]));
    let listed = bed.secrets.versions(&bed.auth(), &bed.vault, &name("s"), None, 25).await.unwrap();
    versions.reverse();
    assert_eq!(listed.items.into_iter().map(|v| v.version).collect::<Vec<_>>(), versions);
    assert!(matches!(bed.error("s", Some(&"0".repeat(32))).await, SecretError::NotFound));
}

#[tokio::test]
async fn names_are_found_in_any_case_and_keep_the_first() {
    let bed = Bed::new().await;
    bed.set("Db-Password", "1").await;
    bed.set("DB-PASSWORD", "2").await;
    assert_eq!(bed.value("db-password").await, "2");
    assert_eq!(bed.read("DB-PASSWORD", None).await.ok().unwrap().version.name, "Db-Password");
    let listed = bed.secrets.list(&bed.auth(), &bed.vault, None, 25).await.unwrap();
    assert_eq!(listed.items.len(), 1);
}

#[tokio::test]
async fn a_hot_read_asks_the_database_nothing_and_is_recorded_each_time() {
    let bed = Bed::new().await;
    bed.set("s", "v").await;
    bed.value("s").await;
    let before = bed.store.counters();
    for _ in 0..10 {
        assert_eq!(bed.value("s").await, "v");
    }
    let after = bed.store.counters();
    assert_eq!(after.reads, before.reads);
    // Nothing is written but the record, which is counted by itself.
    assert_eq!(after.writes, before.writes);
    assert_eq!(after.audit_events, before.audit_events + 10);
    let records = bed.audited(actions::GET).await;
    assert_eq!(records.len(), 11);
    let version = bed.read("s", None).await.ok().unwrap().version.version.clone();
    assert_eq!(records[0], (Outcome::Allowed, format!("{}/secrets/s/{version}", bed.vault.id), "test".into()));
}

#[tokio::test]
async fn every_write_in_the_vault_is_seen_by_the_next_read() {
    let bed = Bed::new().await;
    bed.set("s", "1").await;
    assert_eq!(bed.value("s").await, "1");
    bed.set("s", "2").await;
    assert_eq!(bed.value("s").await, "2");
    bed.disable("s").await;
    assert!(matches!(bed.error("s", None).await, SecretError::Disabled));
    bed.remove("s").await;
    assert!(matches!(bed.error("s", None).await, SecretError::NotFound));
    bed.secrets.recover(&bed.auth(), &bed.vault, &name("s")).await.unwrap();
    assert!(matches!(bed.error("s", None).await, SecretError::Disabled));
    let outcomes: Vec<_> = bed.audited(actions::GET).await.into_iter().map(|r| r.0).collect();
    assert_eq!(outcomes, [Outcome::Allowed, Outcome::Allowed, Outcome::Failed, Outcome::Failed, Outcome::Failed]);
}

#[tokio::test]
async fn a_read_that_cannot_be_recorded_is_refused() {
    let bed = Bed::new().await;
    bed.set("s", "v").await;
    bed.value("s").await;
    bed.store.clone().close().await;
    // It is cached, so everything but the record would be at hand.
    assert!(matches!(bed.error("s", None).await, SecretError::Unrecorded(_)));
    let list = bed.secrets.list(&bed.auth(), &bed.vault, None, 25).await;
    assert!(list.is_err());
}

#[tokio::test]
async fn d34_a_sealed_row_opens_only_where_it_was_made() {
    let bed = Bed::new().await;
    bed.set("a", "the value of a").await;
    let other = TenantId(Uuid::from_u128(0x0b));
    let group = set_up(&bed.store, &bed.keks, other, 2, &[]).await;
    let new = NewVault { name: "other", location: "here", retention_days: 7 };
    let foreign = Arc::new(bed.vaults.create(&bed.auth_of(ctx(other)), &group, &new).await.unwrap());
    let home = NewVault { name: "second", location: "here", retention_days: 7 };
    let second = Arc::new(bed.vaults.create(&bed.auth(), &bed.group, &home).await.unwrap());

    // Copied, sealed as it is, by somebody who can write the database: to another name, version, vault, tenant.
    let row = bed.store.secret(&bed.ctx(), &bed.vault.id, "a", None).await.unwrap().unwrap();
    let places = [
        (&bed.vault, "b", row.version.clone()),
        (&bed.vault, "a", "1".repeat(32)),
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
        let (store, ctx, moved) = (&bed.store, ctx(vault.tenant), &moved);
        let written = store.write(&ctx, |tx| {
            Box::pin(async move {
                tx.secret_add(moved).await?;
                Ok::<_, StoreError>(Write::commit("test", "test", ()))
            })
        });
        written.await.unwrap();
        let error = bed.read_in(vault, text, Some(&version)).await.err().unwrap();
        assert!(matches!(error, SecretError::Key(KeyError::Open)), "{error}");
    }
    assert_eq!(bed.read("a", Some(&row.version)).await.ok().unwrap().value.expose(), "the value of a");
    // And a tenant's secret cannot be asked for in another's name.
    let asked = bed.secrets.get(&bed.auth_of(ctx(other)), &second, &name("a"), None).await;
    assert!(matches!(asked.err().unwrap(), SecretError::Authorization(_)));
}

#[tokio::test]
async fn deletion_keeps_the_name_until_it_is_recovered_or_purged() {
    let bed = Bed::new().await;
    bed.set("s", "1").await;
    let gone = bed.remove("S").await;
    assert_eq!((gone.deleted, gone.purge_at), (NOW, NOW + 90 * 24 * 3600));
    let again = NewSecret::of("2".into());
    let refused = bed.secrets.set(&bed.auth(), &bed.vault, &name("s"), again).await;
    assert!(matches!(refused.err().unwrap(), SecretError::Deleted));
    assert_eq!(bed.secrets.deleted(&bed.auth(), &bed.vault, &name("S")).await.unwrap().latest.name, "s");
    bed.secrets.recover(&bed.auth(), &bed.vault, &name("S")).await.unwrap();
    assert_eq!(bed.value("s").await, "1");
    let not_deleted = bed.secrets.purge(&bed.auth(), &bed.vault, &name("s")).await;
    assert!(matches!(not_deleted.err().unwrap(), SecretError::NotFound));
    bed.remove("s").await;
    bed.secrets.purge(&bed.auth(), &bed.vault, &name("s")).await.unwrap();
    assert!(matches!(bed.error("s", None).await, SecretError::NotFound));
    bed.set("s", "new").await;
    assert_eq!(bed.value("s").await, "new");
}

#[tokio::test]
async fn a_deleted_secret_past_its_time_is_gone_before_and_after_it_is_cleared_away() {
    let bed = Bed::new().await;
    for text in ["s", "t", "kept"] {
        bed.set(text, "1").await;
    }
    let due = bed.remove("s").await.purge_at;
    bed.remove("t").await;
    let late = bed.auth_of(Ctx { now: due, ..bed.ctx() });
    let early = bed.auth_of(Ctx { now: due - 1, ..bed.ctx() });
    assert!(bed.secrets.deleted(&early, &bed.vault, &name("s")).await.is_ok());
    for result in [
        bed.secrets.deleted(&late, &bed.vault, &name("s")).await.map(drop),
        bed.secrets.recover(&late, &bed.vault, &name("s")).await.map(drop),
    ] {
        assert!(matches!(result.unwrap_err(), SecretError::NotFound));
    }
    assert!(bed.secrets.list_deleted(&late, &bed.vault, None, 25).await.unwrap().items.is_empty());
    assert_eq!(bed.secrets.list_deleted(&early, &bed.vault, None, 25).await.unwrap().items.len(), 2);
    // It does not hold its name any more.
    let new = NewSecret::of("2".into());
    bed.secrets.set(&late, &bed.vault, &name("s"), new).await.unwrap();
    assert_eq!(bed.value("s").await, "2");
    assert_eq!(bed.secrets.purge_due(&early).await.unwrap(), 0);
    assert_eq!(bed.secrets.purge_due(&late).await.unwrap(), 1);
    assert!(bed.store.deleted_secret(late.ctx(), &bed.vault.id, "t").await.unwrap().is_none());
    assert_eq!(bed.value("kept").await, "1");
}

#[tokio::test]
async fn lists_are_cut_into_pages_that_meet() {
    let bed = Bed::new().await;
    for n in 0..7 {
        bed.set(&format!("s{n}"), "v").await;
    }
    let (mut seen, mut after) = (Vec::new(), None);
    for size in [3, 3, 1] {
        let page = bed.secrets.list(&bed.auth(), &bed.vault, after.as_deref(), 3).await.unwrap();
        assert_eq!(page.items.len(), size);
        seen.extend(page.items.into_iter().map(|s| s.name));
        after = page.next;
    }
    assert_eq!(after, None);
    assert_eq!(seen, ["s0", "s1", "s2", "s3", "s4", "s5", "s6"]);
    // A page that ends with the list has no next one.
    assert_eq!(bed.secrets.list(&bed.auth(), &bed.vault, None, 7).await.unwrap().next, None);
    for n in 0..7 {
        bed.set("many", &n.to_string()).await;
    }
    let first = bed.secrets.versions(&bed.auth(), &bed.vault, &name("many"), None, 4).await.unwrap();
    let rest = bed.secrets.versions(&bed.auth(), &bed.vault, &name("many"), first.next.as_deref(), 4).await.unwrap();
    assert_eq!((first.items.len(), rest.items.len(), rest.next), (4, 3, None));
    let missing = bed.secrets.versions(&bed.auth(), &bed.vault, &name("none"), None, 4).await;
    assert!(matches!(missing.unwrap_err(), SecretError::NotFound));
}

#[tokio::test]
async fn a_vault_needs_a_good_name_of_its_own() {
    let bed = Bed::new().await;
    let new = |name, retention_days| NewVault { name, location: "here", retention_days };
    let create = async |tenant, group: &ResourceId, new: NewVault<'_>| {
        bed.vaults.create(&bed.auth_of(ctx(tenant)), group, &new).await.map(|vault| vault.name)
    };
    for bad in ["ab", "a--b", "1abc", "abc-", "a.b.c", "abcdefghijklmnopqrstuvwxyz"] {
        let error = create(bed.tenant, &bed.group, new(bad, 90)).await.unwrap_err();
        assert!(matches!(error, ChangeError::Invalid(_)), "{bad}");
    }
    for days in [0, 6, MAX_RETENTION_DAYS + 1] {
        let error = create(bed.tenant, &bed.group, new("good", days)).await.unwrap_err();
        assert!(matches!(error, ChangeError::Invalid(_)), "{days}");
    }
    let nowhere = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/no".parse().unwrap();
    assert!(matches!(create(bed.tenant, &nowhere, new("good", 7)).await.unwrap_err(), ChangeError::Missing(_)));
    assert_eq!(create(bed.tenant, &bed.group, new("Good", 7)).await.unwrap(), "good");
    // The name is a host name, so it is taken for everybody, in any case.
    let other = TenantId(Uuid::from_u128(0x0c));
    let group = set_up(&bed.store, &bed.keks, other, 3, &[]).await;
    for taken in ["dev", "DEV"] {
        let error = create(other, &group, new(taken, 90)).await.unwrap_err();
        assert!(matches!(error, ChangeError::Store(StoreError::Exists { .. })), "{error}");
    }
}
