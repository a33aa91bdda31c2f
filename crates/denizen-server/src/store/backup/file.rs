//! A backup as a stream of bytes.
//!
//! ```text
//! magic     17 bytes, the format's version among them
//! header    4 bytes of length, then one line of JSON: what anybody may know of the backup
//! key       61 bytes: the key of the frames, wrapped by the root key, bound to magic and header
//! frames    4 bytes of length, the highest bit set on the last; then a sealed frame of at most 1 MiB
//! ```
//!
//! What the frames hold, one after the other, is the rows of every table in the order of `TABLES`: a 1 and the row's
//! values for each, a 0 after the table's last. The last frame is one of its own: JSON with the rows of each table, and
//! the digest of all frames before it. Nothing comes after it.
//!
//! Touches what it is given. Tests: `tests.rs`.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::Arc,
};

use denizen_keys::{
    SecretBytes,
    envelope::{DataKey, RootKey, SealedKey, aad},
    frames::{FrameOpener, FrameSealer, OVERHEAD},
    hash,
    secret::json_fault,
};
use serde::{Deserialize, Serialize};

use super::{
    super::{StoreKeys, audit::restored, db::Cell},
    BackupDamage, BackupError, BackupHeader,
    tables::Table,
};

const MAGIC: &[u8; 17] = b"denizen-backup/1\n";
/// What every version of the format begins with.
const ANY_VERSION: &[u8; 15] = b"denizen-backup/";
/// No header is longer, bytes.
const MAX_HEADER: u32 = 64 * 1024;
const KEY: usize = 61;
/// A frame holds so many bytes at most.
pub(super) const FRAME: usize = 1024 * 1024;
const LAST: u32 = 1 << 31;
/// No value of a row is longer, bytes: a length that is read is not believed beyond it.
const MAX_VALUE: usize = 256 * 1024 * 1024;

const NULL: u8 = 0;
const INT: u8 = 1;
const TEXT: u8 = 2;
const BYTES: u8 = 3;
const NO_ROW: u8 = 0;
const ROW: u8 = 1;

/// What the last frame holds.
#[derive(Serialize, Deserialize)]
struct End {
    rows: BTreeMap<String, u64>,
    digest: String,
}

fn bound(header: &[u8]) -> Vec<u8> {
    aad(&["backup", &hash::hex(&hash::sha256_of(&[MAGIC, header]))])
}

/// Writes a backup.
pub(super) struct Writer<'w> {
    out: &'w mut dyn Write,
    sealer: FrameSealer,
    /// What the next frame will hold.
    buffer: Vec<u8>,
    digest: [u8; 32],
    rows: BTreeMap<String, u64>,
    written: u64,
}

impl<'w> Writer<'w> {
    pub(super) fn start(out: &'w mut dyn Write, header: &BackupHeader, root: &RootKey) -> Result<Self, BackupError> {
        let header = serde_json::to_vec(header).map_err(|error| BackupError::Write(Arc::new(error.into())))?;
        let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
        let (key, bound) = (DataKey::generate(), bound(&header));
        let wrapped = root.wrap(&key, &bound);
        let sealer = FrameSealer::new(key, &bound)?;
        let mut writer = Self { out, sealer, buffer: Vec::new(), digest: [0; 32], rows: BTreeMap::new(), written: 0 };
        for part in [&MAGIC[..], &length.to_be_bytes(), &header, wrapped.as_bytes()] {
            writer.put(part)?;
        }
        Ok(writer)
    }

    /// Adds a row of a table.
    pub(super) fn row(&mut self, cells: &[Cell]) -> Result<(), BackupError> {
        self.buffer.push(ROW);
        for cell in cells {
            match cell {
                Cell::Null => self.buffer.push(NULL),
                Cell::Int(number) => {
                    self.buffer.push(INT);
                    self.buffer.extend_from_slice(&number.to_be_bytes());
                }
                Cell::Text(text) => self.value(TEXT, text.as_bytes()),
                Cell::Bytes(bytes) => self.value(BYTES, bytes),
            }
        }
        self.flush(FRAME)
    }

    /// Ends a table.
    pub(super) fn end_table(&mut self, table: &Table, rows: u64) -> Result<(), BackupError> {
        self.buffer.push(NO_ROW);
        self.rows.insert(table.name.to_owned(), rows);
        self.flush(FRAME)
    }

