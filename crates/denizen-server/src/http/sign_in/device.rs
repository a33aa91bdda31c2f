//! Deciding about a device (RFC 8628, section 3.3): somebody types the code that it shows, sees who asks and from where, signs
//! in, and decides. Whoever was sent a code by somebody else is told what it would do.

use http::{Method, StatusCode};
use maud::{Markup, html};

use super::{
    Pages, Tenants,
    authorize::{ASKED, forged},
    browser::{Bound, Browser},
    consent::{self, Consent, Question},
    form::Form,
    page::{self, Page, Said},
    request::Client,
    said,
    steps::{self, Place, Progress},
};
use crate::{
    app::{sign_in::SignInError, strangers::Reason},
    domain::{
        scopes::Scopes,
        sign_in::{SignIn, UserCode},
    },
    http::{Call, Reply},
};

const ACTION: &str = "/device";
/// The step in which the code is typed.
const FIND: &str = "find";
/// The step in which the person decides.
const DECIDE: &str = "decide";

pub(super) async fn answer(pages: &Pages, call: &mut Call) -> Reply {
    let mut browser = Browser::of(call);
    if call.method != Method::POST {
        let typed = ["user_code", "otc"].iter().find_map(|name| call.query.one(name).ok().flatten());
        let typed = typed.filter(|typed| typed.len() <= 32).unwrap_or_default().to_owned();
        let page = ask_code(call, &mut browser, &typed, None);
        return browser.write(page.write());
    }
    let form = match Form::read(call).await {
        Ok(form) => form,
        Err(said) => return pages.refuse(call, None, Reason::SignInRequest, &said),
    };
    let carried = [("user_code", form.text("user_code")), (ASKED, form.text(ASKED))];
    // The code stands in the first form to be typed, and is carried by the others; the last says what it consents to.
    let hidden = match form.text("step") {
        FIND => &carried[..0],
        DECIDE => &carried[..],
        _ => &carried[..1],
    };
    let sent = Bound { action: ACTION, step: form.text("step"), hidden };
    if !browser.has_sent(call, &pages.names, sent, form.text("token")) {
        return pages.refuse(call, None, Reason::Forged, &forged());
    }
    match step(pages, call, &mut browser, &form).await {
        Ok(page) => browser.write(page.write()),
        // What the browser got before that holds all the same: a session may have begun.
        Err(error) => browser.write(Pages::failed(call, &error)),
    }
}

async fn step(pages: &Pages, call: &Call, browser: &mut Browser, form: &Form) -> Result<Page, SignInError> {
    let (service, ctx, typed) = (&pages.sign_in, Pages::ctx(call), form.text("user_code"));
    let device = match service.device(&ctx, typed).await {
        Ok(device) => device,
        Err(SignInError::Over) => {
            let text =
                "The code is wrong, or its time is over. Compare it with what the device shows, or begin again there.";
            let page = ask_code(call, browser, "", Some(&Said { code: 70_018, text: text.to_owned() }));
            return Ok(Page { status: StatusCode::BAD_REQUEST, ..page });
        }
        Err(error @ SignInError::Locked(_)) => {
            let page = ask_code(call, browser, "", Some(&said(&error)));
            return Ok(Page { status: StatusCode::TOO_MANY_REQUESTS, ..page });
        }
        Err(error) => return Err(error),
    };
    let snapshot = service.snapshot();
    let tenants = if device.is_shared { Tenants::All } else { Tenants::One(device.tenant) };
    let Some((client, _)) = Client::find(&snapshot, tenants, device.client) else {
        return Ok(Page::refused(StatusCode::BAD_REQUEST, call, &gone()));
    };
    let tenant = if device.is_shared { client.tenant } else { Some(device.tenant) };
    let hidden = [("user_code", typed)];
    let place = Place { action: ACTION, hidden: &hidden, client: &client.name, tenant, hint: "", form_target: None };
    if steps::is_one(form.text("step")) {
        return match steps::take(pages, call, browser, form, &place).await? {
            Progress::Show(page) => Ok(page),
            Progress::SignedIn(sign_in) => {
                let session = service.open_session(&ctx, &sign_in, browser.session()).await?;
                browser.signed_in(session);
                confirm(pages, call, browser, &place, &device, &client, &sign_in)
            }
        };
    }
    let session = match browser.session() {
        Some(secret) => service.session(&ctx, secret).await?,
        None => None,
    };
    let Some(session) = session.filter(|session| tenant.is_none_or(|tenant| tenant == session.tenant)) else {
        return Ok(steps::password(call, browser, &place, "", None));
    };
    match (form.text("step"), form.text("decision")) {
        (DECIDE, "approve") => match question(pages, &client, &session, &device) {
            // What the application asks for may have changed since the page was shown.
            Ok((question, _)) if asked_of(question.as_ref()) != form.text(ASKED) => {
                confirm(pages, call, browser, &place, &device, &client, &session)
            }
            Ok((question, _)) => {
                if let Some(Question { client, resource, permissions, .. }) = question {
                    service.consent(&ctx, &session, client, resource, &permissions).await?;
                }
                decide(pages, call, &device, &client, &session, true).await
            }
            Err(said) => Ok(Page::refused(StatusCode::BAD_REQUEST, call, &said)),
        },
        (DECIDE, "decline") => decide(pages, call, &device, &client, &session, false).await,
        (DECIDE, _) => Ok(steps::password(call, browser, &place, "", None)),
        _ => confirm(pages, call, browser, &place, &device, &client, &session),
    }
}

