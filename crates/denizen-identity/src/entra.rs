//! The token service's v2 endpoint: `POST {authority}/{tenant}/oauth2/v2.0/token`. Microsoft Entra ID and Denizen
//! answer alike.

use std::fmt;

use denizen_wire::Clock;
use http::{Method, StatusCode};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    context::CredentialContext,
    environment::Environment,
    error::{CredentialError, Failed, FailureKind},
    http::{Client, HttpError},
    retry::RetryPolicy,
    source::{answer::Answer, fingerprint},
    token::{Ask, Token},
};

/// The public cloud's.
pub(crate) const PUBLIC_CLOUD: &str = "https://login.microsoftonline.com";
/// The US government cloud's.
pub(crate) const US_GOVERNMENT: &str = "https://login.microsoftonline.us";
/// The one in China.
pub(crate) const CHINA: &str = "https://login.chinacloudapi.cn";

/// How a client reaches its tenant's token endpoint. What is not said here is taken from the environment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TenantOptions {
    /// `https://login.microsoftonline.com` unless given here or in `AZURE_AUTHORITY_HOST`. Always https.
    pub authority_host: Option<String>,
    /// Tenants a request may name besides the credential's own; `*` is any. Joined with
    /// `AZURE_ADDITIONALLY_ALLOWED_TENANTS`.
    pub additionally_allowed_tenants: Vec<String>,
}

/// One client at one tenant's token endpoint.
pub(crate) struct TokenEndpoint {
    credential: &'static str,
    authority: String,
    tenant_id: String,
    allowed: Vec<String>,
    multitenant: bool,
    pub(crate) client_id: String,
    http: Client,
    pub(crate) clock: Clock,
    retry: RetryPolicy,
}

impl TokenEndpoint {
    pub(crate) fn new(
        credential: &'static str,
        tenant_id: &str,
        client_id: &str,
        options: &TenantOptions,
        context: &CredentialContext,
    ) -> Result<Self, CredentialError> {
        let environment = context.environment();
        if client_id.is_empty() {
            return Err(Failed::configuration(credential, "the client id is empty").into());
        }
        if let Err(why) = check_tenant(tenant_id) {
            return Err(Failed::configuration(credential, format!("the tenant id {why}"))
                .with_remedy("give the tenant's GUID or one of its domain names")
                .into());
        }
        let listed = environment.get("AZURE_ADDITIONALLY_ALLOWED_TENANTS").unwrap_or_default();
        let listed = listed.split(';').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
        Ok(Self {
            credential,
            authority: authority(credential, options, environment)?,
            tenant_id: tenant_id.to_owned(),
            allowed: options.additionally_allowed_tenants.iter().cloned().chain(listed).collect(),
            multitenant: environment.get("AZURE_IDENTITY_DISABLE_MULTITENANTAUTH").is_none(),
            client_id: client_id.to_owned(),
            http: context.service_http(credential)?,
            clock: context.clock.clone(),
            retry: RetryPolicy::service(),
        })
    }

    /// Names whose tokens these are, for the cache.
    pub(crate) fn identity(&self) -> String {
        format!("{} {} {} {}", self.credential, self.authority, self.tenant_id, self.client_id)
    }

    /// The same for a client with this proof: who has another one does not get its tokens out of a shared cache.
    pub(crate) fn identity_by(&self, proof: &str) -> String {
        format!("{} {}", self.identity(), fingerprint(proof))
    }

    /// The tenant a request is for.
    pub(crate) fn tenant<'a>(&'a self, ask: &'a Ask) -> Result<&'a str, CredentialError> {
        let Some(asked) = ask.tenant_id.as_deref().filter(|t| !t.eq_ignore_ascii_case(&self.tenant_id)) else {
            return Ok(&self.tenant_id);
        };
        if self.multitenant
            && check_tenant(asked).is_ok()
            && self.allowed.iter().any(|a| a == "*" || a.eq_ignore_ascii_case(asked))
        {
            return Ok(asked);
        }
        let named = if check_tenant(asked).is_ok() { asked } else { "that is none" };
        Err(Failed::configuration(self.credential, format!("a token in tenant {named} is not allowed"))
            .with_remedy("add it to the additionally allowed tenants, or set AZURE_ADDITIONALLY_ALLOWED_TENANTS")
            .into())
    }

    pub(crate) fn url(&self, tenant: &str) -> String {
        format!("{}/{tenant}/oauth2/v2.0/token", self.authority)
    }

