//! Secrets: the use cases of the vault.
//!
//! Each takes the caller's [`Authorization`] and checks that it is the one for what it does. Two rules hold throughout:
//!
//! - **nothing is read unrecorded**: the audit record of a read is written before the value is given to the caller, and
//!   when it cannot be written the read is refused;
//! - **values exist in the clear only on their way**: each version is sealed under a data key of its own, which is
//!   wrapped by the vault's key. Both seals are bound to tenant, vault, name and version, so that no row can stand
//!   in for another. What is cached is the sealed form.
//!
//! Every operation goes through [`Secrets::run`], which checks the authorization, records a read before it is given, and
//! records what fails.
//!
//! A hot read asks the database nothing: sealed versions are kept by vault, name and version with the vault's
//! revision, which every write in the vault raises.
//!
//! Tests: `secrets/tests.rs`.

use std::{future::Future, sync::Arc};

use denizen_keys::{
    KeyError, SecretString,
    envelope::{DataKey, aad, open, seal},
    hash, random,
};
use denizen_wire::{Causes, ResourceId, UnixTime, vault::UpdateSecret};
use quick_cache::{Equivalent, Weighter, sync::Cache};

use super::{
    access::{Authorization, Known, WrongAuthorization},
    vaults::Vaults,
};
pub use crate::domain::secrets::NewSecret;
use crate::{
    domain::{
        resources::Vault,
        secrets::{BadSecret, DeletedSecret, SecretName, SecretVersion},
    },
    store::{AuditEvent, Outcome, Revision, Store, StoreError, Tx, Write, Writing},
};

#[cfg(test)]
mod tests;

/// Sealed versions are kept up to this many bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Secrets purged in one run of the schedule.
const DUE_AT_ONCE: u32 = 256;
/// Versions that the cache has room for before it grows.
const CACHE_ENTRIES: usize = 1024;
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
    sealed: Arc<Cache<SealedKey, SealedEntry, Weight>>,
}

/// Which version an entry of the cache is; the version's text is empty for the latest.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SealedKey {
    vault: ResourceId,
    /// Canonical.
    name: String,
    version: String,
}

/// A [`SealedKey`] to look up, borrowed. Its members stand in the same order, so that both hash alike.
#[derive(Hash)]
struct SealedLookup<'a> {
    vault: &'a ResourceId,
    name: &'a str,
    version: &'a str,
}

impl Equivalent<SealedKey> for SealedLookup<'_> {
    fn equivalent(&self, key: &SealedKey) -> bool {
        *self.vault == key.vault && self.name == key.name && self.version == key.version
    }
}

/// The bytes that an entry takes.
#[derive(Clone)]
struct Weight;

impl Weighter<SealedKey, SealedEntry> for Weight {
    fn weight(&self, key: &SealedKey, entry: &SealedEntry) -> u64 {
        let texts = key.vault.as_str().len() + key.name.len() + key.version.len();
        (texts + entry.version.sealed_value.len() + CACHE_OVERHEAD) as u64
    }
}

