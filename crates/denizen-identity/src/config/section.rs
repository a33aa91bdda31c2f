//! The section form: `CredentialSource` and its keys.

use std::sync::Arc;

use super::{NAME, node::Node};
use crate::{
    AzurePipelinesCredential, ChainedTokenCredential, ClientAssertionCredential, DefaultAzureCredential,
    EnvironmentCredential, ManagedIdentityCredential, UserAssigned, WorkloadIdentityCredential,
    context::CredentialContext,
    credential::{Credential, Unusable},
    entra::{CHINA, PUBLIC_CLOUD, US_GOVERNMENT},
    error::{CredentialError, Failed, Unavailable},
    token::TokenRequest,
};

/// Every key of the form; which of them a source reads is its own business.
const KEYS: [&str; 29] = [
    "AdditionallyAllowedTenants",
    "AzureCloud",
    "BrowserCustomization",
    "ClientCertificatePassword",
    "ClientCertificatePath",
    "ClientId",
    "ClientSecret",
    "CredentialSource",
    "Diagnostics",
    "DisableAutomaticAuthentication",
    "DisableInstanceDiscovery",
    "IsAzureProxyEnabled",
    "Key",
    "LoginHint",
    "ManagedIdentityId",
    "ManagedIdentityIdKind",
    "ProcessTimeout",
    "RedirectUri",
    "Retry",
    "SendCertificateChain",
    "ServiceConnectionId",
    "Sources",
    "Subscription",
    "SystemAccessToken",
    "TenantId",
    "TokenCachePersistenceOptions",
    "TokenFilePath",
    "UseDefaultBrokerAccount",
    "AuthorityHost",
];

/// Sources that ask a person or a tool this library does not speak to.
const NOT_HERE: [&str; 5] = ["azurepowershell", "visualstudio", "visualstudiocode", "interactivebrowser", "broker"];

pub(super) fn credential(node: &Node, context: &CredentialContext) -> Result<Arc<dyn Credential>, CredentialError> {
    let unknown: Vec<&str> = node.keys().filter(|key| !KEYS.iter().any(|k| k.eq_ignore_ascii_case(key))).collect();
    if !unknown.is_empty() {
        return Err(Failed::configuration(NAME, format!("unknown keys: {}", unknown.join(", ")))
            .with_remedy(format!("known are {}", KEYS.join(", ")))
            .into());
    }
    let context = &overlaid(node, &in_cloud(node, context)?);
    let source = node.text("CredentialSource").unwrap_or_default().to_lowercase();
    let source = source.strip_suffix("credential").unwrap_or(&source);
    match source {
        "" => default(node, context),
        "environment" => Ok(EnvironmentCredential::builder().context(context.clone()).build()?),
        "workloadidentity" => {
            if node.text("IsAzureProxyEnabled").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
                return Err(Failed::configuration(NAME, "IsAzureProxyEnabled is not supported here")
                    .with_remedy("leave it out: the token service is asked directly")
                    .into());
            }
            Ok(WorkloadIdentityCredential::builder().context(context.clone()).build()?)
        }
        "managedidentity" => {
            let mut builder = ManagedIdentityCredential::builder().context(context.clone());
            if let Some(identity) = identity(node)? {
                builder = builder.user_assigned(identity);
            }
            Ok(builder.build()?)
        }
        "managedidentityasfederatedidentity" => {
            let [tenant, client] = required(node, ["TenantId", "ClientId"])?;
            federated(tenant, client, node.text("AzureCloud"), identity(node)?, context)
        }
        "azurepipelines" => {
            let keys = ["TenantId", "ClientId", "ServiceConnectionId", "SystemAccessToken"];
            let [tenant, client, connection, token] = required(node, keys)?;
            let builder = AzurePipelinesCredential::builder(tenant, client, connection, token);
            Ok(builder.context(context.clone()).build()?)
        }
        "azurecli" => tool("AzureCliCredential", node, context),
        "azuredevelopercli" => tool("AzureDeveloperCliCredential", node, context),
        "chainedtoken" => chain(node, context),
        "apikey" => Err(Failed::configuration(NAME, "CredentialSource=ApiKey is no token credential")
            .with_remedy("give the key to the client itself")
            .into()),
        other if NOT_HERE.contains(&other) => {
            Err(Unavailable::new(NAME, format!("CredentialSource={other} is not offered here"))
                .with_remedy("use AzureCli or AzureDeveloperCli on a developer's machine")
                .into())
        }
        _ => Err(Failed::configuration(NAME, "the value of CredentialSource is not known")
            .with_remedy(
                "use Environment, WorkloadIdentity, ManagedIdentity, ManagedIdentityAsFederatedIdentity, \
                 AzurePipelines, AzureCli, AzureDeveloperCli or ChainedToken",
            )
            .into()),
    }
}