    /// Asks with `grant`, the part of the form that proves who we are.
    pub(crate) async fn token(&self, ask: &Ask, grant: &[(&str, &str)]) -> Result<Token, CredentialError> {
        let tenant = self.tenant(ask)?;
        let scope = self.scope(ask)?;
        let form = self.form(&scope, ask, grant);
        let url = self.url(tenant);
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")];
        let attempt = || self.http.send(Method::POST, &url, &headers, Some(form.as_bytes().to_vec()));
        let answer = self.retry.run(&self.clock, attempt).await.map_err(|e| {
            let hint = match &e {
                HttpError::Connection { proxy: Some(_), .. } => {
                    "check HTTPS_PROXY, with user and password if the proxy wants them, or name the host in NO_PROXY"
                }
                HttpError::Connection { proxy: None, .. }
                | HttpError::UntrustedCertificate { .. }
                | HttpError::Roots(_)
                | HttpError::Request(_) => {
                    "check AZURE_AUTHORITY_HOST, and that its certificate is among the roots (SSL_CERT_FILE)"
                }
            };
            Failed::new(self.credential, FailureKind::NoAnswer, e.to_string()).with_remedy(hint)
        })?;
        if answer.status() != StatusCode::OK {
            return Err(self.refusal(answer.status(), answer.body()));
        }
        let read = Answer::read(answer.body()).and_then(|body| body.token(self.clock.now()));
        read.map_err(|why| {
            Failed::new(self.credential, FailureKind::MalformedAnswer, format!("{url} answered no token: {why}"))
                .with_remedy("is AZURE_AUTHORITY_HOST a token service?")
                .into()
        })
    }

    fn form(&self, scope: &str, ask: &Ask, grant: &[(&str, &str)]) -> Zeroizing<String> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("client_id", &self.client_id).append_pair("scope", scope).extend_pairs(grant);
        if let Some(claims) = &ask.claims {
            form.append_pair("claims", claims);
        }
        Zeroizing::new(form.finish())
    }

    fn scope(&self, ask: &Ask) -> Result<String, CredentialError> {
        let sound = |s: &String| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:/".contains(c));
        match !ask.scopes.is_empty() && ask.scopes.iter().all(sound) {
            true => Ok(ask.scopes.join(" ")),
            false => Err(Failed::configuration(self.credential, "what is asked for is no scope")
                .with_remedy("a scope looks like https://vault.azure.net/.default")
                .into()),
        }
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> CredentialError {
        let error: Refusal = serde_json::from_slice(body).unwrap_or_default();
        let number = error.error_codes.first().copied().or_else(|| aadsts(&error.error_description));
        let reason = match (error.error.as_str(), error.error_description.as_str()) {
            ("", "") => format!("the token service refused with {status}"),
            (error, "") => format!("the token service refused with {status}: {error}"),
            // The rest is trace ids, one per line in older texts.
            (error, description) => {
                format!("the token service refused with {status}: {error}: {}", description.replace("\r\n", " "))
            }
        };
        let code = (!error.error.is_empty()).then_some(error.error);
        let failed = Failed::new(self.credential, FailureKind::Refused { status: status.as_u16(), code }, reason);
        match number.and_then(remedy) {
            Some(remedy) => failed.with_remedy(remedy).into(),
            None if status.is_server_error() => {
                failed.with_remedy("try again later; see the token service's own log").into()
            }
            None => failed.into(),
        }
    }
}

impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} in tenant {} at {}", self.client_id, self.tenant_id, self.authority)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
    error_codes: Vec<i64>,
}

fn authority(
    credential: &'static str,
    options: &TenantOptions,
    environment: &Environment,
) -> Result<String, CredentialError> {
    let host = options.authority_host.as_deref().or(environment.get("AZURE_AUTHORITY_HOST")).unwrap_or(PUBLIC_CLOUD);
    let host = host.trim().trim_end_matches('/');
    let host = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
    let parsed: Option<http::Uri> = host.parse().ok();
    match parsed.filter(|uri| uri.scheme_str() == Some("https") && uri.authority().is_some() && uri.query().is_none()) {
        Some(_) => Ok(host),
        None => Err(Failed::configuration(credential, "the authority is not an https URL")
            .with_remedy("AZURE_AUTHORITY_HOST must be https: a secret is sent there")
            .into()),
    }
}

/// Why a text is no tenant id. The text is not repeated: a secret that was put into the wrong variable may stand there.
fn check_tenant(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    match text.chars().position(|c| !(c.is_ascii_alphanumeric() || c == '.' || c == '-')) {
        None => Ok(()),
        Some(at) => Err(format!("has a character at position {} that no tenant id has", at + 1)),
    }
}