fn gone() -> Said {
    Said { code: 700_016, text: "The application that asked was not found in this directory any more.".to_owned() }
}

/// What the client would be allowed beside, or why it cannot be.
fn question(
    pages: &Pages,
    client: &Client,
    session: &SignIn,
    device: &UserCode,
) -> Result<(Option<Question>, Scopes), Said> {
    // It was read when it was kept.
    let unread = |_| Said { code: 70_011, text: "The scope of the device's request cannot be read.".to_owned() };
    let scopes = Scopes::parse(&device.scope).map_err(unread)?;
    match consent::needed(pages, &pages.sign_in.snapshot(), session, client, &scopes, false) {
        Consent::Given => Ok((None, scopes)),
        Consent::Ask(question) => Ok((Some(question), scopes)),
        Consent::Refused(refused) => Err(refused.said),
    }
}

/// What the person consents to beside, as the form carries it.
fn asked_of(question: Option<&Question>) -> String {
    question.map(Question::asked).unwrap_or_default()
}

fn confirm(
    pages: &Pages,
    call: &Call,
    browser: &mut Browser,
    place: &Place<'_>,
    device: &UserCode,
    client: &Client,
    session: &SignIn,
) -> Result<Page, SignInError> {
    let snapshot = pages.sign_in.snapshot();
    let user = snapshot.user(session.tenant, session.user).ok_or(SignInError::Over)?;
    let (question, scopes) = match question(pages, client, session, device) {
        Ok(found) => found,
        Err(said) => return Ok(Page::refused(StatusCode::BAD_REQUEST, call, &said)),
    };
    let asked = asked_of(question.as_ref());
    let hidden: Vec<_> = place.hidden.iter().copied().chain([(ASKED, asked.as_str())]).collect();
    let fields = html! {
        button type="submit" name="decision" value="approve" { "Approve" }
        button.other type="submit" name="decision" value="decline" { "Decline" }
        button.other type="submit" name="decision" value="other" { "Use another account" }
    };
    let body = html! {
        h1 { "Sign in to a device?" }
        p { "Approve only if you have started this yourself, just now. If somebody has sent you the code, decline: it would sign "
            "them in as you." }
        dl {
            dt { "Program" }
            dd { (client.name) }
            @if let Some(address) = device.address { dt { "Asked from" } dd { (address) } }
            dt { "As" }
            dd { (user.name) }
        }
        @if let Some(question) = &question { (question.list(client, &scopes)) }
        (steps::form(browser, &Place { hidden: &hidden, ..place.clone() }, DECIDE, &fields))
    };
    Ok(Page::new("Sign in to a device?", body))
}

async fn decide(
    pages: &Pages,
    call: &Call,
    device: &UserCode,
    client: &Client,
    session: &SignIn,
    approves: bool,
) -> Result<Page, SignInError> {
    let (service, ctx) = (&pages.sign_in, Pages::ctx(call));
    match service.decide(&ctx, session, device, approves).await {
        Ok(()) => {}
        Err(error @ (SignInError::Over | SignInError::Wrong)) => {
            return Ok(Page::refused(StatusCode::BAD_REQUEST, call, &said(&error)));
        }
        Err(error) => return Err(error),
    }
    let text: Markup = match approves {
        true => html! { p { strong { (client.name) } " is signed in. Go back to it; you can close this page." } },
        false => html! { p { "Nothing was given to " strong { (client.name) } ". You can close this page." } },
    };
    let title = if approves { "Device signed in" } else { "Device declined" };
    Ok(Page::new(title, html! { h1 { (title) } (text) }))
}

fn ask_code(call: &Call, browser: &mut Browser, typed: &str, wrong: Option<&Said>) -> Page {
    let is_wrong = wrong.is_some().then_some("true");
    let place = Place { action: ACTION, hidden: &[], client: "", tenant: None, hint: "", form_target: None };
    let fields = html! {
        label for="user_code" { "Code" }
        p.soft id="code-hint" { "The letters and digits that the program or the device shows." }
        input id="user_code" name="user_code" type="text" value=(typed) autocomplete="off" autocapitalize="characters"
            spellcheck="false" maxlength="32" required autofocus aria-describedby="code-hint" aria-invalid=[is_wrong];
        button type="submit" { "Continue" }
    };
    let body = html! {
        h1 { "Enter the code" }
        @if let Some(said) = wrong { (page::error(said)) }
        (steps::form(browser, &place, FIND, &fields))
        @if let Some(said) = wrong { (page::ids(call, said.code)) }
    };
    Page::new("Enter the code", body)
}
