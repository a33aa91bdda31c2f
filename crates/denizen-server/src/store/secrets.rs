//! Secrets, read. They are cold data: kept by vault in the database, never in the snapshot.
//!
//! Names are compared in lower case and given back as they were first written. Sealed bytes stay sealed here. A secret
//! is two kinds of rows: its name, which says what its latest version is and whether it is deleted, and its versions.
//! Both are checked whenever they are read, and what decides is taken from the rows after that: a statement's own
//! conditions only choose rows, and a row that is not there must be one that is not known.
//!
//! A list is checked row by row. That a row is missing from one is noticed when it is asked for by name, and at the next
//! start.
//!
//! Tests: the contract suite.

use denizen_keys::secret::json_fault;
use denizen_wire::{ResourceId, TenantId, UnixTime};

use super::{
    Kind, Store, StoreError, Tampering, Tx,
    db::{Arg, Row, args},
    live::Checks,
    tags::{RowName, sealed_hash},
};
use crate::domain::{
    Ctx,
    secrets::{DeletedSecret, SecretVersion},
};

/// `select!("v.version = s.latest"; "…")`: names with the versions that fit the first condition, by tenant and the
/// condition given. A name without such a version is a row of its own.
macro_rules! select {
    ($of:literal; $($condition:literal),+) => {
        concat!(
            "SELECT s.tenant, s.vault, s.name, s.written, s.latest, s.deleted, s.purge_at, s.revision, s.tag, \
             v.version, v.ordinal, v.content_type, v.tags, v.enabled, v.nbf, v.exp, v.created, v.updated, \
             v.sealed_hash, v.revision, v.tag, v.wrapped_key, v.sealed_value \
             FROM secrets s LEFT JOIN secret_versions v \
             ON v.tenant = s.tenant AND v.vault = s.vault AND v.name = s.name AND ",
            $of, " WHERE s.tenant = $1 AND ", $($condition),+
        )
    };
}

const LATEST: &str = select!("v.version = s.latest"; "s.vault = $2 AND s.name = $3");
const VERSION: &str = select!("v.version = $4"; "s.vault = $2 AND s.name = $3");
const LIST: &str =
    select!("v.version = s.latest"; "s.vault = $2 AND s.name > $3 AND s.deleted IS NULL ORDER BY s.name LIMIT $4");
const VERSIONS: &str = select!("1 = 1"; "s.vault = $2 AND s.name = $3 ORDER BY v.ordinal DESC LIMIT $4");
const VERSIONS_AFTER: &str = select!(
    "v.ordinal < (SELECT a.ordinal FROM secret_versions a WHERE a.tenant = $1 AND a.vault = $2 AND a.name = $3 \
     AND a.version = $5)"; "s.vault = $2 AND s.name = $3 ORDER BY v.ordinal DESC LIMIT $4"
);
const DELETED_LIST: &str =
    select!("v.version = s.latest"; "s.vault = $2 AND s.name > $3 AND s.deleted IS NOT NULL ORDER BY s.name LIMIT $4");
const DUE: &str =
    select!("v.version = s.latest"; "s.deleted IS NOT NULL AND s.purge_at <= $2 ORDER BY s.purge_at LIMIT $3");

/// The row of a name.
#[derive(Clone)]
pub(super) struct SecretRow {
    pub(super) tenant: String,
    pub(super) vault: String,
    pub(super) name: String,
    /// `{vault}/secrets/{name}`
    pub(super) id: String,
    pub(super) written: String,
    pub(super) latest: String,
    pub(super) deleted: Option<i64>,
    pub(super) purge_at: Option<i64>,
    pub(super) revision: u64,
    pub(super) tag: Vec<u8>,
}

impl SecretRow {
    pub(super) const KEYS_SQL: &'static str =
        "SELECT tenant, vault, name, written, latest, deleted, purge_at, revision, tag FROM secrets";
    pub(super) const PAGE_SQL: &'static str = "SELECT tenant, vault, name, written, latest, deleted, purge_at, revision, tag \
         FROM secrets WHERE (tenant, vault, name) > ($1, $2, $3) ORDER BY tenant, vault, name LIMIT $4";

