//! A user's name and password. Kept for [`EnvironmentCredential`](super::EnvironmentCredential) and for what still
//! uses it: it cannot do multi-factor authentication, and Entra means to end it.

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

const NAME: &str = "UsernamePasswordCredential";

/// A user, through an application, by name and password.
pub struct UsernamePasswordCredential(Cached<WithPassword>);

cached_credential!(UsernamePasswordCredential);

/// Makes a [`UsernamePasswordCredential`].
pub struct UsernamePasswordCredentialBuilder {
    tenant_id: String,
    client_id: String,
    username: String,
    password: Zeroizing<String>,
    options: TenantOptions,
    context: Option<CredentialContext>,
}

impl UsernamePasswordCredential {
    /// With options.
    pub fn builder(
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        username: impl Into<String>,
        password: impl Into<String>,
    ) -> UsernamePasswordCredentialBuilder {
        UsernamePasswordCredentialBuilder {
            tenant_id: tenant_id.into(),
            client_id: client_id.into(),
            username: username.into(),
            password: Zeroizing::new(password.into()),
            options: TenantOptions::default(),
            context: None,
        }
    }
}

impl UsernamePasswordCredentialBuilder {
    tenant_setters!();

    /// Fails on an empty name or password, and on ids that are none.
    pub fn build(self) -> Result<Arc<UsernamePasswordCredential>, CredentialError> {
        let context = self.context.unwrap_or_default();
        if self.username.is_empty() || self.password.is_empty() {
            return Err(Failed::configuration(NAME, "the user name or the password is empty").into());
        }
        let endpoint = TokenEndpoint::new(NAME, &self.tenant_id, &self.client_id, &self.options, &context)?;
        let identity = format!("{} {}", endpoint.identity_by(&self.password), self.username);
        let clock = endpoint.clock.clone();
        let fetch = WithPassword { endpoint, username: self.username, password: self.password };
        Ok(Arc::new(UsernamePasswordCredential(Cached::new(fetch, &identity, &context.cache, clock))))
    }
}

struct WithPassword {
    endpoint: TokenEndpoint,
    username: String,
    password: Zeroizing<String>,
}

impl Fetch for WithPassword {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(async move {
            let grant =
                [("grant_type", "password"), ("username", self.username.as_str()), ("password", &self.password)];
            self.endpoint.token(ask, &grant).await
        })
    }
}

impl fmt::Debug for WithPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:?}", self.username, self.endpoint)
    }
}
