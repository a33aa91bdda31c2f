//! Key Vault's data plane: secrets.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer, Serialize};

use crate::UnixTime;

/// The largest secret value, bytes.
pub const MAX_SECRET_VALUE: usize = 25 * 1024;
/// The longest content type, characters.
pub const MAX_CONTENT_TYPE: usize = 255;
/// The most tags on one secret.
pub const MAX_TAGS: usize = 15;
/// The longest tag name or value, characters.
pub const MAX_TAG: usize = 512;
/// The most items on one page, and the default.
pub const MAX_PAGE: u32 = 25;
/// The largest request body that is read, bytes: a secret whose every part has its greatest size, written in the
/// longest way JSON has. A byte of the value becomes at most six (`\\u0001`), a character elsewhere at most twelve
/// (`\\ud83d\\ude00`). A value that is too large is so refused for its own size, and not for its escapes.
pub const MAX_BODY: usize = (MAX_SECRET_VALUE + 1) * 6 + (MAX_CONTENT_TYPE + MAX_TAGS * 2 * MAX_TAG) * 12 + 8 * 1024;
/// The latest time of an attribute, seconds: the end of the year 9999. Clients in .NET, Python, Java and Rust have no
/// later one.
pub const MAX_TIME: UnixTime = UnixTime(253_402_300_799);

/// Tags, in a fixed order so that two equal answers are equal bytes.
pub type Tags = BTreeMap<String, String>;

/// `PUT /secrets/{name}`. Unknown members are ignored, as the service ignores them.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SetSecret {
    /// The value. Required.
    pub value: Option<String>,
    /// A hint for people and tools, `text/plain` for one.
    pub content_type: Option<String>,
    /// Absent: none.
    pub tags: Option<Tags>,
    /// Absent: enabled, no window.
    pub attributes: Option<AttributesIn>,
}

/// `PATCH /secrets/{name}/{version}`. Absent members keep what is stored; `tags: {}` clears.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UpdateSecret {
    /// Absent: kept.
    pub content_type: Option<String>,
    /// Absent: kept. Present: replaces all.
    pub tags: Option<Tags>,
    /// Absent: kept; likewise each member of it.
    pub attributes: Option<AttributesIn>,
}

/// Attributes as clients send them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AttributesIn {
    /// A disabled secret cannot be read.
    pub enabled: Option<bool>,
    /// Not before: informational for secrets.
    #[serde(deserialize_with = "seconds")]
    pub nbf: Option<UnixTime>,
    /// Expiry: informational for secrets.
    #[serde(deserialize_with = "seconds")]
    pub exp: Option<UnixTime>,
}

/// Reads whole seconds. A number that an `i64` cannot hold becomes the nearest that it can, so that whoever checks the
/// range can say what it is.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixTime>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let nearest = match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => whole,
        (None, Some(other)) if other.fract() == 0.0 && other > 0.0 => i64::MAX,
        (None, Some(other)) if other.fract() == 0.0 => i64::MIN,
        (None, _) => return Err(serde::de::Error::custom("a time is a whole number of seconds")),
    };
    Ok(Some(UnixTime(nearest)))
}

/// Attributes as the service answers them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attributes {
    /// A disabled secret cannot be read.
    pub enabled: bool,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<UnixTime>,
    /// Expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<UnixTime>,
    /// When this version was made.
    pub created: UnixTime,
    /// When its metadata last changed.
    pub updated: UnixTime,
    /// `Recoverable+Purgeable` and the like: what a deletion means here.
    pub recovery_level: Cow<'static, str>,
    /// Days a deleted secret can be recovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable_days: Option<u32>,
}

/// A secret, with its value where the operation gives it. Has no `Debug`: it holds a secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretBundle {
    /// The value: on set and get only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `https://{vault}/secrets/{name}/{version}`.
    pub id: String,
    /// The content type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Attributes.
    pub attributes: Attributes,
    /// Tags; absent when there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: Tags,
}

/// A secret in a list: without its value.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretItem {
    /// Without a version in a list of secrets, with one in a list of versions.
    pub id: String,
    /// The content type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Attributes.
    pub attributes: Attributes,
    /// Tags; absent when there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: Tags,
}

/// One page.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items.
    pub value: Vec<T>,
    /// The next page's absolute URL, `null` at the end.
    pub next_link: Option<String>,
}

/// A deleted secret. `recoveryId` must be there: without it clients believe that nothing is kept, and stop polling.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedSecret {
    /// What was deleted.
    #[serde(flatten)]
    pub secret: SecretBundle,
    /// `https://{vault}/deletedsecrets/{name}`.
    pub recovery_id: String,
    /// When it was deleted.
    pub deleted_date: UnixTime,
    /// When it is purged by itself.
    pub scheduled_purge_date: UnixTime,
}

/// The error body. Inner codes are what tools match on: `SecretDisabled`, `ForbiddenByRbac`, …
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Error {
    /// The error.
    pub error: ErrorDetail,
}

/// Code, message, and perhaps a finer code inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// `Forbidden`, `SecretNotFound`, `BadParameter`, …
    pub code: String,
    /// What was refused and what mends it.
    pub message: String,
    /// The finer code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub innererror: Option<InnerError>,
}

/// The finer code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InnerError {
    /// The finer code.
    pub code: String,
}
