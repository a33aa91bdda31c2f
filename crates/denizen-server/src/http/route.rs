//! Route tables. A row states what it requires in the same place as its handler, and the dispatcher enforces it.
//!
//! Each table is compiled into a [`Router`] when the server starts: looking a path up does not depend on the number of
//! rows. Two rows with the same method and pattern, or patterns that differ only in a parameter's name, are an error there,
//! so such a server does not start. A literal segment wins over a parameter, and methods are looked for in the winning
//! pattern only: `PATCH /secrets/n/versions` is 405.
//!
//! Tests: below.

use std::{future::Future, pin::Pin};

use http::Method;

use super::{Api, Call, Reply};
use crate::domain::authorize::Action;

/// What a handler returns.
pub type Answer<'a, A> = Pin<Box<dyn Future<Output = Result<Reply, <A as Api>::Fault>> + Send + 'a>>;
/// A handler that needs no authorization.
pub type Run<A> = for<'a> fn(&'a A, Request<'a>) -> Answer<'a, A>;
/// A handler that gets proof of its authorization.
pub type RunAuthorized<A> = for<'a> fn(&'a A, &'a <A as Api>::Authorized, Request<'a>) -> Answer<'a, A>;

/// One row of a route table.
pub struct Route<A: Api> {
    /// The method.
    pub method: Method,
    /// `/secrets/{name}/{version}`. A parameter matches one segment that is not empty.
    pub pattern: &'static str,
    /// What is required, and what then runs.
    pub handler: Handler<A>,
}

/// What a row requires, with the handler that runs when it is met.
pub enum Handler<A: Api> {
    /// Nothing beyond what [`Api::enter`] asks.
    Public {
        /// Why that is right.
        because: &'static str,
        /// The handler.
        run: Run<A>,
    },
    /// A credential in the request itself, which the use case checks.
    OwnCredential {
        /// Which.
        credential: &'static str,
        /// The handler.
        run: Run<A>,
    },
    /// An action that the caller is authorized for. [`Api::authorize`] makes the proof that the handler takes.
    Authorized {
        /// The action.
        action: Action,
        /// The handler.
        run: RunAuthorized<A>,
    },
}

/// What a row requires, without its handler: for tests that walk every table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing; why that is right.
    Public(&'static str),
    /// A credential in the request itself.
    OwnCredential(&'static str),
    /// An action.
    Action(Action),
}

/// A row as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// The service that the row belongs to: one listener.
    pub service: &'static str,
    /// The protocol.
    pub api: &'static str,
    /// The method.
    pub method: Method,
    /// The pattern.
    pub pattern: &'static str,
    /// What it requires.
    pub requires: Requirement,
}

/// A request as a handler sees it.
pub struct Request<'a> {
    /// The pattern's parameters.
    pub params: Params,
    /// Everything else.
    pub call: &'a mut Call,
}

/// The parameters of a matched pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    segments: Vec<String>,
    /// Which segment each parameter is.
    positions: std::sync::Arc<[(&'static str, usize)]>,
}

impl Params {
    /// A parameter's text; empty when the pattern has no parameter of that name.
    pub fn text(&self, name: &str) -> &str {
        self.positions
            .iter()
            .find(|(parameter, _)| *parameter == name)
            .and_then(|(_, position)| self.segments.get(*position))
            .map_or("", String::as_str)
    }
}

impl Params {
    /// A segment of the path as it came; empty when there are not so many.
    pub(super) fn segment(&self, at: usize) -> &str {
        self.segments.get(at).map_or("", String::as_str)
    }
}

/// Whether literal segments are compared exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Exactly.
    Exact,
    /// Without regard to ASCII case.
    Ignored,
}

/// A route table that cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("the route {pattern} of the {api} API cannot be served: {why}")]
pub struct BadRoute {
    api: &'static str,
    pattern: &'static str,
    why: String,
}

impl BadRoute {
    pub(super) fn new(api: &'static str, pattern: &'static str, why: impl Into<String>) -> Self {
        Self { api, pattern, why: why.into() }
    }
}

/// A compiled route table.
pub struct Router<A: Api> {
    paths: matchit::Router<usize>,
    entries: Vec<Entry<A>>,
}

