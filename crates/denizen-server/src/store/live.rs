//! Which rows there are, and a sum that tells whether they are the ones that were written last.
//!
//! [`Live`] knows a mark of every row: the first half of the tag that it was last written with. A row that is read and
//! has another mark was rolled back; one that is not known was added; one that is known and not found was removed.
//!
//! [`Sum`] is the sum, modulo 2^256, of one number for each row: `HMAC(freshness; mark)`. Nobody else can compute the
//! numbers, and the sum is kept under a tag and never shown, so no other set of rows that once carried tags can be
//! chosen to have the same. A change costs one subtraction and one addition, whatever the number of rows.
//!
//! Touches nothing. Tests: below, and the contract suite, which compares the sum with one made afresh.

use std::{
    collections::HashMap,
    hash::BuildHasher as _,
    sync::{PoisonError, RwLock},
};

use denizen_keys::mac::TAG_BYTES;
use foldhash::quality::RandomState;

use super::{Revision, StoreError, StoreKeys, Tampering, db::Arg, tags, tags::RowName};

/// A row's name in 16 bytes: its hash under two seeds of this process. Two names with one number would need as many
/// rows as no disk holds; and whoever found some could still not make the tag of either.
pub(super) type Name = u128;

/// The first half of a row's tag. The tag is a function that only the server computes, so half of it tells one state
/// of a row from every other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark([u8; 16]);

impl Mark {
    pub(super) fn of(tag: &[u8; TAG_BYTES]) -> Self {
        Self(tag.first_chunk().copied().unwrap_or_default())
    }

    /// None of a tag that is too short to be one.
    pub(super) fn read(tag: &[u8]) -> Option<Self> {
        tag.first_chunk().copied().map(Self)
    }
}

/// The marks of all rows.
///
/// Names are hashes, so their first bits divide the rows evenly over short sorted lists: 32 bytes a row and little
/// more, whatever the number of rows, where a hash table has room for up to twice as many. A change moves part of one
/// list, 12 KiB at three million rows.
#[derive(Clone)]
pub(super) struct Marks(Vec<Vec<(Name, Mark)>>);

impl Marks {
    /// The number of lists is two to this power.
    const BITS: u32 = 12;

    /// Of rows in any order. Of two with one name one is kept: then the head vouches for neither.
    fn gathered(mut lists: Vec<Vec<(Name, Mark)>>) -> Self {
        for list in &mut lists {
            list.sort_unstable_by_key(|(name, _)| *name);
            list.dedup_by_key(|(name, _)| *name);
            list.shrink_to_fit();
        }
        Self(lists)
    }

    fn list(name: Name) -> usize {
        usize::try_from(name >> (u128::BITS - Self::BITS)).unwrap_or_default()
    }

    fn get(&self, name: Name) -> Option<Mark> {
        let list = self.0.get(Self::list(name))?;
        let at = list.binary_search_by_key(&name, |(other, _)| *other).ok()?;
        list.get(at).map(|(_, mark)| *mark)
    }

    fn insert(&mut self, name: Name, mark: Mark) {
        let Some(list) = self.0.get_mut(Self::list(name)) else { return };
        match list.binary_search_by_key(&name, |(other, _)| *other) {
            Ok(at) => _ = list.get_mut(at).map(|entry| entry.1 = mark),
            Err(at) => {
                if list.len() == list.capacity() {
                    // Room for a few, not for as many again.
                    list.reserve_exact(1 + list.len() / 16);
                }
                list.insert(at, (name, mark));
            }
        }
    }

    fn remove(&mut self, name: Name) {
        let Some(list) = self.0.get_mut(Self::list(name)) else { return };
        if let Ok(at) = list.binary_search_by_key(&name, |(other, _)| *other) {
            list.remove(at);
            if list.capacity() > 2 * list.len() {
                list.shrink_to_fit();
            }
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self(vec![Vec::new(); 1 << Self::BITS])
    }
}

/// The marks and the sum of rows that are being read, in any order.
#[derive(Default)]
pub(super) struct Gathering {
    marks: Marks,
    sum: Sum,
}

impl Gathering {
    /// Adds what was read of some rows.
    pub(super) fn add(&mut self, marks: &[(Name, Mark)], sum: Sum) {
        for row in marks {
            if let Some(list) = self.marks.0.get_mut(Marks::list(row.0)) {
                if list.len() == list.capacity() {
                    // Twice the room is memory that nothing else has at a start.
                    list.reserve_exact(16 + list.len() / 4);
                }
                list.push(*row);
            }
        }
        self.sum.join(sum);
    }

    /// All of them.
    pub(super) fn finish(self) -> (Marks, Sum) {
        (Marks::gathered(self.marks.0), self.sum)
    }
}

/// What a transaction did to the rows; a row that it removed has no mark.
pub(super) type Pending = HashMap<Name, Option<Mark>, foldhash::fast::RandomState>;

/// What makes the names of this process.
#[derive(Clone, Default)]
pub(super) struct Namer(RandomState, RandomState);

impl Namer {
    pub(super) fn name(&self, name: RowName<'_>) -> Name {
        let parts = (name.kind.as_str(), name.tenant, name.id);
        u128::from(self.0.hash_one(parts)) << 64 | u128::from(self.1.hash_one(parts))
    }
}

/// The rows there are, as of the last commit.
#[derive(Default)]
pub(super) struct Live {
    namer: Namer,
    marks: RwLock<Marks>,
}

impl Live {
    pub(super) fn name(&self, name: RowName<'_>) -> Name {
        self.namer.name(name)
    }

