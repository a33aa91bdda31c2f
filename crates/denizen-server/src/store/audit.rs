//! The audit trail: append-only, each record bound to all before it by a hash.
//!
//! `hash = SHA-256(hash of the record before ‖ line)`, hashes in lower-case hexadecimal, where `line` is the record
//! as one line of JSON with its members in the order of [`AuditRecord`]. Whoever edits, removes or inserts a record
//! must rewrite every later one; who keeps the last hash elsewhere sees that. One chain for all tenants, because one
//! writer orders them; each tenant reads its own records only. Tests: the contract suite.

use denizen_keys::hash;
use denizen_wire::{TenantId, UnixTime};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{AuditBroken, Revision, Store, StoreError, db::args, writer::Heads};
use crate::domain::Ctx;

/// Records per page when the chain is verified.
const PAGE: i64 = 1024;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was allowed, and done.
    Allowed,
    /// It was refused.
    Refused,
    /// It was allowed, and failed.
    Failed,
}

/// What happened. Who did it, where and when comes from the [`Ctx`]. Never a secret, never a token.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// The action, as authorization names it.
    pub action: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What it was done to.
    pub target: String,
    /// Why it was allowed or refused.
    pub because: String,
    /// Whatever else helps.
    pub detail: Option<Value>,
}

impl AuditEvent {
    /// It was allowed, and done.
    pub fn allowed(action: &str, target: &str, because: &str) -> Self {
        Self::new(action, Outcome::Allowed, target, because)
    }

    /// It was refused.
    pub fn refused(action: &str, target: &str, because: &str) -> Self {
        Self::new(action, Outcome::Refused, target, because)
    }

    fn new(action: &str, outcome: Outcome, target: &str, because: &str) -> Self {
        Self { action: action.into(), outcome, target: target.into(), because: because.into(), detail: None }
    }
}

/// A record of the trail. The order of its members is the order in the line that is hashed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its place in the trail, from 1, without gaps.
    pub seq: u64,
    /// When.
    pub at: UnixTime,
    /// On which tenant.
    pub tenant: TenantId,
    /// Who.
    pub actor: String,
    /// Under which request.
    pub request_id: Uuid,
    /// The action.
    pub action: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What it was done to.
    pub target: String,
    /// Why it was allowed or refused.
    pub because: String,
    /// The transaction it speaks of, when it changed something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Whatever else helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

/// A record that has no place in the trail yet.
pub(super) struct Draft(AuditRecord);

impl Draft {
    pub(super) fn new(ctx: &Ctx, event: AuditEvent, revision: Option<Revision>) -> Self {
        Self(AuditRecord {
            seq: 0,
            at: ctx.now,
            tenant: ctx.tenant,
            actor: ctx.actor.to_string(),
            request_id: ctx.request_id,
            action: event.action,
            outcome: event.outcome,
            target: event.target,
            because: event.because,
            revision,
            detail: event.detail,
        })
    }

    pub(super) fn at(&self) -> UnixTime {
        self.0.at
    }

    pub(super) fn tenant(&self) -> String {
        self.0.tenant.to_string()
    }

    /// Its line as the record after `heads`, and the heads after it.
    pub(super) fn follow(&self, heads: &Heads) -> Result<(String, Heads), StoreError> {
        #[derive(Serialize)]
        struct Placed<'a> {
            seq: u64,
            at: UnixTime,
            tenant: TenantId,
            actor: &'a str,
            request_id: Uuid,
            action: &'a str,
            outcome: Outcome,
            target: &'a str,
            because: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            revision: Option<Revision>,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: &'a Option<Value>,
        }
        let seq = heads.seq + 1;
        let AuditRecord { at, tenant, request_id, outcome, revision, .. } = self.0;
        let AuditRecord { actor, action, target, because, detail, .. } = &self.0;
        let line = serde_json::to_string(&Placed {
            seq,
            at,
            tenant,
            actor,
            request_id,
            action,
            outcome,
            target,
            because,
            revision,
            detail,
        })
        .map_err(|error| StoreError::Corrupt(format!("an audit record: {error}")))?;
        let hash = link(&heads.hash, &line);
        Ok((line, Heads { revision: heads.revision, seq, hash }))
    }
}

fn link(previous: &str, line: &str) -> String {
    let mut text = String::with_capacity(previous.len() + line.len());
    text.push_str(previous);
    text.push_str(line);
    hash::hex(&hash::sha256(text.as_bytes()))
}

impl Store {
    /// Records an event and returns when it is on disk. Many callers share one commit.
    ///
    /// An error means that what the event speaks of must not happen. It may have been recorded all the same when the
    /// database vanished in the middle.
    pub async fn audit(&self, ctx: &Ctx, event: AuditEvent) -> Result<(), StoreError> {
        self.queue.write(Draft::new(ctx, event, None)).await
    }

    /// Records an event soon, and returns at once. A full queue is [`StoreError::AuditFull`]: then what the event
    /// speaks of must not happen.
    pub fn audit_soon(&self, ctx: &Ctx, event: AuditEvent) -> Result<(), StoreError> {
        self.queue.write_soon(Draft::new(ctx, event, None))
    }

    /// The tenant's last `limit` records, oldest first.
    pub async fn audit_tail(&self, ctx: &Ctx, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        let tenant = ctx.tenant.to_string();
        let sql = "SELECT line FROM audit WHERE tenant = $1 ORDER BY seq DESC LIMIT $2";
        let rows = self.rows(sql, args![&tenant, i64::from(limit)]).await?;
        let read = |text: String| {
            serde_json::from_str(&text).map_err(|error| StoreError::Corrupt(format!("an audit record: {error}")))
        };
        rows.iter().rev().map(|row| row.text(0).and_then(read)).collect()
    }

    /// Recomputes the chain from its first record; gives the number of records.
    pub async fn audit_verify(&self) -> Result<u64, AuditBroken> {
        // Read before the records, so that a record written meanwhile is not taken for one that was added.
        let end = {
            let mut writer = self.core.writer.lock().await;
            writer.ready(&self.core).await.map_err(|error| AuditBroken { at: 0, why: error.to_string() })?
        };
        let mut seq = 0u64;
        let mut hash = String::new();
        while seq < end.seq {
            let after = i64::try_from(seq).unwrap_or(i64::MAX);
            let sql = "SELECT seq, tenant, line, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
            let page = self.rows(sql, args![after, PAGE]).await;
            let page = page.map_err(|error| AuditBroken { at: seq + 1, why: error.to_string() })?;
            if page.is_empty() {
                return Err(AuditBroken { at: seq + 1, why: "it is missing".to_owned() });
            }
            for row in &page {
                let at = seq + 1;
                let broken = |why: &str| AuditBroken { at, why: why.to_owned() };
                let unreadable = |error: StoreError| AuditBroken { at, why: error.to_string() };
                let line = row.text(2).map_err(unreadable)?;
                if row.count(0).map_err(unreadable)? != at {
                    return Err(broken("it is missing"));
                }
                hash = link(&hash, &line);
                if hash != row.text(3).map_err(unreadable)? {
                    return Err(broken("its hash does not follow from it and the record before"));
                }
                let record: AuditRecord =
                    serde_json::from_str(&line).map_err(|error| AuditBroken { at, why: error.to_string() })?;
                if record.seq != at || record.tenant.to_string() != row.text(1).map_err(unreadable)? {
                    return Err(broken("it stands where it was not written"));
                }
                seq = at;
                if seq == end.seq && hash != end.hash {
                    return Err(broken("it is not the record this process wrote last"));
                }
            }
        }
        Ok(seq)
    }
}
