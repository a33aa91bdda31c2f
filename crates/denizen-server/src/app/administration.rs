//! What the owner of a server's process does to it by command: join tokens, role assignments, signing keys; users in
//! [`people`].
//!
//! The commands of `denizen` come here in two ways. While a server runs, over a Unix socket in its data directory
//! (`http/admin.rs`); else the command has opened the database itself. Either way an [`Owner`] stands behind it.
//!
//! Tests: `administration/tests.rs`, and `tests/it`.

pub mod people;
#[cfg(test)]
mod tests;

use denizen_keys::random;
use denizen_wire::{Causes, ClientId, PrincipalId, ResourceId, TenantId, UnixTime, node::MachineName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    ChangeError,
    access::{Authorization, System, SystemReason},
    directory::{Directory, DirectoryError},
    machines::Machines,
    rbac::Rbac,
    set_up::SetUp,
    signing::{KeyRing, SigningError},
    trusts::Trusts,
    users::Users,
};
use crate::{
    domain::{
        directory::SigningAlgorithm,
        federation::{DEFAULT_AUDIENCE, ExpressionError, FederatedCredential, TrustedSubject, Whom},
    },
    store::{AuditEvent, Revision, Snapshot, Store},
};

/// Who runs this process, or root: proved by the kernel, which says whose the other end of a Unix socket is.
#[derive(Clone, Copy, Debug)]
pub struct Owner(());

impl Owner {
    /// The user at the other end of a socket, as the kernel says; none for anybody but us and root.
    pub fn at_other_end(uid: u32) -> Option<Self> {
        (uid == 0 || uid == rustix::process::geteuid().as_raw()).then_some(Self(()))
    }
}

/// The use cases of an owner.
#[derive(Clone)]
pub struct Administration {
    store: Store,
    system: System,
    machines: Machines,
    rbac: Rbac,
    signing: KeyRing,
    set_up: SetUp,
    directory: Directory,
    trusts: Trusts,
    users: Users,
}

/// The first administrator's credential. Has no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdministratorCredential {
    /// The tenant.
    pub tenant: TenantId,
    /// The resource group that was made with it.
    pub resource_group: ResourceId,
    /// The vault that was made with it.
    pub vault: ResourceId,
    /// The administrator's client.
    pub client: ClientId,
    /// Its object id.
    pub principal: PrincipalId,
    /// Its new secret: it is kept nowhere.
    pub secret: String,
}

/// A join token that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewJoinToken {
    /// The tenant; the only one there is when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// A resource group's name or id.
    pub resource_group: String,
    /// The only name that the machine may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_name: Option<MachineName>,
    /// How long it is good, seconds.
    pub lifetime: i64,
}

/// A join token. Has no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenMade {
    /// The token: it is kept nowhere.
    pub join_token: String,
    /// Where the machine goes.
    pub resource_group: ResourceId,
    /// It is worth nothing from then on.
    pub expires: UnixTime,
}

/// A role that is to be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewRoleAssignment {
    /// The tenant; the only one there is when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The object id of who gets it.
    pub assignee: PrincipalId,
    /// A built-in role's name.
    pub role: String,
    /// Where: a resource id, or `/`.
    pub scope: String,
}

/// A role that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssigned {
    /// To whom.
    pub assignee: PrincipalId,
    /// Which.
    pub role: String,
    /// Where.
    pub scope: ResourceId,
}

/// A client whose trust is shown or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OfClient {
    /// The tenant; the only one there is when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The application's client id, or a user-assigned identity's.
    pub app: ClientId,
    /// Of one that is removed: its name or its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub which: Option<String>,
}

/// A federated credential that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewFederatedCredential {
    /// Whose.
    pub of: OfClient,
    /// Its name; one is made when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `iss`.
    pub issuer: String,
    /// `sub`; this or the expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// A claims matching expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// `aud`; Entra's usual one when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// For people.
    #[serde(default)]
    pub description: String,
}