    /// What names rows as this does.
    pub(super) fn namer(&self) -> Namer {
        self.namer.clone()
    }

    fn mark(&self, name: Name) -> Option<Mark> {
        self.marks.read().unwrap_or_else(PoisonError::into_inner).get(name)
    }

    /// Takes what was read from the database in the place of what was known.
    pub(super) fn replace(&self, marks: Marks) {
        *self.marks.write().unwrap_or_else(PoisonError::into_inner) = marks;
    }

    /// What the sum is once a transaction has committed that follows `earlier` ones.
    pub(super) fn sum_with(&self, keys: &StoreKeys, sum: Sum, earlier: &Pending, pending: &Pending) -> Sum {
        let marks = self.marks.read().unwrap_or_else(PoisonError::into_inner);
        let mut sum = sum;
        for (name, after) in pending {
            if let Some(before) = earlier.get(name).copied().unwrap_or_else(|| marks.get(*name)) {
                sum.remove(keys, before);
            }
            if let Some(after) = after {
                sum.add(keys, *after);
            }
        }
        sum
    }

    /// Publishes what a transaction did.
    pub(super) fn publish(&self, pending: &Pending) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        for (name, after) in pending {
            match after {
                Some(mark) => marks.insert(*name, *mark),
                None => marks.remove(*name),
            };
        }
    }

    /// A copy, for a test to put back.
    #[cfg(test)]
    pub(super) fn marks(&self) -> Marks {
        self.marks.read().unwrap().clone()
    }
}

/// Checks rows that were read: at any time by what has committed, in a transaction also by what it has written, and
/// those that commit with it.
#[derive(Clone, Copy)]
pub(super) struct Checks<'a> {
    pub(super) keys: &'a StoreKeys,
    pub(super) live: &'a Live,
    /// The last one that knows of a row is right.
    pub(super) pending: [Option<&'a Pending>; 2],
}

impl Checks<'_> {
    /// A row that was read.
    pub(super) fn row(
        &self,
        name: RowName<'_>,
        content: &[Arg<'_>],
        revision: u64,
        tag: &[u8],
    ) -> Result<(), StoreError> {
        if !tags::carries(self.keys, name, Revision(revision), content, tag) {
            return Err(name.tampered(Tampering::Forged));
        }
        match self.expected(name) {
            None => Err(name.tampered(Tampering::Unknown)),
            Some(mark) if Some(mark) == Mark::read(tag) => Ok(()),
            Some(_) => Err(name.tampered(Tampering::Older)),
        }
    }

    /// A row that was looked for and not found.
    pub(super) fn absent(&self, name: RowName<'_>) -> Result<(), StoreError> {
        match self.expected(name) {
            None => Ok(()),
            Some(_) => Err(name.tampered(Tampering::Missing)),
        }
    }

    fn expected(&self, name: RowName<'_>) -> Option<Mark> {
        let name = self.live.name(name);
        let written = |pending: &&Pending| pending.get(&name).copied();
        self.pending.iter().rev().flatten().find_map(written).unwrap_or_else(|| self.live.mark(name))
    }
}

/// A number below 2^256.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    low: u128,
    high: u128,
}

impl Sum {
    pub(super) fn add(&mut self, keys: &StoreKeys, mark: Mark) {
        self.join(Self::number(keys, mark));
    }

    pub(super) fn remove(&mut self, keys: &StoreKeys, mark: Mark) {
        let of = Self::number(keys, mark);
        let (low, borrow) = self.low.overflowing_sub(of.low);
        self.low = low;
        self.high = self.high.wrapping_sub(of.high).wrapping_sub(u128::from(borrow));
    }

    /// Adds the sum over other rows.
    fn join(&mut self, other: Self) {
        let (low, carry) = self.low.overflowing_add(other.low);
        self.low = low;
        self.high = self.high.wrapping_add(other.high).wrapping_add(u128::from(carry));
    }

    /// For the head's tag: it is written nowhere.
    pub(super) fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.high.to_be_bytes().into_iter().chain(self.low.to_be_bytes())) {
            *to = from;
        }
        bytes
    }

    fn number(keys: &StoreKeys, mark: Mark) -> Self {
        let number = keys.freshness.tag(&[&mark.0]);
        let half = |bytes: Option<&[u8; 16]>| bytes.copied().map_or(0, u128::from_be_bytes);
        Self { high: half(number.first_chunk()), low: half(number.last_chunk()) }
    }
}

