//! Credentials that prove an application to the token service itself, with no endpoint of the machine in between.
//!
//! The administrator of the development tenant has a secret. The machine's node key is registered with the token
//! service as a certificate, so whoever holds its state directory proves the machine as an application would prove
//! itself: by a PEM file, a PFX, an assertion of its own making, or one in a file. (The token service federates with
//! no other issuer yet, so the assertion in the file is the machine's own; how it gets there is all that a workload
//! identity changes on the wire.)

use std::{path::PathBuf, sync::Arc};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use azure_core::{
    base64,
    credentials::{Secret, TokenCredential},
};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions, models::SetSecretParameters};
use denizen_identity::{
    ClientAssertionCredential, ClientCertificateCredential, ClientSecretCredential, CredentialContext, CredentialError,
    DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential,
    connection_string::AzureServiceTokenProvider,
};
use serde::Deserialize;
use serde_json::json;

use crate::contract::{Contract, fault, now, variable};

/// What `dev.json` and `run` give to the cases of this file.
pub(crate) struct Applications {
    authority: String,
    tenant: String,
    machine: String,
    pub(crate) admin: Admin,
    /// The node key with its certificate, in PEM.
    pem: PathBuf,
    /// The same as PKCS#12, without a password.
    pfx: PathBuf,
    /// The same with the password [`PASSWORD`].
    locked_pfx: PathBuf,
    /// A certificate that nobody has registered, as PKCS#12 without a password.
    foreign_pfx: PathBuf,
    key: Vec<u8>,
}

/// The administrator.
#[derive(Deserialize)]
pub(crate) struct Admin {
    pub(crate) client_id: String,
    client_secret: String,
}

#[derive(Deserialize)]
struct Dev {
    authority: String,
    tenant_id: String,
    admin: Admin,
    machine: Machine,
}

#[derive(Deserialize)]
struct Machine {
    client_id: String,
}

const PASSWORD: &str = "of the file";

impl Applications {
    pub(crate) fn load() -> Result<Self, String> {
        let path = PathBuf::from(variable("DENIZEN_DEV_JSON")?);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let dev: Dev = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let key = path.with_file_name("agent").join("node.key");
        let key = std::fs::read(&key).map_err(|error| format!("{}: {error}", key.display()))?;
        let made = PathBuf::from(variable("SUITE_CERTIFICATES")?);
        Ok(Self {
            authority: dev.authority,
            tenant: dev.tenant_id,
            machine: dev.machine.client_id,
            admin: dev.admin,
            pem: made.join("node.pem"),
            pfx: made.join("node.pfx"),
            locked_pfx: made.join("locked.pfx"),
            foreign_pfx: made.join("foreign.pfx"),
            key,
        })
    }

    /// The administrator, by secret.
    pub(crate) fn by_secret(&self) -> Result<Arc<dyn TokenCredential>, String> {
        let secret = Secret::from(self.admin.client_secret.clone());
        let credential = ClientSecretCredential::new(&self.tenant, self.admin.client_id.clone(), secret, None);
        credential.map(|c| c as _).map_err(fault("ClientSecretCredential"))
    }

    /// The administrator, by a secret that is not his.
    pub(crate) fn by_wrong_secret(&self) -> Result<Arc<dyn TokenCredential>, String> {
        let secret = Secret::from(format!("{}x", self.admin.client_secret));
        let credential = ClientSecretCredential::new(&self.tenant, self.admin.client_id.clone(), secret, None);
        credential.map(|c| c as _).map_err(fault("ClientSecretCredential"))
    }

    /// The administrator, by the environment that `run` sets for these cases.
    pub(crate) fn by_environment(&self) -> Result<Arc<dyn TokenCredential>, String> {
        DefaultAzureCredential::new().map(|c| c as _).map_err(fault("DefaultAzureCredential"))
    }

    /// The machine, by its certificate in PEM.
    pub(crate) fn by_pem(&self) -> Result<Arc<dyn TokenCredential>, String> {
        self.by_file(&self.pem, None)
    }

    /// The machine, by its certificate as PKCS#12 with a password.
    pub(crate) fn by_pfx(&self) -> Result<Arc<dyn TokenCredential>, String> {
        self.by_file(&self.locked_pfx, Some(PASSWORD))
    }

    fn by_file(&self, file: &PathBuf, password: Option<&str>) -> Result<Arc<dyn TokenCredential>, String> {
        let mut builder = ClientCertificateCredential::from_file(&*self.tenant, &*self.machine, file).map_err(said)?;
        if let Some(password) = password {
            builder = builder.password(password);
        }
        builder.build().map(|c| c as _).map_err(said)
    }

