//! Applications and their service principals, as the directory's API changes them.
//!
//! A managed identity is its resource's: nobody changes it here. Tests: `http/graph/tests/`.

use denizen_keys::{SecretString, hash, random, x509::Certificate};
use denizen_wire::{ClientId, PrincipalId, UnixTime};
use uuid::Uuid;

use super::{
    Directory, DirectoryError, Named, PASSWORD_LIFETIME, actions, deleted,
    error::{check_text, refuse_outranked},
    revoke_where_lost,
};
use crate::{
    app::access::Authorization,
    domain::{
        claims::audience::{self, OwnResources},
        deleted::DeletedKind,
        directory::{
            AppRole, Application, GroupClaims, KeyCredential, PasswordCredential, PermissionScope, PrincipalKind,
            RedirectUris, ServicePrincipal, TokenVersion,
        },
    },
    store::{StoreError, Write},
};

/// How many of each an application may have.
const MOST_URIS: usize = 50;
const MOST_CREDENTIALS: usize = 50;
const MOST_ROLES: usize = 200;

/// What is to be changed of an application; what is none stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplicationChange {
    /// For people.
    pub display_name: Option<String>,
    /// What it calls itself as a resource.
    pub identifier_uris: Option<Vec<String>>,
    /// The version of the tokens that it accepts.
    pub token_version: Option<TokenVersion>,
    /// The roles that it has as a resource.
    pub app_roles: Option<Vec<AppRole>>,
    /// The permissions that it has as a resource.
    pub scopes: Option<Vec<PermissionScope>>,
    /// Which groups its tokens name.
    pub group_claims: Option<GroupClaims>,
    /// Whether it may act for users without a credential.
    pub public_client: Option<bool>,
    /// Where browsers may be sent back to: of a server.
    pub web: Option<Vec<String>>,
    /// Of a page.
    pub spa: Option<Vec<String>>,
    /// Of a program.
    pub programs: Option<Vec<String>>,
    /// Certificates in DER, each with a name: those in the place of the ones that there are.
    pub certificates: Option<Vec<NewCertificate>>,
}

/// A certificate that an application is to be known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewCertificate {
    /// One that comes in.
    New {
        /// In DER.
        der: Vec<u8>,
        /// For people.
        display_name: String,
        /// Where it is to hold for less than the certificate says.
        within: Within,
    },
    /// One that stays.
    Kept {
        /// The id of its credential.
        id: Uuid,
        /// Where it is to hold for less than it does.
        within: Within,
    },
}

/// From when a credential is to hold, and until when; none where nothing is asked.
type Within = (Option<UnixTime>, Option<UnixTime>);

/// A client secret that was asked for.
#[derive(Clone, Debug, Default)]
pub struct NewSecret {
    /// For people.
    pub display_name: String,
    /// From when; now when none.
    pub start: Option<UnixTime>,
    /// Until when; two years when none.
    pub end: Option<UnixTime>,
}

