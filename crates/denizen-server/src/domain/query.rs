//! OData queries as Microsoft Graph's clients send them: parsed into closed types, with limits.
//!
//! ```text
//! $filter=startswith(displayName,'a') and accountEnabled eq true   -> Filter
//! $orderby=displayName desc                                        -> Order
//! $search="displayName:build"                                      -> Vec<Search>
//! $select, $top, $count, $skiptoken, $expand                       -> Options
//! ```
//!
//! What is parsed is a tree of names and values. Which names there are is the list's business (`store/list.rs`). Text that
//! is not of the grammar is refused with its position and the rule, and so is what is longer or deeper than any client
//! sends: nothing here recurses deeper than [`MAX_DEPTH`].
//!
//! | file | holds |
//! |---|---|
//! | [`filter`] | the grammar of `$filter` |
//!
//! Tests: `query/tests.rs`.

mod filter;
#[cfg(test)]
mod tests;

use std::fmt;

/// The longest `$filter`, `$search`, `$select`, `$orderby` or `$expand`, bytes.
pub const MAX_LENGTH: usize = 8 * 1024;
/// How deep parentheses and `not` may be nested.
pub const MAX_DEPTH: usize = 16;
/// How many comparisons a filter may have, each value of an `in` counted.
pub const MAX_TERMS: usize = 64;
/// How many items a page may have, and how many it has when nobody says so.
pub const MAX_TOP: u32 = 999;
/// See [`MAX_TOP`].
pub const DEFAULT_TOP: u32 = 100;

/// What a list is asked for, parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which items.
    pub filter: Option<Filter>,
    /// Which of them by words; all of these must hold.
    pub search: Vec<Search>,
    /// In which order; the list's own when none.
    pub order: Option<Order>,
    /// Which members of each; all when empty.
    pub select: Vec<String>,
    /// Which related items with each.
    pub expand: Vec<String>,
    /// How many to a page.
    pub top: Option<u32>,
    /// Whether the number of all is asked for.
    pub count: bool,
    /// Where to go on, as it was handed out.
    pub skip_token: Option<String>,
}

/// Which items are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Those of both.
    And(Box<Filter>, Box<Filter>),
    /// Those of either.
    Or(Box<Filter>, Box<Filter>),
    /// All others.
    Not(Box<Filter>),
    /// Those whose property passes.
    Is(String, Test),
    /// Those of whose collection one element passes.
    Any(String, Test),
}

/// What is asked of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// `eq`
    Equals(Literal),
    /// `ne`
    Differs(Literal),
    /// `in (…)`
    In(Vec<Literal>),
    /// `startswith(…)`
    StartsWith(String),
    /// `endswith(…)`
    EndsWith(String),
}

/// A value as it is written in a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    /// `'…'`, its doubled quotes undone. GUIDs are written in this way as well.
    Text(String),
    /// A GUID without quotes, as it was written.
    Guid(String),
    /// `true`, `false`
    Bool(bool),
    /// `null`
    Null,
    /// A whole number.
    Number(i64),
    /// A date with a time, as it was written.
    DateTime(String),
}

/// `"displayName:build"`: items one of whose words begins so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The property.
    pub property: String,
    /// What a word of it begins with.
    pub text: String,
}

/// `displayName desc`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The property.
    pub property: String,
    /// Whether the greatest comes first.
    pub descending: bool,
}

/// A query that is not of the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuery {
    /// The option: `$filter`.
    pub option: &'static str,
    /// Where in its text, characters from zero; none when it is about the whole.
    pub at: Option<usize>,
    /// What is wrong, and what would be right.
    pub rule: String,
}

impl fmt::Display for BadQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "Invalid {} at position {at}: {}.", self.option, self.rule),
            None => write!(f, "Invalid {}: {}.", self.option, self.rule),
        }
    }
}

impl std::error::Error for BadQuery {}

impl Filter {
    /// Parses a `$filter`.
    ///
    /// # Errors
    /// [`BadQuery`] with the position.
    pub fn parse(text: &str) -> Result<Self, BadQuery> {
        filter::parse(text)
    }

    /// Whether Graph answers it only to who says `ConsistencyLevel: eventual`: `ne`, `not`, `endswith`.
    pub fn is_advanced(&self) -> bool {
        match self {
            Self::And(one, other) | Self::Or(one, other) => one.is_advanced() || other.is_advanced(),
            Self::Not(_) => true,
            Self::Is(_, test) | Self::Any(_, test) => matches!(test, Test::Differs(_) | Test::EndsWith(_)),
        }
    }
}

