//! The form that is posted to the token endpoint: read strictly where it decides something.
//!
//! A parameter that is there twice has no meaning, and neither have two credentials. Parameters that decide nothing
//! are ignored.
//!
//! Tests: `tests/bad_input.rs` beside `sts.rs`.

use std::borrow::Cow;

use denizen_keys::{SecretString, b64};
use denizen_wire::{
    UnixTime,
    oauth::{JWT_BEARER, MAX_TOKEN_REQUEST},
};
use http::header;
use hyper::body::Bytes;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    app::tokens::{Credential, Grant, TokenRequest, Wishes},
    domain::{
        claims::audience::{self, ScopeFault},
        directory::TokenVersion,
        scopes::Scopes,
    },
    http::{Call, call::BodyError},
};

/// The most parameters that are looked at; clients send about fifteen.
const MAX_PARAMETERS: usize = 64;
/// What `grant_type` may be.
const GRANTS: &str = "client_credentials, authorization_code, refresh_token, \
                      password, urn:ietf:params:oauth:grant-type:device_code or urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The last time that a claims request may name, Unix seconds: the year 9999.
const MOST_SECONDS: i64 = 253_402_300_799;

/// Which endpoint was asked: they differ in parameters and in the form of the answer, not in the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `oauth2/token`: `resource=`.
    V1,
    /// `oauth2/v2.0/token`: `scope=`.
    V2,
    /// `adfs/oauth2/token`: `scope=` or `resource=`, and numbers as at v2.
    Adfs,
}

/// What is wrong with the form. The texts begin as Entra's do, since people search for them, and end with the fix.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    /// The body is not a form that can be read.
    #[error("The request body {0}.")]
    Body(&'static str),
    /// A parameter is there more than once.
    #[error("The request body repeats the parameter '{0}'. Send it once.")]
    Repeated(String),
    /// A parameter is missing.
    #[error("The request body must contain the following parameter: '{0}'.")]
    Missing(&'static str),
    /// A grant that is not served.
    #[error("The app requested an unsupported grant type '{0}'. Use {GRANTS}.")]
    Grant(String),
    /// `resource` at the v2 endpoint.
    #[error(
        "The 'resource' request parameter isn't supported. Send scope='{{resource}}/.default', or use the v1 endpoint /oauth2/token."
    )]
    ResourceAtV2,
    /// The scope names no resource.
    #[error(
        "The provided value for the input parameter 'scope' is not valid: it names no resource. Send '{{resource}}/.default'."
    )]
    EmptyScope,
    /// The scope names a permission.
    #[error(
        "The provided value for scope {0} is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."
    )]
    ScopeNotDefault(String),
    /// The scope names several resources.
    #[error(
        "The provided value for the input parameter 'scope' is not valid because it contains more than one resource. A token is for one: ask for each on its own."
    )]
    SeveralResources,
    /// Two credentials where one is needed.
    #[error(
        "The request presents more than one client credential. Send a client_secret or a client_assertion, in the body or in the Authorization header, not both."
    )]
    Credentials,
    /// No credential.
    #[error("The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")]
    NoCredential,
    /// The tenant of the path is shared by all, and an application's token is for one.
    #[error(
        "The grant type is not supported over the /{0} endpoint. Use a tenant-specific endpoint: put the tenant's id or domain name in its place."
    )]
    SharedTenant(&'static str),
}

impl FormError {
    /// The number that Entra gives this reason, by which people search.
    pub(super) fn code(&self) -> i32 {
        match self {
            Self::Body(_) | Self::Repeated(_) | Self::Credentials => 90_023,
            Self::Missing(_) => 900_144,
            Self::Grant(_) => 70_003,
            Self::ResourceAtV2 => 901_002,
            Self::EmptyScope => 70_011,
            Self::ScopeNotDefault(_) => 1_002_012,
            Self::SeveralResources => 700_022,
            Self::NoCredential => 7_000_218,
            Self::SharedTenant(_) => 9_001_023,
        }
    }
}