/// The number in `AADSTS7000215: …`, for services that do not send `error_codes`.
fn aadsts(description: &str) -> Option<i64> {
    let digits = description.split("AADSTS").nth(1)?;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What fixes the refusals that people meet.
fn remedy(number: i64) -> Option<&'static str> {
    Some(match number {
        7_000_215 => "the secret is wrong: give the secret's value, not its id",
        7_000_222 => "the secret has ended: make a new one",
        7_000_218 => "the application asks for a secret or an assertion",
        700_016 => "no such application in this tenant: check the client id and the tenant id",
        700_027 => "the certificate is not registered with the application, or the key is not its key",
        700_024 => "the assertion is not valid now: check this machine's clock",
        700_030 => "the certificate's subject is not allowed for this application",
        70_021 | 700_211..=700_213 | 7_002_137 | 7_002_138 => {
            "no federated credential matches: its issuer, subject and audience must equal the token's exactly"
        }
        90_002 | 900_023 => "no such tenant: check the tenant id",
        500_011 => "no such resource in this tenant: check the scope",
        501_051 => "the application has no role on this resource",
        50_126 | 50_034 => "check the user name and the password",
        50_076 | 50_079 | 50_158 => "this user must use multi-factor authentication, which a password grant cannot",
        7_000_112 => "the application is disabled in this tenant",
        70_011 | 1_002_012 => "the scope must end in /.default",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenRequest;

    fn endpoint<const N: usize>(pairs: [(&str, &str); N]) -> Result<TokenEndpoint, CredentialError> {
        let context = CredentialContext::of(Environment::from(pairs));
        TokenEndpoint::new("X", "t-1", "c", &TenantOptions::default(), &context)
    }

    fn why(result: Result<TokenEndpoint, CredentialError>) -> String {
        result.err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_authority_is_https_or_nothing() {
        assert_eq!(endpoint([]).unwrap().url("t"), "https://login.microsoftonline.com/t/oauth2/v2.0/token");
        let named = endpoint([("AZURE_AUTHORITY_HOST", "https://127.0.0.1:8443/")]).unwrap();
        assert_eq!(named.url("t"), "https://127.0.0.1:8443/t/oauth2/v2.0/token");
        assert!(why(endpoint([("AZURE_AUTHORITY_HOST", "http://127.0.0.1")])).contains("is not an https URL"));
    }

    #[test]
    fn another_tenant_must_be_allowed() {
        let ask = |tenant| TokenRequest::new(&["s"]).for_tenant(tenant).to_ask();
        let closed = endpoint([]).unwrap();
        assert_eq!(closed.tenant(&ask("T-1")).unwrap(), "t-1");
        assert!(closed.tenant(&ask("t-2")).is_err());
        let listed = endpoint([("AZURE_ADDITIONALLY_ALLOWED_TENANTS", "t-3; t-2")]).unwrap();
        assert_eq!(listed.tenant(&ask("t-2")).unwrap(), "t-2");
        assert!(listed.tenant(&ask("t-4")).is_err());
        let any = endpoint([("AZURE_ADDITIONALLY_ALLOWED_TENANTS", "*")]).unwrap();
        assert_eq!(any.tenant(&ask("t-4")).unwrap(), "t-4");
        assert!(any.tenant(&ask("../x")).is_err(), "a tenant is not a path");
        let pairs = [("AZURE_ADDITIONALLY_ALLOWED_TENANTS", "*"), ("AZURE_IDENTITY_DISABLE_MULTITENANTAUTH", "1")];
        assert!(endpoint(pairs).unwrap().tenant(&ask("t-4")).is_err());
    }

    #[test]
    fn a_refusal_says_what_fixes_it() {
        let body = br#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret."}"#;
        let error = endpoint([]).unwrap().refusal(StatusCode::UNAUTHORIZED, body);
        assert!(!error.is_unavailable());
        assert_eq!(error.remedy(), Some("the secret is wrong: give the secret's value, not its id"));
        let kind = FailureKind::Refused { status: 401, code: Some("invalid_client".into()) };
        assert_eq!(error.failed().unwrap().kind, kind);
        let html = endpoint([]).unwrap().refusal(StatusCode::BAD_GATEWAY, b"<html>");
        let remedy = "try again later; see the token service's own log";
        assert_eq!(html.to_string(), format!("X failed: the token service refused with 502 Bad Gateway ({remedy})"));
    }
}
