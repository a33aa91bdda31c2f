//! A history of concurrent writes and reads, and whether some order of them explains what everybody saw.
//!
//! Each secret is a register whose writes have values of their own, so who read what was written by whom is known. A
//! history of such a register is linearizable if, and only if, no read is of a value that was not written by then, no two
//! values' forward zones overlap, and no backward zone lies within a forward one (Gibbons and Korach, *Testing Shared
//! Memories*, 1997, theorem 4.2). The zone of a value reaches from the first end to the last begin of the operations that
//! wrote or read it: forward when it was there for all of that time, backward when one moment explains them all.
//!
//! Tests: below.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// What was done to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Wrote(u64),
    /// None when nothing was there.
    Read(Option<u64>),
}

/// One operation. Times are nanoseconds since the history began.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) register: String,
    pub(crate) did: Did,
    pub(crate) begin: u64,
    /// None when nobody knows whether it was done.
    pub(crate) end: Option<u64>,
}

/// What many clients did, while they do it.
pub(crate) struct History {
    began: Instant,
    operations: Mutex<Vec<Operation>>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), operations: Mutex::default() }
    }

    /// The time now. It is after the time 0, at which every register is empty.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap() + 1
    }

    pub(crate) fn add(&self, operation: Operation) {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Panics when no order explains it; gives how many operations there were.
    pub(crate) fn check(&self) -> usize {
        let operations = self.operations();
        let found = violations(&operations);
        assert!(found.is_empty(), "{} violations among {} operations: {found:#?}", found.len(), operations.len());
        operations.len()
    }
}

/// The operations that wrote or read one value.
struct Zone {
    value: Option<u64>,
    /// When the first of them had ended.
    first_end: u64,
    /// When the last of them began.
    last_begin: u64,
}

/// Why no order explains a history; empty when one does.
pub(crate) fn violations(operations: &[Operation]) -> Vec<String> {
    let mut registers: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        registers.entry(&operation.register).or_default().push(operation);
    }
    let mut found = Vec::new();
    for (register, operations) in registers {
        found.extend(of_register(&operations).into_iter().map(|why| format!("{register}: {why}")));
    }
    found
}

fn of_register(operations: &[&Operation]) -> Vec<String> {
    let mut found = Vec::new();
    let mut zones: BTreeMap<Option<u64>, (u64, Zone)> = BTreeMap::new();
    // What is there before anybody writes.
    zones.insert(None, (0, Zone { value: None, first_end: 0, last_begin: 0 }));
    for operation in operations {
        if let Did::Wrote(value) = operation.did {
            let zone =
                Zone { value: Some(value), first_end: operation.end.unwrap_or(u64::MAX), last_begin: operation.begin };
            assert!(zones.insert(Some(value), (operation.begin, zone)).is_none(), "{value} is written twice");
        }
    }
    for operation in operations {
        let (Did::Read(value), Some(end)) = (operation.did, operation.end) else { continue };
        let Some((written, zone)) = zones.get_mut(&value) else {
            found.push(format!("{value:?} was read, and nobody wrote it"));
            continue;
        };
        if end < *written {
            found.push(format!("{value:?} was read before it was written"));
        }
        zone.first_end = zone.first_end.min(end);
        zone.last_begin = zone.last_begin.max(operation.begin);
    }
    // A write that nobody knows of, and nobody saw, need not have been done.
    let (mut forward, backward): (Vec<_>, Vec<_>) = zones
        .into_values()
        .map(|(_, zone)| zone)
        .filter(|zone| zone.first_end < u64::MAX)
        .partition(|zone| zone.first_end < zone.last_begin);
    forward.sort_by_key(|zone| zone.first_end);
    for pair in forward.windows(2) {
        if pair[1].first_end < pair[0].last_begin {
            found.push(format!("{:?} was there after {:?} had replaced it", pair[0].value, pair[1].value));
        }
    }
    for zone in backward {
        let within = |outer: &&Zone| outer.first_end < zone.last_begin && zone.first_end < outer.last_begin;
        if let Some(outer) = forward.iter().find(within) {
            found.push(format!("{:?} was there before and after {:?} replaced it", outer.value, zone.value));
        }
    }
    found
}

mod tests {
    use super::*;

    fn op(did: Did, begin: u64, end: u64) -> Operation {
        Operation { register: "r".into(), did, begin, end: Some(end) }
    }

    fn unknown(value: u64, begin: u64) -> Operation {
        Operation { register: "r".into(), did: Did::Wrote(value), begin, end: None }
    }

    use Did::{Read, Wrote};

