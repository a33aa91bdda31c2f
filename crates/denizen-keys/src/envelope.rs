//! Envelope encryption: keys that wrap keys, down to one data key for each secret version.
//!
//! ```text
//!   root key ──wraps──▶ key-encryption key ──wraps──▶ vault key ──wraps──▶ data key ──seals──▶ one secret version
//!   (a file, not        (one, in the                  (one for each         (one for each
//!    in the database)    database)                     vault)                version)
//! ```
//!
//! A stolen database alone decrypts nothing. Replacing the root key means rewrapping one key. Deleting a vault's key
//! destroys the vault's secrets for good.
//!
//! AES-256-GCM throughout, with random 96-bit nonces. A data key seals once, and a wrapping key wraps far fewer than
//! 2³² keys, so nonces do not repeat. Additional authenticated data ([`aad`]) binds each ciphertext to its context: a
//! row moved to another tenant, vault, name or version cannot be decrypted.
//!
//! Sealed form: 1 byte kind and version, 12 bytes nonce, ciphertext, 16 bytes tag. The first byte is authenticated
//! too, so a sealed value is never accepted as a wrapped key.
//!
//! Touches the random source; the root key file through `root_key.rs`. Tests: below.

use crate::{KeyError, SecretBytes, random};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize as _, Zeroizing};

pub use crate::root_key::RootKey;

/// Length of every key here, in bytes.
pub(crate) const KEY_BYTES: usize = 32;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What a sealed blob holds. The numbers are stored: never reuse one.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Value = 1,
    WrappedKey = 2,
}

/// A key of 32 bytes: it seals one value, or wraps other keys. Wiped when dropped.
pub struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

/// A wrapping key whose key schedule is computed once, for many uses. The library wipes it when dropped.
pub struct UnwrappingKey(LessSafeKey);

/// A wrapped key as it is stored. Its length and kind are checked; only unwrapping checks the rest.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey(Vec<u8>);

impl DataKey {
    /// Creates a random key.
    #[must_use]
    pub fn generate() -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        random::fill(&mut *key);
        Self(key)
    }

    /// Creates a key from bytes read elsewhere in this crate.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        if bytes.len() != KEY_BYTES {
            return Err(KeyError::SealedForm);
        }
        key.copy_from_slice(bytes);
        Ok(Self(key))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &*self.0
    }

    /// Wraps this key with another; `aad` is its context.
    #[must_use]
    pub fn wrap_with(&self, kek: &Self, aad: &[u8]) -> Vec<u8> {
        kek.seal_kind(Kind::WrappedKey, self.bytes(), aad)
    }

    /// Unwraps a key.
    ///
    /// # Errors
    /// [`KeyError::SealedForm`] or [`KeyError::Open`].
    pub fn unwrap_with(kek: &Self, wrapped: &[u8], aad: &[u8]) -> Result<Self, KeyError> {
        kek.unwrapping().ok_or(KeyError::Open)?.unwrap(wrapped, aad)
    }

    /// Prepares this key to unwrap many others. None when the library fails.
    #[must_use]
    pub fn unwrapping(&self) -> Option<UnwrappingKey> {
        self.cipher().map(UnwrappingKey)
    }

    #[allow(clippy::panic, reason = "sealing fails only above 64 GiB, or when the library is broken")]
    fn seal_kind(&self, kind: Kind, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = random::bytes();
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + plaintext.len() + TAG_BYTES);
        sealed.push(kind as u8);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let result = self.cipher().and_then(|cipher| {
            let (_, body) = sealed.split_at_mut_checked(1 + NONCE_BYTES)?;
            let nonce = Nonce::assume_unique_for_key(nonce);
            cipher.seal_in_place_separate_tag(nonce, Aad::from(kind.bound(aad)), body).ok()
        });
        match result {
            Some(tag) => sealed.extend_from_slice(tag.as_ref()),
            None => {
                // Wipe the plaintext before the panic unwinds.
                sealed.zeroize();
                panic!("AES-256-GCM could not seal");
            }
        }
        sealed
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, self.bytes()).ok().map(LessSafeKey::new)
    }
}

impl UnwrappingKey {
    /// Unwraps a key.
    ///
    /// # Errors
    /// [`KeyError::SealedForm`] or [`KeyError::Open`].
    pub fn unwrap(&self, wrapped: &[u8], aad: &[u8]) -> Result<DataKey, KeyError> {
        DataKey::from_bytes(&open_kind(&self.0, Kind::WrappedKey, wrapped, aad)?)
    }
}

