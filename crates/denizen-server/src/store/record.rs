//! What makes an entity storable: its kind, its key, its table. One file per entity in [`super::records`].
//!
//! A record is kept whole, as JSON, in a table of its own under `(tenant, id)`; beside it stands only what must be
//! unique. The change log gets the same JSON without the members an entity names in [`Record::UNLOGGED`]: sealed keys
//! and hashes leave the database with the row that holds them. Tests: the contract suite.

use std::{fmt, hash::Hash};

use denizen_keys::secret::json_fault;
use denizen_wire::TenantId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Snapshot, Store, StoreError, Tampering,
    db::{Arg, Row, args},
    live::Checks,
    snapshot::Entity,
    tags::RowName,
};
use crate::domain::Ctx;

/// The kinds of things the change log speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// [`crate::domain::directory::Tenant`]
    Tenant,
    /// [`crate::domain::directory::Application`]
    Application,
    /// [`crate::domain::directory::ServicePrincipal`]
    ServicePrincipal,
    /// [`crate::domain::directory::SigningKey`]
    SigningKey,
    /// [`crate::domain::resources::Subscription`]
    Subscription,
    /// [`crate::domain::resources::ResourceGroup`]
    ResourceGroup,
    /// [`crate::domain::resources::Machine`]
    Machine,
    /// [`crate::domain::resources::Vault`]
    Vault,
    /// [`crate::domain::roles::RoleAssignment`]
    RoleAssignment,
    /// [`crate::domain::roles::RoleDefinition`]
    RoleDefinition,
    /// [`crate::domain::resources::JoinToken`]
    JoinToken,
    /// [`crate::domain::people::User`]
    User,
    /// [`crate::domain::people::Group`]
    Group,
    /// [`crate::domain::people::Membership`]
    Membership,
    /// [`crate::domain::grants::AppRoleAssignment`]
    AppRoleAssignment,
    /// [`crate::domain::grants::PermissionGrant`]
    PermissionGrant,
    /// [`crate::domain::deleted::DeletedObject`]
    DeletedObject,
    /// [`crate::domain::sign_in`]: what people sign in by, and what they get for it.
    SignIn,
    /// A secret's name, and which of its versions is the latest.
    Secret,
    /// [`crate::domain::secrets::SecretVersion`]
    SecretVersion,
}

impl Kind {
    const ALL: [Self; 20] = [
        Self::Tenant,
        Self::Application,
        Self::ServicePrincipal,
        Self::SigningKey,
        Self::Subscription,
        Self::ResourceGroup,
        Self::Machine,
        Self::Vault,
        Self::RoleAssignment,
        Self::RoleDefinition,
        Self::JoinToken,
        Self::User,
        Self::Group,
        Self::Membership,
        Self::AppRoleAssignment,
        Self::PermissionGrant,
        Self::DeletedObject,
        Self::SignIn,
        Self::Secret,
        Self::SecretVersion,
    ];

    /// As the change log writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Application => "application",
            Self::ServicePrincipal => "service_principal",
            Self::SigningKey => "signing_key",
            Self::Subscription => "subscription",
            Self::ResourceGroup => "resource_group",
            Self::Machine => "machine",
            Self::Vault => "vault",
            Self::RoleAssignment => "role_assignment",
            Self::RoleDefinition => "role_definition",
            Self::JoinToken => "join_token",
            Self::User => "user",
            Self::Group => "group",
            Self::Membership => "membership",
            Self::AppRoleAssignment => "app_role_assignment",
            Self::PermissionGrant => "permission_grant",
            Self::DeletedObject => "deleted_object",
            Self::SignIn => "sign_in",
            Self::Secret => "secret",
            Self::SecretVersion => "secret_version",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| StoreError::Corrupt(format!("the change log has the unknown kind {text:?}")))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServicePrincipal => "service principal",
            Self::SigningKey => "signing key",
            Self::ResourceGroup => "resource group",
            Self::RoleAssignment => "role assignment",
            Self::RoleDefinition => "role definition",
            Self::JoinToken => "join token",
            Self::AppRoleAssignment => "app role assignment",
            Self::PermissionGrant => "permission grant",
            Self::DeletedObject => "deleted object",
            Self::SignIn => "sign-in",
            Self::SecretVersion => "secret version",
            Self::Tenant
            | Self::Application
            | Self::Subscription
            | Self::Machine
            | Self::Vault
            | Self::Secret
            | Self::User
            | Self::Group
            | Self::Membership => self.as_str(),
        })
    }
}

