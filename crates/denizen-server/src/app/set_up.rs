//! The first tenant and what it needs to be used: a subscription, a resource group, a vault and an administrator.
//!
//! Everything is decided and written in one transaction, so there is all of it or nothing, and of two who set up at once
//! one makes it and the other is told that it is there. Ids and the administrator's secret are chosen before
//! ([`SetUp::plan`]), so that whoever must not lose the secret can keep it first.
//!
//! Tests: below, and `tests/it`, which runs `denizen init`.

use std::sync::Arc;

use denizen_keys::{SecretString, random};
use denizen_wire::{ClientId, PrincipalId, ResourceId, SubscriptionId, TenantId, UnixTime};
use serde_json::json;

use super::{
    ChangeError,
    access::Authorization,
    directory::{self, Directory},
    vaults::{NewVault, Vaults},
};
use crate::{
    domain::{
        directory::{Application, ServicePrincipal, Tenant},
        resources::{ResourceGroup, Subscription, Vault},
        roles::{BuiltInRoles, RoleAssignment, RoleId},
    },
    store::{Snapshot, Store, Write},
};

/// The action, as the audit names it.
const SET_UP: &str = directory::actions::CREATE_TENANT;
/// The role that an administrator has at the subscription.
const OWNER: &str = "Owner";
/// The role that an administrator has in the directory.
const GLOBAL_ADMINISTRATOR: &str = "Global Administrator";

/// Sets up.
#[derive(Clone)]
pub struct SetUp {
    store: Store,
    roles: std::sync::Arc<BuiltInRoles>,
    directory: Directory,
    vaults: Vaults,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct NewSetUp<'a> {
    /// The domain name that the tenant also goes by.
    pub domain: &'a str,
    /// The tenant's name for people.
    pub display_name: &'a str,
    /// The resource group's name.
    pub resource_group: &'a str,
    /// The vault; its location is also the resource group's.
    pub vault: NewVault<'a>,
    /// The administrator's name for people.
    pub administrator: &'a str,
    /// The administrator's roles at the subscription beside *Owner*.
    pub more_roles: &'a [&'a str],
}

/// Everything that will be made, with its ids and the administrator's secret. Has no `Debug`.
pub struct Plan {
    tenant: Tenant,
    subscription: Subscription,
    group: ResourceGroup,
    vault: Vault,
    application: Application,
    principal: ServicePrincipal,
    assignments: Vec<RoleAssignment>,
    secret: SecretString,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was made.
    Made,
    /// There is a tenant already, and nothing was changed.
    There(TenantId),
}

/// What is there already, as far as one tenant has what [`SetUp`] makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// The tenant that was made first.
    pub tenant: TenantId,
    /// Its resource group.
    pub resource_group: ResourceId,
    /// Its vault.
    pub vault: ResourceId,
    /// Its administrator's client.
    pub administrator: ClientId,
}

impl Plan {
    /// The tenant.
    pub fn tenant(&self) -> TenantId {
        self.tenant.id
    }

    /// The subscription.
    pub fn subscription(&self) -> SubscriptionId {
        self.subscription.id
    }

    /// The resource group.
    pub fn resource_group(&self) -> &ResourceId {
        &self.group.id
    }

    /// The vault.
    pub fn vault(&self) -> &ResourceId {
        &self.vault.id
    }

    /// The administrator's client.
    pub fn client(&self) -> ClientId {
        self.application.client_id
    }

    /// The administrator's object id: what roles are given to.
    pub fn principal(&self) -> PrincipalId {
        self.principal.id
    }

    /// The administrator's client secret. It is kept nowhere.
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }
}

impl SetUp {
    /// Creates the use case of a store.
    pub fn new(store: Store, roles: std::sync::Arc<BuiltInRoles>, directory: Directory, vaults: Vaults) -> Self {
        Self { store, roles, directory, vaults }
    }

