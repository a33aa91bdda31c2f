//! Signing in, step by step: name and password, then a code of the second factor, then a new password where somebody else knows
//! the old one. Each step is a form that is posted to where the first one was.

use denizen_keys::SecretString;
use denizen_wire::TenantId;
use http::StatusCode;
use maud::{Markup, html};
use uuid::Uuid;

use super::{
    Pages,
    browser::{Bound, Browser},
    form::Form,
    page::{self, Page, Said},
    said,
};
use crate::{
    app::sign_in::{SignInError, Step},
    domain::sign_in::{NextStep, SignIn},
    http::Call,
};

/// The longest name that is looked up, bytes.
const LONGEST_NAME: usize = 256;

/// Where the steps are taken.
#[derive(Clone)]
pub(super) struct Place<'p> {
    /// Where the forms are posted to.
    pub(super) action: &'p str,
    /// What they carry beside their own fields.
    pub(super) hidden: &'p [(&'p str, &'p str)],
    /// For whom.
    pub(super) client: &'p str,
    /// The tenant whose users may sign in; none for all.
    pub(super) tenant: Option<TenantId>,
    /// The name to begin with.
    pub(super) hint: &'p str,
    /// Where the last form may end.
    pub(super) form_target: Option<String>,
}

/// What came of a step.
pub(super) enum Progress {
    /// The user has signed in.
    SignedIn(SignIn),
    /// There is more to do.
    Show(Page),
}

/// Whether a form is one of these steps.
pub(super) fn is_one(step: &str) -> bool {
    ["password", "code", "new-password"].contains(&step)
}

/// Takes the step that a form is. The form is known to be ours.
///
/// # Errors
/// What failed is ours.
pub(super) async fn take(
    pages: &Pages,
    call: &Call,
    browser: &mut Browser,
    form: &Form,
    place: &Place<'_>,
) -> Result<Progress, SignInError> {
    let (service, ctx) = (&pages.sign_in, Pages::ctx(call));
    let empty = SecretString::from("");
    let secret = |name: &str| form.secret(name).unwrap_or(&empty);
    let taken = match form.text("step") {
        "code" => match browser.step().cloned() {
            Some(step) => service.code(&ctx, &step, form.text("code")).await,
            None => Err(SignInError::Over),
        },
        "new-password" => match browser.step().cloned() {
            Some(_) if form.text("new") != form.text("again") => {
                Err(SignInError::NewPassword("the two new passwords differ: type the same twice".to_owned()))
            }
            Some(step) => service.new_password(&ctx, &step, secret("new")).await.map(Step::Done),
            None => Err(SignInError::Over),
        },
        _ => {
            let name: String = form.text("name").trim().chars().take(LONGEST_NAME).collect();
            service.password(&ctx, tenant_of(pages, place, &name), &name, secret("password")).await
        }
    };
    match taken {
        Ok(Step::Done(sign_in)) => {
            browser.forget_step();
            Ok(Progress::SignedIn(sign_in))
        }
        Ok(Step::Next(next, sign_in)) => {
            browser.at_step(service.keep(&ctx, next, &sign_in).await?);
            Ok(Progress::Show(match next {
                NextStep::Code => code(call, browser, place, None),
                NextStep::NewPassword => new_password(call, browser, place, None),
            }))
        }
        Err(error) if error.is_transient() && !matches!(error, SignInError::Unhashed(_)) => Err(error),
        Err(error) => {
            let status = match &error {
                SignInError::Locked(_) => StatusCode::TOO_MANY_REQUESTS,
                SignInError::Unhashed(_) => StatusCode::SERVICE_UNAVAILABLE,
                SignInError::Wrong
                | SignInError::Disabled
                | SignInError::SecondFactor
                | SignInError::MustChange
                | SignInError::WrongCode
                | SignInError::Over
                | SignInError::NewPassword(_)
                | SignInError::Store(_)
                | SignInError::Key(_)
                | SignInError::Change(_) => StatusCode::BAD_REQUEST,
            };
            let said = said(&error);
            let page = match (&error, form.text("step")) {
                (SignInError::WrongCode | SignInError::Locked(_), "code") => code(call, browser, place, Some(&said)),
                (SignInError::NewPassword(_), _)
                | (SignInError::Unhashed(_) | SignInError::Locked(_), "new-password") => {
                    new_password(call, browser, place, Some(&said))
                }
                _ => {
                    browser.forget_step();
                    password(call, browser, place, form.text("name"), Some(&said))
                }
            };
            Ok(Progress::Show(Page { status, ..page }))
        }
    }
}

