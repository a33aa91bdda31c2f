//! Federated identity credentials of applications. Tests: `tests/objects.rs`.

use denizen_keys::random;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Graph, GraphAccess,
    fault::Fault,
    request::{Asked, Members, body, named, with_context},
    rows, shape,
};
use crate::{
    app::{directory::actions, trusts::FederatedChange},
    domain::federation::{DEFAULT_AUDIENCE, Expression, FederatedCredential, Whom},
    http::{
        Call, Reply, reply,
        route::{Params, Route},
    },
};

pub(super) fn routes() -> Vec<Route<Graph>> {
    rows![
        GET "/applications/{id}/federatedIdentityCredentials", actions::READ_APPLICATIONS, list;
        POST "/applications/{id}/federatedIdentityCredentials", actions::UPDATE_CREDENTIALS, add;
        GET "/applications/{id}/federatedIdentityCredentials/{member}", actions::READ_APPLICATIONS, get;
        PATCH "/applications/{id}/federatedIdentityCredentials/{member}", actions::UPDATE_CREDENTIALS, update;
        DELETE "/applications/{id}/federatedIdentityCredentials/{member}", actions::UPDATE_CREDENTIALS, remove;
    ]
}

fn shaped(it: &FederatedCredential) -> Value {
    let (subject, expression) = match &it.whom {
        Whom::Subject(subject) => (Some(subject.as_str()), None),
        Whom::Expression(expression) => (None, Some(json!({ "value": expression.text(), "languageVersion": 1 }))),
    };
    json!({
        "id": it.id, "name": it.name, "issuer": it.issuer, "subject": subject, "audiences": it.audiences,
        "description": it.description, "claimsMatchingExpression": expression,
    })
}

async fn of(api: &Graph, access: &GraphAccess, params: &Params) -> Result<Vec<FederatedCredential>, Fault> {
    let found = api.directory.application(&access.authorization, actions::READ_APPLICATIONS, named(params)?).await?;
    Ok(found.federated)
}

/// The one that the path names, by its id or its name.
fn which(list: Vec<FederatedCredential>, params: &Params) -> Result<FederatedCredential, Fault> {
    let asked = params.text("member");
    let found = list.into_iter().find(|it| it.name == asked || it.id.to_string().eq_ignore_ascii_case(asked));
    found.ok_or_else(|| Fault::missing(&denizen_wire::shown::identifier(asked)))
}

async fn list(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    asked.plain()?;
    let items = of(api, access, params).await?.iter().map(|it| shape::item(shaped(it))).collect();
    let id = params.text("id");
    let path = format!("/applications/{id}/federatedIdentityCredentials");
    let of = format!("applications('{id}')/federatedIdentityCredentials");
    Ok(asked.answer(access, (&path, &of), items, (None, None)))
}

async fn get(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let found = which(of(api, access, params).await?, params)?;
    Ok(asked.one(access, "federatedIdentityCredentials", shape::item(shaped(&found))))
}

async fn add(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let mut members = body(call).await?;
    let name = members.text("name")?.ok_or_else(|| Fault::bad("A federated credential has a name: send 'name'."))?;
    let issuer = members.text("issuer")?.ok_or_else(|| Fault::bad("It names an issuer: send 'issuer'."))?;
    let whom = whom(&mut members)?.ok_or_else(|| Fault::bad("It names whom: send 'subject'."))?;
    let audiences = members.texts("audiences")?.unwrap_or_else(|| vec![DEFAULT_AUDIENCE.to_owned()]);
    let description = members.nullable_text("description")?.flatten().unwrap_or_default();
    members.finish()?;
    let new = FederatedCredential { id: random::uuid_v4(), name, issuer, whom, audiences, description };
    let client = api.directory.client(&access.authorization, named(params)?).await?;
    let made = api.trusts.add_federated(&access.authorization, client, new).await?;
    let item = shape::item(shaped(&made));
    Ok(with_context(StatusCode::CREATED, access, "federatedIdentityCredentials/$entity", item))
}

async fn update(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let mut members = body(call).await?;
    let change = FederatedChange {
        name: members.text("name")?,
        issuer: members.text("issuer")?,
        whom: whom(&mut members)?,
        audiences: members.texts("audiences")?,
        description: members.nullable_text("description")?.map(Option::unwrap_or_default),
    };
    members.finish()?;
    let client = api.directory.client(&access.authorization, named(params)?).await?;
    api.trusts.change_federated(&access.authorization, client, params.text("member"), &change).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn remove(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    let client = api.directory.client(&access.authorization, named(params)?).await?;
    api.trusts.remove_federated(&access.authorization, client, params.text("member")).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// A subject, or an expression over claims.
fn whom(members: &mut Members) -> Result<Option<Whom>, Fault> {
    let subject = members.nullable_text("subject")?.flatten();
    let expression = match members.object("claimsMatchingExpression")? {
        None => None,
        Some(mut asked) => {
            let value = asked.text("value")?.unwrap_or_default();
            asked.fixed("languageVersion", &json!(1))?;
            asked.finish()?;
            Some(
                value
                    .parse::<Expression>()
                    .map_err(|error| Fault::bad(format!("claimsMatchingExpression: {error}")))?,
            )
        }
    };
    match (subject, expression) {
        (Some(_), Some(_)) => Err(Fault::bad("'subject' and 'claimsMatchingExpression' exclude each other: send one.")),
        (Some(subject), None) => Ok(Some(Whom::Subject(subject))),
        (None, Some(expression)) => Ok(Some(Whom::Expression(expression))),
        (None, None) => Ok(None),
    }
}
