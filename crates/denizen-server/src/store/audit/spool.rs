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
//! The chain's last row says up to which position the spool has been shipped, so that a record is neither lost nor
//! written twice, whenever the process dies. Segments whose end has been shipped are removed.
//!
//! Touches its folder. Knows nothing of the database. Tests: `spool/tests.rs`, and the contract suite.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use denizen_wire::TenantId;
use tokio::sync::Notify;

use super::super::{StoreError, audit};

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
/// Records that are shipped at once, at most.
pub(in crate::store) const BATCH: usize = 4096;

/// The spool.
pub(in crate::store) struct Spool {
    folder: PathBuf,
    state: Mutex<State>,
    /// Told when the first record comes to wait, and when the spool is closed.
    pub(in crate::store) filled: Notify,
    written: AtomicU64,
    #[cfg(test)]
    pub(in crate::store) syncs: AtomicU64,
}

struct State {
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
}

/// Records in the order they were written.
#[derive(Default)]
pub(in crate::store) struct Batch {
    /// Their lines, each with its newline.
    pub(in crate::store) text: String,
    /// For each, whose it is and how long.
    pub(in crate::store) marks: Vec<Mark>,
    /// The position in the spool after the last of them.
    pub(in crate::store) end: u64,
}

/// One record of a [`Batch`].
pub(in crate::store) struct Mark {
    pub(in crate::store) tenant: TenantId,
    /// The length of its line, bytes, newline included.
    pub(in crate::store) length: usize,
    /// The position in the spool after it.
    end: u64,
}

impl Spool {
    /// Opens the folder, makes it when it is not there, and takes up what the chain, which has everything before
    /// `shipped`, does not have yet.
    pub(in crate::store) fn open(folder: &Path, shipped: u64) -> Result<Self, StoreError> {
        let opened = private_folder(folder).and_then(|()| State::open(folder, shipped));
        let state = opened.map_err(|source| failed(folder, source))?;
        let spool = Self {
            folder: folder.to_owned(),
            state: Mutex::new(state),
            filled: Notify::new(),
            written: AtomicU64::new(0),
            #[cfg(test)]
            syncs: AtomicU64::new(0),
        };
        if !spool.state().waiting.marks.is_empty() {
            spool.filled.notify_one();
        }
        Ok(spool)
    }

    /// Writes one record: a line that ends with its only newline. On an error nothing of it is kept.
    pub(in crate::store) fn append(&self, tenant: TenantId, line: &str) -> Result<(), StoreError> {
        let length = line.len();
        let mut state = self.state();
        if state.closed {
            return Err(StoreError::Closed);
        }
        let end = state.end + length as u64;
        if end - state.shipped > ROOM {
            return Err(StoreError::AuditFull);
        }
        state.write(line).map_err(|source| failed(&self.folder, source))?;
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
        end - shipped
    }

