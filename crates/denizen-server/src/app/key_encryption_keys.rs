//! The tenants' key-encryption keys: made under the root key, opened once, kept in memory.
//!
//! The root key never leaves this file's value; everyone else is handed a tenant's key, which opens nothing of
//! another tenant's. From each is derived the key of its clients' secrets: the record of a tenant has had all that this
//! takes since the first release, and whoever replaces the root key wraps the tenant's key anew and changes no secret.
//!
//! Tests: below.

use std::sync::Arc;

use denizen_keys::{
    KeyError, SecretString, b64,
    envelope::{DataKey, RootKey, SealedKey, aad},
    mac::MacKey,
};
use denizen_wire::{ClientId, TenantId};
use quick_cache::sync::Cache;

use crate::domain::directory::Tenant;

/// What the key of client secrets is derived for. Kept secrets depend on it: it never changes.
const CLIENT_SECRETS: &str = "client secrets";

/// Opens tenants' key-encryption keys.
#[derive(Clone)]
pub struct KeyEncryptionKeys {
    root: Arc<RootKey>,
    opened: Arc<Cache<TenantId, Arc<Opened>>>,
}

/// A tenant's key, opened.
struct Opened {
    /// The record's member that it was opened from.
    sealed: String,
    key: Arc<DataKey>,
    client_secrets: MacKey,
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
        self.opened(tenant).map(|opened| Arc::clone(&opened.key))
    }

    /// What is kept of a client's secret that was made of 256 random bits.
    pub fn client_secret_mac(
        &self,
        tenant: &Tenant,
        client: ClientId,
        secret: &SecretString,
    ) -> Result<[u8; 32], KeyError> {
        Ok(self.opened(tenant)?.client_secrets.tag(&[client.0.as_bytes(), secret.expose().as_bytes()]))
    }

    fn opened(&self, tenant: &Tenant) -> Result<Arc<Opened>, KeyError> {
        if let Some(opened) = self.opened.get(&tenant.id).filter(|opened| opened.sealed == tenant.sealed_kek) {
            return Ok(opened);
        }
        let sealed = b64::decode_lax(&tenant.sealed_kek).ok_or(KeyError::SealedForm)?;
        let key = self.root.unwrap(&SealedKey::from_bytes(&sealed)?, &binding(tenant.id))?;
        let client_secrets = key.mac_key(CLIENT_SECRETS);
        let opened = Arc::new(Opened { sealed: tenant.sealed_kek.clone(), key: Arc::new(key), client_secrets });
        self.opened.insert(tenant.id, Arc::clone(&opened));
        Ok(opened)
    }
}

fn binding(tenant: TenantId) -> Vec<u8> {
    aad(&["tenant-kek", &tenant.to_string()])
}

#[cfg(test)]
mod tests {
    use denizen_wire::UnixTime;

    use super::*;

    const ONE: TenantId = TenantId(uuid::Uuid::from_u128(1));
    const TWO: TenantId = TenantId(uuid::Uuid::from_u128(2));

    fn keys() -> KeyEncryptionKeys {
        let place = tempfile::tempdir().unwrap();
        KeyEncryptionKeys::new(RootKey::load_or_create(&place.path().canonicalize().unwrap().join("root.key")).unwrap())
    }

    fn tenant(id: TenantId, sealed_kek: String) -> Tenant {
        Tenant { id, domain: "a.test".into(), display_name: "A".into(), sealed_kek, created: UnixTime(0) }
    }

    #[test]
    fn a_tenants_key_opens_for_that_tenant_alone() {
        let keys = keys();
        let sealed = keys.create(ONE);
        let key = keys.open(&tenant(ONE, sealed.clone())).unwrap();
        let wrapped = DataKey::generate().wrap_with(&key, b"x");
        assert!(DataKey::unwrap_with(&keys.open(&tenant(ONE, sealed.clone())).unwrap(), &wrapped, b"x").is_ok());
        assert_eq!(keys.open(&tenant(TWO, sealed)).err(), Some(KeyError::Open));
        // What was opened of another record is not taken for this one's.
        let other = keys.open(&tenant(ONE, keys.create(ONE))).unwrap();
        assert!(DataKey::unwrap_with(&other, &wrapped, b"x").is_err());
        assert_eq!(keys.open(&tenant(ONE, "nonsense".into())).err(), Some(KeyError::SealedForm));
    }

    #[test]
    fn d34_a_secret_is_kept_for_its_client_of_its_tenant() {
        let keys = keys();
        let (one, two) = (tenant(ONE, keys.create(ONE)), tenant(TWO, keys.create(TWO)));
        let mac = |tenant, client, secret: &str| {
            keys.client_secret_mac(tenant, ClientId(uuid::Uuid::from_u128(client)), &secret.into()).unwrap()
        };
        let kept = mac(&one, 7, "s");
        assert_eq!(mac(&one, 7, "s"), kept);
        for other in [mac(&two, 7, "s"), mac(&one, 8, "s"), mac(&one, 7, "t"), mac(&one, 7, "")] {
            assert_ne!(other, kept);
        }
        // After a restart, and whatever else is derived from the tenant's key.
        let again = KeyEncryptionKeys { root: Arc::clone(&keys.root), opened: Arc::new(Cache::new(1)) };
        assert_eq!(again.client_secret_mac(&one, ClientId(uuid::Uuid::from_u128(7)), &"s".into()), Ok(kept));
        let key = keys.open(&one).unwrap();
        let expected = key.mac_key("client secrets").tag(&[uuid::Uuid::from_u128(7).as_bytes(), b"s"]);
        assert_eq!(kept, expected, "secrets that are out depend on it");
    }
}
