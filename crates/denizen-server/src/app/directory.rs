//! The directory: tenants, applications and their client secrets; and all that the directory's API reads and changes.
//!
//! | file | holds |
//! |---|---|
//! | [`reading`] | pages of lists, and one object by its id |
//! | [`applications`], [`users`], [`groups`], [`grants`], [`deleted`] | what is changed of each |
//! | [`purge`] | removing for good what was deleted, with everything that names it |
//! | [`error`] | why not |
//!
//! Tests: `tests/it`, which makes and uses them over the wire, and `http/graph/tests/`.

mod applications;
mod deleted;
mod error;
mod grants;
mod groups;
mod purge;
mod reading;
mod users;

pub use applications::{ApplicationChange, NewCertificate, NewSecret};
pub use error::DirectoryError;
pub(in crate::app) use error::refuse_outranked;
pub use grants::{Given, NewAppRole};
pub use groups::GroupChange;
pub use reading::{List, Listed, Named, Object, Page};
pub use users::{NewPassword, UserChange};

use std::sync::Arc;

use denizen_keys::{KeyError, SecretString, constant_time_eq, password, random};
use denizen_wire::{ClientId, PrincipalId, ResourceId, SubscriptionId, TenantId, UnixTime};
use uuid::Uuid;

use super::{ChangeError, access::Authorization, key_encryption_keys::KeyEncryptionKeys, passwords::Passwords};
use crate::{
    domain::{
        claims::audience::OwnResources,
        directory::{Application, Kept, PasswordCredential, PrincipalKind, ServicePrincipal, SigningAlgorithm, Tenant},
        federation,
        resources::{ResourceGroup, Subscription},
        roles::BuiltInRoles,
    },
    store::{Store, StoreError, Tx, Write},
};

/// A client secret lives this long unless another end is asked for, seconds: two years, as the portal offers at most.
const PASSWORD_LIFETIME: i64 = 730 * 24 * 3600;

/// The actions of this folder, as authorization names them.
pub mod actions {
    pub(in crate::app) const CREATE_TENANT: &str = "Denizen.Directory/tenants/write";
    pub(super) const CREATE_RESOURCE_GROUP: &str = "Microsoft.Resources/subscriptions/resourceGroups/write";

