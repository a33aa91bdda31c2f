//! `claimsMatchingExpression`, language version 1: `claims['sub'] matches 'repo:contoso/*' and claims['ref'] eq 'main'`.
//!
//! ```text
//! expression = condition *( " and " condition )
//! condition  = "claims['" name "']" ( " eq " | " matches " ) "'" value "'"
//! ```
//!
//! In the value of `matches`, `?` stands for one character and `*` for any number of them; in that of `eq` they are
//! themselves. A value has no quote in it. What is compared is a claim that is text, as it is written. There is no `or`, no
//! bracket, no negation: an expression is a flat list, of at most [`MOST_CONDITIONS`].
//!
//! Pure. Tests: `tests.rs` beside this file, with properties.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::LONGEST;

/// The most conditions of an expression.
const MOST_CONDITIONS: usize = 16;
/// A claim that is longer fits nothing, bytes: a stranger's token is matched too.
const LONGEST_CLAIM: usize = 4096;
/// The longest name of a claim, characters.
const LONGEST_NAME: usize = 120;

/// A parsed expression: all of its conditions must hold. It is kept as its text, which every later release must read too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    text: String,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    claim: String,
    operator: Operator,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Eq,
    Matches,
}

/// Why a text is no expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the claims matching expression cannot be read: at character {at}, {rule}. Write claims['NAME'] eq 'VALUE' or claims['NAME'] matches 'PATTERN', several with ' and ' between"
)]
pub struct ExpressionError {
    /// The character, counted from 1.
    pub at: usize,
    /// What is expected there.
    pub rule: &'static str,
}

impl Expression {
    /// Whether a token's claims fit.
    pub fn fits(&self, claims: &Map<String, Value>) -> bool {
        self.conditions.iter().all(|Condition { claim, operator, value }| {
            let claim = claims.get(claim).and_then(Value::as_str).filter(|claim| claim.len() <= LONGEST_CLAIM);
            let Some(claim) = claim else { return false };
            match operator {
                Operator::Eq => claim == value,
                Operator::Matches => matches(value, claim),
            }
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl std::str::FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let mut reader = Reader { text, rest: text };
        if text.chars().count() > LONGEST {
            return Err(ExpressionError { at: LONGEST + 1, rule: "it is longer than 600 characters" });
        }
        let mut conditions = Vec::new();
        loop {
            conditions.push(reader.condition()?);
            if reader.rest.is_empty() {
                return Ok(Self { text: text.to_owned(), conditions });
            }
            if conditions.len() == MOST_CONDITIONS {
                return Err(reader.fault("it has more than 16 conditions"));
            }
            reader.word(" and ", "' and ' or the end is expected, with one space on each side")?;
        }
    }
}

impl TryFrom<String> for Expression {
    type Error = ExpressionError;

    fn try_from(text: String) -> Result<Self, ExpressionError> {
        text.parse()
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.text
    }
}

struct Reader<'t> {
    text: &'t str,
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn condition(&mut self) -> Result<Condition, ExpressionError> {
        self.word("claims['", "claims['NAME'] is expected")?;
        let claim = self.until_quote()?;
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_-.:/".contains(&b);
        if claim.is_empty() || claim.len() > LONGEST_NAME || !claim.bytes().all(is_name) {
            return Err(self.fault("a claim's name ends that is not 1 to 120 letters, digits and _-.:/"));
        }
        self.word("]", "']' is expected")?;
        let operator = if self.takes(" eq ") {
            Operator::Eq
        } else if self.takes(" matches ") {
            Operator::Matches
        } else {
            return Err(self.fault("' eq ' or ' matches ' is expected, with one space on each side"));
        };
        self.word("'", "a value in single quotes is expected")?;
        let value = self.until_quote()?;
        if value.is_empty() {
            return Err(self.fault("an empty value ends: name what the claim must be"));
        }
        if operator == Operator::Matches && value.chars().all(|c| c == '*' || c == '?') {
            return Err(self.fault("a pattern ends that everybody fits: name what the claim must have in it"));
        }
        Ok(Condition { claim: claim.to_owned(), operator, value: value.to_owned() })
    }

    /// What stands before the next quote, which is passed over.
    fn until_quote(&mut self) -> Result<&'t str, ExpressionError> {
        let Some((value, rest)) = self.rest.split_once('\'') else {
            return Err(self.fault("the quote that opens here is not closed"));
        };
        if value.chars().any(char::is_control) {
            return Err(self.fault("there is a control character"));
        }
        self.rest = rest;
        Ok(value)
    }

    fn takes(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self, word: &str, rule: &'static str) -> Result<(), ExpressionError> {
        if self.takes(word) { Ok(()) } else { Err(self.fault(rule)) }
    }

    fn fault(&self, rule: &'static str) -> ExpressionError {
        let read = self.text.len() - self.rest.len();
        let at = self.text.get(..read).map_or(0, |read| read.chars().count()) + 1;
        ExpressionError { at, rule }
    }
}

/// Whether a text fits a pattern, in at most pattern times text steps and without a stack: on a mismatch only the last `*`
/// takes one character more.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut last_star: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let read = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = read;
                last_star = Some((pattern.clone(), text.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            (Some(_) | None, Some(_)) => {
                let Some((after_star, mut taken)) = last_star.take() else { return false };
                if taken.next().is_none() {
                    return false;
                }
                pattern = after_star.clone();
                text = taken.clone();
                last_star = Some((after_star, taken));
            }
            (Some(_), None) => return false,
        }
    }
}
