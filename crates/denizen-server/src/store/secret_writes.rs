//! Secrets, written. The change log gets their metadata and never a sealed byte: a purge removes the only copy of
//! the wrapped keys, and with them the values, wherever a copy of those may be.
//!
//! ```text
//! (none) ── add ──► live ── delete ──► deleted ── purge ──► (none)
//!                    ▲ ◄── recover ────┘
//! ```
//!
//! Tests: the contract suite.

use denizen_wire::{ResourceId, UnixTime};
use serde_json::{Value, json};

use super::{Kind, StoreError, Tx, changes::Entry, db::args, secrets::canonical, snapshot::Effect};
use crate::domain::secrets::{DeletedSecret, SecretVersion};

impl Tx<'_> {
    /// Adds a version, which is the latest from now on. [`StoreError::SecretDeleted`] while a deleted secret holds
    /// the name, [`StoreError::Exists`] when the version is there, [`StoreError::NotFound`] without the vault.
    pub async fn secret_add(&mut self, it: &SecretVersion) -> Result<(), StoreError> {
        let (tenant, vault, name) = (self.tenant.clone(), it.vault.canonical(), canonical(&it.name));
        let key = key(&it.vault, &name, Some(&it.version));
        self.own_tenant(it.tenant, Kind::Secret, &key)?;
        let version = canonical(&it.version);
        let sql = "SELECT deleted FROM secrets WHERE tenant = $1 AND vault = $2 AND name = $3";
        let there = self.rows(sql, args![&tenant, vault, &name]).await?;
        match there.first() {
            Some(row) if row.int_or_null(0)?.is_some() => {
                return Err(self.mark_failed(StoreError::SecretDeleted { name }));
            }
            Some(_) => {
                let sql = "UPDATE secrets SET latest = $4 WHERE tenant = $1 AND vault = $2 AND name = $3";
                self.execute(sql, args![&tenant, vault, &name, &version]).await?;
            }
            None => {
                let sql = "INSERT INTO secrets (tenant, vault, name, written, latest) VALUES ($1, $2, $3, $4, $5)";
                let no_vault = |error: sqlx::Error| match error.as_database_error() {
                    Some(fault) if fault.is_foreign_key_violation() => {
                        StoreError::NotFound { kind: Kind::Vault, key: vault.to_owned() }
                    }
                    Some(_) | None => error.into(),
                };
                self.constrained(sql, args![&tenant, vault, &name, &it.name, &version], no_vault).await?;
            }
        }
        let sql = "INSERT INTO secret_versions (tenant, vault, name, version, ordinal, content_type, tags, enabled, \
                   nbf, exp, created, updated, wrapped_key, sealed_value) \
                   SELECT $1, $2, $3, $4, COALESCE(MAX(ordinal), 0) + 1, $5, $6, $7, $8, $9, $10, $11, $12, $13 \
                   FROM secret_versions WHERE tenant = $1 AND vault = $2 AND name = $3";
        let tags = tags(it)?;
        let args = args![
            &tenant,
            vault,
            &name,
            &version,
            it.content_type.as_deref(),
            &tags,
            i64::from(it.enabled),
            it.nbf.map(|time| time.0),
            it.exp.map(|time| time.0),
            it.created.0,
            it.updated.0,
            &it.wrapped_key,
            &it.sealed_value,
        ];
        let taken = |error: sqlx::Error| match error.as_database_error() {
            Some(fault) if fault.is_unique_violation() => StoreError::Exists { kind: Kind::Secret, key: key.clone() },
            Some(_) | None => error.into(),
        };
        self.constrained(sql, args, taken).await?;
        self.secret_changed(&it.vault, key, None, Some(metadata(it)));
        Ok(())
    }

    /// Writes a version's metadata: content type, tags, enabled, nbf, exp, updated. Its name, its version and what
    /// is sealed stay as they are.
    pub async fn secret_update(&mut self, it: &SecretVersion) -> Result<(), StoreError> {
        let (tenant, vault, name) = (self.tenant.clone(), it.vault.canonical(), canonical(&it.name));
        let key = key(&it.vault, &name, Some(&it.version));
        self.own_tenant(it.tenant, Kind::Secret, &key)?;
        let Some(before) = self.secret(&it.vault, &name, Some(&it.version)).await? else {
            return Err(self.mark_failed(StoreError::NotFound { kind: Kind::Secret, key }));
        };
        let sql = "UPDATE secret_versions SET content_type = $5, tags = $6, enabled = $7, nbf = $8, exp = $9, \
                   updated = $10 WHERE tenant = $1 AND vault = $2 AND name = $3 AND version = $4";
        let (tags, version) = (tags(it)?, canonical(&it.version));
        let args = args![
            &tenant,
            vault,
            &name,
            &version,
            it.content_type.as_deref(),
            &tags,
            i64::from(it.enabled),
            it.nbf.map(|time| time.0),
            it.exp.map(|time| time.0),
            it.updated.0,
        ];
        self.execute(sql, args).await?;
        self.secret_changed(&it.vault, key, Some(metadata(&before)), Some(metadata(it)));
        Ok(())
    }

    /// Deletes a secret, all versions of it, so that it can be recovered until `purge_at`. None when there is none.
    pub async fn secret_delete(
        &mut self,
        vault: &ResourceId,
        name: &str,
        deleted: UnixTime,
        purge_at: UnixTime,
    ) -> Result<Option<DeletedSecret>, StoreError> {
        let (tenant, name) = (self.tenant.clone(), canonical(name));
        let sql = "UPDATE secrets SET deleted = $4, purge_at = $5 \
                   WHERE tenant = $1 AND vault = $2 AND name = $3 AND deleted IS NULL";
        if self.execute(sql, args![&tenant, vault.canonical(), &name, deleted.0, purge_at.0]).await? == 0 {
            return Ok(None);
        }
        let (before, after) = (json!({}), json!({ "deleted": deleted.0, "purgeAt": purge_at.0 }));
        self.secret_changed(vault, key(vault, &name, None), Some(before), Some(after));
        self.deleted_secret(vault, &name).await
    }

    /// Brings a deleted secret back; gives its latest version. None when no deleted secret has that name.
    pub async fn secret_recover(
        &mut self,
        vault: &ResourceId,
        name: &str,
    ) -> Result<Option<SecretVersion>, StoreError> {
        let (tenant, name) = (self.tenant.clone(), canonical(name));
        let Some(before) = self.deleted_secret(vault, &name).await? else { return Ok(None) };
        let sql = "UPDATE secrets SET deleted = NULL, purge_at = NULL \
                   WHERE tenant = $1 AND vault = $2 AND name = $3 AND deleted IS NOT NULL";
        self.execute(sql, args![&tenant, vault.canonical(), &name]).await?;
        let before = json!({ "deleted": before.deleted.0, "purgeAt": before.purge_at.0 });
        self.secret_changed(vault, key(vault, &name, None), Some(before), Some(json!({})));
        self.secret(vault, &name, None).await
    }

    /// Removes a deleted secret for good, wrapped keys and all. False when no deleted secret has that name: one that
    /// is not deleted cannot be purged.
    pub async fn secret_purge(&mut self, vault: &ResourceId, name: &str) -> Result<bool, StoreError> {
        let (tenant, name) = (self.tenant.clone(), canonical(name));
        let Some(before) = self.deleted_secret(vault, &name).await? else { return Ok(false) };
        for sql in [
            "DELETE FROM secret_versions WHERE tenant = $1 AND vault = $2 AND name = $3",
            "DELETE FROM secrets WHERE tenant = $1 AND vault = $2 AND name = $3",
        ] {
            self.execute(sql, args![&tenant, vault.canonical(), &name]).await?;
        }
        self.purged = true;
        let before = json!({ "deleted": before.deleted.0, "purgeAt": before.purge_at.0 });
        self.secret_changed(vault, key(vault, &name, None), Some(before), None);
        Ok(true)
    }

    /// Removes all secrets of a vault for good, deleted or not; gives how many. A vault that has secrets cannot be
    /// removed, so this comes first.
    pub async fn secrets_purge_all(&mut self, vault: &ResourceId) -> Result<u64, StoreError> {
        let tenant = self.tenant.clone();
        let sql = "DELETE FROM secret_versions WHERE tenant = $1 AND vault = $2";
        self.execute(sql, args![&tenant, vault.canonical()]).await?;
        let sql = "DELETE FROM secrets WHERE tenant = $1 AND vault = $2";
        let gone = self.execute(sql, args![&tenant, vault.canonical()]).await?;
        if gone > 0 {
            self.purged = true;
            let id = format!("{}/secrets", vault.canonical());
            self.secret_changed(vault, id, Some(json!({ "secrets": gone })), None);
        }
        Ok(gone)
    }

    fn secret_changed(&mut self, vault: &ResourceId, id: String, before: Option<Value>, after: Option<Value>) {
        let entry = Entry { kind: Kind::Secret, id, parent: Some(vault.canonical().to_owned()), before, after };
        self.change(entry, Effect::InVault(vault.clone()));
    }
}

/// `{vault}/secrets/{name}[/{version}]`, canonical: the secret in the change log.
fn key(vault: &ResourceId, name: &str, version: Option<&str>) -> String {
    let vault = vault.canonical();
    match version {
        Some(version) => format!("{vault}/secrets/{name}/{}", canonical(version)),
        None => format!("{vault}/secrets/{name}"),
    }
}

fn tags(it: &SecretVersion) -> Result<String, StoreError> {
    serde_json::to_string(&it.tags).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// What the change log says of a version.
fn metadata(it: &SecretVersion) -> Value {
    json!({
        "name": it.name,
        "version": it.version,
        "contentType": it.content_type,
        "tags": it.tags,
        "enabled": it.enabled,
        "nbf": it.nbf,
        "exp": it.exp,
        "created": it.created,
        "updated": it.updated,
    })
}
