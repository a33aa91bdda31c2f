//! Hashing what people choose: off the runtime's threads, few at a time.
//!
//! The turns are those of every slow hash ([`super::hashing`]). Tests: with `users.rs` and `sign_in.rs`, which are all that use it.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering},
};

use denizen_keys::{SecretString, password, random};
use tokio::task::JoinError;

use super::hashing::{Busy, Hashing};

/// What is hashed where there is nothing to compare with, so that it takes as long.
static NOBODYS: LazyLock<String> = LazyLock::new(|| password::hash(&random::token(32)));

/// The turns. Clones share them.
#[derive(Clone)]
pub struct Passwords {
    hashing: Hashing,
    computed: Arc<AtomicU64>,
}

/// Why nothing was hashed.
#[derive(Debug, thiserror::Error)]
pub enum Unhashed {
    /// Too many are waiting.
    #[error("The service is verifying as many passwords as it can; ask again in a second.")]
    Busy,
    /// It did not end: our fault.
    #[error("The service could not verify the password; ask again in a second.")]
    Unfinished(#[source] JoinError),
}

impl Passwords {
    /// With the turns of `hashing`.
    pub fn new(hashing: Hashing) -> Self {
        Self { hashing, computed: Arc::new(AtomicU64::new(0)) }
    }

    /// A hash to keep.
    ///
    /// # Errors
    /// [`Unhashed`].
    pub async fn hash(&self, secret: &SecretString) -> Result<String, Unhashed> {
        let secret = secret.clone();
        self.run(move || password::hash(&secret)).await
    }

    /// Whether it is what was hashed. Where nothing was, it takes as long, and is not.
    ///
    /// # Errors
    /// [`Unhashed`].
    pub async fn verify(&self, secret: &SecretString, hash: Option<&str>) -> Result<bool, Unhashed> {
        let (secret, hash) = (secret.clone(), hash.map(str::to_owned));
        self.run(move || match hash {
            Some(hash) => password::verify(&secret, &hash),
            None => {
                let _nobodys = password::verify(&secret, &NOBODYS);
                false
            }
        })
        .await
    }

    /// How many were computed.
    pub fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(&self, compute: impl FnOnce() -> T + Send + 'static) -> Result<T, Unhashed> {
        let turn = self.hashing.turn().await.map_err(|Busy| Unhashed::Busy)?;
        self.computed.fetch_add(1, Ordering::Relaxed);
        turn.run(compute).await.map_err(Unhashed::Unfinished)
    }
}
