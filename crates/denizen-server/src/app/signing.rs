//! The keys that sign tokens: kept sealed in the store, opened once, rotated by schedule and by command.
//!
//! When a key is made, signs and leaves is decided in [`rotation`]; here it is done. A private key is sealed under a
//! data key of its own, which the tenant's key-encryption key wraps, so changing the latter re-wraps 32 bytes a key.
//!
//! Issuing reads the opened keys from behind one pointer; they are opened again only when the snapshot says that a
//! signing key has changed.
//!
//! Tests: `tests.rs` beside this file.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use denizen_keys::{
    Algorithm, KeyError, RsaBits, RsaPublic, Signer, b64,
    envelope::{self, DataKey, aad},
    jwk::RsaJwk,
    jws,
    mac::MacKey,
    x509::{self, Certificate},
};
use denizen_wire::{Causes, TenantId, UnixTime};

use super::{
    access::{Authorization, WrongAuthorization},
    key_encryption_keys::KeyEncryptionKeys,
};
use crate::{
    domain::{
        directory::{SigningKey, TokenVersion},
        rotation::{self, Policy, Step},
    },
    store::{Revision, Snapshot, Store, StoreError, Write},
};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

/// What rotation is audited as.
const ROTATE: &str = "Denizen.Directory/tenants/signingKeys/write";
/// A certificate outlives its key's use by far: nobody checks its dates, but a validator that did would not be the
/// one to stop a key.
const CERTIFICATE_LIFETIME: i64 = 5 * 365 * 24 * 3600;

/// Opens, uses and rotates signing keys.
#[derive(Clone)]
pub struct KeyRing {
    ring: Arc<Ring>,
}

struct Ring {
    store: Store,
    key_encryption_keys: KeyEncryptionKeys,
    policy: Policy,
    opened: ArcSwap<HashMap<TenantId, Arc<TenantKeys>>>,
    /// One change at a time in this process; among replicas the transaction decides.
    changing: tokio::sync::Mutex<()>,
}

