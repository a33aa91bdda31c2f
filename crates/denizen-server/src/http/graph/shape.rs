//! Objects as answers have them. Every member that clients look at is there, also where nothing is kept for it.
//!
//! Tests: `tests/`.

use denizen_keys::{b64, hash};
use serde_json::{Map, Value, json};

use crate::{
    app::directory::{Given, Object},
    domain::{
        deleted::{DeletedKind, DeletedObject},
        directory::{
            AppRole, AppRoleMembers, Application, GroupClaims, KeyCredential, PasswordCredential, PermissionScope,
            PrincipalKind, ServicePrincipal, TokenVersion, is_user_assigned,
        },
        grants::PermissionGrant,
        people::{Group, User},
    },
};

pub(super) type Item = Map<String, Value>;

/// The members of what was written as an object.
pub(super) fn item(value: Value) -> Item {
    if let Value::Object(members) = value { members } else { Item::new() }
}

pub(super) fn password(it: &PasswordCredential) -> Value {
    json!({
        "customKeyIdentifier": null, "displayName": it.display_name, "endDateTime": it.end.rfc3339(), "hint": it.hint,
        "keyId": it.key_id, "secretText": null, "startDateTime": it.start.rfc3339(),
    })
}

fn key(it: &KeyCredential) -> Value {
    json!({
        "customKeyIdentifier": hash::hex(&it.x5t).to_uppercase(), "displayName": it.display_name,
        "endDateTime": it.end.rfc3339(), "key": null, "keyId": it.key_id, "startDateTime": it.start.rfc3339(),
        "type": "AsymmetricX509Cert", "usage": "Verify",
    })
}

fn role(it: &AppRole) -> Value {
    let members = it.members.iter().map(|members| match members {
        AppRoleMembers::User => "User",
        AppRoleMembers::Application => "Application",
    });
    json!({
        "allowedMemberTypes": members.collect::<Vec<_>>(), "description": it.description,
        "displayName": it.display_name, "id": it.id, "isEnabled": it.enabled, "origin": "Application",
        "value": it.value,
    })
}

fn scope(it: &PermissionScope) -> Value {
    json!({
        "adminConsentDescription": it.description, "adminConsentDisplayName": it.display_name, "id": it.id,
        "isEnabled": it.enabled, "type": if it.users_consent { "User" } else { "Admin" },
        "userConsentDescription": null, "userConsentDisplayName": null, "value": it.value,
    })
}

pub(super) fn application(it: &Application) -> Item {
    let version = match it.token_version {
        TokenVersion::V1 => Value::Null,
        TokenVersion::V2 => json!(2),
    };
    let claims = match it.group_claims {
        GroupClaims::None => Value::Null,
        GroupClaims::All => json!("All"),
    };
    item(json!({
        "id": it.object_id, "appId": it.client_id, "displayName": it.display_name, "deletedDateTime": null,
        "identifierUris": it.identifier_uris, "signInAudience": "AzureADMyOrg", "publisherDomain": null,
        "description": null, "tags": [], "groupMembershipClaims": claims,
        "isFallbackPublicClient": it.public_client, "requiredResourceAccess": [], "optionalClaims": null,
        "addIns": [], "info": {}, "appRoles": it.app_roles.iter().map(role).collect::<Vec<_>>(),
        "api": {
            "acceptMappedClaims": null, "knownClientApplications": [], "preAuthorizedApplications": [],
            "requestedAccessTokenVersion": version,
            "oauth2PermissionScopes": it.scopes.iter().map(scope).collect::<Vec<_>>(),
        },
        "web": {
            "homePageUrl": null, "logoutUrl": null, "redirectUris": it.redirect_uris.web,
            "implicitGrantSettings": { "enableAccessTokenIssuance": false, "enableIdTokenIssuance": false },
        },
        "spa": { "redirectUris": it.redirect_uris.spa },
        "publicClient": { "redirectUris": it.redirect_uris.public_client },
        "passwordCredentials": it.passwords.iter().map(password).collect::<Vec<_>>(),
        "keyCredentials": it.keys.iter().map(key).collect::<Vec<_>>(),
    }))
}

