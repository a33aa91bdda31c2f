//! Secrets: the use cases of the vault.
//!
//! The caller has been authorized; `because` is the decision, and goes to the audit. Two rules hold throughout:
//!
//! - **nothing is read unrecorded**: the audit record of a read is written before the value is given to the caller, and
//!   when it cannot be written the read is refused;
//! - **values exist in the clear only on their way**: each version is sealed under a data key of its own, which is
//!   wrapped by the vault's key. Both seals are bound to tenant, vault, name and version, so that no row can stand
//!   in for another. What is cached is the sealed form.
//!
//! A hot read asks the database nothing: sealed versions are kept by vault, name and version with the vault's
//! revision, which every write in the vault raises.
//!
//! Tests: `secrets/tests.rs`.

use std::sync::Arc;

use denizen_keys::{
    KeyError, SecretString,
    envelope::{DataKey, aad, open, seal},
    hash, random,
};
use denizen_wire::{ResourceId, UnixTime, vault::UpdateSecret};
use moka::sync::Cache;
use uuid::Uuid;

use super::vaults::{self, Vaults};
pub use crate::domain::secrets::NewSecret;
use crate::{
    domain::{
        Ctx,
        resources::Vault,
        secrets::{BadSecret, DeletedSecret, SecretName, SecretVersion},
    },
    store::{AuditEvent, Outcome, Repeated, Revision, Snapshot, Store, StoreError},
};

#[cfg(test)]
mod tests;

/// Sealed versions are kept up to this many bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Secrets purged in one run of the schedule.
const DUE_AT_ONCE: u32 = 256;
/// What one kept version costs beside its value, bytes.
const CACHE_OVERHEAD: usize = 1024;

/// The data actions of secrets, as authorization names them.
pub mod actions {
    /// Read a value.
    pub const GET: &str = "Microsoft.KeyVault/vaults/secrets/getSecret/action";
    /// Read everything but values.
    pub const READ_METADATA: &str = "Microsoft.KeyVault/vaults/secrets/readMetadata/action";
    /// Make a version.
    pub const SET: &str = "Microsoft.KeyVault/vaults/secrets/setSecret/action";
    /// Change a version's metadata.
    pub const UPDATE: &str = "Microsoft.KeyVault/vaults/secrets/update/action";
    /// Delete a secret.
    pub const DELETE: &str = "Microsoft.KeyVault/vaults/secrets/delete";
    /// Take a deletion back.
    pub const RECOVER: &str = "Microsoft.KeyVault/vaults/secrets/recover/action";
    /// Delete for good.
    pub const PURGE: &str = "Microsoft.KeyVault/vaults/secrets/purge/action";
}

/// The use cases of secrets.
#[derive(Clone)]
pub struct Secrets {
    store: Store,
    vaults: Vaults,
    cache: Cache<String, Kept>,
}

/// A sealed version, as it was when the vault was at `revision`.
#[derive(Clone)]
struct Kept {
    revision: Revision,
    version: Arc<SecretVersion>,
}

/// A version that was found for somebody who may read it: what is left is to open and record it. Has no `Debug`.
#[derive(Clone)]
pub struct Readable {
    vault: Arc<Vault>,
    /// None when it did not open: then it is tried again, and said.
    vault_key: Option<Arc<vaults::Opened>>,
    version: Arc<SecretVersion>,
    /// What the audit calls it.
    target: String,
    /// What its seals are bound to.
    key_place: Vec<u8>,
    value_place: Vec<u8>,
}

impl Readable {
    /// The version.
    pub fn version(&self) -> &SecretVersion {
        &self.version
    }

    /// The length of its sealed value, bytes.
    pub fn sealed_len(&self) -> usize {
        self.version.sealed_value.len()
    }

    /// What is recorded of each read of it by this caller in this second.
    pub fn repeated(&self, ctx: &Ctx, because: &str) -> Option<Repeated> {
        Repeated::new(ctx, &self.event(because))
    }

    fn event<'a>(&'a self, because: &'a str) -> AuditEvent<'a> {
        AuditEvent::allowed(actions::GET, &self.target, because)
    }
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// Where the next page starts; none at the end.
    pub next: Option<String>,
}

