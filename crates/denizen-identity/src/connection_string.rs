//! The connection strings of the retired `AzureServiceTokenProvider`, for programs that still have one.
//!
//! | string | credential |
//! |---|---|
//! | none | managed identity, then Azure CLI |
//! | `RunAs=Developer;DeveloperTool=AzureCLI` | Azure CLI |
//! | `RunAs=App` | the system-assigned managed identity |
//! | `RunAs=App;AppId=ID` | a user-assigned one |
//! | `RunAs=App;AppId=ID;TenantId=ID;AppKey=SECRET` | client secret |
//! | `RunAs=App;AppId=ID;KeyVaultCertificateSecretIdentifier=URL[;TenantId=ID]` | a certificate the managed identity reads from a vault |
//! | `…;MsiRetryTimeout=SECONDS` | how long the managed identity's endpoint is asked again |
//!
//! Refused, with what to use instead: `CertificateThumbprint` and `CertificateSubjectName` (there is no certificate
//! store here), `RunAs=CurrentUser` and `DeveloperTool=VisualStudio`.
//!
//! Tests: below, and `tests/credentials/config.rs`.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{
    ChainedTokenCredential, ClientSecretCredential, ManagedIdentityCredential, UserAssigned,
    context::CredentialContext,
    credential::{Credential, Unusable},
    error::{CredentialError, Failed},
    retry::RetryPolicy,
    token::{Token, TokenRequest},
};

const NAME: &str = "AzureServiceTokenProvider";
/// Where the string is looked for when none is given.
const VARIABLE: &str = "AzureServicesAuthConnectionString";
/// The keys there are, in lower case.
const KEYS: [&str; 9] = [
    "runas",
    "developertool",
    "appid",
    "tenantid",
    "appkey",
    "keyvaultcertificatesecretidentifier",
    "certificatethumbprint",
    "certificatesubjectname",
    "msiretrytimeout",
];

/// Gives tokens by resource, as a connection string says.
pub struct AzureServiceTokenProvider {
    form: Form,
}

enum Form {
    Credential(Arc<dyn Credential>),
    #[cfg(feature = "certificate")]
    Vault(Box<vault::VaultCertificate>),
}

impl AzureServiceTokenProvider {
    /// By this string; by the variable `AzureServicesAuthConnectionString` if there is none; by the default row of
    /// the table if that is not set either.
    pub fn new(connection_string: Option<&str>, context: &CredentialContext) -> Result<Self, CredentialError> {
        let text = connection_string.or(context.environment().get(VARIABLE)).unwrap_or_default();
        let fields = parse(text)?;
        let get = |key: &str| fields.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let retry = get("msiretrytimeout").map(retry_for).transpose()?;
        let credential: Arc<dyn Credential> = match get("runas").map(str::to_lowercase).as_deref() {
            None if fields.is_empty() => {
                ChainedTokenCredential::builder().link(managed(None, retry, context)?).link(cli(context)).build()?
            }
            Some("developer") => match get("developertool").map(str::to_lowercase).as_deref() {
                Some("azurecli") => cli(context),
                _ => return Err(refuse("a DeveloperTool", "use AzureCLI")),
            },
            Some("app") => return Self::app(&get, retry, context),
            _ => return Err(refuse("a RunAs", "use App or Developer")),
        };
        Ok(Self { form: Form::Credential(credential) })
    }

