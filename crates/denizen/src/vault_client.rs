//! The vault from outside: challenge, token, request, as any Key Vault client does it.

use std::str::FromStr;

use denizen_identity::{
    endpoint::{IdentityEndpoint, Token},
    http::{Client, HttpError},
};
use denizen_keys::secret::json_fault;
use denizen_wire::vault::{Error, Page, SecretBundle, SecretItem};
use http::{Method, Response, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::{
    exit::{self, Failure},
    token,
};

/// The api-version asked for.
const API: &str = "7.6";

/// A vault's URL: https, host and port, without a path. Both are checked before anything is sent.
#[derive(Clone, Debug)]
pub(crate) struct VaultUrl(String);

impl FromStr for VaultUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim_end_matches('/');
        let host =
            text.strip_prefix("https://").ok_or("a vault's URL starts with https://, as https://localhost:8444")?;
        if host.is_empty() || host.contains(['/', '?', '#', '@']) || text.parse::<http::Uri>().is_err() {
            return Err("a vault's URL is https://HOST or https://HOST:PORT and nothing more");
        }
        Ok(Self(text.to_owned()))
    }
}

/// One vault, through one identity.
pub(crate) struct VaultClient {
    url: String,
    http: Client,
    identity: IdentityEndpoint,
    token: Option<Token>,
}

impl VaultClient {
    pub(crate) fn new(url: &VaultUrl, http: Client, identity: IdentityEndpoint) -> Self {
        let VaultUrl(url) = url;
        Self { url: url.clone(), http, identity, token: None }
    }

    pub(crate) async fn get(&mut self, name: &str, version: Option<&str>) -> Result<SecretBundle, Failure> {
        let path = format!("/secrets/{name}/{}?api-version={API}", version.unwrap_or_default());
        self.call(Method::GET, &path, None).await
    }

    pub(crate) async fn set(
        &mut self,
        name: &str,
        value: &str,
        content_type: Option<&str>,
    ) -> Result<SecretBundle, Failure> {
        let mut body = serde_json::json!({ "value": value });
        if let (Some(object), Some(content_type)) = (body.as_object_mut(), content_type) {
            object.insert("contentType".into(), content_type.into());
        }
        let body = body.to_string().into_bytes();
        self.call(Method::PUT, &format!("/secrets/{name}?api-version={API}"), Some(body)).await
    }

    pub(crate) async fn list(&mut self) -> Result<Vec<SecretItem>, Failure> {
        let mut items = Vec::new();
        let mut next = Some(format!("/secrets?api-version={API}"));
        while let Some(path) = next {
            let page: Page<SecretItem> = self.call(Method::GET, &path, None).await?;
            items.extend(page.value);
            next =
                match page.next_link {
                    // A link to another host would take the token there.
                    Some(link) => Some(path_within(&self.url, &link).map(str::to_owned).ok_or_else(|| {
                        Failure::new(exit::DATA, format!("the vault's next page is elsewhere: {link}"))
                    })?),
                    None => None,
                };
        }
        Ok(items)
    }

    async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, Failure> {
        let url = format!("{}{path}", self.url);
        if self.token.is_none() {
            // Without a token and without the body: a value is not shown to whoever answers first.
            let challenge = self.send(method.clone(), &url, None).await?;
            let resource = challenged(&challenge).ok_or_else(|| {
                Failure::new(
                    exit::DATA,
                    format!("{} is no vault: it answered {} without a challenge", self.url, challenge.status()),
                )
            })?;
            check_resource(&self.url, &resource)?;
            let token = self.identity.token(&resource, None).await.map_err(|e| token::refused(&self.identity, &e))?;
            self.token = Some(token);
        }
        let answer = self.send(method, &url, body).await?;
        if answer.status() == StatusCode::OK {
            return read(answer.body());
        }
        let text = refusal(answer.body());
        let code = match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => exit::NO_PERMISSION,
            status if status.is_server_error() => exit::UNAVAILABLE,
            _ => exit::DATA,
        };
        Err(Failure::new(code, format!("the vault answered {}: {text}", answer.status())))
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<hyper::body::Bytes>, Failure> {
        let bearer = self.token.as_ref().map(|t| zeroize::Zeroizing::new(format!("Bearer {}", t.secret())));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|b| ("Authorization", b.as_str())).collect();
        self.http.send(method, url, &headers, body).await.map_err(|e: HttpError| {
            let hint = match e {
                HttpError::Connection { .. } | HttpError::UntrustedCertificate { .. } => {
                    "; is the vault there, and does SSL_CERT_FILE name its CA (`. DIR/env`)?"
                }
                HttpError::Roots(_) | HttpError::Request(_) | _ => "",
            };
            Failure::new(exit::UNAVAILABLE, format!("{e}{hint}"))
        })
    }
}

