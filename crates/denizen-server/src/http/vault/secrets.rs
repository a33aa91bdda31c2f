//! Secrets: the route table and its handlers.
//!
//! A handler has a [`VaultAccess`], so its action is allowed already; what is left is to read parameters and body, ask
//! the use case, and write the answer. Ids are made when they are answered, of the address the request came to: nothing
//! of them is stored.
//!
//! Tests: `tests/`.

use denizen_keys::b64;
use denizen_wire::vault::{
    Attributes, DeletedSecret as DeletedBundle, MAX_BODY, MAX_PAGE, Page, SecretBundle, SecretItem, SetSecret, Tags,
    UpdateSecret,
};
use http::{Method, StatusCode};
use hyper::body::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{Vault as VaultApi, VaultAccess, fault::Fault};
use crate::{
    app::secrets::{Listed, NewSecret, SecretError, actions},
    domain::{
        authorize::Action,
        secrets::{BadSecret, DeletedSecret, SecretName, SecretVersion, is_version, recovery_level},
    },
    http::{
        Call, Reply,
        body::depth,
        reply,
        route::{Handler, Params, Request, Route},
    },
};

/// How deep a body's JSON may be nested. A secret needs two.
const MAX_DEPTH: usize = 32;

/// Writes one row. The handler is an async function of API, access, parameters and call.
macro_rules! row {
    ($method:ident, $pattern:literal, $action:expr, $handler:ident) => {
        Route {
            method: Method::$method,
            pattern: $pattern,
            handler: Handler::Authorized {
                action: Action::data($action),
                run: |api, access, Request { params, call }| {
                    Box::pin(async move { $handler(api, access, &params, call).await })
                },
            },
        }
    };
}

/// Every operation on secrets, with the data action it requires.
pub(super) const ROUTES: &[Route<VaultApi>] = &[
    row!(GET, "/secrets", actions::READ_METADATA, list),
    row!(GET, "/secrets/{name}", actions::GET, get),
    row!(PUT, "/secrets/{name}", actions::SET, set),
    row!(PATCH, "/secrets/{name}", actions::UPDATE, update),
    row!(DELETE, "/secrets/{name}", actions::DELETE, delete),
    row!(GET, "/secrets/{name}/versions", actions::READ_METADATA, versions),
    row!(GET, "/secrets/{name}/{version}", actions::GET, get),
    row!(PATCH, "/secrets/{name}/{version}", actions::UPDATE, update),
    row!(GET, "/deletedsecrets", actions::READ_METADATA, list_deleted),
    row!(GET, "/deletedsecrets/{name}", actions::READ_METADATA, deleted),
    row!(DELETE, "/deletedsecrets/{name}", actions::PURGE, purge),
    row!(POST, "/deletedsecrets/{name}/recover", actions::RECOVER, recover),
];

async fn set(api: &VaultApi, access: &VaultAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let name = name(params)?;
    let new = NewSecret::parse(body::<SetSecret>(call).await?).map_err(bad)?;
    // Kept for the answer, which gives the value back.
    let value = new.value.clone();
    let made = api.secrets.set(&access.authorization, &access.vault, &name, new).await;
    let made = made.map_err(|error| Fault::of(&error, Some(&name), None))?;
    with_value(access, &made, value.expose())
}

async fn get(api: &VaultApi, access: &VaultAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    let (name, version) = (name(params)?, version(params)?);
    let read = api.secrets.get(&access.authorization, &access.vault, &name, version).await;
    let (secret, value) = read.map_err(|error| Fault::of(&error, Some(&name), version))?;
    with_value(access, &secret, value.expose())
}

async fn update(api: &VaultApi, access: &VaultAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let (name, version) = (name(params)?, version(params)?);
    let change = body::<UpdateSecret>(call).await?;
    let after = api.secrets.update(&access.authorization, &access.vault, &name, version, &change).await;
    let after = after.map_err(|error| Fault::of(&error, Some(&name), version))?;
    Ok(reply::json(StatusCode::OK, &bundle(access, &after)))
}

async fn list(api: &VaultApi, access: &VaultAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let paging = Paging::of(call)?;
    let listed = api.secrets.list(&access.authorization, &access.vault, paging.after.as_deref(), paging.limit).await;
    let listed = listed.map_err(|error| Fault::of(&error, None, None))?;
    Ok(paging.answer(access, "/secrets", listed, |secret| item(access, &secret, Versioned::No)))
}