impl Directory {
    /// Registers an application, without a service principal.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] names the rule; [`DirectoryError::Exists`]; the store's.
    pub async fn register(
        &self,
        authorization: &Authorization,
        change: &ApplicationChange,
    ) -> Result<Application, DirectoryError> {
        self.check(authorization, actions::CREATE_APPLICATION)?;
        let (client, object) = (ClientId(random::uuid_v4()), random::uuid_v4());
        let Some(name) = &change.display_name else {
            return Err(DirectoryError::Invalid("A value is required for property 'displayName'.".to_owned()));
        };
        let mut application = Application::new(authorization.tenant(), client, object, name);
        change.apply(&mut application, &self.own_resources)?;
        let written = &application;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    tx.insert(written).await.map_err(taken)?;
                    Ok::<_, DirectoryError>(Write::commit(actions::CREATE_APPLICATION, client.to_string(), ()))
                })
            })
            .await?;
        Ok(application)
    }

    /// Changes an application.
    ///
    /// # Errors
    /// As [`Self::register`]; [`DirectoryError::Missing`].
    pub async fn change_application(
        &self,
        authorization: &Authorization,
        named: Named,
        change: &ApplicationChange,
    ) -> Result<(), DirectoryError> {
        // Whoever may change an application may not thereby be it.
        if change.certificates.is_some() {
            return Err(DirectoryError::Invalid(
                "keyCredentials cannot be changed together with other properties here: send them in a request of their own.".to_owned(),
            ));
        }
        self.edit_application(authorization, actions::UPDATE_APPLICATION, named, |it| {
            change.apply(it, &self.own_resources)
        })
        .await
    }

    /// Puts certificates in the place of those that an application is known by.
    ///
    /// # Errors
    /// As [`Self::change_application`].
    pub async fn set_certificates(
        &self,
        authorization: &Authorization,
        named: Named,
        certificates: &[NewCertificate],
    ) -> Result<(), DirectoryError> {
        self.edit_application(authorization, actions::UPDATE_CREDENTIALS, named, |it| {
            it.keys = key_credentials(&it.keys, certificates)?;
            Ok(())
        })
        .await
    }

    /// The client id of an application whose credentials are to be changed.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; the store's.
    pub async fn client(&self, authorization: &Authorization, named: Named) -> Result<ClientId, DirectoryError> {
        self.check(authorization, actions::UPDATE_CREDENTIALS)?;
        self.client_of(authorization, named).await
    }

    /// Adds a client secret, which is returned here and never again.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] names the rule; [`DirectoryError::Missing`]; the store's.
    pub async fn add_secret(
        &self,
        authorization: &Authorization,
        named: Named,
        new: &NewSecret,
    ) -> Result<(SecretString, PasswordCredential), DirectoryError> {
        self.check(authorization, actions::UPDATE_CREDENTIALS)?;
        let now = authorization.now();
        let start = new.start.unwrap_or(now);
        let end = new.end.unwrap_or(start + PASSWORD_LIFETIME);
        if end <= start || end <= now || end.since(start) > 100 * 366 * 24 * 3600 {
            return Err(DirectoryError::Invalid(
                "The credential's endDateTime must be later than its startDateTime and than now, and at most a hundred years later.".to_owned(),
            ));
        }
        if !new.display_name.is_empty() {
            check_text("displayName", &new.display_name, 120)?;
        }
        let client = self.client_of(authorization, named).await?;
        let snapshot = self.store.snapshot();
        let tenant =
            snapshot.tenant(authorization.tenant()).ok_or_else(|| DirectoryError::Missing(named.to_string()))?;
        let (secret, mut password) = self.new_password(tenant, client, &new.display_name, now)?;
        (password.start, password.end) = (start, end);
        let added = &password;
        self.edit_application(authorization, actions::UPDATE_CREDENTIALS, Named::Client(client), |it| {
            it.passwords.push(added.clone());
            match it.passwords.len() > MOST_CREDENTIALS {
                true => Err(DirectoryError::Invalid(format!(
                    "An application has at most {MOST_CREDENTIALS} client secrets: remove one first."
                ))),
                false => Ok(()),
            }
        })
        .await?;
        Ok((secret, password))
    }

    /// Removes a client secret.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] when it has none of this id; [`DirectoryError::Missing`]; the store's.
    pub async fn remove_secret(
        &self,
        authorization: &Authorization,
        named: Named,
        key_id: Uuid,
    ) -> Result<(), DirectoryError> {
        self.edit_application(authorization, actions::UPDATE_CREDENTIALS, named, |it| {
            let before = it.passwords.len();
            it.passwords.retain(|password| password.key_id != key_id);
            match it.passwords.len() == before {
                true => Err(DirectoryError::Invalid(format!("No password credential found with keyId '{key_id}'."))),
                false => Ok(()),
            }
        })
        .await
    }

    async fn edit_application(
        &self,
        authorization: &Authorization,
        action: &'static str,
        named: Named,
        edit: impl Fn(&mut Application) -> Result<(), DirectoryError> + Sync,
    ) -> Result<(), DirectoryError> {
        self.check(authorization, action)?;
        let client = self.client_of(authorization, named).await?;
        let edit = &edit;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let Some(before) = tx.record::<Application>(&client).await? else {
                        return Err(DirectoryError::Missing(named.to_string()));
                    };
                    let snapshot = tx.snapshot();
                    let principal = snapshot.principal_of_client(authorization.tenant(), client);
                    // Where its browsers are sent is as good as its secret.
                    if let Some(principal) = principal {
                        refuse_outranked(authorization, &snapshot, principal.id)?;
                    }
                    let mut after = before.clone();
                    edit(&mut after)?;
                    if after == before {
                        return Ok(Write::Unchanged(()));
                    }
                    tx.put(&after).await.map_err(taken)?;
                    revoke_where_lost(tx, &before, &after).await?;
                    Ok(Write::commit(action, client.to_string(), ()))
                })
            })
            .await
    }

    /// Deletes an application, and its service principal with it. Both can be restored.
    ///
    /// # Errors
    /// [`DirectoryError::Missing`]; the store's.
    pub async fn delete_application(&self, authorization: &Authorization, named: Named) -> Result<(), DirectoryError> {
        self.check(authorization, actions::DELETE_APPLICATION)?;
        let client = self.client_of(authorization, named).await?;
        let (tenant, now) = (authorization.tenant(), authorization.now());
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let Some(application) = tx.remove::<Application>(&client).await? else {
                        return Err(DirectoryError::Missing(named.to_string()));
                    };
                    let snapshot = tx.snapshot();
                    let principal = snapshot.principal_of_client(tenant, client).map(|it| it.id);
                    if let Some(principal) = principal {
                        refuse_outranked(authorization, &snapshot, principal)?;
                    }
                    let what = (DeletedKind::Application, application.object_id, application.display_name.as_str());
                    tx.insert(&deleted::keep(tenant, what, now, &application)?).await?;
                    if let Some(id) = principal
                        && let Some(principal) = tx.remove::<ServicePrincipal>(&id).await?
                    {
                        deleted::drop_directory_roles(tx, &self.roles, tenant, id).await?;
                        tx.insert(&deleted::keep_principal(now, principal)?).await?;
                    }
                    Ok(Write::commit(actions::DELETE_APPLICATION, client.to_string(), ()))
                })
            })
            .await
    }

    /// Makes the service principal of an application.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] when there is no such application; [`DirectoryError::Exists`]; the store's.
    pub async fn create_service_principal(
        &self,
        authorization: &Authorization,
        client: ClientId,
        enabled: bool,
    ) -> Result<ServicePrincipal, DirectoryError> {
        self.check(authorization, actions::CREATE_PRINCIPAL)?;
        let tenant = authorization.tenant();
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let snapshot = tx.snapshot();
                    let Some(application) = snapshot.application(tenant, client) else {
                        return Err(DirectoryError::Invalid(format!(
                            "The appId '{client}' of the service principal does not reference a valid application object."
                        )));
                    };
                    let principal = ServicePrincipal {
                        tenant,
                        id: PrincipalId(random::uuid_v4()),
                        client_id: client,
                        display_name: application.display_name.clone(),
                        kind: PrincipalKind::Application,
                        enabled,
                        epoch: 0,
                        keys: Vec::new(),
                        federated: Vec::new(),
                        token_lifetime: None,
                    };
                    tx.insert(&principal).await.map_err(|error| exists(error, "servicePrincipalNames"))?;
                    let id = principal.id.to_string();
                    Ok(Write::commit(actions::CREATE_PRINCIPAL, id, principal))
                })
            })
            .await
    }

    /// Enables or disables a service principal, or requires an assignment of its application. One that is disabled keeps
    /// nothing of the tokens that it had.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] of a managed identity; [`DirectoryError::Missing`]; the store's.
    pub async fn change_service_principal(
        &self,
        authorization: &Authorization,
        named: Named,
        (enabled, assignment_required): (Option<bool>, Option<bool>),
    ) -> Result<(), DirectoryError> {
        self.check(authorization, actions::UPDATE_PRINCIPAL)?;
        let id = self.principal_of(authorization, named)?;
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let before = tx.record::<ServicePrincipal>(&id).await?;
                    let mut principal = before.ok_or_else(|| DirectoryError::Missing(named.to_string()))?;
                    refuse_managed(&principal)?;
                    refuse_outranked(authorization, &tx.snapshot(), id)?;
                    let mut is_changed = false;
                    if let Some(enabled) = enabled.filter(|enabled| *enabled != principal.enabled) {
                        principal.enabled = enabled;
                        principal.epoch += u64::from(!enabled);
                        tx.put(&principal).await?;
                        is_changed = true;
                    }
                    if let Some(required) = assignment_required
                        && let Some(mut application) = tx.record::<Application>(&principal.client_id).await?
                        && application.assignment_required != required
                    {
                        application.assignment_required = required;
                        tx.put(&application).await?;
                        is_changed = true;
                    }
                    Ok(match is_changed {
                        true => Write::commit(actions::UPDATE_PRINCIPAL, id.to_string(), ()),
                        false => Write::Unchanged(()),
                    })
                })
            })
            .await
    }

    /// Deletes a service principal. It can be restored.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] of a managed identity; [`DirectoryError::Missing`]; the store's.
    pub async fn delete_service_principal(
        &self,
        authorization: &Authorization,
        named: Named,
    ) -> Result<(), DirectoryError> {
        self.check(authorization, actions::DELETE_PRINCIPAL)?;
        let id = self.principal_of(authorization, named)?;
        let now = authorization.now();
        self.store
            .write(authorization, |tx| {
                Box::pin(async move {
                    let Some(principal) = tx.remove::<ServicePrincipal>(&id).await? else {
                        return Err(DirectoryError::Missing(named.to_string()));
                    };
                    refuse_managed(&principal)?;
                    refuse_outranked(authorization, &tx.snapshot(), id)?;
                    deleted::drop_directory_roles(tx, &self.roles, authorization.tenant(), id).await?;
                    tx.insert(&deleted::keep_principal(now, principal)?).await?;
                    Ok(Write::commit(actions::DELETE_PRINCIPAL, id.to_string(), ()))
                })
            })
            .await
    }

    /// The application that a service principal stands for: its client secrets are kept there.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] of a managed identity, which has none; [`DirectoryError::Missing`].
    pub fn application_of_principal(
        &self,
        authorization: &Authorization,
        named: Named,
    ) -> Result<Named, DirectoryError> {
        let snapshot = self.store.snapshot();
        let found = match named {
            Named::Object(id) => snapshot.principal(authorization.tenant(), PrincipalId(id)),
            Named::Client(id) => snapshot.principal_of_client(authorization.tenant(), id),
        };
        let principal = found.ok_or_else(|| DirectoryError::Missing(named.to_string()))?;
        match principal.resource_id {
            Some(_) => Err(managed()),
            None => Ok(Named::Client(principal.client_id)),
        }
    }
}

