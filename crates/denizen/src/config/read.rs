//! Reads values out of file, environment and command line, and collects what is wrong with them.
//!
//! Nothing of a value that may be a secret is repeated: a fault names the place and the rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{
    Fault,
    keys::{self, KEYS, Unset},
};

/// What starts the name of every variable of ours.
const PREFIX: &str = "DENIZEN_";
/// Variables of ours that are no keys: for other commands, for `denizen dev`, for tests.
const OTHER_VARIABLES: [&str; 5] =
    ["DENIZEN_CONFIG", "DENIZEN_DEV_JSON", "DENIZEN_LOG", "DENIZEN_SKIPS", "DENIZEN_STATE_DIR"];

/// Values from the three sources, and the faults that were found.
pub(super) struct Reader<'a> {
    file: &'a Path,
    table: Table,
    variables: BTreeMap<String, String>,
    flags: BTreeMap<String, String>,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
    /// The keys that were asked for: the tests compare them with the list.
    pub(super) asked: BTreeSet<&'static str>,
}

/// A value, and where it was set.
pub(super) struct Found<T> {
    pub(super) value: T,
    /// `denizen.toml: listen`, `DENIZEN_LISTEN` or `--set listen`, or `listen` by default.
    pub(super) at: String,
    /// Whether it was set at all.
    pub(super) is_set: bool,
    /// Whether it stands in the file.
    pub(super) in_file: bool,
}

enum Raw {
    Toml(Value),
    Words(String),
}