/// What the vault answered. The error says where it is wrong and shows nothing: a value stands there.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::new(exit::DATA, format!("the vault's answer: {}", json_fault(&error))))
}

/// Why the vault refused, in its words. Another body is not shown: a proxy's page may repeat the request, and with it
/// the value.
fn refusal(body: &[u8]) -> String {
    serde_json::from_slice::<Error>(body).map_or_else(
        |_| "it did not say why: is this a vault?".to_owned(),
        |e| format!("{}: {}", e.error.code, e.error.message),
    )
}

/// The path of a link at this very vault. The text after the vault's URL must be a path: `https://v:84440` begins with
/// `https://v:8444` too.
fn path_within<'l>(vault: &str, link: &'l str) -> Option<&'l str> {
    link.strip_prefix(vault).filter(|rest| rest.starts_with('/'))
}

fn challenged(answer: &Response<hyper::body::Bytes>) -> Option<String> {
    if answer.status() != StatusCode::UNAUTHORIZED {
        return None;
    }
    let text = answer.headers().get(header::WWW_AUTHENTICATE)?.to_str().ok()?;
    let (_, rest) = text.split_once("resource=\"")?;
    rest.split_once('"').map(|(resource, _)| resource.to_owned())
}

/// The vault's host must lie under the resource's: a foreign server must not be able to ask for a token to the real
/// one. A loopback address has no domain to check and is left out.
fn check_resource(vault: &str, resource: &str) -> Result<(), Failure> {
    let host = |url: &str| {
        url.strip_prefix("https://").map(|rest| rest.split('/').next().unwrap_or_default().to_ascii_lowercase())
    };
    let (Some(vault), Some(resource)) = (host(vault), host(resource)) else {
        return Err(Failure::new(exit::USAGE, "a vault's URL starts with https://"));
    };
    let name = vault.rsplit_once(':').map_or(vault.as_str(), |(name, _)| name);
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]") || vault.ends_with(&format!(".{resource}")) {
        return Ok(());
    }
    Err(Failure::new(
        exit::DATA,
        format!("the vault at {vault} asks for a token to {resource}, which it is not part of"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_vault_answers_is_not_shown_in_an_error() {
        const MARKER: &str = "MARKER-hunter2";
        for body in [
            format!("\"{MARKER}\""),
            format!("{{\"id\":\"i\",\"value\":[\"{MARKER}\"]}}"),
            format!("{{\"id\":[\"{MARKER}\"],\"value\":\"{MARKER}\"}}"),
            format!("{{\"value\":\"{MARKER}\",\"attributes\":\"{MARKER}\"}}"),
            format!("{{\"value\":\"{MARKER}"),
            format!("<html>{MARKER}"),
        ] {
            let failure = read::<SecretBundle>(body.as_bytes()).err().unwrap().to_string();
            assert!(failure.starts_with("the vault's answer: ") && !failure.contains(MARKER), "{failure}");
            assert!(!refusal(body.as_bytes()).contains(MARKER), "{body}");
        }
        let said = br#"{"error":{"code":"SecretNotFound","message":"it is not there"}}"#;
        assert_eq!(refusal(said), "SecretNotFound: it is not there");
    }

    #[test]
    fn a_next_page_elsewhere_is_not_followed() {
        let vault = "https://localhost:8444";
        assert_eq!(path_within(vault, "https://localhost:8444/secrets?x=1"), Some("/secrets?x=1"));
        for link in [
            "https://localhost:84440/",
            "https://localhost:8444.evil.test/",
            "https://localhost:8444@evil.test/",
            "https://evil.test/",
        ] {
            assert_eq!(path_within(vault, link), None, "{link}");
        }
    }

    #[test]
    fn a_vaults_url_is_https_and_a_host() {
        for url in
            ["https://localhost:8444", "https://localhost:8444/", "https://[::1]:8444", "https://v.vault.azure.net"]
        {
            assert_eq!(url.parse::<VaultUrl>().unwrap().0, url.trim_end_matches('/'));
        }
        for url in
            ["localhost:8444", "http://localhost:8444", "https://", "https:///", "https://v/secrets", "https://u@v"]
        {
            let rule = url.parse::<VaultUrl>().unwrap_err();
            assert!(rule.contains("https://"), "{url}: {rule}");
        }
    }

    #[test]
    fn a_vault_may_ask_for_its_own_domain_only() {
        assert!(check_resource("https://dev.vault.denizen.test:8444", "https://vault.denizen.test:8444").is_ok());
        assert!(check_resource("https://localhost:8444", "https://vault.azure.net").is_ok());
        assert!(check_resource("https://evil.test", "https://vault.azure.net").is_err());
        assert!(check_resource("https://evilvault.azure.net", "https://vault.azure.net").is_err());
    }
}
