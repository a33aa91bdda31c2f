//! The token service's face: OAuth 2.0 and OpenID Connect as Microsoft Entra ID's clients speak them.
//!
//! | file | holds |
//! |---|---|
//! | here | the routes, tenants by GUID, name or `common`, and the headers of every answer |
//! | [`discovery`] | OpenID configuration, keys, instance discovery |
//! | [`token`] | the token endpoint: the form, and the two forms of the answer |
//! | [`fault`] | every refusal as status, OAuth error and AADSTS number |
//!
//! Everything here is open to whoever can connect: discovery is public by nature, and a token request carries its
//! own credential. What clients send beyond the protocol (telemetry, `claims`, `client_info`) is let pass unread.
//!
//! Tests: `tests.rs` beside this file.

mod discovery;
mod fault;
#[cfg(test)]
mod tests;
mod token;

use denizen_wire::TenantId;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use uuid::Uuid;

use self::fault::Fault;
use super::{
    Call, PublicNames, Reply, Requires, Route,
    listen::Face,
    reply,
    route::{self, Case, Found},
};
use crate::app::tokens::TokenService;

const CLIENT_REQUEST_ID: &str = "client-request-id";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// Why discovery needs no credential.
const PUBLIC: Requires =
    Requires::Nothing("discovery: clients and resources read it before they have anything to show");
/// What the token endpoint needs.
const CLIENT: Requires = Requires::Credential("client_secret or client_assertion");

/// Every route, and what it requires.
pub const ROUTES: &[Route<Sts>] = &[
    Route {
        method: Method::POST,
        pattern: "/{tenant}/oauth2/v2.0/token",
        requires: CLIENT,
        run: |sts, params, (), call| Box::pin(token::v2(sts, params, call)),
    },
    Route {
        method: Method::POST,
        pattern: "/{tenant}/oauth2/token",
        requires: CLIENT,
        run: |sts, params, (), call| Box::pin(token::v1(sts, params, call)),
    },
    Route {
        method: Method::GET,
        pattern: "/{tenant}/v2.0/.well-known/openid-configuration",
        requires: PUBLIC,
        run: |sts, params, (), call| Box::pin(async move { discovery::v2(sts, &params, &call) }),
    },
    Route {
        method: Method::GET,
        pattern: "/{tenant}/.well-known/openid-configuration",
        requires: PUBLIC,
        run: |sts, params, (), call| Box::pin(async move { discovery::v1(sts, &params, &call) }),
    },
    Route {
        method: Method::GET,
        pattern: "/{tenant}/discovery/v2.0/keys",
        requires: PUBLIC,
        run: |sts, params, (), call| Box::pin(async move { discovery::keys_v2(sts, &params, &call) }),
    },
    Route {
        method: Method::GET,
        pattern: "/{tenant}/discovery/keys",
        requires: PUBLIC,
        run: |sts, params, (), call| Box::pin(async move { discovery::keys_v1(sts, &params, &call) }),
    },
    Route {
        method: Method::GET,
        pattern: "/common/discovery/instance",
        requires: PUBLIC,
        run: |sts, _, (), call| Box::pin(async move { discovery::instance(sts, &call) }),
    },
];

/// The token service's face.
pub struct Sts {
    tokens: TokenService,
    names: PublicNames,
}

/// The tenant that a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenancy {
    /// One.
    One(TenantId),
    /// Whichever the user belongs to: `common` or `organizations`.
    Shared(&'static str),
}

impl Sts {
    /// Over the use case. `names` are what issuers and endpoints are made of.
    pub fn new(tokens: TokenService, names: PublicNames) -> Self {
        Self { tokens, names }
    }

    /// The tenant that the first segment names: by GUID, by domain name, or one of the shared names.
    fn tenancy(&self, text: &str) -> Result<Tenancy, Fault> {
        for shared in ["common", "organizations"] {
            if text.eq_ignore_ascii_case(shared) {
                return Ok(Tenancy::Shared(shared));
            }
        }
        if let Some(tenant) = self.tokens.snapshot().tenant_named(text) {
            return Ok(Tenancy::One(tenant.id));
        }
        let could_be = text.contains('.') && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
            || text.parse::<TenantId>().is_ok();
        Err(if could_be { Fault::tenant_not_found(text) } else { Fault::tenant_malformed(text) })
    }
}

impl Face for Sts {
    type Recall = ();

    async fn handle(&self, (): &(), call: Call) -> Reply {
        let trace = Trace::of(&call);
        let mut answer = match route::find(ROUTES, &call.method, &call.segments, Case::Ignored) {
            Found::Row(row, params) => (row.run)(self, params, (), call).await,
            Found::OtherMethod => {
                let allowed = allowed(&call);
                let mut answer = Fault::method(allowed, &call.method).reply(&call, None);
                answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
                answer
            }
            Found::Nothing => reply::json(
                StatusCode::NOT_FOUND,
                &serde_json::json!({"error": {
                    "code": "NotFound",
                    "message": "there is nothing at this path; the token service's paths begin with a tenant: /{tenant}/v2.0/.well-known/openid-configuration names the others",
                }}),
            ),
        };
        trace.write(&mut answer);
        answer
    }
}

fn allowed(call: &Call) -> &'static str {
    match route::find(ROUTES, &Method::POST, &call.segments, Case::Ignored) {
        Found::Row(..) => "POST",
        Found::OtherMethod | Found::Nothing => "GET",
    }
}

/// What ties an answer to its request in two logs.
struct Trace {
    request_id: Uuid,
    echo: Option<HeaderValue>,
}

impl Trace {
    fn of(call: &Call) -> Self {
        let wanted = call.header("return-client-request-id").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let echo = wanted.then(|| client_request_id(call)).flatten();
        Self { request_id: call.request_id, echo: echo.and_then(|id| HeaderValue::from_str(&id.to_string()).ok()) }
    }

    fn write(self, answer: &mut Reply) {
        let headers = answer.headers_mut();
        let mut text = Uuid::encode_buffer();
        if let Ok(id) = HeaderValue::from_str(self.request_id.hyphenated().encode_lower(&mut text)) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(echo) = self.echo {
            headers.insert(HeaderName::from_static(CLIENT_REQUEST_ID), echo);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
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
