//! The vault: Key Vault's data plane for secrets.
//!
//! The checks before a handler, in this order:
//!
//! ```text
//! path, host have one reading  Vault::ambiguous       400, without a challenge
//! host -> vault                Hosts::resolve         unknown: 400 or 404, without a challenge
//! token -> caller              Access::authenticate   401 with the challenge; the body is read and thrown away
//! api-version                  api_version::of        400
//! path -> route                Router::find           404, 405
//! action, scope                Vault::authorize       403, saying what would grant it
//! handler                      secrets::ROUTES        gets a VaultAccess, then looks at parameters and body
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
//!
//! Tests: `vault/tests/`.

mod api_version;
mod fault;
mod host;
mod secrets;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use denizen_wire::ResourceId;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use uuid::Uuid;

use self::{
    fault::Fault,
    host::{Address, Hosts},
};
use super::{
    Api, Call, PublicNames, Reply,
    call::Ambiguous,
    route::{Case, Params, Route},
};
use crate::{
    app::{
        access::{Access, AuthError, Authorization, Caller, Refusal},
        replica::Behind,
        secrets::Secrets,
        strangers::{Reason, Stranger},
    },
    domain::{Actor, authorize::Action, resources, secrets::SecretName},
    store::Snapshot,
};

/// What a refusal is recorded as whose token came before any operation was looked at.
const AUTHENTICATE: &str = "Denizen.Vault/vaults/authenticate";

/// The vault's API.
pub struct Vault {
    secrets: Secrets,
    access: Access,
    authority: String,
    hosts: Hosts,
    /// The headers that all answers have alike.
    headers: HeaderMap,
}

/// A caller that proved itself to a vault.
pub struct Session {
    /// The state of the directory that all of this request is decided on.
    snapshot: Arc<Snapshot>,
    vault: Arc<resources::Vault>,
    address: Address,
    caller: Arc<Caller>,
    /// The version asked for, as it was written.
    api_version: String,
}

/// What a handler gets: the authorization of its action, and where it was asked for.
pub struct VaultAccess {
    authorization: Authorization,
    vault: Arc<resources::Vault>,
    /// What ids are made of.
    address: Address,
    /// The version asked for, as it was written.
    api_version: String,
}

impl Vault {
    /// Creates the API of the use cases.
    pub fn new(secrets: Secrets, access: Access, names: PublicNames) -> Self {
        let authority = names.authority.clone();
        Self { secrets, access, authority, hosts: Hosts::new(names), headers: common_headers() }
    }

    /// Records whose token was refused; a token that proves nothing is counted.
    fn not_believed(&self, call: &Call, vault: &resources::Vault, refusal: &Refusal) {
        let error = &refusal.error;
        match refusal.known(&call.ctx(vault.tenant, Actor::Anonymous)) {
            Some(known) => self.secrets.refused(&known, AUTHENTICATE, &vault.id, &error.to_string()),
            None => {
                let reason = match error {
                    AuthError::Missing => Reason::NoToken,
                    AuthError::Expired(_) | AuthError::NotYet(_) => Reason::TokenTime,
                    AuthError::Form(_)
                    | AuthError::Kind(_)
                    | AuthError::Key
                    | AuthError::Signature
                    | AuthError::Issuer { .. }
                    | AuthError::Audience { .. }
                    | AuthError::Principal(_)
                    | AuthError::Newer(_) => Reason::Token,
                };
                let stranger = Stranger { tenant: Some(vault.tenant), ..call.stranger() };
                self.access.strangers().refused(reason, stranger, error);
            }
        }
    }
}

impl Api for Vault {
    const NAME: &'static str = "vault";
    const CASE: Case = Case::Exact;
    type Session = Session;
    type Authorized = VaultAccess;
    type Fault = Fault;

