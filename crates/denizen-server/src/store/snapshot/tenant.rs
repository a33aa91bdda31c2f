//! What one tenant has in memory, and every name in the tenant that a record is found by.
//!
//! No I/O here. Tests: `snapshot/tests.rs`.

use std::sync::Arc;

use denizen_wire::{ClientId, PrincipalId, ResourceId, SubscriptionId};
use uuid::Uuid;

use super::{
    super::{Kind, tree::Tree},
    Entity, Map,
};
use crate::domain::{
    directory::{Application, SigningKey, Tenant},
    grants::PermissionGrant,
    hot::{AppRole, Assignment, Principal, User},
    people::{ExternalIdentity, MembershipKey},
    resources::{ResourceGroup, Subscription, Vault},
    roles::{RoleDefinition, RoleId},
};

/// What one tenant has.
#[derive(Clone, Default, PartialEq)]
pub(super) struct TenantState {
    pub(super) tenant: Option<Arc<Tenant>>,
    pub(super) applications: Map<ClientId, Arc<Application>>,
    pub(super) resources: Map<String, Arc<Application>>,
    pub(super) principals: Tree<PrincipalId, Arc<Principal>>,
    pub(super) clients: Tree<ClientId, Arc<Principal>>,
    pub(super) signing_keys: Arc<Vec<Arc<SigningKey>>>,
    pub(super) subscriptions: Map<SubscriptionId, Arc<Subscription>>,
    pub(super) resource_groups: Map<ResourceId, Arc<ResourceGroup>>,
    pub(super) vaults: Map<ResourceId, Arc<Vault>>,
    /// Whose each assignment is.
    pub(super) assignments: Tree<Uuid, PrincipalId>,
    pub(super) of_principal: Tree<PrincipalId, Assignments>,
    pub(super) roles: Map<RoleId, Arc<RoleDefinition>>,
    pub(super) users: Tree<PrincipalId, Arc<User>>,
    /// By name, lower case.
    pub(super) user_names: Map<String, PrincipalId>,
    pub(super) externals: Map<ExternalIdentity, PrincipalId>,
    pub(super) groups: Tree<PrincipalId, ()>,
    /// The groups that each is in, by id; of those that are deleted as well.
    pub(super) member_of: Tree<PrincipalId, Arc<[PrincipalId]>>,
    /// Whose each app role assignment is.
    pub(super) app_roles: Tree<Uuid, PrincipalId>,
    pub(super) app_roles_of: Tree<PrincipalId, Arc<[AppRole]>>,
    pub(super) grants: Map<Uuid, Arc<PermissionGrant>>,
    /// What each client was granted.
    pub(super) grants_of: Map<PrincipalId, Arc<[Arc<PermissionGrant>]>>,
}

/// What a principal has been assigned, by id. Most have one, which takes no list.
#[derive(Clone, PartialEq)]
pub(super) enum Assignments {
    One(Arc<Assignment>),
    Several(Arc<Vec<Arc<Assignment>>>),
}

impl Assignments {
    pub(super) fn as_slice(&self) -> &[Arc<Assignment>] {
        match self {
            Self::One(only) => std::slice::from_ref(only),
            Self::Several(list) => list,
        }
    }

    /// Adds one that is not there. Loaded in the order of ids, it is always the last.
    fn add(&mut self, it: Arc<Assignment>) {
        if let Self::One(only) = self {
            *self = Self::Several(Arc::new(vec![Arc::clone(only)]));
        }
        if let Self::Several(list) = self {
            let list = Arc::make_mut(list);
            let at = list.partition_point(|other| other.id < it.id);
            list.insert(at, it);
        }
    }

    /// Takes one out; whether none is left.
    fn take(&mut self, id: Uuid) -> bool {
        match self {
            Self::One(only) => only.id == id,
            Self::Several(list) => {
                let left = Arc::make_mut(list);
                left.retain(|other| other.id != id);
                if let [only] = left.as_slice() {
                    *self = Self::One(Arc::clone(only));
                    return false;
                }
                left.is_empty()
            }
        }
    }
}

