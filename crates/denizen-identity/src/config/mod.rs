//! Credentials from a configuration section, by the keys .NET programs use.
//!
//! **The flat form** stands among a client's own keys, as `AddAzureClients` and Azure Functions have it; whatever else
//! is there is left alone:
//!
//! | keys | credential |
//! |---|---|
//! | `credential` = `managedidentity` | managed identity: `managedIdentityResourceId`, `managedIdentityObjectId`, `managedIdentityClientId` or `clientId`, else the system-assigned |
//! | `credential` = `workloadidentity` | `tenantId`, `clientId`, `tokenFilePath` over the environment |
//! | `credential` = `managedidentityasfederatedidentity` | `tenantId`, `clientId`, `azureCloud` and one `managedIdentity…Id` |
//! | `credential` = `azurepipelines` | `tenantId`, `clientId`, `serviceConnectionId`, `systemAccessToken` |
//! | `tenantId`, `clientId`, `clientSecret` | client secret |
//! | any of `tenantId`, `clientId`, `managedIdentityClientId`, `managedIdentityResourceId`, `additionallyAllowedTenants` | the default chain with these |
//! | none of them | none: the caller's default |
//!
//! `clientCertificate` names a certificate in a Windows store and is refused here; the section form takes a file.
//!
//! **The section form** is a section `Credential` with a `CredentialSource`, or a reference `"$Path:To:Section"` to
//! one. A value there wins over the environment. Unknown keys are refused, all of them at once. Keys of sources that
//! open a browser are known and have no effect, as have `Diagnostics`, `Retry`, `DisableInstanceDiscovery` (none is
//! made) and `TokenCachePersistenceOptions` (tokens stay in memory).
//!
//! Keys compare without case. Tests: `tests/credentials/config.rs`.

mod flat;
mod node;
mod section;

use std::{fmt, sync::Arc};

pub use self::node::ConfigError;
use self::node::Node;
use crate::{
    context::CredentialContext,
    credential::{BoxFuture, Credential, token_credential},
    environment::Environment,
    error::{CredentialError, Failed},
    token::{Token, TokenRequest},
};

/// How these errors are signed: no credential exists yet.
const NAME: &str = "Configuration";
/// References may refer on, but not in a circle.
const MAX_REFERENCES: usize = 8;

/// A tree of settings. Has no `Debug`: secrets are among them.
#[derive(Clone)]
pub struct Configuration(Node);

/// A credential a configuration named.
pub struct ConfiguredCredential(Arc<dyn Credential>);

impl Configuration {
    /// From a JSON object, `appsettings.json` for one.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let json: serde_json::Value = serde_json::from_str(text).map_err(|e| ConfigError::json(&e))?;
        Node::of_json(json).map(Self)
    }

    /// From a TOML table.
    #[cfg(feature = "toml")]
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| ConfigError::toml(&e))?;
        Node::of_toml(toml::Value::Table(table)).map(Self)
    }

    /// From variables: `PREFIX__Vault__Credential__CredentialSource` is `Vault:Credential:CredentialSource` when the
    /// prefix is `PREFIX`. List items are numbered: `Sources__0__CredentialSource`.
    pub fn from_environment(environment: &Environment, prefix: &str) -> Self {
        Self(Node::of_environment(environment, prefix))
    }

    /// What stands at `path` (`Vault` or `Azure:Vault`; empty is the whole), as a credential. `None` when nothing
    /// there speaks of one.
    pub fn credential(
        &self,
        path: &str,
        context: &CredentialContext,
    ) -> Result<Option<Arc<ConfiguredCredential>>, CredentialError> {
        let Some(node) = self.0.at(path) else { return Ok(None) };
        let credential = if node.get("CredentialSource").is_some() {
            Some(section::credential(node, context)?)
        } else {
            match node.get("Credential") {
                Some(Node::Text(text)) if text.starts_with('$') => {
                    Some(section::credential(self.referred(text)?, context)?)
                }
                Some(section @ Node::Section(_)) => Some(section::credential(section, context)?),
                Some(Node::List(_)) => {
                    return Err(Failed::configuration(NAME, "'Credential' is a list")
                        .with_remedy("a list of credentials is CredentialSource=ChainedToken with its 'Sources'")
                        .into());
                }
                Some(Node::Text(_)) | None => flat::credential(node, context)?,
            }
        };
        Ok(credential.map(|credential| Arc::new(ConfiguredCredential(credential))))
    }

    /// Follows `$Path:To:Section`, which may be a reference itself.
    fn referred(&self, reference: &str) -> Result<&Node, CredentialError> {
        let mut reference = reference;
        for _ in 0..MAX_REFERENCES {
            let path = reference.trim_start_matches('$');
            match self.0.at(path) {
                Some(Node::Text(text)) if text.starts_with('$') => reference = text,
                Some(section @ Node::Section(_)) => return Ok(section),
                Some(Node::Text(_) | Node::List(_)) | None => {
                    return Err(Failed::configuration(
                        NAME,
                        "the value of 'Credential' or of what it refers to names no section",
                    )
                    .into());
                }
            }
        }
        Err(Failed::configuration(NAME, "the references of 'Credential' go in a circle").into())
    }
}

impl Credential for ConfiguredCredential {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn token<'a>(&'a self, request: TokenRequest<'a>) -> BoxFuture<'a, Result<Token, CredentialError>> {
        self.0.token(request)
    }

    fn cached(&self, request: &TokenRequest<'_>) -> Option<Token> {
        self.0.cached(request)
    }
}

impl fmt::Debug for ConfiguredCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

token_credential!(ConfiguredCredential);
