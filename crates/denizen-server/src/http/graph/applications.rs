//! Applications. Tests: `tests/`.

use denizen_keys::b64;
use http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::{
    Graph, GraphAccess,
    fault::Fault,
    request::{Asked, Members, body, named, with_context},
    rows, shape,
};
use crate::{
    app::directory::{ApplicationChange, Named, NewCertificate, NewSecret, actions},
    domain::directory::{AppRole, AppRoleMembers, Application, GroupClaims, PermissionScope, TokenVersion},
    http::{
        Call, Reply, reply,
        route::{Params, Route},
    },
};

pub(super) fn routes() -> Vec<Route<Graph>> {
    rows![
        GET "/applications", actions::READ_APPLICATIONS, list;
        POST "/applications", actions::CREATE_APPLICATION, create;
        GET "/applications/{id}", actions::READ_APPLICATIONS, get;
        PATCH "/applications/{id}", actions::UPDATE_APPLICATION, update;
        DELETE "/applications/{id}", actions::DELETE_APPLICATION, delete;
        POST "/applications/{id}/addPassword", actions::UPDATE_CREDENTIALS, add_password;
        POST "/applications/{id}/removePassword", actions::UPDATE_CREDENTIALS, remove_password;
        POST "/applications/{id}/addKey", actions::UPDATE_CREDENTIALS, no_key;
        POST "/applications/{id}/removeKey", actions::UPDATE_CREDENTIALS, no_key;
        GET "/applications/{id}/owners", actions::READ_APPLICATIONS, owners;
    ]
}

async fn list(api: &Graph, access: &GraphAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let (page, count) = asked.page::<Application>(api, access, actions::READ_APPLICATIONS, None).await?;
    let items = page.items.iter().map(shape::application).collect();
    Ok(asked.answer(access, ("/applications", "applications"), items, (page.next, count)))
}

async fn get(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    let found = api.directory.application(&access.authorization, actions::READ_APPLICATIONS, named(params)?).await?;
    Ok(asked.one(access, "applications", shape::application(&found)))
}

async fn create(api: &Graph, access: &GraphAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let mut members = body(call).await?;
    // A secret of the client's choice is no secret that somebody has made well.
    if members.list("passwordCredentials")?.is_some_and(|values| !values.is_empty()) {
        return Err(Fault::bad("passwordCredentials are made by addPassword: leave them out."));
    }
    let change = change(members)?;
    let made = api.directory.register(&access.authorization, &change).await?;
    Ok(with_context(StatusCode::CREATED, access, "applications/$entity", shape::application(&made)))
}