async fn versions(api: &VaultApi, access: &VaultAccess, params: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let (name, paging) = (name(params)?, Paging::of(call)?);
    let VaultAccess { authorization, vault, .. } = access;
    let listed = api.secrets.versions(authorization, vault, &name, paging.after.as_deref(), paging.limit).await;
    let listed = listed.map_err(|error| Fault::of(&error, Some(&name), None))?;
    let path = format!("/secrets/{}/versions", name.as_str());
    Ok(paging.answer(access, &path, listed, |secret| item(access, &secret, Versioned::Yes)))
}

async fn delete(api: &VaultApi, access: &VaultAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    let name = name(params)?;
    let gone = api.secrets.delete(&access.authorization, &access.vault, &name).await;
    let gone = gone.map_err(|error| Fault::of(&error, Some(&name), None))?;
    Ok(reply::json(StatusCode::OK, &deleted_bundle(access, gone, Versioned::Yes)))
}

async fn list_deleted(api: &VaultApi, access: &VaultAccess, _: &Params, call: &mut Call) -> Result<Reply, Fault> {
    let paging = Paging::of(call)?;
    let VaultAccess { authorization, vault, .. } = access;
    let listed = api.secrets.list_deleted(authorization, vault, paging.after.as_deref(), paging.limit).await;
    let listed = listed.map_err(|error| Fault::of(&error, None, None))?;
    Ok(paging.answer(access, "/deletedsecrets", listed, |gone| deleted_bundle(access, gone, Versioned::No)))
}

async fn deleted(api: &VaultApi, access: &VaultAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    let name = name(params)?;
    let gone = api.secrets.deleted(&access.authorization, &access.vault, &name).await;
    let gone = gone.map_err(|error| Fault::of_deleted(&error, &name))?;
    Ok(reply::json(StatusCode::OK, &deleted_bundle(access, gone, Versioned::Yes)))
}

async fn recover(api: &VaultApi, access: &VaultAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    let name = name(params)?;
    let back = api.secrets.recover(&access.authorization, &access.vault, &name).await;
    let back = back.map_err(|error| Fault::of_deleted(&error, &name))?;
    Ok(reply::json(StatusCode::OK, &bundle(access, &back)))
}

async fn purge(api: &VaultApi, access: &VaultAccess, params: &Params, _: &mut Call) -> Result<Reply, Fault> {
    let name = name(params)?;
    let gone = api.secrets.purge(&access.authorization, &access.vault, &name).await;
    gone.map_err(|error| Fault::of_deleted(&error, &name))?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

fn bad(rule: BadSecret) -> Fault {
    Fault::of(&SecretError::Bad(rule), None, None)
}

fn name(params: &Params) -> Result<SecretName, Fault> {
    params.text("name").parse().map_err(bad)
}

/// The version a path names; none for the latest.
fn version(params: &Params) -> Result<Option<&str>, Fault> {
    match params.text("version") {
        "" => Ok(None),
        text if is_version(text) => Ok(Some(text)),
        _ => Err(bad(BadSecret::Version)),
    }
}

/// The body, as what the operation takes.
async fn body<T: DeserializeOwned>(call: &mut Call) -> Result<T, Fault> {
    let bytes = call.body(MAX_BODY).await.map_err(Fault::body)?;
    if depth(&bytes) > MAX_DEPTH {
        return Err(Fault::bad("The request body is nested more than 32 levels deep: flatten it."));
    }
    // A list would be taken for a struct's members in their order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Fault::bad(
            "The request body must be a JSON object, as {\"value\": …} to set a secret or {\"attributes\": …} to change one.",
        ));
    }
    // The position only: serde's own text may quote what stands there, and a value may stand there.
    serde_json::from_slice(&bytes).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "is not of the form this operation takes",
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => "is not valid JSON",
        };
        let (line, column) = (error.line(), error.column());
        Fault::bad(&format!("The request body {what} (line {line}, column {column}): correct it there."))
    })
}

/// Whether an id says which version it is.
#[derive(Clone, Copy)]
enum Versioned {
    Yes,
    No,
}

fn id(access: &VaultAccess, secret: &SecretVersion, versioned: Versioned) -> String {
    let base = &access.address.base;
    match versioned {
        Versioned::Yes => [base, "/secrets/", &secret.name, "/", &secret.version].concat(),
        Versioned::No => [base, "/secrets/", &secret.name].concat(),
    }
}

fn attributes(access: &VaultAccess, secret: &SecretVersion) -> Attributes {
    let days = access.vault.retention_days;
    Attributes {
        enabled: secret.enabled,
        nbf: secret.nbf,
        exp: secret.exp,
        created: secret.created,
        updated: secret.updated,
        recovery_level: recovery_level(days).into(),
        recoverable_days: Some(days),
    }
}

