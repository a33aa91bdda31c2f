//! What is consumed once: kept by hash, redeemed by one caller, however many try and on however many replicas.
//!
//! Join tokens, sessions, authorization codes, device codes and refresh tokens: a type that implements [`OneTime`] with a
//! purpose of its own, and a line in `every_one_time!`. They are not in the snapshot: each is read at most a few times, and
//! the one thing that matters is decided by the database in a single statement. So they stop while the database is away.
//!
//! What is spent and renewed ([`Tx::renew`]) stays one row: however often a refresh token is used, it takes no more room.
//!
//! Tests: the contract suite.

use denizen_wire::{TenantId, UnixTime};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use uuid::Uuid;

use super::{
    Kind, OneTimeRefused, Store, StoreError, Tampering, Tx,
    changes::Entry,
    db::{Arg, Row, args},
    live::Checks,
    record::leave_out,
    snapshot::Effect,
    tags::RowName,
};
use crate::domain::{
    Ctx,
    resources::JoinToken,
    sign_in::{AuthorizationCode, DeviceCode, DeviceDecision, RefreshToken, Session, SignInStep, UserCode},
};

/// Something that is consumed once. The secret itself is kept nowhere.
pub trait OneTime: Serialize + DeserializeOwned + Send + Sync {
    /// What it is for; the same secret is worth nothing for another purpose.
    const PURPOSE: &'static str;
    /// As the change log names it.
    const KIND: Kind;

    /// Names it in the change log and the audit: no two of a [`Self::KIND`] have the same, whatever their purposes, since its
    /// row's tag binds it by that.
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

/// `every_one_time! { Type: "purpose", Kind; … }`
macro_rules! every_one_time {
    ($($type:ty: $purpose:literal, $kind:ident;)*) => {
        $(impl OneTime for $type {
            const PURPOSE: &'static str = $purpose;
            const KIND: Kind = Kind::$kind;

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
        })*

        /// The kind of what has a purpose.
        pub(super) fn kind_of(purpose: &str) -> Result<Kind, StoreError> {
            match purpose {
                $($purpose => Ok(Kind::$kind),)*
                _ => Err(StoreError::Corrupt("a one-time row has a purpose that this release does not know".to_owned())),
            }
        }
    };
}

every_one_time! {
    JoinToken: "join", JoinToken;
    Session: "session", SignIn;
    SignInStep: "sign-in-step", SignIn;
    AuthorizationCode: "code", SignIn;
    DeviceCode: "device", SignIn;
    UserCode: "user-code", SignIn;
    DeviceDecision: "device-decision", SignIn;
    RefreshToken: "refresh", SignIn;
}

/// `select!("…")`: rows, and a condition.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT tenant, purpose, hash, id, expires, used_at, body, revision, tag FROM one_time WHERE ",
            $condition
        )
    };
}

/// A row.
pub(super) struct OneTimeRow {
    tenant: String,
    purpose: String,
    hash: String,
    id: String,
    expires: i64,
    used_at: Option<i64>,
    body: String,
    pub(super) revision: u64,
    pub(super) tag: Vec<u8>,
}

impl OneTimeRow {
    pub(super) const KEYS_SQL: &'static str =
        "SELECT tenant, purpose, hash, id, expires, used_at, body, revision, tag FROM one_time";
    pub(super) const PAGE_SQL: &'static str =
        select!("(tenant, purpose, hash) > ($1, $2, $3) ORDER BY tenant, purpose, hash LIMIT $4");

