//! The directory in memory: an immutable value, shared between all who read, replaced at each commit.
//!
//! ```text
//! Snapshot ─ tenants ─┬─ tenant A ─ TenantState { applications, principals, assignments, … }
//!                     └─ tenant B ─ TenantState { … }
//! ```
//!
//! It holds what issuing tokens and authorizing need, and no more: of principals, users and role assignments the hot half
//! ([`crate::domain::hot`]), of groups who is in them, of machines nothing. The records are in the store, which reads one
//! by its key.
//!
//! The maps are persistent: a change copies the path to what it changes and shares the rest, so publishing costs
//! O(log n) whatever the size. What there may be a million of is in a [`Tree`], which costs few bytes beside its entries.
//! Everything of a tenant hangs below that tenant, so that a look-up cannot reach another's by leaving out a filter.
//!
//! A change says which record it is of and how that is now ([`Applied`]); what was there before, the snapshot knows. So
//! a change of this process and one that is read in a change log go the same way, and changes of one transaction may come
//! in any order.
//!
//! No I/O here. Tests: `snapshot/tests.rs`, and the contract suite, which compares the snapshot after many changes with
//! one loaded afresh.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use denizen_wire::{ClientId, PrincipalId, ResourceId, SubscriptionId, TenantId};
use rpds::HashTrieMapSync;
use uuid::Uuid;

use self::tenant::{Assignments, TenantState, by_principal};
use super::{Kind, Revision, tree::Tree};
use crate::domain::{
    built_in_clients::built_in_client,
    claims::audience::{self, OwnResources},
    directory::{Application, SigningKey, Tenant},
    grants::PermissionGrant,
    hot::{AppRole, Assignment, NestedId, Principal, User},
    people::{ExternalIdentity, MembershipKey},
    resources::{ResourceGroup, Subscription, Vault},
    roles::{RoleDefinition, RoleId},
};

mod tenant;
#[cfg(test)]
mod tests;

/// So many groups are told apart by looking through their list.
const FEW: usize = 32;

type Map<K, V> = HashTrieMapSync<K, V, foldhash::fast::RandomState>;

/// What the snapshot takes of a record.
#[derive(Clone, Debug)]
pub enum Entity {
    Tenant(Arc<Tenant>),
    Application(Arc<Application>),
    ServicePrincipal(Arc<Principal>),
    SigningKey(Arc<SigningKey>),
    Subscription(Arc<Subscription>),
    ResourceGroup(Arc<ResourceGroup>),
    /// Nothing.
    Nothing,
    Vault(Arc<Vault>),
    User(Arc<User>),
    /// That there is one.
    Group(PrincipalId),
    Membership(MembershipKey),
    AppRole(PrincipalId, AppRole),
    PermissionGrant(Arc<PermissionGrant>),
    RoleAssignment(PrincipalId, Arc<Assignment>),
    RoleDefinition(Arc<RoleDefinition>),
}

/// Which record a transaction has changed, and how it is now. How it was, the snapshot knows.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) kind: Kind,
    pub(super) tenant: TenantId,
    /// The record's key, as the store and the change log have it.
    pub(super) id: String,
    /// None when it is gone.
    pub(super) after: Option<Entity>,
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

/// What is read at a start of which there may be a million: the maps are made when all of it is there.
#[derive(Default)]
pub(super) struct Many(HashMap<TenantId, Listed>);

#[derive(Default)]
struct Listed {
    principals: Vec<Arc<Principal>>,
    assignments: Vec<(PrincipalId, Arc<Assignment>)>,
}

impl Many {
    /// Keeps what there may be many of; gives the rest back.
    pub(super) fn take(&mut self, tenant: TenantId, entity: Entity) -> Option<Entity> {
        match entity {
            Entity::ServicePrincipal(it) => self.0.entry(tenant).or_default().principals.push(it),
            Entity::RoleAssignment(principal, it) => {
                self.0.entry(tenant).or_default().assignments.push((principal, it));
            }
            few @ (Entity::Tenant(_)
            | Entity::Application(_)
            | Entity::SigningKey(_)
            | Entity::Subscription(_)
            | Entity::ResourceGroup(_)
            | Entity::Nothing
            | Entity::Vault(_)
            | Entity::User(_)
            | Entity::Group(_)
            | Entity::Membership(_)
            | Entity::AppRole(..)
            | Entity::PermissionGrant(_)
            | Entity::RoleDefinition(_)) => return Some(few),
        }
        None
    }
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

    /// The application of a client id in whichever tenant has registered it. A tool that every tenant has is none: no tenant's
    /// registration speaks for the others.
    pub fn registered_anywhere(&self, id: ClientId) -> Option<&Arc<Application>> {
        if built_in_client(id).is_some() {
            return None;
        }
        self.tenants().find_map(|tenant| self.application(tenant.id, id))
    }

