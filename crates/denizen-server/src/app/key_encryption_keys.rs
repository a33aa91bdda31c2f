//! The tenants' key-encryption keys: made under the root key, opened once, kept in memory.
//!
//! The root key never leaves this file's value; everyone else is handed a tenant's key, which opens nothing of
//! another tenant's.
//!
//! Tests: below.

use std::sync::Arc;

use denizen_keys::{
    KeyError, b64,
    envelope::{DataKey, RootKey, SealedKey, aad},
};
use denizen_wire::TenantId;
use quick_cache::sync::Cache;

use crate::domain::directory::Tenant;

/// Opens tenants' key-encryption keys.
#[derive(Clone)]
pub struct KeyEncryptionKeys {
    root: Arc<RootKey>,
    opened: Arc<Cache<(TenantId, String), Arc<DataKey>>>,
}

impl KeyEncryptionKeys {
    /// Creates a store under the root key of this deployment.
    pub fn new(root: RootKey) -> Self {
        Self { root: Arc::new(root), opened: Arc::new(Cache::new(4096)) }
    }

    /// Makes a key for a tenant: what to keep in its record.
    pub fn create(&self, tenant: TenantId) -> String {
        let sealed = self.root.wrap(&DataKey::generate(), &binding(tenant));
        b64::standard(sealed.as_bytes())
    }

    /// A tenant's key.
    pub fn open(&self, tenant: &Tenant) -> Result<Arc<DataKey>, KeyError> {
        let id = (tenant.id, tenant.sealed_kek.clone());
        if let Some(key) = self.opened.get(&id) {
            return Ok(key);
        }
        let sealed = b64::decode_lax(&tenant.sealed_kek).ok_or(KeyError::SealedForm)?;
        let sealed = SealedKey::from_bytes(&sealed)?;
        let key = Arc::new(self.root.unwrap(&sealed, &binding(tenant.id))?);
        self.opened.insert(id, Arc::clone(&key));
        Ok(key)
    }
}

fn binding(tenant: TenantId) -> Vec<u8> {
    aad(&["tenant-kek", &tenant.to_string()])
}

#[cfg(test)]
mod tests {
    use denizen_wire::UnixTime;

    use super::*;

    #[test]
    fn a_tenants_key_opens_for_that_tenant_alone() {
        let place = tempfile::tempdir().unwrap();
        let key_encryption_keys = KeyEncryptionKeys::new(
            RootKey::load_or_create(&place.path().canonicalize().unwrap().join("root.key")).unwrap(),
        );
        let (one, two) = (TenantId(uuid::Uuid::from_u128(1)), TenantId(uuid::Uuid::from_u128(2)));
        let tenant = |id, sealed_kek| Tenant {
            id,
            domain: "a.test".into(),
            display_name: "A".into(),
            sealed_kek,
            created: UnixTime(0),
        };
        let sealed = key_encryption_keys.create(one);
        let key = key_encryption_keys.open(&tenant(one, sealed.clone())).unwrap();
        let wrapped = DataKey::generate().wrap_with(&key, b"x");
        assert!(
            DataKey::unwrap_with(&key_encryption_keys.open(&tenant(one, sealed.clone())).unwrap(), &wrapped, b"x")
                .is_ok()
        );
        assert_eq!(key_encryption_keys.open(&tenant(two, sealed)).err(), Some(KeyError::Open));
    }
}
