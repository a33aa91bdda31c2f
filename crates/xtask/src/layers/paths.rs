//! The paths within its own crate that a Rust file names, read from its tokens: in `use` lines, in code and in macros
//! alike, and never in comments or strings. What is compiled for tests only is left out.

use std::iter::Peekable;

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

/// One path, from the crate's root: `crate::http::vault::Permit` is `["http", "vault", "Permit"]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) line: usize,
    pub(super) path: Vec<String>,
}

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct File {
    /// The paths that start with `crate`, `super` or `self`.
    pub(super) named: Vec<Named>,
    /// What it takes in by a bare `use`, so what a root or a parent gives on: the name there, and the path.
    pub(super) given_on: Vec<(String, Vec<String>)>,
    /// Every word of the code, with its line.
    pub(super) words: Vec<(usize, String)>,
    /// The modules that it declares under `#[cfg(test)]`, as paths from the crate's root.
    pub(super) test_modules: Vec<Vec<String>>,
}

/// Reads a file that is the module `module`.
pub(super) fn read(text: &str, module: &[String]) -> Result<File, proc_macro2::LexError> {
    let mut file = File::default();
    file.walk(text.parse()?, module);
    Ok(file)
}

impl File {
    fn walk(&mut self, stream: TokenStream, module: &[String]) {
        let mut tokens = stream.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(hash) if hash.as_char() == '#' => {
                    if let Some(TokenTree::Group(attribute)) = tokens.peek()
                        && is_cfg_test(attribute)
                    {
                        self.skip_item(&mut tokens, module);
                    }
                }
                TokenTree::Ident(word) if word == "mod" => self.walk_module(&mut tokens, module),
                TokenTree::Ident(word) if is_root(&word) && colons(&mut tokens) => {
                    let line = word.span().start().line;
                    let prefix = root(&word, module);
                    self.path(&mut tokens, line, prefix);
                }
                TokenTree::Ident(word)
                    if word == "use" && !matches!(tokens.peek(), Some(TokenTree::Ident(first)) if is_root(first)) =>
                {
                    // A bare path names what is below this module, or another crate.
                    let before = self.named.len();
                    self.path(&mut tokens, word.span().start().line, module.to_vec());
                    let bare = self.named.split_off(before);
                    self.given_on
                        .extend(bare.into_iter().filter_map(|named| Some((named.path.last()?.clone(), named.path))));
                }
                TokenTree::Ident(word) => self.words.push((word.span().start().line, word.to_string())),
                TokenTree::Group(group) => self.walk(group.stream(), module),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// After `mod`: an inline module is walked as what it is, below this one.
    fn walk_module(&mut self, tokens: &mut Tokens, module: &[String]) {
        let Some(TokenTree::Ident(name)) = tokens.next_if(|token| matches!(token, TokenTree::Ident(_))) else { return };
        if let Some(TokenTree::Group(body)) = tokens.next_if(|token| matches!(token, TokenTree::Group(_))) {
            self.walk(body.stream(), &below(module, &name.to_string()));
        }
    }

    /// After `#`: its attribute, and what it stands on. An item ends with its `;` or its body; a field, a variant, an arm
    /// or an expression with its `;` or with a comma that stands in no angle brackets.
    fn skip_item(&mut self, tokens: &mut Tokens, module: &[String]) {
        tokens.next();
        while tokens.next_if(|token| matches!(token, TokenTree::Punct(hash) if hash.as_char() == '#')).is_some() {
            tokens.next();
        }
        if tokens.next_if(|token| matches!(token, TokenTree::Ident(word) if word == "pub")).is_some() {
            let parenthesis = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis);
            tokens.next_if(parenthesis);
        }
        let is_item =
            matches!(tokens.peek(), Some(TokenTree::Ident(word)) if ITEM_WORDS.contains(&word.to_string().as_str()));
        let (mut is_module, mut angles, mut before) = (false, 0_i32, ' ');
        for token in tokens {
            let was = std::mem::replace(&mut before, ' ');
            match token {
                TokenTree::Ident(word) if word == "mod" => is_module = true,
                TokenTree::Ident(name) if is_module => {
                    self.test_modules.push(below(module, &name.to_string()));
                    is_module = false;
                }
                TokenTree::Punct(mark) => {
                    before = mark.as_char();
                    match before {
                        ';' => return,
                        ',' if !is_item && angles <= 0 => return,
                        '<' => angles += 1,
                        // Not of `->` and `=>`.
                        '>' if was != '-' && was != '=' => angles -= 1,
                        _ => {}
                    }
                }
                TokenTree::Group(body) if is_item && body.delimiter() == Delimiter::Brace => return,
                TokenTree::Ident(_) | TokenTree::Group(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// After `crate::` and the like: the rest of the path, which a group of `use` may make into several.
    fn path(&mut self, tokens: &mut Tokens, line: usize, mut path: Vec<String>) {
        loop {
            match tokens.peek() {
                Some(TokenTree::Ident(word)) => {
                    self.words.push((word.span().start().line, word.to_string()));
                    if word == "super" {
                        path.pop();
                    } else if word != "self" {
                        path.push(word.to_string());
                    }
                    tokens.next();
                    if colons(tokens) {
                        continue;
                    }
                }
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let members = group.stream();
                    tokens.next();
                    let mut members = members.into_iter().peekable();
                    while let Some(member) = members.peek() {
                        let line = member.span().start().line;
                        self.path(&mut members, line, path.clone());
                        // `as name`, `*`, and the comma.
                        for token in members.by_ref() {
                            match token {
                                TokenTree::Punct(comma) if comma.as_char() == ',' => break,
                                TokenTree::Ident(word) => self.words.push((line, word.to_string())),
                                TokenTree::Punct(_) | TokenTree::Group(_) | TokenTree::Literal(_) => {}
                            }
                        }
                    }
                    return;
                }
                _ => {}
            }
            self.named.push(Named { line, path });
            return;
        }
    }
}

/// What an item begins with, after its attributes and its visibility.
const ITEM_WORDS: [&str; 16] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "let",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "union",
    "unsafe",
    "use",
];

type Tokens = Peekable<proc_macro2::token_stream::IntoIter>;

fn is_root(word: &Ident) -> bool {
    word == "crate" || word == "super" || word == "self"
}

fn root(word: &Ident, module: &[String]) -> Vec<String> {
    let mut path = if word == "crate" { Vec::new() } else { module.to_vec() };
    if word == "super" {
        path.pop();
    }
    path
}

fn below(module: &[String], name: &str) -> Vec<String> {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// Takes `::` if it is next.
fn colons(tokens: &mut Tokens) -> bool {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(colon) if colon.as_char() == ':');
    // A single one is a type's: `self: Arc<Self>`.
    let joint = |token: &TokenTree| matches!(token, TokenTree::Punct(colon) if colon.as_char() == ':' && colon.spacing() == proc_macro2::Spacing::Joint);
    tokens.next_if(joint).is_some() && tokens.next_if(is_colon).is_some()
}

fn is_cfg_test(attribute: &Group) -> bool {
    attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}
