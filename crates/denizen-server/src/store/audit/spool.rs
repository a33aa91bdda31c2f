//! The audit's spool: where an event is written before what it speaks of happens.
//!
//! One `write(2)` to a file beside the data, then the caller goes on. What has been written survives the end of the
//! process, however it ends; [`super::super::shipper`] moves it into the chain within moments, and that commit is what
//! survives the loss of power (`docs/adr/0004`).
//!
//! ```text
//! NAME.audit/00000000000000000000.jsonl   the spool is one stream of bytes, cut into segments;
//! NAME.audit/00000000000008388821.jsonl   a segment is named after the position of its first byte
//! ```
//!
//! A line begins with its tag: HMAC under a key that is derived from the root key, over the line's position and its
//! record, in base64url, and a space. So who can write the folder and does not have the root key can take records away,
//! which is found, and cannot add, edit, move or repeat one. The chain gets the record alone.
//!
//! The chain's last row says up to which position the spool has been shipped, so that a record is neither lost nor
//! written twice, whenever the process dies. Segments whose end has been shipped are removed.
//!
//! Files in the folder may be lost, or made away with. A record that the chain does not have cannot be made anew, so that
//! it is missing is logged, and recorded itself: a [`Finding`]. So is a line whose tag does not fit. A segment whose name
//! is a position that the spool cannot have reached is another's: it is moved aside, and is a finding too. What stands where the folder or a segment should and is a
//! link, a pipe or anything else is refused, and left as it is.
//!
//! Touches its folder. Knows nothing of the database. Tests: `spool/tests.rs`, and the contract suite.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use denizen_keys::{constant_time_eq, mac::MacKey};
use denizen_wire::TenantId;
use tokio::sync::Notify;

use super::super::{StoreError, audit, files::Folder};

#[cfg(test)]
mod tests;

/// Bytes that may wait to be shipped. When the database is away for longer than this lasts, nothing more is recorded,
/// and so nothing more is done.
pub(in crate::store) const ROOM: u64 = 32 * 1024 * 1024;
/// A segment is closed when it has grown beyond this many bytes.
const SEGMENT: u64 = 8 * 1024 * 1024;
/// The most memory that is kept for the next batch, bytes.
const MAX_SPARE: usize = 4 * 1024 * 1024;
/// What the copy of a damaged segment ends in.
const DAMAGED: &str = ".damaged";
/// What the name of a file ends in that had a segment's name and could be none.
const FOREIGN: &str = ".foreign";
/// No position is beyond this: the database could not hold it.
const FURTHEST: u64 = i64::MAX as u64;
/// Characters of a line's tag.
const TAG_TEXT: usize = 43;
/// What stands in a line before the record: the tag and a space.
pub(in crate::store) const TAG: usize = TAG_TEXT + 1;
/// Records that are shipped at once, at most: an engine takes about 32000 placeholders, and a record may need a row.
pub(in crate::store) const BATCH: usize = 3072;

/// The spool.
pub(in crate::store) struct Spool {
    folder: PathBuf,
    key: MacKey,
    state: Mutex<State>,
    /// Told when the first record comes to wait, and when the spool is closed.
    pub(in crate::store) filled: Notify,
    written: AtomicU64,
    findings: Mutex<Vec<Finding>>,
    #[cfg(test)]
    pub(in crate::store) syncs: AtomicU64,
}

/// What is known of a spool before it is opened.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Known {
    /// The position up to which the chain has everything.
    pub(in crate::store) shipped: u64,
    /// The position up to which it was written, as far as is known; none when there was no spool yet.
    pub(in crate::store) spooled: Option<u64>,
}

/// Something that is not as this process, or the one before it, left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Finding {
    /// What was found.
    pub(in crate::store) what: &'static str,
    /// The position at which the records that may be lost begin.
    pub(in crate::store) from: u64,
    /// The one at which they end, where that is known.
    pub(in crate::store) to: Option<u64>,
    /// The name of the file that it was found in, where it is one.
    pub(in crate::store) file: Option<String>,
}

impl Finding {
    const fn new(what: &'static str, from: u64, to: Option<u64>) -> Self {
        Self { what, from, to, file: None }
    }
}

