//! An application with an assertion somebody else made: any federated token.

use std::{fmt, future::Future, sync::Arc};

use denizen_wire::oauth::JWT_BEARER;
use zeroize::Zeroizing;

use super::{BoxFuture, cached_credential, tenant_setters};
use crate::{
    cache::{Cached, Fetch},
    context::CredentialContext,
    entra::{TenantOptions, TokenEndpoint},
    error::CredentialError,
    token::{Ask, Token},
};

/// Gives an assertion, a new one each time it is asked: it is asked only when a token is fetched.
pub type Assertion = Arc<dyn Fn() -> BoxFuture<'static, Result<String, CredentialError>> + Send + Sync>;

/// An application that proves itself with an assertion it is given.
pub struct ClientAssertionCredential(Cached<WithAssertion>);

cached_credential!(ClientAssertionCredential);

/// Makes a [`ClientAssertionCredential`].
pub struct ClientAssertionCredentialBuilder {
    name: &'static str,
    tenant_id: String,
    client_id: String,
    assertion: Assertion,
    options: TenantOptions,
    context: Option<CredentialContext>,
}

/// What a [`ClientAssertionCredential`] may be told besides what it needs.
#[cfg(feature = "azure_core")]
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ClientAssertionCredentialOptions {
    /// The token service and the tenants a request may name.
    pub tenant: TenantOptions,
    /// Where it takes environment, clock, HTTP client and token cache from; the process if none is given.
    pub context: Option<CredentialContext>,
}

impl ClientAssertionCredential {
    /// Client `client_id` of tenant `tenant_id`, by what `assertion` gives.
    #[cfg(feature = "azure_core")]
    pub fn new<F, R>(
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        assertion: F,
        options: Option<ClientAssertionCredentialOptions>,
    ) -> azure_core::Result<Arc<Self>>
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, CredentialError>> + Send + 'static,
    {
        let options = options.unwrap_or_default();
        let builder = Self::builder(tenant_id, client_id, assertion);
        Ok(builder.tenant_options(options.tenant, options.context).build()?)
    }

    /// With options.
    pub fn builder<F, R>(
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        assertion: F,
    ) -> ClientAssertionCredentialBuilder
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, CredentialError>> + Send + 'static,
    {
        ClientAssertionCredentialBuilder {
            name: "ClientAssertionCredential",
            tenant_id: tenant_id.into(),
            client_id: client_id.into(),
            assertion: Arc::new(move || Box::pin(assertion())),
            options: TenantOptions::default(),
            context: None,
        }
    }
}

impl ClientAssertionCredentialBuilder {
    tenant_setters!();

    /// In the name of the credential that is made of this one.
    pub(super) fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Fails on ids that are none.
    pub fn build(self) -> Result<Arc<ClientAssertionCredential>, CredentialError> {
        let context = self.context.unwrap_or_default();
        let endpoint = TokenEndpoint::new(self.name, &self.tenant_id, &self.client_id, &self.options, &context)?;
        let identity = endpoint.identity();
        let clock = endpoint.clock.clone();
        let fetch = WithAssertion { name: self.name, endpoint, assertion: self.assertion };
        Ok(Arc::new(ClientAssertionCredential(Cached::new(fetch, &identity, &context.cache, clock))))
    }
}

struct WithAssertion {
    name: &'static str,
    endpoint: TokenEndpoint,
    assertion: Assertion,
}

impl Fetch for WithAssertion {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(async move {
            let assertion = Zeroizing::new((self.assertion)().await?);
            let grant = [
                ("grant_type", "client_credentials"),
                ("client_assertion_type", JWT_BEARER),
                ("client_assertion", assertion.as_str()),
            ];
            self.endpoint.token(ask, &grant).await
        })
    }
}

impl fmt::Debug for WithAssertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}
