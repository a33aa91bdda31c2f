//! Subscriptions. An id belongs to one tenant only.

use std::sync::Arc;

use denizen_wire::{SubscriptionId, TenantId};

use crate::{
    domain::resources::Subscription,
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for Subscription {
    const KIND: Kind = Kind::Subscription;
    const TABLE: &'static Table = &table!("subscriptions", "subscription");
    type Key = SubscriptionId;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn key(&self) -> SubscriptionId {
        self.id
    }

    fn key_text(key: &SubscriptionId) -> String {
        key.to_string()
    }

    fn unique(&self) -> Option<String> {
        Some(self.id.to_string())
    }

    fn rivals(&self, snapshot: &Snapshot) -> Vec<(TenantId, SubscriptionId)> {
        let others = snapshot.tenant_ids().filter(|tenant| snapshot.subscription(*tenant, self.id).is_some());
        others.map(|tenant| (tenant, self.id)).collect()
    }

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::Subscription(Arc::new(self))
    }
}
