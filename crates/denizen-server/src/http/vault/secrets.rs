//! Secrets: the route table and its handlers.
//!
//! A handler has a [`Permit`], so its action is allowed already; what is left is to read parameters and body, ask the
//! use case, and write the answer. Ids are made when they are answered, of the address the request came to: nothing
//! of them is stored.
//!
//! Tests: `tests/`.

use denizen_keys::b64;
use denizen_wire::vault::{
    Attributes, DeletedSecret as DeletedBundle, MAX_BODY, MAX_PAGE, Page, SecretBundle, SecretItem, SetSecret,
    UpdateSecret,
};
use http::{HeaderMap, Method, StatusCode};
use hyper::body::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{
    Permit, VaultFace,
    fault::Fault,
    recall::{Shell, Warm},
    refuse,
};
use crate::{
    app::secrets::{Listed, NewSecret, SecretError, actions},
    domain::secrets::{BadSecret, DeletedSecret, SecretName, SecretVersion, is_version, recovery_level},
    http::{
        Call, Reply, Requires, Route, reply,
        route::{Answer, Params},
    },
};

/// A body may take this long to arrive.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
/// How deep a body's JSON may be nested. A secret needs two.
const MAX_DEPTH: usize = 32;

/// Writes one row. The handler is an async function of face, parameters, permit and call.
macro_rules! row {
    ($method:ident, $pattern:literal, $action:expr, $handler:ident) => {
        Route {
            method: Method::$method,
            pattern: $pattern,
            requires: Requires::DataAction($action),
            run: |face: &VaultFace, params: Params, permit: Permit, mut call: Call| -> Answer<'_> {
                Box::pin(async move {
                    match $handler(face, &params, &permit, &mut call).await {
                        Ok(reply) => reply,
                        Err(fault) => refuse(fault, &mut call).await,
                    }
                })
            },
        }
    };
}

