//! The grammar of `$filter`, as far as clients send it to a directory:
//!
//! ```text
//! or      := and ( 'or' and )*
//! and     := unary ( 'and' unary )*
//! unary   := 'not' unary | '(' or ')' | call | any | compare
//! call    := ( startswith | endswith ) '(' path ',' text ')' [ eq true | eq false ]
//! any     := path '/any(' x ':' test-of-x ')'
//! compare := path ( eq | ne ) literal | path in '(' literal ( ',' literal )* ')'
//! path    := name ( '/' name )*
//! ```
//!
//! Words are compared without regard to case, as Graph does; names of properties are not. Whatever else OData has is
//! refused by its name. Tests: `tests.rs`.

use uuid::Uuid;

use super::{BadQuery, Filter, Literal, MAX_DEPTH, MAX_LENGTH, MAX_TERMS, Test, is_name};

/// One word of a filter, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A name, a keyword or a path.
    Word(String),
    /// Text in quotes, or another value.
    Value(Literal),
    Open,
    Close,
    Comma,
    Colon,
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    /// Where the text ends.
    end: usize,
    terms: usize,
}

/// Functions and operators of OData that are not answered, so that an error can say so.
const UNANSWERED: [&str; 20] = [
    "contains",
    "gt",
    "ge",
    "lt",
    "le",
    "has",
    "add",
    "sub",
    "mul",
    "div",
    "mod",
    "tolower",
    "toupper",
    "length",
    "indexof",
    "substring",
    "concat",
    "trim",
    "year",
    "all",
];

pub(super) fn parse(text: &str) -> Result<Filter, BadQuery> {
    if text.len() > MAX_LENGTH {
        return Err(BadQuery { option: "$filter", at: None, rule: format!("it is longer than {MAX_LENGTH} bytes") });
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens, next: 0, end: text.chars().count(), terms: 0 };
    let filter = parser.or(0)?;
    match parser.peek() {
        None => Ok(filter),
        Some(_) => Err(parser.wrong("expected 'and', 'or' or the end")),
    }
}

fn wrong(at: usize, rule: impl Into<String>) -> BadQuery {
    BadQuery { option: "$filter", at: Some(at), rule: rule.into() }
}

/// Positions are counted in characters: that is what a person sees.
fn tokens(text: &str) -> Result<Vec<(usize, Token)>, BadQuery> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(c) = chars.get(at).copied() {
        let began = at;
        let token = match c {
            _ if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            ':' => Token::Colon,
            '\'' => {
                let (value, after) = quoted(&chars, at)?;
                at = after;
                tokens.push((began, Token::Value(Literal::Text(value))));
                continue;
            }
            _ if is_bare(c) => {
                // A colon is part of a time, and parts a variable from its test.
                let mut word = String::new();
                while let Some(c) = chars.get(at).copied() {
                    let is_time = c == ':' && word.starts_with(|c: char| c.is_ascii_digit());
                    if !is_bare(c) && !is_time {
                        break;
                    }
                    word.push(c);
                    at += 1;
                }
                tokens.push((began, bare(&word, began)?));
                continue;
            }
            _ => return Err(wrong(at, "this character begins neither a name nor a value")),
        };
        at += 1;
        tokens.push((began, token));
    }
    Ok(tokens)
}

fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-./+$@".contains(c)
}

/// The text from a quote to the next that is not doubled, and where it ends.
fn quoted(chars: &[char], from: usize) -> Result<(String, usize), BadQuery> {
    let (mut text, mut at) = (String::new(), from + 1);
    loop {
        match (chars.get(at), chars.get(at + 1)) {
            (Some('\''), Some('\'')) => {
                text.push('\'');
                at += 2;
            }
            (Some('\''), _) => return Ok((text, at + 1)),
            (Some(c), _) if c.is_control() => return Err(wrong(at, "a value has no control characters")),
            (Some(c), _) => {
                text.push(*c);
                at += 1;
            }
            (None, _) => {
                return Err(wrong(from, "this quote is not closed; a quote inside a value is written twice ('')"));
            }
        }
    }
}