/// An entity that the store keeps and the snapshot serves.
pub trait Record: Serialize + DeserializeOwned + Clone + Send + Sync + Sized + 'static {
    /// Its kind.
    const KIND: Kind;
    /// Members, at any depth, that the change log does not repeat: they must be gone when the row is.
    const UNLOGGED: &'static [&'static str] = &[];
    /// Where it is kept.
    const TABLE: &'static Table;
    /// What tells it from others of its kind in its tenant.
    type Key: Clone + Eq + Hash + Send + Sync;

    /// Its tenant. None is never stored.
    fn tenant(&self) -> Option<TenantId>;
    /// Its key.
    fn key(&self) -> Self::Key;
    /// The key as text, canonical.
    fn key_text(key: &Self::Key) -> String;
    /// The value of the table's unique column; for a table that has one.
    fn unique(&self) -> Option<String> {
        None
    }
    /// Names that no other record of its kind and tenant may have.
    fn also_known_as(&self) -> &[String] {
        &[]
    }
    /// Other records that are served under a name this one takes. The tables' own constraints say so first, unless
    /// somebody has changed a table.
    fn rivals(&self, _: &Snapshot) -> Vec<(TenantId, Self::Key)> {
        Vec::new()
    }
    /// What the snapshot takes of it; `among` is one that has its tenant's vaults and resource groups.
    fn entity(self, among: &Snapshot) -> Entity;
    /// The same of its body as it is kept, for a start: it may leave unread what the snapshot does not take.
    fn entity_of(row: &Kept, among: &Snapshot) -> Result<Entity, StoreError> {
        Ok(decode::<Self>(&row.tenant, &row.id, &row.body)?.entity(among))
    }
}

/// The statements of one entity's table.
#[derive(Debug)]
pub struct Table {
    /// One record by tenant and id.
    pub(super) select: &'static str,
    /// All records, as far as a condition that follows chooses them.
    pub(super) all: &'static str,
    /// Writes it, over what is there.
    pub(super) upsert: &'static str,
    /// Writes it when nothing is there.
    pub(super) insert: &'static str,
    /// Removes it.
    pub(super) delete: &'static str,
    /// A page of all tenants' records, by tenant and id.
    pub(super) page: &'static str,
    /// The same in SQLite, in the order in which the rows lie in the file: by their place, which comes last. Read by keys
    /// that are random, a large table costs a page of the file for each row, and on a disk a seek.
    pub(super) page_by_place: &'static str,
    /// How many rows there are.
    pub(super) count: &'static str,
    /// Tenant, id and revision of all rows.
    pub(super) keys: &'static str,
    /// Whether there is a column beside the key that must be unique.
    pub(super) has_unique: bool,
}

/// A record's row, as [`Table::select`] and [`Table::page`] read it.
pub struct Kept {
    pub(super) tenant: String,
    pub(super) id: String,
    pub(super) body: String,
    pub(super) revision: u64,
    pub(super) tag: Vec<u8>,
    pub(super) unique: Option<String>,
}

impl Kept {
    pub(super) fn read<R: Record>(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            tenant: row.text(0)?,
            id: row.text(1)?,
            body: row.text(2)?,
            revision: row.count(3)?,
            tag: row.bytes(4)?,
            unique: if R::TABLE.has_unique { Some(row.text(5)?) } else { None },
        })
    }

    /// What its tag calls it.
    pub(super) fn name<R: Record>(&self) -> RowName<'_> {
        RowName { kind: R::KIND, tenant: &self.tenant, id: &self.id }
    }

    /// What its tag binds beside that.
    pub(super) fn content(&self) -> [Arg<'_>; 2] {
        content(&self.body, self.unique.as_deref())
    }
}

/// What the tag of a record's row binds beside its name.
pub(super) fn content<'a>(body: &'a str, unique: Option<&'a str>) -> [Arg<'a>; 2] {
    [body.into(), unique.into()]
}

