//! Signing out (OpenID Connect RP-Initiated Logout 1.0). Whoever is signed in is asked, since any page can send a browser here;
//! and it goes on only to where an application of the tenant has said.

use http::Method;
use maud::html;

use super::{
    Pages, Tenants,
    authorize::{forged, go},
    browser::{Bound, Browser},
    form::Form,
    page::Page,
    steps::{self, Place},
};
use crate::{
    app::strangers::Reason,
    domain::redirects,
    http::{Call, Reply},
};

pub(super) async fn answer(pages: &Pages, tenant: &str, call: &mut Call) -> Reply {
    let tenants = match pages.tenants(tenant) {
        Ok(tenants) => tenants,
        Err(said) => return pages.refuse(call, None, Reason::Tenant, &said),
    };
    let query = call.query.pairs().filter(|(name, _)| ["post_logout_redirect_uri", "state"].contains(name));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let action = format!("/{tenant}/oauth2/v2.0/logout?{query}");
    let mut browser = Browser::of(call);
    let ctx = Pages::ctx(call);
    if call.method == Method::POST {
        let form = match Form::read(call).await {
            Ok(form) => form,
            Err(said) => return pages.refuse(call, Some(tenants), Reason::SignInRequest, &said),
        };
        let sent = Bound { action: &action, step: form.text("step"), hidden: &[] };
        if !browser.has_sent(call, &pages.names, sent, form.text("token")) {
            return pages.refuse(call, Some(tenants), Reason::Forged, &forged());
        }
        if let Some(session) = browser.session().cloned()
            && let Err(error) = pages.sign_in.close_session(&ctx, &session).await
        {
            return Pages::failed(call, &error);
        }
        let next = next(pages, tenants, call);
        browser.signed_out();
        return browser.write(ended(next.as_deref()));
    }
    let session = match browser.session() {
        Some(secret) => match pages.sign_in.session(&ctx, secret).await {
            Ok(session) => session,
            Err(error) => return Pages::failed(call, &error),
        },
        None => None,
    };
    let snapshot = pages.sign_in.snapshot();
    let user = session.as_ref().and_then(|session| snapshot.user(session.tenant, session.user));
    let next = next(pages, tenants, call);
    let Some(user) = user else { return ended(next.as_deref()) };
    let form_target = next.as_deref().and_then(redirects::source);
    let place =
        Place { action: &action, hidden: &[], client: "", tenant: None, hint: "", form_target: form_target.clone() };
    let body = html! {
        h1 { "Sign out?" }
        p { "You are signed in as " strong { (user.name) } "." }
        (steps::form(&mut browser, &place, "sign-out", &html! { button type="submit" autofocus { "Sign out" } }))
    };
    let page = Page { form_target, ..Page::new("Sign out?", body) };
    browser.write(page.write())
}

/// Where to go on to: a registered address of an application, with the state that came.
fn next(pages: &Pages, tenants: Tenants, call: &Call) -> Option<String> {
    let one = |name| call.query.one(name).ok().flatten().filter(|value| !value.is_empty());
    let asked = one("post_logout_redirect_uri")?;
    let snapshot = pages.sign_in.snapshot();
    let of: Vec<_> = match tenants {
        Tenants::One(tenant) => vec![tenant],
        Tenants::All => snapshot.tenants().map(|tenant| tenant.id).collect(),
    };
    let mut applications = of.into_iter().flat_map(|tenant| snapshot.applications(tenant));
    applications.find(|application| redirects::registered_for_sign_out(&application.redirect_uris, asked))?;
    let state = one("state").filter(|state| state.len() <= 4096);
    let before = if asked.contains('?') { '&' } else { '?' };
    Some(match state {
        Some(state) => {
            let state = form_urlencoded::Serializer::new(String::new()).append_pair("state", state).finish();
            format!("{asked}{before}{state}")
        }
        None => asked.to_owned(),
    })
}

fn ended(next: Option<&str>) -> Reply {
    match next {
        Some(next) => go(next),
        None => {
            let body = html! { h1 { "Signed out" } p { "You are signed out here. You can close this page." } };
            Page::new("Signed out", body).write()
        }
    }
}
