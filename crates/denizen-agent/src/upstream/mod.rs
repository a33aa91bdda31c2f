//! Where tokens come from.
//!
//! * [`oauth`] — a token service, by client assertion;
//! * [`https`] — the one way out of this process: one origin, TLS, no redirects.
//!
//! Entra ID will be a second arm of [`Upstream`]; what is said to it is the same.

use denizen_keys::SecretString;

use crate::broker::Identity;

#[cfg(test)]
pub(crate) mod fake;
pub mod https;
pub mod oauth;

/// A token service, by kind.
pub enum Upstream {
    /// Denizen's own.
    Denizen(Box<oauth::OAuthClient>),
    /// Answers from a test.
    #[cfg(test)]
    Scripted(scripted::Script),
}

/// A token, fresh from upstream.
pub struct Fetched {
    /// The JWT.
    pub access_token: SecretString,
    /// How long it lives from when it was asked for, seconds.
    pub expires_in: i64,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// The token service refused, and will again: the caller has to change something.
    #[error("{description}")]
    Permanent {
        /// Its OAuth error word.
        error: String,
        /// Its own text.
        description: String,
    },
    /// It could not be reached, or could not answer: asking again may help.
    #[error("{0}")]
    Unavailable(String),
}

impl Upstream {
    /// Asks for a token.
    pub async fn fetch(&self, identity: &Identity, resource: &str) -> Result<Fetched, UpstreamError> {
        match self {
            Self::Denizen(client) => client.fetch(identity, resource).await,
            #[cfg(test)]
            Self::Scripted(script) => script.fetch(identity, resource).await,
        }
    }
}

#[cfg(test)]
pub(crate) mod scripted {
    //! An upstream that a test writes: each answer comes from a closure, and the requests are counted.

    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::Semaphore;

    use super::*;

    type Answer = dyn FnMut(&Identity, &str) -> Result<Fetched, UpstreamError> + Send;

    /// The script and its counters.
    #[derive(Clone)]
    pub struct Script {
        answer: Arc<Mutex<Box<Answer>>>,
        asked: Arc<AtomicUsize>,
        /// Each answer waits for one permit.
        pub gate: Arc<Semaphore>,
    }

    impl Script {
        pub fn new(answer: impl FnMut(&Identity, &str) -> Result<Fetched, UpstreamError> + Send + 'static) -> Self {
            Self {
                answer: Arc::new(Mutex::new(Box::new(answer))),
                asked: Arc::default(),
                gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            }
        }

        /// Tokens `token-1`, `token-2`, … that live for `expires_in` seconds.
        pub fn tokens(expires_in: i64) -> Self {
            let mut count = 0;
            Self::new(move |_, _| {
                count += 1;
                Ok(Fetched { access_token: format!("token-{count}").into(), expires_in })
            })
        }

        pub fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }

        pub async fn fetch(&self, identity: &Identity, resource: &str) -> Result<Fetched, UpstreamError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            (self.answer.lock().unwrap())(identity, resource)
        }
    }
}