    pub(super) fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            tenant: row.text(0)?,
            purpose: row.text(1)?,
            hash: row.text(2)?,
            id: row.text(3)?,
            expires: row.int(4)?,
            used_at: row.int_or_null(5)?,
            body: row.text(6)?,
            revision: row.count(7)?,
            tag: row.bytes(8)?,
        })
    }

    /// What its tag calls it. By id, since the hash is not for a log.
    pub(super) fn name(&self) -> Result<RowName<'_>, StoreError> {
        Ok(RowName { kind: kind_of(&self.purpose)?, tenant: &self.tenant, id: &self.id })
    }

    /// What its tag binds beside that.
    pub(super) fn content(&self) -> [Arg<'_>; 5] {
        [(&self.purpose).into(), (&self.hash).into(), self.expires.into(), self.used_at.into(), (&self.body).into()]
    }

    fn checked(row: &Row, checks: Checks<'_>) -> Result<Self, StoreError> {
        let row = Self::read(row)?;
        checks.row(row.name()?, &row.content(), row.revision, &row.tag)?;
        Ok(row)
    }

    /// The row, if it is one that was asked for.
    fn asked(self, is_asked: impl FnOnce(&Self) -> bool) -> Result<Self, StoreError> {
        if is_asked(&self) { Ok(self) } else { Err(self.name()?.tampered(Tampering::Misplaced)) }
    }

    fn value<T: OneTime>(&self) -> Result<T, StoreError> {
        // The position only: serde's own text may quote what stands there.
        serde_json::from_str(&self.body)
            .map_err(|error| StoreError::Corrupt(format!("a one-time {} at column {}", T::PURPOSE, error.column())))
    }
}

fn row_is(purpose: &str, hash: &str) -> impl Fn(&OneTimeRow) -> bool {
    move |row| row.purpose == purpose && row.hash == hash
}

/// The row, if it can still be redeemed.
fn redeemable(row: OneTimeRow, now: i64) -> Result<OneTimeRow, OneTimeRefused> {
    if row.used_at.is_some() {
        return Err(OneTimeRefused::Used);
    }
    if row.expires <= now {
        return Err(OneTimeRefused::Expired);
    }
    Ok(row)
}

impl Store {
    /// One by the hash of its secret, whatever its tenant: who holds a secret has not said a tenant yet,
    /// and learns it from this. Decides nothing; [`Tx::redeem`] does.
    pub async fn one_time<T: OneTime>(&self, hash: &str) -> Result<Option<Kept<T>>, StoreError> {
        let sql = select!("purpose = $1 AND hash = $2");
        self.read(sql, args![T::PURPOSE, hash], |rows, checks| {
            let Some(row) = rows.first() else { return Ok(None) };
            let row = OneTimeRow::checked(row, checks)?.asked(row_is(T::PURPOSE, hash))?;
            Ok(Some(Kept { it: row.value()?, used: row.used_at.is_some() }))
        })
        .await
    }

    /// The tenant's that can still be redeemed.
    pub async fn redeemable<T: OneTime>(&self, ctx: &Ctx) -> Result<Vec<T>, StoreError> {
        let sql = select!("tenant = $1 AND purpose = $2 AND used_at IS NULL AND expires > $3 ORDER BY expires, hash");
        let tenant = ctx.tenant.to_string();
        self.read_page(sql, args![&tenant, T::PURPOSE, ctx.now.0], |rows, checks| {
            let is_asked = |row: &OneTimeRow| {
                let is_mine = row.tenant == tenant && row.purpose == T::PURPOSE;
                is_mine && row.used_at.is_none() && row.expires > ctx.now.0
            };
            rows.iter().map(|row| OneTimeRow::checked(row, checks)?.asked(is_asked)?.value()).collect()
        })
        .await
    }
}