fn chain(node: &Node, context: &CredentialContext) -> Result<Arc<dyn Credential>, CredentialError> {
    let mut builder = ChainedTokenCredential::builder();
    for source in node.items("Sources") {
        // A link that does not apply here is passed over; one that is configured wrongly is not.
        builder = builder.link(match credential(&source, context) {
            Ok(link) => link,
            Err(error) if error.is_unavailable() => Unusable::because(NAME, error),
            Err(error) => return Err(error),
        });
    }
    Ok(builder.build()?)
}

fn default(node: &Node, context: &CredentialContext) -> Result<Arc<dyn Credential>, CredentialError> {
    let mut builder = DefaultAzureCredential::builder().context(context.clone());
    if let Some(identity) = identity(node)? {
        builder = builder.managed_identity(identity);
    }
    if let Some(tenant) = node.text("TenantId") {
        builder = builder.tenant_id(tenant);
    }
    Ok(builder.build()?)
}

#[cfg(feature = "developer")]
fn tool(name: &'static str, node: &Node, context: &CredentialContext) -> Result<Arc<dyn Credential>, CredentialError> {
    let text = |key| node.text(key).map(str::to_owned);
    match name {
        "AzureCliCredential" => Ok(crate::AzureCliCredential::with(text("TenantId"), text("Subscription"), context)?),
        _ => Ok(crate::AzureDeveloperCliCredential::with(text("TenantId"), context)?),
    }
}

#[cfg(not(feature = "developer"))]
fn tool(name: &'static str, _: &Node, _: &CredentialContext) -> Result<Arc<dyn Credential>, CredentialError> {
    Err(Unavailable::new(name, "it is not built in")
        .with_remedy("build denizen-identity with the feature `developer`")
        .into())
}

/// `ManagedIdentityIdKind` and `ManagedIdentityId`.
fn identity(node: &Node) -> Result<Option<UserAssigned>, CredentialError> {
    let kind = node.text("ManagedIdentityIdKind").unwrap_or("SystemAssigned").to_lowercase();
    match (kind.as_str(), node.text("ManagedIdentityId")) {
        ("systemassigned", None) => Ok(None),
        ("clientid", Some(id)) => Ok(Some(UserAssigned::ClientId(id.into()))),
        ("resourceid", Some(id)) => Ok(Some(UserAssigned::ResourceId(id.into()))),
        ("objectid", Some(id)) => Ok(Some(UserAssigned::ObjectId(id.into()))),
        ("systemassigned", Some(_)) => {
            Err(Failed::configuration(NAME, "ManagedIdentityId without ManagedIdentityIdKind")
                .with_remedy("set ManagedIdentityIdKind to ClientId, ResourceId or ObjectId")
                .into())
        }
        ("clientid" | "resourceid" | "objectid", None) => Err(missing(&["ManagedIdentityId"])),
        _ => Err(Failed::configuration(NAME, "the value of ManagedIdentityIdKind is not known")
            .with_remedy("use SystemAssigned, ClientId, ResourceId or ObjectId")
            .into()),
    }
}