    /// Columns as [`Self::PAGE_SQL`] has them.
    pub(super) fn read(row: &Row, at: usize) -> Result<Self, StoreError> {
        let (vault, name) = (row.text(at + 1)?, row.text(at + 2)?);
        Ok(Self {
            id: id_of_secret(&vault, &name),
            tenant: row.text(at)?,
            vault,
            name,
            written: row.text(at + 3)?,
            latest: row.text(at + 4)?,
            deleted: row.int_or_null(at + 5)?,
            purge_at: row.int_or_null(at + 6)?,
            revision: row.count(at + 7)?,
            tag: row.bytes(at + 8)?,
        })
    }

    /// What its tag calls it.
    pub(super) fn name(&self) -> RowName<'_> {
        RowName { kind: Kind::Secret, tenant: &self.tenant, id: &self.id }
    }

    /// What its tag binds beside that.
    pub(super) fn content(&self) -> [Arg<'_>; 4] {
        [(&self.written).into(), (&self.latest).into(), self.deleted.into(), self.purge_at.into()]
    }
}

/// The row of a version.
#[derive(Clone)]
pub(super) struct VersionRow {
    pub(super) tenant: String,
    /// `{vault}/secrets/{name}/{version}`
    pub(super) id: String,
    pub(super) version: String,
    pub(super) ordinal: i64,
    pub(super) content_type: Option<String>,
    pub(super) tags: String,
    pub(super) enabled: i64,
    pub(super) nbf: Option<i64>,
    pub(super) exp: Option<i64>,
    pub(super) created: i64,
    pub(super) updated: i64,
    pub(super) sealed_hash: Vec<u8>,
    pub(super) revision: u64,
    pub(super) tag: Vec<u8>,
}

impl VersionRow {
    pub(super) const KEYS_SQL: &'static str = "SELECT tenant, vault, name, version, ordinal, content_type, tags, enabled, \
         nbf, exp, created, updated, sealed_hash, revision, tag FROM secret_versions";
    pub(super) const PAGE_SQL: &'static str = "SELECT tenant, vault, name, version, ordinal, content_type, tags, enabled, nbf, exp, created, updated, \
         sealed_hash, revision, tag FROM secret_versions \
         WHERE (tenant, vault, name, version) > ($1, $2, $3, $4) ORDER BY tenant, vault, name, version LIMIT $5";

    /// Columns as [`Self::PAGE_SQL`] has them.
    pub(super) fn read_unsealed(row: &Row) -> Result<Self, StoreError> {
        Self::read(row, row.text(0)?, &id_of_secret(&row.text(1)?, &row.text(2)?), 3)
    }

    fn read(row: &Row, tenant: String, secret: &str, at: usize) -> Result<Self, StoreError> {
        let version = row.text(at)?;
        Ok(Self {
            tenant,
            id: id_of_version(secret, &version),
            version,
            ordinal: row.int(at + 1)?,
            content_type: row.text_or_null(at + 2)?,
            tags: row.text(at + 3)?,
            enabled: row.int(at + 4)?,
            nbf: row.int_or_null(at + 5)?,
            exp: row.int_or_null(at + 6)?,
            created: row.int(at + 7)?,
            updated: row.int(at + 8)?,
            sealed_hash: row.bytes(at + 9)?,
            revision: row.count(at + 10)?,
            tag: row.bytes(at + 11)?,
        })
    }

    /// What its tag calls it.
    pub(super) fn name(&self) -> RowName<'_> {
        RowName { kind: Kind::SecretVersion, tenant: &self.tenant, id: &self.id }
    }

    /// What its tag binds beside that.
    pub(super) fn content(&self) -> [Arg<'_>; 9] {
        [
            self.ordinal.into(),
            self.content_type.as_deref().into(),
            (&self.tags).into(),
            self.enabled.into(),
            self.nbf.into(),
            self.exp.into(),
            self.created.into(),
            self.updated.into(),
            (&self.sealed_hash).into(),
        ]
    }
}

/// A name and, where one was found, the version that was asked for; both checked.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) secret: SecretRow,
    pub(super) version: Option<FoundVersion>,
}

