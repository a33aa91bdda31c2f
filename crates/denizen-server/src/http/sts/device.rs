//! The device authorization endpoint (RFC 8628, section 3.1): a device without a browser asks for a code to show.
//!
//! Tests: `tests/people.rs` beside `sts.rs`.

use denizen_wire::{TenantId, oauth::DeviceAuthorization};
use http::StatusCode;

use super::{
    Sts, Tenancy,
    fault::Fault,
    form::{self, Endpoint, FormError},
    token::never_stored,
};
use crate::{
    app::strangers::{Reason, Stranger},
    domain::{Actor, built_in_clients::built_in_client, directory::Tenant},
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
    if answer.as_ref().is_err_and(Fault::is_over_a_limit) {
        call.forget_body();
        sts.tokens.limits().hold().await;
    }
    answer
}

async fn answer(sts: &Sts, tenant: &str, call: &mut Call, endpoint: Endpoint) -> Result<Reply, Fault> {
    let strangers = sts.tokens.strangers();
    let tenancy = sts.tenancy(tenant).map_err(|fault| {
        strangers.refused(Reason::Tenant, call.stranger(), &fault);
        fault.at_token_endpoint()
    })?;
    let (client, scopes) = form::read_device(call, endpoint).await.map_err(|error: FormError| {
        let stranger = Stranger { tenant: tenancy.tenant().ok(), ..call.stranger() };
        strangers.refused(Reason::TokenRequest, stranger, &error);
        Fault::from(error)
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
    let client = client.parse().ok().filter(|id| built_in_client(*id).is_none());
    let has_client = |tenant: &&Tenant| client.is_some_and(|id| snapshot.application(tenant.id, id).is_some());
    let registered = snapshot.tenants().map(|tenant| &**tenant).find(has_client);
    let first = || snapshot.tenants().map(|tenant| &**tenant).min_by_key(|tenant| (tenant.created, tenant.id));
    registered.or_else(first).map(|tenant| tenant.id)
}