/// A federated credential, as Microsoft Graph shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FederatedShown {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Instead of a subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims_matching_expression: Option<ExpressionShown>,
    /// `aud`.
    pub audiences: Vec<String>,
    /// For people.
    pub description: String,
}

/// A claims matching expression, as Microsoft Graph shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpressionShown {
    /// Its text.
    pub value: String,
    /// Always 1.
    pub language_version: u32,
}

impl From<FederatedCredential> for FederatedShown {
    fn from(it: FederatedCredential) -> Self {
        let (subject, expression) = match it.whom {
            Whom::Subject(subject) => (Some(subject), None),
            Whom::Expression(expression) => (None, Some(expression.text().to_owned())),
        };
        Self {
            id: it.id,
            name: it.name,
            issuer: it.issuer,
            subject,
            claims_matching_expression: expression.map(|value| ExpressionShown { value, language_version: 1 }),
            audiences: it.audiences,
            description: it.description,
        }
    }
}

/// A subject that is to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewTrustedSubject {
    /// Whose.
    pub of: OfClient,
    /// The subject, RFC 4514.
    pub subject: String,
    /// The certificates of the authorities, PEM.
    pub authorities: String,
}

/// The names of the published signing keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rotated {
    /// Before.
    pub before: Vec<String>,
    /// After.
    pub after: Vec<String>,
    /// Of those that went, the ones that their device has yet to destroy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// What was not done, and in which tenant: everything else was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

/// Which signing keys are to be replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeysReplaced {
    /// Of this tenant; of all when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
}

/// What the tokens for an application are signed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlgorithmChosen {
    /// The tenant; the only one there is when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Its client id.
    pub application: ClientId,
    /// The algorithm.
    pub algorithm: SigningAlgorithm,
}

/// A backup that is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupBegins {
    /// Names it.
    pub id: Uuid,
}

/// It is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupBegun {
    /// The directory's revision at that moment; the backup's is the same or a later one.
    pub revision: Revision,
}

/// Why an administrator's command did nothing, or not all.
#[derive(Debug, thiserror::Error)]
pub enum AdministrationError {
    /// As another use case says.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The signing keys.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// What everybody may read is not served now.
    #[error("what is published of the issuer cannot be read now; the server's log says why")]
    Unpublished,
}

impl From<DirectoryError> for AdministrationError {
    fn from(error: DirectoryError) -> Self {
        Self::Change(error.into())
    }
}

impl Administration {
    /// Creates the use cases of a store.
    pub fn new(
        store: Store,
        system: System,
        machines: Machines,
        rbac: Rbac,
        signing: KeyRing,
        (set_up, directory, trusts, users): (SetUp, Directory, Trusts, Users),
    ) -> Self {
        Self { store, system, machines, rbac, signing, set_up, directory, trusts, users }
    }

    /// Replaces the secrets of the first administrator by a new one.
    ///
    /// # Errors
    /// There is no such administrator any more; the store's.
    pub async fn new_administrator_secret(&self, _: Owner) -> Result<AdministratorCredential, AdministrationError> {
        let snapshot = self.store.snapshot();
        let missing =
            || ChangeError::Missing("the administrator, the resource group or the vault of the set-up".to_owned());
        let there = self.set_up.existing(&snapshot).ok_or_else(missing)?;
        let authorization = self.system.authorize(there.tenant, SystemReason::Command("denizen init --new-secret"));
        let name = "denizen init --new-secret";
        let secret = self.directory.reset_password(&authorization, there.administrator, name).await?;
        let principal = snapshot.principal_of_client(there.tenant, there.administrator).ok_or_else(missing)?.id;
        Ok(AdministratorCredential {
            tenant: there.tenant,
            resource_group: there.resource_group,
            vault: there.vault,
            client: there.administrator,
            principal,
            secret: secret.expose().to_owned(),
        })
    }

