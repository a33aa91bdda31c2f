//! Tokens revoked before they expire. A Denizen token carries its principal's revocation epoch at the time of issue
//! (`xms_epoch`); raising the epoch revokes every earlier token. Entra's tokens have no epoch.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use crate::Claims;

/// Which tokens of a principal are revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationStatus {
    /// None.
    Valid,
    /// Those of an earlier epoch. A token without an epoch counts as epoch 0.
    MinimumEpoch(u64),
    /// All of them.
    Revoked,
}

/// Reports revocations. It is called for every token, so an implementation must answer from memory.
pub trait Revocations: Send + Sync {
    /// The revocation status of the principal of these claims.
    fn status(&self, claims: &Claims) -> RevocationStatus;
}

/// The minimum epoch of each principal, in memory.
#[derive(Debug, Default)]
pub struct MinimumEpochs(RwLock<HashMap<(String, String), u64>>);

impl MinimumEpochs {
    /// Revokes the tokens of a principal (`tid`, `oid`) issued before `epoch`. A lower epoch than the current one
    /// changes nothing: a message that arrives late must not restore a token.
    pub fn raise(&self, tenant: &str, principal: &str, epoch: u64) {
        let mut epochs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let minimum = epochs.entry(key(tenant, principal)).or_default();
        *minimum = epoch.max(*minimum);
    }
}

impl Revocations for MinimumEpochs {
    fn status(&self, claims: &Claims) -> RevocationStatus {
        let key = key(claims.tenant(), claims.principal());
        match self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            Some(minimum) => RevocationStatus::MinimumEpoch(*minimum),
            None => RevocationStatus::Valid,
        }
    }
}

fn key(tenant: &str, principal: &str) -> (String, String) {
    (tenant.to_ascii_lowercase(), principal.to_ascii_lowercase())
}
