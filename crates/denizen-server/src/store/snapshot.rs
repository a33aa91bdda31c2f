//! The directory in memory: an immutable value, shared between all who read, replaced at each commit.
//!
//! ```text
//! Snapshot ─ tenants ─┬─ tenant A ─ TenantState { applications, principals, assignments, … }
//!                     └─ tenant B ─ TenantState { … }
//! ```
//!
//! The maps are persistent: a change copies the path to what it changes and shares the rest, so publishing costs
//! O(log n) whatever the size. Everything of a tenant hangs below that tenant, so that a look-up cannot reach
//! another's by leaving out a filter. No I/O here. Tests: below, and the contract suite, which compares the snapshot
//! after many changes with one loaded afresh.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
};

use denizen_wire::{ClientId, PrincipalId, ResourceId, SubscriptionId, TenantId};
use rpds::HashTrieMapSync;
use uuid::Uuid;

use super::Revision;
use crate::domain::{
    directory::{Application, ServicePrincipal, SigningKey, Tenant},
    resources::{Machine, ResourceGroup, Subscription, Vault},
    roles::{RoleAssignment, RoleDefinition, RoleId},
};

type Map<K, V> = HashTrieMapSync<K, V, foldhash::fast::RandomState>;
/// A short list that is shared until it changes.
type List<T> = Arc<Vec<Arc<T>>>;

/// A record of any kind the snapshot serves.
#[derive(Clone, Debug, PartialEq)]
pub enum Entity {
    Tenant(Arc<Tenant>),
    Application(Arc<Application>),
    ServicePrincipal(Arc<ServicePrincipal>),
    SigningKey(Arc<SigningKey>),
    Subscription(Arc<Subscription>),
    ResourceGroup(Arc<ResourceGroup>),
    Machine(Arc<Machine>),
    Vault(Arc<Vault>),
    RoleAssignment(Arc<RoleAssignment>),
    RoleDefinition(Arc<RoleDefinition>),
}

impl Entity {
    fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Tenant(it) => Some(it.id),
            Self::Application(it) => Some(it.tenant),
            Self::ServicePrincipal(it) => Some(it.tenant),
            Self::SigningKey(it) => Some(it.tenant),
            Self::Subscription(it) => Some(it.tenant),
            Self::ResourceGroup(it) => Some(it.tenant),
            Self::Machine(it) => Some(it.tenant),
            Self::Vault(it) => Some(it.tenant),
            Self::RoleAssignment(it) => Some(it.tenant),
            Self::RoleDefinition(it) => it.tenant,
        }
    }
}

/// All that issuing and authorizing need, at one revision.
#[derive(Clone, Default, PartialEq)]
pub struct Snapshot {
    revision: Revision,
    signing_revision: Revision,
    tenants: Map<TenantId, Arc<TenantState>>,
    /// By domain, lower case.
    domains: Map<String, TenantId>,
    /// By name, lower case: it crosses tenants, because a vault's name is a host name.
    vault_names: Map<String, Arc<Vault>>,
    /// By the name of a signing key, the tenants that have one of it: whose token this is, before anything of it is
    /// believed.
    signers: Map<String, BTreeSet<TenantId>>,
    /// The last change of anything in a vault. It outlives the vault: what was cached of one that is gone must not
    /// serve one that comes after it.
    vault_revisions: Map<ResourceId, Revision>,
}

/// What one tenant has.
#[derive(Clone, Default, PartialEq)]
struct TenantState {
    tenant: Option<Arc<Tenant>>,
    applications: Map<ClientId, Arc<Application>>,
    resources: Map<String, Arc<Application>>,
    principals: Map<PrincipalId, Arc<ServicePrincipal>>,
    clients: Map<ClientId, Arc<ServicePrincipal>>,
    signing_keys: List<SigningKey>,
    subscriptions: Map<SubscriptionId, Arc<Subscription>>,
    resource_groups: Map<ResourceId, Arc<ResourceGroup>>,
    machines: Map<ResourceId, Arc<Machine>>,
    vaults: Map<ResourceId, Arc<Vault>>,
    assignments: Map<Uuid, Arc<RoleAssignment>>,
    at_scope: Map<String, List<RoleAssignment>>,
    of_principal: Map<PrincipalId, List<RoleAssignment>>,
    roles: Map<RoleId, Arc<RoleDefinition>>,
}

impl Snapshot {
    /// The last change this snapshot has.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The last change to any signing key.
    pub fn signing_revision(&self) -> Revision {
        self.signing_revision
    }

    /// The last change of anything in a vault, its secrets included: part of the key of whatever is cached of it.
    pub fn vault_revision(&self, vault: &ResourceId) -> Revision {
        self.vault_revisions.get(vault).copied().unwrap_or_default()
    }