    macro_rules! action {
        ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
            $($(#[$doc])* pub const $name: &str = concat!("microsoft.directory/", $text);)*
        };
    }

    action! {
        /// To give and take roles of the directory.
        ASSIGN_IN_DIRECTORY = "roleAssignments/allProperties/allTasks";
        /// To see applications.
        READ_APPLICATIONS = "applications/standard/read";
        /// To register one.
        CREATE_APPLICATION = "applications/create";
        /// To change one, but for its credentials.
        UPDATE_APPLICATION = "applications/basic/update";
        /// To change what applications prove themselves with.
        UPDATE_CREDENTIALS = "applications/credentials/update";
        /// To delete one.
        DELETE_APPLICATION = "applications/delete";
        /// To see service principals.
        READ_PRINCIPALS = "servicePrincipals/standard/read";
        /// To make one.
        CREATE_PRINCIPAL = "servicePrincipals/create";
        /// To change one.
        UPDATE_PRINCIPAL = "servicePrincipals/basic/update";
        /// To delete one.
        DELETE_PRINCIPAL = "servicePrincipals/delete";
        /// To see who has which app role.
        READ_APP_ROLES = "servicePrincipals/appRoleAssignedTo/read";
        /// To give and take app roles.
        UPDATE_APP_ROLES = "servicePrincipals/appRoleAssignedTo/update";
        /// To see users.
        READ_USERS = "users/standard/read";
        /// To see oneself, which no role has to give.
        READ_MYSELF = "users/me/read";
        /// To make one.
        CREATE_USER = "users/create";
        /// To change one.
        UPDATE_USER = "users/basic/update";
        /// To set its password.
        UPDATE_PASSWORD = "users/password/update";
        /// To have it sign in again.
        REVOKE_SESSIONS = "users/invalidateAllRefreshTokens";
        /// To delete one.
        DELETE_USER = "users/delete";
        /// To see groups, and who is in them.
        READ_GROUPS = "groups/standard/read";
        /// To make one.
        CREATE_GROUP = "groups/create";
        /// To change one.
        UPDATE_GROUP = "groups/basic/update";
        /// To change who is in one.
        UPDATE_MEMBERS = "groups/members/update";
        /// To change who owns one.
        UPDATE_OWNERS = "groups/owners/update";
        /// To delete one.
        DELETE_GROUP = "groups/delete";
        /// To see objects by their ids alone.
        READ_OBJECTS = "directoryObjects/standard/read";
        /// To see what clients were granted.
        READ_GRANTS = "oAuth2PermissionGrants/standard/read";
        /// To grant.
        CREATE_GRANT = "oAuth2PermissionGrants/create";
        /// To change a grant.
        UPDATE_GRANT = "oAuth2PermissionGrants/basic/update";
        /// To remove one.
        DELETE_GRANT = "oAuth2PermissionGrants/delete";
        /// To see what was deleted.
        READ_DELETED = "deletedItems/standard/read";
        /// To restore it.
        RESTORE_DELETED = "deletedItems/restore";
        /// To remove it for good.
        PURGE_DELETED = "deletedItems/delete";
    }
}

/// Changes to the directory.
#[derive(Clone)]
pub struct Directory {
    store: Store,
    key_encryption_keys: KeyEncryptionKeys,
    roles: Arc<BuiltInRoles>,
    passwords: Passwords,
    /// What no application may call itself.
    own_resources: OwnResources,
}

impl Directory {
    /// Creates the use cases of a store; new tenants get a key-encryption key of `key_encryption_keys`, and no application
    /// takes the name of one of `own_resources`.
    pub fn new(
        store: Store,
        key_encryption_keys: KeyEncryptionKeys,
        roles: Arc<BuiltInRoles>,
        passwords: Passwords,
        own_resources: OwnResources,
    ) -> Self {
        Self { store, key_encryption_keys, roles, passwords, own_resources }
    }