impl ApplicationChange {
    /// The certificates, where nothing else is to be changed.
    pub fn certificates_alone(&self) -> Option<&[NewCertificate]> {
        let is_alone = Self { certificates: None, ..self.clone() } == Self::default();
        self.certificates.as_deref().filter(|_| is_alone)
    }

    fn apply(&self, to: &mut Application, own: &OwnResources) -> Result<(), DirectoryError> {
        if let Some(name) = &self.display_name {
            check_text("displayName", name, 256)?;
            to.display_name.clone_from(name);
        }
        if let Some(uris) = &self.identifier_uris {
            check_uris("identifierUris", uris)?;
            check_own(to.client_id, uris, own)?;
            to.identifier_uris.clone_from(uris);
        }
        if let Some(version) = self.token_version {
            to.token_version = version;
        }
        if let Some(roles) = &self.app_roles {
            let values = roles.iter().map(|role| (role.id, role.value.as_str()));
            check_values("appRoles", values, roles.iter().map(|it| [&it.display_name, &it.description]))?;
            to.app_roles.clone_from(roles);
        }
        if let Some(scopes) = &self.scopes {
            let values = scopes.iter().map(|scope| (scope.id, scope.value.as_str()));
            check_values(
                "api/oauth2PermissionScopes",
                values,
                scopes.iter().map(|it| [&it.display_name, &it.description]),
            )?;
            to.scopes.clone_from(scopes);
        }
        if let Some(claims) = self.group_claims {
            to.group_claims = claims;
        }
        if let Some(public) = self.public_client {
            to.public_client = public;
        }
        let RedirectUris { web, spa, public_client } = &mut to.redirect_uris;
        for (property, new, kept) in [
            ("web/redirectUris", &self.web, web),
            ("spa/redirectUris", &self.spa, spa),
            ("publicClient/redirectUris", &self.programs, public_client),
        ] {
            if let Some(uris) = new {
                check_uris(property, uris)?;
                kept.clone_from(uris);
            }
        }
        if let Some(certificates) = &self.certificates {
            to.keys = key_credentials(&to.keys, certificates)?;
        }
        Ok(())
    }
}

