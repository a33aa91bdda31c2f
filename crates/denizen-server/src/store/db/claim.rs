//! A claim: PostgreSQL keeps a lock on a name for a session, so that one process at a time writes under it.
//!
//! Touches the network. Tests: the contract suite (`histories`).

use std::time::{Duration, Instant};

use sqlx::{PgConnection, Row as _};

use super::{
    DbError,
    postgres::{CONNECT_TIMEOUT, within},
};

/// A session's lock on a name that one process at a time writes under.
pub(super) struct Claim {
    number: i64,
    /// The server's process that has it.
    session: Option<i32>,
}

/// How long the session that has a name is waited for: it may be committing.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether it is over.
const CLAIM_PAUSE: Duration = Duration::from_millis(20);

/// The number under which the server locks a name.
pub(in crate::store) fn claim_number(name: &str) -> i64 {
    let digest = denizen_keys::hash::sha256(format!("denizen claim {name}").as_bytes());
    i64::from_be_bytes(digest.first_chunk().copied().unwrap_or_default())
}

impl Claim {
    pub(super) fn on(name: &str) -> Self {
        Self { number: claim_number(name), session: None }
    }

    /// Takes it for the first time. Where an anchor in this folder names it, nobody is alive that has it: a session whose
    /// machine lost its power may outlive it for hours.
    pub(super) async fn take(&mut self, conn: &mut PgConnection, is_ours: bool) -> Result<(), DbError> {
        if !self.wait(conn).await? {
            if !is_ours {
                return Err(DbError::Claimed);
            }
            tracing::warn!("another session writes this replica's part of the audit's trail, and is ended");
            self.end(conn, None).await?;
            if !self.wait(conn).await? {
                return Err(DbError::Claimed);
            }
        }
        Ok(())
    }

    /// Takes it for a connection that follows a lost one, whose session may still be there.
    pub(super) async fn renew(&mut self, conn: &mut PgConnection) -> Result<(), DbError> {
        if self.is_free(conn).await? {
            return Ok(());
        }
        self.end(conn, self.session).await?;
        if self.wait(conn).await? { Ok(()) } else { Err(DbError::Claimed) }
    }

    async fn wait(&mut self, conn: &mut PgConnection) -> Result<bool, DbError> {
        let began = Instant::now();
        while !self.is_free(conn).await? {
            if began.elapsed() > CLAIM_TIMEOUT {
                return Ok(false);
            }
            tokio::time::sleep(CLAIM_PAUSE).await;
        }
        Ok(true)
    }

    /// Takes it if nobody has it.
    pub(super) async fn is_free(&mut self, conn: &mut PgConnection) -> Result<bool, DbError> {
        let look = sqlx::query("SELECT pg_try_advisory_lock($1), pg_backend_pid()").bind(self.number);
        let row = within(CONNECT_TIMEOUT, look.fetch_one(conn)).await?;
        let is_free = row.try_get(0)?;
        if is_free {
            self.session = Some(row.try_get(1)?);
        }
        Ok(is_free)
    }

    /// Ends the session that has it: this one, or any.
    async fn end(&self, conn: &mut PgConnection, session: Option<i32>) -> Result<(), DbError> {
        const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 \
             AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND (classid::BIGINT << 32 | objid::BIGINT) = $1 AND pid <> pg_backend_pid() AND pid = COALESCE($2, pid)";
        within(CONNECT_TIMEOUT, sqlx::query(END).bind(self.number).bind(session).fetch_all(conn)).await?;
        Ok(())
    }
}
