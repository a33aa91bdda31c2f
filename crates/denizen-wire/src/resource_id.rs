//! Resource ids: `/subscriptions/{guid}/resourceGroups/{name}/providers/{Namespace}/{type}/{name}…`.
//!
//! Azure compares them without regard to case and gives them back in the case of the request that created them, so
//! a [`ResourceId`] keeps both: what was written, and the lower-case canonical form that equality and hashing use. Both
//! stand in one shared text, so a clone is one pointer and costs one count.
//!
//! Touches nothing. Tests: below.

use std::{borrow::Borrow, fmt, hash, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::SubscriptionId;

/// A parsed, canonicalized resource id or scope. `/` is the root scope.
#[derive(Clone)]
pub struct ResourceId {
    /// As it was written, then the same in lower case. The letters that have a case are one byte each in both, so each
    /// form is one half.
    both: Arc<str>,
}

impl ResourceId {
    /// The root scope, `/`.
    pub fn root() -> Self {
        Self { both: "//".into() }
    }

    /// `/subscriptions/{id}`.
    pub fn subscription(id: SubscriptionId) -> Self {
        Self::of(&format!("/subscriptions/{id}"))
    }

    /// `{self}/resourceGroups/{name}`; `self` is a subscription.
    pub fn resource_group(&self, name: &str) -> Result<Self, BadResourceId> {
        format!("{self}/resourceGroups/{name}").parse()
    }

    /// `{self}/providers/{kind}/{name}`, `kind` being `Namespace/type`; `self` is a resource group.
    pub fn provider(&self, kind: &str, name: &str) -> Result<Self, BadResourceId> {
        format!("{self}/providers/{kind}/{name}").parse()
    }

    /// `{self}/{kind}/{name}`, a child of a resource, as `secrets/db-password` is of a vault.
    pub fn child(&self, kind: &str, name: &str) -> Result<Self, BadResourceId> {
        if self.as_str().len() < 2 {
            return Err(BadResourceId("the root scope has no children of this kind"));
        }
        check_segment(kind)?;
        check_segment(name)?;
        let written = [self.as_str(), "/", kind, "/", name].concat();
        check_length(&written)?;
        Ok(Self::of(&written))
    }

    /// As it was written when the resource was created.
    pub fn as_str(&self) -> &str {
        self.both.get(..self.both.len() / 2).unwrap_or_default()
    }

    /// Lower case: what is compared, hashed and stored as a key.
    pub fn canonical(&self) -> &str {
        self.both.get(self.both.len() / 2..).unwrap_or_default()
    }

    /// The last segment, as written: the resource's name. Empty for the root.
    pub fn name(&self) -> &str {
        self.as_str().rsplit('/').next().unwrap_or_default()
    }

    /// The resource group's name, as written.
    pub fn resource_group_name(&self) -> Option<&str> {
        let mut segments = self.as_str().split('/').skip(1);
        while let Some(segment) = segments.next() {
            if segment.eq_ignore_ascii_case("resourcegroups") {
                return segments.next();
            }
        }
        None
    }

    /// The subscription's id.
    pub fn subscription_id(&self) -> Option<SubscriptionId> {
        let mut segments = self.canonical().split('/').skip(1);
        (segments.next() == Some("subscriptions")).then(|| segments.next()?.parse().ok()).flatten()
    }

    /// Every scope that contains this one, from the root down to itself, in canonical form.
    ///
    /// Only places where an assignment can stand are named: the root, then each prefix that ends after a whole
    /// `key/value` pair. `…/resourceGroups/rg` is never a prefix of `…/resourceGroups/rg-2`.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        let text = self.canonical();
        let rest = if text == "/" { "" } else { text };
        std::iter::once("/").chain(pair_ends(rest).map(move |end| rest.get(..end).unwrap_or_default()))
    }

    fn of(written: &str) -> Self {
        Self { both: [written, &written.to_ascii_lowercase()].concat().into() }
    }
}

/// Byte offsets after each complete pair of segments. `providers/{namespace}` alone is no scope: what follows the
/// namespace is the pair that names something.
fn pair_ends(text: &str) -> impl Iterator<Item = usize> {
    let (mut segments, mut at) = (text.split('/').skip(1), 0);
    std::iter::from_fn(move || {
        loop {
            let (key, value) = (segments.next()?, segments.next()?);
            at += 2 + key.len() + value.len();
            if key != "providers" {
                return Some(at);
            }
        }
    })
}

fn check_length(text: &str) -> Result<(), BadResourceId> {
    if text.len() > 2048 { Err(BadResourceId("it is longer than 2048 characters")) } else { Ok(()) }
}