/// An application calls itself by no name that is another's: of a service of Azure's or of ours, or of another client.
fn check_own(client: ClientId, uris: &[String], own: &OwnResources) -> Result<(), DirectoryError> {
    let is_anothers = |uri: &&String| {
        let scheme = uri.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("api://"));
        let named = uri.get(6..).filter(|_| scheme).and_then(|rest| rest.split('/').next()?.parse::<ClientId>().ok());
        audience::is_first_party(uri) || own.covers(uri) || named.is_some_and(|named| named != client)
    };
    match uris.iter().find(is_anothers) {
        None => Ok(()),
        Some(uri) => Err(DirectoryError::Invalid(format!(
            "Invalid value specified for property 'identifierUris': '{}' is the name of another resource: use one of your own, as 'api://{client}'.",
            denizen_wire::shown::identifier(uri)
        ))),
    }
}

fn check_uris(property: &'static str, uris: &[String]) -> Result<(), DirectoryError> {
    let wrong =
        |why: &str| Err(DirectoryError::Invalid(format!("Invalid value specified for property '{property}': {why}.")));
    if uris.len() > MOST_URIS {
        return wrong(&format!("it has more than {MOST_URIS} values"));
    }
    for (at, uri) in uris.iter().enumerate() {
        let is_uri = uri.split_once(':').is_some_and(|(scheme, rest)| {
            let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
            is_scheme && !rest.is_empty()
        });
        if !is_uri || uri.len() > 255 || uri.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return wrong("each value must be an absolute URI of at most 255 characters, without spaces");
        }
        if uris.iter().take(at).any(|earlier| earlier == uri) {
            return wrong("a value stands there twice");
        }
    }
    Ok(())
}

