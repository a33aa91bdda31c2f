//! Whether a row that was read is one that a list asks for, by its body: the same rules as the SQL's, said once more.
//!
//! A row is not believed to be asked for because the database gives it: an index can be changed. Tests: `contract/lists.rs`, which
//! compares both on many filters.

use serde_json::Value;

use super::{
    super::record::Kept,
    Filter, Listed, Literal, Search, Test,
    fields::{Field, Place},
};

/// A row that was read, with its body.
pub(super) struct Read<'r> {
    pub(super) kept: &'r Kept,
    pub(super) body: &'r Value,
}

impl Read<'_> {
    /// Whether the filter lets it through; none where its row alone does not say so.
    pub(super) fn passes<R: Listed>(&self, filter: &Filter) -> Option<bool> {
        match filter {
            Filter::And(one, other) => match (self.passes::<R>(one), self.passes::<R>(other)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (one, other) => one.and(other),
            },
            Filter::Or(one, other) => match (self.passes::<R>(one), self.passes::<R>(other)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (one, other) => one.and(other),
            },
            Filter::Not(inner) => self.passes::<R>(inner).map(|is| !is),
            Filter::Is(name, test) | Filter::Any(name, test) => {
                let field = R::FIELDS.iter().find(|field| field.name == name)?;
                self.test(field, test)
            }
        }
    }

    /// Whether a word of it begins so.
    pub(super) fn has_word<R: Listed>(&self, search: &Search) -> Option<bool> {
        let field = R::FIELDS.iter().find(|field| field.name == search.property)?;
        let words = search.text.to_ascii_lowercase();
        let value = self.value(&field.place).unwrap_or_default();
        Some(value.starts_with(&words) || value.contains(&format!(" {words}")))
    }

    fn test(&self, field: &Field, test: &Test) -> Option<bool> {
        match test {
            Test::Equals(literal) => self.equals(field, literal),
            Test::Differs(literal) => self.equals(field, literal).map(|is| !is),
            Test::In(literals) => {
                let mut each = literals.iter().map(|literal| self.equals(field, literal));
                each.try_fold(false, |any, one| one.map(|one| any || one))
            }
            Test::StartsWith(text) => {
                let text = field.place.folded(text);
                Some(self.value(&field.place).is_some_and(|value| value.starts_with(&text)))
            }
            Test::EndsWith(text) => {
                let text = field.place.folded(text);
                Some(self.value(&field.place).is_some_and(|value| value.ends_with(&text)))
            }
        }
    }

    fn equals(&self, field: &Field, literal: &Literal) -> Option<bool> {
        let value = self.value(&field.place);
        let is = match (field.place, literal) {
            (Place::Uris, Literal::Text(text) | Literal::Guid(text)) => {
                let uris = self.body.get("identifier_uris").and_then(Value::as_array);
                return Some(uris.is_some_and(|uris| uris.iter().any(|uri| uri.as_str() == Some(text))));
            }
            // What its application calls itself stands in another row.
            (Place::Names, Literal::Text(text) | Literal::Guid(text)) => match uuid::Uuid::try_parse(text) {
                Ok(id) => Some(id.to_string()) == self.kept.unique,
                Err(_) => return None,
            },
            (Place::Flag(_) | Place::Always(_), Literal::Bool(is)) => value == Some(is.to_string()),
            (Place::Presence { .. } | Place::Always(_), Literal::Text(text) | Literal::Guid(text)) => {
                value.is_some_and(|value| value.eq_ignore_ascii_case(text))
            }
            (_, Literal::Null) => value.is_none(),
            (_, Literal::Text(text) | Literal::Guid(text)) => value == Some(field.place.folded(text)),
            (_, Literal::Bool(_) | Literal::Number(_) | Literal::DateTime(_)) => return None,
        };
        Some(is)
    }

    /// What stands at a place, in the form that it is compared in; none of what is null there.
    pub(super) fn value(&self, place: &Place) -> Option<String> {
        let at = |path: &str| path.split('.').try_fold(self.body, |value, name| value.get(name));
        let text = |path: &str| at(path).and_then(Value::as_str);
        match *place {
            Place::Id | Place::Uris => Some(self.kept.id.clone()),
            Place::Unique(_) | Place::Names => self.kept.unique.clone(),
            Place::Exact(path) => text(path).map(str::to_owned),
            Place::Text(path) | Place::One(path) => text(path).map(str::to_ascii_lowercase),
            Place::Flag(path) => at(path).and_then(Value::as_bool).map(|is| is.to_string()),
            Place::Presence { path, there, absent } => {
                Some(if text(path).is_some() { there } else { absent }.to_owned())
            }
            Place::Always(said) => Some(said.to_owned()),
        }
    }
}
