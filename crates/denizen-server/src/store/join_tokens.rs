//! Join tokens: kept by hash, consumed once.
//!
//! They are not in the snapshot: each is read at most once, and the one thing that matters, that it is used by one
//! machine only, is decided by the database in a single statement. Tests: the contract suite.

use denizen_wire::TenantId;
use serde_json::json;

use super::{
    JoinTokenRefused, Kind, Store, StoreError, Tx,
    changes::Entry,
    db::{Row, args},
    snapshot::Effect,
};
use crate::domain::{Ctx, resources::JoinToken};

impl Store {
    /// A join token by hash, used or not, whatever its tenant: who holds a token has not said a tenant yet, and
    /// learns it from the token. Decides nothing; [`Tx::consume_join_token`] does.
    pub async fn join_token(&self, hash: &str) -> Result<Option<JoinToken>, StoreError> {
        let rows = self.rows("SELECT body FROM join_tokens WHERE hash = $1", args![hash]).await?;
        rows.first().map(token).transpose()
    }

    /// The tenant's join tokens that can still be used.
    pub async fn join_tokens(&self, ctx: &Ctx) -> Result<Vec<JoinToken>, StoreError> {
        let sql = "SELECT body FROM join_tokens WHERE tenant = $1 AND used_at IS NULL AND expires > $2 ORDER BY expires, hash";
        let rows = self.rows(sql, args![&ctx.tenant.to_string(), ctx.now.0]).await?;
        rows.iter().map(token).collect()
    }
}

impl Tx<'_> {
    /// Keeps a new join token.
    pub async fn add_join_token(&mut self, token: &JoinToken) -> Result<(), StoreError> {
        let key = token.id.to_string();
        self.own_tenant(token.tenant, Kind::JoinToken, &key)?;
        let body = serde_json::to_string(token).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let tenant = self.tenant.clone();
        let sql =
            "INSERT INTO join_tokens (tenant, hash, expires, body) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        if self.execute(sql, args![&tenant, &token.hash, token.expires.0, &body]).await? == 0 {
            return Err(self.mark_failed(StoreError::Exists { kind: Kind::JoinToken, key }));
        }
        let after = serde_json::to_value(token).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let entry = Entry { kind: Kind::JoinToken, id: key, parent: None, before: None, after: Some(after) };
        self.change(entry, Effect::NotIndexed);
        Ok(())
    }

    /// Uses a join token up. Of any number of callers, one gets it. A refusal does not mark_failed the transaction, and
    /// changes nothing in it.
    pub async fn consume_join_token(&mut self, hash: &str) -> Result<JoinToken, StoreError> {
        let (tenant, now) = (self.tenant.clone(), self.ctx.now.0);
        // Check and use are one statement: there is no moment between them (D-10, D-28).
        let sql = "UPDATE join_tokens SET used_at = $3 \
                   WHERE tenant = $1 AND hash = $2 AND used_at IS NULL AND expires > $3 RETURNING body";
        let rows = self.write_rows(sql, args![&tenant, hash, now]).await?;
        let Some(row) = rows.first() else {
            let sql = "SELECT used_at FROM join_tokens WHERE tenant = $1 AND hash = $2";
            let rows = self.rows(sql, args![&tenant, hash]).await?;
            let refused = match rows.first() {
                None => JoinTokenRefused::Unknown,
                Some(row) if row.int_or_null(0)?.is_some() => JoinTokenRefused::Used,
                Some(_) => JoinTokenRefused::Expired,
            };
            return Err(refused.into());
        };
        let token = token(row)?;
        let entry = Entry {
            kind: Kind::JoinToken,
            id: token.id.to_string(),
            parent: None,
            before: Some(json!({ "usedAt": null })),
            after: Some(json!({ "usedAt": now })),
        };
        self.change(entry, Effect::NotIndexed);
        Ok(token)
    }

    /// Removes what nobody can use any more: tokens that ended before `before`. Gives how many.
    pub async fn forget_join_tokens(&mut self, before: denizen_wire::UnixTime) -> Result<u64, StoreError> {
        let tenant = self.tenant.clone();
        self.execute("DELETE FROM join_tokens WHERE tenant = $1 AND expires < $2", args![&tenant, before.0]).await
    }

    /// Refuses what belongs to another tenant.
    pub(super) fn own_tenant(&mut self, tenant: TenantId, kind: Kind, key: &str) -> Result<(), StoreError> {
        if tenant == self.ctx.tenant {
            return Ok(());
        }
        Err(self.mark_failed(StoreError::OtherTenant { kind, key: key.to_owned() }))
    }
}

fn token(row: &Row) -> Result<JoinToken, StoreError> {
    serde_json::from_str(&row.text(0)?).map_err(|error| StoreError::Corrupt(format!("a join token: {error}")))
}
