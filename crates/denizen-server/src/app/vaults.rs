//! Vaults: making one, and opening its key.
//!
//! ```text
//! root key -> tenant's key-encryption key -> vault's key -> one data key per secret version -> value
//! ```
//!
//! Tests: `app/secrets/tests.rs`, with the secrets that need them.

use std::sync::Arc;

use denizen_keys::{
    KeyError, b64,
    envelope::{DataKey, UnwrappingKey, aad},
};
use denizen_wire::{ResourceId, TenantId, UnixTime};
use quick_cache::sync::Cache;

use super::{ChangeError, access::Authorization, key_encryption_keys::KeyEncryptionKeys};
use crate::{
    domain::{
        directory::Tenant,
        resources::Vault,
        secrets::{MAX_RETENTION_DAYS, MIN_RETENTION_DAYS, is_vault_name},
    },
    store::{Snapshot, Store, Write},
};

/// The resource type of a vault.
pub const VAULTS: &str = "Microsoft.KeyVault/vaults";

/// The action of making one.
const CREATE: &str = "Microsoft.KeyVault/vaults/write";

/// What a vault is made with.
#[derive(Clone, Copy, Debug)]
pub struct NewVault<'a> {
    /// The first label of its host name, unique across tenants.
    pub name: &'a str,
    /// A word; nothing is decided by it.
    pub location: &'a str,
    /// Days a deleted secret can be recovered: 7 to 90, and fixed from then on.
    pub retention_days: u32,
}

/// Makes vaults and opens their keys.
#[derive(Clone)]
pub struct Vaults {
    store: Store,
    key_encryption_keys: KeyEncryptionKeys,
    opened: Arc<Cache<ResourceId, Arc<VaultKey>>>,
}

/// A vault's key, with the sealed form it was opened from: a vault that is deleted and made again has another.
pub(super) struct VaultKey {
    sealed: String,
    key: DataKey,
    unwrapping: UnwrappingKey,
}

impl VaultKey {
    /// Takes the key of one thing in the vault out of its wrapping.
    pub(super) fn unwrap(&self, wrapped: &[u8], binding: &[u8]) -> Result<DataKey, KeyError> {
        self.unwrapping.unwrap(wrapped, binding)
    }
}

impl Vaults {
    /// Creates the use cases of a store; `key_encryption_keys` opens the tenants' key-encryption keys.
    pub fn new(store: Store, key_encryption_keys: KeyEncryptionKeys) -> Self {
        Self { store, key_encryption_keys, opened: Arc::new(Cache::new(16_384)) }
    }

    /// Makes a vault in a resource group, with a key of its own.
    ///
    /// # Errors
    /// [`ChangeError::Invalid`] names the rule that the name, the group or the retention breaks;
    /// [`ChangeError::Missing`] the resource group; the store says `Exists` for a name that is taken by any tenant.
    pub async fn create(
        &self,
        authorization: &Authorization,
        resource_group: &ResourceId,
        new: &NewVault<'_>,
    ) -> Result<Vault, ChangeError> {
        let id = new_id(resource_group, new)?;
        authorization.check(CREATE, authorization.tenant(), &[id.canonical()])?;
        let (tenant, created) = (authorization.tenant(), authorization.now());
        let kek = self.kek(authorization.snapshot(), tenant)?;
        let vault = new_record(tenant, id, &kek, new, created);
        let written = &vault;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    if tx.snapshot().resource_group(tenant, resource_group).is_none() {
                        return Err(ChangeError::Missing(format!("the resource group {resource_group}")));
                    }
                    tx.insert(written).await?;
                    Ok(Write::commit(CREATE, written.id.as_str().to_owned(), ()))
                })
            })
            .await?;
        Ok(vault)
    }

    /// A vault of a tenant that is not yet written, not yet written itself.
    ///
    /// # Errors
    /// [`ChangeError::Invalid`] names the rule that is broken.
    pub(super) fn new_vault(
        &self,
        tenant: &Tenant,
        resource_group: &ResourceId,
        new: &NewVault<'_>,
        created: UnixTime,
    ) -> Result<Vault, ChangeError> {
        let id = new_id(resource_group, new)?;
        let kek = self.key_encryption_keys.open(tenant)?;
        Ok(new_record(tenant.id, id, &kek, new, created))
    }

    /// Wraps a fresh data key for one thing in a vault.
    pub(super) fn wrap(&self, vault: &Vault, key: &DataKey, binding: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(key.wrap_with(&self.open(vault)?.key, binding))
    }

    /// The vault's key.
    pub(super) fn open(&self, vault: &Vault) -> Result<Arc<VaultKey>, KeyError> {
        if let Some(opened) = self.opened.get(&vault.id).filter(|opened| opened.sealed == vault.sealed_key) {
            return Ok(opened);
        }
        let sealed = b64::decode_standard(&vault.sealed_key).ok_or(KeyError::SealedForm)?;
        let kek = self.kek(&self.store.snapshot(), vault.tenant)?;
        let key = DataKey::unwrap_with(&kek, &sealed, &binding(vault.tenant, &vault.id))?;
        let unwrapping = key.unwrapping().ok_or(KeyError::Open)?;
        let opened = Arc::new(VaultKey { sealed: vault.sealed_key.clone(), key, unwrapping });
        self.opened.insert(vault.id.clone(), Arc::clone(&opened));
        Ok(opened)
    }

    fn kek(&self, snapshot: &Snapshot, tenant: TenantId) -> Result<Arc<DataKey>, KeyError> {
        // A tenant that is gone took its key with it: nothing of it opens any more.
        let tenant = snapshot.tenant(tenant).ok_or(KeyError::Open)?;
        self.key_encryption_keys.open(tenant)
    }
}

/// The id of a new vault, when it obeys the rules.
fn new_id(resource_group: &ResourceId, new: &NewVault<'_>) -> Result<ResourceId, ChangeError> {
    let NewVault { name, retention_days, .. } = *new;
    if !is_vault_name(name) {
        return Err(ChangeError::Invalid(format!(
            "'{name}' cannot name a vault: take 3 to 24 letters, digits and '-', a letter first, no '-' last or doubled"
        )));
    }
    if !(MIN_RETENTION_DAYS..=MAX_RETENTION_DAYS).contains(&retention_days) {
        return Err(ChangeError::Invalid(format!(
            "a vault keeps deleted secrets for {MIN_RETENTION_DAYS} to {MAX_RETENTION_DAYS} days, not {retention_days}"
        )));
    }
    resource_group.provider(VAULTS, name).map_err(|error| ChangeError::Invalid(error.to_string()))
}

fn new_record(tenant: TenantId, id: ResourceId, kek: &DataKey, new: &NewVault<'_>, created: UnixTime) -> Vault {
    let sealed = DataKey::generate().wrap_with(kek, &binding(tenant, &id));
    Vault {
        tenant,
        id,
        name: new.name.to_ascii_lowercase(),
        location: new.location.to_owned(),
        sealed_key: b64::standard(&sealed),
        retention_days: new.retention_days,
        created,
    }
}

fn binding(tenant: TenantId, vault: &ResourceId) -> Vec<u8> {
    aad(&["vault-key", &tenant.to_string(), vault.canonical()])
}