/// The tenant in which a name is looked up: the only one, or the one of its domain. Where there is none it is looked up in vain.
fn tenant_of(pages: &Pages, place: &Place<'_>, name: &str) -> TenantId {
    let of_domain = || {
        let (_, domain) = name.rsplit_once('@')?;
        Some(pages.sign_in.snapshot().tenant_named(domain)?.id)
    };
    place.tenant.or_else(of_domain).unwrap_or(TenantId(Uuid::nil()))
}

/// The first step.
pub(super) fn password(
    call: &Call,
    browser: &mut Browser,
    place: &Place<'_>,
    name: &str,
    wrong: Option<&Said>,
) -> Page {
    let name = if name.is_empty() { place.hint } else { name };
    let (is_wrong, begins_there) = (wrong.is_some().then_some("true"), name.is_empty());
    let fields = html! {
        label for="name" { "User name" }
        input id="name" name="name" type="text" value=(name) placeholder="name@domain" autocomplete="username"
            autocapitalize="none" spellcheck="false" maxlength="256" required autofocus[begins_there] aria-invalid=[is_wrong];
        label for="password" { "Password" }
        input id="password" name="password" type="password" autocomplete="current-password" maxlength="256" required
            autofocus[!begins_there] aria-invalid=[is_wrong];
        button type="submit" { "Sign in" }
    };
    step(call, browser, place, "Sign in", "password", wrong, &fields)
}

fn code(call: &Call, browser: &mut Browser, place: &Place<'_>, wrong: Option<&Said>) -> Page {
    let is_wrong = wrong.is_some().then_some("true");
    let fields = html! {
        label for="code" { "Code" }
        p.soft id="code-hint" { "The six digits that your authenticator app shows." }
        input id="code" name="code" type="text" inputmode="numeric" autocomplete="one-time-code" maxlength="16" required
            autofocus aria-describedby="code-hint" aria-invalid=[is_wrong];
        button type="submit" { "Continue" }
    };
    step(call, browser, place, "Enter your code", "code", wrong, &fields)
}

fn new_password(call: &Call, browser: &mut Browser, place: &Place<'_>, wrong: Option<&Said>) -> Page {
    let is_wrong = wrong.is_some().then_some("true");
    let fields = html! {
        p id="rule" { "Somebody else has set your password. Choose your own: 8 to 256 characters, without your name." }
        label for="new" { "New password" }
        input id="new" name="new" type="password" autocomplete="new-password" maxlength="256" required autofocus
            aria-describedby="rule" aria-invalid=[is_wrong];
        label for="again" { "New password again" }
        input id="again" name="again" type="password" autocomplete="new-password" maxlength="256" required
            aria-invalid=[is_wrong];
        button type="submit" { "Continue" }
    };
    step(call, browser, place, "Choose a new password", "new-password", wrong, &fields)
}

fn step(
    call: &Call,
    browser: &mut Browser,
    place: &Place<'_>,
    title: &'static str,
    name: &str,
    wrong: Option<&Said>,
    fields: &Markup,
) -> Page {
    let body = html! {
        h1 { (title) }
        p.soft { "to continue to " (place.client) }
        @if let Some(said) = wrong { (page::error(said)) }
        (form(browser, place, name, fields))
        @if let Some(said) = wrong { (page::ids(call, said.code)) }
    };
    Page { form_target: place.form_target.clone(), ..Page::new(title, body) }
}

/// A form of ours.
pub(super) fn form(browser: &mut Browser, place: &Place<'_>, step: &str, fields: &Markup) -> Markup {
    let token = browser.token(Bound { action: place.action, step, hidden: place.hidden });
    html! {
        form method="post" action=(place.action) {
            input type="hidden" name="token" value=(token);
            input type="hidden" name="step" value=(step);
            @for (name, value) in place.hidden { input type="hidden" name=(name) value=(value); }
            (fields)
        }
    }
}
