//! Whether all chains speak of one history: every row of a chain repeats what the directory's rows were, and two states of
//! one transaction are two histories.
//!
//! There may be millions of transactions, so that each takes [`ENTRY`] bytes here and no more: where a state stands is looked
//! up once it is needed, for the error.
//!
//! Touches the database. Tests: below, and the contract suite.

use std::{cmp::Reverse, collections::BinaryHeap};

use denizen_wire::UnixTime;

use super::super::{
    AuditBroken, Revision, StoreError,
    audit::{Head, chain::int},
    db::{Reader, args},
};

/// Revision, first bytes of the state, when; in this order, and each with its first byte first, so that they sort.
const ENTRY: usize = 8 + 8 + 4;
type Entry = [u8; ENTRY];
/// So many entries are kept in one piece: growing never copies what is there.
const PIECE: usize = 64 * 1024;

/// What the directory's rows were, as a chain says: each state once in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct States {
    pieces: Vec<Vec<Entry>>,
}

impl States {
    /// Notes a state, unless it is the one that was noted last.
    pub(super) fn note(&mut self, revision: Revision, state: &[u8], at: UnixTime) {
        let entry = entry(revision, state, at);
        let last = self.pieces.last().and_then(|piece| piece.last());
        if last.is_some_and(|last| of(last) == of(&entry)) {
            return;
        }
        match self.pieces.last_mut().filter(|piece| piece.len() < PIECE) {
            Some(piece) => piece.push(entry),
            None => self.pieces.push(vec![entry]),
        }
    }
}

fn entry(revision: Revision, state: &[u8], at: UnixTime) -> Entry {
    let (mut entry, at) = ([0; ENTRY], seconds(at).to_be_bytes());
    let state: [u8; 8] = state.first_chunk().copied().unwrap_or_default();
    for (to, from) in entry.iter_mut().zip(revision.0.to_be_bytes().into_iter().chain(state).chain(at)) {
        *to = from;
    }
    entry
}

/// A revision and a state, without the time.
fn of(entry: &Entry) -> [u8; 16] {
    entry.first_chunk().copied().unwrap_or_default()
}

fn revision_of(entry: &Entry) -> u64 {
    u64::from_be_bytes(entry.first_chunk().copied().unwrap_or_default())
}

fn time_of(entry: &Entry) -> u32 {
    u32::from_be_bytes(entry.last_chunk().copied().unwrap_or_default())
}

/// A time in as many bytes as an entry has for it; what is before or beyond them is the first or the last of them.
fn seconds(at: UnixTime) -> u32 {
    u32::try_from(at.0.max(0)).unwrap_or(u32::MAX)
}

/// What the rows were, as all chains say. There is one history: two replicas that wrote the same transaction differently
/// did not know of each other's.
#[derive(Default)]
pub(super) struct History {
    states: States,
    /// The revisions from which somebody went on with other rows, and when.
    gone_on: Vec<(Revision, UnixTime)>,
}

/// Two states of one transaction.
#[derive(Debug, PartialEq, Eq)]
struct Two {
    revision: u64,
    states: [[u8; 8]; 2],
}

impl History {
    /// Takes over what a chain says.
    pub(super) fn add(&mut self, mut states: States, gone_on: Vec<(Revision, UnixTime)>) {
        self.states.pieces.append(&mut states.pieces);
        self.gone_on.extend(gone_on);
    }

    /// Refuses two of one transaction; a head that was kept elsewhere counts as well.
    ///
    /// # Errors
    /// [`AuditBroken`] with the first that is two; the store's.
    pub(super) async fn refuse_two(mut self, db: &mut Reader<'_>, since: Option<&Head>) -> Result<(), StoreError> {
        if let Some(head) = since {
            let (revision, state) = head.known();
            self.states.pieces.push(vec![entry(revision, &state, head.at)]);
        }
        let Some(two) = self.two() else { return Ok(()) };
        let [one, other] = two.states;
        let (at, of) = place_of(db, two.revision, one, since).await?;
        let (_, of_other) = place_of(db, two.revision, other, since).await?;
        let why = format!(
            "two histories: the rows of transaction {} are others in {of} than in {of_other}. A standby that lacked changes \
             was promoted, or an older state was put back and written to",
            two.revision
        );
        Err(AuditBroken { at, why }.into())
    }

