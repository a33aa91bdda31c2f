//! Service principals, by object id. No two of a tenant have the same client id.

use std::sync::Arc;

use denizen_wire::{PrincipalId, TenantId};

use crate::{
    domain::directory::ServicePrincipal,
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for ServicePrincipal {
    const KIND: Kind = Kind::ServicePrincipal;
    const TABLE: &'static Table = &table!("service_principals", "client_id");
    type Key = PrincipalId;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn key(&self) -> PrincipalId {
        self.id
    }

    fn key_text(key: &PrincipalId) -> String {
        key.to_string()
    }

    fn unique(&self) -> Option<String> {
        Some(self.client_id.to_string())
    }

    fn rivals(&self, snapshot: &Snapshot) -> Vec<(TenantId, PrincipalId)> {
        snapshot.principal_of_client(self.tenant, self.client_id).map(|it| (it.tenant, it.id)).into_iter().collect()
    }

    fn entity(record: Arc<Self>) -> Entity {
        Entity::ServicePrincipal(record)
    }
}
