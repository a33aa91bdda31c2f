//! Service principals, by object id. No two of a tenant have the same client id. The snapshot takes their hot half.

use std::{borrow::Cow, sync::Arc};

use denizen_keys::hash::unhex;
use denizen_wire::{ClientId, PrincipalId, TenantId, UnixTime};
use serde::{Deserialize, Deserializer, de::Error as _};
use uuid::Uuid;

use crate::{
    domain::{
        directory::{PrincipalKind, ServicePrincipal},
        federation::FederatedCredential,
        hot::{Key, Keys, Lifetime, Principal},
    },
    store::{
        Kind, Record, Snapshot, StoreError,
        record::{Kept, Table, decode_part, table},
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
        snapshot.principal_of_client(self.tenant, self.client_id).map(|it| (self.tenant, it.id)).into_iter().collect()
    }

    fn entity(self, among: &Snapshot) -> Entity {
        Entity::ServicePrincipal(Arc::new(Principal::of(&self, |id| among.nested(self.tenant, id))))
    }

    fn entity_of(row: &Kept, among: &Snapshot) -> Result<Entity, StoreError> {
        let hot = decode_part::<Self, Hot<'_>>(row, |it| (it.tenant, it.id))?;
        let key = |key: HotKey<'_>| Key::new(key.key_id, (key.start, key.end), key.x5t, key.x5t_s256, &key.n, &key.e);
        Ok(Entity::ServicePrincipal(Arc::new(Principal {
            id: hot.id,
            client_id: hot.client_id,
            resource_id: match &hot.kind {
                PrincipalKind::ManagedIdentity { resource_id } => Some(among.nested(hot.tenant, resource_id)),
                PrincipalKind::Application => None,
            },
            enabled: hot.enabled,
            epoch: hot.epoch,
            token_lifetime: hot.token_lifetime.map(Lifetime::of),
            keys: Keys::new(hot.keys.into_iter().map(key), hot.federated),
        })))
    }
}

/// What the snapshot takes.
#[derive(Deserialize)]
struct Hot<'b> {
    tenant: TenantId,
    id: PrincipalId,
    client_id: ClientId,
    kind: PrincipalKind,
    enabled: bool,
    epoch: u64,
    #[serde(borrow)]
    keys: Vec<HotKey<'b>>,
    token_lifetime: Option<i64>,
    #[serde(default)]
    federated: Vec<FederatedCredential>,
}

#[derive(Deserialize)]
struct HotKey<'b> {
    key_id: Uuid,
    start: UnixTime,
    end: UnixTime,
    x5t: [u8; 20],
    #[serde(deserialize_with = "hex32")]
    x5t_s256: [u8; 32],
    #[serde(borrow)]
    n: Cow<'b, str>,
    #[serde(borrow)]
    e: Cow<'b, str>,
}

fn hex32<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let bytes = unhex(&Cow::<'de, str>::deserialize(deserializer)?);
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| D::Error::custom("not 32 bytes of hexadecimal"))
}
