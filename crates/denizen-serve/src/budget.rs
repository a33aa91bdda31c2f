//! What the clients of a service may hold together: connections, and memory for the bodies they send.
//!
//! Every connection has a [`Holder`]: an address, or a user of this machine. While there is room everybody gets what
//! they ask for. When there is none, the holder that has most gives up a connection: the one that has done nothing for
//! longest. So whoever holds many connections loses one of them to each that comes, and who holds few keeps them.
//!
//! ```text
//!   total ┌───────────────────────────────┬──────────┐
//!         │ shared: everybody             │ reserved │  reserved holders use both; others never the second part
//!         └───────────────────────────────┴──────────┘
//! ```
//!
//! Which connection has done nothing for longest is known by second chance: a queue in order of arrival, where one that
//! was answered since it was last looked at goes to the end once more. A connection whose request is being worked on is
//! passed over; one whose client keeps us waiting is not.
//!
//! Memory is counted while a body arrives. Over the budget, the holder that has most loses the connection that has most.
//!
//! Touches nothing. Tests: `budget/tests.rs`.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::{sync::Notify, task::AbortHandle};

#[cfg(test)]
mod tests;

/// So many connections may be on their way out before no more are accepted.
const MOST_ENDING: usize = 16;

/// Who holds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// Whoever is at this address: see [`Holder::at`].
    Address(IpAddr),
    /// A user of this machine.
    User(u32),
    /// A range of this machine's users that belongs together; by its first.
    Range(u32),
    /// A user of this machine for whom places are reserved.
    Reserved(u32),
    /// Nobody knows who.
    Unknown,
}

impl Holder {
    /// The holder at an address. A whole IPv6 network of 64 bits is one: whoever has one address of it has all.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
            v4 @ IpAddr::V4(_) => v4,
        })
    }

    fn class(self) -> Class {
        match self {
            Self::Reserved(_) => Class::Reserved,
            Self::Address(_) | Self::User(_) | Self::Range(_) | Self::Unknown => Class::Shared,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Shared,
    Reserved,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Connections that everybody shares. At least 1.
    pub connections: usize,
    /// Connections beside those, for [`Holder::Reserved`] alone.
    pub reserved: usize,
    /// Bytes of bodies that are arriving or in use.
    pub memory: usize,
}

/// What there is, and who holds it. One for each service; services with one budget share it.
#[derive(Debug)]
pub struct Budget {
    room: Room,
    state: Mutex<State>,
    /// Bytes held, by all.
    memory: AtomicUsize,
    evicted: AtomicU64,
    /// Connections that were ended and whose descriptors are still open.
    ending: AtomicUsize,
    /// Told when one of those is closed.
    closed: Notify,
}

#[derive(Debug, Default)]
struct State {
    holders: HashMap<Holder, Held>,
    /// Of each class the holders by how many connections they have, and since when they have as many.
    shared: Ranking,
    reserved: Ranking,
    /// Connections of each class.
    shared_count: usize,
    reserved_count: usize,
    /// The next number in every order there is.
    next: u64,
}

type Ranking = BTreeMap<(usize, u64), Holder>;

/// What one holder has.
#[derive(Debug, Default)]
struct Held {
    /// Its place in the ranking of its class.
    rank: u64,
    /// In the order in which they are looked at.
    connections: BTreeMap<u64, Arc<Connection>>,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    holder: Holder,
    /// Its place among its holder's, which changes when it gets a second chance. Only under the state's lock.
    place: AtomicU64,
    /// Whether it was answered since it was last looked at.
    answered: AtomicBool,
    /// Whether a request of it is being worked on, with nothing to wait for from the client.
    working: AtomicBool,
    /// Bytes it holds.
    memory: AtomicUsize,
    evicted: AtomicBool,
    task: OnceLock<AbortHandle>,
}

/// A connection's part of the budget; given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Share(Arc<Place>);

#[derive(Debug)]
struct Place {
    budget: Arc<Budget>,
    connection: Arc<Connection>,
}

/// Bytes that a connection holds; given back when dropped.
#[derive(Debug)]
pub struct Memory {
    share: Share,
    bytes: usize,
}

/// There is no memory for more, and this connection's holder has most of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverBudget;

impl std::fmt::Display for OverBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there is no memory for more, and this client holds most of it")
    }
}

impl std::error::Error for OverBudget {}

