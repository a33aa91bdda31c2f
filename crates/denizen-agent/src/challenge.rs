//! Arc's challenge: a secret in a file that only the group can read.
//!
//! A challenge is issued to one caller, lives a minute, and is spent by the first success. Then its file goes at once;
//! for two seconds more the same request from the same caller is answered again, since clients repeat a request whose
//! answer was lost with the same bytes. The secret itself is not kept, only its SHA-256: presented secrets are looked up
//! by their hash, so that timing tells nothing about them.
//!
//! ```text
//!   issue --> Open --first success--> Spent --2 s--> (forgotten)
//!              |  \--upstream failed: stays Open, to be tried again
//!              \--60 s, or newer ones need the room--> (forgotten, file removed)
//! ```
//!
//! Nobody is refused a challenge because others are open: clients do not repeat a request that got a 400, and a chain
//! of credentials would go on to another identity. Room is counted by [`Owner`], so that subordinate uids bring no more
//! of it; a challenge is bound to the exact uid all the same.
//!
//! * An owner who has [`MAX_PER_OWNER`] open loses one of their own.
//! * When [`MAX_OPEN`] are open in all, the owner who has most of them loses one; root never loses one to others.
//! * Of an owner's uids, the one that has most loses its oldest.
//!
//! So a client that polls without answering keeps nobody out, and neither do many users' clients.
//!
//! Touches the key directory. Tests: `challenge/tests.rs`.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use denizen_keys::{hash::sha256, random};
use denizen_wire::{Clock, UnixTime, identity::ARC_KEY_MAX};

use crate::{
    caller::{
        Caller,
        owner::{Owner, Owners},
    },
    keydir::{KeyDirectory, KeyDirectoryError, KeyFile},
};

#[cfg(test)]
mod tests;

/// An unanswered challenge lives this long, seconds.
pub const LIFETIME: i64 = 60;
/// After the first success the same request is answered again for this long, seconds.
pub const GRACE: i64 = 2;
/// Challenges that may be open for one owner. So many that a client which answers within a few hundredths of a second
/// keeps its own while another program of the same user asks without answering, as fast as it can.
pub const MAX_PER_OWNER: usize = 256;
/// Challenges that may be open in all.
pub const MAX_OPEN: usize = 4096;
/// Spent ones that are remembered; past that, the oldest lose their grace early.
const MAX_SPENT: usize = 4096;
const LIMITS: Limits = Limits { per_owner: MAX_PER_OWNER, open: MAX_OPEN, spent: MAX_SPENT };
/// Random bytes in a secret.
const SECRET_BYTES: usize = 32;

const ROOT: Owner = Owner::User(0);

type Hash = [u8; 32];

/// The challenges of one key directory.
pub struct Challenges {
    keys: KeyDirectory,
    owners: Arc<Owners>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct Limits {
    per_owner: usize,
    open: usize,
    spent: usize,
}

struct State {
    limits: Limits,
    open: HashMap<Hash, Open>,
    /// How many were issued: the next one's number.
    issued: u64,
    by_owner: HashMap<Owner, OfOwner>,
    spent: HashMap<Hash, Spent>,
    spent_order: VecDeque<(Hash, UnixTime)>,
}

/// What one owner has open.
#[derive(Default)]
struct OfOwner {
    total: usize,
    /// Each uid's, oldest first.
    by_uid: HashMap<Option<u32>, VecDeque<Hash>>,
}

struct Open {
    /// Lower is older.
    number: u64,
    file: KeyFile,
    uid: Option<u32>,
    /// Whose room it takes. The owner as of then, so that it is given back where it was taken.
    owner: Owner,
    issued: UnixTime,
    /// The request it was first presented with: it buys nothing else.
    request: Option<Box<str>>,
}

struct Spent {
    uid: Option<u32>,
    request: Box<str>,
    at: UnixTime,
}

/// Evidence that a caller presented the key that was made for them. Only [`Challenges::redeem`] makes it.
#[derive(Debug)]
pub struct Redeemed(Receipt);

/// Names a redeemed challenge.
#[derive(Debug, Clone, Copy)]
pub struct Receipt(Hash);

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedeemError {
    /// Not `Basic`, or nothing behind it.
    #[error("The Authorization header is not of the form 'Basic <content of the key file>'")]
    NotBasic,
    /// No challenge has this secret: a wrong, a truncated or a long forgotten one.
    #[error("The key is wrong, or its time is over: ask again without Authorization and read the new key file")]
    Unknown,
    /// It was made for another user.
    #[error("The key was made for another caller: ask without Authorization and read your own key file")]
    OtherCaller,
    /// It is open, and was presented with another request first.
    #[error("The key was presented with another request: ask again without Authorization and read the new key file")]
    OtherRequest,
    /// It was used before.
    #[error("The key was used before: ask again without Authorization and read the new key file")]
    Reused,
}

/// Why no challenge is issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The key file cannot be written.
    #[error("cannot write a key file: {0}")]
    KeyDirectory(#[from] KeyDirectoryError),
}

impl Redeemed {
    /// The receipt for [`Challenges::spend`], after a success.
    pub fn receipt(&self) -> Receipt {
        self.0
    }
}

impl Challenges {
    /// Creates the challenges of an open key directory, and removes what an earlier run left in it.
    pub fn new(keys: KeyDirectory, owners: Arc<Owners>, clock: Clock) -> Self {
        Self::with_limits(keys, owners, clock, LIMITS)
    }