    fn app<'a>(
        get: &dyn Fn(&str) -> Option<&'a str>,
        retry: Option<RetryPolicy>,
        context: &CredentialContext,
    ) -> Result<Self, CredentialError> {
        for key in ["certificatethumbprint", "certificatesubjectname"] {
            if get(key).is_some() {
                return Err(refuse(
                    &format!("{key}, which names a certificate store,"),
                    "there is none here: use ClientCertificateCredential with a file",
                ));
            }
        }
        if let Some(identifier) = get("keyvaultcertificatesecretidentifier") {
            return Self::vault(identifier, get("appid"), get("tenantid"), retry, context);
        }
        let credential: Arc<dyn Credential> = match (get("appid"), get("tenantid"), get("appkey")) {
            (Some(client), Some(tenant), Some(secret)) => {
                ClientSecretCredential::builder(tenant, client, secret).context(context.clone()).build()?
            }
            (_, _, Some(_)) => return Err(refuse("AppKey without AppId and TenantId", "give all three")),
            (client, _, None) => managed(client, retry, context)?,
        };
        Ok(Self { form: Form::Credential(credential) })
    }

    #[cfg(feature = "certificate")]
    fn vault(
        identifier: &str,
        client: Option<&str>,
        tenant: Option<&str>,
        retry: Option<RetryPolicy>,
        context: &CredentialContext,
    ) -> Result<Self, CredentialError> {
        if !identifier.starts_with("https://") {
            return Err(refuse("a KeyVaultCertificateSecretIdentifier that is not https", "a token is sent there"));
        }
        let client = client.ok_or_else(|| refuse("KeyVaultCertificateSecretIdentifier without AppId", "give both"))?;
        Ok(Self {
            form: Form::Vault(Box::new(vault::VaultCertificate {
                managed: managed(None, retry, context)?,
                identifier: identifier.to_owned(),
                client_id: client.to_owned(),
                tenant_id: tenant.map(str::to_owned),
                context: context.clone(),
                made: tokio::sync::Mutex::default(),
            })),
        })
    }

    #[cfg(not(feature = "certificate"))]
    fn vault(
        _: &str,
        _: Option<&str>,
        _: Option<&str>,
        _: Option<RetryPolicy>,
        _: &CredentialContext,
    ) -> Result<Self, CredentialError> {
        Err(refuse("KeyVaultCertificateSecretIdentifier", "build denizen-identity with the feature `certificate`"))
    }

    /// A token for `resource` (`https://vault.azure.net`).
    pub async fn get_access_token(&self, resource: &str) -> Result<Token, CredentialError> {
        self.ask(resource, None).await
    }

    /// The same in a tenant: that of the credential, or one it is allowed.
    pub async fn get_access_token_in(&self, resource: &str, tenant_id: &str) -> Result<Token, CredentialError> {
        self.ask(resource, Some(tenant_id)).await
    }

    async fn ask(&self, resource: &str, tenant: Option<&str>) -> Result<Token, CredentialError> {
        let scope = format!("{resource}/.default");
        let scopes = [scope.as_str()];
        let request = TokenRequest::new(&scopes);
        let request = tenant.map_or(request, |tenant| request.for_tenant(tenant));
        match &self.form {
            Form::Credential(credential) => credential.token(request).await,
            #[cfg(feature = "certificate")]
            Form::Vault(vault) => vault.credential(tenant).await?.token(request).await,
        }
    }
}

impl fmt::Debug for AzureServiceTokenProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.form {
            Form::Credential(credential) => f.debug_tuple(NAME).field(credential).finish(),
            #[cfg(feature = "certificate")]
            Form::Vault(vault) => f.debug_tuple(NAME).field(&vault.identifier).finish(),
        }
    }
}

fn managed(
    client_id: Option<&str>,
    retry: Option<RetryPolicy>,
    context: &CredentialContext,
) -> Result<Arc<dyn Credential>, CredentialError> {
    let mut builder = ManagedIdentityCredential::builder().context(context.clone());
    if let Some(id) = client_id {
        builder = builder.user_assigned(UserAssigned::ClientId(id.to_owned()));
    }
    if let Some(retry) = retry {
        builder = builder.retry(retry);
    }
    Ok(builder.build()?)
}

#[cfg(feature = "developer")]
fn cli(context: &CredentialContext) -> Arc<dyn Credential> {
    match crate::AzureCliCredential::with(None, None, context) {
        Ok(credential) => credential,
        Err(error) => Unusable::because("AzureCliCredential", error),
    }
}

#[cfg(not(feature = "developer"))]
fn cli(_: &CredentialContext) -> Arc<dyn Credential> {
    let why = crate::error::Unavailable::new("AzureCliCredential", "it is not built in");
    Unusable::because("AzureCliCredential", why.with_remedy("build denizen-identity with the feature `developer`"))
}

