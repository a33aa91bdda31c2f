//! What was deleted of the directory, and can be restored for a while.

use denizen_wire::{TenantId, UnixTime};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Something that was deleted lies here for this long, seconds: thirty days, as in Entra.
pub const RETENTION: i64 = 30 * 24 * 3600;

/// A record that was deleted, whole. It is where it was in nothing that decides.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct DeletedObject {
    /// Its tenant.
    pub tenant: TenantId,
    /// The object id that it had.
    pub id: Uuid,
    /// What it was.
    pub kind: DeletedKind,
    /// For people.
    pub display_name: String,
    /// When it was deleted.
    pub deleted: UnixTime,
    /// The record, as it was kept.
    pub record: Value,
}

impl DeletedObject {
    /// Whether it can still be restored. After that it waits to be removed for good, and nobody sees it.
    pub fn can_be_restored(&self, now: UnixTime) -> bool {
        now < self.deleted + RETENTION
    }
}

/// What can be deleted and restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletedKind {
    /// [`super::people::User`]
    User,
    /// [`super::people::Group`]
    Group,
    /// [`super::directory::Application`]
    Application,
    /// [`super::directory::ServicePrincipal`]
    ServicePrincipal,
}

// Not derived: what was kept of its secrets stays out of logs.
impl std::fmt::Debug for DeletedObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeletedObject").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}
