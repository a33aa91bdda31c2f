//! Workload identity: a token another issuer put in a file (a Kubernetes service account's) is exchanged for ours.

use std::{fmt, path::PathBuf, sync::Arc};

use denizen_wire::oauth::JWT_BEARER;
use zeroize::Zeroizing;

use super::{BoxFuture, cached_credential, tenant_setters};
use crate::{
    cache::{Cached, Fetch},
    context::CredentialContext,
    entra::{TenantOptions, TokenEndpoint},
    error::{CredentialError, Failed, FailureKind, Unavailable},
    file,
    token::{Ask, Token},
};

const NAME: &str = "WorkloadIdentityCredential";
/// A token file larger than this is not one, bytes.
const MAX_FILE: u64 = 64 * 1024;

/// A federated token in a file, exchanged for an access token. From `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
/// `AZURE_FEDERATED_TOKEN_FILE` unless the builder is told otherwise.
pub struct WorkloadIdentityCredential(Cached<Exchange>);

cached_credential!(WorkloadIdentityCredential);

/// Makes a [`WorkloadIdentityCredential`].
#[derive(Debug, Default)]
pub struct WorkloadIdentityCredentialBuilder {
    tenant_id: Option<String>,
    client_id: Option<String>,
    token_file: Option<PathBuf>,
    options: TenantOptions,
    context: Option<CredentialContext>,
}

/// What a [`WorkloadIdentityCredential`] may be told besides what it needs.
#[cfg(feature = "azure_core")]
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct WorkloadIdentityCredentialOptions {
    /// The tenant, instead of `AZURE_TENANT_ID`.
    pub tenant_id: Option<String>,
    /// The identity, instead of `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// The file, instead of `AZURE_FEDERATED_TOKEN_FILE`.
    pub token_file_path: Option<PathBuf>,
    /// The token service and the tenants a request may name.
    pub tenant: TenantOptions,
    /// Where it takes environment, clock, HTTP client and token cache from; the process if none is given.
    pub context: Option<CredentialContext>,
}

impl WorkloadIdentityCredential {
    /// From the environment, and from the options before it.
    #[cfg(feature = "azure_core")]
    pub fn new(options: Option<WorkloadIdentityCredentialOptions>) -> azure_core::Result<Arc<Self>> {
        let options = options.unwrap_or_default();
        let builder = WorkloadIdentityCredentialBuilder {
            tenant_id: options.tenant_id,
            client_id: options.client_id,
            token_file: options.token_file_path,
            options: options.tenant,
            context: options.context,
        };
        Ok(builder.build()?)
    }

    /// With options.
    pub fn builder() -> WorkloadIdentityCredentialBuilder {
        WorkloadIdentityCredentialBuilder::default()
    }
}

impl WorkloadIdentityCredentialBuilder {
    tenant_setters!();

    /// The tenant, instead of `AZURE_TENANT_ID`.
    #[must_use]
    pub fn tenant_id(mut self, id: impl Into<String>) -> Self {
        self.tenant_id = Some(id.into());
        self
    }

    /// The identity, instead of `AZURE_CLIENT_ID`.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// The file, instead of `AZURE_FEDERATED_TOKEN_FILE`.
    #[must_use]
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// Unavailable unless tenant, client and file are known.
    pub fn build(self) -> Result<Arc<WorkloadIdentityCredential>, CredentialError> {
        let context = self.context.unwrap_or_default();
        let environment = context.environment();
        let of = |given: Option<String>, name| given.or_else(|| environment.get(name).map(str::to_owned));
        let file = self.token_file.map(|path| path.to_string_lossy().into_owned());
        let (tenant, client, file) = (
            of(self.tenant_id, "AZURE_TENANT_ID"),
            of(self.client_id, "AZURE_CLIENT_ID"),
            of(file, "AZURE_FEDERATED_TOKEN_FILE"),
        );
        let missing: Vec<&str> = [
            ("AZURE_TENANT_ID", tenant.is_none()),
            ("AZURE_CLIENT_ID", client.is_none()),
            ("AZURE_FEDERATED_TOKEN_FILE", file.is_none()),
        ]
        .into_iter()
        .filter_map(|(name, missing)| missing.then_some(name))
        .collect();
        let (Some(tenant), Some(client), Some(file)) = (tenant, client, file) else {
            return Err(Unavailable::new(NAME, format!("{} not set", missing.join(", ")))
                .with_remedy("run in a pod whose service account is federated (label azure.workload.identity/use)")
                .into());
        };
        let endpoint = TokenEndpoint::new(NAME, &tenant, &client, &self.options, &context)?;
        let identity = endpoint.identity();
        let clock = endpoint.clock.clone();
        let exchange = Exchange { endpoint, file: file.into() };
        Ok(Arc::new(WorkloadIdentityCredential(Cached::new(exchange, &identity, &context.cache, clock))))
    }
}

/// The exchange itself; a managed identity can be one too.
pub(super) struct Exchange {
    pub(super) endpoint: TokenEndpoint,
    pub(super) file: PathBuf,
}

impl Exchange {
    pub(super) async fn token(&self, ask: &Ask) -> Result<Token, CredentialError> {
        let assertion = self.assertion().await?;
        let grant = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", assertion.as_str()),
        ];
        self.endpoint.token(ask, &grant).await
    }

    /// Read anew each time, since it is rewritten while we run; the tokens got for it are cached anyway.
    async fn assertion(&self) -> Result<Zeroizing<String>, CredentialError> {
        let fail = |why: String| {
            Failed::new(NAME, FailureKind::Configuration, format!("the token file {}: {why}", self.file.display()))
                .with_remedy("check AZURE_FEDERATED_TOKEN_FILE and the volume mounted there")
        };
        let path = self.file.clone();
        let read = tokio::task::spawn_blocking(move || file::read(&path, MAX_FILE)).await;
        let bytes = read.map_err(|e| fail(e.to_string()))?.map_err(|e| fail(e.to_string()))?;
        // A newline at the end would be sent along, and the assertion be refused.
        match std::str::from_utf8(&bytes).map(str::trim) {
            Err(_) => Err(fail("it is not UTF-8".into()).into()),
            Ok("") => Err(fail("it is empty".into()).into()),
            Ok(token) => Ok(Zeroizing::new(token.to_owned())),
        }
    }
}

impl Fetch for Exchange {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(self.token(ask))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {}", self.endpoint, self.file.display())
    }
}
