//! The authorization endpoint.

use denizen_keys::SecretString;
use http::{HeaderValue, Method, StatusCode, header};
use maud::html;

use super::{
    Endpoint, Pages, Tenants,
    browser::{Bound, Browser},
    consent::{self, Consent, Question},
    form::Form,
    page::{self, Page, Said},
    request::{self, Asked, Mode, Prompt, Refused, Target},
    steps::{self, Place, Progress},
};
use crate::{
    app::{
        sign_in::{SignInError, browser::NewCode},
        strangers::Reason,
    },
    domain::{
        claims,
        directory::TokenVersion,
        redirects::{self, Platform},
        sign_in::{STEPS_LIFETIME, SignIn},
    },
    http::{Call, Reply, reply},
};

/// What a consent is given to, in the form.
pub(super) const ASKED: &str = "asked";

/// One request, as far as it is read.
struct Flow<'f> {
    pages: &'f Pages,
    call: &'f Call,
    endpoint: Endpoint,
    tenants: Tenants,
    target: Target,
    asked: Asked,
    action: String,
}

pub(super) async fn answer(pages: &Pages, tenant: &str, call: &mut Call, endpoint: Endpoint) -> Reply {
    let tenants = match pages.tenants(tenant) {
        Ok(tenants) => tenants,
        Err(said) => return pages.refuse(call, None, Reason::Tenant, &said),
    };
    let target = match Target::read(&pages.sign_in.snapshot(), tenants, &call.query) {
        Ok(target) => target,
        Err(said) => return pages.refuse(call, Some(tenants), Reason::SignInRequest, &said),
    };
    let asked = match Asked::read(&target, endpoint, &call.query) {
        Ok(asked) => asked,
        Err(refused) => return error(pages, call, endpoint, tenants, &target, &refused),
    };
    let path = match endpoint {
        Endpoint::V1 => format!("/{tenant}/oauth2/authorize"),
        Endpoint::V2 => format!("/{tenant}/oauth2/v2.0/authorize"),
    };
    let action = request::action(&path, &call.query);
    let form = match call.method {
        Method::POST => match Form::read(call).await {
            Ok(form) => Some(form),
            Err(said) => return pages.refuse(call, Some(tenants), Reason::SignInRequest, &said),
        },
        _ => None,
    };
    let mut browser = Browser::of(call);
    let flow = Flow { pages, call, endpoint, tenants, target, asked, action };
    let answered = match &form {
        None => flow.begin(&mut browser).await,
        Some(form) if flow.has_sent(&browser, form) => flow.step(&mut browser, form).await,
        Some(_) => return pages.refuse(call, Some(tenants), Reason::Forged, &forged()),
    };
    match answered {
        Ok(reply) => browser.write(reply),
        // What the browser got before that holds all the same: a session may have begun.
        Err(error) => browser.write(Pages::failed(call, &error)),
    }
}

/// What is said of a form that is none of ours, or is of another browser or of before the sign-in.
pub(super) fn forged() -> Said {
    let text = "This form is out of date, or was not sent from here. Go back to the program that you came from, and begin \
                again. Cookies must be allowed.";
    Said { code: 165_000, text: text.to_owned() }
}

