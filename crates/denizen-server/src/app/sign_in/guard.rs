//! How often what was tried: by account and address, by address, by second factor, in the memory of this replica.
//!
//! | counted by | closes | for |
//! |---|---|---|
//! | account and address | this account from this address | whoever guesses there |
//! | account | this account from every address that it has not signed in from | who guesses from many addresses |
//! | address | this address | who guesses at many accounts |
//!
//! **Nobody keeps an account's owner out** from where the owner has signed in since this replica started: an address that has
//! given the right password is not closed by what others do elsewhere.
//!
//! The maps are bounded, and are keyed by digests: of what strangers typed nothing is kept. What falls out of a full map is
//! counted from the start again; who fills one with names is stopped by its address.
//!
//! Tests: `tests.rs` beside this file.

use std::{net::IpAddr, sync::Mutex};

use denizen_keys::{hash::hmac_sha256, random};
use denizen_wire::{PrincipalId, TenantId, UnixTime};
use quick_cache::unsync::Cache;

use super::SignInError;
use crate::{app::limits::Source, domain::attempts::Attempts};

/// Wrong passwords of an account from one address until it is closed there, as Entra's.
const OF_ACCOUNT_THERE: u32 = 10;
/// Wrong passwords of an account, from all addresses that it has not signed in from.
const OF_ACCOUNT: u32 = 100;
/// Wrong passwords from an address until it is closed: many people may share one.
const OF_ADDRESS: u32 = 50;
/// Wrong codes of an account: there are a million, and three are good.
const OF_CODE: u32 = 5;
/// New passwords that a sign-in tries: each is compared with the old one, which costs a slow hash.
const OF_NEW_PASSWORD: u32 = 10;
/// Wrong user codes from an address: there are 20 thousand million, and each is good for minutes.
const OF_USER_CODE: u32 = 20;
/// The most that are counted at a time, of each kind.
const COUNTED: usize = 65_536;

type Digest = [u8; 32];
type Counts = Mutex<Cache<Digest, Attempts>>;

/// The counts.
pub(super) struct Guard {
    /// Nobody can choose what falls together.
    key: [u8; 32],
    accounts: Counts,
    addresses: Counts,
    /// Accounts at addresses from where they have signed in.
    known: Mutex<Cache<Digest, ()>>,
}

/// Something that is counted.
#[derive(Clone, Copy)]
enum Counted {
    /// In `accounts`.
    Account(Digest),
    /// In `addresses`.
    Address(Digest),
}

/// An attempt that has begun. It ends as a failure, also when whoever asked hangs up, unless it is said that it was right or was
/// not decided.
#[must_use]
pub(super) struct Admitted<'g> {
    guard: &'g Guard,
    began: UnixTime,
    counted: Vec<Counted>,
    /// What a right one proves, whose failures are forgotten then.
    proves: Option<Digest>,
    /// Whether that is an account at an address, which is known from then on.
    is_there: bool,
}

