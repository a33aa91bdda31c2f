//! The token endpoint, v1 and v2: the form that is posted, and the answer in either form.
//!
//! The form is read strictly where it decides something: a parameter that is there twice has no meaning, and neither
//! have two credentials. Parameters that decide nothing are let pass.

use std::borrow::Cow;

use denizen_keys::{SecretString, b64};
use denizen_wire::oauth::{JWT_BEARER, MAX_TOKEN_REQUEST, TokenV1, TokenV2};
use http::{HeaderValue, StatusCode, header};
use uuid::Uuid;

use super::{Sts, Tenancy, fault::Fault};
use crate::{
    app::tokens::{Credential, Endpoint, Issued, TokenError, TokenRequest},
    domain::{Actor, Ctx, assertion::excerpt},
    http::{Call, Reply, call::BodyError, reply, route::Params},
};

/// The most parameters that are looked at; clients send about fifteen.
const MAX_PARAMETERS: usize = 64;

pub(super) async fn v2(sts: &Sts, params: Params, call: Call) -> Reply {
    answer(sts, params, call, Endpoint::V2).await
}

pub(super) async fn v1(sts: &Sts, params: Params, call: Call) -> Reply {
    answer(sts, params, call, Endpoint::V1).await
}

async fn answer(sts: &Sts, params: Params, mut call: Call, endpoint: Endpoint) -> Reply {
    let tenancy = match sts.tenancy(params.text("tenant")) {
        Ok(tenancy) => tenancy,
        Err(fault) => {
            call.discard_body().await;
            return fault.at_token_endpoint().reply(&call, None);
        }
    };
    let (request, correlation) = match read(&mut call).await {
        Ok(read) => (Ok(read.request), read.correlation),
        Err(error) => (Err(error), None),
    };
    let tenant = match tenancy {
        Tenancy::One(tenant) => tenant,
        Tenancy::Shared(name) => {
            let error = request.err().unwrap_or(TokenError::SharedTenant(name));
            return Fault::from(&error).reply(&call, correlation);
        }
    };
    let ctx = Ctx { tenant, actor: Actor::Anonymous, now: call.now, request_id: call.request_id };
    match sts.tokens.issue(&ctx, endpoint, request).await {
        Ok(issued) => issued_reply(endpoint, issued),
        Err(error) => Fault::from(&error).reply(&call, correlation),
    }
}

fn issued_reply(endpoint: Endpoint, issued: Issued) -> Reply {
    let mut answer = match endpoint {
        Endpoint::V2 => reply::json(
            StatusCode::OK,
            &TokenV2 {
                token_type: "Bearer".to_owned(),
                expires_in: issued.expires_in,
                ext_expires_in: issued.expires_in,
                refresh_in: issued.refresh_in,
                access_token: issued.token,
            },
        ),
        Endpoint::V1 => reply::json(
            StatusCode::OK,
            &TokenV1 {
                token_type: "Bearer".to_owned(),
                expires_in: issued.expires_in.to_string(),
                ext_expires_in: issued.expires_in.to_string(),
                expires_on: issued.expires_on.to_string(),
                not_before: issued.not_before.to_string(),
                resource: issued.resource,
                access_token: issued.token,
            },
        ),
    };
    never_stored(&mut answer);
    answer
}

/// RFC 6749, section 5.1.
pub(super) fn never_stored(answer: &mut Reply) {
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}

struct Read {
    request: TokenRequest,
    correlation: Option<Uuid>,
}

async fn read(call: &mut Call) -> Result<Read, TokenError> {
    let body = match call.body(MAX_TOKEN_REQUEST).await {
        Ok(body) => body,
        Err(BodyError::TooLarge(_)) => return Err(TokenError::Form("is larger than 64 KiB; send less")),
        Err(BodyError::Broken | BodyError::Gone) => return Err(TokenError::Form("could not be read to its end")),
    };
    let form = call.header(header::CONTENT_TYPE.as_str()).is_none_or(|kind| {
        kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    if !form {
        return Err(TokenError::Form("must be sent as application/x-www-form-urlencoded"));
    }
    if std::str::from_utf8(&body).is_err() {
        return Err(TokenError::Form("is not UTF-8; percent-encode its values"));
    }
    let mut parameters = Parameters::parse(&body)?;
    let basic = basic(call)?;
    let secret = parameters.take("client_secret").map(SecretString::from);
    let assertion = parameters.take("client_assertion");
    if let (Some(_), kind) = (&assertion, parameters.take("client_assertion_type")) {
        match kind.as_deref() {
            Some(JWT_BEARER) => {}
            Some(_) => {
                return Err(TokenError::Form(
                    "must have a client_assertion_type of urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ));
            }
            None => return Err(TokenError::Missing("client_assertion_type")),
        }
    }
    let mut client_id = parameters.take("client_id");
    let credential = match (secret, assertion, basic) {
        (None, None, None) => None,
        (Some(secret), None, None) => Some(Credential::Secret(secret)),
        (None, Some(assertion), None) => Some(Credential::Assertion(assertion)),
        (None, None, Some((id, secret))) => {
            match &client_id {
                Some(other) if !other.eq_ignore_ascii_case(&id) => return Err(TokenError::Credentials),
                Some(_) => {}
                None => client_id = Some(id),
            }
            Some(Credential::Secret(secret))
        }
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => return Err(TokenError::Credentials),
    };
    let request = TokenRequest {
        grant_type: parameters.take("grant_type"),
        client_id,
        credential,
        scope: parameters.take("scope"),
        resource: parameters.take("resource"),
    };
    let correlation = parameters.take("client-request-id").and_then(|id| Uuid::try_parse(&id).ok());
    Ok(Read { request, correlation })
}

struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, TokenError> {
        let mut parameters: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::with_capacity(16);
        for (name, value) in form_urlencoded::parse(body) {
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(TokenError::Repeated(excerpt(&name)));
            }
            if parameters.len() == MAX_PARAMETERS {
                return Err(TokenError::Form("has more than 64 parameters; send fewer"));
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
fn basic(call: &Call) -> Result<Option<(String, SecretString)>, TokenError> {
    let mut values = call.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(TokenError::Repeated("Authorization".to_owned()));
    }
    let malformed = TokenError::Form(
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
