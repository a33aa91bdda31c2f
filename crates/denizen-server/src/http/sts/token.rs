//! The token endpoint, v1 and v2, and the two forms of its answer.
//!
//! Tests: `tests.rs` beside `sts.rs`.

use denizen_keys::b64;
use denizen_wire::oauth::{ClientInfo, ForUser, TokenV1, TokenV2};
use http::{HeaderValue, StatusCode, header};

use super::{
    Sts, Tenancy,
    fault::Fault,
    form::{self, Endpoint, FormError},
};
use crate::{
    app::{
        strangers::{Reason, Stranger},
        tokens::{Issued, TokenError},
    },
    domain::Actor,
    http::{Call, Reply, reply, route::Request},
};

pub(super) async fn v2(sts: &Sts, request: Request<'_>) -> Result<Reply, Fault> {
    issue(sts, request, Endpoint::V2).await
}

pub(super) async fn v1(sts: &Sts, request: Request<'_>) -> Result<Reply, Fault> {
    issue(sts, request, Endpoint::V1).await
}

async fn issue(sts: &Sts, Request { params, call }: Request<'_>, endpoint: Endpoint) -> Result<Reply, Fault> {
    let strangers = sts.tokens.strangers();
    let tenancy = sts.tenancy(params.text("tenant")).map_err(|fault| {
        strangers.refused(Reason::Tenant, call.stranger(), &fault);
        fault.at_token_endpoint()
    })?;
    let endpoint = match (endpoint, tenancy) {
        (Endpoint::V1, Tenancy::Adfs(_)) => Endpoint::Adfs,
        (endpoint, _) => endpoint,
    };
    let request = form::read(call, endpoint).await;
    let malformed = |call: &Call, tenant, error: FormError| {
        strangers.refused(Reason::TokenRequest, Stranger { tenant, ..call.stranger() }, &error);
        Fault::from(error)
    };
    let request = request.map_err(|error| malformed(call, tenancy.tenant().ok(), error))?;
    let tenant = match tenancy.tenant() {
        Ok(tenant) => tenant,
        Err(name) => match (sts.tokens.tenant_of(&request.grant).await?, request.grant.unknown()) {
            (Some(tenant), _) => tenant,
            (None, Some(fault)) => {
                strangers.refused(Reason::Grant, call.stranger(), &fault);
                return Err(TokenError::from(fault).into());
            }
            (None, None) => return Err(malformed(call, None, FormError::SharedTenant(name))),
        },
    };
    let ctx = call.ctx(tenant, Actor::Anonymous);
    let issued = sts.tokens.issue(&ctx, &request).await?;
    Ok(issued_reply(endpoint, issued))
}

fn issued_reply(endpoint: Endpoint, issued: Issued) -> Reply {
    let user = issued.user.map_or_else(ForUser::default, |user| {
        let info = ClientInfo { uid: user.id, utid: user.tenant };
        ForUser {
            scope: Some(user.scope),
            refresh_token: user.refresh_token,
            id_token: user.id_token,
            client_info: serde_json::to_vec(&info).ok().map(|info| b64::url(&info)),
        }
    });
    let mut answer = match endpoint {
        Endpoint::V2 | Endpoint::Adfs => reply::json(
            StatusCode::OK,
            &TokenV2 {
                token_type: "Bearer".to_owned(),
                expires_in: issued.expires_in,
                ext_expires_in: issued.expires_in,
                refresh_in: issued.refresh_in,
                access_token: issued.token,
                user,
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
                user,
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