#[derive(Clone)]
pub(super) struct FoundVersion {
    pub(super) row: VersionRow,
    pub(super) value: SecretVersion,
}

impl Found {
    /// A row of a [`select`].
    fn checked(tenant: TenantId, row: &Row, checks: Checks<'_>) -> Result<Self, StoreError> {
        let secret = SecretRow::read(row, 0)?;
        checks.row(secret.name(), &secret.content(), secret.revision, &secret.tag)?;
        if row.text_or_null(9)?.is_none() {
            return Ok(Self { secret, version: None });
        }
        let version = VersionRow::read(row, secret.tenant.clone(), &secret.id, 9)?;
        checks.row(version.name(), &version.content(), version.revision, &version.tag)?;
        let value = SecretVersion {
            tenant,
            vault: secret.vault.parse().map_err(|error| StoreError::Corrupt(format!("a secret's vault: {error}")))?,
            name: secret.written.clone(),
            version: version.version.clone(),
            content_type: version.content_type.clone(),
            tags: serde_json::from_str(&version.tags)
                .map_err(|error| StoreError::Corrupt(format!("a secret's tags: {}", json_fault(&error))))?,
            enabled: version.enabled != 0,
            nbf: version.nbf.map(UnixTime),
            exp: version.exp.map(UnixTime),
            created: UnixTime(version.created),
            updated: UnixTime(version.updated),
            wrapped_key: row.bytes(21)?,
            sealed_value: row.bytes(22)?,
        };
        if sealed_hash(&value.wrapped_key, &value.sealed_value) != version.sealed_hash {
            return Err(version.name().tampered(Tampering::Forged));
        }
        Ok(Self { secret, version: Some(FoundVersion { row: version, value }) })
    }

    /// A row that shows a latest version, which every name has.
    fn latest(tenant: TenantId, row: &Row, checks: Checks<'_>) -> Result<Self, StoreError> {
        let found = Self::checked(tenant, row, checks)?;
        match &found.version {
            Some(it) if it.row.version == found.secret.latest => Ok(found),
            Some(it) => Err(it.row.name().tampered(Tampering::Misplaced)),
            None => Err(missing(&found.secret, &found.secret.latest)),
        }
    }

    /// The answer to [`LATEST`] or [`VERSION`].
    fn one(of: &Wanted<'_>, tenant: TenantId, rows: &[Row], checks: Checks<'_>) -> Result<Option<Self>, StoreError> {
        let Some(row) = rows.first() else {
            let id = id_of_secret(of.vault.canonical(), of.name);
            checks.absent(RowName { kind: Kind::Secret, tenant: of.tenant, id: &id })?;
            return Ok(None);
        };
        let found = match of.version {
            Some(_) => Self::checked(tenant, row, checks)?,
            None => Self::latest(tenant, row, checks)?,
        };
        let SecretRow { tenant, vault, name, .. } = &found.secret;
        if (tenant.as_str(), vault.as_str(), name.as_str()) != (of.tenant, of.vault.canonical(), of.name) {
            return Err(found.secret.name().tampered(Tampering::Misplaced));
        }
        let Some(version) = of.version else { return Ok(Some(found)) };
        match &found.version {
            Some(it) if it.row.version == version => {}
            Some(it) => return Err(it.row.name().tampered(Tampering::Misplaced)),
            None => {
                let id = id_of_version(&found.secret.id, version);
                checks.absent(RowName { kind: Kind::SecretVersion, tenant: of.tenant, id: &id })?;
            }
        }
        Ok(Some(found))
    }

    /// A page of names with their latest versions: of one tenant and vault, after a name, each once and in order.
    fn page(
        tenant: TenantId,
        (of, vault, after): (&str, &ResourceId, &str),
        rows: &[Row],
        checks: Checks<'_>,
    ) -> Result<Vec<Self>, StoreError> {
        let (mut page, mut last) = (Vec::with_capacity(rows.len()), after.to_owned());
        for row in rows {
            let found = Self::latest(tenant, row, checks)?;
            let it = &found.secret;
            if it.tenant != of || it.vault != vault.canonical() || it.name <= last {
                return Err(it.name().tampered(Tampering::Misplaced));
            }
            last.clone_from(&it.name);
            page.push(found);
        }
        Ok(page)
    }