impl<'a> Reader<'a> {
    /// `text` is the file's. `flags` are pairs of key and value, the last of a key wins.
    pub(super) fn new(
        file: &'a Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut faults = Vec::new();
        let table = toml::from_str::<Table>(text).unwrap_or_else(|error| {
            let place = error.span().map_or_else(String::new, |span| place(text, span.start));
            // The parser's own text may repeat what stands there.
            faults.push(Fault::new(
                format!("{}{place}", file.display()),
                "this is not TOML: look for a missing quote, bracket or '=', or a key that is set twice",
            ));
            Table::new()
        });
        let variables = variables.into_iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty());
        let mut reader = Self {
            file,
            table,
            variables: variables.collect(),
            flags: flags.into_iter().collect(),
            faults,
            warnings: Vec::new(),
            asked: BTreeSet::new(),
        };
        reader.refuse_unknown();
        reader
    }

    /// Notes what is not wrong, and not wise.
    pub(super) fn warn(&mut self, at: &str, rule: &str) {
        self.warnings.push(Fault::new(at, rule));
    }

    /// Notes what is wrong.
    pub(super) fn fault(&mut self, at: impl Into<String>, rule: impl Into<String>) {
        self.faults.push(Fault::new(at, rule));
    }

    /// A text; none when it is not set and has no default of its own.
    pub(super) fn text(&mut self, name: &'static str) -> Option<Found<String>> {
        let (raw, at, in_file) = match self.raw(name)? {
            (Raw::Toml(Value::String(text)), at, in_file) => (text, at, in_file),
            (Raw::Toml(other), at, _) => {
                self.fault(at, format!("write a text in quotes, not {}", kind_of(&other)));
                return None;
            }
            (Raw::Words(text), at, in_file) => (text, at, in_file),
        };
        if raw.is_empty() {
            self.fault(at, "it is empty: give it a value, or remove the key");
            return None;
        }
        if raw.chars().any(char::is_control) {
            self.fault(at, "it has a control character in it, a line's end perhaps: remove that");
            return None;
        }
        let is_set = at != name;
        Some(Found { value: raw, at, is_set, in_file })
    }

    /// The same, parsed. What cannot be parsed is a fault with the rule that the parser says.
    pub(super) fn parsed<T: std::str::FromStr<Err = String>>(&mut self, name: &'static str) -> Option<Found<T>> {
        let Found { value, at, is_set, in_file } = self.text(name)?;
        match value.parse() {
            Ok(value) => Some(Found { value, at, is_set, in_file }),
            Err(rule) => {
                self.fault(at, rule);
                None
            }
        }
    }

    /// A path, made absolute by the file's directory.
    pub(super) fn path(&mut self, name: &'static str) -> Option<Found<PathBuf>> {
        let Found { value, at, is_set, in_file } = self.text(name)?;
        Some(Found { value: self.absolute(&value), at, is_set, in_file })
    }

    /// A path as the file's directory makes it absolute.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        let beside = self.file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let path = beside.map_or_else(|| PathBuf::from(path), |parent| parent.join(path));
        std::path::absolute(&path).unwrap_or(path)
    }

    /// A number in a range; one that is not is a fault, and the least is taken, to go on with.
    pub(super) fn number(&mut self, name: &'static str, range: RangeInclusive<u64>) -> u64 {
        let least = *range.start();
        let Some((raw, at, _)) = self.raw(name) else { return least };
        let number = match raw {
            Raw::Toml(Value::Integer(number)) => u64::try_from(number).ok(),
            Raw::Toml(other) if !matches!(other, Value::Float(_)) => {
                self.fault(at, format!("write a whole number without quotes, not {}", kind_of(&other)));
                return least;
            }
            Raw::Toml(_) => None,
            Raw::Words(text) => text.parse().ok(),
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let most = match *range.end() {
                    u64::MAX => "no more than 64 bits".to_owned(),
                    most => format!("to {most}"),
                };
                self.fault(at, format!("write a whole number from {least} {most}"));
                least
            }
        }
    }

    /// The value of a key, from where it counts most.
    fn raw(&mut self, name: &'static str) -> Option<(Raw, String, bool)> {
        self.asked.insert(name);
        if let Some(value) = self.flags.get(name) {
            return Some((Raw::Words(value.clone()), format!("--set {name}"), false));
        }
        let variable = keys::variable(name);
        if let Some(value) = self.variables.get(&variable) {
            return Some((Raw::Words(value.clone()), variable, false));
        }
        let (section, key) = keys::parts(name);
        let table = match section {
            None => Some(&self.table),
            Some(section) => self.table.get(section).and_then(Value::as_table),
        };
        if let Some(value) = table.and_then(|table| table.get(key)) {
            return Some((Raw::Toml(value.clone()), self.in_file(name), true));
        }
        match KEYS.iter().find(|key| key.name == name).map(|key| key.default) {
            Some(Unset::Is(literal)) => {
                let text = literal.trim_matches('"');
                Some((Raw::Words(text.to_owned()), name.to_owned(), false))
            }
            Some(Unset::Such(_)) | None => None,
        }
    }

    fn in_file(&self, name: &str) -> String {
        format!("{}: {name}", self.file.display())
    }

    /// Names every key that there is not: in the file, on the command line, and in variables that look like one.
    fn refuse_unknown(&mut self) {
        let known = |name: &str| KEYS.iter().any(|key| key.name == name);
        let is_section = |name: &str| KEYS.iter().any(|key| keys::parts(key.name).0 == Some(name));
        let mut unknown = Vec::new();
        for (name, value) in &self.table {
            if let Value::Table(section) = value
                && is_section(name)
            {
                let inside = section.keys().map(|key| format!("{name}.{key}")).filter(|name| !known(name));
                unknown.extend(inside.map(|name| (self.in_file(&shown(&name)), name)));
            } else if is_section(name) {
                let rule = format!("this is a section: write [{name}] above its keys");
                self.faults.push(Fault::new(self.in_file(name), rule));
            } else if name.contains('.') || !known(name) {
                unknown.push((self.in_file(&shown(name)), name.clone()));
            }
        }
        unknown.extend(
            self.flags.keys().filter(|name| !known(name)).map(|name| (format!("--set {}", shown(name)), name.clone())),
        );
        for (at, name) in unknown {
            let rule = match nearest(&name, KEYS.iter().map(|key| key.name)) {
                Some(near) => format!("there is no such key; did you mean {near}?"),
                None => "there is no such key; `denizen server --print-config` prints all of them".to_owned(),
            };
            self.fault(at, rule);
        }
        let variables: Vec<String> = KEYS.iter().map(|key| keys::variable(key.name)).collect();
        let mistyped: Vec<(String, String)> = self
            .variables
            .keys()
            .filter(|name| !variables.contains(name) && !OTHER_VARIABLES.contains(&name.as_str()))
            .filter_map(|name| {
                // Others set variables that start as ours do: Kubernetes for a service that is called denizen.
                let near = nearest(name, variables.iter().map(String::as_str));
                let section = KEYS.iter().filter_map(|key| keys::parts(key.name).0).find(|section| {
                    name.strip_prefix(PREFIX)
                        .is_some_and(|rest| rest.starts_with(&format!("{}_", section.to_ascii_uppercase())))
                });
                match (near, section) {
                    (Some(near), _) => Some((name.clone(), format!("there is no such key; did you mean {near}?"))),
                    (None, Some(section)) => Some((
                        name.clone(),
                        format!(
                            "there is no such key in [{section}]; `denizen server --print-config` prints all of them"
                        ),
                    )),
                    (None, None) => None,
                }
            })
            .collect();
        for (at, rule) in mistyped {
            self.fault(at, rule);
        }
    }
}

/// A name as a fault may repeat it: somebody may have written a value in its place.
fn shown(name: &str) -> String {
    denizen_wire::shown::identifier(name).into_owned()
}

/// The name that is spelt most like this one, if any is.
fn nearest<'n>(name: &str, all: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distances = all.map(|known| {
        // A key in the wrong section is near too.
        let distance = if last(name) == last(known) {
            1
        } else {
            strsim::osa_distance(&name.to_lowercase(), &known.to_lowercase())
        };
        (distance, known)
    });
    distances.filter(|(distance, _)| *distance <= 2).min().map(|(_, known)| known)
}

/// `:3:5`, the line and the column of a byte of a text.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!(":{line}:{column}")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}