fn bundle(access: &VaultAccess, secret: &SecretVersion) -> SecretBundle {
    SecretBundle {
        value: None,
        id: id(access, secret, Versioned::Yes),
        content_type: secret.content_type.clone(),
        attributes: attributes(access, secret),
        tags: secret.tags.clone(),
    }
}

fn item(access: &VaultAccess, secret: &SecretVersion, versioned: Versioned) -> SecretItem {
    SecretItem {
        id: id(access, secret, versioned),
        content_type: secret.content_type.clone(),
        attributes: attributes(access, secret),
        tags: secret.tags.clone(),
    }
}

fn deleted_bundle(access: &VaultAccess, gone: DeletedSecret, versioned: Versioned) -> DeletedBundle {
    let DeletedSecret { latest, deleted, purge_at } = gone;
    let mut secret = bundle(access, &latest);
    secret.id = id(access, &latest, versioned);
    DeletedBundle {
        secret,
        recovery_id: [&access.address.base, "/deletedsecrets/", &latest.name].concat(),
        deleted_date: deleted,
        scheduled_purge_date: purge_at,
    }
}

/// The answer with the value. What holds the value on the way is wiped, the answer's own bytes included.
fn with_value(access: &VaultAccess, secret: &SecretVersion, value: &str) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct WithValue<'a> {
        value: &'a str,
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        content_type: Option<&'a str>,
        attributes: Attributes,
        #[serde(skip_serializing_if = "Tags::is_empty")]
        tags: &'a Tags,
    }
    let body = WithValue {
        value,
        id: &id(access, secret, Versioned::Yes),
        content_type: secret.content_type.as_deref(),
        attributes: attributes(access, secret),
        tags: &secret.tags,
    };
    // Room for all of it, so that growing leaves no copy behind: a character takes at most six bytes.
    let of_tags: usize = secret.tags.iter().map(|(name, value)| name.len() + value.len() + 1).sum();
    let texts = value.len() + body.content_type.map_or(0, str::len) + of_tags;
    let mut bytes = Zeroizing::new(Vec::with_capacity(texts * 6 + body.id.len() + 512));
    // Our own types always serialize; if one day one does not, the caller learns that it was us.
    serde_json::to_writer(&mut *bytes, &body).map_err(|error| Fault::unwritten(&error))?;
    Ok(reply::json_bytes(StatusCode::OK, Bytes::from_owner(bytes)))
}

/// Which page of a list is asked for.
struct Paging {
    limit: u32,
    /// As it was asked for, to be repeated in the link.
    asked: Option<u32>,
    after: Option<String>,
}

impl Paging {
    fn of(call: &Call) -> Result<Self, Fault> {
        let one =
            |name| call.query.one(name).map_err(|error| Fault::bad(&format!("The request is ambiguous: {error}.")));
        let asked = match one("maxresults")? {
            None => None,
            Some(text) => Some(text.parse().ok().filter(|n| (1..=MAX_PAGE).contains(n)).ok_or_else(|| {
                Fault::bad(&format!("The query parameter maxresults must be a number from 1 to {MAX_PAGE}."))
            })?),
        };
        // Opaque to clients, and not trusted when it comes back: it only says after which name to go on.
        let after = match one("$skiptoken")? {
            None => None,
            Some(token) => Some(
                b64::decode_url(token)
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .filter(|after| after.parse::<SecretName>().is_ok())
                    .ok_or_else(|| Fault::bad("The $skiptoken is not one of ours: follow nextLink as it was given."))?,
            ),
        };
        Ok(Self { limit: asked.unwrap_or(MAX_PAGE), asked, after })
    }

    fn answer<T, W: Serialize>(
        &self,
        access: &VaultAccess,
        path: &str,
        listed: Listed<T>,
        write: impl Fn(T) -> W,
    ) -> Reply {
        let next_link = listed.next.map(|cursor| {
            // Only letters, digits, '.' and '-' make a known version: nothing to escape.
            let version = &access.api_version;
            let token = b64::url(cursor.as_bytes());
            let asked = self.asked.map(|n| format!("&maxresults={n}")).unwrap_or_default();
            format!("{}{path}?api-version={version}&$skiptoken={token}{asked}", access.address.base)
        });
        let value = listed.items.into_iter().map(write).collect();
        reply::json(StatusCode::OK, &Page { value, next_link })
    }
}
