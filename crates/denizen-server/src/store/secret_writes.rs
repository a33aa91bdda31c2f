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

use std::collections::HashMap;

use denizen_wire::{ResourceId, UnixTime};
use serde_json::{Value, json};

use super::{
    Kind, StoreError, Tampering, Tx,
    changes::Entry,
    db::{DbError, Row, args},
    live::Checks,
    secrets::{Found, SecretRow, VersionRow, canonical, id_of_secret, id_of_version},
    snapshot::Effect,
    tags::{RowName, sealed_hash},
};
use crate::domain::secrets::{DeletedSecret, SecretVersion};

/// Removes rows and gives all of what their tags bind.
macro_rules! returning {
    ($table:literal; $condition:literal; VERSION) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ",
            $condition,
            " RETURNING tenant, vault, name, version, ordinal, content_type, \
             tags, enabled, nbf, exp, created, updated, sealed_hash, revision, tag"
        )
    };
    ($table:literal; $condition:literal; NAME) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ",
            $condition,
            " RETURNING tenant, vault, name, written, latest, deleted, purge_at, revision, tag"
        )
    };
}

impl Tx<'_> {
    /// Adds a version, which is the latest from now on. [`StoreError::SecretDeleted`] while a deleted secret holds
    /// the name, [`StoreError::Exists`] when the version is there, [`StoreError::NotFound`] without the vault.
    pub async fn secret_add(&mut self, it: &SecretVersion) -> Result<(), StoreError> {
        let (tenant, vault, name) = (self.tenant.clone(), it.vault.canonical(), canonical(&it.name));
        let (version, secret_id) = (canonical(&it.version), id_of_secret(vault, &name));
        let id = id_of_version(&secret_id, &version);
        self.own_tenant(it.tenant, Kind::Secret, &id)?;
        let before = self.found(&it.vault, &name, None).await?;
        if before.as_ref().is_some_and(|found| found.secret.deleted.is_some()) {
            return Err(self.mark_failed(StoreError::SecretDeleted { name }));
        }
        // Every row there is has a mark, so this asks nothing of the database.
        let same = RowName { kind: Kind::SecretVersion, tenant: &tenant, id: &id };
        if self.checks().absent(same).is_err() {
            return Err(self.mark_failed(StoreError::Exists { kind: Kind::Secret, key: id }));
        }
        // Versions are counted by the latest, whose row is checked: only a purge removes any, and then all.
        let last = before.as_ref().and_then(|found| found.version.as_ref()).map_or(0, |it| it.row.ordinal);
        let before = before.map(|found| found.secret);
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
        let put_there = |error: DbError| match error.is_unique_violation() {
            true => row.name().tampered(Tampering::Unknown),
            false => error.into(),
        };
        let added = self.constrained(sql, args, put_there).await?;
        self.did_all(Kind::SecretVersion, &row.id, added, 1)?;
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
        let updated = self.execute(sql, args).await?;
        self.did_all(Kind::SecretVersion, &row.id, updated, 1)?;
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
        let sql = returning!("secret_versions"; "tenant = $1 AND vault = $2 AND name = $3"; VERSION);
        let versions = self.write_rows(sql, args![&tenant, vault.canonical(), &name]).await?;
        let sql = returning!("secrets"; "tenant = $1 AND vault = $2 AND name = $3"; NAME);
        let secrets = self.write_rows(sql, args![&tenant, vault.canonical(), &name]).await?;
        self.did_all(Kind::Secret, &before.id, secrets.len() as u64, 1)?;
        self.note_purged(vault, &versions, &secrets, Some(&state(&before)))?;
        Ok(true)
    }

    /// Removes all secrets of a vault for good, deleted or not; gives how many. A vault that has secrets cannot be
    /// removed, so this comes first.
    pub async fn secrets_purge_all(&mut self, vault: &ResourceId) -> Result<u64, StoreError> {
        let tenant = self.tenant.clone();
        let sql = returning!("secret_versions"; "tenant = $1 AND vault = $2"; VERSION);
        let versions = self.write_rows(sql, args![&tenant, vault.canonical()]).await?;
        let sql = returning!("secrets"; "tenant = $1 AND vault = $2"; NAME);
        let secrets = self.write_rows(sql, args![&tenant, vault.canonical()]).await?;
        self.note_purged(vault, &versions, &secrets, None)?;
        Ok(secrets.len() as u64)
    }

    /// Says of every row that a purge removed that it is gone, once it is known that those were all: each was a row as it was
    /// written last, and of each secret there were as many versions as its latest one counts.
    fn note_purged(
        &mut self,
        vault: &ResourceId,
        versions: &[Row],
        secrets: &[Row],
        state: Option<&Value>,
    ) -> Result<(), StoreError> {
        let gone = Purged::checked(&self.tenant, vault, versions, secrets, self.checks());
        let gone = gone.map_err(|error| self.mark_failed(error))?;
        self.purged |= !secrets.is_empty();
        for row in gone.versions {
            self.removed(row.name());
            self.secret_changed(Kind::SecretVersion, vault, row.id, Some(json!({})), None);
        }
        for row in gone.secrets {
            self.removed(row.name());
            let state = state.cloned().unwrap_or_else(|| json!({}));
            self.secret_changed(Kind::Secret, vault, row.id, Some(state), None);
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
            deleted: deleted.map(|(deleted, _)| deleted.0),
            purge_at: deleted.map(|(_, purge_at)| purge_at.0),
            revision: self.revision.0,
            ..before.clone()
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
                let no_vault = |error: DbError| match error.is_foreign_key_violation() {
                    true => StoreError::NotFound { kind: Kind::Vault, key: vault_id.clone() },
                    // It has no mark, so somebody else has put it there.
                    false if error.is_unique_violation() => after.name().tampered(Tampering::Unknown),
                    false => error.into(),
                };
                let args = args![tenant, vault_id, name, written, latest, revision, &tag[..]];
                let added = self.constrained(sql, args, no_vault).await?;
                self.did_all(Kind::Secret, &after.id, added, 1)?;
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

/// What a purge removed.
struct Purged {
    secrets: Vec<SecretRow>,
    versions: Vec<VersionRow>,
}

impl Purged {
    fn checked(
        tenant: &str,
        vault: &ResourceId,
        versions: &[Row],
        secrets: &[Row],
        checks: Checks<'_>,
    ) -> Result<Self, StoreError> {
        let mut gone =
            Self { secrets: Vec::with_capacity(secrets.len()), versions: Vec::with_capacity(versions.len()) };
        // Of each secret, by what its versions' ids begin with: how many there were, and the number of the latest.
        let mut counted: HashMap<String, (String, i64, i64)> = HashMap::new();
        for row in secrets {
            let row = SecretRow::read(row, 0)?;
            checks.row(row.name(), &row.content(), row.revision, &row.tag)?;
            if row.tenant != tenant || row.vault != vault.canonical() {
                return Err(row.name().tampered(Tampering::Misplaced));
            }
            counted.insert(id_of_version(&row.id, ""), (row.latest.clone(), 0, 0));
            gone.secrets.push(row);
        }
        for row in versions {
            let row = VersionRow::read_unsealed(row)?;
            checks.row(row.name(), &row.content(), row.revision, &row.tag)?;
            let of = row.id.strip_suffix(&row.version).and_then(|of| counted.get_mut(of));
            let Some((latest, count, last)) = of.filter(|_| row.tenant == tenant) else {
                return Err(row.name().tampered(Tampering::Misplaced));
            };
            *count += 1;
            if *latest == row.version {
                *last = row.ordinal;
            }
            gone.versions.push(row);
        }
        match counted.iter().find(|(_, (_, count, last))| *count == 0 || count != last) {
            // Which of them is missing is not known.
            Some((of, (latest, ..))) => {
                let id = id_of_version(of.trim_end_matches('/'), latest);
                Err(RowName { kind: Kind::SecretVersion, tenant, id: &id }.tampered(Tampering::Missing))
            }
            None => Ok(gone),
        }
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