/// A service principal, with its application where that is known.
pub(super) fn service_principal(it: &ServicePrincipal, application: Option<&Application>) -> Item {
    let (kind, alternative, owner) = match &it.kind {
        PrincipalKind::Application => ("Application", Vec::new(), json!(it.tenant)),
        PrincipalKind::ManagedIdentity { resource_id } => {
            let explicit = if is_user_assigned(resource_id) { "isExplicit=True" } else { "isExplicit=False" };
            ("ManagedIdentity", vec![explicit.to_owned(), resource_id.to_string()], Value::Null)
        }
    };
    let mut names = vec![it.client_id.to_string()];
    match &it.kind {
        PrincipalKind::Application => names.extend(application.into_iter().flat_map(|it| it.identifier_uris.clone())),
        PrincipalKind::ManagedIdentity { .. } => {
            let digest = hash::sha256(it.id.0.as_bytes());
            names.push(format!("https://identity.azure.net/{}", b64::standard(&digest)));
        }
    }
    let of = |application: &Application| {
        let roles: Vec<_> = application.app_roles.iter().map(role).collect();
        let scopes: Vec<_> = application.scopes.iter().map(scope).collect();
        let passwords: Vec<_> = application.passwords.iter().map(password).collect();
        (roles, scopes, passwords)
    };
    let (roles, scopes, passwords) = application.map(of).unwrap_or_default();
    item(json!({
        "id": it.id, "appId": it.client_id, "displayName": it.display_name, "appDisplayName": it.display_name,
        "deletedDateTime": null, "accountEnabled": it.enabled, "servicePrincipalType": kind,
        "servicePrincipalNames": names, "alternativeNames": alternative, "appOwnerOrganizationId": owner,
        "appRoleAssignmentRequired": application.is_some_and(|it| it.assignment_required),
        "appRoles": roles, "oauth2PermissionScopes": scopes, "replyUrls": [], "tags": [], "homepage": null,
        "signInAudience": application.map(|_| "AzureADMyOrg"), "passwordCredentials": passwords,
        "keyCredentials": it.keys.iter().map(key).collect::<Vec<_>>(),
    }))
}

pub(super) fn user(it: &User) -> Item {
    item(json!({
        "id": it.id, "displayName": it.display_name, "userPrincipalName": it.name, "givenName": it.given_name,
        "surname": it.surname, "mail": it.mail, "mailNickname": it.mail_nickname, "accountEnabled": it.enabled,
        "userType": "Member", "createdDateTime": it.created.rfc3339(), "deletedDateTime": null,
        "businessPhones": [], "jobTitle": null, "mobilePhone": null, "officeLocation": null,
        "preferredLanguage": null,
    }))
}

pub(super) fn group(it: &Group) -> Item {
    item(json!({
        "id": it.id, "displayName": it.display_name, "description": it.description,
        "mailNickname": it.mail_nickname, "mailEnabled": false, "securityEnabled": true, "groupTypes": [],
        "isAssignableToRole": null, "visibility": null, "mail": null, "proxyAddresses": [],
        "createdDateTime": it.created.rfc3339(), "deletedDateTime": null,
    }))
}

/// Any object, with its type.
pub(super) fn object(it: &Object) -> Item {
    let (kind, members) = match it {
        Object::User(it) => ("#microsoft.graph.user", user(it)),
        Object::Group(it) => ("#microsoft.graph.group", group(it)),
        Object::ServicePrincipal(it) => ("#microsoft.graph.servicePrincipal", service_principal(it, None)),
        Object::Application(it) => ("#microsoft.graph.application", application(it)),
    };
    let mut typed = Item::new();
    typed.insert("@odata.type".to_owned(), kind.into());
    typed.extend(members);
    typed
}

/// The word that an answer has for what was deleted.
pub(super) fn type_of(kind: DeletedKind) -> &'static str {
    match kind {
        DeletedKind::User => "user",
        DeletedKind::Group => "group",
        DeletedKind::Application => "application",
        DeletedKind::ServicePrincipal => "servicePrincipal",
    }
}

/// What was deleted, as it was.
pub(super) fn deleted(it: &DeletedObject) -> Item {
    let record = it.record.clone();
    let members = match it.kind {
        DeletedKind::User => serde_json::from_value(record).ok().map(|it| user(&it)),
        DeletedKind::Group => serde_json::from_value(record).ok().map(|it| group(&it)),
        DeletedKind::Application => serde_json::from_value(record).ok().map(|it| application(&it)),
        DeletedKind::ServicePrincipal => serde_json::from_value(record).ok().map(|it| service_principal(&it, None)),
    };
    let mut typed = Item::new();
    typed.insert("@odata.type".to_owned(), format!("#microsoft.graph.{}", type_of(it.kind)).into());
    typed.extend(members.unwrap_or_default());
    typed.insert("deletedDateTime".to_owned(), it.deleted.rfc3339().into());
    typed
}

pub(super) fn app_role_assignment(it: &Given) -> Item {
    let (name, kind) = it.principal.clone().unwrap_or_default();
    item(json!({
        "id": it.assignment.id, "principalId": it.assignment.principal, "principalDisplayName": name,
        "principalType": kind, "resourceId": it.assignment.resource, "resourceDisplayName": it.resource,
        "appRoleId": it.assignment.role, "createdDateTime": it.assignment.created.rfc3339(), "deletedDateTime": null,
    }))
}

pub(super) fn permission_grant(it: &PermissionGrant) -> Item {
    item(json!({
        "id": it.id, "clientId": it.client, "principalId": it.user, "resourceId": it.resource,
        "consentType": if it.user.is_some() { "Principal" } else { "AllPrincipals" }, "scope": it.scopes.join(" "),
    }))
}