impl From<ScopeFault> for FormError {
    fn from(fault: ScopeFault) -> Self {
        match fault {
            ScopeFault::Empty => Self::EmptyScope,
            ScopeFault::NotDefault(scope) => Self::ScopeNotDefault(scope),
            ScopeFault::Several => Self::SeveralResources,
        }
    }
}

/// The body, which is a form.
async fn read_body(call: &mut Call) -> Result<Bytes, FormError> {
    let body = match call.body(MAX_TOKEN_REQUEST).await {
        Ok(body) => body,
        Err(BodyError::TooLarge(_)) => return Err(FormError::Body("is larger than 64 KiB; send less")),
        Err(BodyError::Encoded) => {
            return Err(FormError::Body("is compressed, which is not read here; send it without Content-Encoding"));
        }
        Err(BodyError::Late) => return Err(FormError::Body("did not arrive within 30 seconds; send it again")),
        Err(BodyError::OverBudget) => {
            return Err(FormError::Body(
                "does not fit: this client is sending too much at a time; send less at a time",
            ));
        }
        Err(BodyError::Broken | BodyError::Gone) => return Err(FormError::Body("could not be read to its end")),
    };
    let is_form = call.header(header::CONTENT_TYPE.as_str()).is_none_or(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    if !is_form {
        return Err(FormError::Body("must be sent as application/x-www-form-urlencoded"));
    }
    if std::str::from_utf8(&body).is_err() {
        return Err(FormError::Body("is not UTF-8; percent-encode its values"));
    }
    Ok(body)
}

/// Reads the form. A client's request id in it becomes the call's.
pub(super) async fn read(call: &mut Call, endpoint: Endpoint) -> Result<TokenRequest, FormError> {
    let body = read_body(call).await?;
    let mut parameters = Parameters::parse(&body)?;
    let basic = basic(call)?;
    let secret = parameters.take("client_secret").map(SecretString::from);
    let assertion = parameters.take("client_assertion");
    if let (Some(_), kind) = (&assertion, parameters.take("client_assertion_type")) {
        match kind.as_deref() {
            Some(JWT_BEARER) => {}
            Some(_) => {
                return Err(FormError::Body(
                    "must have a client_assertion_type of urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ));
            }
            None => return Err(FormError::Missing("client_assertion_type")),
        }
    }
    let mut client_id = parameters.take("client_id");
    let credential = match (secret, assertion, basic) {
        (None, None, None) => None,
        (Some(secret), None, None) => Some(Credential::Secret(secret)),
        (None, Some(assertion), None) => Some(Credential::Assertion(assertion)),
        (None, None, Some((id, secret))) => {
            match &client_id {
                Some(other) if !other.eq_ignore_ascii_case(&id) => return Err(FormError::Credentials),
                Some(_) => {}
                None => client_id = Some(id),
            }
            Some(Credential::Secret(secret))
        }
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => return Err(FormError::Credentials),
    };
    if call.correlation_id.is_none() {
        call.correlation_id = parameters.take("client-request-id").and_then(|id| Uuid::try_parse(&id).ok());
    }
    let grant_type = parameters.take("grant_type").ok_or(FormError::Missing("grant_type"))?;
    let wishes = wishes(endpoint, parameters.take("claims").as_deref())?;
    let grant = grant(&mut parameters, endpoint, &grant_type)?;
    let client_id = client_id.ok_or(FormError::Missing("client_id"))?;
    if credential.is_none() && matches!(grant, Grant::ClientCredentials { .. } | Grant::OnBehalfOf { .. }) {
        return Err(FormError::NoCredential);
    }
    Ok(TokenRequest { client_id, credential, grant, wishes })
}

/// The grant, with what belongs to it.
fn grant(parameters: &mut Parameters<'_>, endpoint: Endpoint, grant_type: &str) -> Result<Grant, FormError> {
    let (resource, scope) = (parameters.take("resource"), parameters.take("scope"));
    let mut secret = |name: &'static str| parameters.take(name).map(SecretString::from);
    let required = |value: Option<SecretString>, name| value.ok_or(FormError::Missing(name));
    Ok(match grant_type {
        "client_credentials" => Grant::ClientCredentials { resource: resource_of(endpoint, resource, scope)? },
        "authorization_code" => Grant::AuthorizationCode {
            code: required(secret("code"), "code")?,
            verifier: secret("code_verifier"),
            redirect_uri: parameters.take("redirect_uri").ok_or(FormError::Missing("redirect_uri"))?,
            scopes: scopes_of(endpoint, resource, scope)?,
        },
        // MSAL for JavaScript spells it so.
        "urn:ietf:params:oauth:grant-type:device_code" | "device_code" => {
            // The v1 endpoint calls it by its older name, and MSAL for Python sends both.
            let (new, old) = (secret("device_code"), secret("code"));
            Grant::DeviceCode { device_code: required(new.or(old), "device_code")? }
        }
        "refresh_token" => Grant::RefreshToken {
            token: required(secret("refresh_token"), "refresh_token")?,
            scopes: scopes_of(endpoint, resource, scope)?,
        },
        "password" => Grant::Password {
            password: required(secret("password"), "password")?,
            name: parameters.take("username").ok_or(FormError::Missing("username"))?,
            scopes: scopes_of(endpoint, resource, scope)?.ok_or(FormError::Missing("scope"))?,
        },
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            match parameters.take("requested_token_use").as_deref() {
                Some("on_behalf_of") => {}
                Some(_) => return Err(FormError::Body("must have a requested_token_use of on_behalf_of")),
                None => return Err(FormError::Missing("requested_token_use")),
            }
            Grant::OnBehalfOf {
                assertion: required(parameters.take("assertion").map(SecretString::from), "assertion")?,
                scopes: scopes_of(endpoint, resource, scope)?.ok_or(FormError::Missing("scope"))?,
            }
        }
        other => return Err(FormError::Grant(denizen_wire::shown::identifier(other).into_owned())),
    })
}

/// What is asked for in a user's name: by `scope`, or at v1 by `resource`; none when nothing is said.
fn scopes_of(endpoint: Endpoint, resource: Option<String>, scope: Option<String>) -> Result<Option<Scopes>, FormError> {
    match (endpoint, resource, scope) {
        (Endpoint::V2, Some(_), _) => Err(FormError::ResourceAtV2),
        (Endpoint::V1 | Endpoint::Adfs, Some(resource), _) => Ok(Some(Scopes::all_of(&resource))),
        (_, None, Some(scope)) => Ok(Some(Scopes::parse(&scope)?)),
        (_, None, None) => Ok(None),
    }
}

/// What `claims` says that is acted on (OpenID Connect Core 1.0, section 5.5): since when the token must be valid, and
/// whether the client handles claims challenges.
fn wishes(endpoint: Endpoint, claims: Option<&str>) -> Result<Wishes, FormError> {
    #[derive(Default, Deserialize)]
    struct Claims {
        #[serde(default)]
        access_token: Option<OfAccessToken>,
    }
    #[derive(Default, Deserialize)]
    struct OfAccessToken {
        #[serde(default)]
        nbf: Option<Wanted>,
        #[serde(default)]
        xms_cc: Option<Wanted>,
    }
    #[derive(Default, Deserialize)]
    struct Wanted {
        #[serde(default)]
        value: Option<serde_json::Value>,
        #[serde(default)]
        values: Vec<String>,
    }
    let unreadable =
        FormError::Body("has a claims parameter that is not a claims request in JSON; send what the challenge said");
    let claims: Claims = match claims {
        None => Claims::default(),
        // An array would be read as an object without names.
        Some(text) if !text.trim_start().starts_with('{') => return Err(unreadable),
        Some(text) => serde_json::from_str(text).map_err(|_| unreadable)?,
    };
    let of = claims.access_token.unwrap_or_default();
    let not_before = match of.nbf.and_then(|nbf| nbf.value) {
        None => None,
        Some(value) => {
            let seconds = value.as_i64().or_else(|| value.as_str()?.parse().ok());
            let wrong = FormError::Body("asks by its claims parameter for an nbf that is no number of seconds");
            Some(UnixTime(seconds.filter(|seconds| (0..=MOST_SECONDS).contains(seconds)).ok_or(wrong)?))
        }
    };
    let handles = |wanted: Wanted| wanted.values.iter().any(|value| value.eq_ignore_ascii_case("cp1"));
    let endpoint = match endpoint {
        Endpoint::V1 | Endpoint::Adfs => TokenVersion::V1,
        Endpoint::V2 => TokenVersion::V2,
    };
    Ok(Wishes { endpoint, not_before, handles_challenges: of.xms_cc.is_some_and(handles) })
}

/// The form of a device that begins: the client and what it asks for.
pub(super) async fn read_device(call: &mut Call, endpoint: Endpoint) -> Result<(String, Scopes), FormError> {
    let body = read_body(call).await?;
    let mut parameters = Parameters::parse(&body)?;
    let client = parameters.take("client_id").ok_or(FormError::Missing("client_id"))?;
    let scopes = scopes_of(endpoint, parameters.take("resource"), parameters.take("scope"))?;
    Ok((client, scopes.ok_or(FormError::Missing("scope"))?))
}

/// The resource that is asked for: by `resource` at v1, by `scope` at v2.
fn resource_of(endpoint: Endpoint, resource: Option<String>, scope: Option<String>) -> Result<String, FormError> {
    match (endpoint, resource, scope) {
        (Endpoint::V2, Some(_), _) => Err(FormError::ResourceAtV2),
        (Endpoint::V2 | Endpoint::Adfs, None, Some(scope)) => Ok(audience::resource_of_scope(&scope)?.to_owned()),
        (Endpoint::V2 | Endpoint::Adfs, None, None) => Err(FormError::Missing("scope")),
        // ADAL-era clients send `scope=openid` along with the resource; it says nothing.
        (Endpoint::V1 | Endpoint::Adfs, Some(resource), _) => Ok(resource),
        (Endpoint::V1, None, _) => Err(FormError::Missing("resource")),
    }
}

/// A parameter's name, where it is one that is read: a secret that is not encoded leaves parts of itself after an `&`.
fn parameter(name: &str) -> &str {
    let known = [
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "client-request-id",
        "grant_type",
        "resource",
        "scope",
        "claims",
        "code",
        "code_verifier",
        "redirect_uri",
        "device_code",
        "refresh_token",
        "assertion",
        "requested_token_use",
        "username",
        "password",
    ];
    if known.contains(&name) { name } else { "(of a name that is not known)" }
}

struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, FormError> {
        let mut parameters: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::with_capacity(16);
        for (name, value) in form_urlencoded::parse(body) {
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(FormError::Repeated(parameter(&name).to_owned()));
            }
            if parameters.len() == MAX_PARAMETERS {
                return Err(FormError::Body("has more than 64 parameters; send fewer"));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// A parameter's value; an empty one is as good as none (RFC 6749, section 3.2).
    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        let (_, value) = self.0.swap_remove(at);
        (!value.is_empty()).then(|| value.into_owned())
    }
}

/// Client id and secret of an `Authorization: Basic` header, each form-encoded within (RFC 6749, section 2.3.1).
fn basic(call: &Call) -> Result<Option<(String, SecretString)>, FormError> {
    let mut values = call.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(FormError::Repeated("Authorization".to_owned()));
    }
    let malformed = FormError::Body(
        "comes with an Authorization header that is not 'Basic base64(client_id:client_secret)'; correct or remove it",
    );
    let decoded = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| b64::decode_lax(encoded))
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(SecretString::from);
    let Some(decoded) = decoded else { return Err(malformed) };
    let Some((id, secret)) = decoded.expose().split_once(':') else { return Err(malformed) };
    let plain = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned).ok()
    };
    match (plain(id), plain(secret)) {
        (Some(id), Some(secret)) if !id.is_empty() && !secret.is_empty() => Ok(Some((id, SecretString::from(secret)))),
        _ => Err(malformed),
    }
}
