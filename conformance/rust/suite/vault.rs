//! One secret's whole life through `SecretClient`, and what the vault must refuse.

use crate::contract::{Contract, fault, now};
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::StatusCode,
};
use azure_security_keyvault_secrets::{
    ResourceExt, SecretClient, SecretClientOptions,
    models::{
        SecretClientGetSecretOptions, SecretClientListSecretPropertiesOptions, SetSecretParameters,
        UpdateSecretPropertiesParameters,
    },
};
use futures::TryStreamExt;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Reads the seeded secret, then sets, gets, updates, lists and deletes one of its own.
pub(crate) async fn exercise(
    contract: &Contract,
    credential: Arc<dyn TokenCredential>,
    label: &str,
) -> Result<String, String> {
    let client = client(contract, credential)?;
    let seeded = read(&client, &contract.secret.name, None).await?;
    same("value of the seeded secret", &seeded.value, &contract.secret.value)?;

    // New each run: a deleted name stays reserved.
    let name = format!("conformance-{label}-{:x}-{:x}", now(), std::process::id());
    let first = set(&client, &name, "first value: ünïcode, \"quotes\" and\nlines").await?;
    let second = set(&client, &name, "second value").await?;
    if first == second {
        return Err("two sets gave one version".into());
    }
    let latest = read(&client, &name, None).await?;
    same("latest value", &latest.value, "second value")?;
    same("latest version", &latest.version, &second)?;
    same("content type", &latest.content_type, "text/plain")?;
    same("tag", &latest.tag, "set")?;
    let old = read(&client, &name, Some(&first)).await?;
    same("value of the first version", &old.value, "first value: ünïcode, \"quotes\" and\nlines")?;

    update(&client, &name).await?;
    let updated = read(&client, &name, None).await?;
    same("value after update", &updated.value, "second value")?;
    same("version after update", &updated.version, &second)?;
    same("content type after update", &updated.content_type, "application/json")?;
    same("tag after update", &updated.tag, "updated")?;

    list(&client, &name, &contract.secret.name).await?;
    versions(&client, &name, &[first, second]).await?;

    let deleted =
        client.delete_secret(&name, None).await.map_err(fault("delete"))?.into_model().map_err(fault("delete"))?;
    same("name of the deleted secret", &deleted.resource_id().map_err(fault("delete id"))?.name, &name)?;
    match client.get_secret(&name, None).await {
        Ok(_) => Err("get after delete still answers".into()),
        Err(error) => {
            refusal(&error, StatusCode::NotFound, "SecretNotFound").map_err(|e| format!("get after delete: {e}"))?;
            Ok("token, set, get, update, list, versions, delete".into())
        }
    }
}

/// A name outside the documented alphabet is the caller's mistake: 400, not 404 and not 500.
pub(crate) async fn refuses_name(contract: &Contract, credential: Arc<dyn TokenCredential>) -> Result<String, String> {
    let client = client(contract, credential)?;
    let parameters = SetSecretParameters { value: Some("x".into()), ..Default::default() };
    let content = parameters.try_into().map_err(fault("set parameters"))?;
    match client.set_secret("under_score", content, None).await {
        Ok(_) => Err("the vault took a secret named under_score".into()),
        Err(error) => refusal(&error, StatusCode::BadRequest, "BadParameter"),
    }
}

/// The vault must turn away a token that was made for another resource.
pub(crate) async fn refuses_token(contract: &Contract, token: AccessToken) -> Result<String, String> {
    let client = client(contract, Arc::new(Fixed(token)))?;
    match client.get_secret(&contract.secret.name, None).await {
        Ok(_) => Err("the vault took a token made for another resource".into()),
        Err(error) => refusal(&error, StatusCode::Unauthorized, "Unauthorized"),
    }
}

/// A credential that always hands out the same token.
#[derive(Debug)]
pub(crate) struct Fixed(pub(crate) AccessToken);

#[async_trait::async_trait]
impl TokenCredential for Fixed {
    async fn get_token(&self, _: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        Ok(self.0.clone())
    }
}

fn client(contract: &Contract, credential: Arc<dyn TokenCredential>) -> Result<SecretClient, String> {
    let options =
        SecretClientOptions { verify_challenge_resource: Some(contract.verify_challenge()), ..Default::default() };
    SecretClient::new(&contract.vault_url, credential, Some(options)).map_err(fault("SecretClient"))
}