/// Every operation on secrets, with the data action it requires.
pub const ROUTES: &[Route<VaultFace, Permit>] = &[
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

async fn set(face: &VaultFace, params: &Params, permit: &Permit, call: &mut Call) -> Result<Reply, Fault> {
    let name = name(params)?;
    let new = NewSecret::parse(body::<SetSecret>(call).await?).map_err(bad)?;
    // Kept for the answer, which gives the value back.
    let value = new.value.clone();
    let made = face.secrets.set(&permit.ctx, &permit.vault, &name, new, &permit.because).await;
    let made = made.map_err(|error| Fault::of(&error, Some(&name), None))?;
    Ok(Shell::of(permit, &made).with(value.expose()))
}

async fn get(face: &VaultFace, params: &Params, permit: &Permit, _: &mut Call) -> Result<Reply, Fault> {
    let (name, version) = (name(params)?, version(params)?);
    let Permit { ctx, snapshot, vault, because, .. } = permit;
    let failed = |error| Fault::of(&error, Some(&name), version);
    let readable = face.secrets.find(ctx, snapshot, vault, &name, version).await.map_err(failed)?;
    let value = face.secrets.open(ctx, &readable, because).map_err(failed)?;
    let shell = Shell::of(permit, readable.version());
    let mut reply = shell.with(value.expose());
    if let Some(read) = readable.repeated(ctx, because) {
        reply.extensions_mut().insert(Warm { read, readable, shell, headers: HeaderMap::new() });
    }
    Ok(reply)
}

async fn update(face: &VaultFace, params: &Params, permit: &Permit, call: &mut Call) -> Result<Reply, Fault> {
    let (name, version) = (name(params)?, version(params)?);
    let change = body::<UpdateSecret>(call).await?;
    let after = face.secrets.update(&permit.ctx, &permit.vault, &name, version, change, &permit.because).await;
    let after = after.map_err(|error| Fault::of(&error, Some(&name), version))?;
    Ok(reply::json(StatusCode::OK, &bundle(permit, &after)))
}

async fn list(face: &VaultFace, _: &Params, permit: &Permit, call: &mut Call) -> Result<Reply, Fault> {
    let paging = Paging::of(call)?;
    let listed =
        face.secrets.list(&permit.ctx, &permit.vault, paging.after.as_deref(), paging.limit, &permit.because).await;
    let listed = listed.map_err(|error| Fault::of(&error, None, None))?;
    Ok(paging.answer(permit, "/secrets", listed, |secret| item(permit, &secret, Versioned::No)))
}

async fn versions(face: &VaultFace, params: &Params, permit: &Permit, call: &mut Call) -> Result<Reply, Fault> {
    let (name, paging) = (name(params)?, Paging::of(call)?);
    let Permit { ctx, vault, because, .. } = permit;
    let listed = face.secrets.versions(ctx, vault, &name, paging.after.as_deref(), paging.limit, because).await;
    let listed = listed.map_err(|error| Fault::of(&error, Some(&name), None))?;
    let path = format!("/secrets/{}/versions", name.as_str());
    Ok(paging.answer(permit, &path, listed, |secret| item(permit, &secret, Versioned::Yes)))
}

async fn delete(face: &VaultFace, params: &Params, permit: &Permit, _: &mut Call) -> Result<Reply, Fault> {
    let name = name(params)?;
    let gone = face.secrets.delete(&permit.ctx, &permit.vault, &name, &permit.because).await;
    let gone = gone.map_err(|error| Fault::of(&error, Some(&name), None))?;
    Ok(reply::json(StatusCode::OK, &deleted_bundle(permit, gone, Versioned::Yes)))
}

async fn list_deleted(face: &VaultFace, _: &Params, permit: &Permit, call: &mut Call) -> Result<Reply, Fault> {
    let paging = Paging::of(call)?;
    let Permit { ctx, vault, because, .. } = permit;
    let listed = face.secrets.list_deleted(ctx, vault, paging.after.as_deref(), paging.limit, because).await;
    let listed = listed.map_err(|error| Fault::of(&error, None, None))?;
    Ok(paging.answer(permit, "/deletedsecrets", listed, |gone| deleted_bundle(permit, gone, Versioned::No)))
}

async fn deleted(face: &VaultFace, params: &Params, permit: &Permit, _: &mut Call) -> Result<Reply, Fault> {
    let name = name(params)?;
    let gone = face.secrets.deleted(&permit.ctx, &permit.vault, &name, &permit.because).await;
    let gone = gone.map_err(|error| Fault::of(&error, Some(&name), None))?;
    Ok(reply::json(StatusCode::OK, &deleted_bundle(permit, gone, Versioned::Yes)))
}

async fn recover(face: &VaultFace, params: &Params, permit: &Permit, _: &mut Call) -> Result<Reply, Fault> {
    let name = name(params)?;
    let back = face.secrets.recover(&permit.ctx, &permit.vault, &name, &permit.because).await;
    let back = back.map_err(|error| Fault::of(&error, Some(&name), None))?;
    Ok(reply::json(StatusCode::OK, &bundle(permit, &back)))
}

async fn purge(face: &VaultFace, params: &Params, permit: &Permit, _: &mut Call) -> Result<Reply, Fault> {
    let name = name(params)?;
    let gone = face.secrets.purge(&permit.ctx, &permit.vault, &name, &permit.because).await;
    gone.map_err(|error| Fault::of(&error, Some(&name), None))?;
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
    let arrived = tokio::time::timeout(PATIENCE, call.body(MAX_BODY)).await;
    let bytes = arrived.map_err(|_| Fault::bad("The request body did not arrive in time: send it again."))?;
    let bytes = bytes.map_err(Fault::body)?;
    if depth(&bytes) > MAX_DEPTH {
        return Err(Fault::bad("The request body is nested more than 32 levels deep: flatten it."));
    }
    // A list would be taken for a struct's members in their order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Fault::bad("The request body must be a JSON object: send {\"value\": …} to set a secret."));
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

/// How deep brackets are nested outside of strings. Counted before parsing, so that nothing deep is ever parsed.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Whether an id says which version it is.
#[derive(Clone, Copy)]
enum Versioned {
    Yes,
    No,
}

fn id(permit: &Permit, secret: &SecretVersion, versioned: Versioned) -> String {
    let base = &permit.address.base;
    match versioned {
        Versioned::Yes => [base, "/secrets/", &secret.name, "/", &secret.version].concat(),
        Versioned::No => [base, "/secrets/", &secret.name].concat(),
    }
}

fn attributes(permit: &Permit, secret: &SecretVersion) -> Attributes {
    let days = permit.vault.retention_days;
    Attributes {
        enabled: secret.enabled,
        nbf: secret.nbf,
        exp: secret.exp,
        created: secret.created,
        updated: secret.updated,
        recovery_level: recovery_level(days).to_owned(),
        recoverable_days: Some(days),
    }
}

fn bundle(permit: &Permit, secret: &SecretVersion) -> SecretBundle {
    SecretBundle {
        value: None,
        id: id(permit, secret, Versioned::Yes),
        content_type: secret.content_type.clone(),
        attributes: attributes(permit, secret),
        tags: secret.tags.clone(),
    }
}

fn item(permit: &Permit, secret: &SecretVersion, versioned: Versioned) -> SecretItem {
    SecretItem {
        id: id(permit, secret, versioned),
        content_type: secret.content_type.clone(),
        attributes: attributes(permit, secret),
        tags: secret.tags.clone(),
    }
}

fn deleted_bundle(permit: &Permit, gone: DeletedSecret, versioned: Versioned) -> DeletedBundle {
    let DeletedSecret { latest, deleted, purge_at } = gone;
    let mut secret = bundle(permit, &latest);
    secret.id = id(permit, &latest, versioned);
    DeletedBundle {
        secret,
        recovery_id: [&permit.address.base, "/deletedsecrets/", &latest.name].concat(),
        deleted_date: deleted,
        scheduled_purge_date: purge_at,
    }
}

impl Shell {
    fn of(permit: &Permit, secret: &SecretVersion) -> Self {
        // Our own types always serialize; if one day one does not, what is answered is not JSON, and no value.
        Self(serde_json::to_string(&bundle(permit, secret)).unwrap_or_default())
    }

    /// The answer with this value. What holds the value on the way is wiped, the answer's own bytes included.
    pub(super) fn with(&self, value: &str) -> Reply {
        let Some(rest) = self.0.strip_prefix('{') else { return reply::empty(StatusCode::INTERNAL_SERVER_ERROR) };
        // Room for all of it, so that growing leaves no copy behind; a character takes at most six bytes.
        let mut bytes = Zeroizing::new(Vec::with_capacity(value.len() * 6 + rest.len() + 16));
        bytes.extend_from_slice(b"{\"value\":");
        // Text always serializes, and a vector takes it.
        if serde_json::to_writer(&mut *bytes, value).is_err() {
            return reply::empty(StatusCode::INTERNAL_SERVER_ERROR);
        }
        bytes.push(b',');
        bytes.extend_from_slice(rest.as_bytes());
        reply::json_bytes(StatusCode::OK, Bytes::from_owner(bytes))
    }
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

    fn answer<T, W: Serialize>(&self, permit: &Permit, path: &str, listed: Listed<T>, write: impl Fn(T) -> W) -> Reply {
        let next_link = listed.next.map(|cursor| {
            // Only letters, digits, '.' and '-' make a known version: nothing to escape.
            let version = &permit.api_version;
            let token = b64::url(cursor.as_bytes());
            let asked = self.asked.map(|n| format!("&maxresults={n}")).unwrap_or_default();
            format!("{}{path}?api-version={version}&$skiptoken={token}{asked}", permit.address.base)
        });
        let value = listed.items.into_iter().map(write).collect();
        reply::json(StatusCode::OK, &Page { value, next_link })
    }
}