    fn with_limits(keys: KeyDirectory, owners: Arc<Owners>, clock: Clock, limits: Limits) -> Self {
        keys.sweep(clock.now());
        Self { keys, owners, clock, state: Mutex::new(State::new(limits)) }
    }

    /// Issues a challenge to a caller; returns the path of its key file, which the group can read by now.
    pub fn issue(&self, caller: &Caller) -> Result<String, IssueError> {
        let (now, uid, owner) = (self.clock.now(), caller.uid(), self.owners.of_caller(caller));
        let full = self.state().is_full(owner);
        if full {
            self.expire();
        }
        let secret = random::token(SECRET_BYTES);
        let file = self.keys.write(secret.expose())?;
        let (hash, path) = (sha256(secret.expose().as_bytes()), file.path());
        let mut state = self.state();
        let displaced = state.make_room(owner);
        let number = state.issued;
        state.issued += 1;
        state.insert(hash, Open { number, file, uid, owner, issued: now, request: None });
        drop(state);
        if let Some(displaced) = displaced {
            displaced.file.remove();
        }
        Ok(path)
    }

    /// Checks the `Authorization` header that `caller` sent with `request` (its query; there is one path).
    pub fn redeem(&self, authorization: &str, caller: &Caller, request: &str) -> Result<Redeemed, RedeemError> {
        let secret = match authorization.split_once(' ') {
            Some((scheme, secret)) if scheme.eq_ignore_ascii_case("basic") => secret.trim(),
            Some(_) | None => return Err(RedeemError::NotBasic),
        };
        if secret.is_empty() || secret.len() > ARC_KEY_MAX {
            return Err(RedeemError::NotBasic);
        }
        let (hash, now, uid) = (sha256(secret.as_bytes()), self.clock.now(), caller.uid());
        let mut state = self.state();
        if let Some(open) = state.open.get_mut(&hash) {
            if !(0..LIFETIME).contains(&now.since(open.issued)) {
                drop(state);
                self.expire();
                return Err(RedeemError::Unknown);
            }
            if open.uid != uid {
                return Err(RedeemError::OtherCaller);
            }
            if open.request.get_or_insert_with(|| request.into()).as_ref() != request {
                return Err(RedeemError::OtherRequest);
            }
            return Ok(Redeemed(Receipt(hash)));
        }
        match state.spent.get(&hash) {
            None => Err(RedeemError::Unknown),
            Some(spent) if spent.uid != uid => Err(RedeemError::OtherCaller),
            Some(spent) if spent.request.as_ref() == request && (0..=GRACE).contains(&now.since(spent.at)) => {
                Ok(Redeemed(Receipt(hash)))
            }
            Some(_) => Err(RedeemError::Reused),
        }
    }

    /// The redeemed challenge brought a token: its file goes, and only a repetition is answered from now on.
    pub fn spend(&self, receipt: Receipt) {
        let now = self.clock.now();
        let mut state = self.state();
        // A repetition within the grace has nothing left to spend.
        let Some(open) = state.remove(&receipt.0) else { return };
        state.forget_spent(now);
        state.spent.insert(receipt.0, Spent { uid: open.uid, request: open.request.unwrap_or_default(), at: now });
        state.spent_order.push_back((receipt.0, now));
        drop(state);
        open.file.remove();
    }

