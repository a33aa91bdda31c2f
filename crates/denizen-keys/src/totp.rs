//! Time-based one-time passwords (RFC 6238): six digits of thirty seconds, over HMAC-SHA-1, as every authenticator app
//! reads them.
//!
//! SHA-1 is what the apps have in common; HMAC does not rest on what is broken in it. Touches nothing: the time is an
//! argument. Tests: below, with the vectors of the RFC.

use aws_lc_rs::hmac;

use crate::{SecretBytes, constant_time_eq, random};

/// A code is of this many seconds.
pub const STEP: i64 = 30;
/// Bytes of a key: as many as the hash has (RFC 4226, section 4).
pub const KEY_BYTES: usize = 20;
/// Codes of so many steps before and after now are good as well: clocks differ, and people type slowly.
const DRIFT: u64 = 1;
const DIGITS: usize = 6;
const MODULUS: u32 = 1_000_000;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A new key.
#[must_use]
pub fn generate() -> SecretBytes {
    SecretBytes::from(random::bytes::<KEY_BYTES>().to_vec())
}

/// The step of the code, when it is the key's at a time about `now` (seconds since 1970) and of a later step than `last`.
/// Whoever keeps that step as the next `last` accepts each code once.
#[must_use]
pub fn verify(key: &SecretBytes, code: &str, now: i64, last: u64) -> Option<u64> {
    let code = code.as_bytes();
    if code.len() != DIGITS {
        return None;
    }
    let this = u64::try_from(now.div_euclid(STEP)).ok()?;
    let mut found = None;
    // All of them, so that the time says nothing.
    for step in this.saturating_sub(DRIFT)..=this.saturating_add(DRIFT) {
        if constant_time_eq(self::code(key, step).as_bytes(), code) {
            found = found.or(Some(step));
        }
    }
    found.filter(|step| *step > last)
}

/// The code of a step.
#[must_use]
pub fn code(key: &SecretBytes, step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.expose());
    let tag = hmac::sign(&key, &step.to_be_bytes());
    // RFC 4226, section 5.3: four bytes from where the last half-byte says.
    let at = usize::from(tag.as_ref().last().copied().unwrap_or_default() & 0x0f);
    let number = tag.as_ref().iter().skip(at).take(4).fold(0u32, |number, byte| (number << 8) | u32::from(*byte));
    format!("{:0DIGITS$}", (number & 0x7fff_ffff) % MODULUS)
}

/// The key as people type it into an app: base32 (RFC 4648) without padding.
#[must_use]
pub fn base32(key: &SecretBytes) -> crate::SecretString {
    let (mut text, mut held, mut bits) = (String::with_capacity(32), 0u32, 0u32);
    for byte in key.expose() {
        (held, bits) = ((held << 8) | u32::from(*byte), bits + 8);
        while bits >= 5 {
            bits -= 5;
            text.extend(BASE32.get((held >> bits) as usize & 31).map(|letter| char::from(*letter)));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.extend(BASE32.get((held << (5 - bits)) as usize & 31).map(|letter| char::from(*letter)));
    }
    crate::SecretString::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SecretBytes {
        SecretBytes::from(b"12345678901234567890".to_vec())
    }

    #[test]
    fn the_vectors_of_rfc_6238() {
        // Appendix B, SHA-1; the last six of its eight digits.
        for (time, eight) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            let six = eight.get(2..).unwrap();
            assert_eq!(code(&key(), u64::try_from(time / STEP).unwrap()), six);
            assert_eq!(verify(&key(), six, time, 0), Some(u64::try_from(time / STEP).unwrap()), "{time}");
        }
    }

    #[test]
    fn the_vectors_of_rfc_4226() {
        // Appendix D.
        for (step, six) in (0..)
            .zip(["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"])
        {
            assert_eq!(code(&key(), step), six);
        }
    }

    #[test]
    fn a_code_is_good_for_one_step_before_and_after_and_once() {
        let now = 1_795_239_900;
        let this = u64::try_from(now / STEP).unwrap();
        for (step, is_good) in [(this - 2, false), (this - 1, true), (this, true), (this + 1, true), (this + 2, false)]
        {
            let found = verify(&key(), &code(&key(), step), now, 0);
            assert_eq!(found, is_good.then_some(step), "{step}");
        }
        assert_eq!(verify(&key(), &code(&key(), this), now, this), None);
        assert_eq!(verify(&key(), &code(&key(), this - 1), now, this), None, "an earlier one is spent as well");
        assert_eq!(verify(&key(), &code(&key(), this + 1), now, this), Some(this + 1));
        for code in ["", "12345", "1234567", "١٢٣٤٥٦", "12 456"] {
            assert_eq!(verify(&key(), code, now, 0), None, "{code}");
        }
        assert_eq!(verify(&key(), &code(&key(), 0), -1, 0), None);
    }

    #[test]
    fn keys_are_written_in_base32() {
        // RFC 4648, section 10, without padding.
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(&SecretBytes::from(bytes.as_bytes().to_vec())).expose(), text);
        }
        assert_eq!(base32(&generate()).len(), 32);
        assert_ne!(generate().expose(), generate().expose());
    }
}
