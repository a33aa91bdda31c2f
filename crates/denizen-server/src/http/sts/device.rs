//! The device authorization endpoint (RFC 8628, section 3.1): a device without a browser asks for a code to show.
//!
//! Tests: `tests/people.rs` beside `sts.rs`.

use denizen_wire::{TenantId, oauth::DeviceAuthorization};
use http::StatusCode;

use super::{
    Sts, Tenancy,
    fault::Fault,
    form::{self, Endpoint, FormError},
    token::{held, never_stored, refused},
};
use crate::{
    app::strangers::{Reason, Stranger},
    domain::Actor,
    http::{Call, Reply, reply, route::Request},
    store::Snapshot,
};

pub(super) async fn v2(sts: &Sts, request: Request<'_>) -> Result<Reply, Fault> {
    begin(sts, request, Endpoint::V2).await
}

pub(super) async fn v1(sts: &Sts, request: Request<'_>) -> Result<Reply, Fault> {
    begin(sts, request, Endpoint::V1).await
}

async fn begin(sts: &Sts, Request { params, call }: Request<'_>, endpoint: Endpoint) -> Result<Reply, Fault> {
    let answer = answer(sts, params.text("tenant"), call, endpoint).await;
    held(sts, call, answer).await
}

async fn answer(sts: &Sts, tenant: &str, call: &mut Call, endpoint: Endpoint) -> Result<Reply, Fault> {
    let tenancy = sts.tenancy(tenant).map_err(|fault| {
        let stranger = call.stranger();
        refused(sts, call, Reason::Tenant, stranger, fault.at_token_endpoint())
    })?;
    let read = form::read_device(call, endpoint).await;
    let (client, scopes) = read.map_err(|error: FormError| {
        let stranger = Stranger { tenant: tenancy.tenant().ok(), ..call.stranger() };
        refused(sts, call, Reason::TokenRequest, stranger, error.into())
    })?;
    let (tenant, is_shared) = match tenancy {
        Tenancy::One(tenant) | Tenancy::Adfs(tenant) => (tenant, false),
        Tenancy::Shared(name) => {
            let found = tenant_of_client(&sts.tokens.snapshot(), &client);
            (found.ok_or_else(|| Fault::tenant_not_found(name).at_token_endpoint())?, true)
        }
    };
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

/// Where a device code lies whose device has named no tenant: with the client's registration, or for a tool that every tenant
/// has in the one that was made first.
fn tenant_of_client(snapshot: &Snapshot, client: &str) -> Option<TenantId> {
    let registered = client.parse().ok().and_then(|id| snapshot.registered_anywhere(id));
    let first = || snapshot.tenants().min_by_key(|tenant| (tenant.created, tenant.id)).map(|tenant| tenant.id);
    registered.map(|application| application.tenant).or_else(first)
}
