//! The audit: what is recorded, and how a record is written as a line.
//!
//! A change is recorded in its own transaction. Everything else (a read, a token, a refusal) is written to the
//! [`super::spool`] before it happens, and moved into the [`super::chain`] soon after. What happens to the audit itself
//! is recorded under a tenant of its own, the nil id. Tests: the contract suite.

pub(super) mod anchor;
pub(super) mod chain;
pub(super) mod health;
mod history;
pub(super) mod restored;
pub(super) mod retention;
pub(super) mod shipper;
pub(super) mod spool;
pub(super) mod trail;
pub(super) mod verify;
pub(super) mod witness;

use std::{borrow::Cow, net::IpAddr, sync::atomic::Ordering};

use denizen_wire::{TenantId, UnixTime};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use denizen_wire::Causes;

use super::{Revision, Store, StoreError};
use crate::domain::{Actor, Ctx};

pub use anchor::{BadHead, Head};
pub use health::AuditHealth;
pub use retention::{Pruned, Retention};
pub use trail::{Accepted, Checked, LeftOut, Trail};
pub use verify::{Acceptance, Verified};

/// Whose the records are that speak of the audit itself, and of no tenant.
const DEPLOYMENT: TenantId = TenantId(Uuid::nil());

/// Room for a usual line.
const USUAL: usize = 512;

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
pub struct AuditEvent<'a> {
    /// The action, as authorization names it.
    pub action: Cow<'a, str>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it was done to.
    pub target: Cow<'a, str>,
    /// Why it was allowed or refused.
    pub because: Cow<'a, str>,
    /// Whatever else helps.
    pub detail: Option<Value>,
}

impl<'a> AuditEvent<'a> {
    /// It was allowed, and done.
    pub fn allowed(action: &'a str, target: impl Into<Cow<'a, str>>, because: impl Into<Cow<'a, str>>) -> Self {
        Self::new(action, Outcome::Allowed, target, because)
    }

    /// It was refused.
    pub fn refused(action: &'a str, target: impl Into<Cow<'a, str>>, because: impl Into<Cow<'a, str>>) -> Self {
        Self::new(action, Outcome::Refused, target, because)
    }

    /// However it ended.
    pub fn new(
        action: &'a str,
        outcome: Outcome,
        target: impl Into<Cow<'a, str>>,
        because: impl Into<Cow<'a, str>>,
    ) -> Self {
        Self { action: action.into(), outcome, target: target.into(), because: because.into(), detail: None }
    }
}

/// A record of the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its place in the chain, from 1, without gaps. Not part of its line: the place says it.
    #[serde(default)]
    pub seq: u64,
    /// When.
    pub at: UnixTime,
    /// On which tenant.
    pub tenant: TenantId,
    /// Who.
    pub actor: String,
    /// Under which request.
    pub request_id: Uuid,
    /// The caller's own id for the request, when it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    /// The address it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
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

/// The line of an event: one line of JSON, its newline included.
pub(super) fn line(ctx: &Ctx, event: &AuditEvent<'_>, revision: Option<Revision>) -> Result<String, StoreError> {
    line_after(0, ctx, event, revision)
}

/// The same after some spaces, for the spool: it writes the line's tag over them.
fn line_after(
    spaces: usize,
    ctx: &Ctx,
    event: &AuditEvent<'_>,
    revision: Option<Revision>,
) -> Result<String, StoreError> {
    #[derive(Serialize)]
    struct Line<'a> {
        at: UnixTime,
        tenant: TenantId,
        #[serde(serialize_with = "displayed")]
        actor: &'a Actor,
        request_id: Uuid,
        #[serde(skip_serializing_if = "Option::is_none")]
        correlation_id: Option<Uuid>,
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
        action: &'a str,
        outcome: Outcome,
        target: &'a str,
        because: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<Revision>,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: &'a Option<Value>,
    }
    fn displayed<S: Serializer>(actor: &Actor, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(actor)
    }
    let Ctx { tenant, actor, now, request_id, correlation_id, address } = ctx;
    let AuditEvent { action, outcome, target, because, detail } = event;
    let line = Line {
        at: *now,
        tenant: *tenant,
        actor,
        request_id: *request_id,
        correlation_id: *correlation_id,
        address: *address,
        action,
        outcome: *outcome,
        target,
        because,
        revision,
        detail,
    };
    let mut bytes = Vec::with_capacity(spaces + USUAL);
    bytes.resize(spaces, b' ');
    let unwritable = |error: String| StoreError::Corrupt(format!("an audit record cannot be written as JSON: {error}"));
    serde_json::to_writer(&mut bytes, &line).map_err(|error| unwritable(error.to_string()))?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(|error| unwritable(error.to_string()))
}

