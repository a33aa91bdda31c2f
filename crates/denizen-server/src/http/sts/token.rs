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
    let answer = answer(sts, params.text("tenant"), call, endpoint).await;
    held(sts, call, answer).await
}

/// The same answer, a moment later where it is over a limit.
pub(super) async fn held(sts: &Sts, call: &mut Call, answer: Result<Reply, Fault>) -> Result<Reply, Fault> {
    if answer.as_ref().is_err_and(Fault::is_over_a_limit) {
        call.forget_body();
        sts.tokens.limits().hold().await;
    }
    answer
}

async fn answer(sts: &Sts, tenant: &str, call: &mut Call, endpoint: Endpoint) -> Result<Reply, Fault> {
    let tenancy = sts.tenancy(tenant).map_err(|fault| {
        let stranger = call.stranger();
        refused(sts, call, Reason::Tenant, stranger, fault.at_token_endpoint())
    })?;
    let endpoint = match (endpoint, tenancy) {
        (Endpoint::V1, Tenancy::Adfs(_)) => Endpoint::Adfs,
        (endpoint, _) => endpoint,
    };
    let request = form::read(call, endpoint).await;
    let malformed = |call: &Call, tenant, error: FormError| {
        refused(sts, call, Reason::TokenRequest, Stranger { tenant, ..call.stranger() }, error.into())
    };
    let request = request.map_err(|error| malformed(call, tenancy.tenant().ok(), error))?;
    let tenant = match tenancy.tenant() {
        Ok(tenant) => tenant,
        Err(name) => match (sts.tokens.tenant_of(&request.grant).await?, request.grant.unknown()) {
            (Some(tenant), _) => tenant,
            (None, Some(fault)) => {
                return Err(refused(sts, call, Reason::Grant, call.stranger(), TokenError::from(fault).into()));
            }
            (None, None) => return Err(malformed(call, None, FormError::SharedTenant(name))),
        },
    };
    let ctx = call.ctx(tenant, Actor::Anonymous);
    let issued = sts.tokens.issue(&ctx, &request).await?;
    Ok(issued_reply(endpoint, issued))
}

/// Counts a request that is refused before a client has proved anything. What is to be answered: another refusal, when
/// there were too many.
pub(super) fn refused(sts: &Sts, call: &Call, reason: Reason, stranger: Stranger, fault: Fault) -> Fault {
    let (reason, fault) = match sts.tokens.limits().asker(stranger.address, call.now).was_refused() {
        Ok(()) => (reason, fault),
        Err(limited) => (Reason::Limited, limited.into()),
    };
    sts.tokens.strangers().refused(reason, stranger, &fault);
    fault
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
