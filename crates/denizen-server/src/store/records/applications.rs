//! Applications, by client id. No two of a tenant have the same identifier URI.

use std::sync::Arc;

use denizen_wire::{ClientId, TenantId};

use crate::{
    domain::directory::Application,
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for Application {
    const KIND: Kind = Kind::Application;
    const UNLOGGED: &'static [&'static str] = &["hash", "check", "mac"];
    const TABLE: &'static Table = &table!("applications");
    type Key = ClientId;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn key(&self) -> ClientId {
        self.client_id
    }

    fn key_text(key: &ClientId) -> String {
        key.to_string()
    }

    fn also_known_as(&self) -> &[String] {
        &self.identifier_uris
    }

    fn rivals(&self, snapshot: &Snapshot) -> Vec<(TenantId, ClientId)> {
        let named = |uri: &String| snapshot.application_for_resource(self.tenant, uri);
        self.identifier_uris.iter().filter_map(named).map(|other| (other.tenant, other.client_id)).collect()
    }

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::Application(Arc::new(self))
    }
}