    /// Makes a join token.
    ///
    /// # Errors
    /// Each names the rule and the fix.
    pub async fn create_join_token(&self, _: Owner, new: &NewJoinToken) -> Result<JoinTokenMade, AdministrationError> {
        let snapshot = self.store.snapshot();
        let tenant = tenant(&snapshot, new.tenant)?;
        let group = resource_group(&snapshot, tenant, &new.resource_group)?;
        let authorization = self.system.authorize(tenant, SystemReason::Command("denizen join-token create"));
        let name = new.machine_name.as_ref().map(MachineName::as_str);
        let token = self.machines.create_join_token(&authorization, &group, name, new.lifetime).await?;
        let expires = authorization.now() + new.lifetime;
        Ok(JoinTokenMade { join_token: token.expose().to_owned(), resource_group: group, expires })
    }

    /// Gives a built-in role. Given already: nothing happens.
    ///
    /// # Errors
    /// Each names the rule and the fix.
    pub async fn assign_role(&self, _: Owner, new: &NewRoleAssignment) -> Result<RoleAssigned, AdministrationError> {
        let snapshot = self.store.snapshot();
        let tenant = tenant(&snapshot, new.tenant)?;
        let scope: ResourceId = new.scope.parse().map_err(|error| {
            ChangeError::Invalid(format!(
                "the scope is no resource id ({error}): write /, /subscriptions/ID or what stands below that"
            ))
        })?;
        let subscription = scope.subscription_id();
        if scope != ResourceId::root() && subscription.is_none_or(|id| snapshot.subscription(tenant, id).is_none()) {
            return Err(ChangeError::Missing(format!("the subscription of the scope {scope}")).into());
        }
        let authorization = self.system.authorize(tenant, SystemReason::Command("denizen role assignment create"));
        self.rbac.assign(&authorization, new.assignee, &new.role, &scope).await?;
        Ok(RoleAssigned { assignee: new.assignee, role: new.role.clone(), scope })
    }

