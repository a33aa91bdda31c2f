//! An application (or a user) named by environment variables: the first that is complete of a secret, a certificate,
//! a user name with its password.

use std::{fmt, sync::Arc};

use super::{
    BoxFuture, ClientSecretCredential, Credential, UsernamePasswordCredential, tenant_setters, token_credential,
};
use crate::{
    context::CredentialContext,
    entra::TenantOptions,
    error::{CredentialError, Unavailable},
    token::{Token, TokenRequest},
};

const NAME: &str = "EnvironmentCredential";

/// Who `AZURE_TENANT_ID` and `AZURE_CLIENT_ID` name, by `AZURE_CLIENT_SECRET`, or `AZURE_CLIENT_CERTIFICATE_PATH`
/// (with `_PASSWORD`, and `AZURE_CLIENT_SEND_CERTIFICATE_CHAIN`), or `AZURE_USERNAME` and `AZURE_PASSWORD`.
pub struct EnvironmentCredential(Result<Arc<dyn Credential>, Unavailable>);

/// Makes an [`EnvironmentCredential`].
#[derive(Debug, Default)]
pub struct EnvironmentCredentialBuilder {
    options: TenantOptions,
    context: Option<CredentialContext>,
}

impl EnvironmentCredential {
    /// From the process's environment.
    #[cfg(feature = "azure_core")]
    pub fn new() -> azure_core::Result<Arc<Self>> {
        Ok(Self::builder().build()?)
    }

    /// With options.
    pub fn builder() -> EnvironmentCredentialBuilder {
        EnvironmentCredentialBuilder::default()
    }
}

impl EnvironmentCredentialBuilder {
    tenant_setters!();

    /// Fails when the variables are complete and make no credential; that they are not complete is said when a token
    /// is asked for.
    pub fn build(self) -> Result<Arc<EnvironmentCredential>, CredentialError> {
        let context = self.context.unwrap_or_default();
        let environment = Arc::clone(&context.environment);
        let get = |name| environment.get(name);
        let incomplete = |missing: &str| {
            Unavailable::new(NAME, format!("{missing} not set")).with_remedy(
                "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (or AZURE_CLIENT_CERTIFICATE_PATH)",
            )
        };
        macro_rules! made {
            ($builder:expr) => {{
                let mut builder =
                    $builder.additionally_allowed_tenants(self.options.additionally_allowed_tenants).context(context);
                if let Some(host) = self.options.authority_host {
                    builder = builder.authority_host(host);
                }
                Ok(builder.build().map_err(|e| e.named(NAME))? as Arc<dyn Credential>)
            }};
        }
        let user = (get("AZURE_USERNAME"), get("AZURE_PASSWORD"));
        let inner = match (get("AZURE_TENANT_ID"), get("AZURE_CLIENT_ID"), user) {
            (Some(tenant), Some(client), _) if get("AZURE_CLIENT_SECRET").is_some() => {
                made!(ClientSecretCredential::builder(tenant, client, get("AZURE_CLIENT_SECRET").unwrap_or_default()))
            }
            (Some(tenant), Some(client), _) if get("AZURE_CLIENT_CERTIFICATE_PATH").is_some() => {
                #[cfg(feature = "certificate")]
                {
                    let path = get("AZURE_CLIENT_CERTIFICATE_PATH").unwrap_or_default();
                    let chain = get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN");
                    let chain = chain.is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"));
                    let mut builder = super::ClientCertificateCredential::from_file(tenant, client, path)
                        .map_err(|e| e.named(NAME))?
                        .send_certificate_chain(chain);
                    if let Some(password) = get("AZURE_CLIENT_CERTIFICATE_PASSWORD") {
                        builder = builder.password(password);
                    }
                    made!(builder)
                }
                #[cfg(not(feature = "certificate"))]
                {
                    let _ = (tenant, client);
                    Err(Unavailable::new(
                        NAME,
                        "AZURE_CLIENT_CERTIFICATE_PATH is set, and certificates are not built in",
                    )
                    .with_remedy("build denizen-identity with the feature `certificate`"))
                }
            }
            (tenant, Some(client), (Some(username), Some(password))) => made!(UsernamePasswordCredential::builder(
                tenant.unwrap_or("organizations"),
                client,
                username,
                password
            )),
            (Some(_), Some(_), _) => {
                Err(incomplete("AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH or AZURE_USERNAME"))
            }
            (tenant, client, _) => {
                let names = [("AZURE_TENANT_ID", tenant.is_none()), ("AZURE_CLIENT_ID", client.is_none())];
                let missing: Vec<_> = names.into_iter().filter_map(|(name, gone)| gone.then_some(name)).collect();
                Err(incomplete(&missing.join(", ")))
            }
        };
        Ok(Arc::new(EnvironmentCredential(inner)))
    }
}

impl Credential for EnvironmentCredential {
    fn name(&self) -> &str {
        NAME
    }

    fn token<'a>(&'a self, request: TokenRequest<'a>) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(async move {
            match &self.0 {
                Ok(inner) => inner.token(request).await.map_err(|e| e.named(NAME)),
                Err(why) => Err(why.clone().into()),
            }
        })
    }

    fn cached(&self, request: &TokenRequest<'_>) -> Option<Token> {
        self.0.as_ref().ok()?.cached(request)
    }
}

impl fmt::Debug for EnvironmentCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(inner) => f.debug_tuple(NAME).field(inner).finish(),
            Err(why) => f.debug_tuple(NAME).field(&why.reason).finish(),
        }
    }
}

token_credential!(EnvironmentCredential);
