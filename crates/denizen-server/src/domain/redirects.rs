//! Where a browser may be sent back to: where its client has said before, and nowhere else.
//!
//! What is asked for is compared as text, byte by byte (RFC 9700, section 2.1): two readers of one URL may disagree, two of one
//! text do not. A program on the user's machine listens on a port that it does not know before, so for it the port of a
//! loopback address is not compared (RFC 8252, section 7.3), and everything else is.
//!
//! Pure. Tests: below.

use super::directory::RedirectUris;

/// The longest that is read, bytes.
const LONGEST: usize = 2048;
/// What a browser runs, or reads of the user's machine, instead of going there.
const NOWHERE: &[&str] = &["javascript", "data", "vbscript", "file", "about", "blob", "filesystem", "view-source"];

/// What runs at a redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// A server, which has a credential.
    Web,
    /// A page, whose script redeems the code.
    Spa,
    /// A program on the user's machine.
    PublicClient,
}

/// What runs at `asked`, when it is one of these.
pub fn registered(uris: &RedirectUris, asked: &str) -> Option<Platform> {
    if !could_be(asked) {
        return None;
    }
    let is_in = |uris: &[String]| uris.iter().any(|uri| uri == asked);
    let on_any_port = || {
        let asked = loopback(asked);
        asked.is_some() && uris.public_client.iter().any(|uri| loopback(uri) == asked)
    };
    match () {
        () if is_in(&uris.web) => Some(Platform::Web),
        () if is_in(&uris.spa) => Some(Platform::Spa),
        () if is_in(&uris.public_client) || on_any_port() => Some(Platform::PublicClient),
        () => None,
    }
}

/// Whether `asked` is one of these loopback addresses, at any port and path.
pub fn is_loopback_of(addresses: &[&str], asked: &str) -> bool {
    could_be(asked)
        && loopback(asked)
            .is_some_and(|(host, _)| addresses.iter().any(|it| loopback(it).is_some_and(|it| it.0 == host)))
}

/// Whether a browser may be sent there by a page of ours after signing out: it goes there at once, so only over the web.
pub fn registered_for_sign_out(uris: &RedirectUris, asked: &str) -> bool {
    let is_web = asked.starts_with("https://") || loopback(asked).is_some();
    is_web && matches!(registered(uris, asked), Some(Platform::Web | Platform::Spa))
}

/// The origin of a redirect URI, or its scheme where it has none: as a content security policy names it. None where neither
/// can be written there.
pub fn source(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_web = scheme == "https" || scheme == "http";
    let host = rest.strip_prefix("//")?.split(['/', '?']).next()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
    if is_web && !host.is_empty() && host.bytes().all(is_plain) {
        return Some(format!("{scheme}://{host}"));
    }
    Some(format!("{scheme}:"))
}

/// Whether it can be a redirect URI at all: absolute, in visible ASCII, without a fragment, and with no user in it.
fn could_be(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b));
    let authority = rest.strip_prefix("//").unwrap_or_default().split(['/', '?']).next().unwrap_or_default();
    uri.len() <= LONGEST
        && is_scheme
        && !NOWHERE.contains(&scheme)
        && uri.bytes().all(|b| b.is_ascii_graphic() && !b"\\#<>\"'`{}|^".contains(&b))
        && !authority.contains('@')
        && (scheme != "http" && scheme != "https" || !authority.is_empty())
}

