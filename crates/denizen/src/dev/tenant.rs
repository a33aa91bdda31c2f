//! What the development server keeps: a tenant, its administrator, a vault with one secret. Made at the first start
//! with the same use cases an operator has; found again at every other.

use denizen_keys::{SecretString, random};
use denizen_server::{
    app::{
        ChangeError,
        access::{Authorization, SystemReason},
        secrets::SecretError,
        set_up::{Existing, NewSetUp, Outcome},
        users::NewUser,
        vaults::NewVault,
    },
    domain::secrets::{NewSecret, SecretName},
    run::Server,
};
use denizen_wire::{Causes, ClientId, Clock, ResourceId, SubscriptionId, TenantId};

use crate::exit::{self, Failure};

/// The vault's name: `dev.vault.denizen.test`.
pub(crate) const VAULT: &str = "dev";
/// The resource group's name.
const RESOURCE_GROUP: &str = "dev";
/// What is made at the first start.
const NEW: NewSetUp<'_> = NewSetUp {
    domain: "dev.denizen.test",
    display_name: "Development",
    resource_group: RESOURCE_GROUP,
    vault: NewVault { name: VAULT, location: "local", retention_days: 90 },
    administrator: "Development administrator",
    more_roles: &["Key Vault Administrator"],
};
/// The user's name there is at the start.
const USER: &str = "dev@dev.denizen.test";
/// The one secret there is at the start.
const SECRET: (&str, &str) = ("hello", "Hello from a vault that no secret opened");

/// The tenant of the development server, made or found.
pub(crate) struct DevTenant {
    pub(crate) tenant: TenantId,
    pub(crate) subscription: SubscriptionId,
    pub(crate) resource_group: ResourceId,
    pub(crate) vault: ResourceId,
    pub(crate) admin_client: ClientId,
    pub(crate) admin_secret: String,
    /// The name and the password of the user.
    pub(crate) user: (String, String),
    pub(crate) secret: (String, String),
}

impl DevTenant {
    /// Makes what is missing. `previous` is the last run's manifest: the administrator's secret is kept nowhere else.
    pub(crate) async fn open(
        server: &Server,
        clock: &Clock,
        previous: &Option<serde_json::Value>,
    ) -> Result<Self, Failure> {
        Self::make(server, clock, previous)
            .await
            .map_err(Failure::while_(exit::DATA, "setting up the development tenant"))
    }

    async fn make(server: &Server, clock: &Clock, previous: &Option<serde_json::Value>) -> Result<Self, ChangeError> {
        // Kept in case it has to be told: it is kept nowhere else.
        let mut new_secret = None;
        if server.store.snapshot().tenants().next().is_none() {
            let plan = server.set_up.plan(&NEW, clock.now()).await?;
            let by_us = server.authorize(plan.tenant(), SystemReason::SetUp);
            if server.set_up.carry_out(&by_us, &plan).await? == Outcome::Made {
                new_secret = Some(plan.secret().expose().to_owned());
            }
        }
        let existing = server.set_up.existing(&server.store.snapshot());
        let Existing { tenant, resource_group, vault, administrator: admin_client } = existing
            .ok_or_else(|| ChangeError::Missing("the administrator, the resource group or the vault".to_owned()))?;
        let set_up = || server.authorize(tenant, SystemReason::SetUp);
        let keys = server.signing.ensure_keys(&set_up()).await;
        keys.map_err(|e| ChangeError::Invalid(format!("the signing keys: {}", Causes(&e))))?;
        let subscription = resource_group
            .subscription_id()
            .ok_or_else(|| ChangeError::Missing(format!("the subscription of {resource_group}")))?;

        let secret_of_last_run = previous.as_ref().and_then(|p| {
            let admin = p.get("admin")?;
            let client = admin.get("client_id")?.as_str()?.parse::<ClientId>().ok()?;
            (client == admin_client).then(|| admin.get("client_secret")?.as_str().map(str::to_owned)).flatten()
        });
        let admin_secret = match new_secret.or(secret_of_last_run) {
            Some(secret) => secret,
            None => server.directory.reset_password(&set_up(), admin_client, "dev.json").await?.expose().to_owned(),
        };
        let password_of_last_run = previous.as_ref().and_then(|manifest| {
            let user = manifest.get("user")?;
            (user.get("name")?.as_str()? == USER).then(|| user.get("password")?.as_str().map(str::to_owned)).flatten()
        });
        let user = (USER.to_owned(), user(server, &set_up(), password_of_last_run).await?);
        let secret = (SECRET.0.to_owned(), secret(server, &set_up(), &vault).await?);
        Ok(Self { tenant, subscription, resource_group, vault, admin_client, admin_secret, user, secret })
    }
}

/// The password of the user, who is made at the first start. The last run's is kept nowhere but in its manifest; where that is
/// lost, there is another.
async fn user(server: &Server, set_up: &Authorization, previous: Option<String>) -> Result<String, ChangeError> {
    let there = server.store.snapshot().user_named(set_up.tenant(), USER).map(|user| user.id);
    let new = random::token(12);
    match (there, previous) {
        (Some(_), Some(password)) => return Ok(password),
        (Some(user), None) => server.users.set_password(set_up, user, &new, false).await?,
        (None, _) => {
            let (password, display_name) = (Some(new.clone()), "Development user".to_owned());
            let user = NewUser { name: USER.to_owned(), display_name, password, must_change: false };
            server.users.create(set_up, &user).await?;
        }
    }
    Ok(new.expose().to_owned())
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