    /// Forgets what nobody answered in time, and removes its files.
    pub fn expire(&self) {
        let now = self.clock.now();
        let mut state = self.state();
        state.forget_spent(now);
        let over: Vec<Hash> = state
            .open
            .iter()
            .filter(|(_, open)| !(0..LIFETIME).contains(&now.since(open.issued)))
            .map(|(hash, _)| *hash)
            .collect();
        let files: Vec<KeyFile> = over.iter().filter_map(|hash| state.remove(hash)).map(|open| open.file).collect();
        drop(state);
        files.iter().for_each(KeyFile::remove);
    }

    /// Removes the files of all open challenges: the agent stops.
    pub fn close(&self) {
        let mut state = self.state();
        let open = std::mem::replace(&mut *state, State::new(LIMITS)).open;
        drop(state);
        open.values().for_each(|open| open.file.remove());
    }

    /// Removes key files that no challenge of ours stands behind.
    pub fn sweep(&self) -> usize {
        self.keys.sweep(self.clock.now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: HashMap::new(),
            issued: 0,
            by_owner: HashMap::new(),
            spent: HashMap::new(),
            spent_order: VecDeque::new(),
        }
    }

    fn of_owner(&self, owner: Owner) -> usize {
        self.by_owner.get(&owner).map_or(0, |open| open.total)
    }

    fn is_full(&self, owner: Owner) -> bool {
        self.open.len() >= self.limits.open || self.of_owner(owner) >= self.limits.per_owner
    }

    /// Removes a challenge when there is no room for one more of this owner.
    fn make_room(&mut self, owner: Owner) -> Option<Open> {
        let loser = if self.of_owner(owner) >= self.limits.per_owner {
            owner
        } else if self.open.len() >= self.limits.open {
            // Root comes last.
            let others = self.by_owner.iter().filter(|(other, _)| **other != ROOT || owner == ROOT);
            // Of owners who have as many, the one with the oldest: whoever has many user ids cannot push out another's
            // challenge with fewer than all the room there is.
            let oldest = |open: &OfOwner| open.by_uid.values().filter_map(|of_uid| self.oldest(of_uid)).min();
            let most = others.clone().map(|(_, open)| open.total).max();
            let most = others.filter(|(_, open)| Some(open.total) == most);
            most.min_by_key(|(_, open)| oldest(open)).map_or(owner, |(other, _)| *other)
        } else {
            return None;
        };
        let by_uid = &self.by_owner.get(&loser)?.by_uid;
        let of_uid = by_uid.values().max_by_key(|of_uid| (of_uid.len(), Reverse(self.oldest(of_uid))))?;
        // One that was presented is being answered just now.
        let waits = |hash: &&Hash| self.open.get(*hash).is_some_and(|open| open.request.is_none());
        let oldest = *of_uid.iter().find(waits).or_else(|| of_uid.front())?;
        self.remove(&oldest)
    }

    /// The number of the oldest of one uid's.
    fn oldest(&self, of_uid: &VecDeque<Hash>) -> Option<u64> {
        of_uid.front().and_then(|hash| self.open.get(hash)).map(|open| open.number)
    }

    fn insert(&mut self, hash: Hash, open: Open) {
        let of_owner = self.by_owner.entry(open.owner).or_default();
        of_owner.total += 1;
        of_owner.by_uid.entry(open.uid).or_default().push_back(hash);
        self.open.insert(hash, open);
    }

    fn remove(&mut self, hash: &Hash) -> Option<Open> {
        let open = self.open.remove(hash)?;
        if let Some(of_owner) = self.by_owner.get_mut(&open.owner) {
            if let Some(of_uid) = of_owner.by_uid.get_mut(&open.uid)
                && let Some(at) = of_uid.iter().position(|other| other == hash)
            {
                of_uid.remove(at);
                of_owner.total = of_owner.total.saturating_sub(1);
                if of_uid.is_empty() {
                    of_owner.by_uid.remove(&open.uid);
                }
            }
            if of_owner.total == 0 {
                self.by_owner.remove(&open.owner);
            }
        }
        Some(open)
    }

    fn forget_spent(&mut self, now: UnixTime) {
        while let Some((hash, at)) = self.spent_order.front()
            && (!(0..=GRACE).contains(&now.since(*at)) || self.spent_order.len() >= self.limits.spent)
        {
            self.spent.remove(hash);
            self.spent_order.pop_front();
        }
    }
}
