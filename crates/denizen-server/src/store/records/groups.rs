//! Groups, by object id. Several may have the same name.

use denizen_wire::{PrincipalId, TenantId};

use crate::{
    domain::people::Group,
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for Group {
    const KIND: Kind = Kind::Group;
    const TABLE: &'static Table = &table!("groups");
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

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::Group(self.id)
    }
}