/// Whose record a line of the spool is; none when it is not one whole record.
pub(super) fn owner(line: &str) -> Option<TenantId> {
    serde_json::from_str(line).ok().map(|record: AuditRecord| record.tenant)
}

/// Proof of who is accountable for a record.
///
/// Whoever proved nothing leaves nothing behind: a record is durable, so a stranger who could cause one could fill the
/// disk. `app::access` alone makes such proofs, of a decision, a credential, a token or a join token. The layer
/// check refuses an implementation elsewhere.
pub trait RecordProof: Sync {
    /// Who, on which tenant, when, under which request.
    fn ctx(&self) -> &Ctx;
}

/// A bare context is proof enough for a test's own set-up.
#[cfg(test)]
impl RecordProof for Ctx {
    fn ctx(&self) -> &Ctx {
        self
    }
}

impl Store {
    /// Records an event, before what it speaks of happens. An error means that it must not happen.
    ///
    /// The record survives the end of this process, however it ends, and is in the chain, proof against the loss of
    /// power, within moments. It does not wait for the database; while that is away records gather in the spool,
    /// and when there is no more room, [`StoreError::AuditFull`].
    pub fn audit(&self, proof: &impl RecordProof, event: &AuditEvent<'_>) -> Result<(), StoreError> {
        self.append(proof.ctx(), event)
    }

    fn append(&self, ctx: &Ctx, event: &AuditEvent<'_>) -> Result<(), StoreError> {
        self.core.spool.append(ctx.tenant, line_after(spool::TAG, ctx, event, None)?)
    }

    /// Records a refusal or a failure. It stands whether or not it can be recorded; what is lost is logged.
    pub fn note(&self, proof: &impl RecordProof, event: &AuditEvent<'_>) {
        if let Err(error) = self.audit(proof, event) {
            tracing::error!(error = %Causes(&error), request_id = %proof.ctx().request_id, "a refusal could not be recorded");
        }
    }

    /// Records what was found wrong with the audit's spool since the last call. To be called after the store was opened,
    /// and now and then.
    pub fn record_findings(&self, now: UnixTime) -> Result<(), StoreError> {
        let findings = self.core.spool.findings();
        let ctx = own(now, "audit");
        for (at, finding) in findings.iter().enumerate() {
            self.core.health.spool_faults.fetch_add(1, Ordering::Relaxed);
            let target = format!("audit/spool/{}", finding.from);
            let event = AuditEvent {
                detail: Some(serde_json::json!({ "from": finding.from, "to": finding.to, "file": finding.file })),
                ..AuditEvent::new("audit/gap", Outcome::Failed, target, finding.what)
            };
            // What the store itself found: no request caused it.
            if let Err(error) = self.append(&ctx, &event) {
                self.core.spool.find_again(findings.into_iter().skip(at));
                // There is room again as soon as the spool has been moved, and the next call records the rest.
                return if matches!(error, StoreError::AuditFull) { Ok(()) } else { Err(error) };
            }
        }
        Ok(())
    }
}

/// The context of what the server does with the audit itself.
fn own(now: UnixTime, actor: &'static str) -> Ctx {
    Ctx::new(DEPLOYMENT, Actor::System(actor), now, denizen_keys::random::uuid_v4())
}
