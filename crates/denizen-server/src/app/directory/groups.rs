//! Groups, their members and their owners, as the directory's API changes them.
//!
//! A group is in itself by no way: a membership that would make it so is refused. Tests: `http/graph/tests/`.

use denizen_keys::random;
use denizen_wire::PrincipalId;
use uuid::Uuid;

use super::{
    Directory, DirectoryError, actions, deleted,
    error::{check_text, refuse_outranked},
};
use crate::{
    app::access::Authorization,
    domain::{
        deleted::DeletedKind,
        people::{Group, Membership, MembershipKey},
    },
    store::Write,
};

/// How many may own a group.
const MOST_OWNERS: usize = 100;

/// What is to be changed of a group; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    /// For people.
    pub display_name: Option<String>,
    /// For people; removed when none inside.
    pub description: Option<Option<String>>,
    /// `mailNickname`
    pub mail_nickname: Option<String>,
    /// Who is to own it, of a new one.
    pub owners: Vec<Uuid>,
    /// Who is to be in it, of a new one.
    pub members: Vec<Uuid>,
}

impl Directory {
    /// Makes a group.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] names the rule; [`DirectoryError::Missing`] an owner or a member; the store's.
    pub async fn create_group(
        &self,
        authorization: &Authorization,
        new: &GroupChange,
    ) -> Result<Group, DirectoryError> {
        self.check(authorization, actions::CREATE_GROUP)?;
        let required = |property| DirectoryError::Invalid(format!("A value is required for property '{property}'."));
        let (tenant, now) = (authorization.tenant(), authorization.now());
        let mut group = Group {
            tenant,
            id: PrincipalId(random::uuid_v4()),
            display_name: new.display_name.clone().ok_or_else(|| required("displayName"))?,
            description: None,
            mail_nickname: new.mail_nickname.clone().ok_or_else(|| required("mailNickname"))?,
            owners: new.owners.iter().map(|id| PrincipalId(*id)).collect(),
            created: now,
        };
        new.apply(&mut group)?;
        if group.owners.len() > MOST_OWNERS {
            return Err(too_many_owners());
        }
        let written = &group;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let snapshot = tx.snapshot();
                    for id in new.owners.iter().chain(&new.members) {
                        let id = PrincipalId(*id);
                        let is_there = snapshot.user(tenant, id).is_some()
                            || snapshot.principal(tenant, id).is_some()
                            || snapshot.is_group(tenant, id) && !written.owners.contains(&id);
                        if !is_there {
                            return Err(DirectoryError::Missing(id.to_string()));
                        }
                    }
                    tx.insert(written).await?;
                    for member in &new.members {
                        let member = PrincipalId(*member);
                        tx.put(&Membership { tenant, group: written.id, member, since: now }).await?;
                    }
                    Ok(Write::commit(actions::CREATE_GROUP, written.id.to_string(), ()))
                })
            })
            .await?;
        Ok(group)
    }

    /// Changes a group.
    ///
    /// # Errors
    /// As [`Self::create_group`].
    pub async fn change_group(
        &self,
        authorization: &Authorization,
        id: PrincipalId,
        change: &GroupChange,
    ) -> Result<(), DirectoryError> {
        self.edit_group(authorization, actions::UPDATE_GROUP, id, |group| change.apply(group)).await
    }

    async fn edit_group(
        &self,
        authorization: &Authorization,
        action: &'static str,
        id: PrincipalId,
        edit: impl Fn(&mut Group) -> Result<(), DirectoryError> + Sync,
    ) -> Result<(), DirectoryError> {
        self.check(authorization, action)?;
        let edit = &edit;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let before = tx.record::<Group>(&id).await?;
                    let before = before.ok_or_else(|| DirectoryError::Missing(id.to_string()))?;
                    refuse_outranked(authorization, &tx.snapshot(), id)?;
                    let mut after = before.clone();
                    edit(&mut after)?;
                    if after == before {
                        return Ok(Write::Unchanged(()));
                    }
                    tx.put(&after).await?;
                    Ok(Write::commit(action, id.to_string(), ()))
                })
            })
            .await
    }

    /// Deletes a group. It can be restored, with its members.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; the store's.
    pub async fn delete_group(&self, authorization: &Authorization, id: PrincipalId) -> Result<(), DirectoryError> {
        self.check(authorization, actions::DELETE_GROUP)?;
        let (tenant, now) = (authorization.tenant(), authorization.now());
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let Some(group) = tx.remove::<Group>(&id).await? else {
                        return Err(DirectoryError::Missing(id.to_string()));
                    };
                    refuse_outranked(authorization, &tx.snapshot(), id)?;
                    deleted::drop_directory_roles(tx, &self.roles, tenant, id).await?;
                    let what = (DeletedKind::Group, id.0, group.display_name.as_str());
                    tx.insert(&deleted::keep(tenant, what, now, &group)?).await?;
                    Ok(Write::commit(actions::DELETE_GROUP, id.to_string(), ()))
                })
            })
            .await
    }

    /// Puts a user, a service principal or a group into a group.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; [`DirectoryError::Invalid`] when it is in it already, or the group is in it; the store's.
    pub async fn add_member(
        &self,
        authorization: &Authorization,
        group: PrincipalId,
        member: PrincipalId,
    ) -> Result<(), DirectoryError> {
        self.check(authorization, actions::UPDATE_MEMBERS)?;
        let (tenant, now) = (authorization.tenant(), authorization.now());
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let snapshot = tx.snapshot();
                    if !snapshot.is_group(tenant, group) {
                        return Err(DirectoryError::Missing(group.to_string()));
                    }
                    refuse_outranked(authorization, &snapshot, group)?;
                    let is_group = snapshot.is_group(tenant, member);
                    if !snapshot.has_object(tenant, member) {
                        return Err(DirectoryError::Missing(member.to_string()));
                    }
                    if is_group && (member == group || snapshot.groups_of(tenant, group).contains(&member)) {
                        return Err(DirectoryError::Invalid(
                            "The group cannot be added: it would be a member of itself, by way of others.".to_owned(),
                        ));
                    }
                    if tx.record::<Membership>(&MembershipKey { group, member }).await?.is_some() {
                        return Err(DirectoryError::Invalid(
                            "One or more added object references already exist for the following modified properties: 'members'.".to_owned(),
                        ));
                    }
                    tx.insert(&Membership { tenant, group, member, since: now }).await?;
                    Ok(Write::commit(actions::UPDATE_MEMBERS, format!("{group}/{member}"), ()))
                })
            })
            .await
    }

    /// Takes a member out of a group.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; the store's.
    pub async fn remove_member(
        &self,
        authorization: &Authorization,
        group: PrincipalId,
        member: PrincipalId,
    ) -> Result<(), DirectoryError> {
        self.check(authorization, actions::UPDATE_MEMBERS)?;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let key = MembershipKey { group, member };
                    refuse_outranked(authorization, &tx.snapshot(), group)?;
                    let is_there = tx.snapshot().is_group(authorization.tenant(), group);
                    match tx.remove::<Membership>(&key).await?.filter(|_| is_there) {
                        Some(_) => Ok(Write::commit(actions::UPDATE_MEMBERS, key.to_string(), ())),
                        None => Err(DirectoryError::Missing(member.to_string())),
                    }
                })
            })
            .await
    }

    /// Makes a user or a service principal an owner of a group.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; [`DirectoryError::Invalid`] when it is one already; the store's.
    pub async fn add_owner(
        &self,
        authorization: &Authorization,
        group: PrincipalId,
        owner: PrincipalId,
    ) -> Result<(), DirectoryError> {
        let (snapshot, tenant) = (self.store.snapshot(), authorization.tenant());
        if snapshot.user(tenant, owner).is_none() && snapshot.principal(tenant, owner).is_none() {
            return Err(DirectoryError::Missing(owner.to_string()));
        }
        self.edit_group(authorization, actions::UPDATE_OWNERS, group, |it| {
            if it.owners.contains(&owner) {
                return Err(DirectoryError::Invalid(
                    "One or more added object references already exist for the following modified properties: 'owners'.".to_owned(),
                ));
            }
            it.owners.push(owner);
            if it.owners.len() > MOST_OWNERS { Err(too_many_owners()) } else { Ok(()) }
        })
        .await
    }

    /// Takes the ownership of a group away.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; the store's.
    pub async fn remove_owner(
        &self,
        authorization: &Authorization,
        group: PrincipalId,
        owner: PrincipalId,
    ) -> Result<(), DirectoryError> {
        self.edit_group(authorization, actions::UPDATE_OWNERS, group, |it| {
            let before = it.owners.len();
            it.owners.retain(|other| *other != owner);
            if it.owners.len() == before { Err(DirectoryError::Missing(owner.to_string())) } else { Ok(()) }
        })
        .await
    }
}

fn too_many_owners() -> DirectoryError {
    DirectoryError::Invalid(format!("A group has at most {MOST_OWNERS} owners."))
}

impl GroupChange {
    fn apply(&self, to: &mut Group) -> Result<(), DirectoryError> {
        if let Some(name) = &self.display_name {
            to.display_name.clone_from(name);
        }
        if let Some(description) = &self.description {
            to.description.clone_from(description);
        }
        if let Some(nickname) = &self.mail_nickname {
            to.mail_nickname.clone_from(nickname);
        }
        check_text("displayName", &to.display_name, 256)?;
        check_text("mailNickname", &to.mail_nickname, 64)?;
        to.description.as_ref().map_or(Ok(()), |text| check_text("description", text, 1024))
    }
}
