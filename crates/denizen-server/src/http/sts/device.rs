//! The device authorization endpoint (RFC 8628, section 3.1): a device without a browser asks for a code to show.
//!
//! Tests: `tests/people.rs` beside `sts.rs`.

use denizen_wire::oauth::DeviceAuthorization;
use http::StatusCode;

use super::{
    Sts, Tenancy,
    fault::Fault,
    form::{self, Endpoint, FormError},
    token::never_stored,
};
use crate::{
    app::strangers::{Reason, Stranger},
    domain::Actor,
    http::{Reply, reply, route::Request},
};

pub(super) async fn v2(sts: &Sts, request: Request<'_>) -> Result<Reply, Fault> {
    begin(sts, request, Endpoint::V2).await
}

pub(super) async fn v1(sts: &Sts, request: Request<'_>) -> Result<Reply, Fault> {
    begin(sts, request, Endpoint::V1).await
}

async fn begin(sts: &Sts, Request { params, call }: Request<'_>, endpoint: Endpoint) -> Result<Reply, Fault> {
    let strangers = sts.tokens.strangers();
    let tenancy = sts.tenancy(params.text("tenant")).map_err(|fault| {
        strangers.refused(Reason::Tenant, call.stranger(), &fault);
        fault.at_token_endpoint()
    })?;
    let (tenant, is_shared) = match tenancy {
        Tenancy::One(tenant) | Tenancy::Adfs(tenant) => (tenant, false),
        Tenancy::Shared(name) => {
            let snapshot = sts.tokens.snapshot();
            let first = snapshot.tenants().min_by_key(|tenant| (tenant.created, tenant.id)).map(|tenant| tenant.id);
            (first.ok_or_else(|| Fault::tenant_not_found(name).at_token_endpoint())?, true)
        }
    };
    let (client, scopes) = form::read_device(call, endpoint).await.map_err(|error: FormError| {
        let stranger = Stranger { tenant: Some(tenant), ..call.stranger() };
        strangers.refused(Reason::TokenRequest, stranger, &error);
        Fault::from(error)
    })?;
    let ctx = call.ctx(tenant, Actor::Anonymous);
    let begun = sts.tokens.device_authorization(&ctx, &client, &scopes, is_shared).await?;
    let verification_uri = format!("{}/device", sts.names.authority);
    let message = format!(
        "To sign in, use a web browser to open the page {verification_uri} and enter the code {} to authenticate.",
        begun.user_code
    );
    let mut answer = reply::json(
        StatusCode::OK,
        &DeviceAuthorization {
            user_code: begun.user_code,
            device_code: begun.device_code.expose().to_owned(),
            verification_uri,
            expires_in: begun.expires_in,
            interval: begun.interval,
            message,
        },
    );
    never_stored(&mut answer);
    Ok(answer)
}