    /// Adds a federated credential to a client.
    ///
    /// # Errors
    /// Each names the rule and the fix.
    pub async fn add_federated(
        &self,
        _: Owner,
        new: NewFederatedCredential,
    ) -> Result<FederatedShown, AdministrationError> {
        let authorization = self.for_client(&new.of, "denizen app federated-credential add")?;
        let whom = match (new.subject, new.expression) {
            (Some(subject), None) => Whom::Subject(subject),
            (None, Some(text)) => {
                let parsed = text.parse().map_err(|error: ExpressionError| ChangeError::Invalid(error.to_string()))?;
                Whom::Expression(parsed)
            }
            (Some(_), Some(_)) | (None, None) => {
                let rule =
                    "a federated credential has either a subject or a claims matching expression: give one of them";
                return Err(ChangeError::Invalid(rule.to_owned()).into());
            }
        };
        let id = random::uuid_v4();
        let credential = FederatedCredential {
            id,
            name: new.name.unwrap_or_else(|| format!("federated-{}", id.simple())),
            issuer: new.issuer,
            whom,
            audiences: vec![new.audience.unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned())],
            description: new.description,
        };
        Ok(self.trusts.add_federated(&authorization, new.of.app, credential).await?.into())
    }

    /// The federated credentials of a client.
    ///
    /// # Errors
    /// There is no such client.
    pub fn federated(&self, _: Owner, of: &OfClient) -> Result<Vec<FederatedShown>, AdministrationError> {
        let authorization = self.for_client(of, "denizen app federated-credential list")?;
        Ok(self.trusts.federated(&authorization, of.app)?.into_iter().map(Into::into).collect())
    }

    /// Removes a federated credential.
    ///
    /// # Errors
    /// There is no such client, or credential.
    pub async fn remove_federated(&self, _: Owner, of: &OfClient) -> Result<(), AdministrationError> {
        let authorization = self.for_client(of, "denizen app federated-credential remove")?;
        let which = of.which.as_deref().unwrap_or_default();
        Ok(self.trusts.remove_federated(&authorization, of.app, which).await?)
    }

    /// Lets an application prove itself by certificates of a subject.
    ///
    /// # Errors
    /// Each names the rule and the fix.
    pub async fn trust_subject(
        &self,
        _: Owner,
        new: &NewTrustedSubject,
    ) -> Result<TrustedSubject, AdministrationError> {
        let authorization = self.for_client(&new.of, "denizen app trusted-subject add")?;
        let subject = (random::uuid_v4(), new.subject.as_str());
        Ok(self.trusts.trust_subject(&authorization, new.of.app, subject, &new.authorities).await?)
    }

    /// The subjects an application trusts.
    ///
    /// # Errors
    /// There is no such application.
    pub fn subjects(&self, _: Owner, of: &OfClient) -> Result<Vec<TrustedSubject>, AdministrationError> {
        let authorization = self.for_client(of, "denizen app trusted-subject list")?;
        Ok(self.trusts.subjects(&authorization, of.app)?)
    }

    /// Takes a subject's trust back.
    ///
    /// # Errors
    /// There is no such application, or subject.
    pub async fn distrust_subject(&self, _: Owner, of: &OfClient) -> Result<(), AdministrationError> {
        let authorization = self.for_client(of, "denizen app trusted-subject remove")?;
        let which = of.which.as_deref().unwrap_or_default();
        let id = which.parse().map_err(|_| {
            ChangeError::Invalid(
                "name the trusted subject by its id, as `denizen app trusted-subject list` shows it".to_owned(),
            )
        })?;
        Ok(self.trusts.distrust_subject(&authorization, of.app, id).await?)
    }

    fn for_client(&self, of: &OfClient, command: &'static str) -> Result<Authorization, ChangeError> {
        let tenant = tenant(&self.store.snapshot(), of.tenant)?;
        Ok(self.system.authorize(tenant, SystemReason::Command(command)))
    }

    /// Records that a backup is about to be made: it has everything in it, so nobody takes one unrecorded.
    ///
    /// # Errors
    /// It cannot be recorded; no backup may be made then.
    pub fn begin_backup(&self, _: Owner, new: &BackupBegins) -> Result<BackupBegun, AdministrationError> {
        // It is of all tenants.
        let all = TenantId(Uuid::nil());
        let authorization = self.system.authorize(all, SystemReason::Command("denizen backup create"));
        let event = AuditEvent::allowed("audit/backup", format!("backups/{}", new.id), authorization.reason());
        self.store.audit(&authorization, &event).map_err(ChangeError::from)?;
        Ok(BackupBegun { revision: self.store.revision() })
    }

    /// Replaces every signing key at once: whatever the old ones signed is refused from here on. A tenant whose keys cannot be
    /// replaced keeps no other from it: it is in [`Rotated::failed`].
    ///
    /// # Errors
    /// There is no such tenant.
    pub async fn replace_signing_keys(&self, owner: Owner, new: &KeysReplaced) -> Result<Rotated, AdministrationError> {
        let command = "denizen signing-key roll --emergency";
        let tenants = self.tenants(owner, new.tenant)?;
        let kids = || self.kids(&tenants);
        let before = kids();
        let mut failed = Vec::new();
        for tenant in &tenants {
            let authorization = self.system.authorize(*tenant, SystemReason::Command(command));
            match self.signing.replace_all(&authorization).await {
                Ok(()) => {
                    tracing::warn!(%tenant, "every signing key was replaced by command: what the old ones signed is refused");
                }
                Err(error) => failed.push(not_changed(*tenant, &error)),
            }
        }
        Ok(Rotated { before, after: kids(), left: self.withdrawn(&tenants), failed })
    }

    /// Says what the tokens for an application, as a resource, are signed by.
    ///
    /// # Errors
    /// There is no such application; the store's.
    pub async fn set_signing_algorithm(
        &self,
        _: Owner,
        new: &AlgorithmChosen,
    ) -> Result<AlgorithmChosen, AdministrationError> {
        let tenant = tenant(&self.store.snapshot(), new.tenant)?;
        let command = "denizen signing-key algorithm";
        let authorization = self.system.authorize(tenant, SystemReason::Command(command));
        self.directory.set_signing_algorithm(&authorization, new.application, new.algorithm).await?;
        Ok(AlgorithmChosen { tenant: Some(tenant), ..*new })
    }

    /// The tenant that is meant, or all where none is named.
    ///
    /// # Errors
    /// There is none of that id, or none at all.
    pub fn tenants(&self, _: Owner, asked: Option<TenantId>) -> Result<Vec<TenantId>, AdministrationError> {
        let snapshot = self.store.snapshot();
        if asked.is_some() || snapshot.tenants().next().is_none() {
            return Ok(vec![tenant(&snapshot, asked)?]);
        }
        Ok(snapshot.tenants().map(|tenant| tenant.id).collect())
    }

    fn kids(&self, tenants: &[TenantId]) -> Vec<String> {
        let snapshot = self.store.snapshot();
        tenants.iter().flat_map(|tenant| KeyRing::kids(&snapshot, *tenant)).collect()
    }

    fn withdrawn(&self, tenants: &[TenantId]) -> Vec<String> {
        let snapshot = self.store.snapshot();
        tenants.iter().flat_map(|tenant| KeyRing::withdrawn(&snapshot, *tenant)).collect()
    }

    /// Makes the keys that sign stop now; their successors, which are published already, sign from here on.
    ///
    /// # Errors
    /// The first that fails.
    pub async fn rotate_signing_keys(&self, _: Owner) -> Result<Rotated, AdministrationError> {
        let tenants: Vec<TenantId> = self.store.snapshot().tenants().map(|tenant| tenant.id).collect();
        let kids = || self.kids(&tenants);
        let before = kids();
        let mut failed = Vec::new();
        for tenant in &tenants {
            let authorization = self.system.authorize(*tenant, SystemReason::Command("denizen signing-key rotate"));
            if let Err(error) = self.signing.rotate(&authorization).await {
                failed.push(not_changed(*tenant, &error));
            }
        }
        Ok(Rotated { before, after: kids(), left: self.withdrawn(&tenants), failed })
    }
}

