//! The query string, read leniently: clients differ in order, in encoding and in what else they send.
//!
//! It is strict about selectors, since one that went unnoticed would be answered with the wrong identity: one in any
//! known spelling counts, whatever its case and its separators, and a key that only looks like one is an error: by its
//! words, by characters that no client's keys have, or by the resource id that is its value. So is a selector that is
//! repeated, empty or combined with another.

use std::borrow::Cow;

use super::answer::Fault;
use crate::identity::Selector;

/// Longest resource that is taken, bytes.
const MAX_RESOURCE: usize = 512;

/// A key that has one of these in it is meant to choose an identity.
const IDENTITY_WORDS: [&str; 9] =
    ["clientid", "objectid", "principalid", "resid", "resourceid", "identit", "appid", "applicationid", "userassigned"];
/// So is a key that is one of these.
const IDENTITY_KEYS: [&str; 8] = ["oid", "uami", "uamiid", "msiid", "miid", "armid", "spid", "umi"];

/// What a token request asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// The resource.
    pub resource: String,
    /// The identity.
    pub selector: Selector,
}

/// The value of one parameter; none if it is missing or repeated.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    let mut found = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let value = found.next()?.1.into_owned();
    found.next().is_none().then_some(value)
}

/// Whether any key occurs twice.
pub fn repeats(query: &str) -> bool {
    let mut keys: Vec<_> = form_urlencoded::parse(query.as_bytes()).map(|(key, _)| key.to_ascii_lowercase()).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
}

impl Query {
    /// Reads a token request's query. `version` checks the api-version, before anything else is looked at.
    pub fn read(query: &str, version: impl FnOnce(Option<&str>) -> Result<(), Fault>) -> Result<Self, Fault> {
        let (mut api_version, mut resource, mut selector) = (None, None, None);
        let mut first_fault = None;
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let known = match key.to_ascii_lowercase().as_str() {
                "api-version" => set(&mut api_version, "api-version", value.into_owned()),
                "resource" => set(&mut resource, "resource", value.into_owned()),
                _ => match letters(&key).as_str() {
                    "clientid" => choose(&mut selector, &key, value, Selector::ClientId),
                    "objectid" | "principalid" => choose(&mut selector, &key, value, Selector::ObjectId),
                    "msiresid" | "miresid" | "resourceid" => choose(&mut selector, &key, value, Selector::ResourceId),
                    other if looks_like_a_selector(&key, other, &value) => Err(Fault::bad(format!(
                        "{} selects no identity: use client_id, object_id or msi_res_id",
                        key.escape_default()
                    ))),
                    // Capabilities, revocation hints and whatever the next SDK adds.
                    _ => Ok(()),
                },
            };
            first_fault = first_fault.or(known.err());
        }
        version(api_version.as_deref())?;
        if let Some(fault) = first_fault {
            return Err(fault);
        }
        let resource = resource.ok_or_else(|| Fault::bad("The resource is not specified: add resource=https://..."))?;
        let plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
        if resource.is_empty() || resource.len() > MAX_RESOURCE || !resource.bytes().all(plain) {
            return Err(Fault::bad("The resource must be a URI or a GUID of at most 512 characters"));
        }
        Ok(Self { resource, selector: selector.unwrap_or(Selector::SystemAssigned) })
    }
}

/// Whether a key that is no selector was meant as one. `letters` is the key without case and separators.
fn looks_like_a_selector(key: &str, letters: &str, value: &str) -> bool {
    let strange = !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    strange
        || IDENTITY_WORDS.iter().any(|word| letters.contains(word))
        || IDENTITY_KEYS.contains(&letters)
        || value.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("/subscriptions/"))
}

/// A key without its case and its separators.
fn letters(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn set(slot: &mut Option<String>, name: &str, value: String) -> Result<(), Fault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Fault::bad(format!("{name} is specified more than once"))),
    }
}