fn check_values<'a>(
    property: &'static str,
    values: impl Iterator<Item = (Uuid, &'a str)>,
    texts: impl Iterator<Item = [&'a String; 2]>,
) -> Result<(), DirectoryError> {
    let wrong =
        |why: &str| Err(DirectoryError::Invalid(format!("Invalid value specified for property '{property}': {why}.")));
    let mut seen: Vec<(Uuid, &str)> = Vec::new();
    for (id, value) in values {
        if value.is_empty()
            || value.len() > 120
            || !value.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b))
        {
            return wrong("each needs a 'value' of 1 to 120 characters without spaces");
        }
        if seen.iter().any(|(other, said)| *other == id || *said == value) {
            return wrong("an 'id' or a 'value' stands there twice");
        }
        seen.push((id, value));
    }
    if seen.len() > MOST_ROLES {
        return wrong(&format!("it has more than {MOST_ROLES} values"));
    }
    texts.flatten().filter(|text| !text.is_empty()).try_for_each(|text| check_text(property, text, 1024))
}

fn key_credentials(
    before: &[KeyCredential],
    certificates: &[NewCertificate],
) -> Result<Vec<KeyCredential>, DirectoryError> {
    if certificates.len() > MOST_CREDENTIALS {
        return Err(DirectoryError::Invalid(format!("An application has at most {MOST_CREDENTIALS} certificates.")));
    }
    let narrowed = |key: KeyCredential, (from, until): &Within| KeyCredential {
        start: from.map_or(key.start, |from| from.max(key.start)),
        end: until.map_or(key.end, |until| until.min(key.end)),
        ..key
    };
    let one = |new: &NewCertificate| {
        let (der, display_name, within) = match new {
            NewCertificate::New { der, display_name, within } => (der, display_name, within),
            NewCertificate::Kept { id, within } => {
                let kept = before.iter().find(|it| it.key_id == *id).cloned();
                return kept.map(|kept| narrowed(kept, within));
            }
        };
        let certificate = Certificate::from_der(der).ok()?;
        let public = certificate.public_key().ok()?;
        let key = KeyCredential {
            key_id: random::uuid_v4(),
            display_name: display_name.clone(),
            start: UnixTime(certificate.not_before()),
            end: UnixTime(certificate.not_after()),
            x5t: certificate.thumbprint_sha1(),
            x5t_s256: certificate.thumbprint_sha256(),
            n: hash::hex(public.n()),
            e: hash::hex(public.e()),
        };
        Some(narrowed(key, within))
    };
    let keys: Option<Vec<_>> = certificates.iter().map(one).collect();
    if keys.iter().flatten().any(|key| key.end <= key.start) {
        return Err(DirectoryError::Invalid(
            "The endDateTime of each of keyCredentials must be later than its startDateTime, within the time of its certificate.".to_owned(),
        ));
    }
    keys.ok_or_else(|| {
        DirectoryError::Invalid(
            "Each of keyCredentials must have as its 'key' the base64 of an X.509 certificate in DER with an RSA key of 2048 to 4096 bits, or as its 'keyId' the one of a certificate that is there.".to_owned(),
        )
    })
}

fn managed() -> DirectoryError {
    DirectoryError::Invalid(
        "The service principal is a managed identity: it has no credentials of its own and is changed at its resource only.".to_owned(),
    )
}

fn refuse_managed(principal: &ServicePrincipal) -> Result<(), DirectoryError> {
    match principal.kind {
        PrincipalKind::Application => Ok(()),
        PrincipalKind::ManagedIdentity { .. } => Err(managed()),
    }
}

fn taken(error: StoreError) -> DirectoryError {
    exists(error, "identifierUris")
}

/// A violated constraint, by the property that must be unique.
pub(super) fn exists(error: StoreError, property: &'static str) -> DirectoryError {
    if matches!(error, StoreError::Exists { .. }) { DirectoryError::Exists(property) } else { error.into() }
}
