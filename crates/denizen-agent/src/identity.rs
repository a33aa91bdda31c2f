//! The identities of this machine, and the choice among them.
//!
//! Touches nothing. Tests: below.

use std::fmt;

use denizen_wire::{ClientId, PrincipalId, ResourceId, shown};

/// An identity that this machine may use.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its client id.
    pub client_id: ClientId,
    /// Its object id.
    pub object_id: PrincipalId,
    /// Its resource id; the machine's own for the system-assigned identity.
    pub resource_id: ResourceId,
}

/// Which identity a request asks for. Its `Debug` shows a value only in the form of an identifier: a secret may stand in
/// its place.
#[derive(Clone, PartialEq, Eq)]
pub enum Selector {
    /// None was named: the machine's own.
    SystemAssigned,
    /// By client id.
    ClientId(String),
    /// By object id.
    ObjectId(String),
    /// By resource id.
    ResourceId(String),
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, value) = match self {
            Self::SystemAssigned => return f.write_str("SystemAssigned"),
            Self::ClientId(value) => ("ClientId", value),
            Self::ObjectId(value) => ("ObjectId", value),
            Self::ResourceId(value) => ("ResourceId", value),
        };
        write!(f, "{kind}({:?})", shown::identifier(value))
    }
}

/// All identities of this machine: its system-assigned one, and those assigned to it.
#[derive(Clone, Debug)]
pub struct Identities {
    system_assigned: Identity,
    user_assigned: Vec<Identity>,
}

impl Identities {
    /// A machine with its own identity and no other.
    pub fn new(system_assigned: Identity) -> Self {
        Self { system_assigned, user_assigned: Vec::new() }
    }

    /// Adds an identity that is assigned to the machine.
    #[must_use]
    pub fn with(mut self, user_assigned: Identity) -> Self {
        self.user_assigned.push(user_assigned);
        self
    }

    /// Exactly the identity that was named, or none: there is no fallback.
    pub fn select(&self, selector: &Selector) -> Option<&Identity> {
        match selector {
            Selector::SystemAssigned => Some(&self.system_assigned),
            Selector::ClientId(id) => id.parse().ok().and_then(|id| self.find(|identity| identity.client_id == id)),
            Selector::ObjectId(id) => id.parse().ok().and_then(|id| self.find(|identity| identity.object_id == id)),
            Selector::ResourceId(id) => id.parse().ok().and_then(|id| self.find(|identity| identity.resource_id == id)),
        }
    }

    fn find(&self, is_it: impl Fn(&Identity) -> bool) -> Option<&Identity> {
        std::iter::once(&self.system_assigned).chain(&self.user_assigned).find(|identity| is_it(identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(number: u8, name: &str) -> Identity {
        Identity {
            client_id: format!("0000000{number}-0000-0000-0000-00000000cccc").parse().unwrap(),
            object_id: format!("0000000{number}-0000-0000-0000-00000000eeee").parse().unwrap(),
            resource_id: format!("/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourceGroups/{name}")
                .parse()
                .unwrap(),
        }
    }

    #[test]
    fn each_identity_is_chosen_by_its_own_ids_and_no_other() {
        let (own, other) = (identity(1, "own"), identity(2, "other"));
        let identities = Identities::new(own.clone()).with(other.clone());
        let chosen = |selector: Selector| identities.select(&selector).map(|identity| identity.client_id);
        assert_eq!(chosen(Selector::SystemAssigned), Some(own.client_id));
        for identity in [&own, &other] {
            let expected = Some(identity.client_id);
            assert_eq!(chosen(Selector::ClientId(identity.client_id.to_string())), expected);
            assert_eq!(chosen(Selector::ObjectId(identity.object_id.to_string())), expected);
            assert_eq!(chosen(Selector::ResourceId(identity.resource_id.to_string().to_uppercase())), expected);
            assert_eq!(chosen(Selector::ClientId(identity.object_id.to_string())), None);
            assert_eq!(chosen(Selector::ObjectId(identity.client_id.to_string())), None);
        }
        for selector in [
            Selector::ClientId(String::new()),
            Selector::ClientId(identity(3, "third").client_id.to_string()),
            Selector::ResourceId("/".into()),
        ] {
            assert_eq!(chosen(selector.clone()), None, "{selector:?}");
        }
    }
}