impl Flow<'_> {
    fn has_sent(&self, browser: &Browser, form: &Form) -> bool {
        let asked = [(ASKED, form.text(ASKED))];
        let hidden: &[_] = if form.text("step") == "consent" { &asked } else { &[] };
        let sent = Bound { action: &self.action, step: form.text("step"), hidden };
        browser.has_sent(self.call, &self.pages.names, sent, form.text("token"))
    }

    async fn begin(&self, browser: &mut Browser) -> Result<Reply, SignInError> {
        let session = self.session(browser).await?.filter(|session| self.is_young(session));
        match (self.asked.prompt, session) {
            (Prompt::None, None) => {
                let text = "Session information is not sufficient for single-sign-on. Send the user to sign in.";
                Ok(self.error(&Refused::new("login_required", 50_058, text)))
            }
            (Prompt::Login, _) | (_, None) => Ok(steps::password(self.call, browser, &self.place(), "", None).write()),
            (Prompt::None, Some(_)) if self.may_be_anybody() => {
                let text = "The client is a program that any other on that machine can pass itself off as, so somebody has to \
                            say that it is wanted. Send the user without prompt=none.";
                Ok(self.error(&Refused::new("interaction_required", 16_000, text)))
            }
            (Prompt::SelectAccount, Some(session)) => Ok(self.pick(browser, &session)),
            (Prompt::AsNeeded | Prompt::Consent, Some(session)) if self.may_be_anybody() => {
                Ok(self.pick(browser, &session))
            }
            (Prompt::AsNeeded | Prompt::Consent | Prompt::None, Some(session)) => {
                self.signed_in(browser, &session, None).await
            }
        }
    }

    async fn step(&self, browser: &mut Browser, form: &Form) -> Result<Reply, SignInError> {
        let step = form.text("step");
        if steps::is_one(step) {
            return match steps::take(self.pages, self.call, browser, form, &self.place()).await? {
                Progress::Show(page) => Ok(page.write()),
                Progress::SignedIn(sign_in) => {
                    let ctx = Pages::ctx(self.call);
                    let session = self.pages.sign_in.open_session(&ctx, &sign_in, browser.session()).await?;
                    browser.signed_in(session);
                    self.signed_in(browser, &sign_in, None).await
                }
            };
        }
        let again = |browser: &mut Browser| steps::password(self.call, browser, &self.place(), "", None).write();
        let session = self.session(browser).await?.filter(|session| self.is_of_this(session, step));
        let Some(session) = session else { return Ok(again(browser)) };
        match (step, form.text("decision")) {
            ("account", "continue") if self.asked.prompt != Prompt::Login => {
                self.signed_in(browser, &session, None).await
            }
            ("consent", "accept") => self.signed_in(browser, &session, Some(form.text(ASKED))).await,
            ("consent", _) => {
                let text = "The user declined to consent to access the app.";
                Ok(self.error(&Refused::new("access_denied", 65_004, text)))
            }
            _ => Ok(again(browser)),
        }
    }

    /// Who has signed in in this browser, if it is somebody whom this client can be told of.
    async fn session(&self, browser: &Browser) -> Result<Option<SignIn>, SignInError> {
        let Some(secret) = browser.session() else { return Ok(None) };
        let session = self.pages.sign_in.session(&Pages::ctx(self.call), secret).await?;
        Ok(session.filter(|session| self.tenant().is_none_or(|tenant| tenant == session.tenant)))
    }

    /// Whether nothing shows that the client is who it says (RFC 8252, section 8.6): whatever runs on the person's machine can
    /// listen where the answer goes.
    fn may_be_anybody(&self) -> bool {
        self.target.platform == Platform::PublicClient
    }

    /// The tenant whose users can sign in; none for all.
    fn tenant(&self) -> Option<denizen_wire::TenantId> {
        match self.tenants {
            Tenants::One(tenant) => Some(tenant),
            Tenants::All => self.target.client.tenant,
        }
    }

    /// Whether a sign-in is as young as the client wants it.
    fn is_young(&self, session: &SignIn) -> bool {
        self.asked.max_age.is_none_or(|age| self.call.now <= session.at + age)
    }

    /// Whether a sign-in can be the one that the client has insisted on. A consent is bound to the session and to the client's
    /// question, so it was asked for when the sign-in was young enough, and the person had to read it.
    fn is_of_this(&self, session: &SignIn, step: &str) -> bool {
        let is_new = step == "consent" && self.call.now <= session.at + STEPS_LIFETIME;
        is_new || self.asked.prompt != Prompt::Login && self.is_young(session)
    }

    /// Gives the code, or asks for consent. `accepted` is what the person has consented to just now.
    async fn signed_in(
        &self,
        browser: &mut Browser,
        sign_in: &SignIn,
        accepted: Option<&str>,
    ) -> Result<Reply, SignInError> {
        let snapshot = self.pages.sign_in.snapshot();
        let mut target = self.target.clone();
        if self.tenants == Tenants::All {
            // The user's tenant may have registered the client otherwise.
            target = match Target::read(&snapshot, Tenants::One(sign_in.tenant), &self.call.query) {
                Ok(target) => target,
                Err(said) => {
                    let tenants = Some(Tenants::One(sign_in.tenant));
                    return Ok(self.pages.refuse(self.call, tenants, Reason::SignInRequest, &said));
                }
            };
        }
        let again = self.asked.prompt == Prompt::Consent && accepted.is_none();
        match consent::needed(self.pages, &snapshot, sign_in, &target.client, &self.asked.scopes, again) {
            Consent::Given => {}
            Consent::Refused(refused) => return Ok(self.error(&refused)),
            Consent::Ask(_) if self.asked.prompt == Prompt::None => {
                let text = "The user or administrator has not consented to use the application. Send an interactive \
                            authorization request for this user and resource.";
                return Ok(self.error(&Refused::new("consent_required", 65_001, text)));
            }
            // What the application asks for may have changed since the page was shown.
            Consent::Ask(question) if accepted.is_some_and(|accepted| accepted == question.asked()) => {
                let Question { client, resource, permissions, .. } = &question;
                let ctx = Pages::ctx(self.call);
                self.pages.sign_in.consent(&ctx, sign_in, *client, *resource, permissions).await?;
            }
            Consent::Ask(question) => return Ok(self.ask(browser, sign_in, &question)),
        }
        let new = NewCode {
            client: target.client.id,
            redirect_uri: target.redirect_uri.clone(),
            scope: self.asked.scopes.text(),
            nonce: self.asked.nonce.clone(),
            challenge: self.asked.challenge.clone(),
        };
        let code: SecretString = self.pages.sign_in.issue_code(&Pages::ctx(self.call), sign_in, &new).await?;
        let issuer = self.issuer(Tenants::One(sign_in.tenant));
        Ok(send(&target, &[("code", code.expose()), ("iss", &issuer)]))
    }

    fn place(&self) -> Place<'_> {
        Place {
            action: &self.action,
            hidden: &[],
            client: &self.target.client.name,
            tenant: self.tenant(),
            hint: self.asked.login_hint.as_deref().unwrap_or_default(),
            form_target: redirects::source(&self.target.redirect_uri),
        }
    }

    /// Asks which account it is to be.
    fn pick(&self, browser: &mut Browser, session: &SignIn) -> Reply {
        let name = self.name_of(session);
        let fields = html! {
            button type="submit" name="decision" value="continue" { "Continue as " (name) }
            button.other type="submit" name="decision" value="other" { "Use another account" }
        };
        let body = html! {
            h1 { "Choose an account" }
            p.soft { "to continue to " (self.target.client.name) }
            @if self.may_be_anybody() { p { "Continue only if you have just started it yourself." } }
            (steps::form(browser, &self.place(), "account", &fields))
        };
        Page { form_target: self.place().form_target, ..Page::new("Choose an account", body) }.write()
    }

    /// Asks what the client may do.
    fn ask(&self, browser: &mut Browser, session: &SignIn, question: &Question) -> Reply {
        let fields = html! {
            button type="submit" name="decision" value="accept" { "Accept" }
            button.other type="submit" name="decision" value="decline" { "Decline" }
        };
        let (place, asked) = (self.place(), question.asked());
        let hidden = [(ASKED, asked.as_str())];
        let place = Place { hidden: &hidden, ..place };
        let body = html! {
            h1 { "Permissions requested" }
            p.soft { "You are signed in as " (self.name_of(session)) }
            (question.list(&self.target.client, &self.asked.scopes))
            p.soft { "It is sent to " (self.target.redirect_uri) }
            (steps::form(browser, &place, "consent", &fields))
        };
        Page { form_target: self.place().form_target, ..Page::new("Permissions requested", body) }.write()
    }

    fn name_of(&self, session: &SignIn) -> String {
        self.pages
            .sign_in
            .snapshot()
            .user(session.tenant, session.user)
            .map(|user| user.name.to_string())
            .unwrap_or_default()
    }

    fn issuer(&self, tenants: Tenants) -> String {
        issuer(self.pages, self.endpoint, tenants)
    }

    fn error(&self, refused: &Refused) -> Reply {
        error(self.pages, self.call, self.endpoint, self.tenants, &self.target, refused)
    }
}