impl Tx<'_> {
    /// So many are forgotten by one transaction at most.
    pub const FORGOTTEN_AT_ONCE: i64 = 500;

    /// Keeps a new one.
    pub async fn issue<T: OneTime>(&mut self, new: &T) -> Result<(), StoreError> {
        let key = new.id().to_string();
        self.own_tenant(new.tenant(), T::KIND, &key)?;
        let row = OneTimeRow {
            tenant: self.tenant.clone(),
            purpose: T::PURPOSE.to_owned(),
            hash: new.hash().to_owned(),
            id: key.clone(),
            expires: new.expires().0,
            used_at: None,
            body: serde_json::to_string(new).map_err(|error| StoreError::Corrupt(error.to_string()))?,
            revision: self.revision.0,
            tag: Vec::new(),
        };
        let (tag, revision) = (self.wrote(row.name()?, &row.content()), self.revision_number());
        let sql = "INSERT INTO one_time (tenant, purpose, hash, id, expires, body, revision, tag) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
        let args = args![&row.tenant, T::PURPOSE, &row.hash, &key, row.expires, &row.body, revision, &tag[..]];
        if self.execute(sql, args).await? == 0 {
            return Err(self.mark_failed(StoreError::Exists { kind: T::KIND, key }));
        }
        let mut after = serde_json::to_value(new).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        leave_out(&mut after, &["hash", "device", "challenge", "scope"]);
        let entry = Entry { kind: T::KIND, id: key, parent: None, before: None, after: Some(after) };
        self.change(entry, Effect::NotIndexed);
        Ok(())
    }

    /// Consumes one. Of any number of callers, one gets it. A refusal does not fail the transaction, and changes
    /// nothing in it.
    pub async fn redeem<T: OneTime>(&mut self, hash: &str) -> Result<T, StoreError> {
        let (tenant, now) = (self.tenant.clone(), self.ctx.now.0);
        let Some(row) = self.one_time_row::<T>(hash).await? else { return Err(OneTimeRefused::Unknown.into()) };
        let before = redeemable(row, now)?;
        let redeemed: T = before.value().map_err(|error| self.mark_failed(error))?;
        let after = OneTimeRow { used_at: Some(now), ..before };
        let (tag, revision) = (self.wrote(after.name()?, &after.content()), self.revision_number());
        // Use it only as it was read: there is no moment between check and use (D-10, D-28).
        let sql = "UPDATE one_time SET used_at = $4, revision = $5, tag = $6 \
                   WHERE tenant = $1 AND purpose = $2 AND hash = $3 AND used_at IS NULL AND expires > $4 AND tag = $7";
        let args = args![&tenant, T::PURPOSE, hash, now, revision, &tag[..], &after.tag];
        if self.execute(sql, args).await? != 1 {
            let name = after.name()?;
            return Err(self.mark_failed(name.tampered(Tampering::Older)));
        }
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

    /// One as this transaction sees it, used or not.
    pub async fn one_time<T: OneTime>(&mut self, hash: &str) -> Result<Option<Kept<T>>, StoreError> {
        let row = self.one_time_row::<T>(hash).await?;
        let kept = row.map(|row| Ok(Kept { it: row.value()?, used: row.used_at.is_some() })).transpose();
        kept.map_err(|error| self.mark_failed(error))
    }

    /// Puts `new` in the place of the one that it was made of, which has the same id and hash: of all who have read the same
    /// one, one writes. It must not have been redeemed.
    ///
    /// # Errors
    /// [`OneTimeRefused`], which does not fail the transaction, and changes nothing in it.
    pub async fn renew<T: OneTime>(&mut self, new: &T) -> Result<(), StoreError> {
        let (now, key) = (self.ctx.now.0, new.id().to_string());
        self.own_tenant(new.tenant(), T::KIND, &key)?;
        let before = match self.one_time_row::<T>(new.hash()).await? {
            Some(row) if row.id == key => redeemable(row, now)?,
            Some(_) | None => return Err(OneTimeRefused::Unknown.into()),
        };
        let body = serde_json::to_string(new).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let logged = Some(json!({ "expires": before.expires }));
        let after = OneTimeRow { expires: new.expires().0, body, ..before };
        let (tag, revision) = (self.wrote(after.name()?, &after.content()), self.revision_number());
        let sql = "UPDATE one_time SET expires = $4, body = $5, revision = $6, tag = $7 \
                   WHERE tenant = $1 AND purpose = $2 AND hash = $3 AND used_at IS NULL AND tag = $8";
        let args =
            args![&after.tenant, T::PURPOSE, &after.hash, after.expires, &after.body, revision, &tag[..], &after.tag];
        if self.execute(sql, args).await? != 1 {
            return Err(self.mark_failed(after.name()?.tampered(Tampering::Older)));
        }
        let after = Some(json!({ "expires": new.expires() }));
        self.change(Entry { kind: T::KIND, id: key, parent: None, before: logged, after }, Effect::NotIndexed);
        Ok(())
    }

    /// Consumes one of which nobody here has the secret. Gives whether there was one to consume.
    pub async fn revoke<T: OneTime>(&mut self, id: Uuid) -> Result<bool, StoreError> {
        let (tenant, key) = (self.tenant.clone(), id.to_string());
        let sql = select!("tenant = $1 AND purpose = $2 AND id = $3");
        let row = self
            .read(sql, args![&tenant, T::PURPOSE, &key], |rows, checks| {
                let is_asked = |row: &OneTimeRow| row.tenant == tenant && row.purpose == T::PURPOSE && row.id == key;
                rows.first().map(|row| OneTimeRow::checked(row, checks)?.asked(is_asked)).transpose()
            })
            .await?;
        match row.map(|row| redeemable(row, self.ctx.now.0)) {
            Some(Ok(row)) => {
                let hash = row.hash;
                self.redeem::<T>(&hash).await.map(|_| true)
            }
            Some(Err(_)) | None => Ok(false),
        }
    }

    /// The row of a secret's hash, checked.
    async fn one_time_row<T: OneTime>(&mut self, hash: &str) -> Result<Option<OneTimeRow>, StoreError> {
        let tenant = self.tenant.clone();
        let sql = select!("tenant = $1 AND purpose = $2 AND hash = $3");
        self.read(sql, args![&tenant, T::PURPOSE, hash], |rows, checks| {
            let is_asked = |row: &OneTimeRow| row.tenant == tenant && row_is(T::PURPOSE, hash)(row);
            rows.first().map(|row| OneTimeRow::checked(row, checks)?.asked(is_asked)).transpose()
        })
        .await
    }

    /// Removes what nobody can redeem any more: what ended before `before`, of every purpose, the longest ended first, and
    /// [`Self::FORGOTTEN_AT_ONCE`] at most: a writer waits for one transaction. Gives how many.
    pub async fn forget_expired(&mut self, before: UnixTime) -> Result<u64, StoreError> {
        let tenant = self.tenant.clone();
        let sql = "DELETE FROM one_time WHERE (tenant, purpose, hash) IN \
                   (SELECT tenant, purpose, hash FROM one_time WHERE tenant = $1 AND expires < $2 ORDER BY expires LIMIT $3) \
                   RETURNING tenant, purpose, hash, id, expires, used_at, body, revision, tag";
        let gone = self.write_rows(sql, args![&tenant, before.0, Self::FORGOTTEN_AT_ONCE]).await?;
        // The condition chose by a column that anybody may have edited: only what its tag says has expired.
        let is_due = |row: &OneTimeRow| row.tenant == tenant && row.expires < before.0;
        let checked = |row| OneTimeRow::checked(row, self.checks())?.asked(is_due);
        let gone = gone.iter().map(checked).collect::<Result<Vec<_>, _>>().map_err(|error| self.mark_failed(error))?;
        for row in &gone {
            let name = row.name()?;
            self.removed(name);
            let before = Some(json!({ "expires": row.expires }));
            let entry = Entry { kind: name.kind, id: row.id.clone(), parent: None, before, after: None };
            self.change(entry, Effect::NotIndexed);
        }
        Ok(gone.len() as u64)
    }

    /// Refuses what belongs to another tenant.
    pub(super) fn own_tenant(&mut self, tenant: TenantId, kind: Kind, key: &str) -> Result<(), StoreError> {
        if tenant == self.ctx.tenant {
            return Ok(());
        }
        Err(self.mark_failed(StoreError::OtherTenant { kind, key: key.to_owned() }))
    }
}