/// Decrypts what was sealed as this kind.
fn open_kind(cipher: &LessSafeKey, kind: Kind, sealed: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (first, rest) = sealed.split_first().ok_or(KeyError::SealedForm)?;
    let (nonce, body) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(KeyError::SealedForm)?;
    if *first != kind as u8 || body.len() < TAG_BYTES {
        return Err(KeyError::SealedForm);
    }
    let mut buffer = Zeroizing::new(body.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = cipher.open_in_place(nonce, Aad::from(kind.bound(aad)), &mut buffer).map_err(|_| KeyError::Open)?;
    let length = opened.len();
    buffer.truncate(length);
    Ok(buffer)
}

impl Kind {
    /// Additional data with the kind in front of it.
    fn bound(self, aad: &[u8]) -> Vec<u8> {
        let mut bound = Vec::with_capacity(1 + aad.len());
        bound.push(self as u8);
        bound.extend_from_slice(aad);
        bound
    }
}

impl SealedKey {
    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`KeyError::SealedForm`] when they are not a wrapped key of a known version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let length = 1 + NONCE_BYTES + KEY_BYTES + TAG_BYTES;
        if bytes.len() != length || bytes.first() != Some(&(Kind::WrappedKey as u8)) {
            return Err(KeyError::SealedForm);
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl RootKey {
    /// Wraps the key-encryption key.
    #[must_use]
    pub fn wrap(&self, key: &DataKey, aad: &[u8]) -> SealedKey {
        SealedKey(key.wrap_with(self.key(), aad))
    }

    /// Unwraps the key-encryption key.
    ///
    /// # Errors
    /// [`KeyError::Open`] when it was wrapped with another root key or in another context.
    pub fn unwrap(&self, sealed: &SealedKey, aad: &[u8]) -> Result<DataKey, KeyError> {
        DataKey::unwrap_with(self.key(), sealed.as_bytes(), aad)
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey(..)")
    }
}

impl std::fmt::Debug for UnwrappingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnwrappingKey(..)")
    }
}

impl std::fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedKey({} bytes)", self.0.len())
    }
}

/// Encrypts a value with a data key that is used for this value alone; `aad` is its context.
#[must_use]
pub fn seal(data_key: &DataKey, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
    data_key.seal_kind(Kind::Value, plaintext, aad)
}

/// Decrypts a sealed value.
///
/// # Errors
/// [`KeyError::SealedForm`] when it is no sealed value, [`KeyError::Open`] for another key, another context, or any
/// change.
pub fn open(data_key: &DataKey, sealed: &[u8], aad: &[u8]) -> Result<SecretBytes, KeyError> {
    let cipher = data_key.cipher().ok_or(KeyError::Open)?;
    open_kind(&cipher, Kind::Value, sealed, aad).map(SecretBytes::from)
}