struct State {
    folder: Folder,
    active: File,
    /// The position of the active segment's first byte.
    base: u64,
    /// The position after the last record.
    end: u64,
    /// The position up to which the chain has everything.
    shipped: u64,
    /// What nobody has taken yet.
    waiting: Batch,
    /// An empty batch that keeps its memory: growing a new one for every batch costs copies and page faults.
    spare: Batch,
    /// Positions of closed segments that are still there, oldest first.
    closed_segments: Vec<u64>,
    /// Whether part of a record may stand at the end of the file.
    torn: bool,
    closed: bool,
    /// Why nothing may be written for now: what stands where the files should.
    refused: Option<Arc<io::Error>>,
}

/// Records in the order they were written.
#[derive(Default)]
pub(in crate::store) struct Batch {
    /// Their lines without the tags, each with its newline.
    pub(in crate::store) text: String,
    /// For each, whose it is and how long.
    pub(in crate::store) marks: Vec<Mark>,
    /// The position in the spool after the last of them.
    pub(in crate::store) end: u64,
}

/// One record of a [`Batch`].
pub(in crate::store) struct Mark {
    pub(in crate::store) tenant: TenantId,
    /// The length of its record, bytes, newline included.
    pub(in crate::store) length: usize,
    /// The position in the spool after it.
    end: u64,
}

impl Spool {
    /// Opens the folder, makes it when it is not there, and takes up what the chain does not have yet.
    pub(in crate::store) fn open(folder: &Path, known: Known, key: &MacKey) -> Result<Self, StoreError> {
        let mut findings = Vec::new();
        let opened = Folder::open(folder).and_then(|(dir, made)| State::open(dir, made, known, key, &mut findings));
        let state = opened.map_err(|source| failed(folder, Arc::new(source)))?;
        let spool = Self {
            folder: folder.to_owned(),
            key: key.clone(),
            state: Mutex::new(state),
            filled: Notify::new(),
            written: AtomicU64::new(0),
            findings: Mutex::new(Vec::new()),
            #[cfg(test)]
            syncs: AtomicU64::new(0),
        };
        for finding in findings {
            spool.find(finding);
        }
        if !spool.state().waiting.marks.is_empty() {
            spool.filled.notify_one();
        }
        Ok(spool)
    }

