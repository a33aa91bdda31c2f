//! The pages: plain HTML, one style sheet within, no script, and the headers that let nothing else in.
//!
//! The policy allows the one style sheet by its digest, and forms to us and to where the client is. Everything that is not
//! ours goes through maud, which escapes it. Tests: `tests.rs` beside `sign_in.rs`, and the browser's.

use std::sync::LazyLock;

use denizen_keys::{b64, hash::sha256};
use http::{HeaderName, HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::http::{Call, Reply, reply};

/// Contrast is 4.5 to 1 or more everywhere, in both schemes.
const STYLE: &str = "\
:root{color-scheme:light dark;--back:#f3f5f7;--card:#fff;--text:#1b1f24;--soft:#4a5460;--line:#7a8694;--main:#0b5cab;--on:#fff;--bad:#a4262c;--badback:#fdf3f4}\
@media(prefers-color-scheme:dark){:root{--back:#14181d;--card:#1e242b;--text:#eef1f4;--soft:#b4bdc7;--line:#8793a0;--main:#7fb8f5;--on:#0d1117;--bad:#ffb3b8;--badback:#3a1f22}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--back);color:var(--text);font:1rem/1.5 system-ui,sans-serif;display:flex;min-height:100vh;align-items:center;justify-content:center;padding:1rem}\
main{background:var(--card);width:100%;max-width:27rem;padding:2rem;border:1px solid var(--line);border-radius:.5rem}\
h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}\
p,ul,dl{margin:0 0 1rem}\
.soft,dt{color:var(--soft)}\
dd{margin:0 0 .5rem;font-weight:600;overflow-wrap:anywhere}\
label{display:block;font-weight:600;margin:0 0 .25rem}\
input{display:block;width:100%;font:inherit;padding:.6rem .75rem;margin:0 0 1rem;color:inherit;background:transparent;border:1px solid var(--line);border-radius:.25rem}\
input[aria-invalid]{border-color:var(--bad)}\
button{font:inherit;font-weight:600;padding:.6rem 1.25rem;margin:0 .5rem .5rem 0;color:var(--on);background:var(--main);border:1px solid var(--main);border-radius:.25rem;cursor:pointer}\
button.other{color:var(--main);background:transparent}\
a{color:var(--main)}\
:focus-visible{outline:3px solid var(--main);outline-offset:2px}\
.error{color:var(--bad);background:var(--badback);border-left:4px solid var(--bad);padding:.75rem 1rem;margin:0 0 1rem}\
.error p{margin:0}\
.ids{font-size:.8125rem;color:var(--soft);overflow-wrap:anywhere;margin:1.5rem 0 0}";

/// By which the policy knows the style sheet.
static STYLE_DIGEST: LazyLock<String> = LazyLock::new(|| b64::standard(&sha256(STYLE.as_bytes())));

/// What has to be mended, and what people search for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The AADSTS number.
    pub(super) code: i32,
    /// What is wrong, and the fix.
    pub(super) text: String,
}

/// A page, not yet bytes.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) title: &'static str,
    pub(super) body: Markup,
    /// Where a form of it may end beside here.
    pub(super) form_target: Option<String>,
}

impl Page {
    pub(super) fn new(title: &'static str, body: Markup) -> Self {
        Self { status: StatusCode::OK, title, body, form_target: None }
    }

    /// Says that nothing can be done here.
    pub(super) fn refused(status: StatusCode, call: &Call, said: &Said) -> Self {
        let body = html! {
            h1 { "Sign-in is not possible" }
            (error(said))
            (ids(call, said.code))
        };
        Self { status, ..Self::new("Sign-in is not possible", body) }
    }

    pub(super) fn write(self) -> Reply {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width,initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (self.title) " - Denizen" }
                    style { (PreEscaped(STYLE)) }
                }
                body { main { (self.body) } }
            }
        };
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        let mut reply = reply::whole(self.status, html, page.into_string().into());
        guard(&mut reply, self.form_target.as_deref());
        reply
    }
}

/// What every answer to a browser has.
pub(super) fn guard(reply: &mut Reply, form_target: Option<&str>) {
    let style = &*STYLE_DIGEST;
    let target = form_target.map(|target| format!(" {target}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'{target}; frame-ancestors 'none'; base-uri 'none'"
    );
    let headers = reply.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::PRAGMA, "no-cache"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Forms of ours say where they come from; nobody else learns what stands in the address.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin-allow-popups"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // It is made of a digest and of an origin in plain characters.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
}

/// A summary of what is wrong, which is read out.
pub(super) fn error(said: &Said) -> Markup {
    html! { div.error role="alert" { p { (said.text) } } }
}

/// What support asks for.
pub(super) fn ids(call: &Call, code: i32) -> Markup {
    let correlation = call.correlation_id.unwrap_or(call.request_id);
    html! {
        p.ids {
            @if code != 0 { "Error AADSTS" (code) ". " }
            "Trace ID " (call.request_id) ". Correlation ID " (correlation) ". " (call.now.rfc3339())
        }
    }
}