    /// The first transaction that has two states.
    fn two(&mut self) -> Option<Two> {
        // Somebody went on from an earlier one, which is recorded: what came after that until then is another history.
        let gone_on: Vec<_> = self.gone_on.iter().map(|(from, when)| (from.0, seconds(*when))).collect();
        let is_past = |it: &Entry| gone_on.iter().any(|(from, when)| revision_of(it) > *from && time_of(it) <= *when);
        // Each piece is sorted where it is, and all are gone through together.
        let pieces = &mut self.states.pieces;
        pieces.iter_mut().for_each(|piece| piece.sort_unstable());
        let mut rests: Vec<_> = pieces.iter().map(|piece| piece.iter()).collect();
        let firsts = rests.iter_mut().enumerate().filter_map(|(piece, rest)| Some(Reverse((*rest.next()?, piece))));
        let mut next: BinaryHeap<_> = firsts.collect();
        let mut before: Option<Entry> = None;
        while let Some(Reverse((entry, piece))) = next.pop() {
            if let Some(following) = rests.get_mut(piece).and_then(Iterator::next) {
                next.push(Reverse((*following, piece)));
            }
            if is_past(&entry) {
                continue;
            }
            if let Some(before) = before.filter(|it| revision_of(it) == revision_of(&entry) && of(it) != of(&entry)) {
                let states = [before, entry].map(|it| of(&it).last_chunk().copied().unwrap_or_default());
                return Some(Two { revision: revision_of(&entry), states });
            }
            before = Some(entry);
        }
        None
    }
}

/// Where it stands that the rows were this at a transaction: the record, and its place in words.
async fn place_of(
    db: &mut Reader<'_>,
    revision: u64,
    state: [u8; 8],
    since: Option<&Head>,
) -> Result<(u64, String), StoreError> {
    let is_it = |found: &[u8]| found.first_chunk() == Some(&state);
    if let Some(head) = since.filter(|head| head.revision.0 == revision && is_it(&head.known().1)) {
        return Ok((head.seq, format!("the head that was given, record {}", head.seq)));
    }
    let mut after = (String::new(), 0);
    loop {
        let sql = "SELECT chain, last, state, seq FROM audit WHERE revision = $1 AND (chain > $2 OR (chain = $2 AND seq > $3)) \
                   ORDER BY chain, seq LIMIT 1000";
        let page = db.rows(sql, args![int(revision)?, &after.0, after.1]).await?;
        for row in &page {
            let chain = row.text(0)?;
            if row.bytes(2).is_ok_and(|found| is_it(&found)) {
                let last = row.int(1)?.cast_unsigned();
                return Ok((last, format!("{chain}, record {last}")));
            }
            after = (chain, row.int(3)?);
        }
        if page.is_empty() {
            // Retention has removed it meanwhile.
            return Ok((0, "a record that is gone".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(revision: u64, of: u8) -> Vec<u8> {
        [revision.to_le_bytes(), [of; 8]].concat().into_iter().rev().collect()
    }

    fn at(day: i64) -> UnixTime {
        UnixTime(1_700_000_000 + day * 86_400)
    }

    /// The states of these revisions in one history.
    fn states(revisions: std::ops::Range<u64>, of: u8, day: i64) -> States {
        let mut states = States::default();
        for revision in revisions {
            // As often as there are records of reads.
            for _ in 0..3 {
                states.note(Revision(revision), &state(revision, of), at(day));
            }
        }
        states
    }

    fn two_of(chains: Vec<States>, gone_on: &[(u64, i64)]) -> Option<u64> {
        let mut history = History::default();
        chains.into_iter().for_each(|states| history.add(states, Vec::new()));
        history.add(States::default(), gone_on.iter().map(|(from, day)| (Revision(*from), at(*day))).collect());
        history.two().map(|two| two.revision)
    }

    #[test]
    fn one_transaction_with_two_states_is_found_wherever_it_stands() {
        let many = PIECE as u64 * 3;
        assert_eq!(
            two_of(vec![states(1..many, 1, 0), states(500..900, 1, 1), states(many..many + 9, 1, 1)], &[]),
            None
        );
        for other in [1, 2, PIECE as u64, PIECE as u64 + 1, many - 1] {
            let chains = vec![states(1..many, 1, 0), states(other..other + 1, 2, 1)];
            assert_eq!(two_of(chains, &[]), Some(other));
        }
        // In one chain, and the first of several.
        let mut one = states(1..100, 1, 0);
        one.pieces.extend(states(40..50, 2, 1).pieces);
        assert_eq!(two_of(vec![one], &[]), Some(40));
    }

    #[test]
    fn what_somebody_went_on_from_is_no_second_history() {
        let chains = || vec![states(1..100, 1, 0), states(40..50, 2, 2)];
        assert_eq!(two_of(chains(), &[(39, 1)]), None);
        assert_eq!(two_of(chains(), &[(40, 1)]), Some(40), "nobody gave that one up");
        assert_eq!(two_of(chains(), &[(39, -1)]), Some(40), "it was written afterwards");
    }

    /// Four million transactions, about what 4 GiB of audit have, take 80 MB.
    #[test]
    fn a_transaction_takes_twenty_bytes() {
        let many = 10 * PIECE as u64 + 1;
        let states = states(0..many, 1, 0);
        let bytes: usize = states.pieces.iter().map(|piece| piece.capacity() * size_of::<Entry>()).sum();
        assert!(bytes <= (many as usize + PIECE) * 20, "{bytes} bytes for {many}");
        assert_eq!(states.pieces.iter().map(Vec::len).sum::<usize>(), many as usize);
    }
}