fn check_segment(segment: &str) -> Result<(), BadResourceId> {
    if segment.is_empty() {
        return Err(BadResourceId("it has an empty segment"));
    }
    if segment == "." || segment == ".." {
        return Err(BadResourceId("it has a '.' or '..' segment"));
    }
    if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.() ".contains(&b)) {
        return Err(BadResourceId("a segment has a character outside letters, digits and -_.()"));
    }
    Ok(())
}

impl FromStr for ResourceId {
    type Err = BadResourceId;

    fn from_str(text: &str) -> Result<Self, BadResourceId> {
        if text == "/" {
            return Ok(Self::root());
        }
        check_length(text)?;
        let Some(rest) = text.strip_prefix('/') else { return Err(BadResourceId("it must start with '/'")) };
        let mut count = 0usize;
        for segment in rest.split('/') {
            check_segment(segment)?;
            count += 1;
        }
        if !count.is_multiple_of(2) {
            return Err(BadResourceId("its segments do not come in pairs"));
        }
        Ok(Self::of(text))
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.both, &other.both) || self.canonical() == other.canonical()
    }
}

impl Eq for ResourceId {}

impl hash::Hash for ResourceId {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

/// A map by resource id can be asked by a canonical text.
impl Borrow<str> for ResourceId {
    fn borrow(&self) -> &str {
        self.canonical()
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceId({})", self.as_str())
    }
}

impl Serialize for ResourceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ResourceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not a resource id; it says which rule it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a resource id: {0}")]
pub struct BadResourceId(pub &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: &str =
        "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourceGroups/Dev/providers/Microsoft.KeyVault/vaults/V1";

    #[test]
    fn equality_ignores_case_and_the_written_case_is_kept() {
        let a: ResourceId = VAULT.parse().unwrap();
        let b: ResourceId = VAULT.to_lowercase().parse().unwrap();
        assert_eq!(a, b);
        assert_eq!(a.as_str(), VAULT);
        assert_eq!((a.name(), a.resource_group_name()), ("V1", Some("Dev")));
    }

    #[test]
    fn both_forms_are_one_pointer_and_a_map_is_asked_by_the_canonical_one() {
        let id: ResourceId = VAULT.parse().unwrap();
        assert_eq!((id.as_str(), id.canonical()), (VAULT, VAULT.to_lowercase().as_str()));
        assert_eq!((ResourceId::root().as_str(), ResourceId::root().canonical()), ("/", "/"));
        assert_eq!(size_of::<ResourceId>(), 2 * size_of::<usize>());
        let map = std::collections::HashMap::from([(id, 1)]);
        assert_eq!((map.get(VAULT.to_lowercase().as_str()), map.get(VAULT)), (Some(&1), None));
    }

    #[test]
    fn scopes_are_whole_pairs_from_the_root_down() {
        let id: ResourceId = format!("{VAULT}/secrets/s1").parse().unwrap();
        let lower = VAULT.to_lowercase();
        assert_eq!(
            id.scopes().collect::<Vec<_>>(),
            [
                "/",
                "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff",
                "/subscriptions/6f9619ff-8b86-d011-b42d-00cf4fc964ff/resourcegroups/dev",
                &lower,
                &format!("{lower}/secrets/s1"),
            ]
        );
        assert_eq!(ResourceId::root().scopes().collect::<Vec<_>>(), ["/"]);
    }

    #[test]
    fn what_could_escape_a_scope_is_no_id() {
        for bad in ["", "subscriptions/x", "/a/..", "/a//b", "/a/b/", "/a/b%2f", "/a", "/a/b\\c", "/a/b\0"] {
            assert!(bad.parse::<ResourceId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_child_is_what_parsing_its_text_gives() {
        let vault: ResourceId = VAULT.parse().unwrap();
        assert_eq!(vault.child("secrets", "S1").unwrap().as_str(), format!("{VAULT}/secrets/S1"));
        let long = "x".repeat(2048);
        for (kind, name) in [("secrets", ""), ("secrets", ".."), ("secrets", "a/b"), ("", "a"), ("secrets", &long)] {
            let parsed = format!("{VAULT}/{kind}/{name}").parse::<ResourceId>();
            assert!(vault.child(kind, name).is_err() && parsed.is_err(), "{kind:?} {name:?}");
        }
        assert!(ResourceId::root().child("secrets", "a").is_err());
    }

    proptest::proptest! {
        #[test]
        fn every_scope_is_a_prefix_that_ends_at_a_slash_or_the_end(text in "(/[a-zA-Z0-9._-]{1,8}/[a-zA-Z0-9_-]{1,8}){0,6}") {
            if let Ok(id) = text.parse::<ResourceId>() {
                for scope in id.scopes().skip(1) {
                    let rest = id.canonical().strip_prefix(scope).unwrap();
                    proptest::prop_assert!(rest.is_empty() || rest.starts_with('/'));
                }
            }
        }
    }
}
