//! Everything a credential takes from outside, in one value: environment, clock, HTTP client, token cache. Tests make
//! their own and run in parallel; programs take [`CredentialContext::of_process`].

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use denizen_wire::{
    Clock,
    identity::{ARC_KEY_DIRECTORY, AZCMAGENT_MARKER},
};

use crate::{
    cache::TokenCache,
    environment::Environment,
    error::{CredentialError, Failed},
    http::Client,
    proxy::{self, ProxyError},
};

/// What a credential takes from outside. Clones share connections and tokens.
#[derive(Clone)]
pub struct CredentialContext {
    pub(crate) environment: Arc<Environment>,
    pub(crate) clock: Clock,
    pub(crate) cache: Arc<TokenCache>,
    pub(crate) key_directory: PathBuf,
    /// Whether Microsoft's own agent is installed here.
    pub(crate) azcmagent: bool,
    http: Arc<OnceLock<Client>>,
    service_http: Arc<OnceLock<Client>>,
}

impl CredentialContext {
    /// This process's own.
    pub fn of_process() -> Self {
        Self { azcmagent: Path::new(AZCMAGENT_MARKER).exists(), ..Self::of(Environment::of_process()) }
    }

    /// This environment and nothing else of the process: no marker file is looked for.
    pub fn of(environment: Environment) -> Self {
        Self {
            environment: Arc::new(environment),
            clock: Clock::system(),
            cache: Arc::default(),
            key_directory: ARC_KEY_DIRECTORY.into(),
            azcmagent: false,
            http: Arc::default(),
            service_http: Arc::default(),
        }
    }

    /// With this clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// With this HTTP client, for example one that trusts other root certificates. It is used for the token service as
    /// well, through the environment's proxy.
    #[must_use]
    pub fn with_http(self, client: Client) -> Self {
        Self { http: Arc::new(OnceLock::from(client)), service_http: Arc::default(), ..self }
    }

    /// With this token cache, shared with whoever else was given it.
    #[must_use]
    pub fn with_cache(self, cache: Arc<TokenCache>) -> Self {
        Self { cache, ..self }
    }

    /// With Arc key files in `directory` and no other: for tests, and agents in a sandbox. Whoever can write there
    /// can choose what this process sends to the endpoint.
    #[must_use]
    pub fn with_key_directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { key_directory: directory.into(), ..self }
    }

    /// The same with these variables set, or unset where the value is `None`; connections and tokens are shared.
    pub(crate) fn overlaid(&self, pairs: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        Self { environment: Arc::new(self.environment.overlaid(pairs)), ..self.clone() }
    }

    /// The environment.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The client for the token service, which may be behind the environment's proxy.
    pub(crate) fn service_http(&self, credential: &'static str) -> Result<Client, CredentialError> {
        if let Some(client) = self.service_http.get() {
            return Ok(client.clone());
        }
        let proxy = proxy::from_environment(&self.environment)
            .map_err(|e| Failed::configuration(credential, e.to_string()).with_remedy(ProxyError::HINT))?;
        let direct = self.http(credential)?;
        let client = proxy.map_or_else(|| direct.clone(), |proxy| direct.through(proxy));
        Ok(self.service_http.get_or_init(|| client).clone())
    }

    /// The client for identity endpoints: never through a proxy, which would see their keys.
    pub(crate) fn http(&self, credential: &'static str) -> Result<Client, CredentialError> {
        if let Some(client) = self.http.get() {
            return Ok(client.clone());
        }
        let client = Client::new(&self.environment).map_err(|e| {
            Failed::configuration(credential, e.to_string())
                .with_remedy("point SSL_CERT_FILE at a PEM file, or unset it")
        })?;
        Ok(self.http.get_or_init(|| client).clone())
    }
}

impl Default for CredentialContext {
    fn default() -> Self {
        Self::of_process()
    }
}

impl fmt::Debug for CredentialContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialContext").field("environment", &self.environment).finish_non_exhaustive()
    }
}
