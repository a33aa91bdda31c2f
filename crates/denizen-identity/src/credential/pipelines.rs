//! A job of Azure Pipelines: the service connection's own token is the assertion.

use std::{fmt, sync::Arc};

use http::{Method, StatusCode};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{BoxFuture, ClientAssertionCredential, Credential, tenant_setters, token_credential};
use crate::{
    context::CredentialContext,
    endpoint::Query,
    entra::TenantOptions,
    error::{CredentialError, Failed, FailureKind, Unavailable},
    token::{Token, TokenRequest},
};

const NAME: &str = "AzurePipelinesCredential";
/// Set by the agent that runs the job.
const OIDC_URI: &str = "SYSTEM_OIDCREQUESTURI";
const VERSION: &str = "7.1";

/// The identity of a service connection, inside a job of Azure Pipelines.
pub struct AzurePipelinesCredential(Arc<ClientAssertionCredential>);

/// Makes an [`AzurePipelinesCredential`].
pub struct AzurePipelinesCredentialBuilder {
    tenant_id: String,
    client_id: String,
    service_connection_id: String,
    system_access_token: Zeroizing<String>,
    options: TenantOptions,
    context: Option<CredentialContext>,
}

/// What a [`AzurePipelinesCredential`] may be told besides what it needs.
#[cfg(feature = "azure_core")]
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct AzurePipelinesCredentialOptions {
    /// The token service and the tenants a request may name.
    pub tenant: TenantOptions,
    /// Where it takes environment, clock, HTTP client and token cache from; the process if none is given.
    pub context: Option<CredentialContext>,
}

impl AzurePipelinesCredential {
    /// The identity of a service connection. `system_access_token` is the job's `$(System.AccessToken)`.
    #[cfg(feature = "azure_core")]
    pub fn new(
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        service_connection_id: &str,
        system_access_token: impl Into<azure_core::credentials::Secret>,
        options: Option<AzurePipelinesCredentialOptions>,
    ) -> azure_core::Result<Arc<Self>> {
        let options = options.unwrap_or_default();
        let token = system_access_token.into();
        let builder = Self::builder(tenant_id, client_id, service_connection_id, token.secret());
        Ok(builder.tenant_options(options.tenant, options.context).build()?)
    }

    /// With options. `system_access_token` is the job's `$(System.AccessToken)`.
    pub fn builder(
        tenant_id: impl Into<String>,
        client_id: impl Into<String>,
        service_connection_id: impl Into<String>,
        system_access_token: impl Into<String>,
    ) -> AzurePipelinesCredentialBuilder {
        AzurePipelinesCredentialBuilder {
            tenant_id: tenant_id.into(),
            client_id: client_id.into(),
            service_connection_id: service_connection_id.into(),
            system_access_token: Zeroizing::new(system_access_token.into()),
            options: TenantOptions::default(),
            context: None,
        }
    }
}

impl AzurePipelinesCredentialBuilder {
    tenant_setters!();

    /// Unavailable outside a job.
    pub fn build(self) -> Result<Arc<AzurePipelinesCredential>, CredentialError> {
        let context = self.context.unwrap_or_default();
        let Some(endpoint) = context.environment().get(OIDC_URI) else {
            return Err(Unavailable::new(NAME, format!("{OIDC_URI} is not set"))
                .with_remedy("run in a job of Azure Pipelines")
                .into());
        };
        if self.service_connection_id.is_empty() || self.system_access_token.is_empty() {
            return Err(Failed::configuration(NAME, "the service connection id or the system access token is empty")
                .with_remedy("map it into the job: SYSTEM_ACCESSTOKEN: $(System.AccessToken)")
                .into());
        }
        let connection = Query::encode(&self.service_connection_id);
        let endpoint = endpoint.trim_end_matches('/');
        let url: Arc<str> = format!("{endpoint}?api-version={VERSION}&serviceConnectionId={connection}").into();
        let bearer = Arc::new(Zeroizing::new(format!("Bearer {}", self.system_access_token.as_str())));
        // The pipeline's own service is on the internet like the token service.
        let http = context.service_http(NAME)?;
        let assertion = move || {
            let (http, url, bearer) = (http.clone(), Arc::clone(&url), Arc::clone(&bearer));
            async move {
                let fail = |kind, why: String| {
                    Failed::new(NAME, kind, format!("the pipeline gave no assertion: {why}"))
                        .with_remedy("check the service connection id and that the connection is federated")
                };
                let headers = [("Authorization", bearer.as_str()), ("X-TFS-FedAuthRedirect", "Suppress")];
                let answer = http.send(Method::POST, &url, &headers, Some(Vec::new())).await;
                let answer = answer.map_err(|e| {
                    fail(FailureKind::NoAnswer, e.to_string()).with_remedy("take SYSTEM_OIDCREQUESTURI from this job")
                })?;
                if answer.status() != StatusCode::OK {
                    let kind = FailureKind::Refused { status: answer.status().as_u16(), code: None };
                    let failed = fail(kind, answer.status().to_string());
                    return Err(match answer.status() {
                        StatusCode::UNAUTHORIZED => {
                            failed.with_remedy("give it this job's own $(System.AccessToken)").into()
                        }
                        _ => failed.into(),
                    });
                }
                let body: Oidc = serde_json::from_slice(answer.body())
                    .map_err(|_| fail(FailureKind::MalformedAnswer, "there is no oidcToken in its answer".into()))?;
                Ok(body.token)
            }
        };
        let mut inner = ClientAssertionCredential::builder(self.tenant_id, self.client_id, assertion)
            .named(NAME)
            .additionally_allowed_tenants(self.options.additionally_allowed_tenants)
            .context(context);
        if let Some(host) = self.options.authority_host {
            inner = inner.authority_host(host);
        }
        Ok(Arc::new(AzurePipelinesCredential(inner.build()?)))
    }
}

#[derive(Deserialize)]
struct Oidc {
    #[serde(rename = "oidcToken")]
    token: String,
}

impl Credential for AzurePipelinesCredential {
    fn name(&self) -> &str {
        NAME
    }

    fn token<'a>(&'a self, request: TokenRequest<'a>) -> BoxFuture<'a, Result<Token, CredentialError>> {
        self.0.token(request)
    }

    fn cached(&self, request: &TokenRequest<'_>) -> Option<Token> {
        self.0.cached(request)
    }
}

impl fmt::Debug for AzurePipelinesCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(NAME).field(&self.0).finish()
    }
}

token_credential!(AzurePipelinesCredential);
