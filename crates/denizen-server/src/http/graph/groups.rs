//! Groups, who is in them and who owns them; and what groups one is in. Tests: `tests/`.

use http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::{
    Graph, GraphAccess,
    fault::Fault,
    request::{Asked, Members, body, guid, principal, reference, referenced, someone, with_context},
    rows, shape,
};
use crate::{
    app::directory::{GroupChange, Object, actions},
    domain::people::Group,
    http::{
        Call, Reply, reply,
        route::{Params, Route},
    },
};

/// How many are listed at once of members however deep.
const MOST_TRANSITIVE: usize = 10_000;

pub(super) fn routes() -> Vec<Route<Graph>> {
    rows![
        GET "/groups", actions::READ_GROUPS, list;
        POST "/groups", actions::CREATE_GROUP, create;
        GET "/groups/{id}", actions::READ_GROUPS, get;
        PATCH "/groups/{id}", actions::UPDATE_GROUP, update;
        DELETE "/groups/{id}", actions::DELETE_GROUP, delete;
        GET "/groups/{id}/members", actions::READ_GROUPS, members;
        GET "/groups/{id}/transitiveMembers", actions::READ_GROUPS, transitive_members;
        POST "/groups/{id}/members/$ref", actions::UPDATE_MEMBERS, add_member;
        DELETE "/groups/{id}/members/{member}/$ref", actions::UPDATE_MEMBERS, remove_member;
        GET "/groups/{id}/owners", actions::READ_GROUPS, owners;
        POST "/groups/{id}/owners/$ref", actions::UPDATE_OWNERS, add_owner;
        DELETE "/groups/{id}/owners/{member}/$ref", actions::UPDATE_OWNERS, remove_owner;
        GET "/groups/{id}/memberOf", actions::READ_GROUPS, member_of;
        GET "/users/{id}/memberOf", actions::READ_GROUPS, member_of;
        GET "/servicePrincipals/{id}/memberOf", actions::READ_GROUPS, member_of;
        GET "/groups/{id}/transitiveMemberOf", actions::READ_GROUPS, transitive_member_of;
        GET "/users/{id}/transitiveMemberOf", actions::READ_GROUPS, transitive_member_of;
        GET "/servicePrincipals/{id}/transitiveMemberOf", actions::READ_GROUPS, transitive_member_of;
        POST "/groups/{id}/getMemberGroups", actions::READ_GROUPS, member_groups;
        POST "/users/{id}/getMemberGroups", actions::READ_GROUPS, member_groups;
        POST "/servicePrincipals/{id}/getMemberGroups", actions::READ_GROUPS, member_groups;
        POST "/directoryObjects/{id}/getMemberGroups", actions::READ_GROUPS, member_groups;
        POST "/groups/{id}/getMemberObjects", actions::READ_GROUPS, member_objects;
        POST "/users/{id}/getMemberObjects", actions::READ_GROUPS, member_objects;
        POST "/servicePrincipals/{id}/getMemberObjects", actions::READ_GROUPS, member_objects;
        POST "/directoryObjects/{id}/getMemberObjects", actions::READ_GROUPS, member_objects;
        POST "/groups/{id}/checkMemberGroups", actions::READ_GROUPS, check_member_groups;
        POST "/users/{id}/checkMemberGroups", actions::READ_GROUPS, check_member_groups;
        POST "/servicePrincipals/{id}/checkMemberGroups", actions::READ_GROUPS, check_member_groups;
        POST "/directoryObjects/{id}/checkMemberGroups", actions::READ_GROUPS, check_member_groups;
    ]
}

async fn list(api: &Graph, access: &GraphAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let (page, count) = asked.page::<Group>(api, access, actions::READ_GROUPS, None).await?;
    let items = page.items.iter().map(shape::group).collect();
    Ok(asked.answer(access, ("/groups", "groups"), items, (page.next, count)))
}

async fn get(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let id = principal(params, "id")?;
    let found = api.directory.group(&access.authorization, actions::READ_GROUPS, id).await?;
    Ok(asked.one(access, "groups", shape::group(&found)))
}

async fn create(api: &Graph, access: &GraphAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let new = change(body(call).await?, true)?;
    let made = api.directory.create_group(&access.authorization, &new).await?;
    Ok(with_context(StatusCode::CREATED, access, "groups/$entity", shape::group(&made)))
}

