//! Users, and who asks. Tests: `tests/`.

use denizen_keys::SecretString;
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Graph, GraphAccess, Session,
    fault::Fault,
    groups::{ids, is_security_only},
    request::{Asked, Members, body, with_context},
    rows, shape,
};
use crate::{
    app::{
        access::{Known, Subject},
        directory::{NewPassword, UserChange, actions},
    },
    domain::{Actor, authorize::Because, people::User},
    http::{
        Call, Reply, reply,
        route::{Handler, Params, Request, Route},
    },
};

pub(super) fn routes() -> Vec<Route<Graph>> {
    let mut routes = rows![
        GET "/users", actions::READ_USERS, list;
        POST "/users", actions::CREATE_USER, create;
        GET "/users/{id}", actions::READ_USERS, get;
        PATCH "/users/{id}", actions::UPDATE_USER, update;
        DELETE "/users/{id}", actions::DELETE_USER, delete;
        POST "/users/{id}/revokeSignInSessions", actions::REVOKE_SESSIONS, revoke;
    ];
    routes.extend(["/v1.0/me/getMemberObjects", "/beta/me/getMemberObjects"].map(|pattern| Route {
        method: http::Method::POST,
        pattern,
        handler: Handler::OwnCredential {
            credential: "the access token, which says who asks",
            run: |api, Request { params, call }| Box::pin(async move { my_objects(api, &params, call).await }),
        },
    }));
    routes.extend(["/v1.0/me", "/beta/me"].map(|pattern| Route {
        method: http::Method::GET,
        pattern,
        handler: Handler::OwnCredential {
            credential: "the access token, which says who asks",
            run: |api, Request { params, call }| Box::pin(async move { me(api, &params, call).await }),
        },
    }));
    routes
}

/// The user who asks; a client that asks for itself is nobody's.
async fn me(api: &Graph, params: &Params, call: &Call) -> Result<Reply, Fault> {
    let known = user_who_asks(api, call)?;
    let asked = Asked::of(call)?;
    let found = api.directory.myself(&known).await?;
    let mut body = shape::Item::new();
    body.insert("@odata.context".to_owned(), format!("{}/$metadata#users/$entity", api.base(params)).into());
    body.extend(asked.selected(shape::user(&found)));
    Ok(reply::json(StatusCode::OK, &Value::Object(body)))
}

async fn my_objects(api: &Graph, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let known = user_who_asks(api, call)?;
    let roles = !is_security_only(call).await?;
    Ok(ids(&api.base(params), &api.directory.my_member_objects(&known, roles)?))
}

/// Whether a permission of Graph's lets a client see its own user.
fn is_of_user(permission: &str) -> bool {
    permission.starts_with("User.Read")
}

fn user_who_asks(api: &Graph, call: &Call) -> Result<Known, Fault> {
    let Session { caller, .. } = api.session(call)?;
    match caller.subject {
        Subject::App => Err(Fault::bad("/me request is only valid with delegated authentication flow.")),
        // Who has signed in somewhere has not let that client see the directory.
        Subject::User { ref scopes, .. } if !caller.subject.may_act() && !scopes.split(' ').any(is_of_user) => {
            let because = Because::Scopes("User.Read");
            let known = caller.known(&call.ctx(caller.tenant, Actor::Anonymous));
            api.directory.refused(&known, actions::READ_MYSELF, &because.to_string());
            Err(Fault::denied(actions::READ_MYSELF, &because))
        }
        Subject::User { .. } => Ok(caller.known(&call.ctx(caller.tenant, Actor::Anonymous))),
    }
}

async fn list(api: &Graph, access: &GraphAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let (page, count) = asked.page::<User>(api, access, actions::READ_USERS, None).await?;
    let items = page.items.iter().map(shape::user).collect();
    Ok(asked.answer(access, ("/users", "users"), items, (page.next, count)))
}

async fn get(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let found = api.directory.user(&access.authorization, actions::READ_USERS, params.text("id")).await?;
    Ok(asked.one(access, "users", shape::user(&found)))
}

async fn create(api: &Graph, access: &GraphAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let change = change(body(call).await?)?;
    let made = api.directory.create_user(&access.authorization, &change).await?;
    Ok(with_context(StatusCode::CREATED, access, "users/$entity", shape::user(&made)))
}

async fn update(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let mut change = change(body(call).await?)?;
    let password = change.password.take();
    let is_more = password.is_none()
        || change.name.is_some()
        || change.display_name.is_some()
        || change.given_name.is_some()
        || change.surname.is_some()
        || change.mail.is_some()
        || change.mail_nickname.is_some()
        || change.enabled.is_some();
    if password.is_some() && is_more {
        return Err(Fault::bad(
            "passwordProfile is changed in a request of its own here: leave out the other properties.",
        ));
    }
    if password.is_some() {
        // Another action than this row's: it is decided for itself.
        let access = api.also(call, actions::UPDATE_PASSWORD, params)?;
        let change = UserChange { password, ..UserChange::default() };
        api.directory.change_user(&access.authorization, params.text("id"), &change).await?;
    } else {
        api.directory.change_user(&access.authorization, params.text("id"), &change).await?;
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn delete(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    api.directory.delete_user(&access.authorization, params.text("id")).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn revoke(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    api.directory.revoke_sessions(&access.authorization, params.text("id")).await?;
    let of = format!("{}/$metadata#Edm.Boolean", access.base);
    Ok(reply::json(StatusCode::OK, &json!({ "@odata.context": of, "value": true })))
}

fn change(mut of: Members) -> Result<UserChange, Fault> {
    of.fixed("userType", &json!("Member"))?;
    let mut change = UserChange {
        name: of.text("userPrincipalName")?,
        display_name: of.text("displayName")?,
        given_name: of.nullable_text("givenName")?,
        surname: of.nullable_text("surname")?,
        mail: of.nullable_text("mail")?,
        mail_nickname: of.text("mailNickname")?,
        enabled: of.flag("accountEnabled")?,
        password: None,
    };
    if let Some(mut profile) = of.object("passwordProfile")? {
        let must_change = profile.flag("forceChangePasswordNextSignIn")?;
        let with_factor = profile.flag("forceChangePasswordNextSignInWithMfa")?;
        let must_change = match (must_change, with_factor) {
            (None, None) => true,
            (one, other) => one.unwrap_or(false) || other.unwrap_or(false),
        };
        let password = SecretString::from(profile.the_text("password")?);
        change.password = Some(NewPassword { password, must_change });
        profile.finish()?;
    }
    of.finish()?;
    Ok(change)
}