fn choose(
    slot: &mut Option<Selector>,
    key: &str,
    value: Cow<'_, str>,
    make: fn(String) -> Selector,
) -> Result<(), Fault> {
    if value.is_empty() {
        return Err(Fault::bad(format!(
            "{} is empty: leave it out for the system-assigned identity",
            key.escape_default()
        )));
    }
    match slot.replace(make(value.into_owned())) {
        None => Ok(()),
        Some(_) => {
            Err(Fault::bad("More than one identity is specified: use one of client_id, object_id and msi_res_id, once"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Query, Fault> {
        Query::read(query, |_| Ok(()))
    }

    #[test]
    fn order_encoding_and_unknown_keys_do_not_matter() {
        let expected = Query { resource: "https://vault.azure.net".into(), selector: Selector::SystemAssigned };
        for query in [
            "api-version=2020-06-01&resource=https://vault.azure.net",
            "resource=https%3A%2F%2Fvault.azure.net&api-version=2020-06-01",
            "xms_cc=cp1&resource=https%3a%2f%2fvault.azure.net&api-version=2020-06-01&xms_cc=cp2&=&&flag",
            "api%2Dversion=2020-06-01&resourc%65=https:%2F/vault.azure.net",
        ] {
            assert_eq!(read(query).unwrap(), expected, "{query}");
        }
        let slash = read("resource=https%3A%2F%2Fmanagement.azure.com%2F").unwrap();
        assert_eq!(slash.resource, "https://management.azure.com/", "a trailing slash is the caller's");
    }

    #[test]
    fn every_spelling_of_a_selector_selects() {
        let id = "/subscriptions/s/x";
        for key in ["msi_res_id", "mi_res_id", "msi-res-id", "resource_id", "MSI_RES_ID"] {
            assert_eq!(
                read(&format!("resource=r&{key}=%2Fsubscriptions/s/x")).unwrap().selector,
                Selector::ResourceId(id.into())
            );
        }
        for key in ["client_id", "Client_Id", "clientid", "client-id", "client%5Fid"] {
            assert_eq!(read(&format!("resource=r&{key}=1")).unwrap().selector, Selector::ClientId("1".into()), "{key}");
        }
        for key in ["object_id", "principalId"] {
            assert_eq!(read(&format!("{key}=1&resource=r")).unwrap().selector, Selector::ObjectId("1".into()), "{key}");
        }
    }

    #[test]
    fn d15_a_key_that_only_looks_like_a_selector_is_refused() {
        for key in [
            "mi_client_id",
            "msi_object_id",
            "mi-resource-id",
            "msi_identity",
            "identity",
            "identities",
            "appid",
            "application_id",
            "uami_res_id",
            "uami",
            "oid",
            "msi_id",
            "client_ids",
            "clientid2",
            "userAssignedId",
        ] {
            let fault = read(&format!("resource=r&{key}=1")).unwrap_err();
            assert_eq!(fault.status, 400, "{key}");
            assert_eq!(fault.error, "invalid_request", "{key}");
            assert!(fault.description.contains(&format!("{key} selects no identity: use client_id")), "{key}");
        }
        // Characters that no client's keys have: encoded twice, of another alphabet, as a list.
        for key in ["client%255Fid", "cl%D1%96ent_id", "client_%C4%B1d", "client_id[0]", "client_id%5Beq%5D"] {
            assert!(
                read(&format!("resource=r&{key}=1")).unwrap_err().description.contains("selects no identity"),
                "{key}"
            );
        }
        let by_value = read("resource=r&for=/Subscriptions/s/x").unwrap_err();
        assert!(by_value.description.contains("for selects no identity"), "{by_value:?}");
        for key in ["xms_cc", "token_sha256_to_refresh", "bypass_cache", "claims", "x-client-SKU", ""] {
            assert!(read(&format!("resource=r&{key}=1")).is_ok(), "{key}");
        }
    }

    #[test]
    fn d15_repeated_contradictory_and_empty_selectors_are_refused() {
        for query in [
            "resource=r&client_id=1&client_id=1",
            "resource=r&client_id=1&object_id=2",
            "resource=r&msi_res_id=1&mi_res_id=1",
            "resource=r&client_id=1&CLIENT_ID=2",
            "resource=r&client_id=1&client%5Fid=1",
            "resource=r&client_id=",
            "resource=r&client_id",
            "resource=r&resource=s",
            "resource=r&api-version=a&api-version=a",
            "re-source=r",
            "resource=",
            "resource",
            "",
            "resource=a%20b",
            "resource=a%0Ab",
            "resource=%ff",
            "resource=a%00",
            "resource=%22",
        ] {
            let fault = read(query).unwrap_err();
            assert_eq!(fault.status, 400, "{query}");
            assert_eq!(fault.error, "invalid_request", "{query}");
        }
        assert!(read(&format!("resource={}", "a".repeat(512))).is_ok());
        assert!(read(&format!("resource={}", "a".repeat(513))).is_err());
    }

    #[test]
    fn repeated_keys_are_seen_through_case_and_encoding() {
        assert!(repeats("a=1&b=2&A=3") && repeats("a=1&%61=1"));
        assert!(!repeats("a=1&b=1") && !repeats(""));
        assert_eq!(parameter("api-version=1&x=2", "api-version").as_deref(), Some("1"));
        assert_eq!(parameter("api-version=1&api-version=2", "api-version"), None);
    }
}
