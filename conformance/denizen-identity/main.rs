//! Conformance of `denizen-identity` under the unmodified Key Vault and Blob Storage clients, against running processes:
//! `suite DIALECT`.
//!
//! The vault cases and what they expect are those of the official Rust SDK (`../rust/suite`), without its exceptions:
//! here every way of naming an identity works in every dialect, and there is a `DefaultAzureCredential`. The storage
//! cases are in `blobs.rs`. `no-agent` is no dialect of Denizen's agent: the credentials of `applications.rs` go to the
//! token service themselves, and `sources.rs` has the endpoints that Denizen does not make.

mod applications;
mod blobs;
#[allow(dead_code, reason = "nothing is not offered here")]
#[path = "../rust/suite/contract.rs"]
mod contract;
#[path = "../rust/suite/report.rs"]
mod report;
mod sources;
#[path = "../rust/suite/vault.rs"]
mod vault;

use std::{process::ExitCode, sync::Arc, time::Duration};

use applications::Applications;
use azure_core::credentials::TokenCredential;
use contract::{Contract, Outcome, fault};
use denizen_identity::{CredentialError, DefaultAzureCredential, ManagedIdentityCredential, UserAssigned};
use report::Report;
use sources::Source;
use tokio::time::timeout;

const VAULT: &str = "https://vault.azure.net";
const MANAGEMENT: &str = "https://management.azure.com";
const SERVICE_BUS: &str = "https://servicebus.azure.net";
/// An identity no machine has.
const UNKNOWN_CLIENT_ID: &str = "00000000-dead-4bad-8bad-000000000000";
/// A refusal must be quick: a client that retries it for a minute hangs the program that asked.
const REFUSAL_LIMIT: Duration = Duration::from_secs(10);
/// Far above what a case takes; below it a hang would look like a slow machine.
const CASE_LIMIT: Duration = Duration::from_secs(90);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(dialect) = std::env::args().nth(1) else {
        eprintln!("usage: suite arc|app-service|imds|no-agent");
        return ExitCode::from(64);
    };
    let (mut report, contract, applications) = match (Report::open(&dialect), Contract::load(), Applications::load()) {
        (Ok(report), Ok(contract), Ok(applications)) => (report, contract, Arc::new(applications)),
        (Err(reason), ..) | (_, Err(reason), _) | (.., Err(reason)) => {
            eprintln!("{reason}");
            return ExitCode::from(64);
        }
    };
    let suite = Suite { contract, applications, dialect };
    let cases = if suite.dialect == "no-agent" { suite.without_the_agent() } else { suite.of_the_machine() };
    for (name, case) in cases {
        let outcome = match timeout(CASE_LIMIT, suite.run(name, case)).await {
            Ok(Ok(detail)) => Outcome::Ok(detail),
            Ok(Err(reason)) => Outcome::Fail(reason),
            Err(_) => Outcome::Fail(format!("no answer within {} s", CASE_LIMIT.as_secs())),
        };
        report.add(name, outcome);
    }
    report.finish()
}

type Made = Result<Arc<dyn TokenCredential>, String>;

fn managed(identity: Option<UserAssigned>) -> Made {
    let mut builder = ManagedIdentityCredential::builder();
    if let Some(identity) = identity {
        builder = builder.user_assigned(identity);
    }
    builder.build().map(|c| c as _).map_err(|e| e.to_string())
}

fn default() -> Made {
    DefaultAzureCredential::new().map(|c| c as _).map_err(fault("new"))
}

enum Case {
    Vault(Made),
    Blobs(Made),
    /// The administrator's, whose principal no file names.
    Admin(Made),
    Own(Made),
    Unknown(Made),
    WrongSecret(Made),
    ForeignAudience(Made),
    BadName(Made),
    BlobsForeignAudience(Made),
    BlobsForeignIssuer(Made),
    CertificateInTheVault,
    Source(Source),
}

struct Suite {
    contract: Contract,
    applications: Arc<Applications>,
    dialect: String,
}

