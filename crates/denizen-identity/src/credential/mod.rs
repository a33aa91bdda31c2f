//! The credentials. Each file is one way of proving who a program is; all of them are [`Credential`]s, and with the
//! feature `azure_core` the official clients' `TokenCredential` too.

mod chained;
mod client_assertion;
#[cfg(feature = "certificate")]
mod client_certificate;
mod client_secret;
mod default;
#[cfg(feature = "developer")]
pub(crate) mod developer;
mod environment;
mod managed_identity;
mod pipelines;
mod username_password;
mod workload_identity;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

#[cfg(all(feature = "azure_core", feature = "certificate"))]
pub use self::client_certificate::ClientCertificateCredentialOptions;
#[cfg(feature = "certificate")]
pub use self::client_certificate::{ClientCertificateCredential, ClientCertificateCredentialBuilder};
#[cfg(feature = "developer")]
pub use self::developer::{AzureCliCredential, AzureDeveloperCliCredential};
pub use self::{
    chained::{ChainedTokenCredential, ChainedTokenCredentialBuilder},
    client_assertion::{Assertion, ClientAssertionCredential, ClientAssertionCredentialBuilder},
    client_secret::{ClientSecretCredential, ClientSecretCredentialBuilder},
    default::{DefaultAzureCredential, DefaultAzureCredentialBuilder, Link},
    environment::{EnvironmentCredential, EnvironmentCredentialBuilder},
    managed_identity::{ManagedIdentityCredential, ManagedIdentityCredentialBuilder},
    pipelines::{AzurePipelinesCredential, AzurePipelinesCredentialBuilder},
    username_password::{UsernamePasswordCredential, UsernamePasswordCredentialBuilder},
    workload_identity::{WorkloadIdentityCredential, WorkloadIdentityCredentialBuilder},
};
#[cfg(feature = "azure_core")]
pub use self::{
    client_assertion::ClientAssertionCredentialOptions, client_secret::ClientSecretCredentialOptions,
    managed_identity::ManagedIdentityCredentialOptions, pipelines::AzurePipelinesCredentialOptions,
    workload_identity::WorkloadIdentityCredentialOptions,
};
pub use crate::entra::TenantOptions;
use crate::{
    error::CredentialError,
    token::{Token, TokenRequest},
};

/// A future that owns nothing but what it was called with.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Anything that gives tokens.
pub trait Credential: Send + Sync + fmt::Debug {
    /// What people know it by, `ManagedIdentityCredential` for one.
    fn name(&self) -> &str;

    /// A token for the scopes asked for. The error says whether a chain may go on.
    fn token<'a>(&'a self, request: TokenRequest<'a>) -> BoxFuture<'a, Result<Token, CredentialError>>;

    /// A token that is at hand, without waiting for anything.
    fn cached(&self, request: &TokenRequest<'_>) -> Option<Token> {
        let _ = request;
        None
    }
}

/// A credential that could not be made: it answers with the reason, which a chain takes for what it is. Configured and
/// broken is a failure, and a chain stops; only what is not configured here lets it go on.
#[derive(Debug)]
pub(crate) struct Unusable {
    name: &'static str,
    why: CredentialError,
}

impl Unusable {
    pub(crate) fn because(name: &'static str, why: impl Into<CredentialError>) -> Arc<dyn Credential> {
        Arc::new(Self { name, why: why.into().named(name) })
    }
}

impl Credential for Unusable {
    fn name(&self) -> &str {
        self.name
    }

    fn token<'a>(&'a self, _: TokenRequest<'a>) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(std::future::ready(Err(self.why.clone())))
    }
}

/// `Credential` for a type around a [`Cached`](crate::cache::Cached) fetch, and `TokenCredential` by it.
macro_rules! cached_credential {
    ($credential:ident) => {
        impl $crate::credential::Credential for $credential {
            fn name(&self) -> &str {
                stringify!($credential)
            }

            fn token<'a>(
                &'a self,
                request: $crate::token::TokenRequest<'a>,
            ) -> $crate::credential::BoxFuture<'a, Result<$crate::token::Token, $crate::error::CredentialError>> {
                Box::pin(self.0.token(request))
            }

            fn cached(&self, request: &$crate::token::TokenRequest<'_>) -> Option<$crate::token::Token> {
                self.0.cached(request)
            }
        }

        impl std::fmt::Debug for $credential {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($credential), "({:?})"), self.0.fetch)
            }
        }

        $crate::credential::token_credential!($credential);
    };
}

/// The official trait, by ours.
macro_rules! token_credential {
    ($credential:ident) => {
        #[cfg(feature = "azure_core")]
        #[async_trait::async_trait]
        impl azure_core::credentials::TokenCredential for $credential {
            async fn get_token(
                &self,
                scopes: &[&str],
                options: Option<azure_core::credentials::TokenRequestOptions<'_>>,
            ) -> azure_core::Result<azure_core::credentials::AccessToken> {
                $crate::azure::get_token(self, scopes, options.as_ref()).await
            }
        }
    };
}

/// The builder's setters that credentials of a tenant have in common.
macro_rules! tenant_setters {
    () => {
        /// The token service, `https://login.microsoftonline.com` unless `AZURE_AUTHORITY_HOST` says otherwise.
        #[must_use]
        pub fn authority_host(mut self, host: impl Into<String>) -> Self {
            self.options.authority_host = Some(host.into());
            self
        }

        /// Tenants a request may name besides the credential's own; `*` is any.
        #[must_use]
        pub fn additionally_allowed_tenants<T: Into<String>>(mut self, tenants: impl IntoIterator<Item = T>) -> Self {
            self.options.additionally_allowed_tenants.extend(tenants.into_iter().map(Into::into));
            self
        }

        /// Where it takes environment, clock, HTTP client and token cache from, instead of the process.
        #[must_use]
        pub fn context(mut self, context: $crate::CredentialContext) -> Self {
            self.context = Some(context);
            self
        }

        /// Takes what the options of the official form of constructor say of the tenant.
        #[cfg(feature = "azure_core")]
        #[allow(dead_code, reason = "some credentials have a builder only")]
        fn tenant_options(
            mut self,
            tenant: $crate::credential::TenantOptions,
            context: Option<$crate::CredentialContext>,
        ) -> Self {
            self.options = tenant;
            self.context = context;
            self
        }
    };
}

pub(crate) use {cached_credential, tenant_setters, token_credential};