    /// Makes the tenant that `authorization` names.
    ///
    /// # Errors
    /// The store's: `Exists` when the tenant or its domain name is there.
    pub async fn create_tenant(
        &self,
        authorization: &Authorization,
        domain: &str,
        display_name: &str,
    ) -> Result<Tenant, ChangeError> {
        authorization.check(actions::CREATE_TENANT, authorization.tenant(), &["/"])?;
        let id = authorization.tenant();
        let tenant = self.new_tenant(id, domain, display_name, authorization.now());
        let written = &tenant;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    tx.insert(written).await?;
                    Ok::<_, StoreError>(Write::commit(actions::CREATE_TENANT, id.to_string(), ()))
                })
            })
            .await?;
        Ok(tenant)
    }

    /// A tenant with a key-encryption key of its own, not yet written.
    pub(super) fn new_tenant(&self, id: TenantId, domain: &str, display_name: &str, created: UnixTime) -> Tenant {
        Tenant {
            id,
            domain: domain.to_ascii_lowercase(),
            display_name: display_name.to_owned(),
            sealed_kek: self.key_encryption_keys.create(id),
            created,
        }
    }

    /// Makes a resource group, and its subscription when the tenant has none of that id.
    ///
    /// # Errors
    /// [`ChangeError::Invalid`] names the rule that the name breaks; the store's.
    pub async fn create_resource_group(
        &self,
        authorization: &Authorization,
        subscription: SubscriptionId,
        name: &str,
        location: &str,
    ) -> Result<ResourceGroup, ChangeError> {
        let (tenant, created) = (authorization.tenant(), authorization.now());
        let group = new_resource_group(tenant, &ResourceId::subscription(subscription), name, location, created)?;
        authorization.check(actions::CREATE_RESOURCE_GROUP, tenant, &[group.id.canonical()])?;
        let written = &group;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    if tx.snapshot().subscription(tenant, subscription).is_none() {
                        let display_name = subscription.to_string();
                        tx.insert(&Subscription { tenant, id: subscription, display_name, created }).await?;
                    }
                    tx.insert(written).await?;
                    Ok::<_, StoreError>(Write::commit(
                        actions::CREATE_RESOURCE_GROUP,
                        written.id.as_str().to_owned(),
                        (),
                    ))
                })
            })
            .await?;
        Ok(group)
    }

    /// Registers an application, with its service principal in this tenant.
    ///
    /// # Errors
    /// The store's.
    pub async fn create_application(
        &self,
        authorization: &Authorization,
        display_name: &str,
    ) -> Result<(Application, ServicePrincipal), ChangeError> {
        authorization.check(actions::CREATE_APPLICATION, authorization.tenant(), &["/"])?;
        let tenant = authorization.tenant();
        let (application, principal) = new_application(tenant, display_name);
        let client_id = application.client_id;
        let (written, its_principal) = (&application, &principal);
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    tx.insert(written).await?;
                    tx.insert(its_principal).await?;
                    Ok::<_, StoreError>(Write::commit(actions::CREATE_APPLICATION, client_id.to_string(), ()))
                })
            })
            .await?;
        Ok((application, principal))
    }

    /// Replaces an application's secrets by one new secret, which is returned here and never again.
    ///
    /// # Errors
    /// [`ChangeError::Missing`] when there is no such application; the store's.
    pub async fn reset_password(
        &self,
        authorization: &Authorization,
        client: ClientId,
        display_name: &str,
    ) -> Result<SecretString, ChangeError> {
        authorization.check(actions::UPDATE_CREDENTIALS, authorization.tenant(), &["/"])?;
        let (tenant, now) = (authorization.tenant(), authorization.now());
        let snapshot = self.store.snapshot();
        let record = snapshot.tenant(tenant).ok_or_else(|| ChangeError::Missing(format!("tenant {tenant}")))?;
        let (secret, password) = self.new_password(record, client, display_name, now)?;
        let password = &password;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let Some(current) = tx.snapshot().application(tenant, client).cloned() else {
                        return Err(ChangeError::Missing(format!("application {client}")));
                    };
                    let mut application = Application::clone(&current);
                    application.passwords = vec![password.clone()];
                    tx.put(&application).await?;
                    revoke_where_lost(tx, &current, &application).await?;
                    Ok(Write::commit(actions::UPDATE_CREDENTIALS, client.to_string(), ()))
                })
            })
            .await?;
        Ok(secret)
    }

    /// A new client secret, and what is kept of it. It has 256 random bits, which no slow hash need protect.
    ///
    /// # Errors
    /// [`ChangeError::Key`]: the tenant's key does not open.
    pub(super) fn new_password(
        &self,
        tenant: &Tenant,
        client: ClientId,
        display_name: &str,
        now: UnixTime,
    ) -> Result<(SecretString, PasswordCredential), ChangeError> {
        let secret = random::token(32);
        let password = PasswordCredential {
            key_id: random::uuid_v4(),
            display_name: display_name.to_owned(),
            hint: secret.expose().chars().take(3).collect(),
            start: now,
            end: now + PASSWORD_LIFETIME,
            kept: Kept::Mac(self.key_encryption_keys.client_secret_mac(tenant, client, &secret)?),
        };
        Ok((secret, password))
    }

    /// Whether a secret is one of an application's, in or out of its time. Takes as long as slow hashes take: for commands,
    /// not for requests.
    ///
    /// # Errors
    /// The tenant's key does not open.
    pub fn is_secret_of(&self, application: &Application, secret: &SecretString) -> Result<bool, KeyError> {
        let snapshot = self.store.snapshot();
        let Some(tenant) = snapshot.tenant(application.tenant) else { return Ok(false) };
        let mac = self.key_encryption_keys.client_secret_mac(tenant, application.client_id, secret)?;
        Ok(application.passwords.iter().any(|password| match &password.kept {
            Kept::Mac(kept) => constant_time_eq(kept, &mac),
            Kept::Argon2id { hash, .. } => password::verify(secret, hash),
        }))
    }
}

