//! Service principals: of applications, and the managed identities, which nobody edits here. Tests: `tests/`.

use http::StatusCode;

use super::{
    Graph, GraphAccess,
    applications::{add_password_to, remove_password_of},
    fault::Fault,
    request::{Asked, body, named, with_context},
    rows, shape,
};
use crate::{
    app::directory::actions,
    domain::directory::ServicePrincipal,
    http::{
        Call, Reply, reply,
        route::{Params, Route},
    },
};

pub(super) fn routes() -> Vec<Route<Graph>> {
    rows![
        GET "/servicePrincipals", actions::READ_PRINCIPALS, list;
        POST "/servicePrincipals", actions::CREATE_PRINCIPAL, create;
        GET "/servicePrincipals/{id}", actions::READ_PRINCIPALS, get;
        PATCH "/servicePrincipals/{id}", actions::UPDATE_PRINCIPAL, update;
        DELETE "/servicePrincipals/{id}", actions::DELETE_PRINCIPAL, delete;
        POST "/servicePrincipals/{id}/addPassword", actions::UPDATE_CREDENTIALS, add_password;
        POST "/servicePrincipals/{id}/removePassword", actions::UPDATE_CREDENTIALS, remove_password;
        GET "/servicePrincipals/{id}/owners", actions::READ_PRINCIPALS, owners;
    ]
}

/// What its application says of it is in memory.
pub(super) fn shaped(access: &GraphAccess, it: &ServicePrincipal) -> shape::Item {
    let application = access.authorization.snapshot().application(it.tenant, it.client_id);
    shape::service_principal(it, application.map(|it| &**it))
}

async fn list(api: &Graph, access: &GraphAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let (page, count) = asked.page::<ServicePrincipal>(api, access, actions::READ_PRINCIPALS, None).await?;
    let items = page.items.iter().map(|it| shaped(access, it)).collect();
    Ok(asked.answer(access, ("/servicePrincipals", "servicePrincipals"), items, (page.next, count)))
}

async fn get(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let named = named(params)?;
    let found = api.directory.service_principal(&access.authorization, actions::READ_PRINCIPALS, named).await?;
    Ok(asked.one(access, "servicePrincipals", shaped(access, &found)))
}

async fn create(api: &Graph, access: &GraphAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let mut members = body(call).await?;
    let client = denizen_wire::ClientId(members.the_id("appId")?);
    let enabled = members.flag("accountEnabled")?.unwrap_or(true);
    // Nothing is decided by tags.
    members.list("tags")?;
    members.finish()?;
    let made = api.directory.create_service_principal(&access.authorization, client, enabled).await?;
    Ok(with_context(StatusCode::CREATED, access, "servicePrincipals/$entity", shaped(access, &made)))
}

async fn update(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let named = named(params)?;
    let mut members = body(call).await?;
    let change = (members.flag("accountEnabled")?, members.flag("appRoleAssignmentRequired")?);
    members.list("tags")?;
    members.finish()?;
    api.directory.change_service_principal(&access.authorization, named, change).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn delete(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    api.directory.delete_service_principal(&access.authorization, named(params)?).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn add_password(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let of = api.directory.application_of_principal(&access.authorization, named(params)?)?;
    add_password_to(api, access, of, call).await
}

async fn remove_password(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let of = api.directory.application_of_principal(&access.authorization, named(params)?)?;
    remove_password_of(api, access, of, call).await
}

/// None are kept: who may change service principals is said by roles.
async fn owners(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    asked.plain()?;
    let named = named(params)?;
    let found = api.directory.service_principal(&access.authorization, actions::READ_PRINCIPALS, named).await?;
    let path = format!("/servicePrincipals/{}/owners", found.id);
    Ok(asked.answer(access, (&path, "directoryObjects"), Vec::new(), (None, None)))
}