impl TenantState {
    pub(super) fn insert(&mut self, entity: Entity) {
        match entity {
            Entity::Tenant(it) => self.tenant = Some(it),
            Entity::Application(it) => {
                for uri in &it.identifier_uris {
                    self.resources.insert_mut(uri.clone(), it.clone());
                }
                self.applications.insert_mut(it.client_id, it);
            }
            Entity::ServicePrincipal(it) => {
                self.clients.insert(it.client_id, it.clone());
                self.principals.insert(it.id, it);
            }
            Entity::SigningKey(it) => {
                let keys = Arc::make_mut(&mut self.signing_keys);
                keys.push(it);
                keys.sort_by(|a, b| (a.signs_from, a.created, &a.kid).cmp(&(b.signs_from, b.created, &b.kid)));
            }
            Entity::Subscription(it) => self.subscriptions.insert_mut(it.id, it),
            Entity::ResourceGroup(it) => self.resource_groups.insert_mut(it.id.clone(), it),
            Entity::Nothing => {}
            Entity::Vault(it) => self.vaults.insert_mut(it.id.clone(), it),
            Entity::RoleAssignment(principal, it) => {
                self.assignments.insert(it.id, principal);
                match self.of_principal.get_mut(&principal) {
                    Some(list) => list.add(it),
                    None => self.of_principal.insert(principal, Assignments::One(it)),
                }
            }
            Entity::RoleDefinition(it) => self.roles.insert_mut(it.id, it),
            Entity::User(it) => {
                self.user_names.insert_mut(it.name.as_ref().to_owned(), it.id);
                for external in &it.externals {
                    self.externals.insert_mut(external.clone(), it.id);
                }
                self.users.insert(it.id, it);
            }
            Entity::Group(id) => self.groups.insert(id, ()),
            Entity::Membership(MembershipKey { group, member }) => {
                let groups = self.member_of.get(&member).map_or(&[][..], AsRef::as_ref);
                let groups = with(groups, group, |it| *it);
                self.member_of.insert(member, groups);
            }
            Entity::AppRole(principal, it) => {
                let roles = with(self.app_roles_of.get(&principal).map_or(&[][..], AsRef::as_ref), it, |it| it.id);
                self.app_roles.insert(it.id, principal);
                self.app_roles_of.insert(principal, roles);
            }
            Entity::PermissionGrant(it) => {
                let grants = self.grants_of.get(&it.client).map_or(&[][..], AsRef::as_ref);
                let grants = with(grants, it.clone(), |it| it.id);
                self.grants_of.insert_mut(it.client, grants);
                self.grants.insert_mut(it.id, it);
            }
        }
    }

    /// Whether a record is here.
    pub(super) fn has(&self, kind: Kind, id: &str) -> bool {
        match kind {
            Kind::Tenant => self.tenant.as_ref().is_some_and(|it| key(id) == Some(it.id)),
            Kind::Application => key(id).is_some_and(|id| self.applications.contains_key::<ClientId>(&id)),
            Kind::ServicePrincipal => key(id).is_some_and(|id| self.principals.get(&id).is_some()),
            Kind::SigningKey => self.signing_keys.iter().any(|it| it.kid == id),
            Kind::Subscription => key(id).is_some_and(|id| self.subscriptions.contains_key::<SubscriptionId>(&id)),
            Kind::ResourceGroup => self.resource_groups.contains_key(id),
            Kind::Vault => self.vaults.contains_key(id),
            Kind::RoleAssignment => key(id).is_some_and(|id| self.assignments.get(&id).is_some()),
            Kind::RoleDefinition => key(id).is_some_and(|id| self.roles.contains_key::<RoleId>(&id)),
            Kind::User => key(id).is_some_and(|id| self.users.get(&id).is_some()),
            Kind::Group => key(id).is_some_and(|id| self.groups.get(&id).is_some()),
            Kind::Membership => key(id).is_some_and(|MembershipKey { group, member }| {
                self.member_of.get(&member).is_some_and(|groups| groups.contains(&group))
            }),
            Kind::AppRoleAssignment => key(id).is_some_and(|id| self.app_roles.get(&id).is_some()),
            Kind::PermissionGrant => key(id).is_some_and(|id| self.grants.contains_key::<Uuid>(&id)),
            Kind::Machine
            | Kind::JoinToken
            | Kind::DeletedObject
            | Kind::SignIn
            | Kind::Secret
            | Kind::SecretVersion => false,
        }
    }

