//! What may be repeated of a text that a caller wrote where an identifier belongs: in an answer, a log or the audit.
//!
//! People put secrets into the wrong field. What looks like an identifier is shown, because it tells where the mistake
//! is; what does not is only measured.

use std::borrow::Cow;

use uuid::Uuid;

/// A GUID with its hyphens; without them it might be a key.
const HYPHENATED: usize = 36;
/// The scope that a program asks for when the setting with its resource is empty.
const NOTHING_BEFORE_DEFAULT: &str = "/.default";
/// The longest text that is shown, bytes.
const LONGEST: usize = 200;

/// The text, where it has the form of an identifier: a GUID, a URI of names only, a resource id, a domain name, a plain
/// word in lower case. Otherwise how long it is.
pub fn identifier(text: &str) -> Cow<'_, str> {
    let plain = |extra: &str| text.chars().all(|c| c.is_ascii_lowercase() || extra.contains(c));
    let is_one = is_guid(text)
        || text == NOTHING_BEFORE_DEFAULT
        || is_uri(text)
        || is_resource_id(text)
        || plain("_-")
        || text.contains('.') && plain("0123456789.-");
    if is_one && text.len() <= LONGEST && text.chars().all(|c| !c.is_control()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("(a value of {} characters that is not shown)", text.chars().count()))
    }
}

/// A GUID, or the name of a permission below one: letters only, since a secret has digits.
fn is_guid(text: &str) -> bool {
    let (guid, permission) = text.split_once('/').unwrap_or((text, ""));
    text == "/.default"
        || guid.len() == HYPHENATED
            && Uuid::try_parse(guid).is_ok()
            && permission.chars().all(|c| c.is_ascii_alphabetic() || "._-".contains(c))
}

/// A URI with an authority, or a URN. One with a user, a query or a fragment may carry a credential there, and so may a
/// list of settings in which a URI stands.
fn is_uri(text: &str) -> bool {
    let has_scheme = text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
    });
    (has_scheme || text.starts_with("urn:")) && !text.contains(|c: char| c.is_whitespace() || "?#@;=&".contains(c))
}

/// An id of Resource Manager.
fn is_resource_id(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    (lower.starts_with("/subscriptions/") || lower.starts_with("/providers/"))
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.()".contains(c))
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
            "/.default",
            "api://orders",
            "urn:ietf:params:oauth:grant-type:device_code",
            "/subscriptions/s/resourceGroups/g",
            "/SUBSCRIPTIONS/s/resourcegroups/g(1)",
            "11111111-2222-3333-4444-555555555555/User.Read",
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
            "https://store.blob.core.windows.net/c/b?sv=2024-01-01&sig=Zm9vYmFy",
            "https://contoso.test/#access_token=Zm9v",
            "AccountKey=Zm9vYmFyYmF6;BlobEndpoint=https://store.blob.core.windows.net/",
            "Endpoint=sb://bus.test/;SharedAccessKey=Zm9vYmFy",
            "11111111-2222-3333-4444-555555555555/K3nPvB8A0123",
            "11111111-2222-3333-4444-555555555555:K3nPvB8A",
            "admin:hunter2",
            "/zZ8abcDEF0123/+tail==",
            "/subscriptions/s?sig=Zm9v",
            "s3cret",
            "line\nfeed",
        ] {
            let shown = identifier(text);
            assert!(!shown.contains(text) && shown.contains(&text.chars().count().to_string()), "{text}: {shown}");
        }
        assert!(!identifier(&"a".repeat(201)).contains("aa"));
    }
}
