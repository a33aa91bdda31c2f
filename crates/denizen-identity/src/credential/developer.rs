//! The developer's own sign-in, by his tools: `az` and `azd`. What asks them is `azure_identity`'s; a cache and the
//! word "unavailable" are added here (it starts a process for every token, and has one kind of error).

use std::{fmt, sync::Arc};

use azure_core::credentials::TokenCredential;
use azure_identity::{AzureCliCredentialOptions, AzureDeveloperCliCredentialOptions};

use super::{BoxFuture, cached_credential};
use crate::{
    azure,
    cache::{Cached, Fetch},
    context::CredentialContext,
    error::{CredentialError, Failed, Unavailable},
    token::{Ask, Token},
};

/// Whoever is signed in to `az`.
pub struct AzureCliCredential(Cached<Tool>);

cached_credential!(AzureCliCredential);

/// Whoever is signed in to `azd`.
pub struct AzureDeveloperCliCredential(Cached<Tool>);

cached_credential!(AzureDeveloperCliCredential);

impl AzureCliCredential {
    /// In the tool's own tenant.
    pub fn new() -> azure_core::Result<Arc<Self>> {
        Ok(Self::with(None, None, &CredentialContext::of_process())?)
    }

    /// In this tenant, with this subscription's account.
    pub fn with(
        tenant_id: Option<String>,
        subscription: Option<String>,
        context: &CredentialContext,
    ) -> Result<Arc<Self>, CredentialError> {
        const NAME: &str = "AzureCliCredential";
        let identity = format!("{NAME} {tenant_id:?} {subscription:?}");
        let options = AzureCliCredentialOptions { tenant_id, subscription, ..Default::default() };
        let inner = azure_identity::AzureCliCredential::new(Some(options));
        let tool = Tool { name: NAME, inner: inner.map_err(|e| Failed::configuration(NAME, e.to_string()))? };
        Ok(Arc::new(Self(Cached::new(tool, &identity, &context.cache, context.clock.clone()))))
    }
}

impl AzureDeveloperCliCredential {
    /// In the tool's own tenant.
    pub fn new() -> azure_core::Result<Arc<Self>> {
        Ok(Self::with(None, &CredentialContext::of_process())?)
    }

    /// In this tenant.
    pub fn with(tenant_id: Option<String>, context: &CredentialContext) -> Result<Arc<Self>, CredentialError> {
        const NAME: &str = "AzureDeveloperCliCredential";
        let identity = format!("{NAME} {tenant_id:?}");
        let options = AzureDeveloperCliCredentialOptions { tenant_id, ..Default::default() };
        let inner = azure_identity::AzureDeveloperCliCredential::new(Some(options));
        let tool = Tool { name: NAME, inner: inner.map_err(|e| Failed::configuration(NAME, e.to_string()))? };
        Ok(Arc::new(Self(Cached::new(tool, &identity, &context.cache, context.clock.clone()))))
    }
}

struct Tool {
    name: &'static str,
    inner: Arc<dyn TokenCredential>,
}

impl Fetch for Tool {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fetch<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Token, CredentialError>> {
        Box::pin(async move {
            let scopes: Vec<&str> = ask.scopes.iter().map(String::as_str).collect();
            // Not installed, not signed in, wrong account: for a tool each of them means "not here".
            azure::token_of(&*self.inner, &ask.as_request(&scopes)).await.map_err(|error| {
                let remedy = match self.name {
                    "AzureCliCredential" => "install the Azure CLI and run `az login`",
                    _ => "install the Azure Developer CLI and run `azd auth login`",
                };
                Unavailable::new(self.name, plain(error.reason(), self.name)).with_remedy(remedy).into()
            })
        })
    }
}

/// Without the name, which stands before it, and without the link, in place of which there is a remedy.
fn plain<'a>(text: &'a str, name: &str) -> &'a str {
    let text = text.split("\nTo troubleshoot, visit ").next().unwrap_or(text);
    let text = text.strip_prefix(name).unwrap_or(text);
    text.strip_prefix(" authentication failed.").unwrap_or(text).trim()
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tools_error_is_said_once() {
        let text = "AzureCliCredential authentication failed. az not found on PATH\n\
            To troubleshoot, visit https://aka.ms/azsdk/rust/identity/troubleshoot#azure-cli";
        assert_eq!(plain(text, "AzureCliCredential"), "az not found on PATH");
        assert_eq!(plain("Please run 'az login'.", "AzureCliCredential"), "Please run 'az login'.");
    }
}
