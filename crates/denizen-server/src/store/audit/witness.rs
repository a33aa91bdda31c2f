//! What the replicas' chains say of each other: each replica records now and then where the others' chains end.
//!
//! A chain is whole in itself, so a missing tail, or a chain that is missing as a whole, does not show in it. It shows in
//! the chains of the others, which cannot be changed without the root key. How far back is lost without a trace is
//! therefore at most what was written since a witness was last taken.
//!
//! Touches the database. Tests: `contract/replicas.rs`.

use std::collections::BTreeMap;

use denizen_wire::UnixTime;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    super::{
        AuditBroken, AuditRecord, Store, StoreError,
        db::{Conn, Reader, args},
        turn::Turn,
    },
    AuditEvent, DEPLOYMENT,
    chain::{Chain, SELECT_START, Start, chains, row_ending_at},
    own,
};
use crate::store::ends::Ends;

/// The action of the record.
pub(super) const WITNESS: &str = "audit/witness";

/// Where a chain ended when another replica looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct Witnessed {
    pub(super) chain: String,
    seq: u64,
    hash: String,
}

impl Witnessed {
    /// What a record says, when it is a witness.
    pub(super) fn of(record: &AuditRecord) -> Vec<Self> {
        if record.action != WITNESS || record.tenant != DEPLOYMENT {
            return Vec::new();
        }
        let chains = record.detail.as_ref().map(|detail| detail["chains"].clone()).unwrap_or_default();
        serde_json::from_value(chains).unwrap_or_default()
    }

    /// Whether the chain still has that record, or retention has removed it.
    pub(super) async fn check(&self, db: &mut Reader<'_>, chain: &Chain) -> Result<(), AuditBroken> {
        let unreadable = |error: StoreError| AuditBroken { at: self.seq, why: error.to_string() };
        let start = db.rows(SELECT_START, args![&*chain.id]).await.map_err(unreadable)?;
        let start = Start::read(&start, chain)?;
        if self.seq < start.seq || (self.seq == start.seq && self.hash == start.hash) {
            return Ok(());
        }
        let row = row_ending_at(db, chain, self.seq).await.map_err(unreadable)?;
        if row.is_some_and(|row| row.is_ours(chain) && row.head.hash == self.hash) {
            return Ok(());
        }
        let why =
            format!("another replica has seen this record of the chain {}, and it is not there any more", chain.id);
        Err(AuditBroken { at: self.seq, why })
    }
}

impl Store {
    /// Records where the other replicas' chains end, unless nothing has moved since the last time. To be called now and
    /// then.
    ///
    /// # Errors
    /// The store's.
    pub async fn witness(&self, now: UnixTime) -> Result<(), StoreError> {
        if !self.core.engine.is_shared() {
            return Ok(());
        }
        self.look_at_start().await?;
        let look = async |conn: &mut Conn| {
            let mut db = Reader::Conn(conn, &self.core.statements);
            let mut found = BTreeMap::new();
            for id in chains(&mut db).await? {
                let chain = Chain::named(&id, &self.core.keys);
                let end = Ends::read(&mut db, &chain).await?.last;
                let end = end.filter(|_| *id != *self.core.chain.id).filter(|end| end.is_ours(&chain));
                if let Some(end) = end {
                    found.insert(id.clone(), Witnessed { chain: id, seq: end.head.seq, hash: end.head.hash });
                }
            }
            Ok(found)
        };
        // The spool outlives a crash of the database, so it is not to name what that undoes.
        let found = Turn::next(&self.core).await.for_good(&self.core, look).await?;
        let seen: Vec<Witnessed> = found.into_values().collect();
        let mut last = self.core.witnessed.lock().await;
        if seen.is_empty() || *last == seen {
            return Ok(());
        }
        let because = "the other replicas' chains ended there";
        let event =
            AuditEvent { detail: Some(json!({ "chains": seen })), ..AuditEvent::allowed(WITNESS, "audit", because) };
        self.append(&own(now, "audit"), &event)?;
        *last = seen;
        Ok(())
    }
}