/// What a word without quotes is.
fn bare(word: &str, at: usize) -> Result<Token, BadQuery> {
    let begins_with_digit = word.starts_with(|c: char| c.is_ascii_digit());
    if word.len() == 36 && Uuid::try_parse(word).is_ok() {
        return Ok(Token::Value(Literal::Guid(word.to_owned())));
    }
    if begins_with_digit && word.contains('T') {
        return match is_date_time(word) {
            true => Ok(Token::Value(Literal::DateTime(word.to_owned()))),
            false => Err(wrong(at, "a time is written as 2026-01-31T12:00:00Z")),
        };
    }
    if begins_with_digit || word.starts_with(['-', '+']) {
        let number = word.parse().map_err(|_| wrong(at, "this is no whole number, no GUID and no time"))?;
        return Ok(Token::Value(Literal::Number(number)));
    }
    match word {
        _ if word.eq_ignore_ascii_case("true") => Ok(Token::Value(Literal::Bool(true))),
        _ if word.eq_ignore_ascii_case("false") => Ok(Token::Value(Literal::Bool(false))),
        _ if word.eq_ignore_ascii_case("null") => Ok(Token::Value(Literal::Null)),
        _ if word.split('/').all(|name| is_name(name) || name == "$count") => Ok(Token::Word(word.to_owned())),
        _ => Err(wrong(at, "this is no name; a text stands in single quotes")),
    }
}

