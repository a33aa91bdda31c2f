//! The token service: OAuth 2.0 and OpenID Connect as Microsoft Entra ID's clients speak them.
//!
//! | file | holds |
//! |---|---|
//! | here | the routes, tenants by GUID, name or `common`, and the headers of every answer |
//! | [`discovery`] | OpenID configuration, keys, instance discovery |
//! | [`form`] | the form that is posted to the token endpoint, and what can be wrong with it |
//! | [`token`] | the token endpoint, and the two forms of its answer |
//! | [`device`] | where a device without a browser begins |
//! | [`fault`] | every refusal as status, OAuth error and AADSTS number |
//!
//! Everything here is open to whoever can connect: discovery is public by nature, and a token request carries its
//! own credential. What clients send beyond that (telemetry) is let pass unread.
//!
//! Tests: `tests.rs` beside this file.

mod device;
mod discovery;
mod fault;
mod form;
#[cfg(test)]
mod tests;
mod token;

use std::{convert::Infallible, time::Duration};

use denizen_serve::Sampler;
use denizen_wire::TenantId;
use http::{HeaderName, HeaderValue, Method, header};
use uuid::Uuid;

use self::fault::Fault;
use super::{
    Api, Call, PublicNames, Reply,
    call::Ambiguous,
    route::{Answer, Case, Handler, Params, Request, Route, Run},
    sign_in::{self, Pages},
};
use crate::{
    app::{replica::Behind, sign_in::SignInService, tokens::TokenService},
    domain::authorize::Action,
};

/// Keys that cannot be published are logged once in this time.
const KEY_FAULT_PERIOD: Duration = Duration::from_secs(60);
const CLIENT_REQUEST_ID: &str = "client-request-id";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// A document that clients and resources read before they have anything to show.
const fn discovery(pattern: &'static str, run: Run<Sts>) -> Route<Sts> {
    let because = "discovery: clients and resources read it before they have anything to show";
    Route { method: Method::GET, pattern, handler: Handler::Public { because, run } }
}

/// A token endpoint.
const fn token_endpoint(pattern: &'static str, run: Run<Sts>) -> Route<Sts> {
    let credential = "client_secret or client_assertion";
    Route { method: Method::POST, pattern, handler: Handler::OwnCredential { credential, run } }
}

/// Where a device begins.
const fn device_endpoint(pattern: &'static str, run: Run<Sts>) -> Route<Sts> {
    let credential = "none: a public client asks, and a person decides";
    Route { method: Method::POST, pattern, handler: Handler::OwnCredential { credential, run } }
}

/// A page for people: whoever comes signs in there.
const fn page(method: Method, pattern: &'static str, run: Run<Sts>) -> Route<Sts> {
    let handler = match method {
        Method::POST => {
            Handler::OwnCredential { credential: "a password, or a session's cookie with its form's token", run }
        }
        _ => Handler::Public { because: "page: people sign in there", run },
    };
    Route { method, pattern, handler }
}

/// The form of the token endpoint, read as at `v1`, `v2` or `adfs`, or what is said of what is wrong with it; none at any other.
/// For the fuzz target.
#[cfg(feature = "fuzzing")]
pub async fn read_form(call: &mut Call, endpoint: &str) -> Option<Result<crate::app::tokens::TokenRequest, String>> {
    let endpoint = match endpoint {
        "v1" => form::Endpoint::V1,
        "v2" => form::Endpoint::V2,
        "adfs" => form::Endpoint::Adfs,
        _ => return None,
    };
    Some(form::read(call, endpoint).await.map_err(|error| error.to_string()))
}

/// Answers with what is at hand.
fn at_once<'a>(answer: Result<Reply, Fault>) -> Answer<'a, Sts> {
    Box::pin(async move { answer })
}

/// The token service's API.
pub struct Sts {
    tokens: TokenService,
    pages: Pages,
    names: PublicNames,
    /// Keys that cannot be published: whoever asks for them causes a line.
    key_faults: Sampler,
}

