//! What may be repeated of a text that a caller wrote where an identifier belongs: in an answer, a log or the audit.
//!
//! People put secrets into the wrong field. What looks like an identifier is shown, because it tells where the mistake
//! is; what does not is only measured.

use std::borrow::Cow;

use uuid::Uuid;

/// A GUID with its hyphens; without them it might be a key.
const HYPHENATED: usize = 36;
/// The longest text that is shown, bytes.
const LONGEST: usize = 200;

/// The text, where it has the form of an identifier: a GUID, a URI without a user, a resource id, a domain name, a plain
/// word in lower case. Otherwise how long it is.
pub fn identifier(text: &str) -> Cow<'_, str> {
    let guid = text.split('/').next().is_some_and(|first| first.len() == HYPHENATED && Uuid::try_parse(first).is_ok());
    let plain = |extra: &str| text.chars().all(|c| c.is_ascii_lowercase() || extra.contains(c));
    let is_one = guid
        || (text.contains(':') || text.starts_with('/')) && !text.contains('@')
        || plain("_-")
        || text.contains('.') && plain("0123456789.-");
    if is_one && text.len() <= LONGEST && text.chars().all(|c| !c.is_control()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("(a value of {} characters that is not shown)", text.chars().count()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_form_of_an_identifier_is_shown() {
        for text in [
            "11111111-2222-3333-4444-555555555555",
            "11111111-2222-3333-4444-555555555555/.default",
            "https://vault.azure.net/.default",
            "api://orders",
            "urn:ietf:params:oauth:grant-type:device_code",
            "/subscriptions/s/resourceGroups/g",
            "contoso.onmicrosoft.com",
            "dev1.denizen.test",
            "authorization_code",
            "",
        ] {
            assert_eq!(identifier(text), text);
        }
    }

    #[test]
    fn what_may_be_a_secret_is_measured() {
        for text in [
            "cLConp8Q~xyz.abc_1-2",
            "K3nPvB8A0123456789",
            "d4d5fab0d4d5fab0d4d5fab0d4d5fab0",
            "eyJhbGciOiJub25lIn0.e30.c2ln",
            "https://user:hunter2@contoso.test",
            "s3cret",
            "line\nfeed",
        ] {
            let shown = identifier(text);
            assert!(!shown.contains(text) && shown.contains(&text.chars().count().to_string()), "{text}: {shown}");
        }
        assert!(!identifier(&"a".repeat(201)).contains("aa"));
    }
}