    fn routes() -> &'static [Route<Self>] {
        secrets::ROUTES
    }

    fn ambiguous(&self, _: &mut Call, why: Ambiguous) -> Fault {
        Fault::bad(&format!("{why}."))
    }

    fn enter(&self, call: &mut Call) -> Result<Session, Fault> {
        call.correlation_id = call.header(CLIENT_REQUEST_ID.as_str()).and_then(|id| Uuid::try_parse(id).ok());
        let snapshot = self.access.snapshot();
        let (vault, address) = self.hosts.resolve(call, &snapshot)?;
        call.response_headers = response_headers(self.headers.clone(), call, &vault, &address);
        let authenticated = call
            .bearer()
            .ok_or_else(|| Refusal::from(AuthError::Missing))
            .and_then(|token| self.access.authenticate(&snapshot, token, &address.audiences, vault.tenant, call.now));
        let caller = authenticated.map_err(|refusal| {
            self.not_believed(call, &vault, &refusal);
            Fault::unauthenticated(&refusal.error, &self.authority, &vault, &address, call.now)
        })?;
        let api_version = api_version::of(&call.query)?;
        // "The latest version" is written with a trailing slash, and lists are asked for with one too.
        if call.segments.len() > 1 && call.segments.last().is_some_and(String::is_empty) {
            call.segments.pop();
        }
        Ok(Session { snapshot, vault, address, caller, api_version })
    }

    fn authorize(&self, session: Session, call: &Call, action: &Action, params: &Params) -> Result<VaultAccess, Fault> {
        let Session { snapshot, vault, address, caller, api_version } = session;
        let scope = scope_of(&vault, params);
        let ctx = call.ctx(vault.tenant, caller.actor());
        let authorized = self.access.authorize(&snapshot, &caller, ctx, action, &scope);
        let authorization = authorized.map_err(|denied| {
            let known = caller.known(&call.ctx(vault.tenant, Actor::Anonymous));
            self.secrets.refused(&known, action.name(), &scope, &denied.because.to_string());
            Fault::by_rbac(&caller, action.name(), &scope, &vault, &denied.because)
        })?;
        Ok(VaultAccess { authorization, vault, address, api_version })
    }

    fn behind(&self, _: &Call, why: Behind) -> Fault {
        Fault::behind(why)
    }

    fn not_found(&self, _: &Call) -> Fault {
        Fault::no_route()
    }

    fn method_not_allowed(&self, _: &Call, allow: &str) -> Fault {
        Fault::method(allow)
    }

    fn write_fault(&self, call: &Call, fault: Fault) -> Reply {
        fault.write(call)
    }
}

/// The scope an operation is decided at: the secret, or the vault when the path names none. A name that cannot be one
/// is decided at the vault: an unauthorized caller gets 403 whether or not the name is valid.
fn scope_of(vault: &resources::Vault, params: &Params) -> ResourceId {
    match params.text("name").parse::<SecretName>() {
        Ok(name) => vault.id.child("secrets", name.as_str()).unwrap_or_else(|_| vault.id.clone()),
        Err(_) => vault.id.clone(),
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const REGION: HeaderName = HeaderName::from_static("x-ms-keyvault-region");
const NETWORK: HeaderName = HeaderName::from_static("x-ms-keyvault-network-info");
const VERSION: HeaderName = HeaderName::from_static("x-ms-keyvault-service-version");

/// The headers that all answers of all vaults have alike.
fn common_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::EXPIRES, HeaderValue::from_static("-1"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
}

/// Adds the headers that depend on the request to those that all answers have.
fn response_headers(mut headers: HeaderMap, call: &Call, vault: &resources::Vault, address: &Address) -> HeaderMap {
    let mut id = Uuid::encode_buffer();
    if let Ok(id) = HeaderValue::from_str(call.request_id.hyphenated().encode_lower(&mut id)) {
        headers.insert(REQUEST_ID, id);
    }
    // The client's own id, when it is one that can be repeated.
    let client_id = call.headers.get(CLIENT_REQUEST_ID).filter(|id| id.len() <= 128 && id.to_str().is_ok());
    if let Some(client_id) = client_id {
        headers.insert(CLIENT_REQUEST_ID, client_id.clone());
    }
    if let Ok(region) = HeaderValue::from_str(&vault.location) {
        headers.insert(REGION, region);
    }
    let family = if call.peer.is_ipv6() { ("Ipv6", "InterNetworkV6") } else { ("Ipv4", "InterNetwork") };
    let network = format!("conn_type={};addr={};act_addr_fam={};", family.0, call.peer.ip(), family.1);
    if let Ok(network) = HeaderValue::from_maybe_shared(hyper::body::Bytes::from(network)) {
        headers.insert(NETWORK, network);
    }
    if address.strict_transport {
        let year = HeaderValue::from_static("max-age=31536000;includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    headers
}
