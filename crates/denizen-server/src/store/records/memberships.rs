//! Memberships, by group and member.

use denizen_wire::TenantId;

use crate::{
    domain::people::{Membership, MembershipKey},
    store::{
        Kind, Record, Snapshot,
        record::{Table, table},
        snapshot::Entity,
    },
};

impl Record for Membership {
    const KIND: Kind = Kind::Membership;
    const TABLE: &'static Table = &table!("memberships");
    type Key = MembershipKey;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.tenant)
    }

    fn key(&self) -> MembershipKey {
        MembershipKey { group: self.group, member: self.member }
    }

    fn key_text(key: &MembershipKey) -> String {
        key.to_string()
    }

    fn entity(self, _: &Snapshot) -> Entity {
        Entity::Membership(self.key())
    }
}