    /// Ends the backup; how many bytes it has.
    pub(super) fn finish(mut self) -> Result<u64, BackupError> {
        self.flush(1)?;
        let end = End { rows: std::mem::take(&mut self.rows), digest: hash::hex(&self.digest) };
        let end = serde_json::to_vec(&end).map_err(|error| BackupError::Write(Arc::new(error.into())))?;
        self.frame(&end, true)?;
        self.out.flush().map_err(|error| BackupError::Write(Arc::new(error)))?;
        Ok(self.written)
    }

    fn value(&mut self, kind: u8, bytes: &[u8]) {
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.buffer.extend_from_slice(bytes);
    }

    /// Writes frames as long as there are so many bytes for one.
    fn flush(&mut self, least: usize) -> Result<(), BackupError> {
        if self.buffer.len() < least {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let mut chunks = buffer.chunks(FRAME).peekable();
        while let Some(chunk) = chunks.next() {
            if chunk.len() < least && chunks.peek().is_none() {
                self.buffer.extend_from_slice(chunk);
            } else {
                self.frame(chunk, false)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, plaintext: &[u8], is_last: bool) -> Result<(), BackupError> {
        let sealed = self.sealer.seal(plaintext, is_last)?;
        self.digest = hash::sha256_of(&[&self.digest, &sealed]);
        let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX) | if is_last { LAST } else { 0 };
        self.put(&length.to_be_bytes())?;
        self.put(&sealed)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|error| BackupError::Write(Arc::new(error)))
    }
}

/// Reads the header; none of it is proved.
pub(super) fn header(input: &mut dyn Read) -> Result<(BackupHeader, Vec<u8>), BackupError> {
    let mut magic = [0; MAGIC.len()];
    let mut read = 0;
    while let Some(rest) = magic.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) if read == 0 => return Err(BackupError::Empty),
            // Cut, where it began as one does.
            Ok(0) if MAGIC.starts_with(magic.get(..read).unwrap_or_default()) => {
                return Err(BackupDamage::CutHeader.into());
            }
            Ok(0) => return Err(BackupError::NotABackup),
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BackupError::Read(Arc::new(error))),
        }
    }
    if magic != *MAGIC {
        return Err(match magic.starts_with(ANY_VERSION) {
            true => BackupError::Version,
            false => BackupError::NotABackup,
        });
    }
    let mut length = [0; 4];
    fill(input, &mut length, BackupDamage::CutHeader)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_HEADER {
        return Err(BackupDamage::UnreadableHeader.into());
    }
    let mut bytes = vec![0; length as usize];
    fill(input, &mut bytes, BackupDamage::CutHeader)?;
    let header = serde_json::from_slice(&bytes).map_err(|_| BackupDamage::UnreadableHeader)?;
    Ok((header, bytes))
}

/// Reads a backup.
pub(super) struct Opener<'r> {
    input: &'r mut dyn Read,
    opener: FrameOpener,
    /// The frame that is being read, and how much of it was.
    frame: (SecretBytes, usize),
    /// The number of the next frame, from 1.
    number: u64,
    digest: [u8; 32],
    rows: BTreeMap<String, u64>,
    /// What the last frame holds, once it was read.
    end: Option<SecretBytes>,
}

impl<'r> Opener<'r> {
    pub(super) fn start(input: &'r mut dyn Read, root: &RootKey) -> Result<(BackupHeader, Self), BackupError> {
        let (header, bytes) = header(input)?;
        if header.deployment != restored::deployment(&StoreKeys::of(root)) {
            return Err(BackupError::OtherRootKey);
        }
        let mut key = [0; KEY];
        fill(input, &mut key, BackupDamage::CutHeader)?;
        let bound = bound(&bytes);
        let opened = SealedKey::from_bytes(&key).and_then(|key| root.unwrap(&key, &bound));
        // The deployment is this root key's: so it is the header, or the key beside it, that was changed.
        let key = opened.map_err(|_| BackupDamage::Header)?;
        let opener = FrameOpener::new(&key, &bound)?;
        let (frame, rows) = ((SecretBytes::from(Vec::new()), 0), BTreeMap::new());
        Ok((header, Self { input, opener, frame, number: 1, digest: [0; 32], rows, end: None }))
    }