/// Nobody may learn it: who did could look for rows with the same sum.
impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sum(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Kind;
    use proptest::prelude::*;

    fn mark(n: u64) -> Mark {
        Mark(u128::from(n).to_be_bytes())
    }

    proptest! {
        #[test]
        fn a_sum_is_of_a_set_whatever_the_order(marks in prop::collection::vec(0u64..50, 0..60)) {
            let keys = StoreKeys::of_test();
            let (mut there, mut sum) = (std::collections::BTreeSet::new(), Sum::default());
            for n in marks {
                if there.insert(n) {
                    sum.add(&keys, mark(n));
                } else {
                    there.remove(&n);
                    sum.remove(&keys, mark(n));
                }
            }
            let mut afresh = Sum::default();
            for n in there.iter().rev() {
                afresh.add(&keys, mark(*n));
            }
            prop_assert_eq!(sum, afresh);
            let mut another = sum;
            another.add(&keys, mark(99));
            prop_assert_ne!(sum, another);
        }
    }

    proptest! {
        /// Names are spread as hashes are, or all in one list.
        #[test]
        fn marks_are_the_map_that_the_changes_make(
            first in prop::collection::vec((0u16..300, 0u64..9), 0..200),
            changes in prop::collection::vec((0u16..300, prop::option::of(0u64..9)), 0..600),
            spread in any::<bool>(),
        ) {
            let name = |n: u16| u128::from(n) << if spread { 112 } else { 3 };
            let mut map: HashMap<Name, Mark> = first.iter().map(|(n, it)| (name(*n), mark(*it))).collect();
            let (mut gathering, keys) = (Gathering::default(), StoreKeys::of_test());
            let mut sum = Sum::default();
            for (name, mark) in &map {
                let mut one = Sum::default();
                one.add(&keys, *mark);
                gathering.add(&[(*name, *mark)], one);
                sum.add(&keys, *mark);
            }
            let (mut marks, gathered) = gathering.finish();
            prop_assert_eq!(gathered, sum);
            for (n, change) in changes {
                match change {
                    Some(it) => {
                        marks.insert(name(n), mark(it));
                        map.insert(name(n), mark(it));
                    }
                    None => {
                        marks.remove(name(n));
                        map.remove(&name(n));
                    }
                }
                prop_assert_eq!((marks.len(), marks.is_empty()), (map.len(), map.is_empty()));
            }
            for n in 0..300 {
                prop_assert_eq!(marks.get(name(n)), map.get(&name(n)).copied());
            }
            prop_assert!(marks.0.iter().all(|list| list.windows(2).all(|pair| pair[0].0 < pair[1].0)));
        }
    }

    #[test]
    fn a_mark_takes_little_more_than_its_own_bytes() {
        let mut marks = Marks::default();
        let namer = Namer::default();
        for n in 0..400_000u64 {
            marks.insert(namer.name(RowName { kind: Kind::Vault, tenant: "t", id: &n.to_string() }), mark(n));
        }
        let (held, room) = (marks.len(), marks.0.iter().map(Vec::capacity).sum::<usize>());
        assert!(held == 400_000 && room < held * 107 / 100, "{room} places for {held}");
        assert_eq!(size_of::<(Name, Mark)>(), 32);
    }

    #[test]
    fn halves_carry_into_each_other() {
        let keys = StoreKeys::of_test();
        let full = Sum { low: u128::MAX, high: u128::MAX };
        let mut sum = full;
        sum.add(&keys, mark(1));
        let one = Sum::number(&keys, mark(1));
        assert_eq!((sum.low, sum.high), (one.low.wrapping_sub(1), one.high), "2^256 - 1 is minus one");
        sum.remove(&keys, mark(1));
        assert_eq!(sum, full);
        assert_eq!(sum.bytes(), [0xFF; 32]);
    }

    #[test]
    fn what_is_read_is_held_against_what_was_written_last() {
        let (keys, live) = (StoreKeys::of_test(), Live::default());
        let name = RowName { kind: Kind::Vault, tenant: "t", id: "v" };
        let tagged = |revision| tags::tag(&keys, name, Revision(revision), &[]);
        let why = |checks: &Checks<'_>, revision| match checks.row(name, &[], revision, &tagged(revision)) {
            Ok(()) => None,
            Err(StoreError::Tampered { why, .. }) => Some(why),
            Err(other) => panic!("{other}"),
        };
        let now = Checks { keys: &keys, live: &live, pending: [None; 2] };
        assert_eq!(why(&now, 1), Some(Tampering::Unknown));
        assert!(now.absent(name).is_ok());
        live.publish(&Pending::from_iter([(live.name(name), Some(Mark::of(&tagged(2))))]));
        assert_eq!((why(&now, 1), why(&now, 2)), (Some(Tampering::Older), None));
        assert!(now.absent(name).is_err());
        assert!(matches!(now.row(name, &[], 2, &tagged(1)), Err(StoreError::Tampered { why: Tampering::Forged, .. })));
        // A transaction sees its own writes.
        let pending = Pending::from_iter([(live.name(name), None)]);
        let within = Checks { pending: [None, Some(&pending)], ..now };
        assert_eq!(why(&within, 2), Some(Tampering::Unknown));
        assert!(within.absent(name).is_ok());
        live.publish(&pending);
        assert!(now.absent(name).is_ok());
    }
}