    /// Takes a record out, with the names that it is found by in its tenant and that no other has taken since.
    pub(super) fn remove(&mut self, kind: Kind, id: &str) {
        match kind {
            Kind::Tenant => self.tenant = None,
            Kind::Application => {
                let Some(before) = key(id).and_then(|id: ClientId| self.applications.get(&id)).cloned() else { return };
                for uri in &before.identifier_uris {
                    if self.resources.get(uri).is_some_and(|other| other.client_id == before.client_id) {
                        self.resources.remove_mut(uri);
                    }
                }
                self.applications.remove_mut(&before.client_id);
            }
            Kind::ServicePrincipal => {
                let Some(before) = key(id).and_then(|id| self.principals.remove(&id)) else { return };
                if self.clients.get(&before.client_id).is_some_and(|other| other.id == before.id) {
                    self.clients.remove(&before.client_id);
                }
            }
            Kind::SigningKey => Arc::make_mut(&mut self.signing_keys).retain(|it| it.kid != id),
            Kind::Subscription => _ = key(id).map(|id: SubscriptionId| self.subscriptions.remove_mut(&id)),
            Kind::ResourceGroup => _ = self.resource_groups.remove_mut(id),
            Kind::Vault => _ = self.vaults.remove_mut(id),
            Kind::RoleAssignment => {
                let Some(id) = key(id) else { return };
                let Some(principal) = self.assignments.remove(&id) else { return };
                if self.of_principal.get_mut(&principal).is_some_and(|list| list.take(id)) {
                    self.of_principal.remove(&principal);
                }
            }
            Kind::RoleDefinition => _ = key(id).map(|id: RoleId| self.roles.remove_mut(&id)),
            Kind::User => {
                let Some(before) = key(id).and_then(|id| self.users.remove(&id)) else { return };
                if self.user_names.get(before.name.as_ref()) == Some(&before.id) {
                    self.user_names.remove_mut(before.name.as_ref());
                }
                for external in &before.externals {
                    if self.externals.get(external) == Some(&before.id) {
                        self.externals.remove_mut(external);
                    }
                }
            }
            Kind::Group => _ = key(id).and_then(|id| self.groups.remove(&id)),
            Kind::Membership => {
                let Some(MembershipKey { group, member }) = key(id) else { return };
                let groups = without(self.member_of.get(&member).map_or(&[][..], AsRef::as_ref), |it| *it == group);
                match groups {
                    Some(groups) => self.member_of.insert(member, groups),
                    None => _ = self.member_of.remove(&member),
                }
            }
            Kind::AppRoleAssignment => {
                let Some(id) = key(id) else { return };
                let Some(principal) = self.app_roles.remove(&id) else { return };
                match without(self.app_roles_of.get(&principal).map_or(&[][..], AsRef::as_ref), |it| it.id == id) {
                    Some(roles) => self.app_roles_of.insert(principal, roles),
                    None => _ = self.app_roles_of.remove(&principal),
                }
            }
            Kind::PermissionGrant => {
                let Some(before) = key(id).and_then(|id: Uuid| self.grants.get(&id)).cloned() else { return };
                let grants = self.grants_of.get(&before.client).map_or(&[][..], AsRef::as_ref);
                match without(grants, |it| it.id == before.id) {
                    Some(grants) => self.grants_of.insert_mut(before.client, grants),
                    None => _ = self.grants_of.remove_mut(&before.client),
                }
                self.grants.remove_mut(&before.id);
            }
            Kind::Machine
            | Kind::JoinToken
            | Kind::DeletedObject
            | Kind::SignIn
            | Kind::Secret
            | Kind::SecretVersion => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tenant.is_none() && *self == Self::default()
    }
}

/// Lists of assignments, each with whose it is, of assignments in any order.
pub(super) fn by_principal(mut assignments: Vec<(PrincipalId, Arc<Assignment>)>) -> Vec<(PrincipalId, Assignments)> {
    assignments.sort_unstable_by_key(|(principal, it)| (*principal, it.id));
    let lists = assignments.chunk_by(|(one, _), (other, _)| one == other).filter_map(|list| match list {
        [] => None,
        [(principal, only)] => Some((*principal, Assignments::One(only.clone()))),
        [(principal, _), ..] => {
            Some((*principal, Assignments::Several(Arc::new(list.iter().map(|(_, it)| it.clone()).collect()))))
        }
    });
    lists.collect()
}

/// A list in the order of `by`, with one more.
fn with<T: Clone, K: Ord>(list: &[T], one: T, by: impl Fn(&T) -> K) -> Arc<[T]> {
    let at = list.partition_point(|other| by(other) < by(&one));
    let (before, after) = list.split_at(at);
    before.iter().cloned().chain([one]).chain(after.iter().cloned()).collect()
}

/// A list without those; none when nothing is left.
fn without<T: Clone>(list: &[T], is_gone: impl Fn(&T) -> bool) -> Option<Arc<[T]>> {
    let left: Arc<[T]> = list.iter().filter(|it| !is_gone(it)).cloned().collect();
    (!left.is_empty()).then_some(left)
}

/// What a key's text names; none when it is no such key, and so no record's that is here.
fn key<K: std::str::FromStr>(id: &str) -> Option<K> {
    id.parse().ok()
}
