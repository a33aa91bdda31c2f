//! The checks every request passes before a protocol sees it, and the one canonicalizer of paths.
//!
//! Metadata endpoints are reached by tricking some program on the machine into a GET. What such a request cannot have,
//! or cannot avoid, is asked for here: a required header, no forwarding header, a loopback host, no browser.

use denizen_wire::identity::{APP_SERVICE_PATH, TOKEN_PATH};
use http::{HeaderMap, Method, StatusCode, header, request::Parts, uri::Authority};

use super::answer::{Fault, Style};

/// Which listener a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Arc, App Service and instance metadata.
    Local,
    /// IMDS: gives tokens without a key file, by who is calling.
    Imds,
}

/// A known path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The token path of Arc and of IMDS.
    Token,
    /// The token path of App Service.
    AppService,
    /// `/metadata/instance` and what is under it.
    Instance,
    /// `/metadata/versions`.
    Versions,
}

/// The path of the instance document.
pub const INSTANCE_PATH: &str = "/metadata/instance";
const VERSIONS_PATH: &str = "/metadata/versions";

/// Lets a request in, or says how it is refused.
pub fn admit(kind: ListenerKind, request: &Parts) -> Result<Route, (Style, Fault)> {
    let route = route(kind, request.uri.path());
    let style = if route == Some(Route::AppService) { Style::AppService } else { Style::OAuth };
    checked(route, request).map_err(|fault| (style, fault))
}

fn checked(route: Option<Route>, request: &Parts) -> Result<Route, Fault> {
    if request.method != Method::GET {
        return Err(Fault::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "Only GET is allowed"));
    }
    let route = route.ok_or_else(unknown_path)?;
    let headers = &request.headers;
    if headers.keys().any(|name| is_of_a_proxy(name.as_str())) {
        return Err(Fault::bad("A forwarded request is refused: ask from this machine, without a proxy"));
    }
    host(request)?;
    let cross_site = headers.get_all("sec-fetch-site").iter().any(|site| site.as_bytes() != b"none");
    // 'Sec-Fetch-Mode' says nothing: the fetch of Node.js sends it too.
    if headers.contains_key(header::ORIGIN) || cross_site {
        return Err(Fault::bad("A request from a browser is refused"));
    }
    if route != Route::AppService && !one(headers, "metadata").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(Fault::bad("Required metadata header not specified"));
    }
    Ok(route)
}

/// Whether only a proxy, a gateway or a load balancer adds a header of this (lower-case) name: it says whose request it
/// passes on, or that it passes one on. The rule is `Via`, `Forwarded`, `CDN-Loop` and what else is said to or by a proxy
/// alone, `X-Forward…`, `X-Original-…`, `X-Rewrite-…`, `X-Envoy-…`, and every name that ends as another `Via` or as that of
/// an address does (`X-Real-IP`, `True-Client-IP`, `X-Remote-Addr`, `X-Azure-ClientIP`). An underscore counts as a hyphen.
/// No client of these endpoints names an address: the kernel knows it.
fn is_of_a_proxy(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "via",
        "forwarded",
        "cdn-loop",
        "max-forwards",
        "proxy-connection",
        "proxy-authorization",
        "cf-ray",
        "x-azure-ref",
    ];
    const STARTS: [&str; 4] = ["x-forward", "x-original-", "x-rewrite-", "x-envoy-"];
    const ENDS: [&str; 8] = ["-via", "-ip", "-ipv4", "-ipv6", "-clientip", "-socketip", "-addr", "-address"];
    let hyphened;
    let name = if name.contains('_') {
        hyphened = name.replace('_', "-");
        hyphened.as_str()
    } else {
        name
    };
    NAMES.contains(&name)
        || STARTS.iter().any(|start| name.starts_with(start))
        || ENDS.iter().any(|end| name.ends_with(end))
}

/// Exactly a known path, or none. Nothing is decoded, so nothing can be understood in two ways. The tolerances are
/// those that real clients need when their host is overridden (`AZURE_POD_IDENTITY_AUTHORITY_HOST`) or wrongly joined:
///
/// * one trailing slash: @azure/identity for Node.js;
/// * for the token path, a doubled leading slash: azure-identity for Java joins the host and the path with one more. So
///   did the C++ client for a while, with no host overridden (azure-sdk-for-cpp 6698). Azure's own IMDS answers 404,
///   which clients repeat for seconds; here the request can mean one thing only, and passes the same checks.
fn route(kind: ListenerKind, path: &str) -> Option<Route> {
    let once = path.strip_suffix('/').unwrap_or(path);
    if once == TOKEN_PATH || once.strip_prefix('/') == Some(TOKEN_PATH) {
        return Some(Route::Token);
    }
    match kind {
        ListenerKind::Local if once == APP_SERVICE_PATH => return Some(Route::AppService),
        ListenerKind::Imds if once == VERSIONS_PATH => return Some(Route::Versions),
        ListenerKind::Local | ListenerKind::Imds => {}
    }
    let under = once.strip_prefix(INSTANCE_PATH)?;
    let plain = |segment: &str| !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric());
    (under.is_empty() || under.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain)))
        .then_some(Route::Instance)
}

