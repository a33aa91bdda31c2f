//! A long text, sealed in frames: what reads it needs one frame at a time in memory, and finds every change.
//!
//! AES-256-GCM under a key that seals one text alone. The nonce is the frame's number. A frame's number, whether it is the
//! last, and the context of the whole are authenticated with it: frames that were changed, cut off, swapped, repeated or
//! taken from another text do not open.
//!
//! Touches nothing. Tests: below.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::{KeyError, SecretBytes, envelope::DataKey};

/// What stands before everything else that is authenticated.
const DOMAIN: &[u8] = b"denizen/frame/1";
const NONCE_BYTES: usize = 12;
/// A sealed frame is longer than what it holds by so many bytes.
pub const OVERHEAD: usize = 16;

/// Seals frames in their order.
pub struct FrameSealer(Frames);

/// Opens frames in their order.
pub struct FrameOpener(Frames);

struct Frames {
    cipher: LessSafeKey,
    context: Vec<u8>,
    /// The number of the next frame; none after the last.
    next: Option<u64>,
}

impl Frames {
    fn new(key: &DataKey, context: &[u8]) -> Result<Self, KeyError> {
        let key = UnboundKey::new(&AES_256_GCM, key.bytes()).map_err(|_| KeyError::Generation)?;
        Ok(Self { cipher: LessSafeKey::new(key), context: context.to_vec(), next: Some(0) })
    }

    /// Nonce and additional data of the next frame.
    fn step(&mut self, is_last: bool) -> Result<(Nonce, Vec<u8>), KeyError> {
        let number = self.next.ok_or(KeyError::Open)?.to_be_bytes();
        self.next = if is_last { None } else { self.next.and_then(|number| number.checked_add(1)) };
        let mut nonce = [0; NONCE_BYTES];
        for (to, from) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *to = *from;
        }
        let aad = [DOMAIN, &[u8::from(is_last)], &number, &self.context].concat();
        Ok((Nonce::assume_unique_for_key(nonce), aad))
    }
}

impl FrameSealer {
    /// Starts a text. The key is used up: it seals no other.
    ///
    /// # Errors
    /// [`KeyError::Generation`] when the library fails.
    pub fn new(key: DataKey, context: &[u8]) -> Result<Self, KeyError> {
        let frames = Frames::new(&key, context);
        drop(key);
        frames.map(Self)
    }

    /// Seals the next frame.
    ///
    /// # Errors
    /// [`KeyError::Open`] after the last one.
    pub fn seal(&mut self, plaintext: &[u8], is_last: bool) -> Result<Vec<u8>, KeyError> {
        let (nonce, aad) = self.0.step(is_last)?;
        let mut buffer = Zeroizing::new(Vec::with_capacity(plaintext.len() + OVERHEAD));
        buffer.extend_from_slice(plaintext);
        let sealed = self.0.cipher.seal_in_place_append_tag(nonce, Aad::from(aad), &mut *buffer);
        sealed.map_err(|_| KeyError::Generation)?;
        Ok(std::mem::take(&mut *buffer))
    }
}

impl FrameOpener {
    /// Starts to read a text.
    ///
    /// # Errors
    /// [`KeyError::Generation`] when the library fails.
    pub fn new(key: &DataKey, context: &[u8]) -> Result<Self, KeyError> {
        Frames::new(key, context).map(Self)
    }

    /// Opens the next frame.
    ///
    /// # Errors
    /// [`KeyError::Open`] when it is not the next frame as it was sealed, or comes after the last.
    pub fn open(&mut self, sealed: &[u8], is_last: bool) -> Result<SecretBytes, KeyError> {
        let (nonce, aad) = self.0.step(is_last)?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let opened = self.0.cipher.open_in_place(nonce, Aad::from(aad), &mut buffer).map_err(|_| KeyError::Open)?;
        let length = opened.len();
        buffer.truncate(length);
        Ok(SecretBytes::from(buffer))
    }
}

impl std::fmt::Debug for FrameSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameSealer(..)")
    }
}

impl std::fmt::Debug for FrameOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameOpener(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DataKey {
        DataKey::from_bytes(&[7; 32]).unwrap()
    }

    fn sealed(context: &[u8]) -> Vec<Vec<u8>> {
        let mut sealer = FrameSealer::new(key(), context).unwrap();
        let frames = [(&b"one"[..], false), (b"two", false), (b"three", true)];
        let sealed = frames.map(|(text, is_last)| sealer.seal(text, is_last).unwrap()).to_vec();
        assert!(sealer.seal(b"four", true).is_err(), "after the last");
        sealed
    }

    fn read(context: &[u8], frames: &[(&[u8], bool)]) -> Result<Vec<u8>, KeyError> {
        let mut opener = FrameOpener::new(&key(), context).unwrap();
        let mut text = Vec::new();
        for (frame, is_last) in frames {
            text.extend_from_slice(opener.open(frame, *is_last)?.expose());
        }
        Ok(text)
    }

    #[test]
    fn frames_open_as_they_were_sealed_and_in_no_other_way() {
        let all = sealed(b"context");
        let [one, two, three] = [&all[0][..], &all[1], &all[2]];
        assert_eq!(read(b"context", &[(one, false), (two, false), (three, true)]).unwrap(), b"onetwothree");
        for wrong in [
            &[(two, false)][..],
            &[(one, false), (one, false)],
            &[(one, false), (three, true)],
            &[(one, false), (two, true)],
            &[(one, false), (two, false), (three, false)],
            &[(one, false), (two, false), (three, true), (three, true)],
            &[(one, true)],
            &[(b"", false)],
        ] {
            assert_eq!(read(b"context", wrong).unwrap_err(), KeyError::Open);
        }
        assert!(read(b"other", &[(one, false)]).is_err());
        for at in 0..one.len() {
            let mut changed = one.to_vec();
            changed[at] ^= 1;
            assert!(read(b"context", &[(&changed, false)]).is_err(), "byte {at}");
        }
        assert!(FrameOpener::new(&DataKey::generate(), b"context").unwrap().open(one, false).is_err());
    }
}
