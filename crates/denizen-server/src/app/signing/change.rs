//! Makes signing keys, writes their times, and destroys those that leave: by schedule and by command.
//!
//! What is due is decided in [`rotation`], for the keys of each algorithm by themselves.
//!
//! Tests: `tests.rs` beside this file.

use std::sync::Arc;

use denizen_keys::{
    Custody, Signer, b64,
    envelope::{self, DataKey},
    x509,
};
use denizen_wire::{Causes, TenantId, UnixTime};
use tokio::task::spawn_blocking;

use super::{KeyRing, OpenKey, SigningError, binding};
use crate::{
    app::access::Authorization,
    domain::{
        directory::{SigningAlgorithm, SigningKey},
        rotation::{self, Policy, Step},
    },
    store::{StoreError, Write},
};

/// What rotation is audited as.
const ROTATE: &str = "Denizen.Directory/tenants/signingKeys/write";
/// A certificate outlives its key's use by far: nobody checks its dates, but a validator that did would not be the
/// one to stop a key.
const CERTIFICATE_LIFETIME: i64 = 5 * 365 * 24 * 3600;
/// What the keys are changed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// What is due.
    Schedule,
    /// The keys that sign stop, by command.
    Rotate,
    /// Every key goes, by command.
    ReplaceAll,
}

impl KeyRing {
    /// Does what is due, or what a command asks for.
    ///
    /// # Errors
    /// The first that fails; nothing is changed then.
    pub(super) async fn change(&self, authorization: &Authorization, change: Change) -> Result<(), SigningError> {
        authorization.check(ROTATE, authorization.tenant(), &["/"])?;
        let (tenant, now) = (authorization.tenant(), authorization.now());
        let _one_at_a_time = self.ring.changing.lock().await;
        for _attempt in 0..3 {
            let snapshot = self.ring.store.snapshot();
            let before = snapshot.signing_keys(tenant);
            let mut steps = steps(change, before, now, &self.ring.policy);
            if change != Change::ReplaceAll && !self.ring.store.trusts(now) {
                // By a clock that was set, the key that signs may look long past its end.
                steps.retain(|(_, step)| !matches!(step, Step::Forget { .. }));
            }
            if steps.is_empty() {
                return Ok(());
            }
            let record = snapshot.tenant(tenant).ok_or(SigningError::NoTenant)?;
            let kek = self.ring.key_encryption_keys.open(record)?;
            // Keys are made before the write lock is taken: that takes long, and nobody else should wait for it.
            let (mut put, mut forget, mut made) = (Vec::new(), Vec::new(), Vec::new());
            for (algorithm, step) in steps {
                match step {
                    Step::Make { signs_from } => {
                        let custody = self.ring.custody.clone();
                        let new = New { tenant, algorithm, now, signs_from };
                        let (key, signer) = make(new, custody, Arc::clone(&kek)).await?;
                        put.push(key);
                        made.push(signer);
                    }
                    Step::Retime { kid, signs_from, signs_until, published_until } => {
                        if let Some(key) = before.iter().find(|key| key.kid == kid) {
                            put.push(SigningKey { signs_from, signs_until, published_until, ..SigningKey::clone(key) });
                        }
                    }
                    Step::Forget { kid } => forget.push(kid),
                }
            }
            let gone = before.iter().filter(|key| forget.contains(&key.kid));
            let gone: Vec<Signer> =
                gone.filter_map(|key| OpenKey::open(key, &kek, &self.ring.custody).ok()?.signer).collect();
            let (put, forget) = (&put, &forget);
            let is_committed = self
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
                .await?;
            // Their rows are gone, or were never written. (Of a write that failed it is not known which: then a key is
            // left where it is, that nobody names.)
            destroy(if is_committed { gone } else { made }).await;
            if is_committed {
                return Ok(());
            }
        }
        Err(SigningError::Contended)
    }
}

/// What is to be done, of the keys of each algorithm by themselves.
fn steps(change: Change, keys: &[Arc<SigningKey>], now: UnixTime, policy: &Policy) -> Vec<(SigningAlgorithm, Step)> {
    let of = |algorithm| {
        let keys: Vec<Arc<SigningKey>> = keys.iter().filter(|key| key.alg == algorithm).map(Arc::clone).collect();
        let steps = match change {
            Change::Schedule => rotation::plan(&keys, now, policy),
            Change::Rotate => rotation::rotate(&keys, now, policy),
            Change::ReplaceAll => rotation::replace_all(&keys, now, policy),
        };
        steps.into_iter().map(move |step| (algorithm, step))
    };
    SigningAlgorithm::ALL.into_iter().flat_map(of).collect()
}

/// A key that is to be made.
struct New {
    tenant: TenantId,
    algorithm: SigningAlgorithm,
    now: UnixTime,
    signs_from: UnixTime,
}

/// Makes a key, sealed. RSA generation takes up to seconds, and a device longer: not on a runtime worker.
async fn make(new: New, custody: Custody, kek: Arc<DataKey>) -> Result<(SigningKey, Signer), SigningError> {
    spawn_blocking(move || {
        let New { tenant, algorithm, now, signs_from } = new;
        let signer = custody.make(algorithm.keys())?;
        let name = format!("Denizen token signing {tenant}");
        let certificate = x509::self_signed(&signer, &name, now.0, (signs_from + CERTIFICATE_LIFETIME).0)?;
        let kid = certificate.kid();
        let data_key = DataKey::generate();
        let wrapped = data_key.wrap_with(&kek, &binding("signing-key-dek", tenant, &kid));
        let sealed = envelope::seal(&data_key, signer.kept()?.expose(), &binding("signing-key", tenant, &kid));
        let key = SigningKey {
            tenant,
            kid,
            alg: algorithm,
            certificate: b64::standard(certificate.der()),
            sealed: format!("{}.{}", b64::standard(&wrapped), b64::standard(&sealed)),
            created: now,
            signs_from,
            signs_until: None,
            published_until: None,
        };
        Ok((key, signer))
    })
    .await
    .map_err(SigningError::Unfinished)?
}

/// Destroys keys that nobody names any more, where they are kept outside of their rows.
async fn destroy(signers: Vec<Signer>) {
    let signers: Vec<Signer> = signers.into_iter().filter(Signer::may_wait).collect();
    if signers.is_empty() {
        return;
    }
    let destroying = spawn_blocking(move || {
        for signer in signers {
            if let Err(error) = signer.destroy() {
                tracing::error!(error = %Causes(&error), "a signing key that is not used any more is left in its device");
            }
        }
    });
    if let Err(error) = destroying.await {
        tracing::error!(error = %Causes(&error), "signing keys that are not used any more may be left in their device");
    }
}
