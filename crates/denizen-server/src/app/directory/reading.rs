//! Reading the directory: pages of a list, and one object by its id. What is read is recorded first.
//!
//! Tests: `http/graph/tests/`.

use std::collections::HashSet;

use denizen_wire::{ClientId, PrincipalId, TenantId};
use uuid::Uuid;

use super::{Directory, DirectoryError, actions};
pub use crate::store::{List, Listed, Page};
use crate::{
    app::access::{Authorization, Known, TenantRoles},
    domain::{
        Actor,
        directory::{Application, ServicePrincipal},
        people::{Group, Membership, User},
        query::{Filter, Literal, Test},
    },
    store::{AuditEvent, Record, Snapshot, StoreError},
};

/// How an application or a service principal is named: by its object id, or by its client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// `…/{id}`
    Object(Uuid),
    /// `…(appId='…')`
    Client(ClientId),
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Object(id) => id.fmt(f),
            Self::Client(id) => id.fmt(f),
        }
    }
}

/// Any object of a directory.
#[derive(Clone, Debug)]
pub enum Object {
    /// A user.
    User(User),
    /// A group.
    Group(Group),
    /// A service principal.
    ServicePrincipal(ServicePrincipal),
    /// An application.
    Application(Application),
}

impl Directory {
    /// Notes that somebody known was refused an action.
    pub fn refused(&self, known: &Known, action: &str, because: &str) {
        self.store.note(known, &AuditEvent::refused(action, "/", because));
    }

    /// The user who asks. Whoever proves to be a user may read what is kept of it.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`] when it is no user that asks; [`DirectoryError::Unrecorded`]; the store's.
    pub async fn myself(&self, known: &Known) -> Result<User, DirectoryError> {
        let Actor::Principal { id, .. } = known.ctx().actor else {
            return Err(DirectoryError::Missing("me".to_owned()));
        };
        let found = self.store.record::<User>(known.ctx(), &id).await?;
        let found = found.ok_or_else(|| DirectoryError::Missing(id.to_string()))?;
        let read = AuditEvent::allowed(actions::READ_MYSELF, id.to_string(), "a user reads what is kept of it");
        self.store.audit(known, &read).map_err(DirectoryError::Unrecorded)?;
        Ok(found)
    }

    /// A page of a list; and how many there are in all, where that is asked for.
    ///
    /// # Errors
    /// [`DirectoryError::Query`]; [`DirectoryError::Unrecorded`]; the store's.
    pub async fn list<R: Listed>(
        &self,
        authorization: &Authorization,
        action: &'static str,
        list: &List<'_>,
        count: bool,
    ) -> Result<(Page<R>, Option<u64>), DirectoryError> {
        self.check(authorization, action)?;
        let page = self.store.list::<R>(authorization.ctx(), list).await?;
        let count = match count {
            true => Some(self.store.count::<R>(authorization.ctx(), list).await?),
            false => None,
        };
        self.record(authorization, action, format!("{}s", R::KIND))?;
        Ok((page, count))
    }

    /// An application.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; [`DirectoryError::Unrecorded`]; the store's.
    pub async fn application(
        &self,
        authorization: &Authorization,
        action: &'static str,
        named: Named,
    ) -> Result<Application, DirectoryError> {
        self.check(authorization, action)?;
        match named {
            Named::Client(client) => self.one::<Application>(authorization, action, &client).await,
            Named::Object(id) => {
                let found = self.application_of_object(authorization, id).await?;
                let found = found.ok_or_else(|| DirectoryError::Missing(id.to_string()))?;
                self.record(authorization, action, found.client_id.to_string())?;
                Ok(found)
            }
        }
    }

    /// A service principal, and the application that it stands for where that is here.
    ///
    /// # Errors
    /// As [`Self::application`].
    pub async fn service_principal(
        &self,
        authorization: &Authorization,
        action: &'static str,
        named: Named,
    ) -> Result<ServicePrincipal, DirectoryError> {
        self.check(authorization, action)?;
        let id = self.principal_of(authorization, named)?;
        self.one::<ServicePrincipal>(authorization, action, &id).await
    }