/// A sealed version, as it was when the vault was at `revision`.
#[derive(Clone)]
struct SealedEntry {
    revision: Revision,
    version: Arc<SecretVersion>,
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
    /// It was called with the authorization of another operation: our fault.
    #[error(transparent)]
    Authorization(#[from] WrongAuthorization),
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
    /// Creates the use cases of a store's secrets.
    pub fn new(store: Store, vaults: Vaults) -> Self {
        Self { store, vaults, sealed: Arc::new(Cache::with_weighter(CACHE_ENTRIES, CACHE_BYTES, Weight)) }
    }

    /// Makes a version; the first one makes the secret.
    ///
    /// # Errors
    /// [`SecretError::Bad`], [`SecretError::Deleted`] when a deleted secret holds the name, the store's, the keys'.
    pub async fn set(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        name: &SecretName,
        new: NewSecret,
    ) -> Result<SecretVersion, SecretError> {
        let operation = Operation::on_secret(authorization, actions::SET, vault, name);
        self.run(&operation, self.make_version(authorization, vault, name, new)).await
    }

    async fn make_version(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        name: &SecretName,
        new: NewSecret,
    ) -> Result<Done<SecretVersion>, SecretError> {
        new.check()?;
        let now = authorization.now();
        let version = hash::hex(&random::bytes::<16>());
        let binding = Binding { vault, name, version: &version };
        let data_key = DataKey::generate();
        let new_version = &SecretVersion {
            tenant: vault.tenant,
            vault: vault.id.clone(),
            name: name.as_str().to_owned(),
            wrapped_key: self.vaults.wrap(vault, &data_key, &binding.of_key())?,
            sealed_value: seal(&data_key, new.value.expose().as_bytes(), &binding.of_value()),
            version,
            content_type: new.content_type,
            tags: new.tags,
            enabled: new.enabled,
            nbf: new.nbf,
            exp: new.exp,
            created: now,
            updated: now,
        };
        self.write(authorization, |tx| {
            Box::pin(async move {
                let (mut made, mut purged) = (new_version.clone(), false);
                // The name keeps the case it was first written in.
                if let Some(before) = tx.secret(&vault.id, name.canonical(), None).await? {
                    made.name = before.name;
                } else if tx
                    .deleted_secret(&vault.id, name.canonical())
                    .await?
                    .is_some_and(|old| old.purge_at <= now && self.store.trusts(now))
                {
                    // It cannot be recovered any more, though the schedule has not purged it yet: the name is free.
                    purged = tx.secret_purge(&vault.id, name.canonical()).await?;
                }
                tx.secret_add(&made).await?;
                let target = target(vault, name, Some(&made.version));
                let write = Write::commit(actions::SET, target, made);
                Ok(if purged { write.detail(serde_json::json!({ "purged": true })) } else { write })
            })
        })
        .await
    }

    /// Opens a version, the latest when none is named, and records the read: there is no value without a record. A
    /// read that fails is recorded as well.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::Disabled`], [`SecretError::Key`] when a seal does not open,
    /// [`SecretError::Unrecorded`], the store's.
    pub async fn get(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        name: &SecretName,
        version: Option<&str>,
    ) -> Result<(Arc<SecretVersion>, SecretString), SecretError> {
        let operation = Operation::on_part(authorization, actions::GET, vault, name, version);
        let read = async {
            let found = self.find_sealed(authorization, vault, name, version).await?;
            if !found.enabled {
                return Err(SecretError::Disabled);
            }
            let value = self.unseal(vault, name, &found).inspect_err(|error| {
                let error = Causes(error);
                tracing::error!(%error, vault = %vault.id, version = %found.version, "a secret does not open");
            })?;
            let target = target(vault, name, Some(&found.version));
            Ok(Done::Read { value: (found, value), target })
        };
        self.run(&operation, read).await
    }

    /// Changes a version's metadata, the latest's when none is named.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::Bad`], the store's.
    pub async fn update(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        name: &SecretName,
        version: Option<&str>,
        update: &UpdateSecret,
    ) -> Result<SecretVersion, SecretError> {
        let operation = Operation::on_part(authorization, actions::UPDATE, vault, name, version);
        let change = self.write(authorization, |tx| {
            Box::pin(async move {
                let before = tx.secret(&vault.id, name.canonical(), version).await?;
                let after = before.ok_or(SecretError::NotFound)?.updated(update.clone(), authorization.now())?;
                tx.secret_update(&after).await?;
                let target = target(vault, name, Some(&after.version));
                Ok(Write::commit(actions::UPDATE, target, after))
            })
        });
        self.run(&operation, change).await
    }

    /// The latest version of each secret, by name, after the cursor.
    ///
    /// # Errors
    /// [`SecretError::Unrecorded`], the store's.
    pub async fn list(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Listed<SecretVersion>, SecretError> {
        let operation = Operation::on_collection(authorization, actions::READ_METADATA, vault, "secrets");
        let read = async {
            let found = self.store.secrets(authorization.ctx(), &vault.id, after, limit.saturating_add(1)).await?;
            let listed = page(found, limit, |last| last.name.to_ascii_lowercase());
            Ok(Done::read(listed, &operation))
        };
        self.run(&operation, read).await
    }

    /// The versions of a secret, after the cursor.
    ///
    /// # Errors
    /// [`SecretError::NotFound`] when there is no such secret, [`SecretError::Unrecorded`], the store's.
    pub async fn versions(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        name: &SecretName,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Listed<SecretVersion>, SecretError> {
        let operation = Operation::on_part(authorization, actions::READ_METADATA, vault, name, Some("versions"));
        let read = async {
            let (ctx, more) = (authorization.ctx(), limit.saturating_add(1));
            let found = self.store.secret_versions(ctx, &vault.id, name.canonical(), after, more).await?;
            if found.is_empty() && after.is_none() {
                return Err(SecretError::NotFound);
            }
            Ok(Done::read(page(found, limit, |last| last.version.clone()), &operation))
        };
        self.run(&operation, read).await
    }

    /// Deletes a secret with all its versions; it can be recovered until the vault's retention is over.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], the store's.
    pub async fn delete(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        name: &SecretName,
    ) -> Result<DeletedSecret, SecretError> {
        let operation = Operation::on_secret(authorization, actions::DELETE, vault, name);
        let now = authorization.now();
        let deletion = self.write(authorization, |tx| {
            Box::pin(async move {
                let deleted = tx.secret_delete(&vault.id, name.canonical(), now, purge_time(vault, now)).await?;
                let deleted = deleted.ok_or(SecretError::NotFound)?;
                Ok(Write::commit(actions::DELETE, target(vault, name, None), deleted))
            })
        });
        self.run(&operation, deletion).await
    }

    /// A deleted secret.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], [`SecretError::Unrecorded`], the store's.
    pub async fn deleted(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        name: &SecretName,
    ) -> Result<DeletedSecret, SecretError> {
        let operation = Operation::on_part(authorization, actions::READ_METADATA, vault, name, Some("deleted"));
        let read = async {
            let found = self.store.deleted_secret(authorization.ctx(), &vault.id, name.canonical()).await?;
            let found = found.filter(|found| authorization.now() < found.purge_at).ok_or(SecretError::NotFound)?;
            Ok(Done::read(found, &operation))
        };
        self.run(&operation, read).await
    }

    /// The deleted secrets, by name, after the cursor.
    ///
    /// # Errors
    /// [`SecretError::Unrecorded`], the store's.
    pub async fn list_deleted(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Listed<DeletedSecret>, SecretError> {
        let operation = Operation::on_collection(authorization, actions::READ_METADATA, vault, "deletedsecrets");
        let read = async {
            let (ctx, more) = (authorization.ctx(), limit.saturating_add(1));
            let found = self.store.deleted_secrets(ctx, &vault.id, after, more).await?;
            let mut listed = page(found, limit, |last| last.latest.name.to_ascii_lowercase());
            // They cannot be recovered any more, though the schedule has not purged them yet.
            listed.items.retain(|deleted| authorization.now() < deleted.purge_at);
            Ok(Done::read(listed, &operation))
        };
        self.run(&operation, read).await
    }

    /// Takes a deletion back; gives the latest version.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], the store's.
    pub async fn recover(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        name: &SecretName,
    ) -> Result<SecretVersion, SecretError> {
        let operation = Operation::on_secret(authorization, actions::RECOVER, vault, name);
        let now = authorization.now();
        let recovery = self.write(authorization, |tx| {
            Box::pin(async move {
                let found = tx.deleted_secret(&vault.id, name.canonical()).await?;
                found.filter(|found| now < found.purge_at).ok_or(SecretError::NotFound)?;
                let recovered = tx.secret_recover(&vault.id, name.canonical()).await?.ok_or(SecretError::NotFound)?;
                Ok(Write::commit(actions::RECOVER, target(vault, name, None), recovered))
            })
        });
        self.run(&operation, recovery).await
    }

    /// Removes a deleted secret for good: its wrapped keys go, and no backup of the database's values opens without
    /// them.
    ///
    /// # Errors
    /// [`SecretError::NotFound`], the store's.
    pub async fn purge(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        name: &SecretName,
    ) -> Result<(), SecretError> {
        let operation = Operation::on_secret(authorization, actions::PURGE, vault, name);
        let purge = self.write(authorization, |tx| {
            Box::pin(async move {
                if !tx.secret_purge(&vault.id, name.canonical()).await? {
                    return Err(SecretError::NotFound);
                }
                Ok(Write::commit(actions::PURGE, target(vault, name, None), ()))
            })
        });
        self.run(&operation, purge).await
    }

    /// Runs an operation: the one way of all of them. Checks that the authorization is for it before anything of it
    /// runs, records what is read before it is given, and records whatever fails.
    async fn run<T>(
        &self,
        operation: &Operation<'_>,
        body: impl Future<Output = Result<Done<T>, SecretError>>,
    ) -> Result<T, SecretError> {
        let done = match operation.check() {
            Ok(()) => body.await,
            Err(wrong) => Err(wrong.into()),
        };
        let Operation { authorization, action, .. } = *operation;
        let error = match done {
            Ok(Done::Written(value)) => return Ok(value),
            Ok(Done::Read { value, target }) => {
                let read = AuditEvent::allowed(action, target, authorization.reason());
                return self.store.audit(authorization, &read).map(|()| value).map_err(SecretError::Unrecorded);
            }
            Err(error) => error,
        };
        // What the store refused under its lock, it has recorded as refused.
        if !matches!(error, SecretError::Store(StoreError::NotAuthorized)) {
            let because = Causes(&error).to_string();
            self.store.note(authorization, &AuditEvent::new(action, Outcome::Failed, operation.target(), because));
        }
        Err(error)
    }

    /// Writes, for [`Self::run`]: the record is part of the transaction.
    async fn write<'a, T>(
        &'a self,
        authorization: &Authorization,
        body: impl for<'t> FnMut(&'t mut Tx<'a>) -> Writing<'t, T, SecretError>,
    ) -> Result<Done<T>, SecretError> {
        self.store.write(authorization, body).await.map(Done::Written)
    }

    /// Purges the tenant's deleted secrets that cannot be recovered any more; gives how many it looked at. For the
    /// server's schedule: until it runs they are refused like secrets that are gone, but their keys are still there. None
    /// while the clock is not trusted.
    ///
    /// # Errors
    /// The store's, the first one. One secret that cannot be purged keeps none of those found with it.
    pub async fn purge_due(&self, authorization: &Authorization) -> Result<usize, SecretError> {
        authorization.check(actions::PURGE, authorization.tenant(), &["/"])?;
        if !self.store.trusts(authorization.now()) {
            return Ok(0);
        }
        let mut all = 0;
        loop {
            let due = self.store.secrets_due(authorization.ctx(), DUE_AT_ONCE).await?;
            let mut first_error = None;
            for gone in &due {
                let (vault, name) = (&gone.latest.vault, &gone.latest.name);
                if let Err(error) = self.purge_if_due(authorization, vault, name).await {
                    tracing::error!(%vault, error = %Causes(&error), "a deleted secret could not be purged");
                    let (target, because) = (secret_in(vault, name), Causes(&error).to_string());
                    self.store.note(authorization, &AuditEvent::new(actions::PURGE, Outcome::Failed, target, because));
                    first_error = first_error.or(Some(error));
                }
            }
            if let Some(error) = first_error {
                return Err(error.into());
            }
            all += due.len();
            if due.len() < usize::try_from(DUE_AT_ONCE).unwrap_or(usize::MAX) {
                return Ok(all);
            }
        }
    }

    async fn purge_if_due(
        &self,
        authorization: &Authorization,
        vault: &ResourceId,
        name: &str,
    ) -> Result<(), StoreError> {
        let now = authorization.now();
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    // Asked again within the transaction: it may have been recovered or purged since.
                    let still = tx.deleted_secret(vault, name).await?;
                    if still.is_none_or(|still| now < still.purge_at) || !tx.secret_purge(vault, name).await? {
                        return Ok(Write::Unchanged(()));
                    }
                    Ok(Write::commit(actions::PURGE, secret_in(vault, name), ()))
                })
            })
            .await
    }

    /// Records that a caller was refused. A refusal stands whether or not it can be recorded.
    pub fn refused(&self, known: &Known, action: &str, target: &ResourceId, because: &str) {
        self.store.note(known, &AuditEvent::refused(action, target.as_str(), because));
    }

    async fn find_sealed(
        &self,
        authorization: &Authorization,
        vault: &Vault,
        name: &SecretName,
        version: Option<&str>,
    ) -> Result<Arc<SecretVersion>, SecretError> {
        // Taken before the database is asked: what is found is at least this new.
        let revision = authorization.snapshot().vault_revision(&vault.id);
        let lookup = SealedLookup { vault: &vault.id, name: name.canonical(), version: version.unwrap_or_default() };
        if let Some(entry) = self.sealed.get(&lookup).filter(|entry| entry.revision == revision) {
            return Ok(entry.version);
        }
        let found = self.store.secret(authorization.ctx(), &vault.id, name.canonical(), version).await?;
        let found = Arc::new(found.ok_or(SecretError::NotFound)?);
        let key = SealedKey {
            vault: vault.id.clone(),
            name: name.canonical().to_owned(),
            version: version.unwrap_or_default().to_owned(),
        };
        self.sealed.insert(key, SealedEntry { revision, version: Arc::clone(&found) });
        Ok(found)
    }

    fn unseal(&self, vault: &Vault, name: &SecretName, version: &SecretVersion) -> Result<SecretString, SecretError> {
        let binding = Binding { vault, name, version: &version.version };
        let data_key = self.vaults.open(vault)?.unwrap(&version.wrapped_key, &binding.of_key())?;
        let value = open(&data_key, &version.sealed_value, &binding.of_value())?;
        SecretString::try_from(value).map_err(|_| KeyError::SealedForm.into())
    }
}