/// Why a use case did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The request breaks a rule.
    #[error(transparent)]
    Bad(#[from] BadSecret),
    /// There is no such secret or version.
    #[error("there is no such secret or version")]
    NotFound,
    /// The version is disabled.
    #[error("the secret is disabled")]
    Disabled,
    /// A deleted secret holds the name.
    #[error("the secret is deleted and can be recovered")]
    Deleted,
    /// It could not be recorded, so it was not done.
    #[error("the audit record could not be written")]
    Unrecorded(#[source] StoreError),
    /// The store.
    #[error(transparent)]
    Store(StoreError),
    /// A seal did not open: the row was changed or moved, or the keys are others.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<StoreError> for SecretError {
    fn from(error: StoreError) -> Self {
        if let StoreError::SecretDeleted { .. } = error {
            Self::Deleted
        } else if let StoreError::NotFound { .. } = error {
            Self::NotFound
        } else {
            Self::Store(error)
        }
    }
}

impl Secrets {
    /// Over a store and its vaults.
    pub fn new(store: Store, vaults: Vaults) -> Self {
        let weight = |key: &String, kept: &Kept| {
            u32::try_from(key.len() + kept.version.sealed_value.len() + CACHE_OVERHEAD).unwrap_or(u32::MAX)
        };
        Self { store, vaults, cache: Cache::builder().max_capacity(CACHE_BYTES).weigher(weight).build() }
    }

    /// Makes a version; the first one makes the secret.
    ///
    /// # Errors
    /// [`SecretError::Bad`], [`SecretError::Deleted`] when a deleted secret holds the name, the store's, the keys'.
    pub async fn set(
        &self,
        ctx: &Ctx,
        vault: &Vault,
        name: &SecretName,
        new: NewSecret,
        because: &str,
    ) -> Result<SecretVersion, SecretError> {
        new.check()?;
        let version = hash::hex(&random::bytes::<16>());
        let place = Place { vault, name, version: &version };
        let data_key = DataKey::generate();
        let mut made = SecretVersion {
            tenant: vault.tenant,
            vault: vault.id.clone(),
            name: name.as_str().to_owned(),
            wrapped_key: self.vaults.wrap(vault, &data_key, &place.of_key())?,
            sealed_value: seal(&data_key, new.value.expose().as_bytes(), &place.of_value()),
            version,
            content_type: new.content_type,
            tags: new.tags,
            enabled: new.enabled,
            nbf: new.nbf,
            exp: new.exp,
            created: ctx.now,
            updated: ctx.now,
        };
        let mut tx = self.store.begin(ctx).await?;
        // The name keeps the case it was first written in.
        if let Some(before) = tx.secret(&vault.id, name.canonical(), None).await? {
            made.name = before.name;
        } else if tx.deleted_secret(&vault.id, name.canonical()).await?.is_some_and(|old| old.purge_at <= ctx.now) {
            // Its time is over, though nobody has cleared it away yet: it does not hold the name any more.
            tx.secret_purge(&vault.id, name.canonical()).await?;
        }
        tx.secret_add(&made).await?;
        tx.commit(AuditEvent::allowed(actions::SET, target(vault, name, Some(&made.version)), because)).await?;
        Ok(made)
    }

    /// A version that may be opened, the latest when none is named. That there is none, or a disabled one, is recorded.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::Disabled`], the store's.
    pub async fn find(
        &self,
        ctx: &Ctx,
        snapshot: &Snapshot,
        vault: &Arc<Vault>,
        name: &SecretName,
        version: Option<&str>,
    ) -> Result<Readable, SecretError> {
        let found = match self.sealed(ctx, snapshot, vault, name, version).await {
            Ok(found) => found,
            Err(error) => return Err(self.failed(ctx, target(vault, name, version), error)),
        };
        if !found.enabled {
            return Err(self.failed(ctx, target(vault, name, Some(&found.version)), SecretError::Disabled));
        }
        let place = Place { vault, name, version: &found.version };
        Ok(Readable {
            key_place: place.of_key(),
            value_place: place.of_value(),
            target: target(vault, name, Some(&found.version)),
            vault_key: self.vaults.open(vault).ok(),
            vault: Arc::clone(vault),
            version: found,
        })
    }

    /// Opens a version and records the read, in one step: there is no value without a record.
    ///
    /// # Errors
    /// [`SecretError::Key`] when a seal does not open, [`SecretError::Unrecorded`].
    pub fn open(&self, ctx: &Ctx, readable: &Readable, because: &str) -> Result<SecretString, SecretError> {
        let Readable { vault, version, target, .. } = readable;
        let value = match self.reveal(readable) {
            Ok(value) => value,
            Err(error) => {
                tracing::error!(%error, vault = %vault.id, version = %version.version, "a secret does not open");
                return Err(self.failed(ctx, target.clone(), error));
            }
        };
        self.record(ctx, &readable.event(because))?;
        Ok(value)
    }

    /// Opens it once more for the same caller in the same second. Whatever fails is not recorded: [`Self::open`] says it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_again(
        &self,
        readable: &Readable,
        read: &Repeated,
        request_id: Uuid,
    ) -> Result<SecretString, SecretError> {
        let value = self.reveal(readable)?;
        self.store.audit_again(read, request_id).map_err(SecretError::Unrecorded)?;
        Ok(value)
    }

    /// Changes a version's metadata, the latest's when none is named.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::Bad`], the store's.
    pub async fn update(
        &self,
        ctx: &Ctx,
        vault: &Vault,
        name: &SecretName,
        version: Option<&str>,
        change: UpdateSecret,
        because: &str,
    ) -> Result<SecretVersion, SecretError> {
        let mut tx = self.store.begin(ctx).await?;
        let before = tx.secret(&vault.id, name.canonical(), version).await?;
        let after = before.ok_or(SecretError::NotFound)?.updated(change, ctx.now)?;
        tx.secret_update(&after).await?;
        tx.commit(AuditEvent::allowed(actions::UPDATE, target(vault, name, Some(&after.version)), because)).await?;
        Ok(after)
    }

    /// The latest version of each secret, by name, after the cursor.
    ///
    /// # Errors
    /// [`SecretError::Unrecorded`], the store's.
    pub async fn list(
        &self,
        ctx: &Ctx,
        vault: &Vault,
        after: Option<&str>,
        limit: u32,
        because: &str,
    ) -> Result<Listed<SecretVersion>, SecretError> {
        let found = self.store.secrets(ctx, &vault.id, after, limit.saturating_add(1)).await?;
        self.record(ctx, &listing(vault, "secrets", because))?;
        Ok(page(found, limit, |last| last.name.to_ascii_lowercase()))
    }

    /// The versions of a secret, after the cursor.
    ///
    /// # Errors
    /// [`SecretError::NotFound`] when there is no such secret, [`SecretError::Unrecorded`], the store's.
    pub async fn versions(
        &self,
        ctx: &Ctx,
        vault: &Vault,
        name: &SecretName,
        after: Option<&str>,
        limit: u32,
        because: &str,
    ) -> Result<Listed<SecretVersion>, SecretError> {
        let found =
            self.store.secret_versions(ctx, &vault.id, name.canonical(), after, limit.saturating_add(1)).await?;
        if found.is_empty() && after.is_none() {
            return Err(SecretError::NotFound);
        }
        self.record(ctx, &AuditEvent::allowed(actions::READ_METADATA, target(vault, name, Some("versions")), because))?;
        Ok(page(found, limit, |last| last.version.clone()))
    }

    /// Deletes a secret with all its versions; it can be recovered until the vault's retention is over.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], the store's.
    pub async fn delete(
        &self,
        ctx: &Ctx,
        vault: &Vault,
        name: &SecretName,
        because: &str,
    ) -> Result<DeletedSecret, SecretError> {
        let mut tx = self.store.begin(ctx).await?;
        let purge_at = purge_time(vault, ctx.now);
        let deleted = tx.secret_delete(&vault.id, name.canonical(), ctx.now, purge_at).await?;
        let deleted = deleted.ok_or(SecretError::NotFound)?;
        tx.commit(AuditEvent::allowed(actions::DELETE, target(vault, name, None), because)).await?;
        Ok(deleted)
    }

    /// A deleted secret.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::Unrecorded`], the store's.
    pub async fn deleted(
        &self,
        ctx: &Ctx,
        vault: &Vault,
        name: &SecretName,
        because: &str,
    ) -> Result<DeletedSecret, SecretError> {
        let found = self.store.deleted_secret(ctx, &vault.id, name.canonical()).await?;
        let found = found.filter(|found| ctx.now < found.purge_at).ok_or(SecretError::NotFound)?;
        self.record(ctx, &AuditEvent::allowed(actions::READ_METADATA, target(vault, name, Some("deleted")), because))?;
        Ok(found)
    }

    /// The deleted secrets, by name, after the cursor.
    ///
    /// # Errors
    /// [`SecretError::Unrecorded`], the store's.
    pub async fn list_deleted(
        &self,
        ctx: &Ctx,
        vault: &Vault,
        after: Option<&str>,
        limit: u32,
        because: &str,
    ) -> Result<Listed<DeletedSecret>, SecretError> {
        let found = self.store.deleted_secrets(ctx, &vault.id, after, limit.saturating_add(1)).await?;
        self.record(ctx, &listing(vault, "deletedsecrets", because))?;
        let mut listed = page(found, limit, |last| last.latest.name.to_ascii_lowercase());
        // Past their time, though nobody has cleared them away yet.
        listed.items.retain(|deleted| ctx.now < deleted.purge_at);
        Ok(listed)
    }

    /// Takes a deletion back; gives the latest version.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], the store's.
    pub async fn recover(
        &self,
        ctx: &Ctx,
        vault: &Vault,
        name: &SecretName,
        because: &str,
    ) -> Result<SecretVersion, SecretError> {
        let mut tx = self.store.begin(ctx).await?;
        let found = tx.deleted_secret(&vault.id, name.canonical()).await?;
        found.filter(|found| ctx.now < found.purge_at).ok_or(SecretError::NotFound)?;
        let recovered = tx.secret_recover(&vault.id, name.canonical()).await?.ok_or(SecretError::NotFound)?;
        tx.commit(AuditEvent::allowed(actions::RECOVER, target(vault, name, None), because)).await?;
        Ok(recovered)
    }

    /// Removes a deleted secret for good: its wrapped keys go, and no backup of the database's values opens without
    /// them.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], the store's.
    pub async fn purge(&self, ctx: &Ctx, vault: &Vault, name: &SecretName, because: &str) -> Result<(), SecretError> {
        let mut tx = self.store.begin(ctx).await?;
        if !tx.secret_purge(&vault.id, name.canonical()).await? {
            return Err(SecretError::NotFound);
        }
        tx.commit(AuditEvent::allowed(actions::PURGE, target(vault, name, None), because)).await?;
        Ok(())
    }

    /// Purges the tenant's deleted secrets whose time is over, a bounded number at a time; gives how many. For the
    /// server's schedule: until it runs they are refused like secrets that are gone, but their keys are still there.
    ///
    /// # Errors
    /// The store's; what was purged before stays purged.
    pub async fn purge_due(&self, ctx: &Ctx) -> Result<usize, SecretError> {
        let due = self.store.secrets_due(ctx, DUE_AT_ONCE).await?;
        for gone in &due {
            let secret = &gone.latest;
            let mut tx = self.store.begin(ctx).await?;
            // Asked again within the transaction: it may have been recovered or purged since.
            let still = tx.deleted_secret(&secret.vault, &secret.name).await?;
            if still.is_none_or(|now| ctx.now < now.purge_at) || !tx.secret_purge(&secret.vault, &secret.name).await? {
                continue;
            }
            let target = format!("{}/secrets/{}", secret.vault, secret.name);
            tx.commit(AuditEvent::allowed(actions::PURGE, target, "the time to recover it is over")).await?;
        }
        Ok(due.len())
    }

    /// Records that a caller was refused. Not waited for: a refusal gives nothing away.
    pub fn refused(&self, ctx: &Ctx, action: &str, target: &ResourceId, because: &str) {
        self.note(ctx, &AuditEvent::refused(action, target.as_str(), because));
    }

    async fn sealed(
        &self,
        ctx: &Ctx,
        snapshot: &Snapshot,
        vault: &Vault,
        name: &SecretName,
        version: Option<&str>,
    ) -> Result<Arc<SecretVersion>, SecretError> {
        // Taken before the database is asked: what is found is at least this new.
        let revision = snapshot.vault_revision(&vault.id);
        let key = cache_key(vault, name, version);
        if let Some(kept) = self.cache.get(&key).filter(|kept| kept.revision == revision) {
            return Ok(kept.version);
        }
        let found = self.store.secret(ctx, &vault.id, name.canonical(), version).await?;
        let version = Arc::new(found.ok_or(SecretError::NotFound)?);
        self.cache.insert(key, Kept { revision, version: Arc::clone(&version) });
        Ok(version)
    }

    fn reveal(&self, readable: &Readable) -> Result<SecretString, SecretError> {
        let Readable { vault, vault_key, version, key_place, value_place, .. } = readable;
        let data_key = match vault_key {
            Some(key) => key.unwrap(&version.wrapped_key, key_place)?,
            None => self.vaults.open(vault)?.unwrap(&version.wrapped_key, key_place)?,
        };
        let value = open(&data_key, &version.sealed_value, value_place)?;
        SecretString::try_from(value).map_err(|_| KeyError::SealedForm.into())
    }

    fn record(&self, ctx: &Ctx, read: &AuditEvent<'_>) -> Result<(), SecretError> {
        self.store.audit(ctx, read).map_err(SecretError::Unrecorded)
    }

    /// Notes an authorized read that gave nothing.
    fn failed(&self, ctx: &Ctx, target: String, error: SecretError) -> SecretError {
        self.note(ctx, &AuditEvent::new(actions::GET, Outcome::Failed, target, error.to_string()));
        error
    }

    fn note(&self, ctx: &Ctx, event: &AuditEvent<'_>) {
        if let Err(error) = self.store.audit(ctx, event) {
            tracing::error!(%error, request_id = %ctx.request_id, "a refusal could not be recorded");
        }
    }
}

