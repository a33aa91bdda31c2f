//! The vault's face: Key Vault's data plane for secrets.
//!
//! Every call goes through one gate before a handler sees it, in this order:
//!
//! ```text
//! host -> vault          unknown: 400 or 404, without a challenge
//! token -> caller        401 with the challenge; the body is read and thrown away
//! api-version            400
//! path -> route          404, 405
//! action, scope          403, saying what would grant it
//! handler                gets a Permit, and only then looks at parameters and body
//! ```
//!
//! Authentication comes before everything else because clients send their first request bare, to be challenged, and
//! some send a secret's value in it.
//!
//! | file | holds |
//! |---|---|
//! | [`host`] | which vault a host name means, and what its ids and challenge are made of |
//! | [`fault`] | error bodies |
//! | [`api_version`] | which versions are answered |
//! | [`secrets`] | the route table and its handlers |
//! | [`recall`] | what a connection remembers, so that a read that is asked again is answered at once |
//!
//! Tests: `vault/tests/`.

mod api_version;
mod fault;
mod host;
mod recall;
mod secrets;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use denizen_wire::ResourceId;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use uuid::Uuid;

pub use self::secrets::ROUTES;
use self::{
    fault::Fault,
    host::{Address, Hosts},
    recall::{Question, Recall, Warm},
};
use super::{
    Call, PublicNames, Reply, Requires,
    listen::{Asked, Face},
    route::{Case, Found, Params, find},
};
use crate::{
    app::{
        access::{Access, AuthError, Caller},
        secrets::Secrets,
    },
    domain::{
        Ctx,
        authorize::{Action, Attributes},
        resources::Vault,
        secrets::SecretName,
    },
    store::Snapshot,
};

/// A refused request's body may take this long to arrive before its connection is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The vault's face.
pub struct VaultFace {
    secrets: Secrets,
    access: Access,
    authority: String,
    hosts: Hosts,
}

/// Proof that the gate was passed, with what it found out. Handlers cannot be called without one.
pub struct Permit {
    /// Who, where, when.
    ctx: Ctx,
    /// The state all of this was decided on.
    snapshot: Arc<Snapshot>,
    /// The vault.
    vault: Arc<Vault>,
    /// Why it is allowed: for the audit.
    because: String,
    /// What ids are made of.
    address: Address,
    /// The version asked for, as it was written.
    api_version: String,
}

impl VaultFace {
    /// Over its use cases.
    pub fn new(secrets: Secrets, access: Access, names: PublicNames) -> Self {
        let authority = names.authority.clone();
        Self { secrets, access, authority, hosts: Hosts::new(names) }
    }

    /// Answers one call.
    pub async fn handle(&self, recall: &Recall, mut call: Call) -> Reply {
        let snapshot = self.access.snapshot();
        let question = Question::of(&call, snapshot.revision());
        let (vault, address) = match self.hosts.resolve(&call, &snapshot) {
            Ok(found) => found,
            Err(fault) => return refuse(fault, &mut call).await,
        };
        let echo = Echo::of(&call, &vault, &address);
        let mut reply = match self.gate(&mut call, snapshot, Arc::clone(&vault), address) {
            Ok((row, params, permit)) => (row.run)(self, params, permit, call).await,
            Err(fault) => refuse(fault, &mut call).await,
        };
        let warm = reply.extensions_mut().remove::<Warm>();
        echo.add_to(reply.headers_mut());
        if let (Some(question), Some(warm)) = (question, warm) {
            recall.keep(question, Warm { headers: Echo::without_ids(reply.headers()), ..warm });
        }
        reply
    }

    /// Answers a read that this connection has asked before, if the gate would say what it said then.
    fn again(&self, recall: &Recall, asked: &Asked<'_>) -> Option<Reply> {
        let warm = recall.of(asked, self.access.revision())?;
        // Whatever is wrong is found again, and answered, the long way.
        let value = self.secrets.open_again(&warm.readable, &warm.read, asked.request_id).ok()?;
        let mut reply = warm.shell.with(value.expose());
        *reply.headers_mut() = warm.headers.clone();
        Echo::add_ids(reply.headers_mut(), asked.request_id, asked.headers.get(CLIENT_REQUEST_ID));
        Some(reply)
    }

    fn gate(
        &self,
        call: &mut Call,
        snapshot: Arc<Snapshot>,
        vault: Arc<Vault>,
        address: Address,
    ) -> Result<(&'static super::Route<Self, Permit>, Params, Permit), Fault> {
        let caller = bearer(call)
            .and_then(|token| {
                self.access.authenticate(&snapshot, token, &address.audiences, vault.tenant, call.now)
            })
            .map_err(|error| {
                tracing::debug!(request_id = %call.request_id, peer = %call.peer, vault = %vault.name, %error, "challenged");
                Fault::unauthenticated(&error, &self.authority, &vault, &address)
            })?;
        let ctx = Ctx { tenant: vault.tenant, actor: caller.actor(), now: call.now, request_id: call.request_id };

        let api_version = api_version::of(&call.query)?;

        // "The latest version" is written with a trailing slash, and lists are asked for with one too.
        if call.segments.len() > 1 && call.segments.last().is_some_and(String::is_empty) {
            call.segments.pop();
        }
        let (row, params) = match find(ROUTES, &call.method, &call.segments, Case::Exact) {
            Found::Row(row, params) => (row, params),
            Found::OtherMethod => return Err(Fault::method(&allowed(&call.segments))),
            Found::Nothing => return Err(Fault::no_route()),
        };

        let Requires::DataAction(action) = row.requires else {
            // No other kind of requirement can be met here, so a row that states one is closed.
            return Err(Fault::no_route());
        };
        let scope = scope_of(&vault, &params);
        let because = self.authorize(&ctx, &snapshot, &vault, &caller, action, &scope)?;
        Ok((row, params, Permit { ctx, snapshot, vault, because, address, api_version }))
    }

