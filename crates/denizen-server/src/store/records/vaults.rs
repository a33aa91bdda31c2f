//! Vaults, by resource id. Their name is a host name: unique across tenants. The sealed key leaves with its row.

use std::sync::Arc;

use denizen_wire::{ResourceId, TenantId};

use crate::{
    domain::resources::Vault,
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for Vault {
    const KIND: Kind = Kind::Vault;
    const UNLOGGED: &'static [&'static str] = &["sealed_key"];
    const TABLE: &'static Table = &table!("vaults", "name");
    type Key = ResourceId;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn key(&self) -> ResourceId {
        self.id.clone()
    }

    fn key_text(key: &ResourceId) -> String {
        key.canonical().to_owned()
    }

    fn unique(&self) -> Option<String> {
        Some(self.name.to_ascii_lowercase())
    }

    fn rivals(&self, snapshot: &Snapshot) -> Vec<(TenantId, ResourceId)> {
        snapshot.vault(&self.name).map(|it| (it.tenant, it.id.clone())).into_iter().collect()
    }

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::Vault(Arc::new(self))
    }
}
