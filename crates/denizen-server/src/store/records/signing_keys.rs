//! Signing keys, by key id. The sealed private key leaves with its row.

use std::sync::Arc;

use denizen_wire::TenantId;

use crate::{
    domain::directory::SigningKey,
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for SigningKey {
    const KIND: Kind = Kind::SigningKey;
    const UNLOGGED: &'static [&'static str] = &["sealed"];
    const TABLE: &'static Table = &table!("signing_keys");
    type Key = String;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn key(&self) -> String {
        self.kid.clone()
    }

    fn key_text(key: &String) -> String {
        key.clone()
    }

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::SigningKey(Arc::new(self))
    }
}
