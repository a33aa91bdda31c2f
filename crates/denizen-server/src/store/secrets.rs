//! Secrets, read. They are cold data: kept by vault in the database, never in the snapshot.
//!
//! Names are compared in lower case and given back as they were first written. Sealed bytes stay sealed here.
//! Tests: the contract suite.

use denizen_keys::secret::json_fault;
use denizen_wire::{ResourceId, TenantId, UnixTime};

use super::{
    Store, StoreError, Tx,
    db::{Row, args},
};
use crate::domain::{
    Ctx,
    secrets::{DeletedSecret, SecretVersion},
};

/// `select!("…")`: versions with their names, by tenant, vault and the condition given.
macro_rules! select {
    ($($condition:literal),+) => {
        concat!(
            "SELECT s.written, v.version, v.content_type, v.tags, v.enabled, v.nbf, v.exp, v.created, v.updated, \
             v.wrapped_key, v.sealed_value, s.deleted, s.purge_at, s.vault \
             FROM secrets s JOIN secret_versions v ON v.tenant = s.tenant AND v.vault = s.vault AND v.name = s.name \
             WHERE s.tenant = $1 AND ",
            $($condition),+
        )
    };
}

const LATEST: &str = select!("s.vault = $2 AND s.name = $3 AND s.deleted IS NULL AND v.version = s.latest");
const VERSION: &str = select!("s.vault = $2 AND s.name = $3 AND s.deleted IS NULL AND v.version = $4");
const LIST: &str =
    select!("s.vault = $2 AND s.name > $3 AND s.deleted IS NULL AND v.version = s.latest ORDER BY s.name LIMIT $4");
const VERSIONS: &str = select!("s.vault = $2 AND s.name = $3 AND s.deleted IS NULL ORDER BY v.ordinal DESC LIMIT $4");
const VERSIONS_AFTER: &str = select!(
    "s.vault = $2 AND s.name = $3 AND s.deleted IS NULL AND v.ordinal < (SELECT a.ordinal FROM secret_versions a \
     WHERE a.tenant = $1 AND a.vault = $2 AND a.name = $3 AND a.version = $5) ORDER BY v.ordinal DESC LIMIT $4"
);
const DELETED: &str = select!("s.vault = $2 AND s.name = $3 AND s.deleted IS NOT NULL AND v.version = s.latest");
const DELETED_LIST: &str =
    select!("s.vault = $2 AND s.name > $3 AND s.deleted IS NOT NULL AND v.version = s.latest ORDER BY s.name LIMIT $4");
const DUE: &str = select!("s.purge_at <= $2 AND v.version = s.latest ORDER BY s.purge_at LIMIT $3");