    /// Chooses ids and a secret for everything, and writes nothing.
    ///
    /// # Errors
    /// [`ChangeError::Invalid`] names the rule that a name breaks; [`ChangeError::Missing`] an unknown role.
    pub async fn plan(&self, new: &NewSetUp<'_>, now: UnixTime) -> Result<Plan, ChangeError> {
        if !is_domain(new.domain) {
            return Err(ChangeError::Invalid(format!(
                "'{}' cannot be a tenant's domain: take a domain name with a dot in it, as contoso.example",
                denizen_wire::shown::identifier(new.domain)
            )));
        }
        let tenant = self.directory.new_tenant(TenantId(random::uuid_v4()), new.domain, new.display_name, now);
        let id = SubscriptionId(random::uuid_v4());
        let subscription =
            Subscription { tenant: tenant.id, id, display_name: new.display_name.to_owned(), created: now };
        let scope = ResourceId::subscription(id);
        let group = directory::new_resource_group(tenant.id, &scope, new.resource_group, new.vault.location, now)?;
        let vault = self.vaults.new_vault(&tenant, &group.id, &new.vault, now)?;
        let (mut application, principal) = directory::new_application(tenant.id, new.administrator);
        let client = application.client_id;
        let (secret, password) = self.directory.new_password(&tenant, client, new.administrator, now)?;
        application.passwords = vec![password];
        let at_subscription = [OWNER].iter().chain(new.more_roles).map(|role| (*role, &scope));
        let root = ResourceId::root();
        let mut assignments = Vec::new();
        for (role, scope) in at_subscription.chain([(GLOBAL_ADMINISTRATOR, &root)]) {
            let role = self.roles.named(role).ok_or_else(|| ChangeError::Missing(format!("the role '{role}'")))?;
            assignments.push(assignment(tenant.id, principal.id, role.id, scope, now));
        }
        Ok(Plan { tenant, subscription, group, vault, application, principal, assignments, secret })
    }

    /// Makes everything of a plan, unless there is a tenant by now.
    ///
    /// # Errors
    /// The store's; nothing was made then.
    pub async fn carry_out(&self, authorization: &Authorization, plan: &Plan) -> Result<Outcome, ChangeError> {
        authorization.check(SET_UP, plan.tenant.id, &["/"])?;
        let by = authorization.ctx().actor.to_string();
        let by = by.as_str();
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    if let Some(there) = tx.snapshot().tenants().next().map(|tenant| tenant.id) {
                        return Ok(Write::Unchanged(Outcome::There(there)));
                    }
                    tx.insert(&plan.tenant).await?;
                    tx.insert(&plan.subscription).await?;
                    tx.insert(&plan.group).await?;
                    tx.insert(&plan.application).await?;
                    tx.insert(&plan.principal).await?;
                    for assignment in &plan.assignments {
                        tx.insert(&RoleAssignment { created_by: by.to_owned(), ..assignment.clone() }).await?;
                    }
                    tx.insert(&plan.vault).await?;
                    let made = json!({
                        "resourceGroup": plan.group.id.as_str(),
                        "vault": plan.vault.id.as_str(),
                        "administrator": { "clientId": plan.client(), "objectId": plan.principal() },
                    });
                    Ok(Write::commit(SET_UP, plan.tenant.id.to_string(), Outcome::Made).detail(made))
                })
            })
            .await
    }

    /// What was set up earlier; none when the first tenant has no longer all of it.
    pub fn existing(&self, snapshot: &Snapshot) -> Option<Existing> {
        let tenant = snapshot.tenants().next()?.id;
        let role = self.roles.named(GLOBAL_ADMINISTRATOR)?.id;
        let root = ResourceId::root();
        let administers = |application: &&Arc<Application>| {
            let principal = snapshot.principal_of_client(tenant, application.client_id);
            let given = principal.map_or(&[][..], |principal| snapshot.assignments_of(tenant, principal.id));
            given.iter().any(|it| it.role == role && it.scope.is(&root))
        };
        // The one whose secret is the oldest; an administrator that was added later has a younger one.
        let age = |application: &&Arc<Application>| {
            (application.passwords.iter().map(|it| it.start).min(), application.object_id)
        };
        let administrator = snapshot.applications(tenant).filter(administers).min_by_key(age)?.client_id;
        let group = snapshot.resource_groups(tenant).min_by_key(|group| group.created)?.id.clone();
        let vault = snapshot.vaults(tenant).min_by_key(|vault| vault.created)?.id.clone();
        Some(Existing { tenant, resource_group: group, vault, administrator })
    }
}

fn assignment(
    tenant: TenantId,
    principal: PrincipalId,
    role: RoleId,
    scope: &ResourceId,
    created: UnixTime,
) -> RoleAssignment {
    let (id, scope) = (random::uuid_v4(), scope.clone());
    RoleAssignment { tenant, id, scope, principal, role, created, created_by: String::new() }
}