    fn authorize(
        &self,
        ctx: &Ctx,
        snapshot: &Snapshot,
        vault: &Vault,
        caller: &Caller,
        action: &'static str,
        scope: &ResourceId,
    ) -> Result<String, Fault> {
        let decision = self.access.decide(snapshot, caller, &Action::data(action), scope, &Attributes::default());
        let because = decision.because.to_string();
        if decision.allowed {
            return Ok(because);
        }
        self.secrets.refused(ctx, action, scope, &because);
        Err(Fault::by_rbac(caller, action, scope, vault, &decision.because))
    }
}

impl Face for VaultFace {
    type Recall = Recall;

    fn again(&self, recall: &Recall, asked: &Asked<'_>) -> Option<Reply> {
        Self::again(self, recall, asked)
    }

    async fn handle(&self, recall: &Recall, call: Call) -> Reply {
        Self::handle(self, recall, call).await
    }
}

/// The scope an operation is decided at: the secret, or the vault when the path names none. A name that cannot be
/// one is decided at the vault, so that who may do nothing learns nothing, not even that the name is bad.
fn scope_of(vault: &Vault, params: &Params) -> ResourceId {
    match params.text("name").parse::<SecretName>() {
        Ok(name) => vault.id.child("secrets", name.as_str()).unwrap_or_else(|_| vault.id.clone()),
        Err(_) => vault.id.clone(),
    }
}

/// The token of an `Authorization: Bearer` header.
fn bearer(call: &Call) -> Result<&str, AuthError> {
    let mut given = call.headers.get_all(header::AUTHORIZATION).iter();
    // Two tokens are one too many: which one counts would be anybody's guess.
    let (Some(one), None) = (given.next(), given.next()) else { return Err(AuthError::Missing) };
    let (scheme, token) = one.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(AuthError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AuthError::Missing);
    }
    Ok(token.trim())
}

/// The methods that a path takes, for `Allow`.
fn allowed(segments: &[String]) -> Vec<&'static str> {
    let takes = |method: &Method| matches!(find(ROUTES, method, segments, Case::Exact), Found::Row(..));
    [
        (Method::GET, "GET"),
        (Method::PUT, "PUT"),
        (Method::POST, "POST"),
        (Method::PATCH, "PATCH"),
        (Method::DELETE, "DELETE"),
    ]
    .into_iter()
    .filter_map(|(method, name)| takes(&method).then_some(name))
    .collect()
}

/// Answers with a fault, after whatever came with the request was read and thrown away: the connection stays good,
/// and nothing of a body that nobody may read is kept.
async fn refuse(fault: Fault, call: &mut Call) -> Reply {
    let _ = tokio::time::timeout(PATIENCE, call.discard_body()).await;
    fault.reply()
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// What every answer of a vault carries beside its body.
struct Echo {
    request_id: Uuid,
    client_request_id: Option<HeaderValue>,
    region: Option<HeaderValue>,
    network: Option<HeaderValue>,
    strict: bool,
}

impl Echo {
    fn of(call: &Call, vault: &Vault, address: &Address) -> Self {
        let family = if call.peer.is_ipv6() { ("Ipv6", "InterNetworkV6") } else { ("Ipv4", "InterNetwork") };
        let network = format!("conn_type={};addr={};act_addr_fam={};", family.0, call.peer.ip(), family.1);
        Self {
            request_id: call.request_id,
            client_request_id: call.headers.get(CLIENT_REQUEST_ID).cloned(),
            region: HeaderValue::from_str(&vault.location).ok(),
            network: HeaderValue::from_maybe_shared(hyper::body::Bytes::from(network)).ok(),
            strict: address.strict_transport,
        }
    }

    fn add_to(self, headers: &mut HeaderMap) {
        const REGION: HeaderName = HeaderName::from_static("x-ms-keyvault-region");
        const NETWORK: HeaderName = HeaderName::from_static("x-ms-keyvault-network-info");
        const VERSION: HeaderName = HeaderName::from_static("x-ms-keyvault-service-version");
        headers.reserve(12);
        Self::add_ids(headers, self.request_id, self.client_request_id.as_ref());
        for (name, value) in [(REGION, self.region), (NETWORK, self.network)] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        headers.insert(VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        headers.insert(header::EXPIRES, HeaderValue::from_static("-1"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.strict {
            let year = HeaderValue::from_static("max-age=31536000;includeSubDomains");
            headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
        }
    }

    /// What tells one answer from another: our id, and the client's when it gave one that can be repeated.
    fn add_ids(headers: &mut HeaderMap, request_id: Uuid, client: Option<&HeaderValue>) {
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        let id: &str = request_id.hyphenated().encode_lower(&mut id);
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(client) = client.filter(|id| id.len() <= 128 && id.to_str().is_ok()) {
            headers.insert(CLIENT_REQUEST_ID, client.clone());
        }
    }

    /// Everything else of an answer's headers.
    fn without_ids(headers: &HeaderMap) -> HeaderMap {
        let mut headers = headers.clone();
        headers.remove(REQUEST_ID);
        headers.remove(CLIENT_REQUEST_ID);
        headers
    }
}
