//! Credentials in a row: the first that is available gives the token, the first that fails ends the search.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{BoxFuture, Credential, token_credential};
use crate::{
    error::{ChainError, CredentialError, Failed},
    token::{Token, TokenRequest},
};

const NAME: &str = "ChainedTokenCredential";
/// No link has given a token yet.
const NONE: usize = usize::MAX;

/// Tries its links in order. The first that gives a token is the only one asked from then on, unless
/// [`retry_sources`](ChainedTokenCredentialBuilder::retry_sources) says otherwise: a program does not change its
/// identity because one request found its endpoint busy.
pub struct ChainedTokenCredential {
    name: &'static str,
    links: Vec<Arc<dyn Credential>>,
    retry_sources: bool,
    /// Whether links are told that others may follow, so that IMDS is probed first.
    probes: bool,
    last: AtomicUsize,
}

/// Makes a [`ChainedTokenCredential`].
#[derive(Debug, Default)]
pub struct ChainedTokenCredentialBuilder {
    links: Vec<Arc<dyn Credential>>,
    retry_sources: bool,
}

impl ChainedTokenCredential {
    /// These links, in this order.
    #[cfg(feature = "azure_core")]
    pub fn new(links: Vec<Arc<dyn Credential>>) -> azure_core::Result<Arc<Self>> {
        Ok(ChainedTokenCredentialBuilder { links, retry_sources: false }.build()?)
    }

    /// With options.
    pub fn builder() -> ChainedTokenCredentialBuilder {
        ChainedTokenCredentialBuilder::default()
    }

    pub(super) fn of(
        name: &'static str,
        links: Vec<Arc<dyn Credential>>,
        retry_sources: bool,
        probes: bool,
    ) -> Result<Self, CredentialError> {
        match links.is_empty() {
            true => Err(Failed::configuration(name, "the chain has no link").with_remedy("leave at least one").into()),
            false => Ok(Self { name, links, retry_sources, probes, last: AtomicUsize::new(NONE) }),
        }
    }

    fn remembered(&self) -> Option<&Arc<dyn Credential>> {
        (!self.retry_sources).then(|| self.links.get(self.last.load(Ordering::Relaxed))).flatten()
    }

    /// The link that gave the last token.
    pub fn last_successful(&self) -> Option<&str> {
        self.links.get(self.last.load(Ordering::Relaxed)).map(|link| link.name())
    }

    async fn ask(&self, request: TokenRequest<'_>) -> Result<Token, CredentialError> {
        if let Some(link) = self.remembered() {
            return link.token(request).await.map_err(|error| {
                tracing::warn!(
                    chain = self.name,
                    credential = link.name(),
                    reason = error.reason(),
                    "the credential chosen before failed, no other is tried"
                );
                self.error(vec![error], Vec::new())
            });
        }
        let asked = if self.probes { request.in_chain() } else { request };
        let mut attempts = Vec::new();
        for (number, link) in self.links.iter().enumerate() {
            match link.token(asked).await {
                Ok(token) => {
                    if self.last.swap(number, Ordering::Relaxed) != number {
                        tracing::info!(chain = self.name, credential = link.name(), "credential chosen");
                    }
                    return Ok(token);
                }
                Err(error) if error.is_unavailable() => {
                    tracing::debug!(
                        chain = self.name,
                        credential = link.name(),
                        reason = error.reason(),
                        "credential skipped"
                    );
                    attempts.push(error);
                }
                Err(error) => {
                    tracing::warn!(
                        chain = self.name,
                        credential = link.name(),
                        reason = error.reason(),
                        "credential failed, the chain stops"
                    );
                    attempts.push(error);
                    let rest = self.links.iter().skip(number + 1).map(|link| link.name().to_owned()).collect();
                    return Err(self.error(attempts, rest));
                }
            }
        }
        Err(self.error(attempts, Vec::new()))
    }

    fn error(&self, attempts: Vec<CredentialError>, not_tried: Vec<String>) -> CredentialError {
        ChainError { chain: self.name, attempts, not_tried }.into()
    }
}

impl ChainedTokenCredentialBuilder {
    /// One more link, after those given before.
    #[must_use]
    pub fn link(mut self, credential: Arc<dyn Credential>) -> Self {
        self.links.push(credential);
        self
    }

    /// One more link, made elsewhere. Its errors end the search unless they carry a [`CredentialError`] that says
    /// otherwise: the official trait has no way to say "unavailable".
    #[cfg(feature = "azure_core")]
    #[must_use]
    pub fn token_credential(
        mut self,
        name: &'static str,
        credential: Arc<dyn azure_core::credentials::TokenCredential>,
    ) -> Self {
        self.links.push(Arc::new(crate::azure::Foreign::new(name, credential)));
        self
    }

