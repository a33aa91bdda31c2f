//! Removing what was deleted for good, with everything that still names it: by whoever may, and by schedule once its time to be
//! restored is over.
//!
//! Tests: `run/tests.rs` with a clock, `http/graph/tests/`.

use denizen_wire::{Causes, PrincipalId};
use uuid::Uuid;

use super::{Directory, DirectoryError, actions};
use crate::{
    app::access::Authorization,
    domain::{
        deleted::{DeletedKind, DeletedObject},
        grants::{AppRoleAssignment, PermissionGrant},
        people::{Membership, MembershipKey},
        query::{Filter, Literal, Test},
        roles::RoleAssignment,
    },
    store::{AuditEvent, List, ListError, Listed, Outcome, Record, StoreError, Write},
};

/// How much is looked at and removed at a time: a write has the turn for so long.
const AT_ONCE: u32 = 500;

/// What still names an object that was deleted.
#[derive(Default)]
struct Left {
    memberships: Vec<MembershipKey>,
    assignments: Vec<Uuid>,
    app_roles: Vec<Uuid>,
    grants: Vec<Uuid>,
    /// Whether there is more of it than was looked at.
    has_more: bool,
}

impl Directory {
    /// Removes a deleted object for good, with its memberships, roles and grants.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; the store's.
    pub async fn purge(&self, authorization: &Authorization, id: Uuid) -> Result<(), DirectoryError> {
        self.check(authorization, actions::PURGE_DELETED)?;
        let missing = || DirectoryError::Missing(id.to_string());
        let object = self.store.record::<DeletedObject>(authorization.ctx(), &id).await?.ok_or_else(missing)?;
        match self.purge_where(authorization, &object, |_| true).await? {
            true => Ok(()),
            false => Err(missing()),
        }
    }

    /// Removes for good what can be restored no longer; how much that was. Nothing while the clock is not trusted.
    ///
    /// # Errors
    /// The first that was met; everything else was tried.
    pub async fn purge_due(&self, authorization: &Authorization) -> Result<usize, DirectoryError> {
        self.check(authorization, actions::PURGE_DELETED)?;
        let now = authorization.now();
        if !self.store.trusts(now) {
            return Ok(0);
        }
        let (mut all, mut first_error, mut after) = (0, None, String::new());
        loop {
            // Ids are hexadecimal: all of them come before this letter.
            let page: Vec<DeletedObject> = self.store.between(authorization.ctx(), (&after, "g"), AT_ONCE).await?;
            let Some(last) = page.last() else { break };
            after = DeletedObject::key_text(&last.id);
            for object in page.iter().filter(|it| !it.can_be_restored(now)) {
                let purged = Box::pin(self.purge_where(authorization, object, |it| !it.can_be_restored(now)));
                match purged.await {
                    Ok(is_gone) => all += usize::from(is_gone),
                    Err(error) => {
                        tracing::error!(id = %object.id, error = %Causes(&error), "a deleted object could not be purged");
                        let (target, because) = (object.id.to_string(), Causes(&error).to_string());
                        let failed = AuditEvent::new(actions::PURGE_DELETED, Outcome::Failed, target, because);
                        self.store.note(authorization, &failed);
                        first_error = first_error.or(Some(error));
                    }
                }
            }
        }
        first_error.map_or(Ok(all), Err)
    }

    /// Removes what names the object, and then the object, where it still lies there and `is_due`; whether it did.
    async fn purge_where(
        &self,
        authorization: &Authorization,
        object: &DeletedObject,
        is_due: impl Fn(&DeletedObject) -> bool + Sync,
    ) -> Result<bool, DirectoryError> {
        let (id, is_due) = (object.id, &is_due);
        loop {
            let left = &self.left_of(authorization, object).await?;
            let is_gone = self
                .store
                .write(authorization, |tx| {
                    Box::pin(async move {
                        // Asked again within the transaction: it may have been restored since.
                        if !tx.record::<DeletedObject>(&id).await?.is_some_and(|it| is_due(&it)) {
                            return Ok(Write::Unchanged(false));
                        }
                        for key in &left.memberships {
                            tx.remove::<Membership>(key).await?;
                        }
                        for key in &left.assignments {
                            tx.remove::<RoleAssignment>(key).await?;
                        }
                        for key in &left.app_roles {
                            tx.remove::<AppRoleAssignment>(key).await?;
                        }
                        for key in &left.grants {
                            tx.remove::<PermissionGrant>(key).await?;
                        }
                        if !left.has_more {
                            tx.remove::<DeletedObject>(&id).await?;
                        }
                        Ok::<_, StoreError>(Write::commit(actions::PURGE_DELETED, id.to_string(), true))
                    })
                })
                .await?;
            if !is_gone || !left.has_more {
                return Ok(is_gone);
            }
        }
    }

    async fn left_of(&self, authorization: &Authorization, object: &DeletedObject) -> Result<Left, DirectoryError> {
        let (snapshot, tenant, id) = (self.store.snapshot(), authorization.tenant(), PrincipalId(object.id));
        let mut left = Left::default();
        let most = AT_ONCE as usize;
        let groups = snapshot.memberships_of(tenant, id).take(most);
        left.memberships.extend(groups.map(|group| MembershipKey { group, member: id }));
        left.assignments.extend(snapshot.assignments_of(tenant, id).iter().take(most).map(|it| it.id));
        left.app_roles.extend(snapshot.app_roles_of(tenant, id).iter().take(most).map(|it| it.id));
        left.has_more = [left.memberships.len(), left.assignments.len(), left.app_roles.len()].contains(&most);
        match object.kind {
            // Nothing is given to an application: its service principal is an object of its own.
            DeletedKind::Application => {}
            DeletedKind::Group => {
                let members = self.memberships(authorization, id, None, AT_ONCE).await?;
                left.has_more |= is_full(&members);
                left.memberships.extend(members.iter().map(|it| MembershipKey { group: id, member: it.member }));
            }
            DeletedKind::User => {
                let grants = self.naming::<PermissionGrant>(authorization, "principalId", id).await?;
                left.has_more |= is_full(&grants);
                left.grants.extend(grants.iter().map(|it| it.id));
            }
            DeletedKind::ServicePrincipal => {
                left.grants.extend(snapshot.grants_of(tenant, id).iter().take(most).map(|it| it.id));
                left.has_more |= left.grants.len() == most;
                let grants = self.naming::<PermissionGrant>(authorization, "resourceId", id).await?;
                let given = self.naming::<AppRoleAssignment>(authorization, "resourceId", id).await?;
                left.has_more |= is_full(&grants) || is_full(&given);
                left.grants.extend(grants.iter().map(|it| it.id));
                left.app_roles.extend(given.iter().map(|it| it.id));
            }
        }
        Ok(left)
    }

    /// Records that name an object by this property.
    async fn naming<R: Listed>(
        &self,
        authorization: &Authorization,
        property: &str,
        id: PrincipalId,
    ) -> Result<Vec<R>, ListError> {
        let filter = Filter::Is(property.to_owned(), Test::Equals(Literal::Text(id.to_string())));
        let list = List { filters: vec![&filter], limit: AT_ONCE, ..List::default() };
        Ok(self.store.list::<R>(authorization.ctx(), &list).await?.items)
    }
}

/// Whether there may be more than were read.
fn is_full<R>(read: &[R]) -> bool {
    u32::try_from(read.len()).is_ok_and(|read| read >= AT_ONCE)
}
