//! A statement and its values, as every engine takes them: `$1` for the first.
//!
//! Touches nothing. Tests: the contract suite.

use std::borrow::Cow;

/// A value bound to a placeholder.
#[derive(Clone, Copy)]
pub(in crate::store) enum Arg<'a> {
    Text(&'a str),
    TextOrNull(Option<&'a str>),
    Int(i64),
    IntOrNull(Option<i64>),
    Bytes(&'a [u8]),
    BytesOrNull(Option<&'a [u8]>),
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Arg<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<Option<&'a str>> for Arg<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::TextOrNull(text)
    }
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<Option<i64>> for Arg<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::IntOrNull(number)
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<Option<&'a [u8]>> for Arg<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Self {
        Self::BytesOrNull(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Arg<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// `args![tenant, 5]`: values in the order of their placeholders.
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::store::db::Arg::from($value)),*] };
}
pub(in crate::store) use args;

/// A statement: fixed text, or text made of nothing but placeholders.
#[derive(Clone)]
pub(in crate::store) struct Sql {
    pub(super) text: Cow<'static, str>,
    /// Whether the prepared statement is kept for the next time.
    pub(super) keep: bool,
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), keep: true }
    }
}

impl Sql {
    /// `{insert} VALUES ($1,$2),($3,$4)…`: `rows` rows of `columns` placeholders in one statement.
    pub(in crate::store) fn rows(insert: &str, rows: usize, columns: usize) -> Self {
        let mut text = String::with_capacity(insert.len() + 8 + rows * columns * 6);
        text.push_str(insert);
        text.push_str(" VALUES ");
        placeholders(&mut text, rows, columns);
        Self::made(text, rows)
    }

    /// The same, but nothing is written unless `condition`, a text that ends where one more placeholder follows, is
    /// true at that moment.
    pub(in crate::store) fn rows_if(
        insert: &'static str,
        rows: usize,
        columns: usize,
        condition: &'static str,
    ) -> Self {
        let mut text = String::with_capacity(insert.len() + condition.len() + 40 + rows * columns * 6);
        text.push_str(insert);
        text.push_str(" SELECT * FROM (VALUES ");
        placeholders(&mut text, rows, columns);
        text.push_str(") AS added WHERE ");
        text.push_str(condition);
        text.push('$');
        text.push_str(&(rows * columns + 1).to_string());
        Self::made(text, rows)
    }

    /// `{select} WHERE {key} IN (VALUES ($1,$2),($3,$4)…)`: the rows that have one of so many keys of `columns` placeholders
    /// each. Of a list without `VALUES`, PostgreSQL makes conditions: of keys in one vault it looks up the vault, and then
    /// reads all that is in it.
    pub(in crate::store) fn keys(select: &'static str, key: &'static str, rows: usize, columns: usize) -> Self {
        let mut text = String::with_capacity(select.len() + key.len() + 16 + rows * columns * 6);
        text.push_str(select);
        text.push_str(" WHERE ");
        text.push_str(key);
        text.push_str(" IN (VALUES ");
        placeholders(&mut text, rows, columns);
        text.push(')');
        Self::made(text, rows)
    }

    #[cfg(test)]
    pub(in crate::store) fn text(&self) -> &str {
        &self.text
    }

    fn made(text: String, rows: usize) -> Self {
        // Small groups are all but a few and come again; there are too many different large ones to keep each.
        Self { text: Cow::Owned(text), keep: rows <= 16 }
    }
}

/// `($1,$2),($3,$4)…`
fn placeholders(text: &mut String, rows: usize, columns: usize) {
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ",(" });
        for column in 1..=columns {
            if column > 1 {
                text.push(',');
            }
            text.push('$');
            text.push_str(&(row * columns + column).to_string());
        }
        text.push(')');
    }
}
