//! A secret version as it is kept, and the rules its parts obey.
//!
//! Tests: `secrets/tests.rs`.

use std::str::FromStr;

use denizen_keys::SecretString;
use denizen_wire::{
    ResourceId, TenantId, UnixTime,
    vault::{
        AttributesIn, MAX_CONTENT_TYPE, MAX_SECRET_VALUE, MAX_TAG, MAX_TAGS, MAX_TIME, SetSecret, Tags, UpdateSecret,
    },
};

#[cfg(test)]
mod tests;

/// One version of a secret. Value and data key are sealed; nothing here is secret in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVersion {
    /// The vault's tenant.
    pub tenant: TenantId,
    /// The vault.
    pub vault: ResourceId,
    /// The name as it was first written. Looked up without regard to case.
    pub name: String,
    /// 32 lower-case hexadecimal digits.
    pub version: String,
    /// Content type.
    pub content_type: Option<String>,
    /// Tags.
    pub tags: Tags,
    /// A disabled version cannot be read.
    pub enabled: bool,
    /// Not before; informational.
    pub nbf: Option<UnixTime>,
    /// Expiry; informational.
    pub exp: Option<UnixTime>,
    /// When it was made.
    pub created: UnixTime,
    /// When its metadata last changed.
    pub updated: UnixTime,
    /// The version's data key under the vault's key.
    pub wrapped_key: Vec<u8>,
    /// The value under the data key.
    pub sealed_value: Vec<u8>,
}

/// A secret that was deleted and can still be recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedSecret {
    /// Its latest version.
    pub latest: SecretVersion,
    /// When it was deleted.
    pub deleted: UnixTime,
    /// When it goes for good.
    pub purge_at: UnixTime,
}

/// A secret's name: 1 to 127 letters, digits and `-`. Looked up without regard to case; the case is kept.
#[derive(Clone, Debug)]
pub struct SecretName {
    written: String,
    canonical: String,
}

impl SecretName {
    /// As the caller wrote it.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Lower case: what is compared, and what seals bind to.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

impl FromStr for SecretName {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if text.is_empty() || text.len() > 127 || !text.bytes().all(allowed) {
            return Err(BadSecret::Name);
        }
        Ok(Self { written: text.to_owned(), canonical: text.to_ascii_lowercase() })
    }
}