    /// Some rows of a table; none after its last.
    pub(super) fn page(&mut self, table: &Table) -> Result<Vec<Vec<Cell>>, BackupError> {
        let mut page = Vec::new();
        while page.len() < table.page as usize {
            if self.byte()? == NO_ROW {
                // Said again at the next call.
                self.frame.1 = self.frame.1.saturating_sub(1);
                break;
            }
            let mut cells = Vec::with_capacity(table.columns.len());
            for _ in table.columns {
                cells.push(self.cell()?);
            }
            if table.args(&cells).is_none() {
                return Err(BackupDamage::Row(table.name).into());
            }
            page.push(cells);
        }
        Ok(page)
    }

    /// Ends a table that has so many rows.
    pub(super) fn end_table(&mut self, table: &Table, rows: u64) -> Result<(), BackupError> {
        self.rows.insert(table.name.to_owned(), rows);
        if self.byte()? == NO_ROW { Ok(()) } else { Err(BackupDamage::Row(table.name).into()) }
    }

    /// Whether that was all, and as many rows as there should be.
    pub(super) fn finish(&mut self) -> Result<(), BackupError> {
        if self.frame.1 < self.frame.0.expose().len() {
            return Err(BackupDamage::End.into());
        }
        let digest = self.digest;
        if self.end.is_none() {
            self.next_frame()?;
        }
        let Some(end) = &self.end else { return Err(BackupDamage::End.into()) };
        let end: End = serde_json::from_slice(end.expose()).map_err(|error| {
            tracing::debug!(error = json_fault(&error), "the last frame");
            BackupDamage::End
        })?;
        if end.rows != self.rows || end.digest != hash::hex(&digest) {
            return Err(BackupDamage::End.into());
        }
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(BackupDamage::Longer.into()),
            Err(error) => Err(BackupError::Read(Arc::new(error))),
        }
    }

    fn cell(&mut self) -> Result<Cell, BackupError> {
        let damaged = || BackupError::from(BackupDamage::End);
        Ok(match self.byte()? {
            NULL => Cell::Null,
            INT => {
                let bytes = self.take(8)?;
                Cell::Int(i64::from_be_bytes(bytes.try_into().map_err(|_| damaged())?))
            }
            kind @ (TEXT | BYTES) => {
                let length = u64::from_be_bytes(self.take(8)?.try_into().map_err(|_| damaged())?);
                let length = usize::try_from(length).ok().filter(|length| *length <= MAX_VALUE).ok_or_else(damaged)?;
                let bytes = self.take(length)?;
                match kind {
                    TEXT => Cell::Text(String::from_utf8(bytes).map_err(|_| damaged())?),
                    _ => Cell::Bytes(bytes),
                }
            }
            _ => return Err(damaged()),
        })
    }

    fn byte(&mut self) -> Result<u8, BackupError> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, BackupError> {
        let mut taken = Vec::with_capacity(length.min(FRAME));
        while taken.len() < length {
            let (frame, at) = &mut self.frame;
            let rest = frame.expose().get(*at..).unwrap_or_default();
            if rest.is_empty() {
                self.next_frame()?;
                if self.end.is_some() {
                    return Err(BackupDamage::End.into());
                }
                continue;
            }
            let part = rest.get(..rest.len().min(length - taken.len())).unwrap_or_default();
            taken.extend_from_slice(part);
            *at += part.len();
        }
        Ok(taken)
    }

    fn next_frame(&mut self) -> Result<(), BackupError> {
        let damaged = BackupDamage::Frame(self.number);
        if self.end.is_some() {
            return Err(damaged.into());
        }
        let mut length = [0; 4];
        fill(self.input, &mut length, BackupDamage::Cut(self.number))?;
        let length = u32::from_be_bytes(length);
        let (is_last, length) = (length & LAST != 0, (length & !LAST) as usize);
        if length > FRAME + OVERHEAD {
            return Err(damaged.into());
        }
        let mut sealed = vec![0; length];
        fill(self.input, &mut sealed, BackupDamage::Cut(self.number))?;
        let opened = self.opener.open(&sealed, is_last).map_err(|_| damaged)?;
        self.number += 1;
        if is_last {
            self.end = Some(opened);
        } else {
            self.digest = hash::sha256_of(&[&self.digest, &sealed]);
            self.frame = (opened, 0);
        }
        Ok(())
    }
}

/// Reads so many bytes; `cut` when there are not so many.
fn fill(input: &mut dyn Read, bytes: &mut [u8], cut: BackupDamage) -> Result<(), BackupError> {
    input.read_exact(bytes).map_err(|error| match error.kind() == io::ErrorKind::UnexpectedEof {
        true => cut.into(),
        false => BackupError::Read(Arc::new(error)),
    })
}
