//! A statement and its values, as every engine takes them: `$1` for the first.
//!
//! Touches nothing. Tests: the contract suite.

use std::borrow::Cow;

use super::Dialect;

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

/// A statement: fixed text, or text made of fixed pieces and placeholders.
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

/// A statement that is put together: of pieces that stand in this program, and of placeholders. A value gets into it as an
/// argument and in no other way. No piece has a `$` in quotes.
pub(in crate::store) struct Composed {
    text: String,
    args: Vec<Value>,
    dialect: Dialect,
}

enum Value {
    Text(String),
    Int(i64),
}

impl Composed {
    /// One that begins so.
    pub(in crate::store) fn new(begin: &'static str, dialect: Dialect) -> Self {
        Self { text: begin.to_owned(), args: Vec::new(), dialect }
    }

    /// Adds a piece.
    pub(in crate::store) fn push(&mut self, piece: &'static str) -> &mut Self {
        self.text.push_str(piece);
        self
    }

    /// Adds the text that a body has at a path.
    pub(in crate::store) fn json(&mut self, path: &'static str) -> &mut Self {
        self.text.push_str(&self.dialect.json(path));
        self
    }

    /// Adds the placeholder of a text.
    pub(in crate::store) fn text(&mut self, value: impl Into<String>) -> &mut Self {
        self.value(Value::Text(value.into()))
    }

    /// Adds the placeholder of a number.
    pub(in crate::store) fn int(&mut self, value: i64) -> &mut Self {
        self.value(Value::Int(value))
    }

    /// Adds the placeholder of what a body says of a member that is true, or false.
    pub(in crate::store) fn flag(&mut self, value: bool) -> &mut Self {
        let text = self.dialect.flags.get(usize::from(value)).copied().unwrap_or_default();
        self.text(text)
    }

    fn value(&mut self, value: Value) -> &mut Self {
        self.args.push(value);
        self.text.push('$');
        self.text.push_str(&self.args.len().to_string());
        self
    }

    /// The statement. A short one comes again; of long ones there are too many to keep each.
    pub(in crate::store) fn sql(&self) -> Sql {
        Sql { text: Cow::Owned(self.text.clone()), keep: self.args.len() <= 5 }
    }

    /// Its values.
    pub(in crate::store) fn args(&self) -> Vec<Arg<'_>> {
        let arg = |value| match value {
            &Value::Int(number) => Arg::Int(number),
            Value::Text(text) => Arg::Text(text),
        };
        self.args.iter().map(arg).collect()
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