    /// A page of one secret's versions, the newest first; with the latest of all at its front when it is the first page.
    fn versions(
        of: &Wanted<'_>,
        tenant: TenantId,
        is_first: bool,
        rows: &[Row],
        checks: Checks<'_>,
    ) -> Result<Vec<Self>, StoreError> {
        let (mut page, mut last) = (Vec::with_capacity(rows.len()), i64::MAX);
        for row in rows {
            let found = match is_first && page.is_empty() {
                true => Self::latest(tenant, row, checks)?,
                false => Self::checked(tenant, row, checks)?,
            };
            let SecretRow { tenant, vault, name, .. } = &found.secret;
            let ordinal = found.version.as_ref().map_or(0, |it| it.row.ordinal);
            let is_asked =
                (tenant.as_str(), vault.as_str(), name.as_str()) == (of.tenant, of.vault.canonical(), of.name);
            if !is_asked || ordinal >= last {
                return Err(found.secret.name().tampered(Tampering::Misplaced));
            }
            last = ordinal;
            page.push(found);
        }
        Ok(page)
    }

    fn version_if_live(self) -> Option<SecretVersion> {
        if self.secret.deleted.is_some() { None } else { self.version.map(|it| it.value) }
    }

    fn if_deleted(self) -> Option<DeletedSecret> {
        let (deleted, purge_at) = (self.secret.deleted?, self.secret.purge_at?);
        let latest = self.version?.value;
        Some(DeletedSecret { latest, deleted: UnixTime(deleted), purge_at: UnixTime(purge_at) })
    }
}

/// What a look-up asks for; name and version canonical.
struct Wanted<'a> {
    tenant: &'a str,
    vault: &'a ResourceId,
    name: &'a str,
    version: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn sql(&self) -> &'static str {
        if self.version.is_some() { VERSION } else { LATEST }
    }

    fn args(&self) -> Vec<Arg<'a>> {
        let mut args = args![self.tenant, self.vault.canonical(), self.name].to_vec();
        args.extend(self.version.map(Arg::from));
        args
    }
}