type Cases = Vec<(&'static str, Case)>;

impl Suite {
    /// In a dialect of the machine's endpoint.
    fn of_the_machine(&self) -> Cases {
        let own = &self.contract;
        vec![
            ("ManagedIdentityCredential", Case::Vault(managed(None))),
            ("DefaultAzureCredential", Case::Vault(default())),
            ("own client_id", Case::Own(managed(Some(UserAssigned::ClientId(own.client_id.clone()))))),
            ("own object_id", Case::Own(managed(Some(UserAssigned::ObjectId(own.principal_id.clone()))))),
            ("own resource_id", Case::Own(managed(Some(UserAssigned::ResourceId(own.resource_id.clone()))))),
            (
                "unknown client_id is refused",
                Case::Unknown(managed(Some(UserAssigned::ClientId(UNKNOWN_CLIENT_ID.into())))),
            ),
            ("token of another resource is refused", Case::ForeignAudience(managed(None))),
            ("disallowed secret name is refused", Case::BadName(managed(None))),
            ("blobs by ManagedIdentityCredential", Case::Blobs(managed(None))),
            ("blobs by DefaultAzureCredential", Case::Blobs(default())),
            ("blobs: token of another resource is refused", Case::BlobsForeignAudience(managed(None))),
            ("blobs: token of another issuer is refused", Case::BlobsForeignIssuer(managed(None))),
            ("certificate in the vault", Case::CertificateInTheVault),
        ]
    }

    /// With no agent in between.
    fn without_the_agent(&self) -> Cases {
        let by = &self.applications;
        vec![
            ("ClientSecretCredential", Case::Admin(by.by_secret())),
            ("DefaultAzureCredential by environment", Case::Admin(by.by_environment())),
            ("wrong secret is refused", Case::WrongSecret(by.by_wrong_secret())),
            ("ClientCertificateCredential, PEM", Case::Vault(by.by_pem())),
            ("ClientCertificateCredential, PEM, blobs", Case::Blobs(by.by_pem())),
            ("ClientCertificateCredential, PKCS#12", Case::Vault(by.by_pfx())),
            ("ClientCertificateCredential, PKCS#12, blobs", Case::Blobs(by.by_pfx())),
            ("ClientAssertionCredential", Case::Vault(by.by_assertion())),
            ("ClientAssertionCredential, blobs", Case::Blobs(by.by_assertion())),
            ("WorkloadIdentityCredential", Case::Vault(by.by_token_file())),
            ("WorkloadIdentityCredential, blobs", Case::Blobs(by.by_token_file())),
            ("App Service 2017-09-01, blobs", Case::Source(Source::AppService2017)),
            ("Azure ML, blobs", Case::Source(Source::AzureMl)),
            ("Cloud Shell, blobs", Case::Source(Source::CloudShell)),
            ("Service Fabric, blobs", Case::Source(Source::ServiceFabric)),
        ]
    }

    async fn run(&self, name: &str, case: Case) -> Result<String, String> {
        let label = || {
            let words = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
            format!("{words}-{}", self.dialect)
        };
        match case {
            Case::Vault(credential) => {
                let credential = credential?;
                self.token(&credential).await?;
                self.token(&credential).await?;
                vault::exercise(&self.contract, credential, &label()).await
            }
            Case::Blobs(credential) => blobs::exercise(credential?, &self.dialect).await,
            Case::Admin(credential) => {
                let credential = credential?;
                self.admins(&credential).await?;
                let secrets = vault::exercise(&self.contract, Arc::clone(&credential), &label()).await?;
                Ok(format!("{secrets}; blobs: {}", blobs::exercise(credential, &self.dialect).await?))
            }
            Case::Own(credential) => self.token(&credential?).await,
            Case::Unknown(credential) => self.refuses(&credential?, "Identity not found").await,
            Case::WrongSecret(credential) => self.refuses(&credential?, "AADSTS7000215").await,
            Case::ForeignAudience(credential) => {
                vault::refuses_token(&self.contract, self.token_for(&credential?, MANAGEMENT).await?).await
            }
            Case::BadName(credential) => vault::refuses_name(&self.contract, credential?).await,
            Case::BlobsForeignAudience(credential) => {
                let token = self.token_for(&credential?, SERVICE_BUS).await?;
                blobs::refuses_token(token, "Invalid token audience.").await
            }
            Case::BlobsForeignIssuer(credential) => {
                let token = self.token_for(&credential?, MANAGEMENT).await?;
                blobs::refuses_token(token, "Invalid token issuer.").await
            }
            Case::Source(source) => sources::exercise(source).await,
            Case::CertificateInTheVault => {
                self.applications.by_certificate_in_the_vault(&self.contract, &self.dialect).await
            }
        }
    }

    async fn token(&self, credential: &Arc<dyn TokenCredential>) -> Result<String, String> {
        let token = credential.get_token(&[&scope(VAULT)], None).await.map_err(fault("get_token"))?;
        self.contract.check_token(token.token.secret(), VAULT, token.expires_on.unix_timestamp())
    }

    /// The machine's own token for another resource, checked.
    async fn token_for(
        &self,
        credential: &Arc<dyn TokenCredential>,
        resource: &str,
    ) -> Result<azure_core::credentials::AccessToken, String> {
        let token = credential.get_token(&[&scope(resource)], None).await.map_err(fault("get_token"))?;
        self.contract.check_token(token.token.secret(), resource, token.expires_on.unix_timestamp())?;
        Ok(token)
    }

    /// A token of the administrator's, proved by a secret (`appidacr` 1).
    async fn admins(&self, credential: &Arc<dyn TokenCredential>) -> Result<(), String> {
        let token = credential.get_token(&[&scope(VAULT)], None).await.map_err(fault("get_token"))?;
        let claims = contract::claims(token.token.secret())?;
        for (claim, wanted) in [("appid", self.applications.admin.client_id.as_str()), ("appidacr", "1")] {
            if claims[claim] != wanted {
                return Err(format!("claim {claim} is {}, expected {wanted}", claims[claim]));
            }
        }
        Ok(())
    }

    async fn refuses(&self, credential: &Arc<dyn TokenCredential>, words: &str) -> Result<String, String> {
        let error = match timeout(REFUSAL_LIMIT, credential.get_token(&[&scope(VAULT)], None)).await {
            Err(_) => return Err(format!("no refusal within {} s", REFUSAL_LIMIT.as_secs())),
            Ok(Ok(_)) => return Err("a token was issued for an identity this machine does not have".into()),
            Ok(Err(error)) => error,
        };
        // A dead endpoint refuses everybody; only an answer about the identity counts, and it must stop a chain.
        match error.downcast_ref::<CredentialError>() {
            Some(ours @ CredentialError::Failed(_)) if ours.to_string().contains(words) => Ok("refused".into()),
            Some(_) | None => Err(format!("refused for another reason: {}", report::chain(&error))),
        }
    }
}

fn scope(resource: &str) -> String {
    format!("{resource}/.default")
}