/// Why there is no signature, or no new key.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// No such tenant.
    #[error("the tenant does not exist")]
    NoTenant,
    /// The tenant has no key that signs.
    #[error("the tenant has no signing key yet")]
    NoKey,
    /// A key cannot be opened, made or used.
    #[error("a signing key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// What is kept of a key has another form than the one this release writes.
    #[error("the signing key {0} is not kept in a form this release knows")]
    Form(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was called with the authorization of another operation: our fault.
    #[error(transparent)]
    Authorization(#[from] WrongAuthorization),
    /// A new key's computation did not end: our fault.
    #[error("a new signing key was not made")]
    Unfinished(#[source] tokio::task::JoinError),
    /// Others changed the keys at the same time, again and again.
    #[error("the signing keys were changed by others meanwhile; try again")]
    Contended,
}

/// A tenant's keys, opened.
pub struct TenantKeys {
    revision: Revision,
    keys: Vec<OpenKey>,
}

/// One key, opened.
pub struct OpenKey {
    record: Arc<SigningKey>,
    public: RsaPublic,
    /// None when the private half does not open: then the key is published and does not sign.
    signer: Option<Signer>,
    header_v1: String,
    header_v2: String,
}

impl AsRef<SigningKey> for OpenKey {
    fn as_ref(&self) -> &SigningKey {
        &self.record
    }
}

/// A token, and the key that signed it.
#[derive(Debug)]
pub struct Signed<'a> {
    /// The JWT.
    pub token: String,
    /// The key's name.
    pub kid: &'a str,
}

impl KeyRing {
    /// Creates the key ring of a store; `key_encryption_keys` opens what is kept there.
    pub fn new(store: Store, key_encryption_keys: KeyEncryptionKeys) -> Self {
        Self::with_policy(store, key_encryption_keys, Policy::default())
    }

    /// Creates one with another schedule than the usual one.
    pub fn with_policy(store: Store, key_encryption_keys: KeyEncryptionKeys, policy: Policy) -> Self {
        let changing = tokio::sync::Mutex::default();
        Self { ring: Arc::new(Ring { store, key_encryption_keys, policy, opened: ArcSwap::default(), changing }) }
    }

    /// The key for tags of one purpose in a tenant.
    pub fn mac_key(&self, snapshot: &Snapshot, tenant: TenantId, purpose: &str) -> Result<MacKey, SigningError> {
        let record = snapshot.tenant(tenant).ok_or(SigningError::NoTenant)?;
        Ok(self.ring.key_encryption_keys.open(record)?.mac_key(purpose))
    }

    /// A tenant's keys as this snapshot has them.
    pub fn keys(&self, snapshot: &Snapshot, tenant: TenantId) -> Result<Arc<TenantKeys>, SigningError> {
        let revision = snapshot.signing_revision();
        let opened = self.ring.opened.load();
        let before = opened.get(&tenant);
        if let Some(keys) = before.filter(|keys| keys.revision == revision) {
            return Ok(Arc::clone(keys));
        }
        let record = snapshot.tenant(tenant).ok_or(SigningError::NoTenant)?;
        let mut kek = None;
        let keys = snapshot
            .signing_keys(tenant)
            .iter()
            .map(|key| match before.and_then(|before| before.find(key)) {
                Some(open) => Ok(open.with_times_of(key)),
                None => {
                    let kek = match &kek {
                        Some(kek) => kek,
                        None => kek.insert(self.ring.key_encryption_keys.open(record)?),
                    };
                    OpenKey::open(key, kek)
                }
            })
            .collect::<Result<_, SigningError>>()?;
        let keys = Arc::new(TenantKeys { revision, keys });
        self.ring.opened.rcu(|opened| {
            let mut opened = HashMap::clone(opened);
            opened.insert(tenant, Arc::clone(&keys));
            opened
        });
        Ok(keys)
    }

    /// Does what the schedule asks for now, if anything.
    ///
    /// # Errors
    /// The first that fails; nothing is changed then.
    pub async fn ensure_keys(&self, authorization: &Authorization) -> Result<(), SigningError> {
        self.change(authorization, rotation::plan).await
    }

    /// Makes the key that signs stop now, by command. Its successor, which is published already, signs from here on.
    ///
    /// # Errors
    /// The first that fails; nothing is changed then.
    pub async fn rotate(&self, authorization: &Authorization) -> Result<(), SigningError> {
        self.change(authorization, rotation::rotate).await
    }

    /// The published keys of a tenant, each naming `issuer` as the one it signs for, where the document has issuers.
    pub fn jwks(
        &self,
        snapshot: &Snapshot,
        tenant: TenantId,
        now: UnixTime,
        issuer: Option<&str>,
    ) -> Result<Vec<RsaJwk>, SigningError> {
        let keys = self.keys(snapshot, tenant)?;
        Ok(keys.published(now).map(|key| key.jwk(issuer)).collect())
    }

    async fn change(
        &self,
        authorization: &Authorization,
        decide: impl Fn(&[Arc<SigningKey>], UnixTime, &Policy) -> Vec<Step> + Sync,
    ) -> Result<(), SigningError> {
        authorization.check(ROTATE, authorization.tenant(), &["/"])?;
        let (tenant, now) = (authorization.tenant(), authorization.now());
        let _one_at_a_time = self.ring.changing.lock().await;
        for _attempt in 0..3 {
            let snapshot = self.ring.store.snapshot();
            let before = snapshot.signing_keys(tenant);
            let mut steps = decide(before, now, &self.ring.policy);
            if !self.ring.store.trusts(now) {
                // By a clock that was set, the key that signs may look long past its end.
                steps.retain(|step| !matches!(step, Step::Forget { .. }));
            }
            if steps.is_empty() {
                return Ok(());
            }
            let record = snapshot.tenant(tenant).ok_or(SigningError::NoTenant)?;
            let kek = self.ring.key_encryption_keys.open(record)?;
            // Keys are made before the write lock is taken: that takes long, and nobody else should wait for it.
            let mut put = Vec::new();
            let mut forget = Vec::new();
            for step in steps {
                match step {
                    Step::Make { signs_from } => put.push(make(tenant, now, signs_from, Arc::clone(&kek)).await?),
                    Step::Retime { kid, signs_from, signs_until, published_until } => {
                        if let Some(key) = before.iter().find(|key| key.kid == kid) {
                            put.push(SigningKey { signs_from, signs_until, published_until, ..SigningKey::clone(key) });
                        }
                    }
                    Step::Forget { kid } => forget.push(kid),
                }
            }
            let (put, forget) = (&put, &forget);
            if self
                .ring
                .store
                .write(authorization, |tx| {
                    Box::pin(async move {
                        if tx.snapshot().signing_keys(tenant) != before {
                            return Ok(Write::Unchanged(false));
                        }
                        for key in put {
                            tx.put(key).await?;
                        }
                        for kid in forget {
                            tx.remove::<SigningKey>(kid).await?;
                        }
                        let kids = |keys: Vec<&str>| keys.join(" ");
                        Ok::<_, StoreError>(Write::commit(ROTATE, tenant.to_string(), true).detail(serde_json::json!({
                            "written": kids(put.iter().map(|key| key.kid.as_str()).collect()),
                            "forgotten": kids(forget.iter().map(String::as_str).collect()),
                        })))
                    })
                })
                .await?
            {
                return Ok(());
            }
        }
        Err(SigningError::Contended)
    }
}

impl TenantKeys {
    /// Signs a token with the key whose turn it is.
    pub fn sign(&self, claims_json: &str, version: TokenVersion, now: UnixTime) -> Result<Signed<'_>, SigningError> {
        let key = rotation::signing(&self.keys, now).ok_or(SigningError::NoKey)?;
        let signer = key.signer.as_ref().ok_or(KeyError::Signing)?;
        let header = match version {
            TokenVersion::V1 => &key.header_v1,
            TokenVersion::V2 => &key.header_v2,
        };
        let token = jws::sign_compact(signer, Algorithm::Rs256, header, claims_json)?;
        Ok(Signed { token, kid: &key.record.kid })
    }

    /// The keys that are published now.
    pub fn published(&self, now: UnixTime) -> impl Iterator<Item = &OpenKey> {
        self.keys.iter().filter(move |key| rotation::is_published(&key.record, now))
    }

    fn find(&self, record: &SigningKey) -> Option<&OpenKey> {
        self.keys.iter().find(|key| key.record.kid == record.kid && key.record.sealed == record.sealed)
    }
}