/// `table!("machines")`, or `table!("vaults", "name")` where a column beside the key must be unique.
macro_rules! table {
    ($table:literal) => { table!(@ $table, "", "", "") };
    ($table:literal, $unique:literal) => {
        table!(@ $table, concat!(", ", $unique), ", $6", concat!(", ", $unique, " = excluded.", $unique))
    };
    (@ $table:literal, $column:expr, $place:expr, $set:expr) => {
        $crate::store::record::Table {
            select: concat!(
                "SELECT tenant, id, body, revision, tag", $column, " FROM ", $table, " WHERE tenant = $1 AND id = $2"
            ),
            all: concat!("SELECT tenant, id, body, revision, tag", $column, " FROM ", $table),
            upsert: concat!(
                "INSERT INTO ", $table, " (tenant, id, body, revision, tag", $column, ") VALUES ($1, $2, $3, $4, $5",
                $place, ") ON CONFLICT (tenant, id) DO UPDATE SET body = excluded.body, revision = excluded.revision, \
                tag = excluded.tag", $set
            ),
            insert: concat!(
                "INSERT INTO ", $table, " (tenant, id, body, revision, tag", $column, ") VALUES ($1, $2, $3, $4, $5",
                $place, ") ON CONFLICT DO NOTHING"
            ),
            count: concat!("SELECT COUNT(*) FROM ", $table),
            delete: concat!("DELETE FROM ", $table, " WHERE tenant = $1 AND id = $2"),
            page: concat!(
                "SELECT tenant, id, body, revision, tag", $column, " FROM ", $table,
                " WHERE (tenant, id) > ($1, $2) ORDER BY tenant, id LIMIT $3"
            ),
            page_by_place: concat!(
                "SELECT tenant, id, body, revision, tag", $column, ", rowid FROM ", $table,
                " WHERE rowid > $1 ORDER BY rowid LIMIT $2"
            ),
            keys: concat!("SELECT tenant, id, revision FROM ", $table),
            has_unique: concat!($column).len() > 0,
        }
    };
}
pub(super) use table;

/// The record as it is kept.
pub(super) fn encode<R: Record>(record: &R) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Corrupt(format!("{}: {}", R::KIND, json_fault(&error))))
}

/// The record as it is kept over an earlier one, `before`, whose body is `kept`. Members of the body that this release
/// does not know were written by a newer one with the same schema (after a downgrade today; beside it, once several
/// servers share an engine): they stay.
pub(super) fn encode_over<R: Record>(record: &R, before: &R, kept: &str) -> Result<String, StoreError> {
    let failed = |error: serde_json::Error| StoreError::Corrupt(format!("{}: {}", R::KIND, json_fault(&error)));
    let (kept, known) = (serde_json::from_str(kept).map_err(failed)?, serde_json::to_value(before).map_err(failed)?);
    let mut body = serde_json::to_value(record).map_err(failed)?;
    keep_unknown(&mut body, &known, &kept);
    serde_json::to_string(&body).map_err(failed)
}

/// Adds to `new` what `kept` has beyond `known`. Items of a list are the same ones when they are equal as far as this
/// release knows them.
fn keep_unknown(new: &mut Value, known: &Value, kept: &Value) {
    match (new, known, kept) {
        (Value::Object(new), Value::Object(known), Value::Object(kept)) => {
            for (name, kept) in kept {
                match (new.get_mut(name), known.get(name)) {
                    (Some(new), Some(known)) => keep_unknown(new, known, kept),
                    (None, None) => _ = new.insert(name.clone(), kept.clone()),
                    // It was cleared, or this release writes it now.
                    (None, Some(_)) | (Some(_), None) => {}
                }
            }
        }
        (Value::Array(new), Value::Array(known), Value::Array(kept)) => {
            for new in new {
                if let Some((known, kept)) = known.iter().zip(kept).find(|(known, _)| *known == new) {
                    keep_unknown(new, known, kept);
                }
            }
        }
        _ => {}
    }
}