impl Directory {
    /// Says what the tokens for an application, as a resource, are signed by: from the next token on.
    ///
    /// # Errors
    /// [`ChangeError::Missing`] when there is no such application; the store's.
    pub async fn set_signing_algorithm(
        &self,
        authorization: &Authorization,
        client: ClientId,
        algorithm: SigningAlgorithm,
    ) -> Result<(), ChangeError> {
        authorization.check(actions::UPDATE_APPLICATION, authorization.tenant(), &["/"])?;
        let tenant = authorization.tenant();
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let Some(current) = tx.snapshot().application(tenant, client).cloned() else {
                        return Err(ChangeError::Missing(format!("application {client}")));
                    };
                    if current.signing_algorithm == algorithm {
                        return Ok(Write::Unchanged(()));
                    }
                    tx.put(&Application { signing_algorithm: algorithm, ..Application::clone(&current) }).await?;
                    Ok(Write::commit(actions::UPDATE_APPLICATION, client.to_string(), ()))
                })
            })
            .await
    }
}

/// Revokes the tokens of an application's principal when the application has lost a credential: whoever got a token by it
/// keeps nothing of it.
pub(in crate::app) async fn revoke_where_lost(
    tx: &mut Tx<'_>,
    before: &Application,
    after: &Application,
) -> Result<(), StoreError> {
    let keeps_its_own = credentials_of(before).all(|id| credentials_of(after).any(|kept| kept == id));
    if keeps_its_own && !federation::is_lost(&before.federated, &after.federated) {
        return Ok(());
    }
    let principal = tx.snapshot().principal_of_client(after.tenant, after.client_id).map(|principal| principal.id);
    let Some(principal) = principal else { return Ok(()) };
    if let Some(principal) = tx.record::<ServicePrincipal>(&principal).await? {
        tx.put(&ServicePrincipal { epoch: principal.epoch + 1, ..principal }).await?;
    }
    Ok(())
}

/// The ids of what an application proves itself with, but for federated credentials: these do not change under their ids.
fn credentials_of(application: &Application) -> impl Iterator<Item = Uuid> {
    let Application { passwords, keys, trusted_subjects, .. } = application;
    let registered = passwords.iter().map(|it| it.key_id).chain(keys.iter().map(|it| it.key_id));
    registered.chain(trusted_subjects.iter().map(|it| it.id))
}

/// A resource group of a subscription, not yet written.
///
/// # Errors
/// [`ChangeError::Invalid`] names the rule that the name breaks.
pub(super) fn new_resource_group(
    tenant: TenantId,
    subscription: &ResourceId,
    name: &str,
    location: &str,
    created: UnixTime,
) -> Result<ResourceGroup, ChangeError> {
    let id = subscription.resource_group(name);
    let id = id.map_err(|e| ChangeError::Invalid(format!("resource group '{name}': {e}")))?;
    Ok(ResourceGroup { tenant, id, location: location.to_owned(), created })
}

/// An application and its service principal, not yet written.
pub(super) fn new_application(tenant: TenantId, display_name: &str) -> (Application, ServicePrincipal) {
    let client_id = ClientId(random::uuid_v4());
    let application = Application::new(tenant, client_id, random::uuid_v4(), display_name);
    let principal = ServicePrincipal {
        tenant,
        id: PrincipalId(random::uuid_v4()),
        client_id,
        display_name: display_name.to_owned(),
        kind: PrincipalKind::Application,
        enabled: true,
        epoch: 0,
        keys: Vec::new(),
        token_lifetime: None,
        federated: Vec::new(),
    };
    (application, principal)
}
