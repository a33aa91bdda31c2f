//! Password hashes of the secrets that clients present.
//!
//! Argon2id with the parameters OWASP recommends as its first choice for a login (19 MiB, two passes). One check
//! costs tens of milliseconds of a processor on purpose: call it where blocking is allowed, and behind a rate limit.
//!
//! Touches the random source only. Tests: below.

use crate::{SecretString, random};
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};

/// Memory, in KiB.
const MEMORY: u32 = 19_456;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;

/// Upper limits for a stored hash (memory in KiB, passes, lanes): a damaged row must not exhaust the machine's memory.
const MOST: (u32, u32, u32) = (262_144, 16, 8);

/// Hashes a secret with a new salt, to a PHC string (`$argon2id$v=19$m=19456,t=2,p=1$salt$hash`).
///
/// # Panics
/// When 19 MiB of memory cannot be had, which aborts any Rust program.
#[must_use]
#[allow(clippy::expect_used, reason = "every argument but the secret is a constant, and secrets are under 4 GiB")]
pub fn hash(secret: &SecretString) -> String {
    let salt: [u8; 16] = random::bytes();
    let params = Params::new(MEMORY, PASSES, LANES, None).expect("constants within Argon2's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(secret.expose().as_bytes(), &salt)
        .expect("constants within Argon2's limits")
        .to_string()
}

/// Whether a secret is the one that was hashed. The comparison takes the same time wherever it differs; a hash that
/// cannot be read matches nothing.
#[must_use]
pub fn verify(secret: &SecretString, phc: &str) -> bool {
    let Some((stored, _)) = read(phc) else { return false };
    Argon2::default().verify_password(secret.expose().as_bytes(), &stored).is_ok()
}

/// Whether a stored hash was made with other parameters than today's and should be made anew at the next success.
#[must_use]
pub fn needs_rehash(phc: &str) -> bool {
    read(phc).is_none_or(|(stored, params)| {
        stored.version != Some(u32::from(Version::V0x13))
            || (params.m_cost(), params.t_cost(), params.p_cost()) != (MEMORY, PASSES, LANES)
    })
}

/// A stored hash, if it is Argon2id with a salt, an output, and costs within the limits.
fn read(phc: &str) -> Option<(PasswordHash, Params)> {
    let stored = PasswordHash::new(phc).ok()?;
    if stored.algorithm.as_str() != Algorithm::Argon2id.as_str() {
        return None;
    }
    let params = Params::try_from(&stored).ok()?;
    let (memory, passes, lanes) = MOST;
    let within_limits = params.m_cost() <= memory && params.t_cost() <= passes && params.p_cost() <= lanes;
    // A short output would be matched by chance.
    let long_enough = stored.hash.as_ref().is_some_and(|output| output.len() >= 16) && stored.salt.is_some();
    (within_limits && long_enough).then_some((stored, params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn a_secret_matches_its_own_hash_only() {
        let stored = hash(&secret("correct horse"));
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(!stored.contains("horse"));
        assert!(verify(&secret("correct horse"), &stored));
        assert!(!verify(&secret("correct horsf"), &stored));
        assert!(!verify(&secret(""), &stored));
        assert!(!needs_rehash(&stored));
        assert_ne!(stored, hash(&secret("correct horse")), "the salt must be new each time");
    }

    /// Hashes with other parameters, as an older version might have stored them.
    fn hashed_with(algorithm: Algorithm, version: Version, memory: u32, output: usize) -> String {
        Argon2::new(algorithm, version, Params::new(memory, 1, 1, Some(output)).unwrap())
            .hash_password_with_salt(b"s", &[7; 16])
            .unwrap()
            .to_string()
    }

    #[test]
    fn weaker_parameters_still_match_and_ask_to_be_renewed() {
        let old = hashed_with(Algorithm::Argon2id, Version::V0x13, 64, 32);
        assert!(verify(&secret("s"), &old));
        assert!(!verify(&secret("t"), &old));
        assert!(needs_rehash(&old));
        let older = hashed_with(Algorithm::Argon2id, Version::V0x10, 64, 32);
        assert!(verify(&secret("s"), &older));
        assert!(needs_rehash(&older));
    }

    #[test]
    fn a_hash_of_another_kind_matches_nothing() {
        let good = hash(&secret("s"));
        for phc in [
            "",
            "s",
            "$argon2id$v=19$m=19456,t=2,p=1$",
            "$plain$s",
            &hashed_with(Algorithm::Argon2i, Version::V0x13, 64, 32),
            &hashed_with(Algorithm::Argon2d, Version::V0x13, 64, 32),
            &hashed_with(Algorithm::Argon2id, Version::V0x13, 64, 10),
            // A damaged row that asks for four terabytes, or for hours.
            &good.replace("m=19456", "m=4294967295"),
            &good.replace("t=2", "t=4000000"),
            good.rsplit_once('$').unwrap().0,
        ] {
            assert!(!verify(&secret("s"), phc), "{phc}");
            assert!(needs_rehash(phc), "{phc}");
        }
    }

    proptest! {
        #[test]
        fn d32_no_stored_text_makes_the_reader_panic(text in "(\\$argon2id\\$v=19\\$)?[ -~]{0,60}") {
            let _ = read(&text);
        }
    }
}