impl Budget {
    /// Creates a budget of which nobody holds anything.
    #[must_use]
    pub fn new(room: Room) -> Arc<Self> {
        Arc::new(Self {
            room,
            state: Mutex::default(),
            memory: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            ending: AtomicUsize::new(0),
            closed: Notify::new(),
        })
    }

    /// How many connections were ended to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        let state = self.state();
        state.shared_count + state.reserved_count
    }

    /// How much there is.
    pub fn room(&self) -> Room {
        self.room
    }

    /// Waits while more than a few connections were ended and are still open: who comes faster than others can be closed
    /// would use up the descriptors.
    pub(crate) async fn settled(&self) {
        while self.ending.load(Ordering::Acquire) > MOST_ENDING {
            let closed = self.closed.notified();
            if self.ending.load(Ordering::Acquire) > MOST_ENDING {
                closed.await;
            }
        }
    }

    /// Takes a place for a connection of `holder`; ends another connection when there is none.
    pub(crate) fn admit(self: &Arc<Self>, holder: Holder) -> Share {
        let Room { connections, reserved, .. } = self.room;
        let mut state = self.state();
        loop {
            let victim = match holder.class() {
                Class::Shared if state.shared_count >= connections.max(1) => state.largest(&[Class::Shared]),
                // Reserved holders that went beyond what is reserved have taken of the shared part.
                Class::Shared | Class::Reserved
                    if state.shared_count + state.reserved_count >= connections.max(1) + reserved =>
                {
                    state.largest(&[Class::Shared, Class::Reserved])
                }
                Class::Shared | Class::Reserved => None,
            };
            let Some(victim) = victim.and_then(|holder| state.least_active(holder)) else { break };
            self.evict(&mut state, &victim);
        }
        let place = state.number();
        let connection = Arc::new(Connection {
            holder,
            place: AtomicU64::new(place),
            answered: AtomicBool::new(false),
            working: AtomicBool::new(false),
            memory: AtomicUsize::new(0),
            evicted: AtomicBool::new(false),
            task: OnceLock::new(),
        });
        state.change(holder, |held| _ = held.connections.insert(place, connection.clone()));
        drop(state);
        Share(Arc::new(Place { budget: self.clone(), connection }))
    }

    fn evict(&self, state: &mut State, victim: &Connection) {
        state.remove(victim);
        victim.evicted.store(true, Ordering::Relaxed);
        self.ending.fetch_add(1, Ordering::AcqRel);
        if let Some(task) = victim.task.get() {
            task.abort();
        }
        // Its task may live for a moment: what it holds is free from now on.
        self.memory.fetch_sub(victim.memory.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    /// The state is as it was before or after a change, so a panic elsewhere leaves it good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn ranking(&mut self, class: Class) -> &mut Ranking {
        match class {
            Class::Shared => &mut self.shared,
            Class::Reserved => &mut self.reserved,
        }
    }

    /// Changes what a holder has, and its rank with it.
    fn change(&mut self, holder: Holder, change: impl FnOnce(&mut Held)) {
        let number = self.number();
        let held = self.holders.entry(holder).or_default();
        let before = (held.connections.len(), held.rank);
        change(held);
        held.rank = number;
        let after = (held.connections.len(), held.rank);
        if after.0 == 0 {
            self.holders.remove(&holder);
        }
        let count = match holder.class() {
            Class::Shared => &mut self.shared_count,
            Class::Reserved => &mut self.reserved_count,
        };
        *count = (*count + after.0).saturating_sub(before.0);
        let ranking = self.ranking(holder.class());
        ranking.remove(&before);
        if after.0 > 0 {
            ranking.insert(after, holder);
        }
    }

    fn remove(&mut self, connection: &Connection) {
        let place = connection.place.load(Ordering::Relaxed);
        self.change(connection.holder, |held| _ = held.connections.remove(&place));
    }

    /// The holder in these classes that has most; of several, the one that has had as many for longest.
    fn largest(&self, classes: &[Class]) -> Option<Holder> {
        let of_class = |class: &Class| {
            let ranking = match class {
                Class::Shared => &self.shared,
                Class::Reserved => &self.reserved,
            };
            let (most, _) = *ranking.last_key_value()?.0;
            ranking.range((most, 0)..).next().map(|(rank, holder)| (most, *rank, *holder))
        };
        let found = classes.iter().filter_map(of_class);
        found.max_by_key(|(most, rank, _)| (*most, std::cmp::Reverse(*rank))).map(|(_, _, holder)| holder)
    }

    /// The connection of a holder that has done nothing for longest.
    fn least_active(&mut self, holder: Holder) -> Option<Arc<Connection>> {
        let count = self.holders.get(&holder)?.connections.len();
        for _ in 0..count {
            let number = self.number();
            let held = self.holders.get_mut(&holder)?;
            let (place, connection) = held.connections.pop_first()?;
            let again = connection.answered.swap(false, Ordering::Relaxed);
            if !again && !connection.working.load(Ordering::Relaxed) {
                held.connections.insert(place, connection.clone());
                return Some(connection);
            }
            connection.place.store(number, Ordering::Relaxed);
            held.connections.insert(number, connection);
        }
        self.holders.get(&holder)?.connections.first_key_value().map(|(_, connection)| connection.clone())
    }

    /// Of the holder that holds most memory, the connection that holds most.
    fn heaviest(&self) -> Option<Arc<Connection>> {
        let bytes = |connection: &Arc<Connection>| connection.memory.load(Ordering::Relaxed);
        let of_holder = |held: &&Held| held.connections.values().map(bytes).sum::<usize>();
        let holder = self.holders.values().max_by_key(of_holder)?;
        holder.connections.values().max_by_key(|connection| bytes(connection)).cloned()
    }
}

