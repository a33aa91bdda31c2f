//! Route tables: a handler is reached only through a row, and a row cannot be written without saying what it
//! requires. A test walks every table and sees each row refuse by default.

use std::{future::Future, pin::Pin};

use http::Method;

use super::{Call, Reply};

/// What a route requires before its handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requires {
    /// Nothing; the text says why that is right.
    Nothing(&'static str),
    /// The request carries its own credential, which the use case checks; the text names it.
    Credential(&'static str),
    /// A control-plane action.
    Action(&'static str),
    /// A data action.
    DataAction(&'static str),
}

/// What a handler returns.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

/// One row: method, pattern, requirement, handler. `F` is the face, `G` what the face's gate hands to the handler as
/// proof that the requirement was met.
pub struct Route<F: 'static, G = ()> {
    /// The method.
    pub method: Method,
    /// `/secrets/{name}/{version}`. A parameter matches one segment, also an empty one when it is the last.
    pub pattern: &'static str,
    /// What it requires.
    pub requires: Requires,
    /// What it does.
    pub run: for<'a> fn(&'a F, Params, G, Call) -> Answer<'a>,
}

/// The parameters of a matched pattern, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(&'static str, String)>);

impl Params {
    /// A parameter's text. A pattern names its parameters, so a missing one is empty.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
}

/// What a table says to a request.
pub enum Found<'r, F: 'static, G: 'static> {
    /// This row.
    Row(&'r Route<F, G>, Params),
    /// The path is known, not with this method.
    OtherMethod,
    /// The path is not known.
    Nothing,
}

/// Whether literal segments are compared exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Exactly.
    Exact,
    /// Without regard to ASCII case.
    Ignored,
}

/// Finds the first row that matches.
pub fn find<'r, F, G>(routes: &'r [Route<F, G>], method: &Method, segments: &[String], case: Case) -> Found<'r, F, G> {
    let mut other = false;
    for route in routes {
        if let Some(params) = matches(route.pattern, segments, case) {
            if route.method == *method {
                return Found::Row(route, params);
            }
            other = true;
        }
    }
    if other { Found::OtherMethod } else { Found::Nothing }
}

fn matches(pattern: &'static str, segments: &[String], case: Case) -> Option<Params> {
    let mut params = Params::default();
    let mut rest = segments.iter().peekable();
    for part in pattern.strip_prefix('/').unwrap_or(pattern).split('/') {
        let segment = rest.next()?;
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) => {
                if segment.is_empty() && rest.peek().is_some() {
                    return None;
                }
                params.0.push((name, segment.clone()));
            }
            None if case == Case::Exact && segment == part => {}
            None if case == Case::Ignored && segment.eq_ignore_ascii_case(part) => {}
            None => return None,
        }
    }
    rest.next().is_none().then_some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &str) -> Vec<String> {
        path.split('/').skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn patterns_match_whole_segments() {
        let m = |pattern, path: &str, case| matches(pattern, &segments(path), case);
        assert_eq!(m("/secrets/{name}/{version}", "/secrets/a/", Case::Exact).unwrap().text("version"), "");
        assert_eq!(m("/secrets/{name}", "/secrets/a", Case::Exact).unwrap().text("name"), "a");
        assert!(m("/secrets/{name}", "/Secrets/a", Case::Exact).is_none());
        assert!(m("/secrets/{name}", "/Secrets/a", Case::Ignored).is_some());
        assert!(m("/secrets/{name}/{version}", "/secrets//a", Case::Exact).is_none());
        assert!(m("/secrets/{name}", "/secrets/a/b", Case::Exact).is_none());
    }
}