async fn update(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let named = named(params)?;
    let change = change(body(call).await?)?;
    match change.certificates_alone() {
        Some(certificates) => {
            // Another action than this row's: it is decided for itself.
            let access = api.also(call, actions::UPDATE_CREDENTIALS, params)?;
            api.directory.set_certificates(&access.authorization, named, certificates).await?;
        }
        None => api.directory.change_application(&access.authorization, named, &change).await?,
    }
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn delete(api: &Graph, access: &GraphAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    api.directory.delete_application(&access.authorization, named(params)?).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn add_password(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let named = named(params)?;
    add_password_to(api, access, named, call).await
}

async fn remove_password(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let named = named(params)?;
    remove_password_of(api, access, named, call).await
}

/// Also of a service principal: its application has them.
pub(super) async fn add_password_to(
    api: &Graph,
    access: &GraphAccess,
    named: Named,
    call: &mut Call,
) -> Result<Reply, Fault> {
    let mut members = body(call).await?;
    let mut new = NewSecret::default();
    if let Some(mut asked) = members.object("passwordCredential")? {
        new = NewSecret {
            display_name: asked.text("displayName")?.unwrap_or_default(),
            start: asked.time("startDateTime")?,
            end: asked.time("endDateTime")?,
        };
        asked.finish()?;
    }
    members.finish()?;
    let (secret, kept) = api.directory.add_secret(&access.authorization, named, &new).await?;
    let mut made = shape::item(shape::password(&kept));
    made.insert("secretText".to_owned(), secret.expose().into());
    Ok(with_context(StatusCode::OK, access, "microsoft.graph.passwordCredential", made))
}

pub(super) async fn remove_password_of(
    api: &Graph,
    access: &GraphAccess,
    named: Named,
    call: &mut Call,
) -> Result<Reply, Fault> {
    let mut members = body(call).await?;
    let key_id = members.the_id("keyId")?;
    members.finish()?;
    api.directory.remove_secret(&access.authorization, named, key_id).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn no_key(_: &Graph, _: &GraphAccess, _: &Params, _: &mut Call) -> Result<Reply, Fault> {
    Err(Fault::bad("Certificates are not rolled by addKey and removeKey here: register them with keyCredentials."))
}

/// None are kept: who may change applications is said by roles.
async fn owners(api: &Graph, access: &GraphAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let asked = Asked::of(call)?;
    asked.plain()?;
    let found = api.directory.application(&access.authorization, actions::READ_APPLICATIONS, named(params)?).await?;
    let path = format!("/applications/{}/owners", found.object_id);
    Ok(asked.answer(access, (&path, "directoryObjects"), Vec::new(), (None, None)))
}

fn change(mut members: Members) -> Result<ApplicationChange, Fault> {
    members.fixed("signInAudience", &json!("AzureADMyOrg"))?;
    let mut change = ApplicationChange {
        display_name: members.text("displayName")?,
        identifier_uris: members.texts("identifierUris")?,
        public_client: members.nullable_flag("isFallbackPublicClient")?,
        group_claims: match members.nullable_text("groupMembershipClaims")? {
            None => None,
            Some(None) => Some(GroupClaims::None),
            Some(Some(word)) if word.eq_ignore_ascii_case("none") => Some(GroupClaims::None),
            Some(Some(word)) if ["all", "securitygroup"].contains(&word.to_ascii_lowercase().as_str()) => {
                Some(GroupClaims::All)
            }
            Some(Some(_)) => {
                return Err(Fault::bad(
                    "Invalid value specified for property 'groupMembershipClaims': it must be None, All or SecurityGroup.",
                ));
            }
        },
        ..ApplicationChange::default()
    };
    if let Some(roles) = members.objects("appRoles")? {
        change.app_roles = Some(roles.into_iter().map(role).collect::<Result<_, _>>()?);
    }
    if let Some(mut of) = members.object("api")? {
        change.token_version = match of.nullable_number("requestedAccessTokenVersion")? {
            None => None,
            Some(None | Some(1)) => Some(TokenVersion::V1),
            Some(Some(2)) => Some(TokenVersion::V2),
            Some(Some(_)) => {
                return Err(Fault::bad(
                    "Invalid value specified for property 'api/requestedAccessTokenVersion': it must be 1 or 2.",
                ));
            }
        };
        if let Some(scopes) = of.objects("oauth2PermissionScopes")? {
            change.scopes = Some(scopes.into_iter().map(scope).collect::<Result<_, _>>()?);
        }
        of.finish()?;
    }
    for (name, to) in [("web", &mut change.web), ("spa", &mut change.spa), ("publicClient", &mut change.programs)] {
        if let Some(mut of) = members.object(name)? {
            *to = of.texts("redirectUris")?;
            of.finish()?;
        }
    }
    if let Some(keys) = members.objects("keyCredentials")? {
        change.certificates = Some(keys.into_iter().map(certificate).collect::<Result<_, _>>()?);
    }
    members.finish()?;
    Ok(change)
}

fn role(mut of: Members) -> Result<AppRole, Fault> {
    of.text("origin")?;
    let members = of.texts("allowedMemberTypes")?.unwrap_or_default();
    let read = members.iter().map(|word| match word.as_str() {
        "User" => Ok(AppRoleMembers::User),
        "Application" => Ok(AppRoleMembers::Application),
        _ => Err(Fault::bad(
            "Invalid value specified for property 'appRoles/allowedMemberTypes': each must be User or Application.",
        )),
    });
    let role = AppRole {
        id: of.the_id("id")?,
        value: of.text("value")?.unwrap_or_default(),
        display_name: of.text("displayName")?.unwrap_or_default(),
        description: of.text("description")?.unwrap_or_default(),
        members: read.collect::<Result<_, _>>()?,
        enabled: of.flag("isEnabled")?.unwrap_or(true),
    };
    of.finish()?;
    Ok(role)
}

fn scope(mut of: Members) -> Result<PermissionScope, Fault> {
    // What people read at a consent; one text is kept.
    let (user_name, user_text) = (of.text("userConsentDisplayName")?, of.text("userConsentDescription")?);
    let scope = PermissionScope {
        id: of.the_id("id")?,
        value: of.text("value")?.unwrap_or_default(),
        display_name: of.text("adminConsentDisplayName")?.or(user_name).unwrap_or_default(),
        description: of.text("adminConsentDescription")?.or(user_text).unwrap_or_default(),
        users_consent: match of.text("type")?.as_deref() {
            None | Some("User") => true,
            Some("Admin") => false,
            Some(_) => {
                return Err(Fault::bad(
                    "Invalid value specified for property 'api/oauth2PermissionScopes/type': it must be User or Admin.",
                ));
            }
        },
        enabled: of.flag("isEnabled")?.unwrap_or(true),
    };
    of.finish()?;
    Ok(scope)
}

fn certificate(mut of: Members) -> Result<NewCertificate, Fault> {
    of.fixed("type", &json!("AsymmetricX509Cert"))?;
    of.fixed("usage", &json!("Verify"))?;
    // The certificate says when it holds, and these say within that.
    let within = (of.time("startDateTime")?, of.time("endDateTime")?);
    let (id, _): (Option<Uuid>, Option<String>) = (of.id("keyId")?, of.text("customKeyIdentifier")?);
    let key = of.text("key")?.and_then(|key| b64::decode_lax(&key));
    let display_name = of.text("displayName")?.unwrap_or_default();
    of.finish()?;
    match (key, id) {
        (Some(der), _) => Ok(NewCertificate::New { der, display_name, within }),
        (None, Some(id)) => Ok(NewCertificate::Kept { id, within }),
        (None, None) => Err(Fault::bad("Each of keyCredentials needs a 'key': the base64 of a certificate in DER.")),
    }
}
