//! Message authentication under keys that are derived from the root key or from a key that it wraps, one for each purpose.
//!
//! A tag covers its parts and where each begins: the length of every part goes in before it, so that no two lists of
//! parts have one encoding. HMAC-SHA256 (RFC 2104) throughout.
//!
//! Touches nothing. Tests: below.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::{constant_time_eq, envelope::DataKey, root_key::RootKey};

/// Length of a tag, bytes.
pub const TAG_BYTES: usize = 32;

/// What stands before the purpose when a key is derived.
const DERIVE: &[u8] = b"denizen mac key v1\0";

/// A key for tags of one purpose. Its schedule is computed once; the library wipes it when dropped.
#[derive(Clone)]
pub struct MacKey(hmac::Key);

impl MacKey {
    /// Creates a key from 32 bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The tag of a message that is in parts.
    #[must_use]
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut tag = [0; TAG_BYTES];
        for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        tag
    }

    /// Whether a tag is the one of this message, in constant time.
    #[must_use]
    pub fn matches(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        constant_time_eq(&self.tag(parts), tag)
    }
}

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(..)")
    }
}

impl RootKey {
    /// The key for tags of one purpose. Who has it learns nothing of the root key, or of the key of another purpose.
    #[must_use]
    pub fn mac_key(&self, purpose: &str) -> MacKey {
        self.key().mac_key(purpose)
    }
}

impl DataKey {
    /// The key for tags of one purpose, derived from this one. Who has it learns nothing of this one, or of the key of
    /// another purpose.
    #[must_use]
    pub fn mac_key(&self, purpose: &str) -> MacKey {
        let parent = hmac::Key::new(hmac::HMAC_SHA256, self.bytes());
        let mut context = hmac::Context::with_key(&parent);
        context.update(DERIVE);
        context.update(purpose.as_bytes());
        let mut bytes = Zeroizing::new([0; 32]);
        for (to, from) in bytes.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        MacKey::new(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the other implementation in this crate, with the length written by hand.
    #[test]
    fn a_tag_is_hmac_sha256_over_length_and_part() {
        let key = MacKey::new(&[7; 32]);
        let mut message = 3u64.to_be_bytes().to_vec();
        message.extend_from_slice(b"abc");
        assert_eq!(key.tag(&[b"abc"]), crate::hash::hmac_sha256(&[7; 32], &message));
    }

    #[test]
    fn parts_cannot_be_moved_across_their_borders() {
        let key = MacKey::new(&[7; 32]);
        let tag = key.tag(&[b"ab", b"c"]);
        assert!(key.matches(&[b"ab", b"c"], &tag));
        for other in [&[b"a".as_slice(), b"bc"][..], &[b"abc"], &[b"ab", b"c", b""], &[b"c", b"ab"]] {
            assert!(!key.matches(other, &tag), "{other:?}");
        }
        assert!(!key.matches(&[b"ab", b"c"], &tag[..31]) && !key.matches(&[b"ab", b"c"], b""));
    }

    #[test]
    fn every_root_key_and_every_purpose_has_a_key_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = |name: &str| RootKey::load_or_create(&folder.path().canonicalize().unwrap().join(name)).unwrap();
        let (first, second) = (root("a"), root("b"));
        let tag = first.mac_key("rows").tag(&[b"x"]);
        assert!(first.mac_key("rows").matches(&[b"x"], &tag), "the same key each time");
        assert!(!first.mac_key("head").matches(&[b"x"], &tag));
        assert!(!second.mac_key("rows").matches(&[b"x"], &tag));
        // A key that is wrapped derives as the root key does, and shares no key with another.
        let (one, other) = (DataKey::generate(), DataKey::generate());
        let tag = one.mac_key("rows").tag(&[b"x"]);
        assert!(one.mac_key("rows").matches(&[b"x"], &tag));
        assert!(!one.mac_key("head").matches(&[b"x"], &tag) && !other.mac_key("rows").matches(&[b"x"], &tag));
        // Kept values depend on it, so how it is derived never changes.
        let fixed = DataKey::from_bytes(&[7; 32]).unwrap().mac_key("rows").tag(&[b"x"]);
        let derived = crate::hash::hmac_sha256(&[7; 32], b"denizen mac key v1\0rows");
        assert_eq!(fixed, MacKey::new(&derived).tag(&[b"x"]));
    }
}
