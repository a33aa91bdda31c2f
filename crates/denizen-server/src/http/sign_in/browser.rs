//! What a browser keeps for us, and whether a form that it posts is ours.
//!
//! | cookie | is |
//! |---|---|
//! | `__Host-denizen-browser` | random, new at each sign-in: what forms are bound to before there is a session |
//! | `__Host-denizen-session` | the session, once its user has signed in |
//! | `__Host-denizen-step` | how far a sign-in has come |
//!
//! `__Host-` cookies are set by this host alone, over TLS (RFC 6265bis): nobody can plant one, so none can be fixed. A form's
//! token is a digest of the first two and of the form: where it is posted, its step and what it carries. So it is worth nothing
//! in another browser, nor after a sign-in, nor for another question. Where the browser says from where a form was sent, it must
//! have been from here.

use denizen_keys::{SecretString, b64, constant_time_eq, hash::sha256_of, random};
use http::{HeaderValue, header};

use crate::http::{Call, PublicNames, Reply};

const BROWSER: &str = "__Host-denizen-browser";
const SESSION: &str = "__Host-denizen-session";
const STEP: &str = "__Host-denizen-step";
/// Each is 32 random bytes in base64url.
const LENGTH: usize = 43;

/// A form of ours, as its token has it.
#[derive(Clone, Copy)]
pub(super) struct Bound<'f> {
    /// Where it is posted.
    pub(super) action: &'f str,
    /// Which step it is.
    pub(super) step: &'f str,
    /// What it carries.
    pub(super) hidden: &'f [(&'f str, &'f str)],
}

/// What the browser has shown, and what it is to keep.
pub(super) struct Browser {
    seed: Option<SecretString>,
    session: Option<SecretString>,
    step: Option<SecretString>,
    keep: Vec<(&'static str, Option<SecretString>)>,
}

impl Browser {
    pub(super) fn of(call: &Call) -> Self {
        Self { seed: cookie(call, BROWSER), session: cookie(call, SESSION), step: cookie(call, STEP), keep: Vec::new() }
    }

    pub(super) fn session(&self) -> Option<&SecretString> {
        self.session.as_ref()
    }

    pub(super) fn step(&self) -> Option<&SecretString> {
        self.step.as_ref()
    }

    /// A session has begun: everything that the browser had before is worth nothing.
    pub(super) fn signed_in(&mut self, session: SecretString) {
        self.keep_seed(random::token(32));
        self.session = Some(session.clone());
        self.keep.push((SESSION, Some(session)));
        self.forget_step();
    }

    /// The session is over.
    pub(super) fn signed_out(&mut self) {
        self.keep_seed(random::token(32));
        self.session = None;
        self.keep.push((SESSION, None));
        self.forget_step();
    }

    /// The password was right.
    pub(super) fn at_step(&mut self, step: SecretString) {
        self.step = Some(step.clone());
        self.keep.push((STEP, Some(step)));
    }

    pub(super) fn forget_step(&mut self) {
        if self.step.take().is_some() {
            self.keep.push((STEP, None));
        }
    }

    /// The token that a form of ours carries.
    pub(super) fn token(&mut self, form: Bound<'_>) -> String {
        match self.bound(form) {
            Some(token) => token,
            None => {
                self.keep_seed(random::token(32));
                self.bound(form).unwrap_or_default()
            }
        }
    }

    /// Whether this form with this token is one that we have given this browser, sent from a page of ours.
    pub(super) fn has_sent(&self, call: &Call, names: &PublicNames, form: Bound<'_>, token: &str) -> bool {
        let is_bound = self.bound(form).is_some_and(|bound| constant_time_eq(bound.as_bytes(), token.as_bytes()));
        is_bound && is_from_here(call, names)
    }

    /// Gives the answer the cookies that have changed.
    pub(super) fn write(self, mut reply: Reply) -> Reply {
        for (name, value) in self.keep {
            let cookie = match &value {
                Some(value) => format!("{name}={}; Path=/; Secure; HttpOnly; SameSite=Lax", value.expose()),
                None => format!("{name}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"),
            };
            if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
                cookie.set_sensitive(true);
                reply.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        reply
    }

    fn keep_seed(&mut self, seed: SecretString) {
        self.keep.retain(|(name, _)| *name != BROWSER);
        self.seed = Some(seed.clone());
        self.keep.push((BROWSER, Some(seed)));
    }

    fn bound(&self, form: Bound<'_>) -> Option<String> {
        let session = self.session.as_ref().map_or("", SecretString::expose);
        let seed = self.seed.as_ref()?.expose();
        let hidden = form.hidden.iter().flat_map(|(name, value)| [*name, *value]);
        let texts: Vec<&str> = [seed, session, form.action, form.step].into_iter().chain(hidden).collect();
        // Each with its length before it, so that no two lists are the same bytes.
        let lengths: Vec<[u8; 8]> = texts.iter().map(|text| (text.len() as u64).to_be_bytes()).collect();
        let parts = lengths.iter().zip(&texts).flat_map(|(length, text)| [length.as_slice(), text.as_bytes()]);
        Some(b64::url(&sha256_of(&parts.collect::<Vec<_>>())))
    }
}

/// Whether a page of ours has sent it, as far as the browser says. The token decides as well.
fn is_from_here(call: &Call, names: &PublicNames) -> bool {
    let site = call.header("sec-fetch-site").is_none_or(|site| site == "same-origin");
    let origin = call.headers.get(header::ORIGIN).is_none_or(|origin| {
        let ours = std::iter::once(&names.authority).chain(&names.other_authorities);
        ours.into_iter().any(|ours| origin.as_bytes().eq_ignore_ascii_case(ours.as_bytes()))
    });
    site && origin
}

/// A cookie of ours; none when it is not one that we have made, or is there twice.
fn cookie(call: &Call, name: &str) -> Option<SecretString> {
    // As bytes: a cookie of somebody else's that is not ASCII hides none of ours.
    let all = call.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = all.flat_map(|text| text.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let mut named = pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    let is_token = |value: &&[u8]| {
        value.len() == LENGTH && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    };
    match (named.next(), named.next()) {
        (Some(value), None) => std::str::from_utf8(Some(value).filter(is_token)?).ok().map(SecretString::from),
        _ => None,
    }
}
