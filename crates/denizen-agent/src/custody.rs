//! Who keeps the node key, and how it signs.
//!
//! Signing is asynchronous whoever keeps the key: the agent runs on one thread, and a device may take 200 ms for a
//! signature. Touches nothing. Tests: below.

use denizen_keys::{Algorithm, KeyError, SecretString, Signer, jws};

/// The node key, by who keeps it.
pub enum NodeKey {
    /// A file of the state directory, read at start; signed with in memory.
    File(Signer),
    /// A device that blocks its thread for as long as it signs.
    #[cfg(test)]
    Device {
        /// What it signs with.
        key: Signer,
        /// How long it takes.
        takes: std::time::Duration,
    },
}

impl NodeKey {
    /// Writes a compact JWS. The caller answers for an `alg` in the header that is `algorithm`.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the key or the device refuses.
    pub async fn sign_compact(
        &self,
        algorithm: Algorithm,
        header: &str,
        claims: &str,
    ) -> Result<SecretString, KeyError> {
        match self {
            // About a millisecond of computing, once in nine minutes for each identity: a thread of its own would not
            // be worth its while.
            Self::File(key) => jws::sign_compact(key, algorithm, header, claims).map(Into::into),
            #[cfg(test)]
            Self::Device { key, takes } => {
                let (key, takes, header, claims) = (key.clone(), *takes, header.to_owned(), claims.to_owned());
                let signed = tokio::task::spawn_blocking(move || {
                    #[expect(clippy::disallowed_methods, reason = "a device blocks the thread that asks it")]
                    std::thread::sleep(takes);
                    jws::sign_compact(&key, algorithm, &header, &claims)
                });
                signed.await.unwrap().map(Into::into)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use denizen_keys::{RsaBits, jws::LaxAssertion};

    use super::*;

    const HEADER: &str = r#"{"alg":"PS256","typ":"JWT"}"#;
    const CLAIMS: &str = r#"{"iss":"a","sub":"a"}"#;

    #[tokio::test]
    async fn both_kinds_sign_and_a_slow_device_stops_nobody_else() {
        let key = Signer::generate_rsa(RsaBits::B2048).unwrap();
        let device = NodeKey::Device { key: key.clone(), takes: Duration::from_millis(200) };
        let began = Instant::now();
        let mut ticks = 0;
        let signing = device.sign_compact(Algorithm::Ps256, HEADER, CLAIMS);
        tokio::pin!(signing);
        let slow = loop {
            tokio::select! {
                signed = signing.as_mut() => break signed.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(5)) => ticks += 1,
            }
        };
        assert!(began.elapsed() >= Duration::from_millis(200));
        assert!(ticks >= 10, "the thread went on with other work only {ticks} times");
        let fast = NodeKey::File(key.clone()).sign_compact(Algorithm::Ps256, HEADER, CLAIMS).await.unwrap();
        for assertion in [slow, fast] {
            LaxAssertion::parse(assertion.expose()).unwrap().verify(key.public()).unwrap();
        }
    }
}
