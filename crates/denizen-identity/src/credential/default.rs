//! The chain every Azure SDK has: environment, workload identity, managed identity, then the developer's tools.

use std::{fmt, sync::Arc};

use super::{
    BoxFuture, ChainedTokenCredential, Credential, EnvironmentCredential, ManagedIdentityCredential, Unusable,
    WorkloadIdentityCredential, token_credential,
};
use crate::{
    context::CredentialContext,
    endpoint::UserAssigned,
    entra::TenantOptions,
    error::{CredentialError, Failed},
    token::{Token, TokenRequest},
};

const NAME: &str = "DefaultAzureCredential";
/// Narrows the chain.
const SELECTION: &str = "AZURE_TOKEN_CREDENTIALS";

/// The first of these that is available: [`EnvironmentCredential`], [`WorkloadIdentityCredential`],
/// [`ManagedIdentityCredential`], Azure CLI, Azure Developer CLI. `AZURE_TOKEN_CREDENTIALS` narrows them: `prod` is
/// the first three, `dev` the others, and a name is that one alone.
pub struct DefaultAzureCredential(ChainedTokenCredential);

/// A link of the chain, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Link {
    /// [`EnvironmentCredential`].
    Environment,
    /// [`WorkloadIdentityCredential`].
    WorkloadIdentity,
    /// [`ManagedIdentityCredential`].
    ManagedIdentity,
    /// `az`.
    AzureCli,
    /// `azd`.
    AzureDeveloperCli,
}

impl Link {
    /// All, in the chain's order.
    pub const ALL: [Self; 5] =
        [Self::Environment, Self::WorkloadIdentity, Self::ManagedIdentity, Self::AzureCli, Self::AzureDeveloperCli];

    /// The name of its credential.
    pub fn name(self) -> &'static str {
        match self {
            Self::Environment => "EnvironmentCredential",
            Self::WorkloadIdentity => "WorkloadIdentityCredential",
            Self::ManagedIdentity => "ManagedIdentityCredential",
            Self::AzureCli => "AzureCliCredential",
            Self::AzureDeveloperCli => "AzureDeveloperCliCredential",
        }
    }

    fn is_for_production(self) -> bool {
        matches!(self, Self::Environment | Self::WorkloadIdentity | Self::ManagedIdentity)
    }
}

/// Makes a [`DefaultAzureCredential`].
#[derive(Debug, Default)]
pub struct DefaultAzureCredentialBuilder {
    excluded: Vec<Link>,
    require_selection: bool,
    retry_sources: bool,
    managed_identity: Option<UserAssigned>,
    workload_client_id: Option<String>,
    tenant_id: Option<String>,
    options: TenantOptions,
    context: Option<CredentialContext>,
}

impl DefaultAzureCredential {
    /// From the process's environment.
    #[cfg(feature = "azure_core")]
    pub fn new() -> azure_core::Result<Arc<Self>> {
        Ok(Self::builder().build()?)
    }

    /// With options.
    pub fn builder() -> DefaultAzureCredentialBuilder {
        DefaultAzureCredentialBuilder::default()
    }

    /// The link that gave the last token.
    pub fn last_successful(&self) -> Option<&str> {
        self.0.last_successful()
    }
}

impl DefaultAzureCredentialBuilder {
    super::tenant_setters!();

    /// Leaves a link out, even if `AZURE_TOKEN_CREDENTIALS` names it.
    #[must_use]
    pub fn exclude(mut self, link: Link) -> Self {
        self.excluded.push(link);
        self
    }

    /// Whether `AZURE_TOKEN_CREDENTIALS` must be set: a program that must not guess.
    #[must_use]
    pub fn require_selection(mut self, require: bool) -> Self {
        self.require_selection = require;
        self
    }

    /// Whether every request tries the links from the first on, instead of the one that last gave a token.
    #[must_use]
    pub fn retry_sources(mut self, retry: bool) -> Self {
        self.retry_sources = retry;
        self
    }

    /// This user-assigned identity, instead of the one `AZURE_CLIENT_ID` names or the system-assigned.
    #[must_use]
    pub fn managed_identity(mut self, identity: UserAssigned) -> Self {
        self.managed_identity = Some(identity);
        self
    }

    /// The workload identity's client id, instead of `AZURE_CLIENT_ID`.
    #[must_use]
    pub fn workload_identity_client_id(mut self, id: impl Into<String>) -> Self {
        self.workload_client_id = Some(id.into());
        self
    }

    /// The tenant of the workload identity and of the developer's tools.
    #[must_use]
    pub fn tenant_id(mut self, id: impl Into<String>) -> Self {
        self.tenant_id = Some(id.into());
        self
    }

    /// Fails when `AZURE_TOKEN_CREDENTIALS` is none of its values, and when nothing is left. A link that cannot be
    /// made is no failure: it says so when its turn comes.
    pub fn build(self) -> Result<Arc<DefaultAzureCredential>, CredentialError> {
        let context = self.context.clone().unwrap_or_default();
        let selected = self.selected(context.environment().get(SELECTION))?;
        let alone = selected == [Link::ManagedIdentity];
        let selected = selected.into_iter().filter(|link| !self.excluded.contains(link));
        let links: Vec<_> = selected.map(|link| self.link(link, &context)).collect();
        tracing::debug!(
            chain = NAME,
            selection = context.environment().get(SELECTION),
            links = ?links.iter().map(|link| link.name()).collect::<Vec<_>>(),
            "chain built"
        );
        let chain = ChainedTokenCredential::of(NAME, links, self.retry_sources, !alone)?;
        Ok(Arc::new(DefaultAzureCredential(chain)))
    }