    /// A user, by its id or by its name.
    ///
    /// # Errors
    /// As [`Self::application`].
    pub async fn user(
        &self,
        authorization: &Authorization,
        action: &'static str,
        named: &str,
    ) -> Result<User, DirectoryError> {
        self.check(authorization, action)?;
        let id = self.user_id(authorization, named)?;
        self.one::<User>(authorization, action, &id).await
    }

    /// A group.
    ///
    /// # Errors
    /// As [`Self::application`].
    pub async fn group(
        &self,
        authorization: &Authorization,
        action: &'static str,
        id: PrincipalId,
    ) -> Result<Group, DirectoryError> {
        self.check(authorization, action)?;
        self.one::<Group>(authorization, action, &id).await
    }

    /// The objects that have one of these ids, in their order, each once; what is none is left out.
    ///
    /// # Errors
    /// [`DirectoryError::Unrecorded`]; the store's.
    pub async fn objects(
        &self,
        authorization: &Authorization,
        action: &'static str,
        ids: &[Uuid],
    ) -> Result<Vec<Object>, DirectoryError> {
        self.check(authorization, action)?;
        let mut found = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            if !ids.iter().take(at).any(|earlier| earlier == id) {
                found.extend(self.object(authorization, *id).await?);
            }
        }
        self.record(authorization, action, format!("{} objects", ids.len()))?;
        Ok(found)
    }

    /// The object of an id. The snapshot says of which kind it is; none of an id that is none's.
    pub(super) async fn object(
        &self,
        authorization: &Authorization,
        id: Uuid,
    ) -> Result<Option<Object>, DirectoryError> {
        let (ctx, tenant, principal) = (authorization.ctx(), authorization.tenant(), PrincipalId(id));
        let snapshot = self.store.snapshot();
        if snapshot.user(tenant, principal).is_some() {
            return Ok(self.store.record::<User>(ctx, &principal).await?.map(Object::User));
        }
        if snapshot.is_group(tenant, principal) {
            return Ok(self.store.record::<Group>(ctx, &principal).await?.map(Object::Group));
        }
        if snapshot.principal(tenant, principal).is_some() {
            return Ok(self.store.record::<ServicePrincipal>(ctx, &principal).await?.map(Object::ServicePrincipal));
        }
        Ok(self.application_of_object(authorization, id).await?.map(Object::Application))
    }

    /// A page of who is in a group itself, after a member.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; [`DirectoryError::Unrecorded`]; the store's.
    pub async fn members(
        &self,
        authorization: &Authorization,
        action: &'static str,
        group: PrincipalId,
        (after, limit): (Option<Uuid>, u32),
    ) -> Result<(Vec<Object>, Option<Uuid>), DirectoryError> {
        self.check(authorization, action)?;
        self.group_is_there(authorization, group)?;
        let memberships = self.memberships(authorization, group, after, limit.saturating_add(1)).await?;
        let asked = usize::try_from(limit).unwrap_or(usize::MAX);
        let next = memberships.get(asked.saturating_sub(1)).filter(|_| memberships.len() > asked).map(|it| it.member.0);
        let mut found = Vec::new();
        for membership in memberships.iter().take(asked) {
            found.extend(self.object(authorization, membership.member.0).await?);
        }
        self.record(authorization, action, group.to_string())?;
        Ok((found, next))
    }

    /// Who is in a group however deep, each once; at most `most`.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] when there are more; [`DirectoryError::Missing`]; the store's.
    pub async fn transitive_members(
        &self,
        authorization: &Authorization,
        action: &'static str,
        group: PrincipalId,
        most: usize,
    ) -> Result<Vec<Object>, DirectoryError> {
        self.check(authorization, action)?;
        self.group_is_there(authorization, group)?;
        let snapshot = self.store.snapshot();
        let (mut found, mut known): (Vec<Uuid>, HashSet<Uuid>) = (Vec::new(), HashSet::from([group.0]));
        let mut groups = vec![group];
        let mut next = 0;
        while let Some(of) = groups.get(next).copied() {
            next += 1;
            let mut after = None;
            loop {
                let page = self.memberships(authorization, of, after, 500).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.member.0);
                for membership in &page {
                    let member = membership.member;
                    if !known.insert(member.0) {
                        continue;
                    }
                    if found.len() >= most {
                        return Err(DirectoryError::Invalid(format!(
                            "The group has more than {most} transitive members, which are not listed at once here: list the members of each group."
                        )));
                    }
                    found.push(member.0);
                    if snapshot.is_group(authorization.tenant(), member) {
                        groups.push(member);
                    }
                }
            }
        }
        let mut objects = Vec::with_capacity(found.len());
        for id in found {
            objects.extend(self.object(authorization, id).await?);
        }
        self.record(authorization, action, group.to_string())?;
        Ok(objects)
    }

    /// The groups that one is in, itself or however deep.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; [`DirectoryError::Unrecorded`]; the store's.
    pub async fn groups_of(
        &self,
        authorization: &Authorization,
        action: &'static str,
        member: PrincipalId,
        transitive: bool,
    ) -> Result<Vec<Group>, DirectoryError> {
        self.check(authorization, action)?;
        let (snapshot, tenant) = (self.store.snapshot(), authorization.tenant());
        if !snapshot.has_object(tenant, member) {
            return Err(DirectoryError::Missing(member.to_string()));
        }
        let ids: Vec<_> = match transitive {
            true => snapshot.groups_of(tenant, member),
            false => snapshot.direct_groups_of(tenant, member).collect(),
        };
        let mut groups = Vec::with_capacity(ids.len());
        for id in ids {
            groups.extend(self.store.record::<Group>(authorization.ctx(), &id).await?);
        }
        self.record(authorization, action, member.to_string())?;
        Ok(groups)
    }

    /// The ids of the groups that one is in however deep; with `roles`, of its roles of the directory as well. Nothing is read
    /// of the database.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; [`DirectoryError::Unrecorded`].
    pub fn member_objects(
        &self,
        authorization: &Authorization,
        action: &'static str,
        member: PrincipalId,
        roles: bool,
    ) -> Result<Vec<Uuid>, DirectoryError> {
        self.check(authorization, action)?;
        let (snapshot, tenant) = (self.store.snapshot(), authorization.tenant());
        if !snapshot.has_object(tenant, member) {
            return Err(DirectoryError::Missing(member.to_string()));
        }
        self.record(authorization, action, member.to_string())?;
        Ok(self.member_objects_in(&snapshot, tenant, member, roles))
    }

    /// The same of the user who asks, who may know what it is in.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`] when it is no user that asks; [`DirectoryError::Unrecorded`].
    pub fn my_member_objects(&self, known: &Known, roles: bool) -> Result<Vec<Uuid>, DirectoryError> {
        let (snapshot, tenant) = (self.store.snapshot(), known.ctx().tenant);
        let Actor::Principal { id, .. } = known.ctx().actor else {
            return Err(DirectoryError::Missing("me".to_owned()));
        };
        if snapshot.user(tenant, id).is_none() {
            return Err(DirectoryError::Missing(id.to_string()));
        }
        let read = AuditEvent::allowed(actions::READ_MYSELF, id.to_string(), "a user reads what it is in");
        self.store.audit(known, &read).map_err(DirectoryError::Unrecorded)?;
        Ok(self.member_objects_in(&snapshot, tenant, id, roles))
    }

    fn member_objects_in(
        &self,
        snapshot: &Snapshot,
        tenant: TenantId,
        member: PrincipalId,
        with_roles: bool,
    ) -> Vec<Uuid> {
        let view = TenantRoles { snapshot, tenant, roles: &self.roles };
        let roles = if with_roles { view.of_directory(member) } else { Vec::new() };
        snapshot.groups_of(tenant, member).into_iter().map(|group| group.0).chain(roles).collect()
    }

    pub(super) async fn memberships(
        &self,
        authorization: &Authorization,
        group: PrincipalId,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Membership>, StoreError> {
        // What follows the slash in ASCII ends the range.
        let from = after.map_or_else(|| format!("{group}/"), |after| format!("{group}/{after}"));
        self.store.between(authorization.ctx(), (&from, &format!("{group}0")), limit).await
    }

    async fn one<R: Record>(
        &self,
        authorization: &Authorization,
        action: &'static str,
        key: &R::Key,
    ) -> Result<R, DirectoryError> {
        let id = R::key_text(key);
        let found = self.store.record::<R>(authorization.ctx(), key).await?;
        let found = found.ok_or_else(|| DirectoryError::Missing(id.clone()))?;
        self.record(authorization, action, id)?;
        Ok(found)
    }

    pub(super) fn check(&self, authorization: &Authorization, action: &'static str) -> Result<(), DirectoryError> {
        Ok(authorization.check(action, authorization.tenant(), &["/"])?)
    }

    /// Records a read. What cannot be recorded is not given.
    pub(super) fn record(
        &self,
        authorization: &Authorization,
        action: &'static str,
        target: String,
    ) -> Result<(), DirectoryError> {
        let read = AuditEvent::allowed(action, target, authorization.reason());
        self.store.audit(authorization, &read).map_err(DirectoryError::Unrecorded)
    }

    async fn application_of_object(
        &self,
        authorization: &Authorization,
        id: Uuid,
    ) -> Result<Option<Application>, DirectoryError> {
        let filter = Filter::Is("id".to_owned(), Test::Equals(Literal::Text(id.to_string())));
        let list = List { filters: vec![&filter], limit: 1, ..List::default() };
        Ok(self.store.list::<Application>(authorization.ctx(), &list).await?.items.pop())
    }

    /// The client id of an application, which is its key.
    pub(super) async fn client_of(
        &self,
        authorization: &Authorization,
        named: Named,
    ) -> Result<ClientId, DirectoryError> {
        let missing = || DirectoryError::Missing(named.to_string());
        match named {
            Named::Client(id) => {
                let is_there = self.store.snapshot().application(authorization.tenant(), id).is_some();
                is_there.then_some(id).ok_or_else(missing)
            }
            Named::Object(id) => {
                let found = self.application_of_object(authorization, id).await?;
                found.map(|it| it.client_id).ok_or_else(missing)
            }
        }
    }

    /// The object id of a service principal, which is its key.
    pub(super) fn principal_of(
        &self,
        authorization: &Authorization,
        named: Named,
    ) -> Result<PrincipalId, DirectoryError> {
        let snapshot = self.store.snapshot();
        let found = match named {
            Named::Object(id) => snapshot.principal(authorization.tenant(), PrincipalId(id)),
            Named::Client(id) => snapshot.principal_of_client(authorization.tenant(), id),
        };
        found.map(|it| it.id).ok_or_else(|| DirectoryError::Missing(named.to_string()))
    }

    /// The object id of a user.
    pub(super) fn user_id(&self, authorization: &Authorization, named: &str) -> Result<PrincipalId, DirectoryError> {
        let snapshot = self.store.snapshot();
        let found = match named.parse() {
            Ok(id) => snapshot.user(authorization.tenant(), id),
            Err(_) => snapshot.user_named(authorization.tenant(), named),
        };
        found.map(|it| it.id).ok_or_else(|| DirectoryError::Missing(named.to_owned()))
    }

    fn group_is_there(&self, authorization: &Authorization, group: PrincipalId) -> Result<(), DirectoryError> {
        let is_there = self.store.snapshot().is_group(authorization.tenant(), group);
        is_there.then_some(()).ok_or_else(|| DirectoryError::Missing(group.to_string()))
    }
}
