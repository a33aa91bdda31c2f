//! The keys that sign tokens: kept sealed in the store, opened once, rotated by schedule and by command.
//!
//! When a key is made, signs and leaves is decided in [`rotation`], for the keys of each algorithm by themselves; it is done
//! in `signing/change.rs`. What [`Custody`] keeps of a private key is sealed under a data key of its own, which the tenant's
//! key-encryption key wraps, so changing the latter re-wraps 32 bytes a key. Where the key is, is not known here.
//!
//! A signature of pure computation is made on the caller's thread: it is short, and the processors are what limits this
//! service. One that may wait for a device is made on a thread for that, few at a time and within a time limit: a device
//! that hangs takes a few threads, and everybody else is told to ask again.
//!
//! Issuing reads the opened keys from behind one pointer; they are opened again only when the snapshot says that a
//! signing key has changed.
//!
//! Tests: `signing/tests.rs`, and `signing/device_tests.rs` for keys in a device.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use denizen_keys::{
    Custody, KeyError, KeyKind, PublicKey, SecretBytes, Signer, b64,
    envelope::{self, DataKey, aad},
    jwk::Jwk,
    jws,
    mac::MacKey,
    x509::Certificate,
};
use denizen_serve::Sampler;
use denizen_wire::{Causes, TenantId, UnixTime};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::{
    access::{Authorization, WrongAuthorization},
    key_encryption_keys::KeyEncryptionKeys,
};
use crate::{
    domain::{
        directory::{SigningAlgorithm, SigningKey, TokenVersion},
        rotation::{self, Policy},
    },
    store::{Revision, Snapshot, Store, StoreError},
};
use change::Change;

mod change;
#[cfg(test)]
mod device_tests;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

/// So many signatures may wait for a device at a time.
const WAITING_SIGNATURES: usize = 16;
/// A signature that waits for a device takes no longer, the wait for its turn included.
const SIGNATURE_TIMEOUT: Duration = Duration::from_secs(5);
/// So many tenants' keys are looked at for readiness: what is wrong with a device concerns all.
const CHECKED_TENANTS: usize = 16;
/// A device that does not sign is logged once in this time beside the requests that it fails.
const FAULT_PERIOD: Duration = Duration::from_secs(60);

/// When a key that was withdrawn stopped to sign and to be published: before any time that a clock gives.
const WITHDRAWN: UnixTime = UnixTime(i64::MIN);

/// Opens, uses and rotates signing keys.
#[derive(Clone)]
pub struct KeyRing {
    ring: Arc<Ring>,
}

/// Makes a key, on a thread that may wait for a device.
type MakeKey = Arc<dyn Fn(KeyKind) -> Result<Signer, KeyError> + Send + Sync>;

