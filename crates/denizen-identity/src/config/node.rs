//! A tree of settings: text, lists and sections, from JSON, TOML or the environment. Keys compare without case.

use std::collections::BTreeMap;

use crate::environment::Environment;

/// Why a text is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be read: {0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(super) fn json(error: &serde_json::Error) -> Self {
        // The place alone: the text may hold secrets.
        Self(format!("no JSON at line {} column {}", error.line(), error.column()))
    }

    #[cfg(feature = "toml")]
    pub(super) fn toml(error: &toml::de::Error) -> Self {
        // The place alone, as for JSON.
        match error.span() {
            Some(span) => Self(format!("no TOML at byte {}", span.start)),
            None => Self("no TOML".to_owned()),
        }
    }
}

/// A setting, or a tree of them.
#[derive(Clone)]
pub(super) enum Node {
    Text(String),
    List(Vec<Node>),
    /// Keys in lower case.
    Section(BTreeMap<String, Node>),
}

impl Node {
    pub(super) fn of_json(json: serde_json::Value) -> Result<Self, ConfigError> {
        use serde_json::Value;
        Ok(match json {
            Value::Null => Self::Text(String::new()),
            Value::Bool(b) => Self::Text(b.to_string()),
            Value::Number(n) => Self::Text(n.to_string()),
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items.into_iter().map(Self::of_json).collect::<Result<_, _>>()?),
            Value::Object(object) => {
                Self::section(object.into_iter().map(|(key, value)| Ok((key, Self::of_json(value)?))))?
            }
        })
    }

    #[cfg(feature = "toml")]
    pub(super) fn of_toml(value: toml::Value) -> Result<Self, ConfigError> {
        use toml::Value;
        Ok(match value {
            Value::String(text) => Self::Text(text),
            Value::Integer(n) => Self::Text(n.to_string()),
            Value::Float(n) => Self::Text(n.to_string()),
            Value::Boolean(b) => Self::Text(b.to_string()),
            Value::Datetime(moment) => Self::Text(moment.to_string()),
            Value::Array(items) => Self::List(items.into_iter().map(Self::of_toml).collect::<Result<_, _>>()?),
            Value::Table(table) => {
                Self::section(table.into_iter().map(|(key, value)| Ok((key, Self::of_toml(value)?))))?
            }
        })
    }

    fn section(pairs: impl Iterator<Item = Result<(String, Self), ConfigError>>) -> Result<Self, ConfigError> {
        let mut section = BTreeMap::new();
        for pair in pairs {
            let (key, value) = pair?;
            if section.insert(key.to_lowercase(), value).is_some() {
                return Err(ConfigError(format!("the key '{key}' is there twice, in different case")));
            }
        }
        Ok(Self::Section(section))
    }

    pub(super) fn of_environment(environment: &Environment, prefix: &str) -> Self {
        let mut root = BTreeMap::new();
        let prefix = format!("{}__", prefix.to_lowercase());
        // In order, so that the result does not depend on a map's.
        let sorted: BTreeMap<String, &str> =
            environment.iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        for (name, value) in sorted {
            if let Some(path) = name.strip_prefix(&prefix) {
                insert(&mut root, path, value);
            }
        }
        Self::Section(root)
    }

    /// A child by its key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Section(section) => section.get(&key.to_lowercase()),
            Self::List(items) => items.get(key.parse::<usize>().ok()?),
            Self::Text(_) => None,
        }
    }

    /// A descendant by its path, `A:B:C`.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split(':').filter(|key| !key.is_empty()).try_fold(self, Self::get)
    }

    /// The text under a key, unless it is empty.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Self::Text(text)) => Some(text.trim()).filter(|text| !text.is_empty()),
            Some(Self::List(_) | Self::Section(_)) | None => None,
        }
    }

    /// The items under a key: of a list, of a section numbered from 0, or of a text parted by `;`.
    pub(super) fn items(&self, key: &str) -> Vec<Self> {
        match self.get(key) {
            Some(Self::List(items)) => items.clone(),
            Some(section @ Self::Section(_)) => {
                (0..).map_while(|number: usize| section.get(&number.to_string()).cloned()).collect()
            }
            Some(Self::Text(text)) => {
                text.split(';').map(str::trim).filter(|t| !t.is_empty()).map(|t| Self::Text(t.to_owned())).collect()
            }
            None => Vec::new(),
        }
    }

    /// The texts under a key, joined as the environment has them.
    pub(super) fn joined(&self, key: &str) -> Option<String> {
        let texts: Vec<String> = self.items(key).into_iter().filter_map(Self::into_text).collect();
        (!texts.is_empty()).then(|| texts.join(";"))
    }

    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Section(_) => None,
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::Section(section) => Some(section.keys().map(String::as_str)),
            Self::Text(_) | Self::List(_) => None,
        }
        .into_iter()
        .flatten()
    }
}

fn insert(section: &mut BTreeMap<String, Node>, path: &str, value: &str) {
    match path.split_once("__") {
        None => {
            section.insert(path.to_owned(), Node::Text(value.to_owned()));
        }
        Some((key, rest)) => {
            let child = section.entry(key.to_owned()).or_insert_with(|| Node::Section(BTreeMap::new()));
            // A variable that is both a text and a section: the deeper one is meant.
            if !matches!(child, Node::Section(_)) {
                *child = Node::Section(BTreeMap::new());
            }
            if let Node::Section(inner) = child {
                insert(inner, rest, value);
            }
        }
    }
}