/// An operation of the vault, to be run by [`Secrets::run`].
struct Operation<'a> {
    authorization: &'a Authorization,
    action: &'static str,
    vault: &'a Vault,
    on: On<'a>,
}

/// What an operation is about.
#[derive(Clone, Copy)]
enum On<'a> {
    /// A list of the vault's.
    Collection(&'static str),
    /// A secret, or a version or another thing of it.
    Secret(&'a SecretName, Option<&'a str>),
}

impl<'a> Operation<'a> {
    fn on_collection(
        authorization: &'a Authorization,
        action: &'static str,
        vault: &'a Vault,
        name: &'static str,
    ) -> Self {
        Self { authorization, action, vault, on: On::Collection(name) }
    }

    fn on_secret(
        authorization: &'a Authorization,
        action: &'static str,
        vault: &'a Vault,
        name: &'a SecretName,
    ) -> Self {
        Self::on_part(authorization, action, vault, name, None)
    }

    fn on_part(
        authorization: &'a Authorization,
        action: &'static str,
        vault: &'a Vault,
        name: &'a SecretName,
        part: Option<&'a str>,
    ) -> Self {
        Self { authorization, action, vault, on: On::Secret(name, part) }
    }

    /// Checks that the authorization is for this operation on the secret, or on the vault when it is about a list.
    fn check(&self) -> Result<(), WrongAuthorization> {
        let Self { authorization, action, vault, on } = self;
        let tenant = vault.tenant;
        match on {
            On::Secret(name, _) => {
                authorization.check(action, tenant, &[vault.id.canonical(), "/secrets/", name.canonical()])
            }
            On::Collection(_) => authorization.check(action, tenant, &[vault.id.canonical()]),
        }
    }