impl Store {
    /// A version of a secret; the latest when none is named. None when there is no such secret, or it was deleted.
    pub async fn secret(
        &self,
        ctx: &Ctx,
        vault: &ResourceId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<SecretVersion>, StoreError> {
        Ok(self.found(ctx, vault, name, version).await?.and_then(Found::version_if_live))
    }

    async fn found(
        &self,
        ctx: &Ctx,
        vault: &ResourceId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Found>, StoreError> {
        let (tenant, name, version) = (ctx.tenant.to_string(), canonical(name), version.map(canonical));
        let wanted = Wanted { tenant: &tenant, vault, name: &name, version: version.as_deref() };
        let read = |rows: &[Row], checks: Checks<'_>| Found::one(&wanted, ctx.tenant, rows, checks);
        self.read(wanted.sql(), &wanted.args(), read).await
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
        self.read_page(LIST, args![&tenant, vault.canonical(), &after, i64::from(limit)], |rows, checks| {
            let page = Found::page(ctx.tenant, (&tenant, vault, &after), rows, checks)?;
            Ok(page.into_iter().filter_map(Found::version_if_live).collect())
        })
        .await
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
        let id = id_of_secret(vault.canonical(), &name);
        let read = |rows: &[Row], checks: Checks<'_>| {
            if rows.is_empty() {
                checks.absent(RowName { kind: Kind::Secret, tenant: &tenant, id: &id })?;
            }
            let wanted = Wanted { tenant: &tenant, vault, name: &name, version: None };
            let page = Found::versions(&wanted, ctx.tenant, after.is_none(), rows, checks)?;
            Ok(page.into_iter().filter_map(Found::version_if_live).collect())
        };
        match after {
            Some(after) => {
                let after = canonical(after);
                self.read_page(VERSIONS_AFTER, args![&tenant, vault.canonical(), &name, limit, &after], read).await
            }
            None => self.read_page(VERSIONS, args![&tenant, vault.canonical(), &name, limit], read).await,
        }
    }

    /// A deleted secret that can still be recovered.
    pub async fn deleted_secret(
        &self,
        ctx: &Ctx,
        vault: &ResourceId,
        name: &str,
    ) -> Result<Option<DeletedSecret>, StoreError> {
        Ok(self.found(ctx, vault, name, None).await?.and_then(Found::if_deleted))
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
        self.read_page(DELETED_LIST, args![&tenant, vault.canonical(), &after, i64::from(limit)], |rows, checks| {
            let page = Found::page(ctx.tenant, (&tenant, vault, &after), rows, checks)?;
            Ok(page.into_iter().filter_map(Found::if_deleted).collect())
        })
        .await
    }

    /// The tenant's deleted secrets whose time to be recovered is over, the oldest first: due to be purged.
    pub async fn secrets_due(&self, ctx: &Ctx, limit: u32) -> Result<Vec<DeletedSecret>, StoreError> {
        let tenant = ctx.tenant.to_string();
        self.read(DUE, args![&tenant, ctx.now.0, i64::from(limit)], |rows, checks| {
            let mut due = Vec::with_capacity(rows.len());
            for row in rows {
                let found = Found::latest(ctx.tenant, row, checks)?;
                let it = &found.secret;
                if it.tenant != tenant || it.deleted.is_none() || it.purge_at.is_none_or(|at| at > ctx.now.0) {
                    return Err(it.name().tampered(Tampering::Misplaced));
                }
                due.extend(found.if_deleted());
            }
            Ok(due)
        })
        .await
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
        Ok(self.found(vault, name, version).await?.and_then(Found::version_if_live))
    }

    /// A deleted secret as this transaction sees it.
    pub async fn deleted_secret(
        &mut self,
        vault: &ResourceId,
        name: &str,
    ) -> Result<Option<DeletedSecret>, StoreError> {
        Ok(self.found(vault, name, None).await?.and_then(Found::if_deleted))
    }

    /// A name, deleted or not, with the version that is asked for.
    pub(super) async fn found(
        &mut self,
        vault: &ResourceId,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Found>, StoreError> {
        let (id, tenant, name, version) =
            (self.ctx.tenant, self.tenant.clone(), canonical(name), version.map(canonical));
        let secret_id = id_of_secret(vault.canonical(), &name);
        // Every row there is has a mark, so this asks nothing of the database.
        if self.checks().absent(RowName { kind: Kind::Secret, tenant: &tenant, id: &secret_id }).is_ok() {
            return Ok(None);
        }
        if let Some(found) = self.latest.as_ref().filter(|found| version.is_none() && found.secret.id == secret_id) {
            return Ok(Some(found.clone()));
        }
        let wanted = Wanted { tenant: &tenant, vault, name: &name, version: version.as_deref() };
        let found =
            self.read(wanted.sql(), &wanted.args(), |rows, checks| Found::one(&wanted, id, rows, checks)).await?;
        if version.is_none() {
            // One body asks for it more than once.
            self.latest.clone_from(&found);
        }
        Ok(found)
    }
}

/// A name, or a version, as it is compared.
pub(super) fn canonical(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// `{vault}/secrets/{name}`, canonical: a secret in the change log and in its tag.
pub(super) fn id_of_secret(vault: &str, name: &str) -> String {
    [vault, "/secrets/", name].concat()
}

/// The vault of such an id, and what follows it: a name or, with a slash, a name and a version.
pub(super) fn parts_of_id(id: &str) -> Option<(&str, &str)> {
    id.rsplit_once("/secrets/")
}

/// The same, of a version.
pub(super) fn id_of_version(secret: &str, version: &str) -> String {
    [secret, "/", version].concat()
}

fn missing(secret: &SecretRow, version: &str) -> StoreError {
    let id = id_of_version(&secret.id, version);
    RowName { kind: Kind::SecretVersion, tenant: &secret.tenant, id: &id }.tampered(Tampering::Missing)
}