    #[test]
    fn what_one_after_the_other_sees_is_explained() {
        let good = [op(Read(None), 1, 2), op(Wrote(1), 3, 4), op(Read(Some(1)), 5, 6), op(Wrote(2), 7, 8)];
        assert!(violations(&good).is_empty());
        // While two are written, either may be there; also in turn, once.
        let good = [op(Wrote(1), 1, 10), op(Wrote(2), 1, 10), op(Read(Some(2)), 2, 3), op(Read(Some(1)), 4, 5)];
        assert!(violations(&good).is_empty());
        let good = [op(Wrote(1), 1, 2), op(Wrote(2), 3, 10), op(Read(Some(1)), 4, 5), op(Read(Some(2)), 6, 7)];
        assert!(violations(&good).is_empty());
    }

    #[test]
    fn a_write_that_is_lost_is_found() {
        let lost = [op(Wrote(1), 1, 2), op(Wrote(2), 3, 4), op(Read(Some(1)), 5, 6)];
        assert_eq!(violations(&lost).len(), 1);
        assert_eq!(violations(&[op(Wrote(1), 1, 2), op(Read(None), 3, 4)]).len(), 1);
    }

    #[test]
    fn a_read_that_is_older_than_one_before_it_is_found() {
        // The write is not done yet, but somebody has seen it.
        let back = [op(Wrote(1), 1, 2), op(Wrote(2), 3, 20), op(Read(Some(2)), 4, 5), op(Read(Some(1)), 6, 7)];
        assert_eq!(violations(&back).len(), 1);
        let thrice = [
            op(Wrote(1), 1, 20),
            op(Wrote(2), 1, 20),
            op(Read(Some(1)), 2, 3),
            op(Read(Some(2)), 4, 5),
            op(Read(Some(1)), 6, 7),
        ];
        assert_eq!(violations(&thrice).len(), 1);
    }

    #[test]
    fn what_nobody_wrote_or_not_yet_is_found() {
        assert_eq!(violations(&[op(Wrote(1), 1, 2), op(Read(Some(3)), 3, 4)]).len(), 1);
        assert!(!violations(&[op(Read(Some(1)), 1, 2), op(Wrote(1), 3, 4)]).is_empty());
    }

    #[test]
    fn a_write_that_nobody_knows_of_is_done_or_not_and_stays_so() {
        let sees = |reads: &[Operation]| {
            let mut all = vec![op(Wrote(1), 1, 2), unknown(2, 3)];
            all.extend_from_slice(reads);
            violations(&all)
        };
        assert!(sees(&[op(Read(Some(1)), 9, 10)]).is_empty());
        assert!(sees(&[op(Read(Some(2)), 9, 10)]).is_empty());
        assert!(sees(&[op(Read(Some(1)), 7, 8), op(Read(Some(2)), 9, 10)]).is_empty());
        assert_eq!(sees(&[op(Read(Some(2)), 7, 8), op(Read(Some(1)), 9, 10)]).len(), 1);
    }

    #[test]
    fn registers_are_apart() {
        let mut other = op(Read(Some(1)), 5, 6);
        other.register = "other".into();
        assert_eq!(violations(&[op(Wrote(1), 1, 2), other]).len(), 1);
    }

    /// All histories of three operations by the definition itself: some order of all that respects time and is a register's.
    #[test]
    fn the_theorem_says_what_the_definition_says() {
        let times = [(1, 2), (1, 4), (3, 4), (3, 6), (5, 6), (1, 6)];
        let reads = [None, Some(1), Some(2)];
        let (mut good, mut bad) = (0, 0);
        for first in times {
            for second in times {
                for third in times {
                    for fourth in times {
                        for (one, other) in reads.iter().flat_map(|one| reads.map(|other| (*one, other))) {
                            let all = [
                                op(Wrote(1), first.0, first.1),
                                op(Wrote(2), second.0, second.1),
                                op(Read(one), third.0, third.1),
                                op(Read(other), fourth.0, fourth.1),
                            ];
                            let is_good = some_order(&all, 0, None);
                            assert_eq!(violations(&all).is_empty(), is_good, "{all:?}");
                            *if is_good { &mut good } else { &mut bad } += 1;
                        }
                    }
                }
            }
        }
        assert!(good > 1000 && bad > 1000, "{good} {bad}");
    }

    /// Whether the operations whose bit is not in `done` can follow, with this value there.
    fn some_order(all: &[Operation], done: u32, there: Option<u64>) -> bool {
        let left = || (0..all.len()).filter(|n| done & (1 << n) == 0);
        if left().next().is_none() {
            return true;
        }
        left().any(|n| {
            let is_first = left().all(|other| all[other].end.unwrap() >= all[n].begin);
            let next = match all[n].did {
                Wrote(value) => Some(Some(value)),
                Read(value) => (value == there).then_some(there),
            };
            is_first && next.is_some_and(|there| some_order(all, done | 1 << n, there))
        })
    }
}