/// A managed identity's token as the assertion of an application.
pub(super) fn federated(
    tenant: &str,
    client: &str,
    cloud: Option<&str>,
    identity: Option<UserAssigned>,
    context: &CredentialContext,
) -> Result<Arc<dyn Credential>, CredentialError> {
    let scope = match cloud.unwrap_or("public").to_lowercase().as_str() {
        "usgov" => "api://AzureADTokenExchangeUSGov/.default",
        "china" => "api://AzureADTokenExchangeChina/.default",
        _ => "api://AzureADTokenExchange/.default",
    };
    let mut managed = ManagedIdentityCredential::builder().context(context.clone());
    if let Some(identity) = identity {
        managed = managed.user_assigned(identity);
    }
    let managed = managed.build()?;
    let assertion = move || {
        let managed = Arc::clone(&managed);
        async move { managed.token(TokenRequest::new(&[scope])).await.map(|token| token.secret().to_owned()) }
    };
    Ok(ClientAssertionCredential::builder(tenant, client, assertion).context(context.clone()).build()?)
}

/// The values of keys that must be there, or an error that names all which are not.
pub(super) fn required<'a, const N: usize>(
    node: &'a Node,
    keys: [&'static str; N],
) -> Result<[&'a str; N], CredentialError> {
    let absent: Vec<&str> = keys.into_iter().filter(|key| node.text(key).is_none()).collect();
    match absent.is_empty() {
        true => Ok(keys.map(|key| node.text(key).unwrap_or_default())),
        false => Err(missing(&absent)),
    }
}

pub(super) fn missing(keys: &[&str]) -> CredentialError {
    Failed::configuration(NAME, format!("{} not given", keys.join(", "))).with_remedy("add them to the section").into()
}

/// `AzureCloud`, as the authority it means.
pub(super) fn in_cloud(node: &Node, context: &CredentialContext) -> Result<CredentialContext, CredentialError> {
    let authority = match node.text("AzureCloud").map(str::to_lowercase).as_deref() {
        None => return Ok(context.clone()),
        Some("public") => PUBLIC_CLOUD,
        Some("usgov") => US_GOVERNMENT,
        Some("china") => CHINA,
        Some(_) => {
            return Err(Failed::configuration(NAME, "the value of azureCloud is not known")
                .with_remedy("use public, usgov or china; for another token service set AZURE_AUTHORITY_HOST")
                .into());
        }
    };
    Ok(context.overlaid([("AZURE_AUTHORITY_HOST", Some(authority.to_owned()))]))
}

/// The section's values over the environment's. One that says how to prove an identity hides the environment's ways.
fn overlaid(node: &Node, context: &CredentialContext) -> CredentialContext {
    let of = |key| node.text(key).map(str::to_owned);
    let proofs = [
        ("AZURE_CLIENT_SECRET", of("ClientSecret")),
        ("AZURE_CLIENT_CERTIFICATE_PATH", of("ClientCertificatePath")),
        ("AZURE_CLIENT_CERTIFICATE_PASSWORD", of("ClientCertificatePassword")),
    ];
    let proves = proofs.iter().any(|(_, value)| value.is_some());
    let others = [
        ("AZURE_TENANT_ID", of("TenantId")),
        ("AZURE_CLIENT_ID", of("ClientId")),
        ("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", of("SendCertificateChain")),
        ("AZURE_FEDERATED_TOKEN_FILE", of("TokenFilePath")),
        ("AZURE_AUTHORITY_HOST", of("AuthorityHost")),
        ("AZURE_ADDITIONALLY_ALLOWED_TENANTS", node.joined("AdditionallyAllowedTenants")),
    ];
    let set = others.into_iter().filter(|(_, value)| value.is_some());
    context.overlaid(set.chain(proofs.into_iter().filter(|_| proves)))
}