/// The record that was kept. One that says another tenant or key than its row is damaged, and never served.
pub(super) fn decode<R: Record>(tenant: &str, id: &str, body: &str) -> Result<R, StoreError> {
    let damaged = |why: String| StoreError::Corrupt(format!("{} {id} of tenant {tenant}: {why}", R::KIND));
    let record: R = serde_json::from_str(body).map_err(|error| damaged(json_fault(&error)))?;
    let owner = record.tenant().map(|owner| owner.to_string());
    if owner.as_deref() != Some(tenant) || R::key_text(&record.key()) != id {
        return Err(damaged("its body names another".to_owned()));
    }
    Ok(record)
}

/// The part of a record that `T` reads, which must name its row's tenant and key as well.
pub(super) fn decode_part<'b, R: Record, T: Deserialize<'b>>(
    row: &'b Kept,
    named: impl FnOnce(&T) -> (TenantId, R::Key),
) -> Result<T, StoreError> {
    let Kept { tenant, id, body, .. } = row;
    let damaged = |why: String| StoreError::Corrupt(format!("{} {id} of tenant {tenant}: {why}", R::KIND));
    let part: T = serde_json::from_str(body).map_err(|error| damaged(json_fault(&error)))?;
    let (owner, key) = named(&part);
    if owner.to_string() != *tenant || R::key_text(&key) != *id {
        return Err(damaged("its body names another".to_owned()));
    }
    Ok(part)
}

/// The row of a look-up by key, checked; none when there is none, and that is right.
pub(super) fn found<R: Record>(
    rows: &[Row],
    checks: Checks<'_>,
    tenant: &str,
    id: &str,
) -> Result<Option<Kept>, StoreError> {
    let Some(row) = rows.first() else {
        checks.absent(RowName { kind: R::KIND, tenant, id })?;
        return Ok(None);
    };
    let kept = Kept::read::<R>(row)?;
    if (kept.tenant.as_str(), kept.id.as_str()) != (tenant, id) {
        return Err(kept.name::<R>().tampered(Tampering::Misplaced));
    }
    checks.row(kept.name::<R>(), &kept.content(), kept.revision, &kept.tag)?;
    Ok(Some(kept))
}

impl Store {
    /// A record as it is committed, read from the database: for what the snapshot does not hold.
    ///
    /// # Errors
    /// [`StoreError::Tampered`] when its row is not the one that was written last; the database's.
    pub async fn record<R: Record>(&self, ctx: &Ctx, key: &R::Key) -> Result<Option<R>, StoreError> {
        let (tenant, id) = (ctx.tenant.to_string(), R::key_text(key));
        let take = |rows: &[Row], checks: Checks<'_>| found::<R>(rows, checks, &tenant, &id);
        let kept = self.read(R::TABLE.select, args![&tenant, &id], take).await?;
        kept.map(|kept| decode(&tenant, &id, &kept.body)).transpose()
    }
}

/// The record as the change log repeats it.
pub(super) fn logged<R: Record>(record: &R) -> Result<Value, StoreError> {
    let mut value = serde_json::to_value(record)
        .map_err(|error| StoreError::Corrupt(format!("{}: {}", R::KIND, json_fault(&error))))?;
    if !R::UNLOGGED.is_empty() {
        leave_out(&mut value, R::UNLOGGED);
    }
    Ok(value)
}

/// Takes these members out, at any depth.
pub(super) fn leave_out(value: &mut Value, members: &[&str]) {
    match value {
        Value::Object(object) => {
            object.retain(|name, _| !members.contains(&name.as_str()));
            object.values_mut().for_each(|inner| leave_out(inner, members));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| leave_out(inner, members)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::directory::Application;

    #[test]
    fn what_a_damaged_record_holds_is_not_shown() {
        const MARKER: &str = "MARKER-hunter2";
        for body in [
            MARKER.to_owned(),
            format!("\"{MARKER}\""),
            format!("{{\"tenant\":\"{MARKER}\"}}"),
            format!("{{\"passwords\":\"{MARKER}\"}}"),
            format!("{{\"passwords\":[{{\"hash\":[\"{MARKER}\"]}}]}}"),
            format!("{{\"keys\":[\"{MARKER}"),
        ] {
            let error = decode::<Application>("tenant", "id", &body).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
            assert!(!format!("{error} {error:?}").contains(MARKER), "{error}");
        }
    }
}