impl Share {
    /// A share of a budget of its own, for what is not served here: tests, and requests made in this process.
    #[must_use]
    pub fn unlimited() -> Self {
        Budget::new(Room { connections: 1, reserved: 0, memory: usize::MAX }).admit(Holder::Unknown)
    }

    /// Names the task that ends when this connection must give up its place.
    pub(crate) fn bind(&self, task: AbortHandle) {
        let connection = &self.0.connection;
        if connection.task.set(task).is_ok()
            && connection.evicted.load(Ordering::Relaxed)
            && let Some(task) = connection.task.get()
        {
            task.abort();
        }
    }

    /// Says that a request is being worked on.
    pub(crate) fn working(&self) -> Working<'_> {
        self.0.connection.working.store(true, Ordering::Relaxed);
        Working(self)
    }

    /// Says that the work waits for the client, until the value is dropped.
    pub(crate) fn waiting(&self) -> Waiting<'_> {
        self.0.connection.working.store(false, Ordering::Relaxed);
        Waiting(self)
    }

    /// Holds memory.
    ///
    /// # Errors
    /// [`OverBudget`] when there is none, and this connection is the one that would have to end to make room.
    pub fn hold(&self, bytes: usize) -> Result<Memory, OverBudget> {
        let Place { budget, connection } = &*self.0;
        connection.memory.fetch_add(bytes, Ordering::Relaxed);
        let mut held = budget.memory.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let memory = Memory { share: self.clone(), bytes };
        while held > budget.room.memory {
            let mut state = budget.state();
            held = budget.memory.load(Ordering::Relaxed);
            if held <= budget.room.memory {
                break;
            }
            // One that is ended already has nothing to win, nor has one to lose that holds nothing.
            let ended = connection.evicted.load(Ordering::Relaxed);
            let other = |victim: &Arc<Connection>| {
                !Arc::ptr_eq(victim, connection) && victim.memory.load(Ordering::Relaxed) > 0
            };
            match state.heaviest().filter(|victim| !ended && other(victim)) {
                Some(victim) => budget.evict(&mut state, &victim),
                None => return Err(OverBudget),
            }
            held = budget.memory.load(Ordering::Relaxed);
        }
        Ok(memory)
    }
}

/// While it lives, a request is being worked on; after it, the connection was answered.
pub(crate) struct Working<'a>(&'a Share);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let connection = &self.0.0.connection;
        connection.working.store(false, Ordering::Relaxed);
        connection.answered.store(true, Ordering::Relaxed);
    }
}

/// While it lives, the work waits for the client.
pub(crate) struct Waiting<'a>(&'a Share);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.connection.working.store(true, Ordering::Relaxed);
    }
}

impl Memory {
    /// Holds more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), OverBudget> {
        let mut more = self.share.hold(bytes)?;
        self.bytes += std::mem::take(&mut more.bytes);
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Place { budget, connection } = &*self.share.0;
        // An evicted connection's memory was given back as a whole.
        let given_back =
            connection.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| held.checked_sub(self.bytes));
        if given_back.is_ok() {
            budget.memory.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        if self.connection.evicted.load(Ordering::Relaxed) {
            self.budget.ending.fetch_sub(1, Ordering::AcqRel);
            drop(state);
            self.budget.closed.notify_waiters();
        } else {
            state.remove(&self.connection);
        }
    }
}