impl Api for Sts {
    const NAME: &'static str = "token service";
    const CASE: Case = Case::Ignored;
    type Session = ();
    type Authorized = Infallible;
    type Fault = Fault;

    fn routes() -> &'static [Route<Self>] {
        const ROUTES: &[Route<Sts>] = &[
            token_endpoint("/{tenant}/oauth2/v2.0/token", |sts, request| Box::pin(token::v2(sts, request))),
            token_endpoint("/{tenant}/oauth2/token", |sts, request| Box::pin(token::v1(sts, request))),
            page(Method::GET, "/{tenant}/oauth2/v2.0/authorize", |sts, Request { params, call }| {
                Box::pin(
                    async move { Ok(sts.pages.authorize(params.text("tenant"), call, sign_in::Endpoint::V2).await) },
                )
            }),
            page(Method::POST, "/{tenant}/oauth2/v2.0/authorize", |sts, Request { params, call }| {
                Box::pin(
                    async move { Ok(sts.pages.authorize(params.text("tenant"), call, sign_in::Endpoint::V2).await) },
                )
            }),
            page(Method::GET, "/{tenant}/oauth2/authorize", |sts, Request { params, call }| {
                Box::pin(
                    async move { Ok(sts.pages.authorize(params.text("tenant"), call, sign_in::Endpoint::V1).await) },
                )
            }),
            page(Method::POST, "/{tenant}/oauth2/authorize", |sts, Request { params, call }| {
                Box::pin(
                    async move { Ok(sts.pages.authorize(params.text("tenant"), call, sign_in::Endpoint::V1).await) },
                )
            }),
            page(Method::GET, "/device", |sts, Request { call, .. }| {
                Box::pin(async move { Ok(sts.pages.device(call).await) })
            }),
            page(Method::POST, "/device", |sts, Request { call, .. }| {
                Box::pin(async move { Ok(sts.pages.device(call).await) })
            }),
            page(Method::GET, "/{tenant}/oauth2/v2.0/logout", |sts, Request { params, call }| {
                Box::pin(async move { Ok(sts.pages.logout(params.text("tenant"), call).await) })
            }),
            page(Method::POST, "/{tenant}/oauth2/v2.0/logout", |sts, Request { params, call }| {
                Box::pin(async move { Ok(sts.pages.logout(params.text("tenant"), call).await) })
            }),
            page(Method::GET, "/{tenant}/oauth2/logout", |sts, Request { params, call }| {
                Box::pin(async move { Ok(sts.pages.logout(params.text("tenant"), call).await) })
            }),
            page(Method::POST, "/{tenant}/oauth2/logout", |sts, Request { params, call }| {
                Box::pin(async move { Ok(sts.pages.logout(params.text("tenant"), call).await) })
            }),
            discovery("/{tenant}/v2.0/.well-known/openid-configuration", |sts, Request { params, .. }| {
                at_once(discovery::v2(sts, &params))
            }),
            discovery("/{tenant}/.well-known/openid-configuration", |sts, Request { params, .. }| {
                at_once(discovery::v1(sts, &params))
            }),
            discovery("/{tenant}/discovery/v2.0/keys", |sts, Request { params, call }| {
                at_once(discovery::keys_v2(sts, &params, call))
            }),
            discovery("/{tenant}/discovery/keys", |sts, Request { params, call }| {
                at_once(discovery::keys_v1(sts, &params, call))
            }),
            device_endpoint("/{tenant}/oauth2/v2.0/devicecode", |sts, request| Box::pin(device::v2(sts, request))),
            device_endpoint("/{tenant}/oauth2/devicecode", |sts, request| Box::pin(device::v1(sts, request))),
            discovery("/common/userrealm/{user}", |sts, Request { params, .. }| {
                at_once(discovery::user_realm(sts, &params))
            }),
            discovery("/common/discovery/instance", |sts, Request { call, .. }| {
                at_once(discovery::instance(sts, call))
            }),
        ];
        ROUTES
    }

    fn ambiguous(&self, call: &mut Call, why: Ambiguous) -> Fault {
        add_headers(call);
        Fault::ambiguous(why)
    }

    fn enter(&self, call: &mut Call) -> Result<(), Fault> {
        add_headers(call);
        Ok(())
    }

    fn behind(&self, call: &Call, why: Behind) -> Fault {
        tracing::debug!(request_id = %call.request_id, %why, "not answered");
        Fault::transient()
    }

    fn authorize(&self, (): (), _: &Call, _: &Action, _: &Params) -> Result<Infallible, Fault> {
        Err(Fault::no_route())
    }

    fn not_found(&self, _: &Call) -> Fault {
        Fault::no_route()
    }

    fn method_not_allowed(&self, call: &Call, allow: &str) -> Fault {
        Fault::method(allow, &call.method)
    }

    fn write_fault(&self, call: &Call, fault: Fault) -> Reply {
        fault.write(call)
    }
}