/// `2026-01-31T12:00:00Z`, with a fraction of a second if need be.
fn is_date_time(text: &str) -> bool {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let (head, rest) = match (text.get(..FORM.len()), text.get(FORM.len()..)) {
        (Some(head), Some(rest)) => (head, rest),
        _ => return false,
    };
    let fits = |(byte, form): (u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == *form };
    let fraction = rest.strip_suffix('Z').map(|fraction| fraction.strip_prefix('.').unwrap_or(fraction));
    head.bytes().zip(FORM).all(fits)
        && fraction.is_some_and(|it| it.len() <= 9 && it.bytes().all(|b| b.is_ascii_digit()))
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// Where the next token stands.
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.next += 1;
        token
    }

    fn wrong(&self, rule: impl Into<String>) -> BadQuery {
        wrong(self.at(), rule)
    }

    /// Whether the next token is this keyword.
    fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    /// Takes this keyword, if it is the next token.
    fn word(&mut self, keyword: &str) -> bool {
        let is = self.is_word(keyword);
        self.next += usize::from(is);
        is
    }

    fn expect(&mut self, token: &Token, rule: &str) -> Result<(), BadQuery> {
        match self.peek() == Some(token) {
            true => {
                self.next += 1;
                Ok(())
            }
            false => Err(self.wrong(rule)),
        }
    }

    fn term(&mut self) -> Result<(), BadQuery> {
        self.terms += 1;
        match self.terms > MAX_TERMS {
            true => Err(self.wrong(format!("it has more than {MAX_TERMS} comparisons"))),
            false => Ok(()),
        }
    }

    fn or(&mut self, depth: usize) -> Result<Filter, BadQuery> {
        let mut filter = self.and(depth)?;
        while self.word("or") {
            filter = Filter::Or(Box::new(filter), Box::new(self.and(depth)?));
        }
        Ok(filter)
    }

    fn and(&mut self, depth: usize) -> Result<Filter, BadQuery> {
        let mut filter = self.unary(depth)?;
        while self.word("and") {
            filter = Filter::And(Box::new(filter), Box::new(self.unary(depth)?));
        }
        Ok(filter)
    }

    fn unary(&mut self, depth: usize) -> Result<Filter, BadQuery> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(format!("it is nested more than {MAX_DEPTH} levels deep")));
        }
        if self.word("not") {
            return Ok(Filter::Not(Box::new(self.unary(depth + 1)?)));
        }
        match self.peek() {
            Some(Token::Open) => {
                self.next += 1;
                let inner = self.or(depth + 1)?;
                self.expect(&Token::Close, "expected ')'")?;
                Ok(inner)
            }
            Some(Token::Word(_)) => self.comparison(),
            Some(_) => Err(self.wrong("expected the name of a property, 'not', '(' or a function")),
            None => Err(self.wrong("a comparison is missing here")),
        }
    }

    fn comparison(&mut self) -> Result<Filter, BadQuery> {
        self.term()?;
        for (name, of) in [("startswith", Test::StartsWith as fn(String) -> Test), ("endswith", Test::EndsWith)] {
            if self.is_word(name) {
                let (path, text) = self.call(None)?;
                return self.call_equals(Filter::Is(path, of(text)));
            }
        }
        let path = self.path()?;
        if let Some(collection) = path.strip_suffix("/any") {
            return self.any(collection.to_owned());
        }
        Ok(Filter::Is(path, self.test()?))
    }

    /// `startswith(path,'text')`; the path is `variable` where there is one.
    fn call(&mut self, variable: Option<&str>) -> Result<(String, String), BadQuery> {
        self.next += 1;
        self.expect(&Token::Open, "expected '(' after the function")?;
        let at = self.at();
        let path = self.path()?;
        if variable.is_some_and(|variable| variable != path) {
            return Err(wrong(at, "inside any() the test is of its variable"));
        }
        self.expect(&Token::Comma, "expected ',' and a text in quotes")?;
        let at = self.at();
        let Some(Token::Value(Literal::Text(text))) = self.take() else {
            return Err(wrong(at, "expected a text in quotes"));
        };
        self.expect(&Token::Close, "expected ')'")?;
        Ok((path, text))
    }

    /// `startswith(…) eq true` is the same as without.
    fn call_equals(&mut self, filter: Filter) -> Result<Filter, BadQuery> {
        if !self.word("eq") {
            return Ok(filter);
        }
        let at = self.at();
        match self.take() {
            Some(Token::Value(Literal::Bool(true))) => Ok(filter),
            Some(Token::Value(Literal::Bool(false))) => Ok(Filter::Not(Box::new(filter))),
            _ => Err(wrong(at, "a function is compared with true or false")),
        }
    }

    /// `(x:x eq 'v')` after a collection.
    fn any(&mut self, collection: String) -> Result<Filter, BadQuery> {
        self.expect(&Token::Open, "expected '(' after any")?;
        let at = self.at();
        let Some(Token::Word(variable)) = self.take() else {
            return Err(wrong(at, "expected a variable, as in any(x:x eq 'value')"));
        };
        self.expect(&Token::Colon, "expected ':' after the variable, as in any(x:x eq 'value')")?;
        let function = [("startswith", Test::StartsWith as fn(String) -> Test), ("endswith", Test::EndsWith)];
        let test = match function.into_iter().find(|(name, _)| self.is_word(name)) {
            Some((_, of)) => of(self.call(Some(&variable))?.1),
            None => {
                let at = self.at();
                if self.path()? != variable {
                    return Err(wrong(at, "inside any() the test is of its variable, as in any(x:x eq 'value')"));
                }
                self.test()?
            }
        };
        self.expect(&Token::Close, "expected ')': one comparison stands in any()")?;
        Ok(Filter::Any(collection, test))
    }

    fn path(&mut self) -> Result<String, BadQuery> {
        let at = self.at();
        match self.take() {
            Some(Token::Word(word)) if UNANSWERED.iter().any(|other| word.eq_ignore_ascii_case(other)) => Err(wrong(
                at,
                format!(
                    "'{}' is not answered here; eq, ne, in, startswith, endswith and any are",
                    word.to_ascii_lowercase()
                ),
            )),
            Some(Token::Word(word)) if word.split('/').any(|name| name.eq_ignore_ascii_case("all")) => {
                Err(wrong(at, "'all' is not answered here; any is"))
            }
            Some(Token::Word(word)) if word.contains('$') => {
                Err(wrong(at, "'/$count' is not answered in a filter here"))
            }
            Some(Token::Word(word)) => Ok(word),
            _ => Err(wrong(at, "expected the name of a property")),
        }
    }

    fn test(&mut self) -> Result<Test, BadQuery> {
        if self.word("eq") {
            return Ok(Test::Equals(self.literal()?));
        }
        if self.word("ne") {
            return Ok(Test::Differs(self.literal()?));
        }
        if self.word("in") {
            self.expect(&Token::Open, "expected '(' after in")?;
            let mut values = vec![self.literal()?];
            while self.peek() == Some(&Token::Comma) {
                self.next += 1;
                self.term()?;
                values.push(self.literal()?);
            }
            self.expect(&Token::Close, "expected ',' or ')'")?;
            return Ok(Test::In(values));
        }
        if let Some(other) = UNANSWERED.iter().find(|other| self.is_word(other)) {
            return Err(self.wrong(format!("'{other}' is not answered here; eq, ne and in are")));
        }
        Err(self.wrong("expected eq, ne or in after the property"))
    }

    fn literal(&mut self) -> Result<Literal, BadQuery> {
        let at = self.at();
        match self.take() {
            Some(Token::Value(value)) => Ok(value),
            _ => Err(wrong(at, "expected a value: a text in single quotes, a GUID, true, false, null or a time")),
        }
    }
}