    /// All tenants, in no order.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values().filter_map(|state| state.tenant.as_ref())
    }

    /// The ids of all tenants that have anything, in no order.
    pub(super) fn tenant_ids(&self) -> impl Iterator<Item = TenantId> {
        self.tenants.keys().copied()
    }

    /// A tenant by id.
    pub fn tenant(&self, id: TenantId) -> Option<&Arc<Tenant>> {
        self.of(id)?.tenant.as_ref()
    }

    /// A tenant by what stands for it in a URL: its GUID or its domain, in any case.
    pub fn tenant_named(&self, name: &str) -> Option<&Arc<Tenant>> {
        match name.parse() {
            Ok(id) => self.tenant(id),
            Err(_) => self.tenant(*self.domains.get(name.to_ascii_lowercase().as_str())?),
        }
    }

    /// An application by client id.
    pub fn application(&self, tenant: TenantId, id: ClientId) -> Option<&Arc<Application>> {
        self.of(tenant)?.applications.get(&id)
    }

    /// The application that is this resource; the URI is compared exactly.
    pub fn application_for_resource(&self, tenant: TenantId, identifier_uri: &str) -> Option<&Arc<Application>> {
        self.of(tenant)?.resources.get(identifier_uri)
    }

    /// A tenant's applications, in no order.
    pub fn applications(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<Application>> {
        self.of(tenant).into_iter().flat_map(|state| state.applications.values())
    }

    /// A service principal by object id.
    pub fn principal(&self, tenant: TenantId, id: PrincipalId) -> Option<&Arc<ServicePrincipal>> {
        self.of(tenant)?.principals.get(&id)
    }

    /// The service principal a client authenticates as.
    pub fn principal_of_client(&self, tenant: TenantId, client: ClientId) -> Option<&Arc<ServicePrincipal>> {
        self.of(tenant)?.clients.get(&client)
    }

    /// A tenant's service principals, in no order.
    pub fn principals(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<ServicePrincipal>> {
        self.of(tenant).into_iter().flat_map(|state| state.principals.values())
    }

    /// The assignments that stand exactly at a scope (canonical, lower case), by id.
    pub fn assignments(&self, tenant: TenantId, canonical_scope: &str) -> &[Arc<RoleAssignment>] {
        self.of(tenant).and_then(|state| state.at_scope.get(canonical_scope)).map_or(&[], |list| list)
    }

    /// What a principal has been assigned, at any scope, by id.
    pub fn assignments_of(&self, tenant: TenantId, principal: PrincipalId) -> &[Arc<RoleAssignment>] {
        self.of(tenant).and_then(|state| state.of_principal.get(&principal)).map_or(&[], |list| list)
    }

    /// An assignment by id.
    pub fn assignment(&self, tenant: TenantId, id: Uuid) -> Option<&Arc<RoleAssignment>> {
        self.of(tenant)?.assignments.get(&id)
    }

    /// A tenant's assignments, in no order.
    pub fn all_assignments(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<RoleAssignment>> {
        self.of(tenant).into_iter().flat_map(|state| state.assignments.values())
    }

    /// A custom role by id.
    pub fn custom_role(&self, tenant: TenantId, id: RoleId) -> Option<&Arc<RoleDefinition>> {
        self.of(tenant)?.roles.get(&id)
    }

    /// A tenant's custom roles, in no order.
    pub fn custom_roles(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<RoleDefinition>> {
        self.of(tenant).into_iter().flat_map(|state| state.roles.values())
    }

    /// A tenant's signing keys, in the order in which they sign.
    pub fn signing_keys(&self, tenant: TenantId) -> &[Arc<SigningKey>] {
        self.of(tenant).map_or(&[], |state| &state.signing_keys)
    }

    /// The tenants that have a signing key of this name.
    pub fn signers(&self, kid: &str) -> impl Iterator<Item = TenantId> {
        self.signers.get(kid).into_iter().flatten().copied()
    }

    /// A subscription by id.
    pub fn subscription(&self, tenant: TenantId, id: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.of(tenant)?.subscriptions.get(&id)
    }

    /// A tenant's subscriptions, in no order.
    pub fn subscriptions(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<Subscription>> {
        self.of(tenant).into_iter().flat_map(|state| state.subscriptions.values())
    }

    /// A resource group by resource id.
    pub fn resource_group(&self, tenant: TenantId, id: &ResourceId) -> Option<&Arc<ResourceGroup>> {
        self.of(tenant)?.resource_groups.get(id)
    }

    /// A tenant's resource groups, in no order.
    pub fn resource_groups(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<ResourceGroup>> {
        self.of(tenant).into_iter().flat_map(|state| state.resource_groups.values())
    }

    /// A machine by resource id.
    pub fn machine(&self, tenant: TenantId, id: &ResourceId) -> Option<&Arc<Machine>> {
        self.of(tenant)?.machines.get(id)
    }

    /// A tenant's machines, in no order.
    pub fn machines(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<Machine>> {
        self.of(tenant).into_iter().flat_map(|state| state.machines.values())
    }

    /// A vault by the first label of its host name, in any case. Which tenant it belongs to is for the caller to check.
    pub fn vault(&self, name: &str) -> Option<&Arc<Vault>> {
        self.vault_names.get(name.to_ascii_lowercase().as_str())
    }

    /// A vault by resource id.
    pub fn vault_by_id(&self, tenant: TenantId, id: &ResourceId) -> Option<&Arc<Vault>> {
        self.of(tenant)?.vaults.get(id)
    }

    /// A tenant's vaults, in no order.
    pub fn vaults(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<Vault>> {
        self.of(tenant).into_iter().flat_map(|state| state.vaults.values())
    }

    fn of(&self, tenant: TenantId) -> Option<&TenantState> {
        self.tenants.get(&tenant).map(AsRef::as_ref)
    }

    /// This snapshot with one transaction's changes.
    pub(super) fn with(&self, revision: Revision, effects: Vec<Effect>) -> Self {
        let mut next = self.clone();
        next.revision = revision;
        for effect in effects {
            match effect {
                Effect::Record { before, after } => {
                    if let Some(entity) = &before {
                        next.remove(entity);
                    }
                    for entity in before.iter().chain(&after) {
                        match entity {
                            Entity::Vault(vault) => next.vault_revisions.insert_mut(vault.id.clone(), revision),
                            Entity::SigningKey(_) => next.signing_revision = revision,
                            Entity::Tenant(_)
                            | Entity::Application(_)
                            | Entity::ServicePrincipal(_)
                            | Entity::Subscription(_)
                            | Entity::ResourceGroup(_)
                            | Entity::Machine(_)
                            | Entity::RoleAssignment(_)
                            | Entity::RoleDefinition(_) => {}
                        }
                    }
                    if let Some(entity) = after {
                        next.insert(entity);
                    }
                }
                Effect::InVault(vault) => next.vault_revisions.insert_mut(vault, revision),
                Effect::NotIndexed => {}
            }
        }
        next
    }

    /// What a snapshot loaded from the database starts with: which revisions the change log says things have.
    pub(super) fn at(revision: Revision, signing_revision: Revision, vaults: HashMap<ResourceId, Revision>) -> Self {
        Self { revision, signing_revision, vault_revisions: vaults.into_iter().collect(), ..Self::default() }
    }

    /// Makes every vault that this or another snapshot knows of, and the signing keys, as new as this snapshot: nothing
    /// that was cached before it is used.
    pub(super) fn outdate(&mut self, other: &Self) {
        let vaults = self.vault_revisions.keys().chain(other.vault_revisions.keys());
        self.vault_revisions = vaults.map(|vault| (vault.clone(), self.revision)).collect();
        self.signing_revision = self.revision;
    }

    /// Adds a record that is not there.
    pub(super) fn insert(&mut self, entity: Entity) {
        match &entity {
            Entity::Tenant(it) => self.domains.insert_mut(it.domain.to_ascii_lowercase(), it.id),
            Entity::Vault(it) => self.vault_names.insert_mut(it.name.to_ascii_lowercase(), it.clone()),
            Entity::SigningKey(it) => {
                let tenants = self.signers(&it.kid).chain([it.tenant]).collect();
                self.signers.insert_mut(it.kid.clone(), tenants);
            }
            Entity::Application(_)
            | Entity::ServicePrincipal(_)
            | Entity::Subscription(_)
            | Entity::ResourceGroup(_)
            | Entity::Machine(_)
            | Entity::RoleAssignment(_)
            | Entity::RoleDefinition(_) => {}
        }
        // What has no tenant is compiled in, and never stored.
        let Some(tenant) = entity.tenant() else { return };
        if !self.tenants.contains_key(&tenant) {
            self.tenants.insert_mut(tenant, Arc::default());
        }
        if let Some(state) = self.tenants.get_mut(&tenant) {
            Arc::make_mut(state).insert(entity);
        }
    }

    fn remove(&mut self, entity: &Entity) {
        match entity {
            Entity::Tenant(it) => _ = self.domains.remove_mut(it.domain.to_ascii_lowercase().as_str()),
            Entity::Vault(it) => _ = self.vault_names.remove_mut(it.name.to_ascii_lowercase().as_str()),
            Entity::SigningKey(it) => {
                let others: BTreeSet<_> = self.signers(&it.kid).filter(|tenant| *tenant != it.tenant).collect();
                self.signers.remove_mut(it.kid.as_str());
                if !others.is_empty() {
                    self.signers.insert_mut(it.kid.clone(), others);
                }
            }
            Entity::Application(_)
            | Entity::ServicePrincipal(_)
            | Entity::Subscription(_)
            | Entity::ResourceGroup(_)
            | Entity::Machine(_)
            | Entity::RoleAssignment(_)
            | Entity::RoleDefinition(_) => {}
        }
        let Some(tenant) = entity.tenant() else { return };
        let mut emptied = false;
        if let Some(state) = self.tenants.get_mut(&tenant) {
            let state = Arc::make_mut(state);
            state.remove(entity);
            emptied = state.is_empty();
        }
        if emptied {
            self.tenants.remove_mut(&tenant);
        }
    }
}

impl TenantState {
    fn insert(&mut self, entity: Entity) {
        match entity {
            Entity::Tenant(it) => self.tenant = Some(it),
            Entity::Application(it) => {
                for uri in &it.identifier_uris {
                    self.resources.insert_mut(uri.clone(), it.clone());
                }
                self.applications.insert_mut(it.client_id, it);
            }
            Entity::ServicePrincipal(it) => {
                self.clients.insert_mut(it.client_id, it.clone());
                self.principals.insert_mut(it.id, it);
            }
            Entity::SigningKey(it) => {
                let keys = Arc::make_mut(&mut self.signing_keys);
                keys.push(it);
                keys.sort_by(|a, b| (a.signs_from, a.created, &a.kid).cmp(&(b.signs_from, b.created, &b.kid)));
            }
            Entity::Subscription(it) => self.subscriptions.insert_mut(it.id, it),
            Entity::ResourceGroup(it) => self.resource_groups.insert_mut(it.id.clone(), it),
            Entity::Machine(it) => self.machines.insert_mut(it.id.clone(), it),
            Entity::Vault(it) => self.vaults.insert_mut(it.id.clone(), it),
            Entity::RoleAssignment(it) => {
                insert_sorted(&mut self.at_scope, &it.scope.canonical().to_owned(), &it);
                insert_sorted(&mut self.of_principal, &it.principal, &it);
                self.assignments.insert_mut(it.id, it);
            }
            Entity::RoleDefinition(it) => self.roles.insert_mut(it.id, it),
        }
    }

    fn remove(&mut self, entity: &Entity) {
        match entity {
            Entity::Tenant(_) => self.tenant = None,
            Entity::Application(it) => {
                for uri in &it.identifier_uris {
                    self.resources.remove_mut(uri.as_str());
                }
                self.applications.remove_mut(&it.client_id);
            }
            Entity::ServicePrincipal(it) => {
                self.clients.remove_mut(&it.client_id);
                self.principals.remove_mut(&it.id);
            }
            Entity::SigningKey(it) => Arc::make_mut(&mut self.signing_keys).retain(|key| key.kid != it.kid),
            Entity::Subscription(it) => _ = self.subscriptions.remove_mut(&it.id),
            Entity::ResourceGroup(it) => _ = self.resource_groups.remove_mut(&it.id),
            Entity::Machine(it) => _ = self.machines.remove_mut(&it.id),
            Entity::Vault(it) => _ = self.vaults.remove_mut(&it.id),
            Entity::RoleAssignment(it) => {
                remove_assignment(&mut self.at_scope, it.scope.canonical(), it.id);
                remove_assignment(&mut self.of_principal, &it.principal, it.id);
                self.assignments.remove_mut(&it.id);
            }
            Entity::RoleDefinition(it) => _ = self.roles.remove_mut(&it.id),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Adds an assignment to a list in a map, in the order of ids: loaded in that order, it is always the last.
fn insert_sorted<K: Eq + Hash + Clone>(map: &mut Map<K, List<RoleAssignment>>, key: &K, it: &Arc<RoleAssignment>) {
    if !map.contains_key(key) {
        map.insert_mut(key.clone(), Arc::default());
    }
    if let Some(list) = map.get_mut(key) {
        let list = Arc::make_mut(list);
        let at = list.partition_point(|other| other.id < it.id);
        list.insert(at, it.clone());
    }
}

/// Takes an assignment out of a list in a map; an empty list goes too.
fn remove_assignment<K, Q>(map: &mut Map<K, List<RoleAssignment>>, key: &Q, id: Uuid)
where
    K: Eq + Hash + Clone + std::borrow::Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    let mut emptied = false;
    if let Some(list) = map.get_mut(key) {
        let list = Arc::make_mut(list);
        list.retain(|other| other.id != id);
        emptied = list.is_empty();
    }
    if emptied {
        map.remove_mut(key);
    }
}

/// What one change of a transaction does to the snapshot.
pub(super) enum Effect {
    /// A record came, changed or went.
    Record {
        /// As it was.
        before: Option<Entity>,
        /// As it is.
        after: Option<Entity>,
    },
    /// Something in a vault changed that the snapshot does not hold.
    InVault(ResourceId),
    /// Nothing: the snapshot does not hold what changed.
    NotIndexed,
}
