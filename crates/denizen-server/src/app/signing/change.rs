//! Makes signing keys, writes their times, and destroys those that leave: by schedule and by command.
//!
//! What is due is decided in [`rotation`], for the keys of each algorithm by themselves.
//!
//! A key that leaves goes with its row, where the row has it. One in a device is *withdrawn* first: its row stays, signs nothing
//! and is published no more, until the device has destroyed the key. So whatever happens in between, and however long the device
//! is away, something names what is left there.
//!
//! Tests: `tests.rs` and `device_tests.rs` beside this file.

use std::{sync::Arc, time::Duration};

use denizen_keys::{
    Custody, KeyError, Signer, b64,
    envelope::{self, DataKey},
    x509,
};
use denizen_wire::{Causes, TenantId, UnixTime};
use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};

use super::{KeyRing, MakeKey, SigningError, WITHDRAWN, binding, is_withdrawn, private_half, public_half};
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

/// What is to be destroyed in a device is waited for no longer.
const DESTRUCTION_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// Does what is due, or what a command asks for; then destroys what left, and what was to be destroyed before.
    ///
    /// # Errors
    /// The first that fails; nothing is changed then. But [`SigningError::Partly`]. That a key could not be destroyed is no
    /// error: it stays withdrawn, and is tried again at the next change and by schedule.
    pub(super) async fn change(&self, authorization: &Authorization, change: Change) -> Result<(), SigningError> {
        authorization.check(ROTATE, authorization.tenant(), &["/"])?;
        let _one_at_a_time = self.ring.changing.lock().await;
        let done = self.change_rows(authorization, change).await;
        if let Err(error) = self.destroy_withdrawn(authorization).await {
            let tenant = authorization.tenant();
            tracing::error!(%tenant, error = %Causes(&error), "signing keys that are not used any more are left in their device; it is tried again in an hour");
        }
        done
    }

    async fn change_rows(&self, authorization: &Authorization, change: Change) -> Result<(), SigningError> {
        let (tenant, now) = (authorization.tenant(), authorization.now());
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
            let Prepared { put, forget, made, unmade } = self.prepare(&steps, before, &kek, (tenant, now)).await?;
            if put.is_empty() && forget.is_empty() {
                return said_of(unmade, before);
            }
            let leaving = before.iter().filter(|key| forget.contains(&key.kid));
            let (withdrawn, removed): (Vec<_>, Vec<_>) =
                leaving.partition(|key| is_in_device(key, &kek, &self.ring.custody));
            let withdrawn: Vec<SigningKey> = withdrawn.into_iter().map(|key| withdrawn_of(key)).collect();
            let (put, withdrawn, removed) = (&put, &withdrawn, &removed);
            // A write that is given up may be kept all the same.
            let made = made.into_signers();
            let written = self
                .ring
                .store
                .write(authorization, |tx| {
                    Box::pin(async move {
                        if tx.snapshot().signing_keys(tenant) != before {
                            return Ok(Write::Unchanged(false));
                        }
                        for key in put.iter().chain(withdrawn) {
                            tx.put(key).await?;
                        }
                        for key in removed {
                            tx.remove::<SigningKey>(&key.kid).await?;
                        }
                        let kids = |keys: Vec<&str>| keys.join(" ");
                        Ok::<_, StoreError>(Write::commit(ROTATE, tenant.to_string(), true).detail(serde_json::json!({
                            "written": kids(put.iter().map(|key| key.kid.as_str()).collect()),
                            "forgotten": kids(removed.iter().map(|key| key.kid.as_str()).collect()),
                            "withdrawn": kids(withdrawn.iter().map(|key| key.kid.as_str()).collect()),
                        })))
                    })
                })
                .await;
            match written {
                Ok(true) => return said_of(unmade, before),
                Ok(false) => destroy(made).await,
                Err(error) => {
                    if is_not_kept(&error) {
                        destroy(made).await;
                    } else if made.iter().any(Signer::may_wait) {
                        tracing::error!(%tenant, "it is not known whether new signing keys were written: those of them that were not are left in their device");
                    }
                    return Err(error.into());
                }
            }
        }
        Err(SigningError::Contended)
    }

    /// Destroys in their device the keys that were withdrawn, and removes the rows of those that are.
    ///
    /// # Errors
    /// The store's, or the device did not answer in time. That single keys are left is logged.
    async fn destroy_withdrawn(&self, authorization: &Authorization) -> Result<(), SigningError> {
        let (tenant, snapshot) = (authorization.tenant(), self.ring.store.snapshot());
        let withdrawn: Vec<_> = snapshot.signing_keys(tenant).iter().filter(|key| is_withdrawn(key)).collect();
        if withdrawn.is_empty() {
            return Ok(());
        }
        let kek = self.ring.key_encryption_keys.open(snapshot.tenant(tenant).ok_or(SigningError::NoTenant)?)?;
        let opened = withdrawn.into_iter().map(|key| {
            (key.kid.clone(), public_half(key).and_then(|public| private_half(key, &public, &kek, &self.ring.custody)))
        });
        let opened: Vec<(String, Result<Signer, SigningError>)> = opened.collect();
        // One that hangs keeps its thread, and gets no other.
        let place = Arc::clone(&self.ring.destroying).try_acquire_owned().map_err(|_| SigningError::Late)?;
        let destroying = spawn_blocking(move || {
            let _place = place;
            let destroy = |(kid, opened): (String, Result<Signer, SigningError>)| match opened
                .and_then(|signer| signer.destroy().map_err(SigningError::from))
            {
                Ok(()) => Some(kid),
                Err(error) => {
                    tracing::error!(%tenant, kid, error = %Causes(&error), "a signing key that is not used any more is left in its device; it is tried again in an hour");
                    None
                }
            };
            opened.into_iter().filter_map(destroy).collect::<Vec<String>>()
        });
        let destroyed = timeout(DESTRUCTION_TIMEOUT, destroying).await.map_err(|_| SigningError::Late)?;
        let destroyed = &destroyed.map_err(SigningError::Unfinished)?;
        let write = self.ring.store.write(authorization, |tx| {
            Box::pin(async move {
                let snapshot = tx.snapshot();
                let keys = snapshot.signing_keys(tenant).iter().filter(|key| is_withdrawn(key));
                let gone: Vec<&String> = keys.map(|key| &key.kid).filter(|kid| destroyed.contains(kid)).collect();
                if gone.is_empty() {
                    return Ok(Write::Unchanged(()));
                }
                for kid in &gone {
                    tx.remove::<SigningKey>(kid).await?;
                }
                let detail = serde_json::json!({ "destroyed": destroyed.join(" ") });
                Ok::<_, StoreError>(Write::commit(ROTATE, tenant.to_string(), ()).detail(detail))
            })
        });
        Ok(write.await?)
    }

    /// Makes the keys that the steps ask for. Each algorithm's are made, or none of them is and its keys stay as they are, but for
    /// those that leave.
    ///
    /// # Errors
    /// The keys that nearly every token is signed by cannot be made. Nothing is left of the others then.
    async fn prepare(
        &self,
        steps: &[(SigningAlgorithm, Step)],
        before: &[Arc<SigningKey>],
        kek: &Arc<DataKey>,
        (tenant, now): (TenantId, UnixTime),
    ) -> Result<Prepared, SigningError> {
        let mut prepared = Prepared::default();
        for algorithm in SigningAlgorithm::ALL {
            let steps = steps.iter().filter(|(of, _)| *of == algorithm).map(|(_, step)| step);
            let new = steps.clone().filter_map(|step| match step {
                Step::Make { signs_from } => Some(New { tenant, algorithm, now, signs_from: *signs_from }),
                Step::Retime { .. } | Step::Forget { .. } => None,
            });
            let is_made = match self.make_all(new, kek).await {
                Ok((keys, mut made)) => {
                    prepared.put.extend(keys);
                    prepared.made.0.append(&mut made.0);
                    true
                }
                // Some devices make no keys of elliptic curves.
                Err(error) if algorithm != SigningAlgorithm::default() => {
                    prepared.unmade = Some((algorithm, error));
                    false
                }
                Err(error) => {
                    prepared.made.destroy().await;
                    return Err(error);
                }
            };
            for step in steps {
                match step {
                    Step::Retime { kid, signs_from, signs_until, published_until } if is_made => {
                        let (signs_from, signs_until, published_until) = (*signs_from, *signs_until, *published_until);
                        let found = before.iter().filter(|key| key.kid == *kid);
                        prepared.put.extend(found.map(|key| SigningKey {
                            signs_from,
                            signs_until,
                            published_until,
                            ..SigningKey::clone(key)
                        }));
                    }
                    Step::Forget { kid } => prepared.forget.push(kid.clone()),
                    Step::Retime { .. } | Step::Make { .. } => {}
                }
            }
        }
        Ok(prepared)
    }

    /// Makes these keys, or none of them.
    ///
    /// # Errors
    /// The first that fails. Those that were made before it are destroyed.
    async fn make_all(
        &self,
        new: impl Iterator<Item = New>,
        kek: &Arc<DataKey>,
    ) -> Result<(Vec<SigningKey>, Made), SigningError> {
        let (mut keys, mut all) = (Vec::new(), Made::default());
        for new in new {
            match make(new, Arc::clone(&self.ring.make_key), Arc::clone(kek)).await {
                Ok((key, mut made)) => {
                    keys.push(key);
                    all.0.append(&mut made.0);
                }
                Err(error) => {
                    all.destroy().await;
                    return Err(error);
                }
            }
        }
        Ok((keys, all))
    }
}

