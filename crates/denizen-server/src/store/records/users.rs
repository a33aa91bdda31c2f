//! Users, by object id. No two of a tenant have the same name, whatever its case, or are the same at another provider. What is kept of their secrets leaves with
//! their row.

use std::sync::Arc;

use denizen_wire::{PrincipalId, TenantId};

use crate::{
    domain::{hot, people::User},
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for User {
    const KIND: Kind = Kind::User;
    const UNLOGGED: &'static [&'static str] = &["hash", "sealed"];
    const TABLE: &'static Table = &table!("users", "name");
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
        Some(self.name.to_lowercase())
    }

    fn rivals(&self, snapshot: &Snapshot) -> Vec<(TenantId, PrincipalId)> {
        let named = snapshot.user_named(self.tenant, &self.name);
        let elsewhere = self.externals.iter().filter_map(|it| snapshot.user_of_external(self.tenant, it));
        named.into_iter().chain(elsewhere).map(|it| (self.tenant, it.id)).collect()
    }

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::User(Arc::new(hot::User::of(&self)))
    }
}
