//! What is kept for each key, and the decision what a caller gets. No waiting, no tasks: those are `lib.rs`.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

use denizen_wire::UnixTime;
use tokio::sync::watch;

use crate::{Fetched, Settings};

/// How a fetch ended.
pub(crate) type Outcome<V, E> = Result<V, E>;
type Sender<V, E> = watch::Sender<Option<Outcome<V, E>>>;
type Receiver<V, E> = watch::Receiver<Option<Outcome<V, E>>>;

/// What a caller gets.
pub(crate) enum Lookup<V, E> {
    /// A good value.
    Value(V),
    /// The error of a fetch that failed just now.
    Failed(E),
    /// A fetch is under way.
    Wait(Receiver<V, E>),
    /// The caller starts a fetch, and meanwhile has the old value, if it need not wait.
    Start { flight: u64, sender: Sender<V, E>, meanwhile: Option<V> },
}

pub(crate) struct Entries<K, V, E> {
    settings: Settings,
    by_key: HashMap<K, Entry<V, E>>,
    /// Numbers fetches, so that one whose entry was removed meanwhile does not settle its successor.
    flights: u64,
    /// Counts the uses of all entries: the order in which they were last asked for.
    uses: u64,
}

struct Entry<V, E> {
    value: Option<Fetched<V>>,
    in_flight: Option<(u64, Receiver<V, E>)>,
    /// When the last fetch ended, and its error if it failed.
    ended: Option<(UnixTime, Option<E>)>,
    last_use: u64,
    used_since_fetched: bool,
}

impl<V: Clone, E: Clone> Entry<V, E> {
    fn new() -> Self {
        Self { value: None, in_flight: None, ended: None, last_use: 0, used_since_fetched: false }
    }

    fn good(&self, now: UnixTime) -> Option<&Fetched<V>> {
        self.value.as_ref().filter(|fetched| fetched.lifetime.is_good(now))
    }

    /// The fetch under way, unless its task was lost.
    fn in_flight(&self) -> Option<&Receiver<V, E>> {
        let (_, receiver) = self.in_flight.as_ref()?;
        let ended = receiver.borrow().is_some();
        (ended || receiver.has_changed().is_ok()).then_some(receiver)
    }

    /// The error of a fetch that failed less than `seconds` ago. One in the future does not count: the clock was set
    /// back, and would hold off the next fetch for as long.
    fn failed_within(&self, seconds: i64, now: UnixTime) -> Option<&E> {
        let (at, error) = self.ended.as_ref()?;
        error.as_ref().filter(|_| (0..seconds).contains(&now.since(*at)))
    }

    fn start(&mut self, flights: &mut u64) -> (u64, Sender<V, E>) {
        *flights = flights.wrapping_add(1);
        let (sender, receiver) = watch::channel(None);
        self.in_flight = Some((*flights, receiver));
        (*flights, sender)
    }
}

