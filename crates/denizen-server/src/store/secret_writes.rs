//! Secrets, written. The change log gets their metadata and never a sealed byte: a purge removes the only copy of
//! the wrapped keys, and with them the values, wherever a copy of those may be.
//!
//! ```text
//! (none) ── add ──► live ── delete ──► deleted ── purge ──► (none)
//!                    ▲ ◄── recover ────┘
//! ```
//!
//! Every row that is written has its entry in the change log: the name's, and each version's.
//!
//! Tests: the contract suite.

use denizen_wire::{ResourceId, UnixTime};
use serde_json::{Value, json};

use super::{
    Kind, StoreError, Tampering, Tx,
    changes::Entry,
    db::{Row, args},
    secrets::{Found, SecretRow, VersionRow, canonical, id_of_secret, id_of_version},
    snapshot::Effect,
    tags::{RowName, sealed_hash},
};
use crate::domain::secrets::{DeletedSecret, SecretVersion};

impl Tx<'_> {
    /// Adds a version, which is the latest from now on. [`StoreError::SecretDeleted`] while a deleted secret holds
    /// the name, [`StoreError::Exists`] when the version is there, [`StoreError::NotFound`] without the vault.
    pub async fn secret_add(&mut self, it: &SecretVersion) -> Result<(), StoreError> {
        let (tenant, vault, name) = (self.tenant.clone(), it.vault.canonical(), canonical(&it.name));
        let (version, secret_id) = (canonical(&it.version), id_of_secret(vault, &name));
        let id = id_of_version(&secret_id, &version);
        self.own_tenant(it.tenant, Kind::Secret, &id)?;
        let before = match self.found(&it.vault, &name, Some(&version)).await? {
            Some(Found { secret, .. }) if secret.deleted.is_some() => {
                return Err(self.mark_failed(StoreError::SecretDeleted { name }));
            }
            Some(Found { version: Some(_), .. }) => {
                return Err(self.mark_failed(StoreError::Exists { kind: Kind::Secret, key: id }));
            }
            before => before.map(|found| found.secret),
        };
        let secret = SecretRow {
            tenant: tenant.clone(),
            vault: vault.to_owned(),
            id: secret_id,
            written: before.as_ref().map_or_else(|| it.name.clone(), |before| before.written.clone()),
            name,
            latest: version,
            deleted: None,
            purge_at: None,
            revision: self.revision.0,
            tag: Vec::new(),
        };
        self.write_secret(before.as_ref(), &secret, &it.vault).await?;

        let sql =
            "SELECT COALESCE(MAX(ordinal), 0) FROM secret_versions WHERE tenant = $1 AND vault = $2 AND name = $3";
        let rows = self.rows(sql, args![&tenant, vault, &secret.name]).await?;
        let last = rows.first().map_or(Ok(0), |row: &Row| row.int(0))?;
        let row = VersionRow {
            ordinal: last.saturating_add(1),
            created: it.created.0,
            sealed_hash: sealed_hash(&it.wrapped_key, &it.sealed_value),
            ..self.version_row(it, id, secret.latest.clone())?
        };
        let (tag, revision) = (self.wrote(row.name(), &row.content()), self.revision_number());
        let sql = "INSERT INTO secret_versions (tenant, vault, name, version, ordinal, content_type, tags, enabled, \
                   nbf, exp, created, updated, wrapped_key, sealed_value, sealed_hash, revision, tag) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
        let args = args![
            &tenant,
            vault,
            &secret.name,
            &row.version,
            row.ordinal,
            row.content_type.as_deref(),
            &row.tags,
            row.enabled,
            row.nbf,
            row.exp,
            row.created,
            row.updated,
            &it.wrapped_key,
            &it.sealed_value,
            &row.sealed_hash,
            revision,
            &tag[..],
        ];
        self.execute(sql, args).await?;
        self.secret_changed(Kind::SecretVersion, &it.vault, row.id, None, Some(metadata(it)));
        Ok(())
    }

    /// Writes a version's metadata: content type, tags, enabled, nbf, exp, updated. Its name, its version and what
    /// is sealed stay as they are.
    pub async fn secret_update(&mut self, it: &SecretVersion) -> Result<(), StoreError> {
        let (tenant, vault, name) = (self.tenant.clone(), it.vault.canonical(), canonical(&it.name));
        let version = canonical(&it.version);
        let id = id_of_version(&id_of_secret(vault, &name), &version);
        self.own_tenant(it.tenant, Kind::Secret, &id)?;
        let before = match self.found(&it.vault, &name, Some(&version)).await? {
            Some(Found { secret, version: Some(before) }) if secret.deleted.is_none() => before,
            Some(_) | None => return Err(self.mark_failed(StoreError::NotFound { kind: Kind::Secret, key: id })),
        };
        let row = VersionRow {
            ordinal: before.row.ordinal,
            created: before.row.created,
            sealed_hash: before.row.sealed_hash,
            ..self.version_row(it, id, version)?
        };
        let (tag, revision) = (self.wrote(row.name(), &row.content()), self.revision_number());
        let sql = "UPDATE secret_versions SET content_type = $5, tags = $6, enabled = $7, nbf = $8, exp = $9, \
                   updated = $10, revision = $11, tag = $12 \
                   WHERE tenant = $1 AND vault = $2 AND name = $3 AND version = $4";
        let args = args![
            &tenant,
            vault,
            &name,
            &row.version,
            row.content_type.as_deref(),
            &row.tags,
            row.enabled,
            row.nbf,
            row.exp,
            row.updated,
            revision,
            &tag[..],
        ];
        self.execute(sql, args).await?;
        let (before, after) = (metadata(&before.value), metadata(it));
        self.secret_changed(Kind::SecretVersion, &it.vault, row.id, Some(before), Some(after));
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
        let Some(Found { secret: before, .. }) = self.found(vault, name, None).await? else { return Ok(None) };
        if before.deleted.is_some() {
            return Ok(None);
        }
        self.set_deleted(vault, &before, Some((deleted, purge_at))).await?;
        self.deleted_secret(vault, name).await
    }

    /// Brings a deleted secret back; gives its latest version. None when no deleted secret has that name.
    pub async fn secret_recover(
        &mut self,
        vault: &ResourceId,
        name: &str,
    ) -> Result<Option<SecretVersion>, StoreError> {
        let Some(Found { secret: before, .. }) = self.found(vault, name, None).await? else { return Ok(None) };
        if before.deleted.is_none() {
            return Ok(None);
        }
        self.set_deleted(vault, &before, None).await?;
        self.secret(vault, name, None).await
    }

    /// Removes a deleted secret for good, wrapped keys and all. False when no deleted secret has that name: one that
    /// is not deleted cannot be purged.
    pub async fn secret_purge(&mut self, vault: &ResourceId, name: &str) -> Result<bool, StoreError> {
        let (tenant, name) = (self.tenant.clone(), canonical(name));
        let Some(Found { secret: before, .. }) = self.found(vault, &name, None).await? else { return Ok(false) };
        if before.deleted.is_none() {
            return Ok(false);
        }
        let sql = "DELETE FROM secret_versions WHERE tenant = $1 AND vault = $2 AND name = $3 RETURNING name, version";
        let versions = self.write_rows(sql, args![&tenant, vault.canonical(), &name]).await?;
        let sql = "DELETE FROM secrets WHERE tenant = $1 AND vault = $2 AND name = $3 RETURNING name";
        let secrets = self.write_rows(sql, args![&tenant, vault.canonical(), &name]).await?;
        self.note_purged(vault, &versions, &secrets, &state(&before))?;
        Ok(true)
    }

    /// Removes all secrets of a vault for good, deleted or not; gives how many. A vault that has secrets cannot be
    /// removed, so this comes first.
    pub async fn secrets_purge_all(&mut self, vault: &ResourceId) -> Result<u64, StoreError> {
        let tenant = self.tenant.clone();
        let sql = "DELETE FROM secret_versions WHERE tenant = $1 AND vault = $2 RETURNING name, version";
        let versions = self.write_rows(sql, args![&tenant, vault.canonical()]).await?;
        let sql = "DELETE FROM secrets WHERE tenant = $1 AND vault = $2 RETURNING name";
        let secrets = self.write_rows(sql, args![&tenant, vault.canonical()]).await?;
        self.note_purged(vault, &versions, &secrets, &json!({}))?;
        Ok(secrets.len() as u64)
    }

    /// Says of every row that a purge removed that it is gone.
    fn note_purged(
        &mut self,
        vault: &ResourceId,
        versions: &[Row],
        secrets: &[Row],
        state: &Value,
    ) -> Result<(), StoreError> {
        let tenant = self.tenant.clone();
        self.purged |= !secrets.is_empty();
        for row in versions {
            let id = id_of_version(&id_of_secret(vault.canonical(), &row.text(0)?), &row.text(1)?);
            self.removed(RowName { kind: Kind::SecretVersion, tenant: &tenant, id: &id });
            self.secret_changed(Kind::SecretVersion, vault, id, Some(json!({})), None);
        }
        for row in secrets {
            let id = id_of_secret(vault.canonical(), &row.text(0)?);
            self.removed(RowName { kind: Kind::Secret, tenant: &tenant, id: &id });
            self.secret_changed(Kind::Secret, vault, id, Some(state.clone()), None);
        }
        Ok(())
    }

    async fn set_deleted(
        &mut self,
        vault: &ResourceId,
        before: &SecretRow,
        deleted: Option<(UnixTime, UnixTime)>,
    ) -> Result<(), StoreError> {
        let after = SecretRow {
            tenant: before.tenant.clone(),
            vault: before.vault.clone(),
            name: before.name.clone(),
            id: before.id.clone(),
            written: before.written.clone(),
            latest: before.latest.clone(),
            deleted: deleted.map(|(deleted, _)| deleted.0),
            purge_at: deleted.map(|(_, purge_at)| purge_at.0),
            revision: self.revision.0,
            tag: Vec::new(),
        };
        self.write_secret(Some(before), &after, vault).await
    }

    /// Writes the row of a name, over the one that was read.
    async fn write_secret(
        &mut self,
        before: Option<&SecretRow>,
        after: &SecretRow,
        vault: &ResourceId,
    ) -> Result<(), StoreError> {
        let (tag, revision) = (self.wrote(after.name(), &after.content()), self.revision_number());
        let SecretRow { tenant, vault: vault_id, name, written, latest, deleted, purge_at, .. } = after;
        match before {
            Some(before) => {
                let sql = "UPDATE secrets SET latest = $4, deleted = $5, purge_at = $6, revision = $7, tag = $8 \
                           WHERE tenant = $1 AND vault = $2 AND name = $3 AND tag = $9";
                let args = args![tenant, vault_id, name, latest, *deleted, *purge_at, revision, &tag[..], &before.tag];
                if self.execute(sql, args).await? != 1 {
                    return Err(self.mark_failed(before.name().tampered(Tampering::Older)));
                }
            }
            None => {
                let sql = "INSERT INTO secrets (tenant, vault, name, written, latest, revision, tag) \
                           VALUES ($1, $2, $3, $4, $5, $6, $7)";
                let no_vault = |error: sqlx::Error| match error.as_database_error() {
                    Some(fault) if fault.is_foreign_key_violation() => {
                        StoreError::NotFound { kind: Kind::Vault, key: vault_id.clone() }
                    }
                    Some(_) | None => error.into(),
                };
                let args = args![tenant, vault_id, name, written, latest, revision, &tag[..]];
                self.constrained(sql, args, no_vault).await?;
            }
        }
        self.secret_changed(Kind::Secret, vault, after.id.clone(), before.map(state), Some(state(after)));
        Ok(())
    }

    /// The row of a version's metadata; what an update leaves alone is not in it.
    fn version_row(&self, it: &SecretVersion, id: String, version: String) -> Result<VersionRow, StoreError> {
        Ok(VersionRow {
            tenant: self.tenant.clone(),
            id,
            version,
            ordinal: 0,
            content_type: it.content_type.clone(),
            tags: serde_json::to_string(&it.tags).map_err(|error| StoreError::Corrupt(error.to_string()))?,
            enabled: i64::from(it.enabled),
            nbf: it.nbf.map(|time| time.0),
            exp: it.exp.map(|time| time.0),
            created: 0,
            updated: it.updated.0,
            sealed_hash: Vec::new(),
            revision: self.revision.0,
            tag: Vec::new(),
        })
    }

    fn secret_changed(
        &mut self,
        kind: Kind,
        vault: &ResourceId,
        id: String,
        before: Option<Value>,
        after: Option<Value>,
    ) {
        let entry = Entry { kind, id, parent: Some(vault.canonical().to_owned()), before, after };
        self.change(entry, Effect::InVault(vault.clone()));
    }
}

/// What the change log says of a name.
fn state(it: &SecretRow) -> Value {
    let mut state = json!({ "latest": it.latest });
    if let (Some(deleted), Some(purge_at), Some(state)) = (it.deleted, it.purge_at, state.as_object_mut()) {
        state.insert("deleted".to_owned(), deleted.into());
        state.insert("purgeAt".to_owned(), purge_at.into());
    }
    state
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