/// Encodes a context (tenant, vault, kind, name, version, in a fixed order) as additional authenticated data.
///
/// The encoding is injective: it begins with the number of parts, and each part with its length.
#[must_use]
pub fn aad(parts: &[&str]) -> Vec<u8> {
    // Stored data is bound to this text: it cannot change.
    const DOMAIN: &[u8] = b"denizen/place/1";
    let total: usize = parts.iter().map(|part| part.len() + 8).sum();
    let mut bytes = Vec::with_capacity(DOMAIN.len() + 8 + total);
    bytes.extend_from_slice(DOMAIN);
    bytes.extend_from_slice(&(parts.len() as u64).to_be_bytes());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_key_hierarchy_wraps_and_unwraps() {
        let directory = tempfile::tempdir().unwrap();
        let root = RootKey::load_or_create(&directory.path().join("root.key")).unwrap();
        let (kek, vault, data) = (DataKey::generate(), DataKey::generate(), DataKey::generate());
        let stored_kek = root.wrap(&kek, &aad(&["kek", "1"]));
        let stored_vault = vault.wrap_with(&kek, &aad(&["t", "v"]));
        let stored_data = data.wrap_with(&vault, &aad(&["t", "v", "secret", "s", "1"]));
        let stored_value = seal(&data, b"the value", &aad(&["t", "v", "secret", "s", "1"]));
        drop((kek, vault, data, root));

        let root = RootKey::load(&directory.path().join("root.key")).unwrap();
        let kek = root.unwrap(&SealedKey::from_bytes(stored_kek.as_bytes()).unwrap(), &aad(&["kek", "1"])).unwrap();
        let vault = DataKey::unwrap_with(&kek, &stored_vault, &aad(&["t", "v"])).unwrap();
        let data = DataKey::unwrap_with(&vault, &stored_data, &aad(&["t", "v", "secret", "s", "1"])).unwrap();
        let value = open(&data, &stored_value, &aad(&["t", "v", "secret", "s", "1"])).unwrap();
        assert_eq!(value.expose(), b"the value");
        // Another root key opens nothing.
        let other = RootKey::load_or_create(&directory.path().join("other.key")).unwrap();
        assert_eq!(other.unwrap(&stored_kek, &aad(&["kek", "1"])).unwrap_err(), KeyError::Open);
    }

    #[test]
    fn d34_a_sealed_value_moved_to_another_place_does_not_open() {
        let key = DataKey::generate();
        let home = ["tenant-a", "vault", "secret", "name", "version-1"];
        let sealed = seal(&key, b"v", &aad(&home));
        assert_eq!(open(&key, &sealed, &aad(&home)).unwrap().expose(), b"v");
        for (index, other) in [(0, "tenant-b"), (1, "vaul"), (2, "key"), (3, "NAME"), (4, "version-2")] {
            let mut place = home;
            place[index] = other;
            assert_eq!(open(&key, &sealed, &aad(&place)).unwrap_err(), KeyError::Open, "{other}");
        }
        assert_eq!(open(&key, &sealed, &aad(&home[..4])).unwrap_err(), KeyError::Open);
        assert_eq!(open(&key, &sealed, &[]).unwrap_err(), KeyError::Open);
        assert_eq!(open(&DataKey::generate(), &sealed, &aad(&home)).unwrap_err(), KeyError::Open);
        let wrapped = DataKey::generate().wrap_with(&key, &aad(&home));
        assert_eq!(DataKey::unwrap_with(&key, &wrapped, &aad(&["tenant-b"])).unwrap_err(), KeyError::Open);
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let key = DataKey::generate();
        let sealed = seal(&key, b"value", b"place");
        assert_eq!(sealed.len(), 1 + 12 + 5 + 16);
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            let expected = if index == 0 { KeyError::SealedForm } else { KeyError::Open };
            assert_eq!(open(&key, &changed, b"place").unwrap_err(), expected, "byte {index}");
            assert!(open(&key, &sealed[..index], b"place").is_err(), "cut at {index}");
        }
        assert!(open(&key, &[&sealed[..], &[0]].concat(), b"place").is_err());
    }

    #[test]
    fn a_value_is_not_taken_for_a_wrapped_key_even_when_relabelled() {
        let key = DataKey::generate();
        // A value of exactly a key's length, which someone who may store values could choose.
        let sealed = seal(&key, &[7; KEY_BYTES], b"place");
        assert_eq!(DataKey::unwrap_with(&key, &sealed, b"place").unwrap_err(), KeyError::SealedForm);
        let mut relabelled = sealed.clone();
        relabelled[0] = Kind::WrappedKey as u8;
        assert_eq!(DataKey::unwrap_with(&key, &relabelled, b"place").unwrap_err(), KeyError::Open);
        assert!(SealedKey::from_bytes(&sealed).is_err());
        assert!(SealedKey::from_bytes(&relabelled).is_ok());
        assert!(SealedKey::from_bytes(&relabelled[1..]).is_err());
    }

    #[test]
    fn the_same_value_is_sealed_differently_each_time() {
        let key = DataKey::generate();
        assert_ne!(seal(&key, b"v", b"p"), seal(&key, b"v", b"p"));
        assert_eq!(open(&key, &seal(&key, b"", b"p"), b"p").unwrap().expose(), b"");
    }

    #[test]
    fn d09_keys_are_not_printed() {
        let key = DataKey::generate();
        let wrapped = SealedKey::from_bytes(&key.wrap_with(&DataKey::generate(), b"p")).unwrap();
        assert_eq!(format!("{key:?} {wrapped:?}"), "DataKey(..) SealedKey(61 bytes)");
    }

    proptest! {
        #[test]
        fn places_with_different_parts_are_different(
            a in proptest::collection::vec("[ab]{0,2}", 0..3),
            b in proptest::collection::vec("[ab]{0,2}", 0..3),
        ) {
            let bytes = |parts: &[String]| aad(&parts.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(a == b, bytes(&a) == bytes(&b));
        }

        #[test]
        fn moving_a_boundary_changes_the_place(text in "[ab]{2,8}", cut in 0_usize..8, other in 0_usize..8) {
            let (cut, other) = (cut.min(text.len()), other.min(text.len()));
            let at = |n: usize| aad(&[&text[..n], &text[n..]]);
            prop_assert_eq!(cut == other, at(cut) == at(other));
            prop_assert_ne!(at(cut), aad(&[&text]));
        }

        #[test]
        fn d32_no_bytes_make_opening_panic(sealed: Vec<u8>, kind in 0_u8..4) {
            let key = DataKey::generate();
            let labelled = [&[kind][..], &sealed].concat();
            prop_assert!(open(&key, &labelled, b"").is_err());
            prop_assert!(DataKey::unwrap_with(&key, &labelled, b"").is_err());
        }
    }
}
