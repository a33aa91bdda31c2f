//! The sources that Denizen's agent does not serve: each by the test kit's endpoint, which answers as the real one does,
//! with a token of the kit's own issuer. It names Entra as Azure's tokens do, and the storage service looks no further.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use denizen_identity::{CredentialContext, Environment, ManagedIdentityCredential};
use denizen_identity_testkit::{
    AppServiceEndpoint, AzureMlEndpoint, CloudShellEndpoint, Options, ServiceFabricEndpoint,
};

use crate::blobs;

/// A source by the name it goes by in an error.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    AppService2017,
    AzureMl,
    CloudShell,
    ServiceFabric,
}

/// Starts the endpoint, and uses the storage service with what it gives.
pub(crate) async fn exercise(source: Source) -> Result<String, String> {
    let options = Options::default();
    // Dropped, an endpoint ends: each lives until its case is over.
    match source {
        Source::AppService2017 => {
            let endpoint = AppServiceEndpoint::start(options).await.map_err(|error| error.to_string())?;
            // The pair alone means Azure ML to every client; this variable tells them apart.
            let mut variables = endpoint.variables_2017();
            variables.push(("WEBSITE_SITE_NAME", "suite".into()));
            let owned = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
            with(owned.collect(), "App Service 2017-09-01", "app-service-2017").await
        }
        Source::AzureMl => {
            let endpoint = AzureMlEndpoint::start(options).await.map_err(|error| error.to_string())?;
            with(endpoint.environment(), "Azure ML", "azure-ml").await
        }
        Source::CloudShell => {
            let endpoint = CloudShellEndpoint::start(options).await.map_err(|error| error.to_string())?;
            with(endpoint.environment(), "Cloud Shell", "cloud-shell").await
        }
        Source::ServiceFabric => {
            let endpoint = ServiceFabricEndpoint::start(options).await.map_err(|error| error.to_string())?;
            with(endpoint.environment(), "Service Fabric", "service-fabric").await
        }
    }
}

async fn with(environment: Environment, name: &str, label: &str) -> Result<String, String> {
    let builder = ManagedIdentityCredential::builder().context(CredentialContext::of(environment));
    let credential = builder.build().map_err(|error| error.to_string())?;
    match credential.source() {
        Ok(source) if source.name() == name => {}
        Ok(source) => return Err(format!("the environment is taken for that of {}", source.name())),
        Err(error) => return Err(error.to_string()),
    }
    let credential: Arc<dyn TokenCredential> = credential;
    blobs::exercise(credential, label).await
}
