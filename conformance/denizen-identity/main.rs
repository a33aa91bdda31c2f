//! Conformance of `denizen-identity` under the unmodified Key Vault client, against running processes: `suite DIALECT`.
//!
//! The cases and what they expect are those of the official Rust SDK (`../rust/suite`), without its exceptions: here
//! every way of naming an identity works in every dialect, and there is a `DefaultAzureCredential`.

#[allow(dead_code, reason = "nothing is not offered here")]
#[path = "../rust/suite/contract.rs"]
mod contract;
#[path = "../rust/suite/report.rs"]
mod report;
#[path = "../rust/suite/vault.rs"]
mod vault;

use std::{process::ExitCode, sync::Arc, time::Duration};

use azure_core::credentials::TokenCredential;
use contract::{Contract, Outcome, fault};
use denizen_identity::{CredentialError, DefaultAzureCredential, ManagedIdentityCredential, UserAssigned};
use report::Report;
use tokio::time::timeout;

const VAULT_SCOPE: &str = "https://vault.azure.net/.default";
const MANAGEMENT_SCOPE: &str = "https://management.azure.com/.default";
/// An identity no machine has.
const UNKNOWN_CLIENT_ID: &str = "00000000-dead-4bad-8bad-000000000000";
/// A refusal must be quick: a client that retries it for a minute hangs the program that asked.
const REFUSAL_LIMIT: Duration = Duration::from_secs(10);
/// Far above what a case takes; below it a hang would look like a slow machine.
const CASE_LIMIT: Duration = Duration::from_secs(90);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(dialect) = std::env::args().nth(1) else {
        eprintln!("usage: suite arc|app-service|imds");
        return ExitCode::from(64);
    };
    let (mut report, contract) = match (Report::open(&dialect), Contract::load()) {
        (Ok(report), Ok(contract)) => (report, contract),
        (Err(reason), _) | (_, Err(reason)) => {
            eprintln!("{reason}");
            return ExitCode::from(64);
        }
    };
    let suite = Suite { contract, dialect };
    let own = &suite.contract;
    let cases = [
        ("ManagedIdentityCredential", Case::Main(managed(None))),
        ("DefaultAzureCredential", Case::Main(DefaultAzureCredential::new().map(|c| c as _).map_err(fault("new")))),
        ("own client_id", Case::Own(managed(Some(UserAssigned::ClientId(own.client_id.clone()))))),
        ("own object_id", Case::Own(managed(Some(UserAssigned::ObjectId(own.principal_id.clone()))))),
        ("own resource_id", Case::Own(managed(Some(UserAssigned::ResourceId(own.resource_id.clone()))))),
        ("unknown client_id is refused", Case::Unknown(managed(Some(UserAssigned::ClientId(UNKNOWN_CLIENT_ID.into()))))),
        ("token of another resource is refused", Case::ForeignAudience(managed(None))),
        ("disallowed secret name is refused", Case::BadName(managed(None))),
    ];
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

enum Case {
    Main(Made),
    Own(Made),
    Unknown(Made),
    ForeignAudience(Made),
    BadName(Made),
}

struct Suite {
    contract: Contract,
    dialect: String,
}

impl Suite {
    async fn run(&self, name: &str, case: Case) -> Result<String, String> {
        match case {
            Case::Main(credential) => {
                let credential = credential?;
                self.token(&credential).await?;
                self.token(&credential).await?;
                let short = name.trim_end_matches("Credential").to_lowercase();
                vault::exercise(&self.contract, credential, &format!("{short}-{}", self.dialect)).await
            }
            Case::Own(credential) => self.token(&credential?).await,
            Case::Unknown(credential) => self.refuses(&credential?).await,
            Case::ForeignAudience(credential) => self.foreign_audience(&credential?).await,
            Case::BadName(credential) => vault::refuses_name(&self.contract, credential?).await,
        }
    }

    async fn token(&self, credential: &Arc<dyn TokenCredential>) -> Result<String, String> {
        let token = credential.get_token(&[VAULT_SCOPE], None).await.map_err(fault("get_token"))?;
        self.contract.check_token(token.token.secret(), "https://vault.azure.net", token.expires_on.unix_timestamp())
    }

    async fn refuses(&self, credential: &Arc<dyn TokenCredential>) -> Result<String, String> {
        let error = match timeout(REFUSAL_LIMIT, credential.get_token(&[VAULT_SCOPE], None)).await {
            Err(_) => return Err(format!("no refusal within {} s", REFUSAL_LIMIT.as_secs())),
            Ok(Ok(_)) => return Err("a token was issued for an identity this machine does not have".into()),
            Ok(Err(error)) => error,
        };
        // A dead endpoint refuses everybody; only an answer about the identity counts, and it must stop a chain.
        match error.downcast_ref::<CredentialError>() {
            Some(ours @ CredentialError::Failed(_)) if ours.to_string().contains("Identity not found") => {
                Ok("refused".into())
            }
            Some(_) | None => Err(format!("refused for another reason: {}", report::chain(&error))),
        }
    }

    /// Our own token for Resource Manager opens no vault.
    async fn foreign_audience(&self, credential: &Arc<dyn TokenCredential>) -> Result<String, String> {
        let token = credential.get_token(&[MANAGEMENT_SCOPE], None).await.map_err(fault("get_token"))?;
        let expires = token.expires_on.unix_timestamp();
        self.contract.check_token(token.token.secret(), "https://management.azure.com", expires)?;
        vault::refuses_token(&self.contract, token).await
    }
}