struct Ring {
    store: Store,
    key_encryption_keys: KeyEncryptionKeys,
    policy: Policy,
    custody: Custody,
    /// Makes keys in that custody: tests have devices that make some.
    make_key: MakeKey,
    waiting: Arc<Semaphore>,
    /// Who checks the device has it, until the device answers.
    checking: Arc<Semaphore>,
    /// Who destroys keys in the device has it, until the device answers.
    destroying: Arc<Semaphore>,
    check_faults: Sampler,
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
    /// Keys of one algorithm could not be made; what had to be done with the others is done.
    #[error("no new {0} keys were made, and everything else was done")]
    Partly(&'static str, #[source] Box<SigningError>),
    /// A new key's computation did not end: our fault.
    #[error("a new signing key was not made")]
    Unfinished(#[source] tokio::task::JoinError),
    /// The device that has the key did not sign in time, or too many wait for it.
    #[error("the signing key's device did not answer in time")]
    Late,
    /// A signature's computation did not end: our fault.
    #[error("a signature was not made")]
    Unsigned(#[source] tokio::task::JoinError),
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
    public: PublicKey,
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
pub struct Signed {
    /// The JWT.
    pub token: String,
    /// The key's name.
    pub kid: String,
}

impl KeyRing {
    /// Creates the key ring of a store; `key_encryption_keys` opens what is kept there. New keys are kept sealed.
    pub fn new(store: Store, key_encryption_keys: KeyEncryptionKeys) -> Self {
        Self::in_custody(store, key_encryption_keys, Custody::sealed())
    }

    /// The same, with new keys made and kept elsewhere.
    pub fn in_custody(store: Store, key_encryption_keys: KeyEncryptionKeys, custody: Custody) -> Self {
        let makes = custody.clone();
        let ring = Ring {
            store,
            key_encryption_keys,
            policy: Policy::default(),
            custody,
            make_key: Arc::new(move |kind| makes.make(kind)),
            waiting: Arc::new(Semaphore::new(WAITING_SIGNATURES)),
            checking: Arc::new(Semaphore::new(1)),
            destroying: Arc::new(Semaphore::new(1)),
            check_faults: Sampler::new(1, FAULT_PERIOD),
            opened: ArcSwap::default(),
            changing: tokio::sync::Mutex::default(),
        };
        Self { ring: Arc::new(ring) }
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
            .filter(|key| !is_withdrawn(key))
            .map(|key| match before.and_then(|before| before.find(key)) {
                Some(open) => Ok(open.with_times_of(key)),
                None => {
                    let kek = match &kek {
                        Some(kek) => kek,
                        None => kek.insert(self.ring.key_encryption_keys.open(record)?),
                    };
                    OpenKey::open(key, kek, &self.ring.custody)
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

    /// The names of a tenant's keys, but for those that were withdrawn.
    pub fn kids(snapshot: &Snapshot, tenant: TenantId) -> Vec<String> {
        let keys = snapshot.signing_keys(tenant).iter().filter(|key| !is_withdrawn(key));
        keys.map(|key| key.kid.clone()).collect()
    }

    /// The names of the keys that were taken out of use, and that their device has yet to destroy.
    pub fn withdrawn(snapshot: &Snapshot, tenant: TenantId) -> Vec<String> {
        let keys = snapshot.signing_keys(tenant).iter().filter(|key| is_withdrawn(key));
        keys.map(|key| key.kid.clone()).collect()
    }

    /// Does what the schedule asks for now, if anything.
    ///
    /// # Errors
    /// The first that fails; nothing is changed then. [`SigningError::Partly`] where the keys of one algorithm alone could not be
    /// made.
    pub async fn ensure_keys(&self, authorization: &Authorization) -> Result<(), SigningError> {
        self.change(authorization, Change::Schedule).await
    }

    /// Signs a token with the key of this algorithm whose turn it is, wherever that key is.
    ///
    /// # Errors
    /// There is no such key, or it does not sign now.
    pub async fn sign(
        &self,
        keys: &Arc<TenantKeys>,
        claims_json: String,
        version: TokenVersion,
        algorithm: SigningAlgorithm,
        now: UnixTime,
    ) -> Result<Signed, SigningError> {
        if !keys.signer(algorithm, now)?.1.may_wait() {
            return keys.sign(&claims_json, version, algorithm, now);
        }
        let keys = Arc::clone(keys);
        let waiting = async {
            // Never closed. The permit is let go by who signs: one that hangs keeps its place.
            let place = Arc::clone(&self.ring.waiting).acquire_owned().await.map_err(|_| SigningError::Late)?;
            let signing = spawn_blocking(move || {
                let _place = place;
                keys.sign(&claims_json, version, algorithm, now)
            });
            signing.await.map_err(SigningError::Unsigned)?
        };
        timeout(SIGNATURE_TIMEOUT, waiting).await.map_err(|_| SigningError::Late)?
    }

    /// Whether new keys can be made, and those whose turn it is can sign: the rule that is broken. The cause goes to the log.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn check(&self, now: UnixTime) -> Result<(), String> {
        let snapshot = self.ring.store.snapshot();
        let (mut broken, mut devices) = (None, Vec::new());
        for tenant in snapshot.tenants().take(CHECKED_TENANTS) {
            let Ok(keys) = self.keys(&snapshot, tenant.id) else { continue };
            for algorithm in SigningAlgorithm::ALL {
                match keys.signer(algorithm, now) {
                    Ok((_, signer)) if signer.may_wait() => devices.push(signer.clone()),
                    // Without any key, nothing is set up yet, or the schedule makes it.
                    Ok(_) | Err(SigningError::NoKey) => {}
                    Err(_) => broken = Some(keys.current_kid(algorithm, now)),
                }
            }
        }
        if let Some(kid) = broken.flatten() {
            return Err(format!("the signing key {kid} does not open, so it signs nothing; the log says why"));
        }
        let custody = self.ring.custody.clone();
        self.ask_device(move || {
            custody.check()?;
            devices.iter().try_for_each(Signer::check)
        })
        .await
    }

    /// Asks the device, unless it has not answered yet when it was asked before: whoever asks whether this server is ready needs
    /// no credential, does not wait for long, and would leave one more thread in a device that hangs.
    async fn ask_device(&self, ask: impl FnOnce() -> Result<(), KeyError> + Send + 'static) -> Result<(), String> {
        let Ok(place) = Arc::clone(&self.ring.checking).try_acquire_owned() else {
            return Err("the device of the signing keys has not answered since it was last asked".to_owned());
        };
        let asking = spawn_blocking(move || {
            let _place = place;
            ask()
        });
        let Err(error) = asking.await.map_err(|_| "the signing keys could not be looked at".to_owned())? else {
            return Ok(());
        };
        if let Some(held_back) = self.ring.check_faults.admit() {
            tracing::error!(error = %Causes(&error), held_back, "signing keys cannot be used");
        }
        Err("the device of the signing keys cannot be used, so no tokens are signed by it; the log says why".to_owned())
    }

    /// Makes the key that signs stop now, by command. Its successor, which is published already, signs from here on.
    ///
    /// # Errors
    /// The first that fails; nothing is changed then. [`SigningError::Partly`] where the keys of one algorithm alone could not be
    /// made.
    pub async fn rotate(&self, authorization: &Authorization) -> Result<(), SigningError> {
        self.change(authorization, Change::Rotate).await
    }

    /// Replaces every key of a tenant at once, because one may be in other hands. Whatever they signed is refused from here
    /// on, by every replica once it follows, and by others once they read the keys again.
    ///
    /// # Errors
    /// The first that fails; nothing is changed then. [`SigningError::Partly`] where the keys of one algorithm alone could not be
    /// made.
    pub async fn replace_all(&self, authorization: &Authorization) -> Result<(), SigningError> {
        self.change(authorization, Change::ReplaceAll).await
    }

    /// The published keys of a tenant, each naming `issuer` as the one it signs for, where the document has issuers.
    pub fn jwks(
        &self,
        snapshot: &Snapshot,
        tenant: TenantId,
        now: UnixTime,
        issuer: Option<&str>,
    ) -> Result<Vec<Jwk>, SigningError> {
        let keys = self.keys(snapshot, tenant)?;
        Ok(keys.published(now).map(|key| key.jwk(issuer)).collect())
    }
}

impl TenantKeys {
    /// Signs a token with the key of this algorithm whose turn it is, on this thread: it may wait for a device. Before the first
    /// turn of the algorithm's keys the usual algorithm's key signs.
    ///
    /// # Errors
    /// There is no such key, or it does not sign now.
    pub fn sign(
        &self,
        claims_json: &str,
        version: TokenVersion,
        algorithm: SigningAlgorithm,
        now: UnixTime,
    ) -> Result<Signed, SigningError> {
        let (key, signer) = self.signer(algorithm, now)?;
        let header = match version {
            TokenVersion::V1 => &key.header_v1,
            TokenVersion::V2 => &key.header_v2,
        };
        let token = jws::sign_compact(signer, key.record.alg.in_tokens(), header, claims_json)?;
        Ok(Signed { token, kid: key.record.kid.clone() })
    }

    fn signer(&self, algorithm: SigningAlgorithm, now: UnixTime) -> Result<(&OpenKey, &Signer), SigningError> {
        let key = self.current(algorithm, now).ok_or(SigningError::NoKey)?;
        Ok((key, key.signer.as_ref().ok_or(KeyError::Signing)?))
    }

    /// The key whose turn it is. Before the first turn of an algorithm, whose keys resources may not have read yet, it is that of
    /// the usual algorithm, which every resource reads.
    fn current(&self, algorithm: SigningAlgorithm, now: UnixTime) -> Option<&OpenKey> {
        let of = |algorithm| {
            // Few, and in no order that would help.
            let of_algorithm: Vec<&OpenKey> = self.keys.iter().filter(|key| key.record.alg == algorithm).collect();
            rotation::signing(&of_algorithm, now).copied()
        };
        let usual = SigningAlgorithm::default();
        let key = of(algorithm)?;
        if algorithm != usual && key.record.signs_from > now { of(usual).or(Some(key)) } else { Some(key) }
    }

    fn current_kid(&self, algorithm: SigningAlgorithm, now: UnixTime) -> Option<String> {
        self.current(algorithm, now).map(|key| key.record.kid.clone())
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
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    fn jwk(&self, issuer: Option<&str>) -> Jwk {
        Jwk::certified(&self.public, &self.record.kid, vec![self.record.certificate.clone()], issuer)
    }

    fn open(record: &Arc<SigningKey>, kek: &DataKey, custody: &Custody) -> Result<Self, SigningError> {
        let public = public_half(record)?;
        let algorithm = record.alg.in_tokens();
        let signer = match private_half(record, &public, kek, custody) {
            Ok(signer) => Some(signer),
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
            header_v1: format!(r#"{{"typ":"JWT","alg":"{}","x5t":"{kid}","kid":"{kid}"}}"#, algorithm.name()),
            header_v2: format!(r#"{{"typ":"JWT","alg":"{}","kid":"{kid}"}}"#, algorithm.name()),
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

fn public_half(record: &SigningKey) -> Result<PublicKey, SigningError> {
    let der = b64::decode_standard(&record.certificate).ok_or_else(|| SigningError::Form(record.kid.clone()))?;
    Ok(Certificate::from_der(&der)?.any_public_key()?)
}

fn private_half(
    record: &SigningKey,
    public: &PublicKey,
    kek: &DataKey,
    custody: &Custody,
) -> Result<Signer, SigningError> {
    let kept = unseal(record, kek)?;
    if public.token_algorithm() != record.alg.in_tokens() {
        return Err(KeyError::PrivateKey("it is of another family than its algorithm").into());
    }
    Ok(custody.open(&kept, public)?)
}

/// Whether a key was taken out of use, and is kept only until its device has destroyed it.
fn is_withdrawn(key: &SigningKey) -> bool {
    key.published_until == Some(WITHDRAWN)
}

/// What `Custody` kept of a key.
fn unseal(record: &SigningKey, kek: &DataKey) -> Result<SecretBytes, SigningError> {
    let form = || SigningError::Form(record.kid.clone());
    let (wrapped, sealed) = record.sealed.split_once('.').ok_or_else(form)?;
    let wrapped = b64::decode_standard(wrapped).ok_or_else(form)?;
    let sealed = b64::decode_standard(sealed).ok_or_else(form)?;
    let data_key = DataKey::unwrap_with(kek, &wrapped, &binding("signing-key-dek", record.tenant, &record.kid))?;
    Ok(envelope::open(&data_key, &sealed, &binding("signing-key", record.tenant, &record.kid))?)
}

fn binding(what: &str, tenant: TenantId, kid: &str) -> Vec<u8> {
    aad(&[what, &tenant.to_string(), kid])
}
