//! What is consumed once: kept by hash, redeemed by one caller, however many try and on however many replicas.
//!
//! Join tokens today; authorization codes, device codes and refresh tokens have their place here: a type that implements
//! [`OneTime`] with a purpose of its own. They are not in the snapshot: each is read at most once, and the one thing that
//! matters is decided by the database in a single statement. So they stop while the database is away.
//!
//! Tests: the contract suite.

use denizen_wire::{TenantId, UnixTime};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use uuid::Uuid;

use super::{
    Kind, OneTimeRefused, Store, StoreError, Tx,
    changes::Entry,
    db::{Row, args},
    record::leave_out,
    snapshot::Effect,
};
use crate::domain::{Ctx, resources::JoinToken};

/// Something that is consumed once. The secret itself is kept nowhere.
pub trait OneTime: Serialize + DeserializeOwned + Send + Sync {
    /// What it is for; the same secret is worth nothing for another purpose.
    const PURPOSE: &'static str;
    /// As the change log names it.
    const KIND: Kind;

    /// Names it in the change log and the audit.
    fn id(&self) -> Uuid;
    /// Its tenant.
    fn tenant(&self) -> TenantId;
    /// SHA-256 of the secret, lower-case hexadecimal.
    fn hash(&self) -> &str;
    /// It is worth nothing from then on.
    fn expires(&self) -> UnixTime;
}

/// One as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept<T> {
    /// It.
    pub it: T,
    /// Whether it was redeemed.
    pub used: bool,
}

impl OneTime for JoinToken {
    const PURPOSE: &'static str = "join";
    const KIND: Kind = Kind::JoinToken;

    fn id(&self) -> Uuid {
        self.id
    }

    fn tenant(&self) -> TenantId {
        self.tenant
    }

    fn hash(&self) -> &str {
        &self.hash
    }

    fn expires(&self) -> UnixTime {
        self.expires
    }
}

impl Store {
    /// One by the hash of its secret, whatever its tenant: who holds a secret has not said a tenant yet,
    /// and learns it from this. Decides nothing; [`Tx::redeem`] does.
    pub async fn one_time<T: OneTime>(&self, hash: &str) -> Result<Option<Kept<T>>, StoreError> {
        let sql = "SELECT body, used_at FROM one_time WHERE purpose = $1 AND hash = $2";
        let rows = self.rows(sql, args![T::PURPOSE, hash]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Kept { it: read(row)?, used: row.int_or_null(1)?.is_some() }))
    }

    /// The tenant's that can still be redeemed.
    pub async fn redeemable<T: OneTime>(&self, ctx: &Ctx) -> Result<Vec<T>, StoreError> {
        let sql = "SELECT body FROM one_time \
                   WHERE tenant = $1 AND purpose = $2 AND used_at IS NULL AND expires > $3 ORDER BY expires, hash";
        let rows = self.rows(sql, args![&ctx.tenant.to_string(), T::PURPOSE, ctx.now.0]).await?;
        rows.iter().map(read).collect()
    }
}

impl Tx<'_> {
    /// Keeps a new one.
    pub async fn issue<T: OneTime>(&mut self, new: &T) -> Result<(), StoreError> {
        let key = new.id().to_string();
        self.own_tenant(new.tenant(), T::KIND, &key)?;
        let body = serde_json::to_string(new).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let tenant = self.tenant.clone();
        let sql = "INSERT INTO one_time (tenant, purpose, hash, expires, body) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT DO NOTHING";
        if self.execute(sql, args![&tenant, T::PURPOSE, new.hash(), new.expires().0, &body]).await? == 0 {
            return Err(self.mark_failed(StoreError::Exists { kind: T::KIND, key }));
        }
        let mut after = serde_json::to_value(new).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        leave_out(&mut after, &["hash"]);
        let entry = Entry { kind: T::KIND, id: key, parent: None, before: None, after: Some(after) };
        self.change(entry, Effect::NotIndexed);
        Ok(())
    }

    /// Consumes one. Of any number of callers, one gets it. A refusal does not fail the transaction, and changes
    /// nothing in it.
    pub async fn redeem<T: OneTime>(&mut self, hash: &str) -> Result<T, StoreError> {
        let (tenant, now) = (self.tenant.clone(), self.ctx.now.0);
        // Check and use are one statement: there is no moment between them (D-10, D-28).
        let sql = "UPDATE one_time SET used_at = $4 \
                   WHERE tenant = $1 AND purpose = $2 AND hash = $3 AND used_at IS NULL AND expires > $4 RETURNING body";
        let rows = self.write_rows(sql, args![&tenant, T::PURPOSE, hash, now]).await?;
        let Some(row) = rows.first() else {
            let sql = "SELECT used_at FROM one_time WHERE tenant = $1 AND purpose = $2 AND hash = $3";
            let rows = self.rows(sql, args![&tenant, T::PURPOSE, hash]).await?;
            let refused = match rows.first() {
                None => OneTimeRefused::Unknown,
                Some(row) if row.int_or_null(0)?.is_some() => OneTimeRefused::Used,
                Some(_) => OneTimeRefused::Expired,
            };
            return Err(refused.into());
        };
        let redeemed: T = read(row)?;
        let entry = Entry {
            kind: T::KIND,
            id: redeemed.id().to_string(),
            parent: None,
            before: Some(json!({ "usedAt": null })),
            after: Some(json!({ "usedAt": now })),
        };
        self.change(entry, Effect::NotIndexed);
        Ok(redeemed)
    }

    /// Removes what nobody can redeem any more: what ended before `before`, of every purpose. Gives how many.
    pub async fn forget_expired(&mut self, before: UnixTime) -> Result<u64, StoreError> {
        let tenant = self.tenant.clone();
        self.execute("DELETE FROM one_time WHERE tenant = $1 AND expires < $2", args![&tenant, before.0]).await
    }

    /// Refuses what belongs to another tenant.
    pub(super) fn own_tenant(&mut self, tenant: TenantId, kind: Kind, key: &str) -> Result<(), StoreError> {
        if tenant == self.ctx.tenant {
            return Ok(());
        }
        Err(self.mark_failed(StoreError::OtherTenant { kind, key: key.to_owned() }))
    }
}

fn read<T: OneTime>(row: &Row) -> Result<T, StoreError> {
    // The position only: serde's own text may quote what stands there.
    serde_json::from_str(&row.text(0)?)
        .map_err(|error| StoreError::Corrupt(format!("a one-time {} at column {}", T::PURPOSE, error.column())))
}
