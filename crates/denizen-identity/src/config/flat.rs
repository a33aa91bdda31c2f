//! The flat form: keys among a client's own.

use std::sync::Arc;

use super::{NAME, node::Node, section};
use crate::{
    AzurePipelinesCredential, ClientSecretCredential, DefaultAzureCredential, ManagedIdentityCredential, UserAssigned,
    WorkloadIdentityCredential,
    context::CredentialContext,
    credential::Credential,
    error::{CredentialError, Failed},
};

pub(super) fn credential(
    node: &Node,
    context: &CredentialContext,
) -> Result<Option<Arc<dyn Credential>>, CredentialError> {
    let text = |key| node.text(key);
    let context = &section::in_cloud(node, context)?;
    let context = &match node.joined("additionallyAllowedTenants") {
        Some(tenants) => context.overlaid([("AZURE_ADDITIONALLY_ALLOWED_TENANTS", Some(tenants))]),
        None => context.clone(),
    };
    if let Some(word) = text("credential") {
        return named(node, word, context).map(Some);
    }
    match (text("tenantId"), text("clientId"), text("clientSecret"), text("clientCertificate")) {
        (Some(tenant), Some(client), Some(secret), _) => {
            let builder = ClientSecretCredential::builder(tenant, client, secret);
            return Ok(Some(builder.context(context.clone()).build()?));
        }
        (Some(_), Some(_), None, Some(_)) => {
            return Err(Failed::configuration(NAME, "clientCertificate names a certificate store")
                .with_remedy(
                    "there is none here: use a section 'Credential' with CredentialSource=Environment and \
                       ClientCertificatePath",
                )
                .into());
        }
        _ => {}
    }
    let id = identity(node)?;
    if matches!(id, Some(UserAssigned::ObjectId(_))) {
        return Err(Failed::configuration(NAME, "managedIdentityObjectId without credential=managedidentity")
            .with_remedy("set credential to managedidentity")
            .into());
    }
    let keys = ["tenantId", "clientId", "managedIdentityClientId", "managedIdentityResourceId"];
    let speaks = keys.iter().any(|key| text(key).is_some()) || node.get("additionallyAllowedTenants").is_some();
    if !speaks {
        return Ok(None);
    }
    let mut builder = DefaultAzureCredential::builder().context(context.clone());
    if let Some(tenant) = text("tenantId") {
        builder = builder.tenant_id(tenant);
    }
    if let Some(client) = text("clientId") {
        builder = builder.workload_identity_client_id(client);
    }
    if let Some(id) = id.or_else(|| text("clientId").map(|id| UserAssigned::ClientId(id.into()))) {
        builder = builder.managed_identity(id);
    }
    Ok(Some(builder.build()?))
}

fn named(node: &Node, word: &str, context: &CredentialContext) -> Result<Arc<dyn Credential>, CredentialError> {
    let text = |key| node.text(key);
    match word.to_lowercase().as_str() {
        "managedidentity" => {
            let mut builder = ManagedIdentityCredential::builder().context(context.clone());
            let id = identity(node)?.or_else(|| text("clientId").map(|id| UserAssigned::ClientId(id.into())));
            if let Some(id) = id {
                builder = builder.user_assigned(id);
            }
            Ok(builder.build()?)
        }
        "workloadidentity" => {
            let pairs = [
                ("AZURE_TENANT_ID", text("tenantId").map(str::to_owned)),
                ("AZURE_CLIENT_ID", text("clientId").map(str::to_owned)),
                ("AZURE_FEDERATED_TOKEN_FILE", text("tokenFilePath").map(str::to_owned)),
            ];
            let overlaid = context.overlaid(pairs.into_iter().filter(|(_, value)| value.is_some()));
            Ok(WorkloadIdentityCredential::builder().context(overlaid).build()?)
        }
        "managedidentityasfederatedidentity" => {
            let Some(id) = identity(node)? else {
                return Err(section::missing(&["managedIdentityClientId (or ResourceId, or ObjectId)"]));
            };
            let [tenant, client] = section::required(node, ["tenantId", "clientId"])?;
            section::federated(tenant, client, text("azureCloud"), Some(id), context)
        }
        "azurepipelines" => {
            let keys = ["tenantId", "clientId", "serviceConnectionId", "systemAccessToken"];
            let [tenant, client, connection, token] = section::required(node, keys)?;
            let builder = AzurePipelinesCredential::builder(tenant, client, connection, token);
            Ok(builder.context(context.clone()).build()?)
        }
        _ => Err(Failed::configuration(NAME, "the value of credential is not known")
            .with_remedy("use managedidentity, workloadidentity, managedidentityasfederatedidentity or azurepipelines")
            .into()),
    }
}

/// The one identity named by a key of its own; two that contradict each other are refused.
fn identity(node: &Node) -> Result<Option<UserAssigned>, CredentialError> {
    let of = |key: &'static str, kind: fn(String) -> UserAssigned| Some((key, kind(node.text(key)?.to_owned())));
    let given: Vec<_> = [
        of("managedIdentityResourceId", UserAssigned::ResourceId),
        of("managedIdentityObjectId", UserAssigned::ObjectId),
        of("managedIdentityClientId", UserAssigned::ClientId),
    ]
    .into_iter()
    .flatten()
    .collect();
    if given.len() > 1 {
        let keys: Vec<_> = given.iter().map(|(key, _)| *key).collect();
        return Err(Failed::configuration(NAME, format!("{} are given at once", keys.join(" and ")))
            .with_remedy("name the identity in one way")
            .into());
    }
    Ok(given.into_iter().next().map(|(_, identity)| identity))
}
