//! Tenants, applications and their client secrets.
//!
//! Tests: `tests/it`, which makes and uses them over the wire.

use denizen_keys::{SecretString, password, random};
use denizen_wire::{ClientId, PrincipalId, ResourceId, SubscriptionId};

use super::{ChangeError, keks::Keks};
use crate::{
    domain::{
        Ctx,
        directory::{Application, PasswordCredential, PrincipalKind, ServicePrincipal, Tenant, TokenVersion},
        resources::{ResourceGroup, Subscription},
    },
    store::{AuditEvent, Store},
};

/// A client secret lives this long, seconds: two years, as the portal offers at most.
const PASSWORD_LIFETIME: i64 = 730 * 24 * 3600;

/// Changes to the directory.
#[derive(Clone)]
pub struct Directory {
    store: Store,
    keks: Keks,
}

impl Directory {
    /// Over a store.
    pub fn new(store: Store, keks: Keks) -> Self {
        Self { store, keks }
    }

    /// Makes a tenant; `ctx.tenant` is its id.
    pub async fn create_tenant(&self, ctx: &Ctx, domain: &str, display_name: &str) -> Result<Tenant, ChangeError> {
        let tenant = Tenant {
            id: ctx.tenant,
            domain: domain.to_ascii_lowercase(),
            display_name: display_name.to_owned(),
            sealed_kek: self.keks.create(ctx.tenant),
            created: ctx.now,
        };
        let mut tx = self.store.begin(ctx).await?;
        tx.insert(&tenant).await?;
        tx.commit(AuditEvent::allowed("Denizen.Directory/tenants/write", tenant.id.to_string(), "set-up")).await?;
        Ok(tenant)
    }

    /// Makes a subscription and a resource group in it.
    pub async fn create_resource_group(
        &self,
        ctx: &Ctx,
        subscription: SubscriptionId,
        name: &str,
        location: &str,
    ) -> Result<ResourceGroup, ChangeError> {
        let scope = ResourceId::subscription(subscription);
        let id =
            scope.resource_group(name).map_err(|e| ChangeError::Invalid(format!("resource group '{name}': {e}")))?;
        let group = ResourceGroup { tenant: ctx.tenant, id, location: location.to_owned(), created: ctx.now };
        let mut tx = self.store.begin(ctx).await?;
        if self.store.snapshot().subscription(ctx.tenant, subscription).is_none() {
            let display_name = "Development".to_owned();
            tx.insert(&Subscription { tenant: ctx.tenant, id: subscription, display_name, created: ctx.now }).await?;
        }
        tx.insert(&group).await?;
        let event =
            AuditEvent::allowed("Microsoft.Resources/subscriptions/resourceGroups/write", group.id.as_str(), "set-up");
        tx.commit(event).await?;
        Ok(group)
    }

    /// Registers an application, with its service principal in this tenant.
    pub async fn create_application(
        &self,
        ctx: &Ctx,
        display_name: &str,
    ) -> Result<(Application, ServicePrincipal), ChangeError> {
        let client_id = ClientId(random::uuid_v4());
        let application = Application {
            tenant: ctx.tenant,
            client_id,
            object_id: random::uuid_v4(),
            display_name: display_name.to_owned(),
            identifier_uris: Vec::new(),
            token_version: TokenVersion::V1,
            passwords: Vec::new(),
            keys: Vec::new(),
        };
        let principal = ServicePrincipal {
            tenant: ctx.tenant,
            id: PrincipalId(random::uuid_v4()),
            client_id,
            display_name: display_name.to_owned(),
            kind: PrincipalKind::Application,
            enabled: true,
            epoch: 0,
            keys: Vec::new(),
            token_lifetime: None,
        };
        let mut tx = self.store.begin(ctx).await?;
        tx.insert(&application).await?;
        tx.insert(&principal).await?;
        tx.commit(AuditEvent::allowed("microsoft.directory/applications/create", client_id.to_string(), "asked for"))
            .await?;
        Ok((application, principal))
    }

    /// Replaces an application's secrets by one new secret, which is returned here and never again.
    pub async fn reset_password(
        &self,
        ctx: &Ctx,
        client: ClientId,
        display_name: &str,
    ) -> Result<SecretString, ChangeError> {
        let secret = random::token(32);
        // argon2id takes tens of milliseconds by design: not on a runtime worker.
        let to_hash = secret.clone();
        let hash = tokio::task::spawn_blocking(move || password::hash(&to_hash))
            .await
            .map_err(|_| ChangeError::Invalid("the password could not be hashed; try again".into()))?;
        let mut tx = self.store.begin(ctx).await?;
        let Some(current) = self.store.snapshot().application(ctx.tenant, client).cloned() else {
            return Err(ChangeError::Missing(format!("application {client}")));
        };
        let mut application = Application::clone(&current);
        application.passwords = vec![PasswordCredential {
            key_id: random::uuid_v4(),
            display_name: display_name.to_owned(),
            hint: secret.expose().chars().take(3).collect(),
            start: ctx.now,
            end: ctx.now + PASSWORD_LIFETIME,
            hash,
        }];
        tx.put(&application).await?;
        tx.commit(AuditEvent::allowed(
            "microsoft.directory/applications/credentials/update",
            client.to_string(),
            "asked for",
        ))
        .await?;
        Ok(secret)
    }
}