/// Whether the text is a domain name with a dot in it.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(is_label)
        && text.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use denizen_keys::envelope::RootKey;
    use denizen_wire::Clock;

    use super::*;
    use crate::{
        app::access::SystemReason,
        run::{Server, root_key_in},
    };

    const NEW: NewSetUp<'_> = NewSetUp {
        domain: "Contoso.example",
        display_name: "Contoso",
        resource_group: "servers",
        vault: NewVault { name: "main", location: "local", retention_days: 90 },
        administrator: "Administrator",
        more_roles: &[],
    };

    async fn server(folder: &tempfile::TempDir) -> Server {
        let root = folder.path().canonicalize().unwrap();
        let key = RootKey::load_or_create(&root_key_in(&root)).unwrap();
        Server::open_at_rest(&root, key, "https://localhost:8443", Clock::system()).await.unwrap()
    }

    #[tokio::test]
    async fn all_of_it_is_made_in_one_transaction_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(&folder).await;
        let now = Clock::system().now();
        let (one, two) = (server.set_up.plan(&NEW, now).await.unwrap(), server.set_up.plan(&NEW, now).await.unwrap());
        assert_eq!(server.set_up.existing(&server.store.snapshot()), None, "a plan writes nothing");
        let of = |plan: &Plan| server.authorize(plan.tenant(), SystemReason::SetUp);
        let (of_one, of_two) = (of(&one), of(&two));
        let (first, second) =
            tokio::join!(server.set_up.carry_out(&of_one, &one), server.set_up.carry_out(&of_two, &two));
        let outcomes = [first.unwrap(), second.unwrap()];
        let made = match outcomes {
            [Outcome::Made, Outcome::There(there)] if there == one.tenant() => &one,
            [Outcome::There(there), Outcome::Made] if there == two.tenant() => &two,
            other => panic!("{other:?}"),
        };
        let snapshot = server.store.snapshot();
        assert_eq!((snapshot.tenants().count(), server.store.revision().0), (1, 1));
        let expected = Existing {
            tenant: made.tenant(),
            resource_group: made.resource_group().clone(),
            vault: made.vault().clone(),
            administrator: made.client(),
        };
        assert_eq!(server.set_up.existing(&snapshot), Some(expected));
        assert!(snapshot.tenant_named("contoso.example").is_some());
        let application: &Arc<Application> = snapshot.application(made.tenant(), made.client()).unwrap();
        assert_eq!(server.directory.is_secret_of(application, made.secret()), Ok(true));
        assert_eq!(server.directory.is_secret_of(application, &"another".into()), Ok(false));
        let roles = BuiltInRoles::load();
        let given = snapshot.assignments_of(made.tenant(), made.principal());
        let mut given: Vec<_> =
            given.iter().map(|it| (roles.role(it.role).unwrap().name.clone(), it.scope.to_string())).collect();
        given.sort_unstable();
        let subscription = format!("/subscriptions/{}", made.subscription());
        assert_eq!(given, [("Global Administrator".to_owned(), "/".to_owned()), ("Owner".to_owned(), subscription)]);
        // The audit says who, and the one record names everything.
        let records = server.store.audit_tail(of_one.ctx(), 10).await.unwrap();
        let others = server.store.audit_tail(of_two.ctx(), 10).await.unwrap();
        let record = records.iter().chain(&others).find(|record| record.action == SET_UP).unwrap();
        assert_eq!((record.actor.as_str(), record.target.clone()), ("system:set-up", made.tenant().to_string()));
        assert!(format!("{record:?}").contains(&made.client().to_string()), "{record:?}");
        server.store.clone().close().await;
    }

    #[tokio::test]
    async fn what_breaks_a_rule_is_named_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(&folder).await;
        let vault = |name| NewVault { name, ..NEW.vault };
        for (new, says) in [
            (NewSetUp { domain: "contoso", ..NEW }, "domain name with a dot"),
            (NewSetUp { domain: "10.0.0.1", ..NEW }, "domain name with a dot"),
            (NewSetUp { resource_group: "a/b", ..NEW }, "resource group"),
            (NewSetUp { vault: vault("x"), ..NEW }, "cannot name a vault"),
            (NewSetUp { more_roles: &["King"], ..NEW }, "King"),
        ] {
            let error = server.set_up.plan(&new, UnixTime(1)).await.err().unwrap().to_string();
            assert!(error.contains(says), "{error}");
        }
        server.store.clone().close().await;
    }
}