impl OpenKey {
    /// Its name.
    pub fn kid(&self) -> &str {
        &self.record.kid
    }

    /// Its public half.
    pub fn public(&self) -> &RsaPublic {
        &self.public
    }

    fn jwk(&self, issuer: Option<&str>) -> RsaJwk {
        RsaJwk {
            x5t: Some(self.record.kid.clone()),
            x5c: vec![self.record.certificate.clone()],
            issuer: issuer.map(str::to_owned),
            ..RsaJwk::signing(&self.public, &self.record.kid, Some(Algorithm::Rs256))
        }
    }

    fn open(record: &Arc<SigningKey>, kek: &DataKey) -> Result<Self, SigningError> {
        let form = || SigningError::Form(record.kid.clone());
        let der = b64::decode_standard(&record.certificate).ok_or_else(form)?;
        let public = Certificate::from_der(&der)?.public_key()?;
        let signer = match unseal(record, kek) {
            Ok(signer) if signer.public() == &public => Some(signer),
            Ok(_) => {
                tracing::error!(
                    kid = record.kid,
                    "a signing key is not the one its certificate names; it will not sign"
                );
                None
            }
            Err(error) => {
                tracing::error!(kid = record.kid, error = %Causes(&error), "a signing key does not open; it will not sign");
                None
            }
        };
        let kid = &record.kid;
        Ok(Self {
            record: Arc::clone(record),
            public,
            signer,
            // Entra writes x5t into v1.0 tokens only. A kid is base64url, so it needs no escaping.
            header_v1: format!(r#"{{"typ":"JWT","alg":"RS256","x5t":"{kid}","kid":"{kid}"}}"#),
            header_v2: format!(r#"{{"typ":"JWT","alg":"RS256","kid":"{kid}"}}"#),
        })
    }

    fn with_times_of(&self, record: &Arc<SigningKey>) -> Self {
        Self {
            record: Arc::clone(record),
            public: self.public.clone(),
            signer: self.signer.clone(),
            header_v1: self.header_v1.clone(),
            header_v2: self.header_v2.clone(),
        }
    }
}

/// Makes a key, sealed. RSA generation takes up to seconds: not on a runtime worker.
async fn make(
    tenant: TenantId,
    now: UnixTime,
    signs_from: UnixTime,
    kek: Arc<DataKey>,
) -> Result<SigningKey, SigningError> {
    tokio::task::spawn_blocking(move || {
        let signer = Signer::generate_rsa(RsaBits::B2048)?;
        let name = format!("Denizen token signing {tenant}");
        let certificate = x509::self_signed(&signer, &name, now.0, (signs_from + CERTIFICATE_LIFETIME).0)?;
        let kid = certificate.kid();
        let data_key = DataKey::generate();
        let wrapped = data_key.wrap_with(&kek, &binding("signing-key-dek", tenant, &kid));
        let sealed = envelope::seal(&data_key, signer.to_pkcs8()?.expose(), &binding("signing-key", tenant, &kid));
        Ok(SigningKey {
            tenant,
            kid,
            certificate: b64::standard(certificate.der()),
            sealed: format!("{}.{}", b64::standard(&wrapped), b64::standard(&sealed)),
            created: now,
            signs_from,
            signs_until: None,
            published_until: None,
        })
    })
    .await
    .map_err(SigningError::Unfinished)?
}

fn unseal(record: &SigningKey, kek: &DataKey) -> Result<Signer, SigningError> {
    let form = || SigningError::Form(record.kid.clone());
    let (wrapped, sealed) = record.sealed.split_once('.').ok_or_else(form)?;
    let wrapped = b64::decode_standard(wrapped).ok_or_else(form)?;
    let sealed = b64::decode_standard(sealed).ok_or_else(form)?;
    let data_key = DataKey::unwrap_with(kek, &wrapped, &binding("signing-key-dek", record.tenant, &record.kid))?;
    let pkcs8 = envelope::open(&data_key, &sealed, &binding("signing-key", record.tenant, &record.kid))?;
    Ok(Signer::from_pkcs8(&pkcs8)?)
}

fn binding(what: &str, tenant: TenantId, kid: &str) -> Vec<u8> {
    aad(&[what, &tenant.to_string(), kid])
}