/// Whether the text can be a version: 32 lower-case hexadecimal digits.
pub fn is_version(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// What a new version is made of.
pub struct NewSecret {
    /// The value.
    pub value: SecretString,
    /// Content type.
    pub content_type: Option<String>,
    /// Tags.
    pub tags: Tags,
    /// A disabled version cannot be read.
    pub enabled: bool,
    /// Not before; informational.
    pub nbf: Option<UnixTime>,
    /// Expiry; informational.
    pub exp: Option<UnixTime>,
}

impl NewSecret {
    /// A value, enabled, about which nothing else is said.
    pub fn of(value: SecretString) -> Self {
        Self { value, content_type: None, tags: Tags::new(), enabled: true, nbf: None, exp: None }
    }

    /// What a client wants to set.
    ///
    /// # Errors
    /// The first rule that the request breaks.
    pub fn parse(request: SetSecret) -> Result<Self, BadSecret> {
        let SetSecret { value, content_type, tags, attributes } = request;
        // Taken first, so that it is wiped on every way out.
        let value = SecretString::from(value.ok_or(BadSecret::NoValue)?);
        let AttributesIn { enabled, nbf, exp } = attributes.unwrap_or_default();
        let new =
            Self { value, content_type, tags: tags.unwrap_or_default(), enabled: enabled.unwrap_or(true), nbf, exp };
        new.check()?;
        Ok(new)
    }

    /// Checks the rules that every version obeys, wherever it comes from.
    ///
    /// # Errors
    /// The first that it breaks.
    pub fn check(&self) -> Result<(), BadSecret> {
        if self.value.len() > MAX_SECRET_VALUE {
            return Err(BadSecret::ValueTooLong(self.value.len()));
        }
        check_times(self.nbf, self.exp)?;
        check(self.content_type.as_deref(), &self.tags)
    }
}

impl SecretVersion {
    /// This version after an update of its metadata: absent members keep what is there, `tags: {}` clears.
    ///
    /// # Errors
    /// The first rule that the result breaks.
    pub fn updated(&self, request: UpdateSecret, now: UnixTime) -> Result<Self, BadSecret> {
        let UpdateSecret { content_type, tags, attributes } = request;
        let AttributesIn { enabled, nbf, exp } = attributes.unwrap_or_default();
        check_times(nbf, exp)?;
        let mut after = Self { updated: now, ..self.clone() };
        after.content_type = content_type.or(after.content_type);
        after.tags = tags.unwrap_or(after.tags);
        after.enabled = enabled.unwrap_or(after.enabled);
        after.nbf = nbf.or(after.nbf);
        after.exp = exp.or(after.exp);
        check(after.content_type.as_deref(), &after.tags)?;
        Ok(after)
    }
}

fn check(content_type: Option<&str>, tags: &Tags) -> Result<(), BadSecret> {
    if content_type.is_some_and(|text| text.chars().count() > MAX_CONTENT_TYPE) {
        return Err(BadSecret::ContentType);
    }
    if tags.len() > MAX_TAGS {
        return Err(BadSecret::TooManyTags(tags.len()));
    }
    let too_long = |text: &String| text.chars().count() > MAX_TAG;
    if tags.iter().any(|(name, value)| too_long(name) || too_long(value)) {
        return Err(BadSecret::TagTooLong);
    }
    Ok(())
}

fn check_times(nbf: Option<UnixTime>, exp: Option<UnixTime>) -> Result<(), BadSecret> {
    for (name, time) in [("nbf", nbf), ("exp", exp)] {
        if time.is_some_and(|time| !(UnixTime(0)..=MAX_TIME).contains(&time)) {
            return Err(BadSecret::Time(name));
        }
    }
    Ok(())
}

/// What a deletion means in a vault that keeps deleted secrets for so many days.
pub const fn recovery_level(retention_days: u32) -> &'static str {
    if retention_days < MAX_RETENTION_DAYS { "CustomizedRecoverable+Purgeable" } else { "Recoverable+Purgeable" }
}

/// The shortest time a vault keeps deleted secrets, days.
pub const MIN_RETENTION_DAYS: u32 = 7;
/// The longest, and the default.
pub const MAX_RETENTION_DAYS: u32 = 90;

/// Whether the text can name a vault: 3 to 24 letters, digits and `-`, a letter first, no `-` last or doubled.
pub fn is_vault_name(text: &str) -> bool {
    (3..=24).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with('-')
        && !text.contains("--")
}

/// A request breaks a rule. The text names the rule and what mends it, and never holds the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// The name.
    #[error("The secret name must have 1 to 127 characters, letters, digits and '-' only: rename the secret.")]
    Name,
    /// The version.
    #[error("The secret version must be 32 lower-case hexadecimal digits: leave it out to mean the latest version.")]
    Version,
    /// No value.
    #[error("The request body must have the member 'value', a string: add it.")]
    NoValue,
    /// The value.
    #[error("The secret value has {0} bytes and may have at most 25600: keep large data elsewhere and its key here.")]
    ValueTooLong(usize),
    /// `nbf` or `exp`.
    #[error(
        "The attribute '{0}' must be a time in seconds from 0 (1970-01-01) to 253402300799 (9999-12-31T23:59:59Z): send Unix seconds, not milliseconds."
    )]
    Time(&'static str),
    /// The content type.
    #[error("The member 'contentType' may have at most 255 characters: shorten it.")]
    ContentType,
    /// The tags.
    #[error("There are {0} tags and may be at most 15: remove some.")]
    TooManyTags(usize),
    /// A tag.
    #[error("A tag's name and value may have at most 512 characters each: shorten it.")]
    TagTooLong,
}