    /// Whether every request tries the links from the first on, instead of the one that last gave a token.
    #[must_use]
    pub fn retry_sources(mut self, retry: bool) -> Self {
        self.retry_sources = retry;
        self
    }

    /// Fails without links.
    pub fn build(self) -> Result<Arc<ChainedTokenCredential>, CredentialError> {
        Ok(Arc::new(ChainedTokenCredential::of(NAME, self.links, self.retry_sources, true)?))
    }
}

impl Credential for ChainedTokenCredential {
    fn name(&self) -> &str {
        self.name
    }

    fn token<'a>(&'a self, request: TokenRequest<'a>) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(self.ask(request))
    }

    fn cached(&self, request: &TokenRequest<'_>) -> Option<Token> {
        self.remembered()?.cached(request)
    }
}

impl fmt::Debug for ChainedTokenCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(self.name).field(&self.links).finish()
    }
}

token_credential!(ChainedTokenCredential);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::{FailureKind, Unavailable};

    #[derive(Debug)]
    struct Scripted {
        name: &'static str,
        says: Mutex<Result<&'static str, bool>>,
        asked: AtomicUsize,
    }

    impl Scripted {
        fn new(name: &'static str, says: Result<&'static str, bool>) -> Arc<Self> {
            Arc::new(Self { name, says: Mutex::new(says), asked: AtomicUsize::new(0) })
        }
    }

    impl Credential for Scripted {
        fn name(&self) -> &str {
            self.name
        }
        fn token<'a>(&'a self, _: TokenRequest<'a>) -> BoxFuture<'a, Result<Token, CredentialError>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let result = match *self.says.lock().unwrap() {
                Ok(token) => Ok(Token::new(token.into(), denizen_wire::UnixTime(i64::MAX))),
                Err(true) => Err(Unavailable::new(self.name, "not here").into()),
                Err(false) => Err(Failed::new(self.name, FailureKind::WrongIdentity, "broken").into()),
            };
            Box::pin(std::future::ready(result))
        }
    }

    async fn get(chain: &ChainedTokenCredential) -> Result<String, CredentialError> {
        chain.token(TokenRequest::new(&["s"])).await.map(|t| t.secret().to_owned())
    }

    #[tokio::test]
    async fn unavailable_goes_on_and_failed_stops() {
        let (a, b, c) = (Scripted::new("A", Err(true)), Scripted::new("B", Err(false)), Scripted::new("C", Ok("c")));
        let chain = ChainedTokenCredential::builder().link(a.clone()).link(b.clone()).link(c.clone()).build().unwrap();
        let Err(CredentialError::Chain(error)) = get(&chain).await else { panic!("a failed link must stop the chain") };
        assert_eq!((error.attempts.len(), error.not_tried), (2, vec!["C".to_owned()]));
        assert_eq!(c.asked.load(Ordering::Relaxed), 0);
        *b.says.lock().unwrap() = Err(true);
        assert_eq!(get(&chain).await.unwrap(), "c");
        assert_eq!(chain.last_successful(), Some("C"));
    }

    #[tokio::test]
    async fn the_link_that_worked_is_kept_even_when_it_stops_working() {
        let (a, b) = (Scripted::new("A", Err(true)), Scripted::new("B", Ok("b")));
        let chain = ChainedTokenCredential::builder().link(a.clone()).link(b.clone()).build().unwrap();
        get(&chain).await.unwrap();
        *a.says.lock().unwrap() = Ok("a");
        *b.says.lock().unwrap() = Err(true);
        assert!(get(&chain).await.is_err(), "it must not turn into another identity");
        assert_eq!(a.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn with_retry_sources_the_first_link_is_asked_each_time() {
        let (a, b) = (Scripted::new("A", Err(true)), Scripted::new("B", Ok("b")));
        let builder = ChainedTokenCredential::builder().link(a.clone()).link(b.clone());
        let chain = builder.retry_sources(true).build().unwrap();
        get(&chain).await.unwrap();
        *a.says.lock().unwrap() = Ok("a");
        assert_eq!(get(&chain).await.unwrap(), "a");
    }

    #[tokio::test]
    async fn a_chain_of_unavailable_links_is_unavailable_and_can_be_a_link() {
        let inner = ChainedTokenCredential::builder().link(Scripted::new("A", Err(true))).build().unwrap();
        let outer = ChainedTokenCredential::builder().link(inner).link(Scripted::new("B", Ok("b"))).build().unwrap();
        assert_eq!(get(&outer).await.unwrap(), "b");
        assert!(ChainedTokenCredential::builder().build().is_err());
    }
}