/// The host and the path of a loopback URI: the port is left out.
fn loopback(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let host = ["localhost", "127.0.0.1", "[::1]"].into_iter().find(|host| rest.starts_with(host))?;
    let rest = rest.strip_prefix(host)?;
    let path = match rest.strip_prefix(':') {
        Some(rest) => {
            let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            let (port, path) = rest.split_at_checked(end)?;
            port.parse::<u16>().ok()?;
            path
        }
        None => rest,
    };
    let is_path = path.is_empty() || path.starts_with('/');
    is_path.then_some((host, if path == "/" { "" } else { path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris() -> RedirectUris {
        let list = |uris: &[&str]| uris.iter().map(|uri| (*uri).to_owned()).collect();
        RedirectUris {
            web: list(&[
                "https://app.contoso.test/signin",
                "https://app.contoso.test/q?a=b",
                "javascript:alert(1)",
                "http://localhost:5000/web",
            ]),
            spa: list(&["https://spa.contoso.test/"]),
            public_client: list(&[
                "http://localhost",
                "http://127.0.0.1/back",
                "msal0a://auth",
                "https://evil.test\\@good.test/",
            ]),
        }
    }

    #[test]
    fn what_was_registered_is_found_and_says_what_runs_there() {
        for (asked, platform) in [
            ("https://app.contoso.test/signin", Platform::Web),
            ("https://app.contoso.test/q?a=b", Platform::Web),
            ("http://localhost:5000/web", Platform::Web),
            ("https://spa.contoso.test/", Platform::Spa),
            ("msal0a://auth", Platform::PublicClient),
            ("http://localhost", Platform::PublicClient),
            ("http://localhost:8400", Platform::PublicClient),
            ("http://localhost:8400/", Platform::PublicClient),
            ("http://127.0.0.1:1/back", Platform::PublicClient),
        ] {
            assert_eq!(registered(&uris(), asked), Some(platform), "{asked}");
        }
    }

    #[test]
    fn nothing_that_resembles_it_is() {
        for asked in [
            "",
            "/signin",
            "//app.contoso.test/signin",
            "https://app.contoso.test/signin/",
            "https://app.contoso.test/Signin",
            "https://APP.contoso.test/signin",
            "HTTPS://app.contoso.test/signin",
            "https://app.contoso.test/signin?x=1",
            "https://app.contoso.test/signin#x",
            "https://app.contoso.test/x/../signin",
            "https://app.contoso.test/x/%2e%2e/signin",
            "https://app.contoso.test:443/signin",
            "https://app.contoso.test./signin",
            "https://user@app.contoso.test/signin",
            "https://app.contoso.test@evil.test/signin",
            "https://app.contoso.test\\@evil.test/signin",
            "https://evil.test\\@good.test/",
            "https://app.contoso.test.evil.test/signin",
            "https://\u{430}pp.contoso.test/signin",
            "https://xn--pp-7lc.contoso.test/signin",
            "http://app.contoso.test/signin",
            " https://app.contoso.test/signin",
            "https://app.contoso.test/signin\n",
            "https://app.contoso.test/signin\0",
            "javascript:alert(1)",
            "data:text/html,x",
            "msal0a://auth2",
            // The port is free for programs only, and nothing beside it is.
            "http://localhost:5001/web",
            "http://localhost:8400/other",
            "http://localhost:8400@evil.test/",
            "http://localhost:@evil.test/",
            "http://localhost:99999",
            "http://localhost:",
            "http://localhost.evil.test",
            "http://localhostevil.test",
            "http://LOCALHOST:8400",
            "http://127.0.0.1:1",
            "http://127.0.0.1:1/back/",
            "http://[::1]:1/back",
            "https://localhost:8400",
            "http://localhost:8400?x=1",
            "http://localhost:8400#x",
        ] {
            assert_eq!(registered(&uris(), asked), None, "{asked}");
        }
    }

    #[test]
    fn a_tool_of_microsofts_comes_back_to_loopback() {
        let addresses = &["http://localhost", "http://127.0.0.1"];
        for asked in ["http://localhost:8400", "http://localhost:8400/a/b", "http://127.0.0.1:1/"] {
            assert!(is_loopback_of(addresses, asked), "{asked}");
        }
        for asked in [
            "http://[::1]:1",
            "https://localhost:1",
            "http://localhost:1@evil.test",
            "http://evil.test",
            "http://localhost:1/#x",
            "http://localhost:1/\\x",
        ] {
            assert!(!is_loopback_of(addresses, asked), "{asked}");
        }
    }

    #[test]
    fn signing_out_goes_back_to_the_web_only() {
        assert!(registered_for_sign_out(&uris(), "https://spa.contoso.test/"));
        for asked in ["msal0a://auth", "http://localhost:8400", "javascript:alert(1)", "https://other.test/"] {
            assert!(!registered_for_sign_out(&uris(), asked), "{asked}");
        }
    }

    #[test]
    fn a_policy_names_the_origin() {
        for (uri, expected) in [
            ("https://app.contoso.test/signin", "https://app.contoso.test"),
            ("http://localhost:8400/x?y", "http://localhost:8400"),
            ("http://[::1]:1/", "http:"),
            ("msal0a://auth", "msal0a:"),
        ] {
            assert_eq!(source(uri).as_deref(), Some(expected));
        }
    }
}