    /// The application that is this resource; the URI is compared exactly.
    pub fn application_for_resource(&self, tenant: TenantId, identifier_uri: &str) -> Option<&Arc<Application>> {
        self.of(tenant)?.resources.get(identifier_uri)
    }

    /// The application that is meant by a resource's name: its client id, or one of its identifier URIs with or without a
    /// slash at the end. A resource of Azure's and one of `own` is no application's, whatever one calls itself.
    pub fn application_behind(
        &self,
        tenant: TenantId,
        own: &OwnResources,
        resource: &str,
    ) -> Option<&Arc<Application>> {
        if audience::is_first_party(resource) || own.covers(resource) {
            return None;
        }
        self.application_called(tenant, resource)
    }

    /// The same of a resource that is known to be neither.
    pub fn application_called(&self, tenant: TenantId, resource: &str) -> Option<&Arc<Application>> {
        match resource.parse() {
            Ok(id) => self.application(tenant, id),
            Err(_) => self
                .application_for_resource(tenant, resource)
                .or_else(|| self.application_for_resource(tenant, resource.strip_suffix('/')?)),
        }
    }

    /// A tenant's applications, in no order.
    pub fn applications(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<Application>> {
        self.of(tenant).into_iter().flat_map(|state| state.applications.values())
    }

    /// A service principal by object id.
    pub fn principal(&self, tenant: TenantId, id: PrincipalId) -> Option<&Arc<Principal>> {
        self.of(tenant)?.principals.get(&id)
    }

    /// The service principal a client authenticates as.
    pub fn principal_of_client(&self, tenant: TenantId, client: ClientId) -> Option<&Arc<Principal>> {
        self.of(tenant)?.clients.get(&client)
    }

    /// A tenant's service principals, by object id. For tests and figures: a list that somebody asks for is read from the
    /// store, page by page.
    pub fn principals(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<Principal>> {
        self.of(tenant).into_iter().flat_map(|state| state.principals.values())
    }

    /// What a principal has been assigned, at any scope, by id.
    pub fn assignments_of(&self, tenant: TenantId, principal: PrincipalId) -> &[Arc<Assignment>] {
        self.of(tenant).and_then(|state| state.of_principal.get(&principal)).map_or(&[], Assignments::as_slice)
    }

    /// An assignment by id, with whose it is.
    pub fn assignment(&self, tenant: TenantId, id: Uuid) -> Option<(PrincipalId, &Arc<Assignment>)> {
        let principal = *self.of(tenant)?.assignments.get(&id)?;
        let list = self.assignments_of(tenant, principal);
        let at = list.binary_search_by(|it| it.id.cmp(&id)).ok()?;
        Some((principal, list.get(at)?))
    }

    /// A custom role by id.
    pub fn custom_role(&self, tenant: TenantId, id: RoleId) -> Option<&Arc<RoleDefinition>> {
        self.of(tenant)?.roles.get(&id)
    }

    /// A tenant's custom roles, in no order.
    pub fn custom_roles(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<RoleDefinition>> {
        self.of(tenant).into_iter().flat_map(|state| state.roles.values())
    }

    /// A tenant's users, by object id. For tests and for the owner's commands: a list that somebody else asks for is read
    /// from the store, page by page.
    pub fn users(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<User>> {
        self.of(tenant).into_iter().flat_map(|state| state.users.values())
    }

    /// A user by object id.
    pub fn user(&self, tenant: TenantId, id: PrincipalId) -> Option<&Arc<User>> {
        self.of(tenant)?.users.get(&id)
    }

    /// A user by name, in any case.
    pub fn user_named(&self, tenant: TenantId, name: &str) -> Option<&Arc<User>> {
        let state = self.of(tenant)?;
        state.users.get(state.user_names.get(name.to_lowercase().as_str())?)
    }

    /// The user that somebody is at another provider.
    pub fn user_of_external(&self, tenant: TenantId, external: &ExternalIdentity) -> Option<&Arc<User>> {
        let state = self.of(tenant)?;
        state.users.get(state.externals.get(external)?)
    }

    /// Whether there is a group of this object id.
    pub fn is_group(&self, tenant: TenantId, id: PrincipalId) -> bool {
        self.of(tenant).is_some_and(|state| state.groups.get(&id).is_some())
    }

    /// Whether there is a user, a group or a service principal of this object id.
    pub fn has_object(&self, tenant: TenantId, id: PrincipalId) -> bool {
        self.user(tenant, id).is_some() || self.is_group(tenant, id) || self.principal(tenant, id).is_some()
    }

    /// The groups that a principal is in, and those that these are in, each once; nearest first.
    pub fn groups_of(&self, tenant: TenantId, principal: PrincipalId) -> Vec<PrincipalId> {
        let (mut groups, mut known) = (Vec::new(), HashSet::new());
        let Some(state) = self.of(tenant) else { return groups };
        let (mut of, mut next) = (principal, 0);
        loop {
            for group in state.member_of.get(&of).into_iter().flat_map(|groups| groups.iter()) {
                // What counts is that it is there: a membership outlives a group that was deleted.
                if state.groups.get(group).is_none() || *group == principal {
                    continue;
                }
                // Of few a list is the fastest; of many it would be looked through for each.
                let is_known = if groups.len() < FEW { groups.contains(group) } else { known.contains(group) };
                if !is_known {
                    groups.push(*group);
                    match groups.len() {
                        FEW => known.extend(groups.iter().copied()),
                        len if len > FEW => _ = known.insert(*group),
                        _ => {}
                    }
                }
            }
            let Some(group) = groups.get(next) else { return groups };
            (of, next) = (*group, next + 1);
        }
    }

    /// The groups that a principal is in itself, by id.
    pub fn direct_groups_of(&self, tenant: TenantId, principal: PrincipalId) -> impl Iterator<Item = PrincipalId> {
        let state = self.of(tenant);
        let all = state.and_then(|state| state.member_of.get(&principal)).into_iter().flat_map(|all| all.iter());
        all.copied().filter(move |group| state.is_some_and(|state| state.groups.get(group).is_some()))
    }

    /// The same, with those that are deleted: by these memberships a principal is in groups again that are restored.
    pub fn memberships_of(&self, tenant: TenantId, principal: PrincipalId) -> impl Iterator<Item = PrincipalId> {
        let state = self.of(tenant);
        state.and_then(|state| state.member_of.get(&principal)).into_iter().flat_map(|all| all.iter()).copied()
    }

    /// The app roles that a principal was given itself, by the assignments' ids.
    pub fn app_roles_of(&self, tenant: TenantId, principal: PrincipalId) -> &[AppRole] {
        self.of(tenant).and_then(|state| state.app_roles_of.get(&principal)).map_or(&[], AsRef::as_ref)
    }

    /// The scopes that a client was granted, by the grants' ids.
    pub fn grants_of(&self, tenant: TenantId, client: PrincipalId) -> &[Arc<PermissionGrant>] {
        self.of(tenant).and_then(|state| state.grants_of.get(&client)).map_or(&[], AsRef::as_ref)
    }

    /// What a client was granted at a resource: for everybody, or for this user.
    pub fn granted_to(
        &self,
        tenant: TenantId,
        client: PrincipalId,
        user: PrincipalId,
        resource: PrincipalId,
    ) -> impl Iterator<Item = &PermissionGrant> {
        let grants = self.grants_of(tenant, client).iter().map(AsRef::as_ref);
        grants.filter(move |grant| grant.resource == resource && grant.user.is_none_or(|of| of == user))
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

    /// A resource id as the hot half of a record has it: it shares its beginning with the vault or the resource group
    /// that it lies in.
    pub(super) fn nested(&self, tenant: TenantId, id: &ResourceId) -> NestedId {
        let base = self.of(tenant).and_then(|state| {
            let found = |scope: &str| match state.vaults.get(scope) {
                Some(vault) => Some(&vault.id),
                None => state.resource_groups.get(scope).map(|group| &group.id),
            };
            // The last is the nearest.
            id.scopes().filter_map(found).last()
        });
        NestedId::within(base, id)
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
                Effect::Record(applied) => next.apply(revision, applied),
                Effect::InVault(vault) => next.vault_revisions.insert_mut(vault, revision),
                Effect::NotIndexed => {}
            }
        }
        next
    }

    /// Puts what a record is now in the place of what it was.
    fn apply(&mut self, revision: Revision, Applied { kind, tenant, id, after }: Applied) {
        match kind {
            // A key that is none is no vault's: nothing of it can be cached.
            Kind::Vault => _ = id.parse().map(|vault| self.vault_revisions.insert_mut(vault, revision)),
            Kind::SigningKey => self.signing_revision = revision,
            Kind::Tenant
            | Kind::Application
            | Kind::ServicePrincipal
            | Kind::Subscription
            | Kind::ResourceGroup
            | Kind::Machine
            | Kind::RoleAssignment
            | Kind::RoleDefinition
            | Kind::JoinToken
            | Kind::User
            | Kind::Group
            | Kind::Membership
            | Kind::AppRoleAssignment
            | Kind::PermissionGrant
            | Kind::DeletedObject
            | Kind::SignIn
            | Kind::Secret
            | Kind::SecretVersion => {}
        }
        self.remove(kind, tenant, &id);
        if let Some(entity) = after {
            self.insert(tenant, entity);
        }
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

    /// Adds the principals and assignments that were read, of which there may be a million. None of them is there.
    pub(super) fn fill(&mut self, many: Many) {
        for (tenant, Listed { principals, assignments }) in many.0 {
            if !self.tenants.contains_key(&tenant) {
                self.tenants.insert_mut(tenant, Arc::default());
            }
            if let Some(state) = self.tenants.get_mut(&tenant) {
                let state = Arc::make_mut(state);
                state.clients = Tree::of(principals.iter().map(|it| (it.client_id, it.clone())).collect());
                state.principals = Tree::of(principals.into_iter().map(|it| (it.id, it)).collect());
                state.assignments = Tree::of(assignments.iter().map(|(principal, it)| (it.id, *principal)).collect());
                state.of_principal = Tree::of(by_principal(assignments));
            }
        }
    }

    /// Adds a record that is not there.
    pub(super) fn insert(&mut self, tenant: TenantId, entity: Entity) {
        match &entity {
            Entity::Tenant(it) => self.domains.insert_mut(it.domain.to_ascii_lowercase(), it.id),
            Entity::Vault(it) => self.vault_names.insert_mut(it.name.to_ascii_lowercase(), it.clone()),
            Entity::SigningKey(it) => {
                let tenants = self.signers(&it.kid).chain([tenant]).collect();
                self.signers.insert_mut(it.kid.clone(), tenants);
            }
            Entity::Nothing => return,
            Entity::Application(_)
            | Entity::ServicePrincipal(_)
            | Entity::Subscription(_)
            | Entity::ResourceGroup(_)
            | Entity::RoleAssignment(..)
            | Entity::User(_)
            | Entity::Group(_)
            | Entity::Membership(_)
            | Entity::AppRole(..)
            | Entity::PermissionGrant(_)
            | Entity::RoleDefinition(_) => {}
        }
        if !self.tenants.contains_key(&tenant) {
            self.tenants.insert_mut(tenant, Arc::default());
        }
        if let Some(state) = self.tenants.get_mut(&tenant) {
            Arc::make_mut(state).insert(entity);
        }
    }

    /// Takes a record out, if it is there, with every name that it is found by. A name that another record has taken since
    /// stays that one's.
    fn remove(&mut self, kind: Kind, tenant: TenantId, id: &str) {
        if !self.of(tenant).is_some_and(|state| state.has(kind, id)) {
            return;
        }
        match kind {
            Kind::Tenant => {
                let domain = self.tenant(tenant).map(|it| it.domain.to_ascii_lowercase());
                if let Some(domain) = domain.filter(|domain| self.domains.get(domain) == Some(&tenant)) {
                    self.domains.remove_mut(&domain);
                }
            }
            Kind::Vault => {
                let vault = self.of(tenant).and_then(|state| state.vaults.get(id));
                let name = vault.map(|it| it.name.to_ascii_lowercase());
                let is_own = |other: &Arc<Vault>| other.tenant == tenant && other.id.canonical() == id;
                if let Some(name) = name.filter(|name| self.vault_names.get(name).is_some_and(is_own)) {
                    self.vault_names.remove_mut(&name);
                }
            }
            Kind::SigningKey => {
                let others: BTreeSet<_> = self.signers(id).filter(|other| *other != tenant).collect();
                self.signers.remove_mut(id);
                if !others.is_empty() {
                    self.signers.insert_mut(id.to_owned(), others);
                }
            }
            Kind::Application
            | Kind::ServicePrincipal
            | Kind::Subscription
            | Kind::ResourceGroup
            | Kind::Machine
            | Kind::RoleAssignment
            | Kind::RoleDefinition
            | Kind::JoinToken
            | Kind::User
            | Kind::Group
            | Kind::Membership
            | Kind::AppRoleAssignment
            | Kind::PermissionGrant
            | Kind::DeletedObject
            | Kind::SignIn
            | Kind::Secret
            | Kind::SecretVersion => {}
        }
        let mut emptied = false;
        if let Some(state) = self.tenants.get_mut(&tenant) {
            let state = Arc::make_mut(state);
            state.remove(kind, id);
            emptied = state.is_empty();
        }
        if emptied {
            self.tenants.remove_mut(&tenant);
        }
    }
}

/// What one change of a transaction does to the snapshot.
#[derive(Debug)]
pub(super) enum Effect {
    /// A record came, changed or went.
    Record(Applied),
    /// Something in a vault changed that the snapshot does not hold.
    InVault(ResourceId),
    /// Nothing: the snapshot does not hold what changed.
    NotIndexed,
}
