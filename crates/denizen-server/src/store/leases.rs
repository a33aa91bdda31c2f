//! Leases: what only one replica does at a time.
//!
//! A lease says who works, not what may be done: whatever is done under one decides for itself, in its own transaction, by
//! what is there. So two that think for a moment that they have it, because their clocks differ, do no harm. It carries no
//! tag, and is not recorded.
//!
//! Tests: the contract suite (`survival`), and `contract/replicas.rs`.

use std::time::Duration;

use denizen_wire::UnixTime;

use super::{Store, StoreError, db::args, turn::Turn};

impl Store {
    /// Takes or renews a lease; whether this replica has it now.
    ///
    /// # Errors
    /// The store's.
    pub async fn lease(&self, name: &'static str, now: UnixTime, last: Duration) -> Result<bool, StoreError> {
        let sql = "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) \
                   ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until \
                   WHERE leases.holder = excluded.holder OR leases.until <= $4 OR leases.until > $5";
        let last = i64::try_from(last.as_secs()).unwrap_or(i64::MAX);
        // One that ends beyond all that is ever asked for was made by a clock that was wrong.
        let (until, beyond) = (now.0.saturating_add(last), now.0.saturating_add(last.saturating_mul(4)));
        let holder = &*self.core.chain.id;
        let mut writer = Turn::next(&self.core).await;
        writer.ready(&self.core).await?;
        let taken = writer.execute(&self.core.statements, sql, args![name, holder, until, now.0, beyond]).await?;
        Ok(taken == 1)
    }

    /// Gives a lease back, if this replica has it.
    ///
    /// # Errors
    /// The store's.
    pub async fn release(&self, name: &'static str) -> Result<(), StoreError> {
        let sql = "DELETE FROM leases WHERE name = $1 AND holder = $2";
        let mut writer = Turn::next(&self.core).await;
        writer.ready(&self.core).await?;
        writer.execute(&self.core.statements, sql, args![name, &*self.core.chain.id]).await?;
        Ok(())
    }
}
