//! Where tokens come from, and the way out of this process.
//!
//! * [`oauth`] — a token service, by client assertion;
//! * [`assertion`] — the assertions the node key signs;
//! * [`https`] — HTTPS to one [`origin`], directly or through a [proxy](denizen_wire::proxy).
//!
//! There are two origins, each with a client of its own: the *control plane*, where the machine enrols, and the *token
//! authority*, where it asks for tokens. They are the same server unless the machine was enrolled otherwise.

use denizen_keys::SecretString;

use crate::identity::Identity;

pub mod assertion;
#[cfg(test)]
pub(crate) mod fake;
pub mod https;
pub mod oauth;
pub mod origin;
#[cfg(test)]
pub(crate) mod scripted;

/// A token authority, by how the machine proves itself there.
pub enum TokenAuthority {
    /// By client assertion: Denizen's own token service, or any other that takes one.
    ClientAssertion(Box<oauth::OAuthClient>),
    /// Answers from a test.
    #[cfg(test)]
    Scripted(scripted::Script),
}

/// A token as the authority gave it.
pub struct IssuedToken {
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

impl TokenAuthority {
    /// Asks for a token.
    pub async fn fetch(&self, identity: &Identity, resource: &str) -> Result<IssuedToken, UpstreamError> {
        match self {
            Self::ClientAssertion(client) => client.fetch(identity, resource).await,
            #[cfg(test)]
            Self::Scripted(script) => script.fetch(identity, resource).await,
        }
    }
}