fn retry_for(seconds: &str) -> Result<RetryPolicy, CredentialError> {
    let seconds = seconds.parse().map_err(|_| refuse("MsiRetryTimeout that is no number", "give whole seconds"))?;
    // As many as fit into the time: the deadline ends them.
    Ok(RetryPolicy {
        retries: if seconds == 0 { 0 } else { 30 },
        deadline: Duration::from_secs(seconds),
        ..RetryPolicy::imds()
    })
}

fn refuse(what: &str, remedy: &str) -> CredentialError {
    Failed::configuration(NAME, format!("the connection string has {what} that is not supported"))
        .with_remedy(remedy)
        .into()
}

/// A key, where it is one of ours: what an unquoted value with a `;` in it leaves looks like a key too.
fn shown(key: &str) -> &str {
    KEYS.iter().find(|known| **known == key).map_or("a key that is not known", |known| *known)
}

/// `key=value;…`: keys without case, values quoted or not, nothing twice. The error never repeats a value.
fn parse(text: &str) -> Result<BTreeMap<String, String>, CredentialError> {
    let wrong =
        |why: String| CredentialError::from(Failed::configuration(NAME, format!("the connection string {why}")));
    let mut fields = BTreeMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or_else(|| wrong("has a part without '='".into()))?;
        let key = key.trim().to_lowercase();
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| *c == '"' || *c == '\'');
        let (value, tail) = match quote.and_then(|q| Some((q, after.strip_prefix(q)?))) {
            Some((quote, inner)) => {
                let (value, tail) =
                    inner.split_once(quote).ok_or_else(|| wrong(format!("has an open quote at {}", shown(&key))))?;
                let tail = tail.trim_start();
                let tail = if tail.is_empty() { Some(tail) } else { tail.strip_prefix(';') };
                (value, tail.ok_or_else(|| wrong(format!("has text after the quote at {}", shown(&key))))?)
            }
            None => after.split_once(';').unwrap_or((after, "")),
        };
        if key.is_empty() {
            return Err(wrong("has a value without a key".into()));
        }
        if fields.contains_key(&key) {
            return Err(wrong(format!("has {} twice", shown(&key))));
        }
        fields.insert(key, value.trim().to_owned());
        rest = tail.trim_start_matches([';', ' ']);
    }
    Ok(fields)
}

#[cfg(feature = "certificate")]
mod vault {
    //! The certificate of an application, kept in a vault and read by the machine's own identity.

    use std::sync::Arc;

    use http::{Method, StatusCode};
    use serde::Deserialize;
    use zeroize::Zeroizing;

    use super::NAME;
    use crate::{
        ClientCertificateCredential,
        context::CredentialContext,
        credential::Credential,
        error::{CredentialError, Failed, FailureKind},
        token::TokenRequest,
    };

    pub(super) struct VaultCertificate {
        pub(super) managed: Arc<dyn Credential>,
        pub(super) identifier: String,
        pub(super) client_id: String,
        pub(super) tenant_id: Option<String>,
        pub(super) context: CredentialContext,
        /// Per tenant, once read.
        pub(super) made: tokio::sync::Mutex<Vec<(String, Arc<ClientCertificateCredential>)>>,
    }

    #[derive(Deserialize)]
    struct Bundle {
        value: String,
    }

    impl VaultCertificate {
        pub(super) async fn credential(
            &self,
            tenant: Option<&str>,
        ) -> Result<Arc<ClientCertificateCredential>, CredentialError> {
            let tenant = self.tenant_id.as_deref().or(tenant).ok_or_else(|| {
                Failed::configuration(NAME, "no tenant is known").with_remedy("add TenantId to the connection string")
            })?;
            let mut made = self.made.lock().await;
            if let Some((_, credential)) = made.iter().find(|(of, _)| of == tenant) {
                return Ok(Arc::clone(credential));
            }
            let certificate = self.read().await?;
            let credential = ClientCertificateCredential::builder(tenant, &self.client_id, certificate.to_vec())
                .context(self.context.clone())
                .build()?;
            made.push((tenant.to_owned(), Arc::clone(&credential)));
            Ok(credential)
        }

