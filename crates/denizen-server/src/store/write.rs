//! Writing: one closure is one transaction.
//!
//! [`Store::write`] is the only way to change something, and it takes a [`WriteProof`], which names the tenant, the
//! actor and the reason. The proof is asked again once the write lock is held, so a right that was lost while waiting
//! for the lock writes nothing.
//!
//! Tests: `write/tests.rs`; what a transaction keeps and what it does not is in the contract suite.

use std::{borrow::Cow, future::Future, pin::Pin};

use serde_json::Value;

use super::{AuditEvent, Outcome, RecordProof, Snapshot, Store, StoreError, Tx};
#[cfg(test)]
use crate::domain::Ctx;

#[cfg(test)]
mod tests;

/// How often a body is run at most.
const ATTEMPTS: u32 = 5;

/// Proof that somebody may change something of a tenant.
///
/// `app::access::Authorization` is the one implementation, and only `app::access` can make one. The layer check
/// refuses a second.
pub trait WriteProof: RecordProof {
    /// Why it is allowed, for the audit.
    fn reason(&self) -> &str;
    /// The action it allows, for the audit of a refusal.
    fn action(&self) -> &str;
    /// What it allows that on, for the same.
    fn target(&self) -> String;
    /// Whether it is still allowed in this state of the directory.
    fn still_holds(&self, snapshot: &Snapshot) -> bool;
}

/// A bare context is proof enough for a test's own set-up.
#[cfg(test)]
impl WriteProof for Ctx {
    fn reason(&self) -> &str {
        "test"
    }

    fn action(&self) -> &str {
        "test"
    }

    fn target(&self) -> String {
        "test".to_owned()
    }

    fn still_holds(&self, _: &Snapshot) -> bool {
        true
    }
}

/// What a transaction's body decided.
pub enum Write<T> {
    /// Keep what was written, with this audit record.
    Commit {
        /// What the caller gets.
        value: T,
        /// The action, as authorization names it.
        action: &'static str,
        /// What was changed.
        target: Cow<'static, str>,
        /// Whatever else helps who reads the audit.
        detail: Option<Value>,
    },
    /// Nothing had to be changed. Whatever was written is rolled back.
    Unchanged(T),
}

/// The future of a transaction's body. Boxed, so that a write can be awaited in a task whatever it borrows.
pub type Writing<'t, T, E> = Pin<Box<dyn Future<Output = Result<Write<T>, E>> + Send + 't>>;

impl<T> Write<T> {
    /// Keeps what was written.
    pub fn commit(action: &'static str, target: impl Into<Cow<'static, str>>, value: T) -> Self {
        Self::Commit { value, action, target: target.into(), detail: None }
    }

    /// Adds a detail to the audit record.
    #[must_use]
    pub fn detail(self, detail: Value) -> Self {
        match self {
            Self::Commit { value, action, target, .. } => Self::Commit { value, action, target, detail: Some(detail) },
            Self::Unchanged(value) => Self::Unchanged(value),
        }
    }
}

impl Store {
    /// Runs `body` in a transaction and commits it with its audit record, or rolls back.
    ///
    /// There is one writer at a time: the next one waits. The body must decide by [`Tx::snapshot`], which nobody else
    /// can change while it runs, and must have no effect but its writes: it runs again when the engine wants the
    /// transaction repeated, or when one that commits with it, and whose writes it saw, could not be kept.
    ///
    /// # Errors
    /// [`StoreError::NotAuthorized`] when the proof does not hold any more; the body's own error; the store's.
    pub async fn write<'a, A, T, E>(
        &'a self,
        proof: &A,
        mut body: impl for<'t> FnMut(&'t mut Tx<'a>) -> Writing<'t, T, E>,
    ) -> Result<T, E>
    where
        A: WriteProof,
        E: From<StoreError>,
    {
        for attempt in 1.. {
            let mut tx = self.begin(proof.ctx()).await?;
            let is_last = attempt == ATTEMPTS;
            let is_refused = !proof.still_holds(&tx.snapshot());
            let decided = match is_refused {
                true => Err(StoreError::NotAuthorized.into()),
                false => body(&mut tx).await,
            };
            let decided = match decided {
                Ok(Write::Commit { value, action, target, detail }) => {
                    let because = proof.reason().into();
                    let event =
                        AuditEvent { action: action.into(), outcome: Outcome::Allowed, target, because, detail };
                    match tx.commit(event).await {
                        Ok(_) => return Ok(value),
                        Err(StoreError::Interrupted) if !is_last => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(Write::Unchanged(value)) => Ok(value),
                Err(error) => Err(error),
            };
            match tx.dismiss().await {
                Ok(()) => {}
                Err(StoreError::Interrupted) if !is_last => continue,
                Err(error) => return decided.and(Err(error.into())),
            }
            if is_refused {
                let because = "the right was taken away while the write waited";
                self.note(proof, &AuditEvent::refused(proof.action(), proof.target(), because));
            }
            return decided;
        }
        Err(StoreError::Interrupted.into())
    }
}