/// Says and logs that a tenant's signing keys were not changed, or not all.
fn not_changed(tenant: TenantId, error: &SigningError) -> String {
    let error = Causes(error);
    tracing::error!(%tenant, %error, "a tenant's signing keys were not changed, or not all");
    format!("tenant {tenant}: {error}")
}

/// The tenant that is meant.
fn tenant(snapshot: &Snapshot, asked: Option<TenantId>) -> Result<TenantId, ChangeError> {
    let mut all = snapshot.tenants().map(|tenant| tenant.id);
    match asked {
        Some(tenant) if snapshot.tenant(tenant).is_some() => Ok(tenant),
        Some(tenant) => Err(ChangeError::Invalid(format!("there is no tenant {tenant} here"))),
        None => match (all.next(), all.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(ChangeError::Invalid("nothing is set up yet: run `denizen init` first".to_owned())),
            (Some(_), Some(_)) => {
                Err(ChangeError::Invalid("there are several tenants: name one with --tenant".to_owned()))
            }
        },
    }
}

/// The resource group that is meant by its id or its name.
fn resource_group(snapshot: &Snapshot, tenant: TenantId, asked: &str) -> Result<ResourceId, ChangeError> {
    let missing = || ChangeError::Missing(format!("the resource group '{}'", denizen_wire::shown::identifier(asked)));
    if asked.starts_with('/') {
        let id: ResourceId =
            asked.parse().map_err(|error| ChangeError::Invalid(format!("the resource group: {error}")))?;
        return snapshot.resource_group(tenant, &id).map(|group| group.id.clone()).ok_or_else(missing);
    }
    let mut named = snapshot.resource_groups(tenant).filter(|group| group.id.name().eq_ignore_ascii_case(asked));
    match (named.next(), named.next()) {
        (Some(only), None) => Ok(only.id.clone()),
        (None, _) => Err(missing()),
        (Some(_), Some(_)) => Err(ChangeError::Invalid(
            "several subscriptions have a resource group of that name: write its id".to_owned(),
        )),
    }
}