    /// The machine, by an assertion that the program makes.
    pub(crate) fn by_assertion(self: &Arc<Self>) -> Result<Arc<dyn TokenCredential>, String> {
        let us = Arc::clone(self);
        let assertion = move || {
            let made = us.assertion();
            async move { Ok::<_, CredentialError>(made.unwrap_or_default()) }
        };
        let credential = ClientAssertionCredential::new(&self.tenant, self.machine.clone(), assertion, None);
        credential.map(|c| c as _).map_err(fault("ClientAssertionCredential"))
    }

    /// The machine, by an assertion in a file.
    pub(crate) fn by_token_file(&self) -> Result<Arc<dyn TokenCredential>, String> {
        let file = self.pem.with_file_name("assertion");
        // A newline at the end, as an editor leaves one.
        std::fs::write(&file, format!("{}\n", self.assertion()?)).map_err(|error| error.to_string())?;
        let builder = WorkloadIdentityCredential::builder().client_id(&*self.machine).token_file(file);
        builder.build().map(|c| c as _).map_err(said)
    }

    fn assertion(&self) -> Result<String, String> {
        let pem = std::fs::read_to_string(&self.pem).map_err(|error| error.to_string())?;
        let certificate = pem
            .split_once("-----BEGIN CERTIFICATE-----")
            .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"))
            .map(|(body, _)| body.split_whitespace().collect::<String>())
            .ok_or("node.pem has no certificate")?;
        let certificate = base64::decode(&certificate).map_err(fault("node.pem"))?;
        let thumbprint = base64::encode_url_safe(digest(&SHA256, &certificate));
        let header = json!({"alg": "RS256", "typ": "JWT", "x5t#S256": thumbprint});
        let audience = format!("{}/{}/oauth2/v2.0/token", self.authority, self.tenant);
        let claims = json!({
            "iss": self.machine, "sub": self.machine, "aud": audience, "iat": now(), "nbf": now(),
            "exp": now() + 300, "jti": format!("{:x}", now()),
        });
        let part = |json: &serde_json::Value| base64::encode_url_safe(json.to_string());
        let input = format!("{}.{}", part(&header), part(&claims));
        let key = RsaKeyPair::from_pkcs8(&self.key).map_err(|error| format!("node.key: {error}"))?;
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature)
            .map_err(|error| format!("node.key: {error}"))?;
        Ok(format!("{input}.{}", base64::encode_url_safe(signature)))
    }

    /// `KeyVaultCertificateSecretIdentifier`: the managed identity reads a PFX from the vault, and with it an application
    /// logs in. The application is the machine; that it is proved by what the vault gave and by nothing else, the
    /// foreign certificate shows.
    pub(crate) async fn by_certificate_in_the_vault(&self, contract: &Contract, label: &str) -> Result<String, String> {
        let managed = ManagedIdentityCredential::new(None).map_err(fault("ManagedIdentityCredential"))?;
        let options =
            SecretClientOptions { verify_challenge_resource: Some(contract.verify_challenge()), ..Default::default() };
        let client = SecretClient::new(&contract.vault_url, managed, Some(options)).map_err(fault("SecretClient"))?;
        let provider = async |pfx: &PathBuf, which: &str| {
            let name = format!("certificate-{label}-{which}-{:x}-{:x}", now(), std::process::id());
            let pfx = std::fs::read(pfx).map_err(|error| format!("{}: {error}", pfx.display()))?;
            let parameters = SetSecretParameters {
                value: Some(base64::encode(pfx)),
                content_type: Some("application/x-pkcs12".into()),
                ..Default::default()
            };
            let parameters = parameters.try_into().map_err(fault("set"))?;
            client.set_secret(&name, parameters, None).await.map_err(fault("set"))?;
            let text = format!(
                "RunAs=App;AppId={};TenantId={};KeyVaultCertificateSecretIdentifier={}/secrets/{name}",
                self.machine, self.tenant, contract.vault_url
            );
            AzureServiceTokenProvider::new(Some(&text), &CredentialContext::of_process()).map_err(said)
        };
        let token = provider(&self.pfx, "own").await?.get_access_token("https://management.azure.com").await;
        let token = token.map_err(said)?;
        contract.check_token(token.secret(), "https://management.azure.com", token.expires_on.0)?;
        match provider(&self.foreign_pfx, "foreign").await?.get_access_token("https://management.azure.com").await {
            Ok(_) => Err("a certificate that nobody has registered gave a token".into()),
            Err(error) if error.to_string().contains("AADSTS700027") => {
                Ok("token; a foreign certificate refused".into())
            }
            Err(error) => Err(format!("a foreign certificate is refused for another reason: {error}")),
        }
    }
}

fn said(error: CredentialError) -> String {
    error.to_string()
}