        async fn read(&self) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
            let token = self.managed.token(TokenRequest::new(&["https://vault.azure.net/.default"])).await?;
            let bearer = Zeroizing::new(format!("Bearer {}", token.secret()));
            let url = format!("{}?api-version=7.4", self.identifier);
            let fail = |kind, why: String| Failed::new(NAME, kind, format!("{}: {why}", self.identifier));
            let http = self.context.service_http(NAME)?;
            let answer = http.send(Method::GET, &url, &[("Authorization", &bearer)], None).await;
            let answer = answer.map_err(|e| {
                Failed::new(NAME, FailureKind::NoAnswer, e.to_string())
                    .with_remedy("check KeyVaultCertificateSecretIdentifier")
            })?;
            if answer.status() != StatusCode::OK {
                let kind = FailureKind::Refused { status: answer.status().as_u16(), code: None };
                let failed = fail(kind, format!("the vault answered {}", answer.status()));
                return Err(failed.with_remedy("let the managed identity read this secret").into());
            }
            let no_certificate = || fail(FailureKind::Configuration, "the secret holds no certificate".into());
            let bundle: Bundle = serde_json::from_slice(answer.body()).map_err(|_| no_certificate())?;
            // PEM, or PKCS#12 in base64: whoever reads certificate files knows both.
            Ok(Zeroizing::new(bundle.value.into_bytes()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    fn fields(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().collect()
    }

    fn of(text: &str) -> Result<AzureServiceTokenProvider, CredentialError> {
        AzureServiceTokenProvider::new(Some(text), &CredentialContext::of(Environment::default()))
    }

    #[test]
    fn keys_have_no_case_and_values_may_be_quoted() {
        let expected = vec![("appid".to_owned(), "a;b=c".to_owned()), ("runas".to_owned(), "App".to_owned())];
        assert_eq!(fields("RunAs=App;AppId=\"a;b=c\""), expected);
        assert_eq!(fields(" runas = App ; APPID='a;b=c' ; "), expected);
        assert_eq!(fields("AppKey=a=b=="), [("appkey".to_owned(), "a=b==".to_owned())]);
        assert_eq!(fields(""), []);
    }

    #[test]
    fn a_wrong_string_is_refused_without_repeating_its_values() {
        for text in [
            "RunAs",
            "RunAs=App;runas=App",
            "AppKey=\"s3cret",
            "AppKey=\"s3cret\"x;RunAs=App",
            "=s3cret",
            // A value that needed its quotes.
            "AppKey=a;s3cret=;s3cret=",
            "AppKey=a;s3cret=\"",
            "AppKey=a;s3cret=\"\"x",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains("the connection string") && !error.contains("s3cret"), "{error}");
        }
        for text in [
            "RunAs=CurrentUser",
            "RunAs=Developer;DeveloperTool=VisualStudio",
            "AppId=x",
            "RunAs=App;AppId=x;AppKey=s3cret",
            "RunAs=App;AppId=x;TenantId=t;CertificateThumbprint=00",
            "RunAs=App;AppId=x;KeyVaultCertificateSecretIdentifier=http://vault/secrets/c",
            "RunAs=App;MsiRetryTimeout=soon",
            "RunAs=s3cret",
            "RunAs=Developer;DeveloperTool=s3cret",
            "RunAs=App;MsiRetryTimeout=s3cret",
        ] {
            let error = of(text).unwrap_err();
            assert!(error.remedy().is_some() && !error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn every_supported_string_makes_its_credential() {
        for (text, credential) in [
            ("", "ChainedTokenCredential"),
            ("RunAs=App", "ManagedIdentityCredential"),
            ("RunAs=App;AppId=x;MsiRetryTimeout=20", "ManagedIdentityCredential"),
            ("RunAs=App;AppId=x;TenantId=t;AppKey=s3cret", "ClientSecretCredential"),
            ("RunAs=Developer;DeveloperTool=AzureCLI", "AzureCliCredential"),
        ] {
            let made = of(text).unwrap();
            assert!(matches!(&made.form, Form::Credential(made) if made.name() == credential), "{text}");
            assert!(!format!("{made:?}").contains("s3cret"));
        }
        let environment = Environment::from([(VARIABLE, "RunAs=App")]);
        let provider = AzureServiceTokenProvider::new(None, &CredentialContext::of(environment)).unwrap();
        assert!(matches!(provider.form, Form::Credential(c) if c.name() == "ManagedIdentityCredential"));
    }
}
