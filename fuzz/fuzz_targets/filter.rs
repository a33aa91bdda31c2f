//! `$filter` and the other OData options (`denizen-server`, `domain/query.rs`).
//!
//! The input is read twice: as the text of one `$filter`, and as the query of a URL. What was read is written in one
//! spelling, and reading that gives the same. A refusal names a position in the text.
#![no_main]

use std::fmt::Write as _;

use denizen_server::{
    domain::query::{BadQuery, Filter, Literal, MAX_LENGTH, MAX_TERMS, MAX_TOP, Options, Test},
    http::Query,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    filter(text);
    options(text);
});

fn filter(text: &str) {
    let filter = match Filter::parse(text) {
        Ok(filter) => filter,
        Err(refused) => return refusal(&refused, text),
    };
    assert!(terms(&filter) <= MAX_TERMS, "more comparisons than may be");
    let written = or(&filter);
    if written.len() <= MAX_LENGTH {
        assert_eq!(Filter::parse(&written).as_ref(), Ok(&filter), "written as {written}");
    }
}

fn refusal(refused: &BadQuery, text: &str) {
    assert!(refused.at.is_none_or(|at| at <= text.chars().count()), "a position behind the end: {refused}");
    assert!(!refused.rule.is_empty());
}

fn options(text: &str) {
    let query = Query::parse(text);
    let options = match Options::parse(query.pairs()) {
        Ok(options) => options,
        Err(refused) => {
            let longest = query.pairs().map(|(_, value)| value).max_by_key(|value| value.chars().count());
            return refusal(&refused, longest.unwrap_or_default());
        }
    };
    assert!((1..=MAX_TOP).contains(&options.page()));
    let pairs = pairs(&options);
    if pairs.iter().any(|(_, value)| value.len() > MAX_LENGTH) {
        return;
    }
    let mut written = form_urlencoded::Serializer::new(String::new());
    written.extend_pairs(&pairs);
    let written = written.finish();
    assert_eq!(Options::parse(Query::parse(&written).pairs()), Ok(options), "written as {written}");
}

fn pairs(options: &Options) -> Vec<(&'static str, String)> {
    let mut pairs = Vec::new();
    if let Some(filter) = &options.filter {
        pairs.push(("$filter", or(filter)));
    }
    if !options.search.is_empty() {
        let clauses: Vec<_> = options.search.iter().map(|it| format!("\"{}:{}\"", it.property, it.text)).collect();
        pairs.push(("$search", clauses.join(" AND ")));
    }
    if let Some(order) = &options.order {
        pairs.push(("$orderby", format!("{} {}", order.property, if order.descending { "desc" } else { "asc" })));
    }
    if !options.select.is_empty() {
        pairs.push(("$select", options.select.join(",")));
    }
    if !options.expand.is_empty() {
        pairs.push(("$expand", options.expand.join(",")));
    }
    if let Some(top) = options.top {
        pairs.push(("$top", top.to_string()));
    }
    if options.count {
        pairs.push(("$count", "true".to_owned()));
    }
    if let Some(token) = &options.skip_token {
        pairs.push(("$skiptoken", token.clone()));
    }
    pairs
}

fn terms(filter: &Filter) -> usize {
    match filter {
        Filter::And(one, other) | Filter::Or(one, other) => terms(one) + terms(other),
        Filter::Not(inner) => terms(inner),
        Filter::Is(_, Test::In(values)) | Filter::Any(_, Test::In(values)) => values.len(),
        Filter::Is(..) | Filter::Any(..) => 1,
    }
}

/// Parentheses stand only where the tree needs them, so that nothing is nested deeper than it was.
fn or(filter: &Filter) -> String {
    match filter {
        Filter::Or(one, other) => format!("{} or {}", or(one), and(other)),
        other => and(other),
    }
}

fn and(filter: &Filter) -> String {
    match filter {
        Filter::And(one, other) => format!("{} and {}", and(one), unary(other)),
        other => unary(other),
    }
}

fn unary(filter: &Filter) -> String {
    match filter {
        Filter::And(..) | Filter::Or(..) => format!("({})", or(filter)),
        Filter::Not(inner) => match &**inner {
            // Nested one level less than with `not`.
            Filter::Is(_, Test::StartsWith(_) | Test::EndsWith(_)) => format!("{} eq false", unary(inner)),
            inner => format!("not {}", unary(inner)),
        },
        Filter::Is(path, test) => tested(path, test),
        Filter::Any(path, test) => format!("{path}/any(x:{})", tested("x", test)),
    }
}

fn tested(path: &str, test: &Test) -> String {
    match test {
        Test::Equals(value) => format!("{path} eq {}", literal(value)),
        Test::Differs(value) => format!("{path} ne {}", literal(value)),
        Test::In(values) => {
            let mut text = format!("{path} in (");
            for (n, value) in values.iter().enumerate() {
                let comma = if n == 0 { "" } else { "," };
                let _ = write!(text, "{comma}{}", literal(value));
            }
            text + ")"
        }
        Test::StartsWith(start) => format!("startswith({path},{})", quoted(start)),
        Test::EndsWith(end) => format!("endswith({path},{})", quoted(end)),
    }
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::Text(text) => quoted(text),
        Literal::Guid(text) | Literal::DateTime(text) => text.clone(),
        Literal::Bool(value) => value.to_string(),
        Literal::Null => "null".to_owned(),
        Literal::Number(number) => number.to_string(),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