/// Where a version stands: what its seals are bound to.
struct Place<'a> {
    vault: &'a Vault,
    name: &'a SecretName,
    version: &'a str,
}

impl Place<'_> {
    fn of_value(&self) -> Vec<u8> {
        self.bind("secret")
    }

    fn of_key(&self) -> Vec<u8> {
        self.bind("secret-key")
    }

    fn bind(&self, kind: &str) -> Vec<u8> {
        let mut tenant = [0; uuid::fmt::Hyphenated::LENGTH];
        let tenant = self.vault.tenant.0.hyphenated().encode_lower(&mut tenant);
        aad(&[tenant, self.vault.id.canonical(), kind, self.name.canonical(), self.version])
    }
}

/// Neither part can hold a NUL, so no two secrets share a key.
fn cache_key(vault: &Vault, name: &SecretName, version: Option<&str>) -> String {
    let (vault, name, version) = (vault.id.canonical(), name.canonical(), version.unwrap_or_default());
    let mut key = String::with_capacity(vault.len() + name.len() + version.len() + 2);
    for (part, end) in [(vault, "\0"), (name, "\0"), (version, "")] {
        key.push_str(part);
        key.push_str(end);
    }
    key
}

/// What the audit calls a secret, a version, or another thing of a secret.
fn target(vault: &Vault, name: &SecretName, part: Option<&str>) -> String {
    let vault = vault.id.as_str();
    match part {
        Some(part) => [vault, "/secrets/", name.as_str(), "/", part].concat(),
        None => [vault, "/secrets/", name.as_str()].concat(),
    }
}

fn listing<'a>(vault: &Vault, collection: &str, because: &'a str) -> AuditEvent<'a> {
    AuditEvent::allowed(actions::READ_METADATA, format!("{}/{collection}", vault.id), because)
}

fn purge_time(vault: &Vault, now: UnixTime) -> UnixTime {
    now + i64::from(vault.retention_days) * 24 * 3600
}

/// Cuts the one item that was asked for beyond the page; it says whether there is a next one.
fn page<T>(mut found: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Listed<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { found.last().map(cursor) } else { None };
    Listed { items: found, next }
}
