//! Tokens that ended before their time. A Denizen token carries the revocation epoch its principal had when it was
//! issued (`xms_epoch`); raising the epoch ends every token before it. Entra has none and is asked about otherwise.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use super::Claims;

/// How a token's principal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its tokens are good.
    Good,
    /// Tokens of this epoch and later are good. A token without one counts as of epoch 0.
    Since(u64),
    /// None of its tokens is good.
    Revoked,
}

/// Knows what was revoked. Asked for every token, so it answers from memory; who has to ask somebody else keeps a copy.
pub trait Revocations: Send + Sync {
    /// How the principal of these claims stands.
    fn standing(&self, claims: &Claims) -> Standing;
}

/// The least epoch of each principal, in memory. Fed by whoever follows the directory.
#[derive(Default)]
pub struct EpochFloors(RwLock<HashMap<(String, String), u64>>);

impl EpochFloors {
    /// Ends the tokens of a principal (`tid`, `oid`) from before `epoch`. It never goes back: a message that comes
    /// late revives nothing.
    pub fn raise(&self, tenant: &str, principal: &str, epoch: u64) {
        let mut floors = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let floor = floors.entry(key(tenant, principal)).or_default();
        *floor = epoch.max(*floor);
    }
}

impl Revocations for EpochFloors {
    fn standing(&self, claims: &Claims) -> Standing {
        let floors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        floors.get(&key(claims.tenant(), claims.principal())).map_or(Standing::Good, |floor| Standing::Since(*floor))
    }
}

fn key(tenant: &str, principal: &str) -> (String, String) {
    (tenant.to_ascii_lowercase(), principal.to_ascii_lowercase())
}
