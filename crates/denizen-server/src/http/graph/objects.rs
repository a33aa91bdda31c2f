//! Objects by their ids alone, and what was deleted. Tests: `tests/`.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Graph, GraphAccess,
    fault::Fault,
    request::{Asked, body, guid, id, with_context},
    rows, shape,
};
use crate::{
    app::directory::{Object, actions},
    domain::{
        deleted::DeletedObject,
        query::{Filter, Literal, Test},
    },
    http::{
        Call, Reply, reply,
        route::{Params, Route},
    },
};

/// How many ids may be asked for at once.
const MOST_IDS: usize = 1000;

pub(super) fn routes() -> Vec<Route<Graph>> {
    rows![
        GET "/directoryObjects/{id}", actions::READ_OBJECTS, get;
        POST "/directoryObjects/getByIds", actions::READ_OBJECTS, by_ids;
        GET "/directory/deletedItems/{id}", actions::READ_DELETED, deleted;
        POST "/directory/deletedItems/{id}/restore", actions::RESTORE_DELETED, restore;
        DELETE "/directory/deletedItems/{id}", actions::PURGE_DELETED, purge;
    ]
}

async fn get(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let id = id(params, "id")?;
    let found = api.directory.objects(&access.authorization, actions::READ_OBJECTS, &[id]).await?;
    let found = found.first().ok_or_else(|| Fault::missing(&id.to_string()))?;
    Ok(asked.one(access, "directoryObjects", shape::object(found)))
}

async fn by_ids(api: &Graph, access: &GraphAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let mut members = body(call).await?;
    let asked = members.texts("ids")?.unwrap_or_default();
    let types = members.texts("types")?.unwrap_or_default();
    members.finish()?;
    if asked.is_empty() || asked.len() > MOST_IDS {
        return Err(Fault::bad(format!(
            "Invalid value specified for property 'ids': it must have 1 to {MOST_IDS} values."
        )));
    }
    // What is no id is nobody's.
    let ids: Vec<_> = asked.iter().filter_map(|id| guid(id)).collect();
    let is_asked = |object: &Object| {
        let own = match object {
            Object::User(_) => "user",
            Object::Group(_) => "group",
            Object::ServicePrincipal(_) => "servicePrincipal",
            Object::Application(_) => "application",
        };
        let is = |wanted: &String| wanted.eq_ignore_ascii_case(own) || wanted.eq_ignore_ascii_case("directoryObject");
        types.is_empty() || types.iter().any(is)
    };
    let found = api.directory.objects(&access.authorization, actions::READ_OBJECTS, &ids).await?;
    let value: Vec<_> = found.iter().filter(|it| is_asked(it)).map(|it| Value::Object(shape::object(it))).collect();
    let context = format!("{}/$metadata#directoryObjects", access.base);
    Ok(reply::json(StatusCode::OK, &json!({ "@odata.context": context, "value": value })))
}

/// One of them; or the list of a type, which stands in its place.
async fn deleted(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let text = params.text("id");
    let Some(name) = text.get(..16).filter(|start| start.eq_ignore_ascii_case("microsoft.graph.")).and(text.get(16..))
    else {
        let found = api.directory.deleted(&access.authorization, id(params, "id")?).await?;
        return Ok(asked.one(access, "directoryObjects", shape::deleted(&found)));
    };
    let kind = match name.to_ascii_lowercase().as_str() {
        "user" => "user",
        "group" => "group",
        "application" => "application",
        "serviceprincipal" => "service_principal",
        _ => return Err(Fault::bad("Deleted items are of the types user, group, application and servicePrincipal.")),
    };
    let within = Filter::Is("kind".to_owned(), Test::Equals(Literal::Text(kind.to_owned())));
    let page = asked.page::<DeletedObject>(api, access, actions::READ_DELETED, Some(&within)).await?;
    let (page, count) = page;
    // What waits to be removed for good is nobody's any more; until then it counts.
    let now = access.authorization.now();
    let items = page.items.iter().filter(|it| it.can_be_restored(now)).map(shape::deleted).collect();
    let path = format!("/directory/deletedItems/{text}");
    Ok(asked.answer(access, (&path, "directoryObjects"), items, (page.next, count)))
}

async fn restore(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    let restored = api.directory.restore(&access.authorization, id(params, "id")?).await?;
    let mut item = shape::deleted(&restored);
    item.insert("deletedDateTime".to_owned(), Value::Null);
    Ok(with_context(StatusCode::OK, access, "directoryObjects/$entity", item))
}

async fn purge(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    api.directory.purge(&access.authorization, id(params, "id")?).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
