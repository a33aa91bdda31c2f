//! How often what was tried: by account, by address, by second factor, in the memory of this replica.
//!
//! The maps are bounded, and are keyed by digests: of what strangers typed nothing is kept. What falls out of a full map is
//! counted from the start again; who fills one with names is stopped by its address.
//!
//! Tests: `tests.rs` beside this file.

use std::{net::IpAddr, sync::Mutex};

use denizen_keys::{hash::hmac_sha256, random};
use denizen_wire::{PrincipalId, TenantId, UnixTime};
use quick_cache::unsync::Cache;

use crate::domain::attempts::Attempts;

/// Wrong passwords of an account until it is closed, as Entra's.
const OF_ACCOUNT: u32 = 10;
/// Wrong passwords from an address until it is closed: many people may share one.
const OF_ADDRESS: u32 = 50;
/// Wrong codes of an account: there are a million, and three are good.
const OF_CODE: u32 = 5;
/// Wrong user codes from an address: there are 20 thousand million, and each is good for minutes.
const OF_USER_CODE: u32 = 20;
/// The most that are counted at a time, of each kind.
const COUNTED: usize = 65_536;

type Counts = Mutex<Cache<[u8; 32], Attempts>>;

/// The counts.
pub(super) struct Guard {
    /// Nobody can choose what falls together.
    key: [u8; 32],
    accounts: Counts,
    addresses: Counts,
}

/// An attempt that has begun: a failure, unless it is said that it was right.
pub(super) struct Admitted {
    account: Option<[u8; 32]>,
    address: Option<[u8; 32]>,
}

impl Default for Guard {
    fn default() -> Self {
        let counts = || Mutex::new(Cache::new(COUNTED));
        Self { key: random::bytes(), accounts: counts(), addresses: counts() }
    }
}

impl Guard {
    /// Begins to try a password.
    ///
    /// # Errors
    /// When the next may begin.
    pub(super) fn admit(
        &self,
        tenant: TenantId,
        name: &str,
        address: Option<IpAddr>,
        now: UnixTime,
    ) -> Result<Admitted, UnixTime> {
        let address = address.map(|address| self.digest(b"address", &[&network(address)]));
        let account = self.digest(b"account", &[tenant.0.as_bytes(), name.to_lowercase().as_bytes()]);
        if let Some(address) = &address {
            begin(&self.addresses, address, OF_ADDRESS, now)?;
        }
        let begun = begin(&self.accounts, &account, OF_ACCOUNT, now);
        // Who is refused for the account's sake has tried nothing.
        begun.inspect_err(|_| address.iter().for_each(|address| was_right(&self.addresses, address)))?;
        Ok(Admitted { account: Some(account), address })
    }

    /// Begins to try a code of a second factor.
    ///
    /// # Errors
    /// When the next may begin.
    pub(super) fn admit_code(&self, tenant: TenantId, user: PrincipalId, now: UnixTime) -> Result<Admitted, UnixTime> {
        let account = self.digest(b"code", &[tenant.0.as_bytes(), user.0.as_bytes()]);
        begin(&self.accounts, &account, OF_CODE, now)?;
        Ok(Admitted { account: Some(account), address: None })
    }

    /// Begins to try a device's user code.
    ///
    /// # Errors
    /// When the next may begin.
    pub(super) fn admit_user_code(&self, address: Option<IpAddr>, now: UnixTime) -> Result<Admitted, UnixTime> {
        let Some(address) = address else { return Ok(Admitted { account: None, address: None }) };
        let address = self.digest(b"user-code", &[&network(address)]);
        begin(&self.addresses, &address, OF_USER_CODE, now)?;
        Ok(Admitted { account: None, address: Some(address) })
    }

    /// It was right: the account is nobody's to guess at, and the address has failed one less. Not all less: else whoever has
    /// one account could guess at others for ever.
    pub(super) fn was_right(&self, admitted: &Admitted) {
        if let Some(account) = &admitted.account {
            locked(&self.accounts).remove(account);
        }
        if let Some(address) = &admitted.address {
            was_right(&self.addresses, address);
        }
    }

    fn digest(&self, kind: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut message = Vec::with_capacity(64);
        for part in std::iter::once(&kind).chain(parts) {
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part);
        }
        hmac_sha256(&self.key, &message)
    }
}

fn begin(counts: &Counts, key: &[u8; 32], limit: u32, now: UnixTime) -> Result<(), UnixTime> {
    let mut counts = locked(counts);
    let attempts = counts.get(key).copied().unwrap_or_default().begin(limit, now)?;
    counts.insert(*key, attempts);
    Ok(())
}

fn was_right(counts: &Counts, key: &[u8; 32]) {
    let mut counts = locked(counts);
    if let Some(attempts) = counts.get(key).copied() {
        counts.insert(*key, attempts.was_right());
    }
}

fn locked(counts: &Counts) -> std::sync::MutexGuard<'_, Cache<[u8; 32], Attempts>> {
    counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What is counted as one address: of IPv6 the first half, which is what one customer has.
fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().into_iter().take(8).collect(),
    }
}