impl Store {
    /// A version of a secret; the latest when none is named. None when there is no such secret, or it was deleted.
    pub async fn secret(
        &self,
        ctx: &Ctx,
        vault: &ResourceId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<SecretVersion>, StoreError> {
        let (tenant, name) = (ctx.tenant.to_string(), canonical(name));
        let rows = match version {
            Some(version) => {
                let version = canonical(version);
                self.rows(VERSION, args![&tenant, vault.canonical(), &name, &version]).await?
            }
            None => self.rows(LATEST, args![&tenant, vault.canonical(), &name]).await?,
        };
        rows.first().map(|row| read(ctx.tenant, row)).transpose()
    }

    /// The latest version of each secret of a vault, by name. `after` is the last name of the page before, in any
    /// case.
    pub async fn secrets(
        &self,
        ctx: &Ctx,
        vault: &ResourceId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SecretVersion>, StoreError> {
        let (tenant, after) = (ctx.tenant.to_string(), canonical(after.unwrap_or_default()));
        let rows = self.rows(LIST, args![&tenant, vault.canonical(), &after, i64::from(limit)]).await?;
        rows.iter().map(|row| read(ctx.tenant, row)).collect()
    }

    /// The versions of a secret, newest first. `after` is the version that ended the page before.
    pub async fn secret_versions(
        &self,
        ctx: &Ctx,
        vault: &ResourceId,
        name: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SecretVersion>, StoreError> {
        let (tenant, name, limit) = (ctx.tenant.to_string(), canonical(name), i64::from(limit));
        let rows = match after {
            Some(after) => {
                let after = canonical(after);
                self.rows(VERSIONS_AFTER, args![&tenant, vault.canonical(), &name, limit, &after]).await?
            }
            None => self.rows(VERSIONS, args![&tenant, vault.canonical(), &name, limit]).await?,
        };
        rows.iter().map(|row| read(ctx.tenant, row)).collect()
    }

    /// A deleted secret that can still be recovered.
    pub async fn deleted_secret(
        &self,
        ctx: &Ctx,
        vault: &ResourceId,
        name: &str,
    ) -> Result<Option<DeletedSecret>, StoreError> {
        let (tenant, name) = (ctx.tenant.to_string(), canonical(name));
        let rows = self.rows(DELETED, args![&tenant, vault.canonical(), &name]).await?;
        rows.first().map(|row| read_deleted(ctx.tenant, row)).transpose()
    }

    /// The deleted secrets of a vault, by name. `after` is the last name of the page before, in any case.
    pub async fn deleted_secrets(
        &self,
        ctx: &Ctx,
        vault: &ResourceId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<DeletedSecret>, StoreError> {
        let (tenant, after) = (ctx.tenant.to_string(), canonical(after.unwrap_or_default()));
        let rows = self.rows(DELETED_LIST, args![&tenant, vault.canonical(), &after, i64::from(limit)]).await?;
        rows.iter().map(|row| read_deleted(ctx.tenant, row)).collect()
    }

    /// The tenant's deleted secrets whose time to be recovered is over, the oldest first: due to be purged.
    pub async fn secrets_due(&self, ctx: &Ctx, limit: u32) -> Result<Vec<DeletedSecret>, StoreError> {
        let tenant = ctx.tenant.to_string();
        let rows = self.rows(DUE, args![&tenant, ctx.now.0, i64::from(limit)]).await?;
        rows.iter().map(|row| read_deleted(ctx.tenant, row)).collect()
    }
}

impl Tx<'_> {
    /// A version of a secret as this transaction sees it; the latest when none is named.
    pub async fn secret(
        &mut self,
        vault: &ResourceId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<SecretVersion>, StoreError> {
        let (tenant, name) = (self.tenant.clone(), canonical(name));
        let rows = match version {
            Some(version) => {
                let version = canonical(version);
                self.rows(VERSION, args![&tenant, vault.canonical(), &name, &version]).await?
            }
            None => self.rows(LATEST, args![&tenant, vault.canonical(), &name]).await?,
        };
        rows.first().map(|row| read(self.ctx.tenant, row)).transpose()
    }

    /// A deleted secret as this transaction sees it.
    pub async fn deleted_secret(
        &mut self,
        vault: &ResourceId,
        name: &str,
    ) -> Result<Option<DeletedSecret>, StoreError> {
        let (tenant, name) = (self.tenant.clone(), canonical(name));
        let rows = self.rows(DELETED, args![&tenant, vault.canonical(), &name]).await?;
        rows.first().map(|row| read_deleted(self.ctx.tenant, row)).transpose()
    }
}

/// A name, or a version, as it is compared.
pub(super) fn canonical(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn read(tenant: TenantId, row: &Row) -> Result<SecretVersion, StoreError> {
    Ok(SecretVersion {
        tenant,
        vault: row.text(13)?.parse().map_err(|error| StoreError::Corrupt(format!("a secret's vault: {error}")))?,
        name: row.text(0)?,
        version: row.text(1)?,
        content_type: row.text_or_null(2)?,
        tags: serde_json::from_str(&row.text(3)?)
            .map_err(|error| StoreError::Corrupt(format!("a secret's tags: {}", json_fault(&error))))?,
        enabled: row.int(4)? != 0,
        nbf: row.int_or_null(5)?.map(UnixTime),
        exp: row.int_or_null(6)?.map(UnixTime),
        created: UnixTime(row.int(7)?),
        updated: UnixTime(row.int(8)?),
        wrapped_key: row.bytes(9)?,
        sealed_value: row.bytes(10)?,
    })
}

fn read_deleted(tenant: TenantId, row: &Row) -> Result<DeletedSecret, StoreError> {
    Ok(DeletedSecret { latest: read(tenant, row)?, deleted: UnixTime(row.int(11)?), purge_at: UnixTime(row.int(12)?) })
}