impl<K, V, E> Entries<K, V, E>
where
    K: Clone + Eq + Hash,
    V: Clone,
    E: Clone,
{
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, by_key: HashMap::new(), flights: 0, uses: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn clear(&mut self) {
        self.by_key.clear();
    }

    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.by_key.remove(key);
    }

    pub(crate) fn peek<Q: Eq + Hash + ?Sized>(&mut self, key: &Q, now: UnixTime) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let entry = self.by_key.get_mut(key)?;
        let value = entry.good(now).filter(|fetched| !fetched.lifetime.is_due(now))?.value.clone();
        self.uses = self.uses.wrapping_add(1);
        (entry.last_use, entry.used_since_fetched) = (self.uses, true);
        Some(value)
    }

    pub(crate) fn good<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: UnixTime) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.by_key.get(key)?.good(now).map(|fetched| fetched.value.clone())
    }

    /// For [`crate::RefreshCache::get`].
    pub(crate) fn look<Q>(&mut self, key: &Q, now: UnixTime) -> Lookup<V, E>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let settings = self.settings;
        let (entry, flights) = self.entry(key, now);
        match entry.good(now).cloned() {
            Some(Fetched { value, lifetime }) => {
                if !lifetime.is_due(now) {
                    return Lookup::Value(value);
                }
                let waits = now >= lifetime.wait_at;
                match entry.in_flight() {
                    Some(in_flight) if waits => Lookup::Wait(in_flight.clone()),
                    Some(_) => Lookup::Value(value),
                    None if entry.failed_within(settings.retry_after, now).is_some() => Lookup::Value(value),
                    None => {
                        let (flight, sender) = entry.start(flights);
                        Lookup::Start { flight, sender, meanwhile: (!waits).then_some(value) }
                    }
                }
            }
            None => match (entry.in_flight(), entry.failed_within(settings.retry_empty_after, now)) {
                (Some(in_flight), _) => Lookup::Wait(in_flight.clone()),
                (None, Some(error)) => Lookup::Failed(error.clone()),
                (None, None) => {
                    let (flight, sender) = entry.start(flights);
                    Lookup::Start { flight, sender, meanwhile: None }
                }
            },
        }
    }

    /// For [`crate::RefreshCache::get_newer`].
    pub(crate) fn look_newer<Q>(
        &mut self,
        key: &Q,
        now: UnixTime,
        enough: &dyn Fn(&V) -> bool,
        interval: i64,
    ) -> Lookup<V, E>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let (entry, flights) = self.entry(key, now);
        let Some(Fetched { value, .. }) = entry.good(now).cloned() else { return self.look(key, now) };
        if enough(&value) {
            return Lookup::Value(value);
        }
        if let Some(in_flight) = entry.in_flight() {
            return Lookup::Wait(in_flight.clone());
        }
        if entry.ended.as_ref().is_some_and(|(at, _)| (0..interval).contains(&now.since(*at))) {
            return Lookup::Value(value);
        }
        let (flight, sender) = entry.start(flights);
        Lookup::Start { flight, sender, meanwhile: None }
    }

    pub(crate) fn put(&mut self, key: &K, fetched: Fetched<V>, now: UnixTime) {
        let (entry, _) = self.entry(key, now);
        // What a fetch under way brings is older: its callers get it, and it is not kept.
        entry.in_flight = None;
        (entry.value, entry.used_since_fetched, entry.ended) = (Some(fetched), false, Some((now, None)));
    }

    /// Takes in how a fetch ended. One whose entry is gone is forgotten.
    pub(crate) fn settle(&mut self, key: &K, flight: u64, result: Result<Fetched<V>, E>, now: UnixTime) {
        let Some(entry) = self.by_key.get_mut(key) else { return };
        if entry.in_flight.as_ref().is_none_or(|(number, _)| *number != flight) {
            return;
        }
        entry.in_flight = None;
        match result {
            Ok(fetched) => {
                (entry.value, entry.used_since_fetched, entry.ended) = (Some(fetched), false, Some((now, None)));
            }
            Err(error) => entry.ended = Some((now, Some(error))),
        }
    }

    /// Starts a fetch for what is due and in use, and forgets what has ended.
    pub(crate) fn due(&mut self, now: UnixTime) -> Vec<(K, u64, Sender<V, E>)> {
        self.by_key.retain(|_, entry| entry.in_flight().is_some() || entry.good(now).is_some());
        let mut due = Vec::new();
        for (key, entry) in &mut self.by_key {
            let refresh = entry.good(now).is_some_and(|fetched| fetched.lifetime.is_due(now))
                && entry.used_since_fetched
                && entry.in_flight().is_none()
                && entry.failed_within(self.settings.retry_after, now).is_none();
            if refresh {
                let (flight, sender) = entry.start(&mut self.flights);
                due.push((key.clone(), flight, sender));
            }
        }
        due
    }

    /// The entry of `key`, made if there is none, and marked as used.
    fn entry<Q>(&mut self, key: &Q, now: UnixTime) -> (&mut Entry<V, E>, &mut u64)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if !self.by_key.contains_key(key) {
            self.make_room(now);
        }
        self.uses = self.uses.wrapping_add(1);
        let entry = self.by_key.entry(key.to_owned()).or_insert_with(Entry::new);
        (entry.last_use, entry.used_since_fetched) = (self.uses, true);
        (entry, &mut self.flights)
    }

    /// Removes what has ended, or else what was not asked for the longest; what is being fetched goes last.
    fn make_room(&mut self, now: UnixTime) {
        let capacity = self.settings.capacity.max(1);
        if self.by_key.len() < capacity {
            return;
        }
        self.by_key.retain(|_, entry| entry.in_flight().is_some() || entry.good(now).is_some());
        while self.by_key.len() >= capacity {
            let oldest = self.by_key.iter().min_by_key(|(_, entry)| (entry.in_flight().is_some(), entry.last_use));
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { break };
            self.by_key.remove(&key);
        }
    }
}
