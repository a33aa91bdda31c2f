//! The pages on which people sign in: for a client that has sent their browser (authorization code), for a device (device
//! code), and to sign out. Server-rendered, and they work without script.
//!
//! ```text
//! GET  authorize ─ client or redirect URI unknown ─→ a page that says so: nothing is sent to a place nobody registered
//!      │          ─ anything else wrong ───────────→ back to the client, with the error
//!      ├─ sign in: name and password → code → new password     each a POST to the same address
//!      ├─ consent, where the client is not trusted already
//!      └─ back to the client, with a code
//! ```
//!
//! What was asked for stays in the address, and is read and checked anew at each step: no step believes the one before but by
//! what the browser's cookies prove. Forms carry a token that is bound to these cookies, and say where they come from.
//!
//! | file | holds |
//! |---|---|
//! | here | what all pages share |
//! | [`request`] | what a client has sent a browser with, and what is wrong with it |
//! | [`authorize`] | the authorization endpoint |
//! | [`steps`] | signing in, step by step |
//! | [`consent`] | what a client may do in the user's name |
//! | [`device`] | deciding about a device |
//! | [`logout`] | signing out |
//! | [`browser`] | cookies, and whether a form is ours |
//! | [`form`] | forms that are posted |
//! | [`page`] | the HTML and the headers |
//!
//! Tests: `tests.rs` beside this file, through the API; and a browser's in `conformance/browser`.

mod authorize;
mod browser;
mod consent;
mod device;
mod form;
mod logout;
mod page;
mod request;
mod steps;
#[cfg(test)]
mod tests;

use std::error::Error;

use denizen_wire::TenantId;
use http::StatusCode;

use self::page::{Page, Said};
use super::{Call, PublicNames, Reply};
use crate::{
    app::{
        sign_in::{SignInError, SignInService},
        strangers::{Reason, Stranger},
    },
    domain::{Actor, Ctx, claims::audience::OwnResources},
};

/// Which dialect of the authorization endpoint was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `oauth2/authorize`: `resource=`.
    V1,
    /// `oauth2/v2.0/authorize`: `scope=`.
    V2,
}

/// The tenants that a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tenants {
    One(TenantId),
    /// Whichever the user belongs to.
    All,
}

/// The pages.
pub struct Pages {
    sign_in: SignInService,
    names: PublicNames,
    own_resources: OwnResources,
}

impl Pages {
    /// Creates the pages of the use case. `names` are what issuers are made of, and where forms may come from.
    pub fn new(sign_in: SignInService, names: PublicNames) -> Self {
        Self { sign_in, own_resources: names.own_resources(), names }
    }

    /// The authorization endpoint: a client's question, and each step's form.
    pub async fn authorize(&self, tenant: &str, call: &mut Call, endpoint: Endpoint) -> Reply {
        authorize::answer(self, tenant, call, endpoint).await
    }

    /// The page on which a device's code is typed.
    pub async fn device(&self, call: &mut Call) -> Reply {
        device::answer(self, call).await
    }

    /// Signing out.
    pub async fn logout(&self, tenant: &str, call: &mut Call) -> Reply {
        logout::answer(self, tenant, call).await
    }

    /// The tenants that the first segment names.
    fn tenants(&self, text: &str) -> Result<Tenants, Said> {
        if ["common", "organizations"].iter().any(|shared| text.eq_ignore_ascii_case(shared)) {
            return Ok(Tenants::All);
        }
        let snapshot = self.sign_in.snapshot();
        if text.eq_ignore_ascii_case("adfs") {
            let mut tenants = snapshot.tenants();
            if let (Some(only), None) = (tenants.next(), tenants.next()) {
                return Ok(Tenants::One(only.id));
            }
        }
        let said = || {
            let text = format!(
                "Tenant '{}' not found. Check the address: it begins with the tenant's id or its domain name.",
                denizen_wire::shown::identifier(text)
            );
            Said { code: 90_002, text }
        };
        snapshot.tenant_named(text).map(|tenant| Tenants::One(tenant.id)).ok_or_else(said)
    }

    /// The context of who has proved nothing yet, in no tenant.
    fn ctx(call: &Call) -> Ctx {
        call.ctx(TenantId(uuid::Uuid::nil()), Actor::Anonymous)
    }

    /// Refuses somebody who proved nothing.
    fn refuse(&self, call: &Call, tenants: Option<Tenants>, reason: Reason, said: &Said) -> Reply {
        let tenant = tenants.and_then(|tenants| match tenants {
            Tenants::One(tenant) => Some(tenant),
            Tenants::All => None,
        });
        self.sign_in.strangers().refused(reason, Stranger { tenant, ..call.stranger() }, &Shown(said));
        Page::refused(StatusCode::BAD_REQUEST, call, said).write()
    }

    /// What failed is ours.
    fn failed(call: &Call, error: &SignInError) -> Reply {
        tracing::error!(request_id = %call.request_id, error = %denizen_wire::Causes(error), "a sign-in failed");
        Page::refused(StatusCode::SERVICE_UNAVAILABLE, call, &said(error)).write()
    }
}

/// What a person is told of an error.
fn said(error: &SignInError) -> Said {
    Said { code: error.code(), text: error.to_string() }
}

/// For the log.
#[derive(Debug)]
struct Shown<'s>(&'s Said);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl Error for Shown<'_> {}