impl Options {
    /// Parses a query's options; others than those of OData are not looked at.
    ///
    /// # Errors
    /// [`BadQuery`] for an option that is not of the grammar, given twice, or not answered here.
    pub fn parse<'q>(query: impl IntoIterator<Item = (&'q str, &'q str)>) -> Result<Self, BadQuery> {
        let mut options = Self::default();
        let mut seen: Vec<&'static str> = Vec::new();
        for (name, value) in query {
            // OData 4.01: the dollar may be left out.
            let known = KNOWN.iter().find(|(option, bare)| *option == name || *bare == name);
            let Some((option, _)) = known else {
                match name.starts_with('$') {
                    true => return Err(bad("query option", format!("'{}' is not answered here", shown(name)))),
                    false => continue,
                }
            };
            if seen.contains(option) {
                return Err(bad(option, "it is given more than once".to_owned()));
            }
            seen.push(option);
            if value.len() > MAX_LENGTH {
                return Err(bad(option, format!("it is longer than {MAX_LENGTH} bytes")));
            }
            match *option {
                "$filter" => options.filter = Some(Filter::parse(value)?),
                "$search" => options.search = search(value)?,
                "$orderby" => options.order = Some(order(value)?),
                "$select" => options.select = names(option, value)?,
                "$expand" => options.expand = names(option, value)?,
                "$top" => options.top = Some(top(value)?),
                "$count" => options.count = boolean(option, value)?,
                "$skiptoken" => options.skip_token = Some(value.to_owned()),
                // The one answer that there is.
                "$format" if matches!(value, "json" | "application/json") => {}
                "$format" => return Err(bad(option, "answers are application/json only".to_owned())),
                _ => return Err(bad(option, "it is not answered here: follow @odata.nextLink".to_owned())),
            }
        }
        Ok(options)
    }

    /// Whether Graph answers it only to who says `ConsistencyLevel: eventual` with `$count=true`.
    pub fn is_advanced(&self) -> bool {
        let filtered_and_ordered = self.filter.is_some() && self.order.is_some();
        self.filter.as_ref().is_some_and(Filter::is_advanced) || !self.search.is_empty() || filtered_and_ordered
    }

    /// How many items a page has.
    pub fn page(&self) -> u32 {
        self.top.unwrap_or(DEFAULT_TOP)
    }
}

/// Each option with its spelling without the dollar; that of `$skip` and `$apply` means something else elsewhere.
const KNOWN: [(&str, &str); 11] = [
    ("$filter", "filter"),
    ("$search", "search"),
    ("$orderby", "orderby"),
    ("$select", "select"),
    ("$expand", "expand"),
    ("$top", "top"),
    ("$count", "count"),
    ("$skiptoken", "skiptoken"),
    ("$format", "format"),
    ("$skip", "$skip"),
    ("$apply", "$apply"),
];

fn bad(option: &'static str, rule: String) -> BadQuery {
    BadQuery { option, at: None, rule }
}

/// What an error may repeat of a name: what has the form of one.
fn shown(name: &str) -> String {
    match is_name(name.strip_prefix('$').unwrap_or(name)) {
        true => name.to_owned(),
        false => format!("(a name of {} characters)", name.chars().count()),
    }
}

/// Whether it has the form of a property's name.
fn is_name(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `id,displayName`
fn names(option: &'static str, text: &str) -> Result<Vec<String>, BadQuery> {
    if text.contains(['(', ')']) {
        return Err(bad(option, "options in parentheses are not answered here: give names and commas only".to_owned()));
    }
    let mut names = Vec::new();
    for name in text.split(',').map(str::trim) {
        if !is_name(name) {
            let rule = match name {
                "" => "a name is missing between two commas, or at an end".to_owned(),
                "*" => "'*' is not answered here: name what you want".to_owned(),
                _ => format!("'{}' is no name of a property", shown(name)),
            };
            return Err(bad(option, rule));
        }
        if !names.iter().any(|other| other == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn top(text: &str) -> Result<u32, BadQuery> {
    let number = text.parse().ok().filter(|number| (1..=MAX_TOP).contains(number));
    number.ok_or_else(|| bad("$top", format!("it must be a whole number from 1 to {MAX_TOP}")))
}

fn boolean(option: &'static str, text: &str) -> Result<bool, BadQuery> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(bad(option, "it must be true or false".to_owned())),
    }
}

fn order(text: &str) -> Result<Order, BadQuery> {
    let wrong = |rule: &str| bad("$orderby", rule.to_owned());
    if text.contains(',') {
        return Err(wrong("one property is answered here, not a list of them"));
    }
    let mut words = text.split_ascii_whitespace();
    let property = words.next().filter(|name| is_name(name));
    let property = property.ok_or_else(|| wrong("it must begin with the name of a property"))?.to_owned();
    let descending = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("asc") => false,
        Some(word) if word.eq_ignore_ascii_case("desc") => true,
        Some(_) => return Err(wrong("after the property stands asc, desc or nothing")),
    };
    match words.next() {
        None => Ok(Order { property, descending }),
        Some(_) => Err(wrong("nothing may follow asc or desc")),
    }
}

/// `"displayName:build" AND "description:x"`
fn search(text: &str) -> Result<Vec<Search>, BadQuery> {
    const OPTION: &str = "$search";
    const FORM: &str = "each clause must be \"property:words\" in double quotes, with AND between two";
    let mut clauses = Vec::new();
    let (mut rest, mut at) = (text.trim_start(), text.chars().count() - text.trim_start().chars().count());
    let wrong = |at: usize, rule: &str| BadQuery { option: OPTION, at: Some(at), rule: rule.to_owned() };
    loop {
        let Some(inner) = rest.strip_prefix('"') else { return Err(wrong(at, FORM)) };
        let Some((clause, after)) = inner.split_once('"') else {
            return Err(wrong(at, "a double quote is not closed"));
        };
        let Some((property, words)) = clause.split_once(':') else { return Err(wrong(at, FORM)) };
        if !is_name(property) || words.trim().is_empty() || words.contains('\\') {
            return Err(wrong(at + 1, FORM));
        }
        clauses.push(Search { property: property.to_owned(), text: words.trim().to_owned() });
        if clauses.len() > MAX_TERMS {
            return Err(wrong(at, "it has too many clauses"));
        }
        at += 2 + clause.chars().count();
        let next = after.trim_start();
        at += after.chars().count() - next.chars().count();
        if next.is_empty() {
            return Ok(clauses);
        }
        let Some(more) = next.strip_prefix("AND ") else { return Err(wrong(at, FORM)) };
        rest = more.trim_start();
        at += next.chars().count() - rest.chars().count();
    }
}
