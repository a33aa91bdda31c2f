//! Whether rows are those of one moment, as this server wrote them: each tag, the sum of all against the head, and every
//! chain of the audit. A row is looked at once, in the order of the tables, so nothing is kept but where chains end.
//!
//! Touches nothing. Tests: `tests.rs`.

use std::collections::BTreeSet;

use super::super::{
    HeadFault, Kind, Record, Revision, StoreError, StoreKeys, Tampering,
    audit::restored::ChainChecks,
    db::{Arg, Cell, Row},
    head::Head,
    live::{Mark, Sum},
    one_time::OneTimeRow,
    record::{Kept, decode},
    secrets::{SecretRow, VersionRow},
    tags::{self, RowName},
};
use crate::domain::directory::Application;

/// What has been found so far.
pub(in crate::store) struct Checker {
    keys: StoreKeys,
    sum: Sum,
    tagged: u64,
    head: Option<Head>,
    chains: ChainChecks,
    /// What the applications say that they are called, and the table of names has not said yet: tenant, name, application.
    names: BTreeSet<(String, String, String)>,
}

impl Checker {
    pub(super) fn new(keys: &StoreKeys) -> Self {
        let chains = ChainChecks::new(keys);
        Self { keys: keys.clone(), sum: Sum::default(), tagged: 0, head: None, chains, names: BTreeSet::new() }
    }

    /// Whether all rows are those that the head vouches for, and belong to the ends of the chains; how many records the
    /// audit has.
    pub(super) fn finish(self) -> Result<u64, StoreError> {
        if let Some((tenant, _, application)) = self.names.first() {
            let name = RowName { kind: Kind::Application, tenant, id: application };
            return Err(name.tampered(Tampering::Names));
        }
        match &self.head {
            None if self.tagged == 0 => {}
            None => return Err(StoreError::Head(HeadFault::Missing)),
            Some(head) if head.vouches(&self.keys, &self.sum) => {}
            Some(head) if head.is_ours(&self.keys) => return Err(StoreError::Head(HeadFault::OfOtherRows)),
            Some(_) => return Err(StoreError::Head(HeadFault::Forged)),
        }
        let head = self.head.as_ref().map(|head| (head.revision, head.state.as_slice()));
        self.chains.finish(head.unwrap_or((Revision(0), &[])))
    }

    fn tagged(&mut self, name: RowName<'_>, content: &[Arg<'_>], revision: u64, tag: &[u8]) -> Result<(), StoreError> {
        match Mark::read(tag) {
            Some(mark) if tags::carries(&self.keys, name, Revision(revision), content, tag) => {
                self.sum.add(&self.keys, mark);
                self.tagged += 1;
                Ok(())
            }
            _ => Err(name.tampered(Tampering::Forged)),
        }
    }
}

pub(super) fn nothing(_: &mut Checker, _: &[Cell]) -> Result<(), StoreError> {
    Ok(())
}

pub(super) fn head(checker: &mut Checker, cells: &[Cell]) -> Result<(), StoreError> {
    checker.head = Head::of_row(&Row::made(cells.to_vec()), 1)?;
    Ok(())
}

pub(super) fn record<R: Record>(checker: &mut Checker, cells: &[Cell]) -> Result<(), StoreError> {
    let kept = Kept::read::<R>(&Row::made(cells.to_vec()))?;
    checker.tagged(kept.name::<R>(), &kept.content(), kept.revision, &kept.tag)
}

/// Also what it is called.
pub(super) fn application(checker: &mut Checker, cells: &[Cell]) -> Result<(), StoreError> {
    record::<Application>(checker, cells)?;
    let kept = Kept::read::<Application>(&Row::made(cells.to_vec()))?;
    let it: Application = decode(&kept.tenant, &kept.id, &kept.body)?;
    let names = it.identifier_uris.into_iter().map(|uri| (kept.tenant.clone(), uri, kept.id.clone()));
    checker.names.extend(names);
    Ok(())
}

/// A name: the table repeats what the applications say, no more and no less.
pub(super) fn name(checker: &mut Checker, cells: &[Cell]) -> Result<(), StoreError> {
    let row = Row::made(cells.to_vec());
    let name = (row.text(0)?, row.text(1)?, row.text(2)?);
    match checker.names.remove(&name) {
        true => Ok(()),
        false => {
            let (tenant, _, application) = &name;
            Err(RowName { kind: Kind::Application, tenant, id: application }.tampered(Tampering::Names))
        }
    }
}

pub(super) fn one_time(checker: &mut Checker, cells: &[Cell]) -> Result<(), StoreError> {
    let row = OneTimeRow::read(&Row::made(cells.to_vec()))?;
    checker.tagged(row.name()?, &row.content(), row.revision, &row.tag)
}

pub(super) fn secret(checker: &mut Checker, cells: &[Cell]) -> Result<(), StoreError> {
    let row = SecretRow::read(&Row::made(cells.to_vec()), 0)?;
    checker.tagged(row.name(), &row.content(), row.revision, &row.tag)
}

/// Where a version's key and value stand; columns of later migrations follow them.
const SEALED: usize = 15;

/// Also that what is sealed is what the row's hash speaks of.
pub(super) fn version(checker: &mut Checker, cells: &[Cell]) -> Result<(), StoreError> {
    let row = VersionRow::read_unsealed(&Row::made(cells.to_vec()))?;
    checker.tagged(row.name(), &row.content(), row.revision, &row.tag)?;
    match cells.get(SEALED..).and_then(|sealed| sealed.first_chunk()) {
        Some([Cell::Bytes(key), Cell::Bytes(value)]) if tags::sealed_hash(key, value) == row.sealed_hash => Ok(()),
        _ => Err(RowName { kind: Kind::SecretVersion, ..row.name() }.tampered(Tampering::Forged)),
    }
}

pub(super) fn start(checker: &mut Checker, cells: &[Cell]) -> Result<(), StoreError> {
    checker.chains.start(cells)
}

pub(super) fn audit(checker: &mut Checker, cells: &[Cell]) -> Result<(), StoreError> {
    checker.chains.row(cells)
}