/// Finds the client's own id for the request, and sets the headers that every answer has.
fn add_headers(call: &mut Call) {
    call.correlation_id = client_request_id(call);
    let headers = &mut call.response_headers;
    let mut text = Uuid::encode_buffer();
    if let Ok(id) = HeaderValue::from_str(call.request_id.hyphenated().encode_lower(&mut text)) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let wanted = call.header("return-client-request-id").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    if let Some(id) = call.correlation_id.filter(|_| wanted)
        && let Ok(id) = HeaderValue::from_str(&id.to_string())
    {
        call.response_headers.insert(HeaderName::from_static(CLIENT_REQUEST_ID), id);
    }
}

/// The tenant that a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenancy {
    /// One.
    One(TenantId),
    /// The only one, by the name that clients give an authority of their own: they ask no other about it.
    Adfs(TenantId),
    /// Whichever the user belongs to: `common` or `organizations`.
    Shared(&'static str),
}

impl Tenancy {
    /// The tenant, or the name that leaves it open.
    fn tenant(self) -> Result<TenantId, &'static str> {
        match self {
            Self::One(tenant) | Self::Adfs(tenant) => Ok(tenant),
            Self::Shared(name) => Err(name),
        }
    }
}

impl Sts {
    /// Creates the API of the use cases. `names` are what issuers and endpoints are made of.
    pub fn new(tokens: TokenService, sign_in: SignInService, names: PublicNames) -> Self {
        let pages = Pages::new(sign_in, names.clone());
        Self { tokens, pages, names, key_faults: Sampler::new(1, KEY_FAULT_PERIOD) }
    }

    /// The tenant that the first segment names: by GUID, by domain name, or one of the shared names.
    fn tenancy(&self, text: &str) -> Result<Tenancy, Fault> {
        for shared in ["common", "organizations"] {
            if text.eq_ignore_ascii_case(shared) {
                return Ok(Tenancy::Shared(shared));
            }
        }
        if text.eq_ignore_ascii_case("adfs") {
            let snapshot = self.tokens.snapshot();
            let mut tenants = snapshot.tenants();
            return match (tenants.next(), tenants.next()) {
                (Some(only), None) => Ok(Tenancy::Adfs(only.id)),
                (None, _) => Err(Fault::tenant_not_found(text)),
                (Some(_), Some(_)) => Err(Fault::adfs_of_several()),
            };
        }
        if let Some(tenant) = self.tokens.snapshot().tenant_named(text) {
            return Ok(Tenancy::One(tenant.id));
        }
        let could_be = text.contains('.') && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
            || text.parse::<TenantId>().is_ok();
        Err(if could_be { Fault::tenant_not_found(text) } else { Fault::tenant_malformed(text) })
    }
}

/// The client's own id for the request: a header, or for MSAL in JavaScript a query parameter. Anything but a GUID
/// is dropped: it would be a stranger's text in our headers and logs.
fn client_request_id(call: &Call) -> Option<Uuid> {
    let text = match call.header(CLIENT_REQUEST_ID) {
        Some(text) => Some(text),
        None => call.query.one(CLIENT_REQUEST_ID).ok().flatten(),
    };
    Uuid::try_parse(text?).ok()
}