impl Default for Guard {
    fn default() -> Self {
        let counts = || Mutex::new(Cache::new(COUNTED));
        Self { key: random::bytes(), accounts: counts(), addresses: counts(), known: Mutex::new(Cache::new(COUNTED)) }
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
    ) -> Result<Admitted<'_>, UnixTime> {
        let source = address.map(Source::from);
        let name = name.to_lowercase();
        let (tenant, name) = (tenant.0.as_bytes(), name.as_bytes());
        let at = source.map(Source::octets).unwrap_or_default();
        let there = self.digest(b"account there", &[tenant, name, &at]);
        let mut wanted = Vec::with_capacity(3);
        if source.is_some() {
            wanted.push((Counted::Address(self.digest(b"address", &[&at])), OF_ADDRESS));
        }
        wanted.push((Counted::Account(there), OF_ACCOUNT_THERE));
        if locked(&self.known).get(&there).is_none() {
            wanted.push((Counted::Account(self.digest(b"account", &[tenant, name])), OF_ACCOUNT));
        }
        let mut admitted = self.begin(&wanted, Some(there), now)?;
        admitted.is_there = true;
        Ok(admitted)
    }

    /// Begins to try a code of a second factor.
    ///
    /// # Errors
    /// When the next may begin.
    pub(super) fn admit_code(
        &self,
        tenant: TenantId,
        user: PrincipalId,
        now: UnixTime,
    ) -> Result<Admitted<'_>, UnixTime> {
        let account = self.digest(b"code", &[tenant.0.as_bytes(), user.0.as_bytes()]);
        self.begin(&[(Counted::Account(account), OF_CODE)], Some(account), now)
    }

    /// Begins to try a new password.
    ///
    /// # Errors
    /// When the next may begin.
    pub(super) fn admit_new_password(
        &self,
        tenant: TenantId,
        user: PrincipalId,
        now: UnixTime,
    ) -> Result<Admitted<'_>, UnixTime> {
        let account = self.digest(b"new password", &[tenant.0.as_bytes(), user.0.as_bytes()]);
        self.begin(&[(Counted::Account(account), OF_NEW_PASSWORD)], Some(account), now)
    }

    /// Begins to try a device's user code.
    ///
    /// # Errors
    /// When the next may begin.
    pub(super) fn admit_user_code(&self, address: Option<IpAddr>, now: UnixTime) -> Result<Admitted<'_>, UnixTime> {
        let counted = address.map(|address| {
            let address = self.digest(b"user code", &[&Source::from(address).octets()]);
            (Counted::Address(address), OF_USER_CODE)
        });
        self.begin(counted.as_slice(), None, now)
    }

    /// Begins to count an attempt at each of these. Who is refused by one has tried nothing, and counts nowhere.
    fn begin(
        &self,
        wanted: &[(Counted, u32)],
        proves: Option<Digest>,
        now: UnixTime,
    ) -> Result<Admitted<'_>, UnixTime> {
        let mut admitted =
            Admitted { guard: self, began: now, counted: Vec::with_capacity(wanted.len()), proves, is_there: false };
        for (counted, limit) in wanted {
            match self.change(*counted, |attempts| attempts.begin(*limit, now)) {
                Ok(()) => admitted.counted.push(*counted),
                Err(until) => {
                    admitted.was_not_decided();
                    return Err(until);
                }
            }
        }
        Ok(admitted)
    }

    fn change<T>(&self, counted: Counted, change: impl FnOnce(&mut Attempts) -> T) -> T {
        let (counts, key) = match counted {
            Counted::Account(key) => (&self.accounts, key),
            Counted::Address(key) => (&self.addresses, key),
        };
        let mut counts = locked(counts);
        let mut attempts = counts.get(&key).copied().unwrap_or_default();
        let done = change(&mut attempts);
        counts.insert(key, attempts);
        done
    }

    fn digest(&self, kind: &[u8], parts: &[&[u8]]) -> Digest {
        let mut message = Vec::with_capacity(64);
        for part in std::iter::once(&kind).chain(parts) {
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part);
        }
        hmac_sha256(&self.key, &message)
    }
}

impl Admitted<'_> {
    /// It was right: what the account has failed here is forgotten. What the address has failed stays: else whoever has one
    /// account could guess at others for ever.
    pub(super) fn was_right(self) {
        let (guard, proves, is_there) = (self.guard, self.proves, self.is_there);
        self.was_not_decided();
        if let Some(proved) = proves {
            locked(&guard.accounts).remove(&proved);
            if is_there {
                locked(&guard.known).insert(proved, ());
            }
        }
    }

    /// Whether it was right was not found out: it does not count.
    pub(super) fn was_not_decided(mut self) {
        for counted in std::mem::take(&mut self.counted) {
            self.guard.change(counted, Attempts::given_back);
        }
    }

    /// Ends with what came of it.
    ///
    /// # Errors
    /// Those of `result`.
    pub(super) fn end<T>(self, result: Result<T, SignInError>) -> Result<T, SignInError> {
        match &result {
            Ok(_) => self.was_right(),
            Err(error) if error.is_transient() => self.was_not_decided(),
            Err(_) => drop(self),
        }
        result
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        for counted in std::mem::take(&mut self.counted) {
            self.guard.change(counted, |attempts| attempts.failed(self.began));
        }
    }
}

fn locked<T>(map: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    map.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