    /// Writes one record: [`TAG`] spaces, and a line that ends with its only newline. On an error nothing of it is kept.
    pub(in crate::store) fn append(&self, tenant: TenantId, mut line: String) -> Result<(), StoreError> {
        let length = line.len().saturating_sub(TAG);
        let mut state = self.state();
        if state.closed {
            return Err(StoreError::Closed);
        }
        if let Some(why) = &state.refused {
            return Err(failed(&self.folder, why.clone()));
        }
        let end = state.end.saturating_add(line.len() as u64);
        if end.saturating_sub(state.shipped) > ROOM || end > FURTHEST {
            return Err(StoreError::AuditFull);
        }
        seal(&self.key, state.end, &mut line);
        state.write(&line).map_err(|source| failed(&self.folder, Arc::new(source)))?;
        state.end = end;
        let first = state.waiting.marks.is_empty();
        state.waiting.marks.push(Mark { tenant, length, end });
        state.waiting.end = end;
        drop(state);
        self.written.fetch_add(1, Ordering::Relaxed);
        if first {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Takes what waits, at most [`BATCH`] records; none when nothing does. It stays in the files until
    /// [`Self::shipped`] is told.
    pub(in crate::store) fn take(&self) -> Option<Batch> {
        let mut state = self.state();
        if state.waiting.marks.is_empty() {
            return None;
        }
        let spare = std::mem::take(&mut state.spare);
        Some(state.waiting.split(spare))
    }

    /// Takes back a batch that has been shipped, for its memory.
    pub(in crate::store) fn give_back(&self, mut batch: Batch) {
        if batch.text.capacity() <= MAX_SPARE {
            batch.text.clear();
            batch.marks.clear();
            self.state().spare = batch;
        }
    }

    /// How many records wait to be taken.
    pub(in crate::store) fn waiting(&self) -> usize {
        self.state().waiting.marks.len()
    }

    /// The position up to which the chain has everything, and the one after the last record.
    pub(in crate::store) fn position(&self) -> (u64, u64) {
        let state = self.state();
        (state.shipped, state.end)
    }

    /// Bytes that are not in the chain yet.
    pub(in crate::store) fn behind(&self) -> u64 {
        let (shipped, end) = self.position();
        end.saturating_sub(shipped)
    }

    /// How many records were written since the spool was opened.
    pub(in crate::store) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Says that the chain has, durably, everything before `position`: segments that lie before it are removed. Says
    /// whether a new segment was begun, whose name is not on the disk yet: [`Self::sync_names`].
    pub(in crate::store) fn shipped(&self, position: u64) -> bool {
        let mut state = self.state();
        state.shipped = state.shipped.max(position);
        let mut turned = false;
        if state.end.saturating_sub(state.base) > SEGMENT || (state.closed && state.end > state.base) {
            match state.turn() {
                Ok(()) => turned = true,
                // The segment goes on growing; nothing is lost.
                Err(error) => {
                    tracing::warn!(%error, folder = %self.folder.display(), "no new segment of the audit's spool could be made");
                }
            }
        }
        for base in state.let_go() {
            if let Err(error) = state.folder.remove(&name(base)) {
                let file = state.folder.path().join(name(base));
                tracing::warn!(%error, file = %file.display(), "a segment of the audit's spool stays behind");
            }
        }
        turned
    }

    /// Brings the names of the segments to the disk.
    pub(in crate::store) fn sync_names(&self) {
        if let Err(error) = self.state().folder.sync() {
            tracing::warn!(%error, folder = %self.folder.display(), "the names of the audit's spool are not on the disk");
        }
    }

    /// Brings the files to the disk: what is done while the chain cannot be written.
    pub(in crate::store) fn sync(&self) -> io::Result<()> {
        let segments: Vec<_> = {
            let state = self.state();
            state.closed_segments.iter().chain([&state.base]).map(|base| state.folder.file(&name(*base))).collect()
        };
        for segment in segments {
            match segment {
                Ok(segment) => segment.sync_data()?,
                // Carried and removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.state().folder.sync()?;
        #[cfg(test)]
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Looks whether the files are still where they were, and begins new ones when they are not. While that cannot be
    /// done nothing may be written. What waits is in memory too, so as long as this process lives nothing is lost.
    pub(in crate::store) fn look_after(&self) {
        let mut state = self.state();
        if state.closed || (state.refused.is_none() && state.is_in_place()) {
            return;
        }
        let from = state.shipped;
        match state.begin_anew(&self.folder) {
            Ok(()) => {
                state.refused = None;
                drop(state);
                let what = "files of the audit's spool were removed or replaced while the server ran; what they held is in memory";
                self.find(Finding::new(what, from, None));
            }
            Err(error) => {
                if state.refused.is_none() {
                    tracing::error!(%error, folder = %self.folder.display(), "the audit's spool was replaced: nothing is recorded, and so nothing done, until it is put right");
                }
                state.refused = Some(Arc::new(error));
            }
        }
    }

    /// What was found since the last call.
    pub(in crate::store) fn findings(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.findings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts back what could not be recorded.
    pub(in crate::store) fn find_again(&self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).extend(findings);
    }

    fn find(&self, finding: Finding) {
        tracing::error!(from = finding.from, to = finding.to, file = finding.file, folder = %self.folder.display(), "{}", finding.what);
        self.find_again([finding]);
    }

    /// Refuses every later record.
    pub(in crate::store) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_one();
    }

    pub(in crate::store) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// A panic elsewhere leaves the state as it was before or after a record, so it stays good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are any.
    #[cfg(test)]
    pub(in crate::store) fn peek_findings(&self) -> Vec<Finding> {
        self.findings.lock().unwrap().clone()
    }

    /// Where it is.
    #[cfg(test)]
    pub(in crate::store) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes every later write fail, as a full disk does.
    #[cfg(test)]
    pub(in crate::store) fn fill_the_disk(&self) {
        let mut state = self.state();
        state.active = state.folder.file(&name(state.base)).unwrap();
    }
}

impl State {
    fn open(folder: Folder, made: bool, known: Known, key: &MacKey, findings: &mut Vec<Finding>) -> io::Result<Self> {
        let Known { shipped, spooled } = known;
        let mut waiting = Batch { end: shipped, ..Batch::default() };
        // Nothing was ever written beyond what there is room for after what the chain has.
        let limit = spooled.unwrap_or(0).max(shipped).saturating_add(ROOM + SEGMENT).min(FURTHEST);
        let mut segments = segments(&folder)?;
        segments.sort_unstable();
        for foreign in segments.iter().filter(|base| **base > limit) {
            let file = name(*foreign);
            folder.rename(&file, &format!("{file}{FOREIGN}"))?;
            let what = "a file whose name is a position that the audit's spool cannot have reached was moved aside";
            findings.push(Finding { file: Some(file), ..Finding::new(what, shipped, None) });
        }
        segments.retain(|base| *base <= limit);
        let mut found = |file: Option<u64>, what, from, to| {
            findings.push(Finding { file: file.map(name), ..Finding::new(what, from, to) });
        };
        if spooled.is_some() && segments.is_empty() {
            // An open spool always has one, and its name was brought to the disk.
            found(
                None,
                if made {
                    "the folder of the audit's spool is missing"
                } else {
                    "all segments of the audit's spool are missing"
                },
                shipped,
                spooled.filter(|end| *end > shipped),
            );
        }
        // Where what was read so far ends; and where the files do.
        let (mut end, mut files_end) = (shipped, 0);
        for base in &segments {
            if *base > end {
                found(None, "a part of the audit's spool is missing", end, Some(*base));
            }
            let (read_to, damaged) = read(&folder, *base, limit, key, &mut waiting)?;
            for (from, to) in damaged {
                found(
                    Some(*base),
                    "records of the audit's spool are damaged, or were not written by this server; a copy of their segment \
                     is kept beside it",
                    from,
                    Some(to),
                );
            }
            if read_to.is_cut {
                found(
                    Some(*base),
                    "a segment of the audit's spool was longer than it can be, and was cut off",
                    limit,
                    None,
                );
            }
            let ReadTo { end: read_to, .. } = read_to;
            files_end = read_to;
            end = end.max(files_end);
        }
        let spooled = spooled.unwrap_or(0).max(shipped);
        if !segments.is_empty() && spooled > files_end {
            // As after a loss of power. What the chain has is not lost, and what came after it may be.
            found(
                segments.last().copied(),
                "the audit's spool ends before the position it had reached",
                files_end.max(shipped),
                None,
            );
        }
        waiting.end = end;
        // What cannot be read cannot be shipped: it is kept beside, and not waited for.
        let shipped = if waiting.marks.is_empty() { end } else { shipped };
        let active = folder.empty(&name(end))?;
        folder.sync()?;
        // The new one may take the name of an empty old one.
        segments.retain(|base| *base != end);
        Ok(Self {
            folder,
            active,
            base: end,
            end,
            shipped,
            waiting,
            spare: Batch::default(),
            closed_segments: segments,
            torn: false,
            closed: false,
            refused: None,
        })
    }

    /// Whether the folder and all segments are where they were.
    fn is_in_place(&self) -> bool {
        self.folder.is_at_its_path()
            && self.folder.has(&name(self.base), &self.active)
            && self.closed_segments.iter().all(|base| self.folder.has_regular(&name(*base)))
    }

    /// Goes on in a new segment, in a new folder if there is none any more.
    fn begin_anew(&mut self, path: &Path) -> io::Result<()> {
        let (folder, _) = Folder::open(path)?;
        let active = folder.empty(&name(self.end))?;
        folder.sync()?;
        self.closed_segments.push(self.base);
        self.closed_segments.retain(|base| *base != self.end && folder.has_regular(&name(*base)));
        (self.folder, self.active, self.base, self.torn) = (folder, active, self.end, false);
        Ok(())
    }

    /// Writes a line to the file, and adds its record to what waits.
    fn write(&mut self, line: &str) -> io::Result<()> {
        self.cut_torn_record()?;
        let written = self.active.write_all(line.as_bytes());
        if written.is_ok() {
            self.waiting.text.push_str(line.get(TAG..).unwrap_or_default());
        } else {
            self.torn = true;
            // If it cannot be cut now, it is tried again before the next record is written.
            let _ = self.cut_torn_record();
        }
        written
    }

    /// Cuts off what a failed write may have left.
    fn cut_torn_record(&mut self) -> io::Result<()> {
        if self.torn {
            self.active.set_len(self.end.saturating_sub(self.base))?;
            self.torn = false;
        }
        Ok(())
    }

    /// Starts a new segment.
    fn turn(&mut self) -> io::Result<()> {
        self.cut_torn_record()?;
        self.active = self.folder.empty(&name(self.end))?;
        self.closed_segments.push(self.base);
        self.base = self.end;
        Ok(())
    }

    /// The closed segments whose end has been shipped: no longer ours.
    fn let_go(&mut self) -> Vec<u64> {
        // Each ends where the next begins.
        let ends = self.closed_segments.iter().skip(1).chain([&self.base]);
        let done = self.closed_segments.iter().zip(ends).take_while(|(_, end)| **end <= self.shipped).count();
        self.closed_segments.drain(..done).collect()
    }
}

impl Batch {
    fn push(&mut self, tenant: TenantId, line: &str, end: u64) {
        self.text.push_str(line);
        self.marks.push(Mark { tenant, length: line.len(), end });
        self.end = end;
    }

    /// Gives the first [`BATCH`] records, and keeps the others. When there are none, `spare` takes their place.
    fn split(&mut self, spare: Self) -> Self {
        if self.marks.len() <= BATCH {
            let end = self.end;
            return std::mem::replace(self, Self { end, ..spare });
        }
        let marks = self.marks.split_off(BATCH);
        let length = self.marks.iter().map(|mark| mark.length).sum();
        let rest = Self { text: self.text.split_off(length), marks, end: self.end };
        let mut first = std::mem::replace(self, rest);
        first.end = first.marks.last().map_or(first.end, |mark| mark.end);
        first
    }
}

fn failed(folder: &Path, source: Arc<io::Error>) -> StoreError {
    StoreError::Spool { folder: folder.to_owned(), source }
}

fn name(base: u64) -> String {
    format!("{base:020}.jsonl")
}

/// The positions of the segments in a folder.
fn segments(folder: &Folder) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for file in folder.names()? {
        let base = file.strip_suffix(".jsonl").and_then(|base| base.parse().ok());
        match base.filter(|base| name(*base) == file) {
            Some(base) => found.push(base),
            None if file.ends_with(DAMAGED) || file.ends_with(FOREIGN) => {}
            None => tracing::warn!(
                file = %folder.path().join(&file).display(),
                "a file that is no part of the audit's spool is in its folder"
            ),
        }
    }
    Ok(found)
}

/// Writes the tag into a line that begins at a position, over the spaces before its record.
fn seal(key: &MacKey, at: u64, line: &mut String) {
    let Some(tag) = line.get(TAG..).map(|record| tag(key, at, record.as_bytes())) else { return };
    if let Ok(tag) = std::str::from_utf8(&tag) {
        line.replace_range(..TAG_TEXT, tag);
    }
}

/// The record of a line that was sealed at this position; none when it was not.
fn opened<'l>(key: &MacKey, at: u64, line: &'l [u8]) -> Option<&'l str> {
    let (found, rest) = line.split_at_checked(TAG_TEXT)?;
    let record = rest.strip_prefix(b" ")?;
    if !constant_time_eq(&tag(key, at, record), found) {
        return None;
    }
    std::str::from_utf8(record).ok()
}

/// The tag of a record in a line that begins at a position, as text.
fn tag(key: &MacKey, at: u64, record: &[u8]) -> [u8; TAG_TEXT] {
    let mut text = [b' '; TAG_TEXT];
    // 32 bytes are 43 characters.
    let _ = URL_SAFE_NO_PAD.encode_slice(key.tag(&[b"line", &at.to_be_bytes(), record]), &mut text);
    text
}

/// How far a segment was read.
struct ReadTo {
    /// The position after its last whole line.
    end: u64,
    /// Whether it went on beyond what it can be.
    is_cut: bool,
}

/// Reads one segment's records that `into` does not reach yet; says how far it goes, and where it is damaged. A copy of
/// a damaged segment is kept for whoever wants to make out what it held.
fn read(
    folder: &Folder,
    base: u64,
    limit: u64,
    key: &MacKey,
    into: &mut Batch,
) -> io::Result<(ReadTo, Vec<(u64, u64)>)> {
    let segment = name(base);
    let (bytes, is_all) = folder.read(&segment, limit.saturating_sub(base))?;
    let (mut end, mut damaged): (u64, Vec<(u64, u64)>) = (base, Vec::new());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.last() != Some(&b'\n') {
            // Nobody was told that it was written. Cut off, so that it is not taken for the start of another.
            let file = folder.path().join(&segment);
            tracing::warn!(file = %file.display(), "the audit's spool ends in the middle of a record");
            break;
        }
        let start = end;
        end = end.saturating_add(line.len() as u64);
        // The chain has it, or another segment had it.
        if end <= into.end {
            continue;
        }
        let record = opened(key, start, line).filter(|_| start >= into.end);
        match (record.and_then(|record| Some((record, audit::owner(record)?))), damaged.last_mut()) {
            (Some((record, tenant)), _) => into.push(tenant, record, end),
            (None, Some((_, to))) if *to == start => *to = end,
            (None, _) => damaged.push((start, end)),
        }
    }
    if !is_all || end.saturating_sub(base) < bytes.len() as u64 {
        folder.cut(&segment, end.saturating_sub(base))?;
    }
    if !damaged.is_empty() {
        folder.write(&(segment + DAMAGED), &bytes)?;
    }
    Ok((ReadTo { end, is_cut: !is_all }, damaged))
}