/// Whether a device has the private half, also one that this server does not reach.
fn is_in_device(key: &SigningKey, kek: &DataKey, custody: &Custody) -> bool {
    match public_half(key).and_then(|public| private_half(key, &public, kek, custody)) {
        Ok(signer) => signer.may_wait(),
        Err(error) => matches!(error, SigningError::Key(KeyError::Device { .. })),
    }
}

/// The same key, of which nothing is left but that it is to be destroyed.
fn withdrawn_of(key: &SigningKey) -> SigningKey {
    SigningKey { signs_until: Some(WITHDRAWN), published_until: Some(WITHDRAWN), ..SigningKey::clone(key) }
}

/// Whether nothing of a write was kept, for certain.
fn is_not_kept(error: &StoreError) -> bool {
    matches!(error, StoreError::NotAuthorized | StoreError::Interrupted | StoreError::Aborted | StoreError::AuditFull)
}

/// What is said of an algorithm whose keys could not be made while the others were. Where there never were any, the device makes
/// none, and that was said before.
fn said_of(unmade: Option<(SigningAlgorithm, SigningError)>, before: &[Arc<SigningKey>]) -> Result<(), SigningError> {
    let Some((algorithm, error)) = unmade else { return Ok(()) };
    let name = algorithm.in_tokens().name();
    if before.iter().any(|key| key.alg == algorithm && !is_withdrawn(key)) {
        return Err(SigningError::Partly(name, Box::new(error)));
    }
    tracing::warn!(error = %Causes(&error), "no {name} keys can be made: an application that is set to {name} gets no tokens");
    Ok(())
}

