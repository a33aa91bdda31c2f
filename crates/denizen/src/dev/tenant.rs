//! What the development server keeps: a tenant, its administrator, a vault with one secret. Made at the first start
//! with the same use cases an operator has; found again at every other.

use denizen_keys::{SecretString, random};
use denizen_server::{
    app::{
        ChangeError,
        access::{Authorization, SystemReason},
        secrets::SecretError,
        vaults::NewVault,
    },
    domain::secrets::{NewSecret, SecretName},
    run::Server,
};
use denizen_wire::{Causes, ClientId, ResourceId, SubscriptionId, TenantId};

use crate::exit::{self, Failure};

/// The vault's name: `dev.vault.denizen.test`.
pub(crate) const VAULT: &str = "dev";
/// The resource group's name.
const RESOURCE_GROUP: &str = "dev";
/// The location of everything here.
const LOCATION: &str = "local";
/// How long a deleted secret can be recovered.
const RETENTION_DAYS: u32 = 90;
/// The one secret there is at the start.
const SECRET: (&str, &str) = ("hello", "Hello from a vault that no secret opened");
/// The administrator's display name, by which it is found again.
const ADMIN: &str = "Development administrator";

/// The tenant of the development server, made or found.
pub(crate) struct DevTenant {
    pub(crate) tenant: TenantId,
    pub(crate) subscription: SubscriptionId,
    pub(crate) resource_group: ResourceId,
    pub(crate) vault: ResourceId,
    pub(crate) admin_client: ClientId,
    pub(crate) admin_secret: String,
    pub(crate) secret: (String, String),
}

impl DevTenant {
    /// Makes what is missing. `previous` is the last run's manifest: the administrator's secret is kept nowhere else.
    pub(crate) async fn open(server: &Server, previous: &Option<serde_json::Value>) -> Result<Self, Failure> {
        Self::make(server, previous).await.map_err(Failure::while_(exit::DATA, "setting up the development tenant"))
    }

    async fn make(server: &Server, previous: &Option<serde_json::Value>) -> Result<Self, ChangeError> {
        let existing = server.store.snapshot().tenants().next().map(|tenant| tenant.id);
        let first_start = existing.is_none();
        let tenant = existing.unwrap_or_else(|| TenantId(random::uuid_v4()));
        let set_up = || server.authorize(tenant, SystemReason::SetUp);
        if first_start {
            server.directory.create_tenant(&set_up(), "dev.denizen.test", "Development").await?;
        }
        let keys = server.signing.ensure_keys(&set_up()).await;
        keys.map_err(|e| ChangeError::Invalid(format!("the signing keys: {}", Causes(&e))))?;

        let snapshot = server.store.snapshot();
        let group = snapshot.resource_groups(tenant).next().map(|group| group.id.clone());
        let resource_group = match group {
            Some(group) => group,
            None => {
                let subscription = SubscriptionId(random::uuid_v4());
                server.directory.create_resource_group(&set_up(), subscription, RESOURCE_GROUP, LOCATION).await?.id
            }
        };
        let subscription = resource_group
            .subscription_id()
            .ok_or_else(|| ChangeError::Missing(format!("the subscription of {resource_group}")))?;

        let admin = snapshot.applications(tenant).find(|app| app.display_name == ADMIN).map(|app| app.client_id);
        let admin_client = match admin {
            Some(client) => client,
            None => server.directory.create_application(&set_up(), ADMIN).await?.0.client_id,
        };
        let principal = server.store.snapshot().principal_of_client(tenant, admin_client).map(|p| p.id);
        let principal = principal.ok_or_else(|| ChangeError::Missing("the administrator's principal".into()))?;
        let everything = ResourceId::subscription(subscription);
        server.rbac.assign(&set_up(), principal, "Owner", &everything).await?;
        server.rbac.assign(&set_up(), principal, "Key Vault Administrator", &everything).await?;

        let vault = match server.store.snapshot().vault(VAULT) {
            Some(vault) => vault.id.clone(),
            None => {
                let new = NewVault { name: VAULT, location: LOCATION, retention_days: RETENTION_DAYS };
                server.vaults.create(&set_up(), &resource_group, &new).await?.id
            }
        };

        let secret_of_last_run = previous.as_ref().and_then(|p| {
            let admin = p.get("admin")?;
            let client = admin.get("client_id")?.as_str()?.parse::<ClientId>().ok()?;
            (client == admin_client).then(|| admin.get("client_secret")?.as_str().map(str::to_owned)).flatten()
        });
        let admin_secret = match secret_of_last_run {
            Some(secret) => secret,
            None => server.directory.reset_password(&set_up(), admin_client, "dev.json").await?.expose().to_owned(),
        };
        let secret = (SECRET.0.to_owned(), secret(server, &set_up(), &vault).await?);
        Ok(Self { tenant, subscription, resource_group, vault, admin_client, admin_secret, secret })
    }
}

/// The value of the one secret there is at the start. Whoever deleted or disabled it since gets it back: the server
/// proves itself with it, and must not fail to start for want of it.
async fn secret(server: &Server, set_up: &Authorization, vault: &ResourceId) -> Result<String, ChangeError> {
    let fault = |e: &dyn std::error::Error| ChangeError::Invalid(format!("the first secret: {}", Causes(e)));
    let snapshot = server.store.snapshot();
    let vault = snapshot.vault(vault.name()).ok_or_else(|| ChangeError::Missing(vault.to_string()))?;
    let name: SecretName = SECRET.0.parse().map_err(|e| fault(&e))?;
    match server.secrets.get(set_up, vault, &name, None).await {
        Ok((_, value)) => return Ok(value.expose().to_owned()),
        Err(SecretError::NotFound | SecretError::Disabled) => {}
        Err(other) => return Err(fault(&other)),
    }
    let new = || {
        let mut new = NewSecret::of(SecretString::from(SECRET.1.to_owned()));
        new.content_type = Some("text/plain".into());
        new
    };
    let mut set = server.secrets.set(set_up, vault, &name, new()).await;
    if matches!(set, Err(SecretError::Deleted)) {
        server.secrets.recover(set_up, vault, &name).await.map_err(|e| fault(&e))?;
        set = server.secrets.set(set_up, vault, &name, new()).await;
    }
    set.map(|_| SECRET.1.to_owned()).map_err(|e| fault(&e))
}