/// What a read of a secret gave, absent fields as empty strings.
struct Read {
    value: String,
    version: String,
    content_type: String,
    tag: String,
}

async fn read(client: &SecretClient, name: &str, version: Option<&str>) -> Result<Read, String> {
    let options = SecretClientGetSecretOptions { secret_version: version.map(Into::into), ..Default::default() };
    let response = client.get_secret(name, Some(options)).await.map_err(fault("get"))?;
    let secret = response.into_model().map_err(fault("get body"))?;
    let id = secret.resource_id().map_err(fault("get id"))?;
    same("name in the id", &id.name, name)?;
    Ok(Read {
        version: id.version.unwrap_or_default(),
        value: secret.value.unwrap_or_default(),
        content_type: secret.content_type.unwrap_or_default(),
        tag: secret.tags.unwrap_or_default().remove("state").unwrap_or_default(),
    })
}

/// Sets a new version and returns it.
async fn set(client: &SecretClient, name: &str, value: &str) -> Result<String, String> {
    let parameters = SetSecretParameters {
        value: Some(value.into()),
        content_type: Some("text/plain".into()),
        tags: Some(HashMap::from([("state".into(), "set".into())])),
        ..Default::default()
    };
    let content = parameters.try_into().map_err(fault("set parameters"))?;
    let response = client.set_secret(name, content, None).await.map_err(fault("set"))?;
    let secret = response.into_model().map_err(fault("set body"))?;
    same("value that set returns", secret.value.as_deref().unwrap_or_default(), value)?;
    let id = secret.resource_id().map_err(fault("set id"))?;
    same("name in the id", &id.name, name)?;
    id.version.ok_or_else(|| "the id that set returns has no version".into())
}

async fn update(client: &SecretClient, name: &str) -> Result<(), String> {
    let parameters = UpdateSecretPropertiesParameters {
        content_type: Some("application/json".into()),
        tags: Some(HashMap::from([("state".into(), "updated".into())])),
        ..Default::default()
    };
    let content = parameters.try_into().map_err(fault("update parameters"))?;
    client.update_secret_properties(name, content, None).await.map_err(fault("update"))?;
    Ok(())
}

/// Lists one item a page, so that following `nextLink` is part of the case.
async fn list(client: &SecretClient, ours: &str, seeded: &str) -> Result<(), String> {
    let options = SecretClientListSecretPropertiesOptions { maxresults: Some(1), ..Default::default() };
    let mut pager = client.list_secret_properties(Some(options)).map_err(fault("list"))?;
    let mut names = Vec::new();
    while let Some(item) = pager.try_next().await.map_err(fault("list"))? {
        let id = item.resource_id().map_err(fault("list id"))?;
        if id.version.is_some() {
            return Err(format!("the list names a version of {}", id.name));
        }
        names.push(id.name);
    }
    for wanted in [ours, seeded] {
        let count = names.iter().filter(|name| *name == wanted).count();
        if count != 1 {
            return Err(format!("the list names {wanted} {count} times"));
        }
    }
    Ok(())
}

async fn versions(client: &SecretClient, name: &str, expected: &[String]) -> Result<(), String> {
    let mut pager = client.list_secret_properties_versions(name, None).map_err(fault("versions"))?;
    let mut found = HashSet::new();
    while let Some(item) = pager.try_next().await.map_err(fault("versions"))? {
        let id = item.resource_id().map_err(fault("version id"))?;
        found.insert(id.version.ok_or("a listed version has an id without version")?);
    }
    let expected: HashSet<String> = expected.iter().cloned().collect();
    if found == expected { Ok(()) } else { Err(format!("versions are {found:?}, expected {expected:?}")) }
}

fn refusal(error: &azure_core::Error, status: StatusCode, code: &str) -> Result<String, String> {
    match error.kind() {
        ErrorKind::HttpResponse { status: found, error_code: Some(found_code), .. }
            if *found == status && found_code == code =>
        {
            Ok(format!("{} {code}", u16::from(status)))
        }
        _ => Err(format!("expected {} {code}, got {:?}", u16::from(status), crate::report::chain(error))),
    }
}

/// Compares without printing long values whole.
fn same(what: &str, found: &str, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, expected {expected:?}")) }
}