    fn selected(&self, value: Option<&str>) -> Result<Vec<Link>, CredentialError> {
        let Some(value) = value.map(str::trim).filter(|value| !value.is_empty()) else {
            if self.require_selection {
                return Err(Failed::configuration(NAME, format!("{SELECTION} is not set"))
                    .with_remedy("set it to prod, dev or the name of one credential")
                    .into());
            }
            return Ok(Link::ALL.to_vec());
        };
        let all = Link::ALL.into_iter();
        let selected: Vec<Link> = match value.to_ascii_lowercase().as_str() {
            "prod" => all.filter(|link| link.is_for_production()).collect(),
            "dev" => all.filter(|link| !link.is_for_production()).collect(),
            one => all.filter(|link| link.name().eq_ignore_ascii_case(one)).collect(),
        };
        if selected.is_empty() {
            let names: Vec<_> = Link::ALL.into_iter().map(Link::name).collect();
            return Err(Failed::configuration(NAME, format!("{SELECTION}={value} is not known"))
                .with_remedy(format!("use prod, dev or one of {}", names.join(", ")))
                .into());
        }
        Ok(selected)
    }

    fn link(&self, link: Link, context: &CredentialContext) -> Arc<dyn Credential> {
        let made: Result<Arc<dyn Credential>, CredentialError> = match link {
            Link::Environment => {
                let mut builder = EnvironmentCredential::builder()
                    .additionally_allowed_tenants(self.options.additionally_allowed_tenants.clone())
                    .context(context.clone());
                if let Some(host) = &self.options.authority_host {
                    builder = builder.authority_host(host);
                }
                builder.build().map(|c| c as _)
            }
            Link::WorkloadIdentity => {
                let mut builder = WorkloadIdentityCredential::builder()
                    .additionally_allowed_tenants(self.options.additionally_allowed_tenants.clone())
                    .context(context.clone());
                if let Some(host) = &self.options.authority_host {
                    builder = builder.authority_host(host);
                }
                if let Some(id) = &self.workload_client_id {
                    builder = builder.client_id(id);
                }
                if let Some(id) = &self.tenant_id {
                    builder = builder.tenant_id(id);
                }
                builder.build().map(|c| c as _)
            }
            Link::ManagedIdentity => {
                let named = || context.environment().get("AZURE_CLIENT_ID").map(str::to_owned);
                let identity = self.managed_identity.clone().or_else(|| named().map(UserAssigned::ClientId));
                let mut builder = ManagedIdentityCredential::builder().context(context.clone());
                if let Some(identity) = identity {
                    builder = builder.user_assigned(identity);
                }
                builder.build().map(|c| c as _)
            }
            Link::AzureCli | Link::AzureDeveloperCli => self.developer(link, context),
        };
        made.unwrap_or_else(|error| Unusable::because(link.name(), error))
    }

    #[cfg(feature = "developer")]
    fn developer(&self, link: Link, context: &CredentialContext) -> Result<Arc<dyn Credential>, CredentialError> {
        let tenant = self.tenant_id.clone();
        if link == Link::AzureCli {
            return Ok(super::AzureCliCredential::with(tenant, None, context)?);
        }
        Ok(super::AzureDeveloperCliCredential::with(tenant, context)?)
    }

    #[cfg(not(feature = "developer"))]
    fn developer(&self, link: Link, _: &CredentialContext) -> Result<Arc<dyn Credential>, CredentialError> {
        Err(crate::error::Unavailable::new(link.name(), "it is not built in")
            .with_remedy("build denizen-identity with the feature `developer`")
            .into())
    }
}

impl Credential for DefaultAzureCredential {
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

impl fmt::Debug for DefaultAzureCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

token_credential!(DefaultAzureCredential);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    fn selected(value: &str) -> Result<Vec<Link>, CredentialError> {
        DefaultAzureCredential::builder().selected(Some(value))
    }

    #[test]
    fn the_selection_narrows_the_chain() {
        use Link::{AzureCli, AzureDeveloperCli, Environment, ManagedIdentity, WorkloadIdentity};
        assert_eq!(selected("").unwrap(), Link::ALL);
        assert_eq!(selected(" PROD ").unwrap(), [Environment, WorkloadIdentity, ManagedIdentity]);
        assert_eq!(selected("dev").unwrap(), [AzureCli, AzureDeveloperCli]);
        assert_eq!(selected("managedidentitycredential").unwrap(), [ManagedIdentity]);
        let error = selected("VisualStudioCredential").unwrap_err().to_string();
        assert!(
            error.contains("VisualStudioCredential is not known") && error.contains("AzureCliCredential"),
            "{error}"
        );
    }

    #[test]
    fn a_required_selection_is_required() {
        let context = || CredentialContext::of(Environment::default());
        let builder = || DefaultAzureCredential::builder().context(context());
        assert!(builder().build().is_ok());
        assert!(builder().require_selection(true).build().unwrap_err().to_string().contains("is not set"));
    }

    #[test]
    fn an_exclusion_wins_over_the_selection() {
        let context = CredentialContext::of(Environment::from([(SELECTION, "ManagedIdentityCredential")]));
        let builder = DefaultAzureCredential::builder().exclude(Link::ManagedIdentity).context(context);
        assert!(builder.build().unwrap_err().to_string().contains("the chain has no link"));
    }
}