    /// What the audit calls it.
    fn target(&self) -> String {
        match self.on {
            On::Secret(name, part) => target(self.vault, name, part),
            On::Collection(name) => [self.vault.id.as_str(), "/", name].concat(),
        }
    }
}

/// What came of an operation.
enum Done<T> {
    /// It was written, and recorded in the same transaction.
    Written(T),
    /// It was read; it is given once that is recorded.
    Read {
        value: T,
        /// As the audit names it.
        target: String,
    },
}

impl<T> Done<T> {
    /// What the operation is about was read.
    fn read(value: T, operation: &Operation<'_>) -> Self {
        Self::Read { value, target: operation.target() }
    }
}

/// What a version's seals are bound to.
struct Binding<'a> {
    vault: &'a Vault,
    name: &'a SecretName,
    version: &'a str,
}

impl Binding<'_> {
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

/// What the audit calls a secret of a vault.
fn secret_in(vault: &ResourceId, name: &str) -> String {
    format!("{vault}/secrets/{name}")
}

/// What the audit calls a secret, a version, or another thing of a secret.
fn target(vault: &Vault, name: &SecretName, part: Option<&str>) -> String {
    let vault = vault.id.as_str();
    match part {
        Some(part) => [vault, "/secrets/", name.as_str(), "/", part].concat(),
        None => [vault, "/secrets/", name.as_str()].concat(),
    }
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