/// One path, with its rows.
struct Entry<A: Api> {
    pattern: &'static str,
    positions: std::sync::Arc<[(&'static str, usize)]>,
    routes: Vec<&'static Route<A>>,
    /// For `Allow`: `GET, PUT`.
    allow: String,
}

/// What a router says of a request.
pub(super) enum Found<'r, A: Api> {
    /// This row.
    Route(&'static Route<A>, Params),
    /// The path is known, and takes these methods.
    OtherMethod(&'r str),
    /// The path is not known.
    Nothing,
}

impl<A: Api> Router<A> {
    /// Compiles the API's table.
    ///
    /// # Errors
    /// [`BadRoute`] when a pattern cannot be read or two rows take the same requests.
    pub fn new() -> Result<Self, BadRoute> {
        let mut entries: Vec<Entry<A>> = Vec::new();
        for route in A::routes() {
            let bad = |why| BadRoute::new(A::NAME, route.pattern, why);
            match entries.iter_mut().find(|entry| entry.pattern == route.pattern) {
                Some(entry) if entry.routes.iter().any(|other| other.method == route.method) => {
                    return Err(bad("another row takes the same method and pattern"));
                }
                Some(entry) => entry.routes.push(route),
                None => entries.push(Entry {
                    pattern: route.pattern,
                    positions: positions(route.pattern),
                    routes: vec![route],
                    allow: String::new(),
                }),
            }
        }
        let mut paths = matchit::Router::new();
        for (index, entry) in entries.iter_mut().enumerate() {
            let methods: Vec<&str> = entry.routes.iter().map(|route| route.method.as_str()).collect();
            entry.allow = methods.join(", ");
            paths
                .insert(literal_case::<A>(entry.pattern), index)
                .map_err(|error| BadRoute::new(A::NAME, entry.pattern, error.to_string()))?;
        }
        Ok(Self { paths, entries })
    }

    /// Finds the row for a method and a path in segments, which are taken over into the parameters when there is one.
    pub(super) fn find(&self, method: &Method, segments: &mut Vec<String>) -> Found<'_, A> {
        let mut path = String::with_capacity(segments.iter().map(|segment| segment.len() + 1).sum());
        for segment in segments.iter() {
            path.push('/');
            path.push_str(segment);
        }
        if A::CASE == Case::Ignored {
            path.make_ascii_lowercase();
        }
        let entry = self.paths.at(&path).ok().and_then(|found| self.entries.get(*found.value));
        let Some(entry) = entry else { return Found::Nothing };
        // matchit lets a parameter be empty when a literal follows it.
        let is_empty = |position: usize| segments.get(position).is_none_or(String::is_empty);
        if entry.positions.iter().any(|(_, position)| is_empty(*position)) {
            return Found::Nothing;
        }
        // A document that everybody may GET can be asked for with HEAD as well (RFC 9110, section 9.3.2).
        let of_head = |route: &&&Route<A>| {
            *method == Method::HEAD && route.method == Method::GET && matches!(route.handler, Handler::Public { .. })
        };
        let route = entry.routes.iter().find(|route| route.method == *method || of_head(route));
        match route {
            Some(route) => {
                let segments = std::mem::take(segments);
                Found::Route(route, Params { segments, positions: std::sync::Arc::clone(&entry.positions) })
            }
            None => Found::OtherMethod(&entry.allow),
        }
    }
}

impl<A: Api> Route<A> {
    /// What it requires.
    pub(super) fn requirement(&self) -> Requirement {
        match &self.handler {
            Handler::Public { because, .. } => Requirement::Public(because),
            Handler::OwnCredential { credential, .. } => Requirement::OwnCredential(credential),
            Handler::Authorized { action, .. } => Requirement::Action(action.clone()),
        }
    }
}

fn segments(pattern: &'static str) -> impl Iterator<Item = &'static str> {
    pattern.strip_prefix('/').unwrap_or(pattern).split('/')
}

fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn positions(pattern: &'static str) -> std::sync::Arc<[(&'static str, usize)]> {
    segments(pattern).enumerate().filter_map(|(index, segment)| Some((parameter(segment)?, index))).collect()
}

/// The pattern with its literal segments as the router compares them.
fn literal_case<A: Api>(pattern: &'static str) -> String {
    let mut written = String::with_capacity(pattern.len());
    for segment in segments(pattern) {
        written.push('/');
        match (parameter(segment), A::CASE) {
            (Some(_), _) | (None, Case::Exact) => written.push_str(segment),
            (None, Case::Ignored) => written.push_str(&segment.to_ascii_lowercase()),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    macro_rules! api {
        ($name:ident, $case:expr, [$($method:ident $pattern:literal),*]) => {
            struct $name;
            impl Api for $name {
                const NAME: &'static str = "test";
                const CASE: Case = $case;
                type Session = ();
                type Authorized = Infallible;
                type Fault = ();
                fn routes() -> &'static [Route<Self>] {
                    &[$(Route {
                        method: Method::$method,
                        pattern: $pattern,
                        handler: Handler::Public { because: "a test", run: |_, _| Box::pin(async { Err(()) }) },
                    }),*]
                }
                fn ambiguous(&self, _: &mut Call, _: super::super::call::Ambiguous) {}
                fn enter(&self, _: &mut Call) -> Result<(), ()> {
                    Ok(())
                }
                fn authorize(&self, (): (), _: &Call, _: &Action, _: &Params) -> Result<Infallible, ()> {
                    Err(())
                }
                fn behind(&self, _: &Call, _: crate::app::replica::Behind) {}
                fn not_found(&self, _: &Call) {}
                fn method_not_allowed(&self, _: &Call, _: &str) {}
                fn write_fault(&self, _: &Call, (): ()) -> Reply {
                    super::super::reply::empty(http::StatusCode::NOT_FOUND)
                }
            }
        };
    }

    api!(Exact, Case::Exact, [GET "/secrets/{name}/{version}", GET "/secrets/{name}", PUT "/secrets/{name}", GET "/secrets"]);
    api!(Ignored, Case::Ignored, [GET "/{tenant}/OAuth2/token", GET "/common/discovery/instance", GET "/{tenant}/discovery/keys"]);
    api!(Twice, Case::Exact, [GET "/a/{b}", GET "/a/{b}"]);
    api!(Overlapping, Case::Exact, [GET "/a/{b}", GET "/a/{c}"]);

    fn find<A: Api>(method: &Method, path: &str) -> Result<(&'static str, Params), String> {
        let router = Router::<A>::new().unwrap();
        let mut segments = path.split('/').skip(1).map(str::to_owned).collect();
        match router.find(method, &mut segments) {
            Found::Route(route, params) => Ok((route.pattern, params)),
            Found::OtherMethod(allow) => Err(allow.to_owned()),
            Found::Nothing => Err("nothing".to_owned()),
        }
    }

    #[test]
    fn patterns_match_whole_segments() {
        let (pattern, params) = find::<Exact>(&Method::GET, "/secrets/a/1").unwrap();
        assert_eq!((pattern, params.text("name"), params.text("version")), ("/secrets/{name}/{version}", "a", "1"));
        assert_eq!(params.text("other"), "");
        assert_eq!(find::<Exact>(&Method::GET, "/secrets/Ünï {x}").unwrap().1.text("name"), "Ünï {x}");
        for unknown in ["/Secrets/a", "/secrets//a", "/secrets/a/", "/secrets/a/1/2", "/", "/secrets/", "/secretsx/a"] {
            assert_eq!(find::<Exact>(&Method::GET, unknown).unwrap_err(), "nothing", "{unknown}");
        }
    }

    #[test]
    fn a_known_path_names_the_methods_it_takes() {
        assert_eq!(find::<Exact>(&Method::POST, "/secrets/a").unwrap_err(), "GET, PUT");
        assert_eq!(find::<Exact>(&Method::HEAD, "/secrets/a").unwrap().0, "/secrets/{name}");
    }

    #[test]
    fn case_is_ignored_in_literals_and_kept_in_parameters() {
        let (pattern, params) = find::<Ignored>(&Method::GET, "/ConTOSO/oauth2/TOKEN").unwrap();
        assert_eq!((pattern, params.text("tenant")), ("/{tenant}/OAuth2/token", "ConTOSO"));
        assert_eq!(find::<Ignored>(&Method::GET, "/common/discovery/keys").unwrap().1.text("tenant"), "common");
        assert_eq!(
            find::<Ignored>(&Method::GET, "/Common/Discovery/instance").unwrap().0,
            "/common/discovery/instance"
        );
    }

    #[test]
    fn a_table_with_two_rows_for_one_request_is_refused() {
        assert!(Router::<Twice>::new().is_err_and(|error| error.to_string().contains("another row")));
        assert!(Router::<Overlapping>::new().is_err());
    }
}
