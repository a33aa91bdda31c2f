//! An application with a secret.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

use super::{BoxFuture, cached_credential, tenant_setters};
use crate::{
    cache::{Cached, Fetch},
    context::CredentialContext,
    entra::{TenantOptions, TokenEndpoint},
    error::{CredentialError, Failed},
    token::{Ask, Token},
};

const NAME: &str = "ClientSecretCredential";

/// An application that proves itself with a secret.
pub struct ClientSecretCredential(Cached<WithSecret>);

cached_credential!(ClientSecretCredential);

/// Makes a [`ClientSecretCredential`].
pub struct ClientSecretCredentialBuilder {
    tenant_id: String,
    client_id: String,
    secret: Zeroizing<String>,
    options: TenantOptions,
    context: Option<CredentialContext>,
}

/// What a [`ClientSecretCredential`] may be told besides what it needs.
#[cfg(feature = "azure_core")]
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ClientSecretCredentialOptions {
    /// The token service and the tenants a request may name.
    pub tenant: TenantOptions,
    /// Where it takes environment, clock, HTTP client and token cache from; the process if none is given.
    pub context: Option<CredentialContext>,
}

impl ClientSecretCredential {
    /// Client `client_id` of tenant `tenant_id`, by `secret`.
    #[cfg(feature = "azure_core")]
    #[expect(clippy::needless_pass_by_value, reason = "the official crates' constructors take the secret itself")]
    pub fn new(
        tenant_id: &str,
        client_id: impl Into<String>,
        secret: azure_core::credentials::Secret,
        options: Option<ClientSecretCredentialOptions>,
    ) -> azure_core::Result<Arc<Self>> {
        let options = options.unwrap_or_default();
        let builder = Self::builder(tenant_id, client_id, secret.secret());
        Ok(builder.tenant_options(options.tenant, options.context).build()?)
    }

    /// With options.
    pub fn builder(
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        secret: impl Into<String>,
    ) -> ClientSecretCredentialBuilder {
        ClientSecretCredentialBuilder {
            tenant_id: tenant_id.into(),
            client_id: client_id.into(),
            secret: Zeroizing::new(secret.into()),
            options: TenantOptions::default(),
            context: None,
        }
    }
}

impl ClientSecretCredentialBuilder {
    tenant_setters!();

    /// Fails on an empty secret, and on ids that are none.
    pub fn build(self) -> Result<Arc<ClientSecretCredential>, CredentialError> {
        let context = self.context.unwrap_or_default();
        if self.secret.is_empty() {
            return Err(Failed::configuration(NAME, "the secret is empty").into());
        }
        let endpoint = TokenEndpoint::new(NAME, &self.tenant_id, &self.client_id, &self.options, &context)?;
        let identity = endpoint.identity_by(&self.secret);
        let clock = endpoint.clock.clone();
        let fetch = WithSecret { endpoint, secret: self.secret };
        Ok(Arc::new(ClientSecretCredential(Cached::new(fetch, &identity, &context.cache, clock))))
    }
}

struct WithSecret {
    endpoint: TokenEndpoint,
    secret: Zeroizing<String>,
}

impl Fetch for WithSecret {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(async move {
            let grant = [("grant_type", "client_credentials"), ("client_secret", self.secret.as_str())];
            self.endpoint.token(ask, &grant).await
        })
    }
}

impl fmt::Debug for WithSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}
