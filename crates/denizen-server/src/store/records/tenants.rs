//! Tenants. Their domain is unique, whatever its case. The sealed key leaves with its row.

use std::sync::Arc;

use denizen_wire::TenantId;

use crate::{
    domain::directory::Tenant,
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for Tenant {
    const KIND: Kind = Kind::Tenant;
    const UNLOGGED: &'static [&'static str] = &["sealed_kek"];
    const TABLE: &'static Table = &table!("tenants", "domain");
    type Key = TenantId;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.id)
    }

    fn key(&self) -> TenantId {
        self.id
    }

    fn key_text(key: &TenantId) -> String {
        key.to_string()
    }

    fn unique(&self) -> Option<String> {
        Some(self.domain.to_ascii_lowercase())
    }

    fn rivals(&self, snapshot: &Snapshot) -> Vec<(TenantId, TenantId)> {
        snapshot.tenant_named(&self.domain).map(|it| (it.id, it.id)).into_iter().collect()
    }

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::Tenant(Arc::new(self))
    }
}
