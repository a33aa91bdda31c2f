//! App roles that were given, and scopes that clients were granted. Tests: `tests/`.

use denizen_wire::PrincipalId;
use http::StatusCode;

use super::{
    Graph, GraphAccess,
    fault::Fault,
    request::{Asked, body, id, someone, with_context},
    rows, shape,
};
use crate::{
    app::directory::{NewAppRole, actions},
    domain::{
        grants::{AppRoleAssignment, PermissionGrant},
        query::{Filter, Literal, Test},
    },
    http::{
        Call, Reply, reply,
        route::{Params, Route},
    },
};

pub(super) fn routes() -> Vec<Route<Graph>> {
    rows![
        GET "/servicePrincipals/{id}/appRoleAssignments", actions::READ_APP_ROLES, of_principal;
        POST "/servicePrincipals/{id}/appRoleAssignments", actions::UPDATE_APP_ROLES, give;
        DELETE "/servicePrincipals/{id}/appRoleAssignments/{given}", actions::UPDATE_APP_ROLES, take;
        GET "/servicePrincipals/{id}/appRoleAssignedTo", actions::READ_APP_ROLES, at_resource;
        POST "/servicePrincipals/{id}/appRoleAssignedTo", actions::UPDATE_APP_ROLES, give;
        DELETE "/servicePrincipals/{id}/appRoleAssignedTo/{given}", actions::UPDATE_APP_ROLES, take;
        GET "/users/{id}/appRoleAssignments", actions::READ_APP_ROLES, of_principal;
        POST "/users/{id}/appRoleAssignments", actions::UPDATE_APP_ROLES, give;
        DELETE "/users/{id}/appRoleAssignments/{given}", actions::UPDATE_APP_ROLES, take;
        GET "/groups/{id}/appRoleAssignments", actions::READ_APP_ROLES, of_principal;
        POST "/groups/{id}/appRoleAssignments", actions::UPDATE_APP_ROLES, give;
        DELETE "/groups/{id}/appRoleAssignments/{given}", actions::UPDATE_APP_ROLES, take;
        GET "/oauth2PermissionGrants", actions::READ_GRANTS, grants;
        POST "/oauth2PermissionGrants", actions::CREATE_GRANT, grant;
        GET "/oauth2PermissionGrants/{id}", actions::READ_GRANTS, one_grant;
        PATCH "/oauth2PermissionGrants/{id}", actions::UPDATE_GRANT, change_grant;
        DELETE "/oauth2PermissionGrants/{id}", actions::DELETE_GRANT, remove_grant;
        GET "/servicePrincipals/{id}/oauth2PermissionGrants", actions::READ_GRANTS, grants_of;
    ]
}

fn equals(property: &str, id: PrincipalId) -> Filter {
    Filter::Is(property.to_owned(), Test::Equals(Literal::Text(id.to_string())))
}

async fn of_principal(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    assignments(api, access, params, call, ("principalId", "appRoleAssignments")).await
}

async fn at_resource(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    assignments(api, access, params, call, ("resourceId", "appRoleAssignedTo")).await
}

async fn assignments(
    api: &Graph,
    access: &GraphAccess,
    params: &Params,
    call: &mut Call,
    (property, segment): (&str, &str),
) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let id = someone(access, params)?;
    let within = equals(property, id);
    let page = asked.page::<AppRoleAssignment>(api, access, actions::READ_APP_ROLES, Some(&within)).await?;
    let (page, count) = page;
    let given = api.directory.with_names(&access.authorization, page.items).await?;
    let items = given.iter().map(shape::app_role_assignment).collect();
    // The noun that was asked: users and groups have them as well.
    let path = format!("/{}/{id}/{segment}", params.segment(1));
    Ok(asked.answer(access, (&path, "appRoleAssignments"), items, (page.next, count)))
}

async fn give(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let of = someone(access, params)?;
    let mut members = body(call).await?;
    let [principal, resource] = [members.the_id("principalId")?, members.the_id("resourceId")?].map(PrincipalId);
    let role = members.the_id("appRoleId")?;
    members.finish()?;
    if of != principal && of != resource {
        return Err(Fault::bad("The object in the path must be the one of 'principalId' or of 'resourceId'."));
    }
    let new = NewAppRole { principal, resource, role };
    let made = api.directory.give_app_role(&access.authorization, actions::UPDATE_APP_ROLES, new).await?;
    let given = api.directory.with_names(&access.authorization, vec![made]).await?;
    let item = given.first().map(shape::app_role_assignment).unwrap_or_default();
    Ok(with_context(StatusCode::CREATED, access, "appRoleAssignments/$entity", item))
}

async fn take(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    let (of, given) = (someone(access, params)?, id(params, "given")?);
    api.directory.take_app_role(&access.authorization, actions::UPDATE_APP_ROLES, of, given).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn grants(api: &Graph, access: &GraphAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let (page, count) = asked.page::<PermissionGrant>(api, access, actions::READ_GRANTS, None).await?;
    let items = page.items.iter().map(shape::permission_grant).collect();
    Ok(asked.answer(access, ("/oauth2PermissionGrants", "oauth2PermissionGrants"), items, (page.next, count)))
}

async fn grants_of(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let id = someone(access, params)?;
    let within = equals("clientId", id);
    let (page, count) = asked.page::<PermissionGrant>(api, access, actions::READ_GRANTS, Some(&within)).await?;
    let items = page.items.iter().map(shape::permission_grant).collect();
    let path = format!("/servicePrincipals/{id}/oauth2PermissionGrants");
    Ok(asked.answer(access, (&path, "oauth2PermissionGrants"), items, (page.next, count)))
}

async fn one_grant(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let found = api.directory.grant(&access.authorization, id(params, "id")?).await?;
    Ok(asked.one(access, "oauth2PermissionGrants", shape::permission_grant(&found)))
}

async fn grant(api: &Graph, access: &GraphAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let mut members = body(call).await?;
    let [client, resource] = [members.the_id("clientId")?, members.the_id("resourceId")?].map(PrincipalId);
    let user = members.id("principalId")?.map(PrincipalId);
    let consent = members.text("consentType")?.unwrap_or_default();
    let scopes = members.the_text("scope")?;
    // They were needed once, and say nothing today.
    let _: (Option<String>, Option<String>) = (members.text("startTime")?, members.text("expiryTime")?);
    members.finish()?;
    let is_right = match consent.as_str() {
        "AllPrincipals" => user.is_none(),
        "Principal" => user.is_some(),
        _ => false,
    };
    if !is_right {
        return Err(Fault::bad(
            "Invalid value specified for property 'consentType': it must be AllPrincipals without a principalId, or Principal with one.",
        ));
    }
    let made = api.directory.grant_scopes(&access.authorization, (client, user, resource), &scopes).await?;
    Ok(with_context(StatusCode::CREATED, access, "oauth2PermissionGrants/$entity", shape::permission_grant(&made)))
}

async fn change_grant(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let mut members = body(call).await?;
    let scopes = members.the_text("scope")?;
    members.finish()?;
    api.directory.change_scopes(&access.authorization, id(params, "id")?, &scopes).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn remove_grant(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    api.directory.remove_grant(&access.authorization, id(params, "id")?).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
