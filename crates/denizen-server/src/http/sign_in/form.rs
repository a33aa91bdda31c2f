//! The forms of our pages: small, in UTF-8, each field once.

use denizen_keys::SecretString;
use denizen_wire::oauth::MAX_TOKEN_REQUEST;
use http::header;

use super::page::Said;
use crate::http::Call;

/// More fields than any form of ours has.
const MAX_FIELDS: usize = 32;

/// A form. Has no `Debug`: it may hold a password.
pub(super) struct Form(Vec<(String, SecretString)>);

impl Form {
    /// Reads the body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn read(call: &mut Call) -> Result<Self, Said> {
        let bad = |text: String| Said { code: 90_023, text };
        let body = call.body(MAX_TOKEN_REQUEST).await.map_err(|error| bad(format!("{error}.")))?;
        let kind = call.header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(bad("The form must be sent as application/x-www-form-urlencoded.".to_owned()));
        }
        let mut fields: Vec<(String, SecretString)> = Vec::new();
        for (name, value) in form_urlencoded::parse(&body) {
            if fields.len() == MAX_FIELDS || fields.iter().any(|(other, _)| *other == name) {
                return Err(bad("The form has a field twice, or too many fields. Send each once.".to_owned()));
            }
            fields.push((name.into_owned(), SecretString::from(value.into_owned())));
        }
        Ok(Self(fields))
    }

    /// A field's text; empty when there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.secret(name).map_or("", SecretString::expose)
    }

    pub(super) fn secret(&self, name: &str) -> Option<&SecretString> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }
}