    /// How many records were written since the spool was opened.
    pub(in crate::store) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Says that the chain has, durably, everything before `position`: segments that lie before it are removed.
    pub(in crate::store) fn shipped(&self, position: u64) {
        let mut state = self.state();
        state.shipped = state.shipped.max(position);
        if (state.end - state.base > SEGMENT || (state.closed && state.end > state.base))
            && let Err(error) = state.turn(&self.folder)
        {
            // The segment goes on growing; nothing is lost.
            tracing::warn!(%error, folder = %self.folder.display(), "no new segment of the audit's spool could be made");
        }
        let done = state.let_go();
        drop(state);
        for base in done {
            let path = self.folder.join(name(base));
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "a segment of the audit's spool stays behind");
            }
        }
    }

    /// Brings the files to the disk: what is done while the chain cannot be written.
    pub(in crate::store) fn sync(&self) -> io::Result<()> {
        let bases: Vec<u64> = {
            let state = self.state();
            state.closed_segments.iter().chain([&state.base]).copied().collect()
        };
        for base in bases {
            match File::open(self.folder.join(name(base))) {
                Ok(segment) => segment.sync_data()?,
                // Carried and removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        File::open(&self.folder)?.sync_all()?;
        #[cfg(test)]
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
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

    /// Where it is.
    #[cfg(test)]
    pub(in crate::store) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes every later write fail, as a full disk does.
    #[cfg(test)]
    pub(in crate::store) fn fill_the_disk(&self) {
        let mut state = self.state();
        let path = self.folder.join(name(state.base));
        state.active = File::open(path).unwrap();
    }
}

impl State {
    fn open(folder: &Path, shipped: u64) -> io::Result<Self> {
        let mut waiting = Batch { end: shipped, ..Batch::default() };
        let mut segments = segments(folder)?;
        segments.sort_unstable();
        // Where what was read so far ends; and where the files do.
        let (mut end, mut files_end) = (shipped, 0);
        for base in &segments {
            if *base > end {
                tracing::error!(from = end, to = *base, "a part of the audit's spool is missing");
            }
            files_end = read(&folder.join(name(*base)), *base, shipped, &mut waiting)?;
            end = end.max(files_end);
        }
        if segments.last().is_some() && end == shipped && shipped > files_end {
            // After a loss of power the chain may have what the files have lost.
            tracing::warn!(shipped, files_end, "the audit's chain is ahead of its spool");
        }
        waiting.end = end;
        // What cannot be read cannot be shipped: it is kept beside, and not waited for.
        let shipped = if waiting.marks.is_empty() { end } else { shipped };
        let active = new_segment(folder, end)?;
        // The new one may take the name of an empty old one.
        segments.retain(|base| *base != end);
        Ok(Self {
            active,
            base: end,
            end,
            shipped,
            waiting,
            spare: Batch::default(),
            closed_segments: segments,
            torn: false,
            closed: false,
        })
    }

    /// Writes a line to the file, and adds it to what waits.
    fn write(&mut self, line: &str) -> io::Result<()> {
        self.cut_torn_record()?;
        let written = self.active.write_all(line.as_bytes());
        if written.is_ok() {
            self.waiting.text.push_str(line);
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
            self.active.set_len(self.end - self.base)?;
            self.torn = false;
        }
        Ok(())
    }

    /// Starts a new segment.
    fn turn(&mut self, folder: &Path) -> io::Result<()> {
        self.cut_torn_record()?;
        self.active = new_segment(folder, self.end)?;
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

fn failed(folder: &Path, source: io::Error) -> StoreError {
    StoreError::Spool { folder: folder.to_owned(), source: Arc::new(source) }
}

fn name(base: u64) -> String {
    format!("{base:020}.jsonl")
}

/// The positions of the segments in a folder.
fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.file_name();
        let file = file.to_string_lossy();
        let base = file.strip_suffix(".jsonl").and_then(|base| base.parse().ok());
        match base.filter(|base| name(*base) == file) {
            Some(base) => found.push(base),
            None if file.ends_with(DAMAGED) => {}
            None => tracing::warn!(%file, "a file that is no part of the audit's spool is in its folder"),
        }
    }
    Ok(found)
}

/// Reads one segment's records from `shipped` on; gives the position after its last whole record. A copy of a damaged
/// segment is kept for whoever wants to make out what it held.
fn read(path: &Path, base: u64, shipped: u64, into: &mut Batch) -> io::Result<u64> {
    let bytes = fs::read(path)?;
    let (mut end, mut damaged) = (base, false);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.last() != Some(&b'\n') {
            // Nobody was told that it was written. Cut off, so that it is not taken for the start of another.
            tracing::warn!(path = %path.display(), "the audit's spool ends in the middle of a record");
            OpenOptions::new().write(true).open(path)?.set_len(end - base)?;
            break;
        }
        end += line.len() as u64;
        if end <= shipped {
            continue;
        }
        let text = std::str::from_utf8(line).ok();
        match text.and_then(|text| Some((text, audit::owner(text)?))) {
            Some((text, tenant)) => into.push(tenant, text, end),
            None => {
                damaged = true;
                tracing::error!(path = %path.display(), position = end, "a record of the audit's spool is damaged");
            }
        }
    }
    if damaged {
        let mut copy = path.as_os_str().to_owned();
        copy.push(DAMAGED);
        fs::copy(path, copy)?;
    }
    Ok(end)
}

/// Makes a segment. One that is there under this name is empty, or it would end later.
fn new_segment(folder: &Path, base: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(folder.join(name(base)))
}

/// Makes the folder, and makes it its owner's alone.
fn private_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}