async fn update(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let change = change(body(call).await?, false)?;
    api.directory.change_group(&access.authorization, principal(params, "id")?, &change).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn delete(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    api.directory.delete_group(&access.authorization, principal(params, "id")?).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn members(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    asked.plain()?;
    let id = principal(params, "id")?;
    // Not trusted when it comes back: it says after which member of this group to go on, and whoever asks sees them all.
    let after = match asked.skip_token() {
        None => None,
        Some(place) => Some(guid(place).ok_or_else(|| {
            Fault::bad("Invalid $skiptoken: it is not of this list: follow @odata.nextLink as it was given.")
        })?),
    };
    let page = (after, asked.top());
    let (found, next) = api.directory.members(&access.authorization, actions::READ_GROUPS, id, page).await?;
    let items = found.iter().map(shape::object).collect();
    let path = format!("/groups/{id}/members");
    Ok(asked.answer(access, (&path, "directoryObjects"), items, (next.map(|id| id.to_string()), None)))
}

async fn transitive_members(
    api: &Graph,
    access: &GraphAccess,
    params: &Params,
    call: &mut Call,
) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    asked.plain()?;
    let id = principal(params, "id")?;
    let directory = &api.directory;
    let found = directory.transitive_members(&access.authorization, actions::READ_GROUPS, id, MOST_TRANSITIVE).await?;
    let items = found.iter().map(shape::object).collect();
    let path = format!("/groups/{id}/transitiveMembers");
    Ok(asked.answer(access, (&path, "directoryObjects"), items, (None, None)))
}

async fn add_member(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let member = reference(call).await?;
    api.directory.add_member(&access.authorization, principal(params, "id")?, member).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn remove_member(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    let (group, member) = (principal(params, "id")?, principal(params, "member")?);
    api.directory.remove_member(&access.authorization, group, member).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn owners(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    asked.plain()?;
    let id = principal(params, "id")?;
    let group = api.directory.group(&access.authorization, actions::READ_GROUPS, id).await?;
    let ids: Vec<Uuid> = group.owners.iter().map(|owner| owner.0).collect();
    let found = api.directory.objects(&access.authorization, actions::READ_GROUPS, &ids).await?;
    let items = found.iter().map(shape::object).collect();
    let path = format!("/groups/{id}/owners");
    Ok(asked.answer(access, (&path, "directoryObjects"), items, (None, None)))
}

async fn add_owner(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let owner = reference(call).await?;
    api.directory.add_owner(&access.authorization, principal(params, "id")?, owner).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn remove_owner(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    let (group, owner) = (principal(params, "id")?, principal(params, "member")?);
    api.directory.remove_owner(&access.authorization, group, owner).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn member_of(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    groups_of(api, access, params, call, false).await
}

async fn transitive_member_of(
    api: &Graph,
    access: &GraphAccess,
    params: &Params,
    call: &mut Call,
) -> Result<Reply, Fault> {
    groups_of(api, access, params, call, true).await
}

async fn groups_of(
    api: &Graph,
    access: &GraphAccess,
    params: &Params,
    call: &mut Call,
    transitive: bool,
) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    asked.plain()?;
    let id = someone(access, params)?;
    let found = api.directory.groups_of(&access.authorization, actions::READ_GROUPS, id, transitive).await?;
    let items = found.into_iter().map(|it| shape::object(&Object::Group(it))).collect();
    let path = format!("/directoryObjects/{id}/{}", if transitive { "transitiveMemberOf" } else { "memberOf" });
    Ok(asked.answer(access, (&path, "directoryObjects"), items, (None, None)))
}

async fn member_groups(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    // All groups here are security groups.
    is_security_only(call).await?;
    let id = someone(access, params)?;
    let found = api.directory.member_objects(&access.authorization, actions::READ_GROUPS, id, false)?;
    Ok(ids(&access.base, &found))
}

/// Where a token with more groups than it has room for says that they can be got.
async fn member_objects(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let roles = !is_security_only(call).await?;
    let id = someone(access, params)?;
    let found = api.directory.member_objects(&access.authorization, actions::READ_GROUPS, id, roles)?;
    Ok(ids(&access.base, &found))
}

/// Whether security groups alone are asked for, without roles of the directory.
pub(super) async fn is_security_only(call: &mut Call) -> Result<bool, Fault> {
    let mut of = body(call).await?;
    let is_only = of.flag("securityEnabledOnly")?.unwrap_or(false);
    of.finish()?;
    Ok(is_only)
}

async fn check_member_groups(
    api: &Graph,
    access: &GraphAccess,
    params: &Params,
    call: &mut Call,
) -> Result<Reply, Fault> {
    let mut of = body(call).await?;
    let asked = of.texts("groupIds")?.unwrap_or_default();
    of.finish()?;
    let asked: Option<Vec<Uuid>> = asked.iter().map(|id| guid(id)).collect();
    let asked = asked
        .filter(|ids| ids.len() <= 20)
        .ok_or_else(|| Fault::bad("Invalid value specified for property 'groupIds': it must be at most 20 GUIDs."))?;
    let id = someone(access, params)?;
    let mut found = api.directory.member_objects(&access.authorization, actions::READ_GROUPS, id, false)?;
    found.retain(|group| asked.contains(group));
    Ok(ids(&access.base, &found))
}

pub(super) fn ids(base: &str, ids: &[Uuid]) -> Reply {
    let context = format!("{base}/$metadata#Collection(Edm.String)");
    reply::json(StatusCode::OK, &json!({ "@odata.context": context, "value": ids }))
}

fn change(mut of: Members, is_new: bool) -> Result<GroupChange, Fault> {
    of.fixed("mailEnabled", &json!(false))?;
    of.fixed("securityEnabled", &json!(true))?;
    of.fixed("groupTypes", &json!([]))?;
    of.fixed("isAssignableToRole", &json!(false))?;
    let mut change = GroupChange {
        display_name: of.text("displayName")?,
        description: of.nullable_text("description")?,
        mail_nickname: of.text("mailNickname")?,
        ..GroupChange::default()
    };
    if is_new {
        change.owners = bound(&mut of, "owners@odata.bind")?;
        change.members = bound(&mut of, "members@odata.bind")?;
    }
    of.finish()?;
    Ok(change)
}

fn bound(of: &mut Members, name: &str) -> Result<Vec<Uuid>, Fault> {
    let urls = of.list(name)?.unwrap_or_default();
    if urls.len() > 20 {
        return Err(Fault::bad(format!(
            "Invalid value specified for property '{name}': it must have at most 20 values."
        )));
    }
    urls.iter().map(|url| referenced(url.as_str().unwrap_or_default())).collect()
}