/// 404: for paths nobody has. The one status clients may take for "no such endpoint here".
pub fn unknown_path() -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path")
}

/// Against DNS rebinding: a page that made its own name point here still sends that name.
fn host(request: &Parts) -> Result<(), Fault> {
    let named = one(&request.headers, header::HOST.as_str()).and_then(|host| host.parse::<Authority>().ok());
    // A request through a proxy names the host in its first line as well.
    let asked = request.uri.authority();
    match named {
        Some(named) if loopback(&named) && asked.is_none_or(loopback) => Ok(()),
        Some(_) | None => Err(Fault::bad(
            "The Host header must be localhost, 127.0.0.1, [::1] or 169.254.169.254: ask this machine by that name",
        )),
    }
}

fn loopback(authority: &Authority) -> bool {
    let host = authority.host();
    // The part before '@' is no host, and has no business here.
    !authority.as_str().contains('@')
        && (host.eq_ignore_ascii_case("localhost") || ["127.0.0.1", "[::1]", "169.254.169.254"].contains(&host))
}

/// A header that is there exactly once, as text.
pub fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    first.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_path_is_known_with_and_without_slashes() {
        for path in [TOKEN_PATH, "/metadata/identity/oauth2/token/", "//metadata/identity/oauth2/token"] {
            assert_eq!(route(ListenerKind::Local, path), Some(Route::Token), "{path}");
            assert_eq!(route(ListenerKind::Imds, path), Some(Route::Token), "{path}");
        }
    }

    #[test]
    fn d16_what_only_a_proxy_sends_is_told_from_what_clients_send() {
        for name in [
            "via",
            "forwarded",
            "x-forwarded",
            "x-forwarded-for",
            "x-forwarded-client-cert",
            "x-original-forwarded-for",
            "x-original-url",
            "x-rewrite-url",
            "x-real-ip",
            "x-client-ip",
            "client-ip",
            "true-client-ip",
            "x-cluster-client-ip",
            "cf-connecting-ip",
            "cf-connecting-ipv6",
            "fastly-client-ip",
            "x-azure-clientip",
            "x-azure-socketip",
            "x-remote-addr",
            "x-envoy-external-address",
            "x-originating-ip",
            "cdn-loop",
            "max-forwards",
            "proxy-connection",
            "proxy-authorization",
            "cf-ray",
            "x-azure-ref",
            "x-forward-for",
            "x-bluecoat-via",
            "x-goog-via",
            "x-envoy-peer-metadata",
            "x_forwarded_for",
        ] {
            assert!(is_of_a_proxy(name), "{name}");
        }
        // What Azure SDKs and HTTP clients send, and what tracing adds.
        for name in [
            "accept",
            "accept-encoding",
            "accept-language",
            "authorization",
            "cache-control",
            "connection",
            "content-length",
            "content-type",
            "host",
            "metadata",
            "metadata-flavor",
            "secret",
            "sec-fetch-mode",
            "traceparent",
            "tracestate",
            "baggage",
            "user-agent",
            "x-identity-header",
            "x-ms-client-request-id",
            "x-ms-correlation-request-id",
            "x-ms-return-client-request-id",
            "x-client-sku",
            "x-client-ver",
            "x-client-os",
            "x-client-cpu",
            "x-anchormailbox",
            "client-request-id",
            "return-client-request-id",
        ] {
            assert!(!is_of_a_proxy(name), "{name}");
        }
    }

    #[test]
    fn d18_what_is_not_exactly_a_known_path_is_unknown() {
        for path in [
            "/",
            "",
            "*",
            "/metadata",
            "/metadata/identity",
            "/metadata/identity/getplatformmetadata",
            "/metadata/identity\\oauth2\\token",
            "/metadata/identity\\oauth2\\token/",
            "/metadata/identity/oauth2/token//",
            "/metadata/identity//oauth2/token",
            "/metadata/identity/./oauth2/token",
            "/metadata/x/../identity/oauth2/token",
            "/metadata/identity/oauth2%2ftoken",
            "/metadata/identity/oauth2/toke%6e",
            "/metadata/identity/oauth2/token%00",
            "/metadata/identity/oauth2/token;x",
            "/METADATA/identity/oauth2/token",
            "///metadata/identity/oauth2/token",
            "/metadata/instance//compute",
            "/metadata/instance/../identity/oauth2/token",
            "/metadata/instance/com%70ute",
            "/metadata/instancex",
            "//metadata/instance",
            "//msi/token",
        ] {
            for kind in [ListenerKind::Local, ListenerKind::Imds] {
                assert_eq!(route(kind, path), None, "{kind:?} {path}");
            }
        }
        assert_eq!(route(ListenerKind::Imds, "/msi/token"), None, "App Service is not on the IMDS listener");
        assert_eq!(route(ListenerKind::Local, "/metadata/versions"), None);
        assert_eq!(route(ListenerKind::Local, "/metadata/instance/compute/tagsList/0/"), Some(Route::Instance));
    }
}
