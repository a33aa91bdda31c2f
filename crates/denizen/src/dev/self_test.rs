//! The main job, done once at the start through the endpoints a program would use: challenge, token, secret.

use std::path::Path;

use denizen_identity::{Environment, endpoint::IdentityEndpoint, http::Client};

use super::manifest::Manifest;
use crate::{
    exit::{self, Failure},
    token,
    vault_client::VaultClient,
};

/// What was seen.
pub(crate) struct SelfTest {
    /// `Azure Arc` or `App Service`.
    pub(crate) source: &'static str,
    /// The version of the secret that was read.
    pub(crate) secret_version: String,
}

impl SelfTest {
    /// Gets a token, reads the secret with it, compares its value with the one the vault is known to keep.
    pub(crate) async fn make(manifest: &Manifest, ca_file: &Path) -> Result<Self, Failure> {
        let ca_file = ca_file.display().to_string();
        let environment = match &manifest.agent.arc {
            Some(arc) => Environment::from([
                ("SSL_CERT_FILE", ca_file.as_str()),
                ("IDENTITY_ENDPOINT", &arc.identity_endpoint),
                ("IMDS_ENDPOINT", &arc.imds_endpoint),
            ]),
            None => Environment::from([
                ("SSL_CERT_FILE", ca_file.as_str()),
                ("IDENTITY_ENDPOINT", &manifest.agent.app_service.identity_endpoint),
                ("IDENTITY_HEADER", &manifest.agent.app_service.identity_header),
            ]),
        };
        let http = Client::new(&environment).map_err(Failure::while_(exit::SOFTWARE, "the self-test's HTTP client"))?;
        let identity = IdentityEndpoint::detect(&environment, http.clone())
            .map_err(Failure::while_(exit::SOFTWARE, "the self-test's identity"))?;
        let source = identity.source().name();
        identity.token("https://vault.azure.net", None).await.map_err(|e| token::refused(&identity, &e))?;
        let url = manifest.vault_url.parse().map_err(Failure::while_(exit::SOFTWARE, "the vault's URL"))?;
        let mut vault = VaultClient::new(&url, http, identity);
        let secret = vault.get(&manifest.secret.name, None).await?;

        if secret.value.as_deref() != Some(manifest.secret.value.as_str()) {
            return Err(Failure::new(exit::SOFTWARE, "the vault gave another value than it keeps"));
        }
        Ok(Self { source, secret_version: secret.id.rsplit('/').next().unwrap_or_default().to_owned() })
    }
}