/// Who answers (RFC 9207): a client that asks several knows from which one this comes.
fn issuer(pages: &Pages, endpoint: Endpoint, tenants: Tenants) -> String {
    let (authority, version) = (
        &pages.names.authority,
        match endpoint {
            Endpoint::V1 => TokenVersion::V1,
            Endpoint::V2 => TokenVersion::V2,
        },
    );
    match (tenants, version) {
        (Tenants::One(tenant), _) => claims::issuer(authority, tenant, version),
        // As the shared documents write it.
        (Tenants::All, TokenVersion::V1) => format!("{authority}/{{tenantid}}/"),
        (Tenants::All, TokenVersion::V2) => format!("{authority}/{{tenantid}}/v2.0"),
    }
}

/// Sends the browser back with an error.
fn error(
    pages: &Pages,
    call: &Call,
    endpoint: Endpoint,
    tenants: Tenants,
    target: &Target,
    refused: &Refused,
) -> Reply {
    let correlation = call.correlation_id.unwrap_or(call.request_id);
    let Refused { error, said } = refused;
    let text = denizen_wire::oauth::Error::new(error, said.code, &said.text, call.request_id, correlation, call.now);
    let issuer = issuer(pages, endpoint, target.client.tenant.map_or(tenants, Tenants::One));
    send(target, &[("error", error), ("error_description", &text.error_description), ("iss", &issuer)])
}

/// Sends the browser back. The redirect URI is one of the client's, in visible ASCII.
fn send(target: &Target, parameters: &[(&str, &str)]) -> Reply {
    let all = || parameters.iter().copied().chain(target.state.as_deref().map(|state| ("state", state)));
    let uri = &target.redirect_uri;
    if target.mode == Mode::FormPost {
        let body = html! {
            h1 { "Almost done" }
            p { "Continue to " strong { (target.client.name) } "." }
            form method="post" action=(uri) {
                @for (name, value) in all() { input type="hidden" name=(name) value=(value); }
                button type="submit" autofocus { "Continue" }
            }
        };
        let mut page = Page { form_target: redirects::source(uri), ..Page::new("Almost done", body) }.write();
        // The client sees from where it is posted, and nothing of the address.
        page.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("strict-origin"));
        return page;
    }
    let written = form_urlencoded::Serializer::new(String::new()).extend_pairs(all()).finish();
    let before = match target.mode {
        Mode::Fragment => '#',
        Mode::Query | Mode::FormPost if uri.contains('?') => '&',
        Mode::Query | Mode::FormPost => '?',
    };
    go(&format!("{uri}{before}{written}"))
}

/// Sends the browser to an address with GET.
pub(super) fn go(to: &str) -> Reply {
    let mut reply = reply::empty(StatusCode::SEE_OTHER);
    page::guard(&mut reply, None);
    if let Ok(to) = HeaderValue::from_str(to) {
        reply.headers_mut().insert(header::LOCATION, to);
    }
    reply
}