/// What is to be done, of the keys of each algorithm by themselves.
///
/// Resources that have read a tenant's keys read them again a day later. So the first keys of an algorithm that comes to others
/// are published for as long as any key is before it signs, and no command brings their turn forward; the usual algorithm signs
/// until then.
fn steps(change: Change, keys: &[Arc<SigningKey>], now: UnixTime, policy: &Policy) -> Vec<(SigningAlgorithm, Step)> {
    let of = |algorithm| {
        let (of_it, others): (Vec<_>, Vec<_>) =
            keys.iter().filter(|key| !is_withdrawn(key)).map(Arc::clone).partition(|key| key.alg == algorithm);
        let may_wait = algorithm != SigningAlgorithm::default() && change != Change::ReplaceAll;
        let comes_later = may_wait && of_it.is_empty() && others.iter().any(|key| key.created < now);
        let waits = may_wait && !of_it.is_empty() && of_it.iter().all(|key| now < key.signs_from);
        let mut steps = match change {
            Change::Rotate if !waits => rotation::rotate(&of_it, now, policy),
            Change::Schedule | Change::Rotate => rotation::plan(&of_it, now, policy),
            Change::ReplaceAll => rotation::replace_all(&of_it, now, policy),
        };
        if comes_later {
            for step in &mut steps {
                if let Step::Make { signs_from } = step {
                    *signs_from = (*signs_from).max(now + policy.prepublish);
                }
            }
        }
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

/// What a change writes.
#[derive(Default)]
struct Prepared {
    put: Vec<SigningKey>,
    forget: Vec<String>,
    made: Made,
    /// An algorithm whose keys could not be made, and why.
    unmade: Option<(SigningAlgorithm, SigningError)>,
}

/// Keys that were made, and that no row names yet. Dropped, they are destroyed: whoever asked for them may have gone away.
#[derive(Default)]
struct Made(Vec<Signer>);

impl Made {
    async fn destroy(mut self) {
        destroy(std::mem::take(&mut self.0)).await;
    }

    fn into_signers(mut self) -> Vec<Signer> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let made = std::mem::take(&mut self.0);
        if let (false, Ok(runtime)) = (made.is_empty(), Handle::try_current()) {
            runtime.spawn(destroy(made));
        }
    }
}

/// Makes a key, sealed. RSA generation takes up to seconds, and a device longer: not on a runtime worker.
async fn make(new: New, make_key: MakeKey, kek: Arc<DataKey>) -> Result<(SigningKey, Made), SigningError> {
    let making = spawn_blocking(move || {
        let signer = make_key(new.algorithm.keys())?;
        match sealed(&new, &signer, &kek) {
            Ok(key) => Ok((key, Made(vec![signer]))),
            Err(error) => {
                destroy_each(&[signer]);
                Err(error)
            }
        }
    });
    making.await.map_err(SigningError::Unfinished)?
}

/// The row of a key that was made.
fn sealed(new: &New, signer: &Signer, kek: &DataKey) -> Result<SigningKey, SigningError> {
    let New { tenant, algorithm, now, signs_from } = *new;
    let name = format!("Denizen token signing {tenant}");
    let certificate = x509::self_signed(signer, &name, now.0, (signs_from + CERTIFICATE_LIFETIME).0)?;
    let kid = certificate.kid();
    let data_key = DataKey::generate();
    let wrapped = data_key.wrap_with(kek, &binding("signing-key-dek", tenant, &kid));
    let sealed = envelope::seal(&data_key, signer.kept()?.expose(), &binding("signing-key", tenant, &kid));
    Ok(SigningKey {
        tenant,
        kid,
        alg: algorithm,
        certificate: b64::standard(certificate.der()),
        sealed: format!("{}.{}", b64::standard(&wrapped), b64::standard(&sealed)),
        created: now,
        signs_from,
        signs_until: None,
        published_until: None,
    })
}

/// Destroys keys that nobody names any more, where they are kept outside of their rows.
async fn destroy(signers: Vec<Signer>) {
    let signers: Vec<Signer> = signers.into_iter().filter(Signer::may_wait).collect();
    if signers.is_empty() {
        return;
    }
    let destroying = spawn_blocking(move || destroy_each(&signers));
    if let Err(error) = destroying.await {
        tracing::error!(error = %Causes(&error), "signing keys that are not used any more may be left in their device");
    }
}

/// The same, on this thread, which may wait for a device.
fn destroy_each(signers: &[Signer]) {
    for signer in signers {
        if let Err(error) = signer.destroy() {
            tracing::error!(error = %Causes(&error), "a signing key that is not used any more is left in its device");
        }
    }
}
