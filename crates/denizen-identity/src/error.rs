//! Why there is no token: *unavailable* (this link has nothing to say here, a chain goes on) or *failed* (it should
//! have worked, a chain stops: going on would hand out another identity than the one configured).
//!
//! Every error says what was found and what would fix it. A chain's error lists every link it tried.

use std::{borrow::Cow, fmt};

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialError {
    /// The credential does not apply here. A chain goes on to the next.
    Unavailable(Unavailable),
    /// The credential applies, and was refused or is broken. A chain stops.
    Failed(Failed),
    /// A chain's own account.
    Chain(ChainError),
}

/// A credential that does not apply where the program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unavailable {
    /// Which.
    pub credential: Cow<'static, str>,
    /// What was found.
    pub reason: String,
    /// What would make it work.
    pub remedy: Option<String>,
}

/// A credential that applies, and does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failed {
    /// Which.
    pub credential: Cow<'static, str>,
    /// Whose fault, as a program may want to know it.
    pub kind: FailureKind,
    /// What was found.
    pub reason: String,
    /// What would make it work.
    pub remedy: Option<String>,
}

/// Kinds of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// The credential is configured wrongly.
    Configuration,
    /// Nobody answered.
    NoAnswer,
    /// The server answered, and refused.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's own word for it (`invalid_client`), when it gave one.
        code: Option<String>,
    },
    /// The Arc challenge was not answered: the key file is not ours to read, or not the agent's at all.
    Challenge,
    /// The token is for another identity than the one asked for.
    WrongIdentity,
    /// The server is not the one it should be.
    Untrusted,
    /// The answer is not a token.
    MalformedAnswer,
    /// What somebody else's credential reported.
    Foreign,
}

/// What a chain tried, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChainError {
    /// The chain.
    pub chain: &'static str,
    /// Every link tried, with its reason.
    pub attempts: Vec<CredentialError>,
    /// The links after the one that failed, which were not tried.
    pub not_tried: Vec<String>,
}

impl CredentialError {
    /// Whether a chain may go on to the next link.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Failed(_) => false,
            Self::Chain(chain) => chain.attempts.iter().all(Self::is_unavailable),
        }
    }

    /// The credential that says so.
    pub fn credential(&self) -> &str {
        match self {
            Self::Unavailable(e) => &e.credential,
            Self::Failed(e) => &e.credential,
            Self::Chain(e) => e.chain,
        }
    }

    /// What would make it work.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Unavailable(e) => e.remedy.as_deref(),
            Self::Failed(e) => e.remedy.as_deref(),
            Self::Chain(_) => None,
        }
    }

    /// The failure that decided: this one, or the one that stopped the chain.
    pub fn failed(&self) -> Option<&Failed> {
        match self {
            Self::Unavailable(_) => None,
            Self::Failed(failed) => Some(failed),
            Self::Chain(chain) => chain.attempts.iter().find_map(Self::failed),
        }
    }

    /// The same in the name of the credential that wraps the one it happened in.
    #[must_use]
    pub(crate) fn named(self, credential: &'static str) -> Self {
        match self {
            Self::Unavailable(e) => Self::Unavailable(Unavailable { credential: credential.into(), ..e }),
            Self::Failed(e) => Self::Failed(Failed { credential: credential.into(), ..e }),
            chain @ Self::Chain(_) => chain,
        }
    }

    /// What was found, without the credential's name.
    pub fn reason(&self) -> &str {
        match self {
            Self::Unavailable(e) => &e.reason,
            Self::Failed(e) => &e.reason,
            Self::Chain(_) => "no link gave a token",
        }
    }
}

impl Unavailable {
    /// Not open because of `reason`.
    pub fn new(credential: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self { credential: credential.into(), reason: reason.into(), remedy: None }
    }

    /// With what would make it work.
    #[must_use]
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

impl Failed {
    /// Broken because of `reason`.
    pub fn new(credential: impl Into<Cow<'static, str>>, kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { credential: credential.into(), kind, reason: reason.into(), remedy: None }
    }

    /// A credential that cannot be made of what it was given.
    pub fn configuration(credential: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::new(credential, FailureKind::Configuration, reason)
    }

    /// With what would make it work.
    #[must_use]
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

impl From<Unavailable> for CredentialError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error)
    }
}

impl From<Failed> for CredentialError {
    fn from(error: Failed) -> Self {
        Self::Failed(error)
    }
}

impl From<ChainError> for CredentialError {
    fn from(error: ChainError) -> Self {
        Self::Chain(error)
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(chain) => chain.fmt(f),
            Self::Unavailable(_) => write!(f, "{} is unavailable: {}", self.credential(), self.reason()),
            Self::Failed(_) => write!(f, "{} failed: {}", self.credential(), self.reason()),
        }?;
        self.remedy().map_or(Ok(()), |remedy| write!(f, " ({remedy})"))
    }
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} got no token. Tried, in order:", self.chain)?;
        self.write_attempts(f, "  ")
    }
}

impl ChainError {
    fn write_attempts(&self, f: &mut fmt::Formatter<'_>, indent: &str) -> fmt::Result {
        for (number, attempt) in (1..).zip(&self.attempts) {
            let verdict = if attempt.is_unavailable() { "skipped" } else { "failed" };
            write!(f, "\n{indent}{number}. {} {verdict}: {}", attempt.credential(), attempt.reason())?;
            if let Some(remedy) = attempt.remedy() {
                write!(f, "\n{indent}   to use it: {remedy}")?;
            }
            if let CredentialError::Chain(inner) = attempt {
                inner.write_attempts(f, &format!("{indent}   "))?;
            }
        }
        if !self.not_tried.is_empty() {
            write!(f, "\n{indent}not tried after that failure: {}", self.not_tried.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for CredentialError {}
impl std::error::Error for ChainError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_tells_every_link_its_reason_and_its_remedy() {
        let chain = ChainError {
            chain: "DefaultAzureCredential",
            attempts: vec![
                Unavailable::new("EnvironmentCredential", "AZURE_TENANT_ID is not set").with_remedy("set it").into(),
                Failed::new("ManagedIdentityCredential", FailureKind::WrongIdentity, "no echo").into(),
            ],
            not_tried: vec!["AzureCliCredential".into()],
        };
        assert_eq!(
            CredentialError::from(chain.clone()).to_string(),
            "DefaultAzureCredential got no token. Tried, in order:\n  \
             1. EnvironmentCredential skipped: AZURE_TENANT_ID is not set\n     to use it: set it\n  \
             2. ManagedIdentityCredential failed: no echo\n  \
             not tried after that failure: AzureCliCredential"
        );
        let error = CredentialError::from(chain);
        assert!(!error.is_unavailable());
        assert_eq!(error.failed().unwrap().kind, FailureKind::WrongIdentity);
    }
}
