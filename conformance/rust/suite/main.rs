//! Conformance of the Rust SDK, unmodified, against running processes: `suite DIALECT CASE-PREFIX`.
//!
//! The caller (`../run`) sets the environment of exactly one dialect, so that the SDK chooses its source by the
//! documented variables alone. Compiled twice, against the stable and the pre-release SDK (`../stable`, `../beta`).
//! It reads the environment and dev.json, talks to the endpoints named there, and appends to `DENIZEN_RESULTS`;
//! `contract.rs` holds what is expected, `vault.rs` the secret operations, `report.rs` the result lines.

mod contract;
mod report;
mod vault;

use azure_core::credentials::TokenCredential;
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use contract::{Contract, Outcome, fault};
use report::Report;
use std::{process::ExitCode, sync::Arc, time::Duration};
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dialect, release] = arguments.as_slice() else {
        eprintln!("usage: suite arc|app-service|imds stable|beta");
        return ExitCode::from(64);
    };
    let mut report = match Report::open(dialect) {
        Ok(report) => report,
        Err(reason) => {
            eprintln!("{reason}");
            return ExitCode::from(64);
        }
    };
    let contract = match Contract::load() {
        Ok(contract) => contract,
        Err(reason) => {
            report.add("ManagedIdentityCredential", Outcome::Fail(reason));
            return ExitCode::FAILURE;
        }
    };
    let suite = Suite { contract, dialect: dialect.clone(), release: release.clone() };
    for (name, case) in CASES {
        let outcome = match timeout(CASE_LIMIT, suite.run(*case)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Fail(format!("no answer within {} s", CASE_LIMIT.as_secs())),
        };
        report.add(name, outcome);
    }
    report.finish()
}

/// The cases, by the name the table shows.
const CASES: &[(&str, Case)] = &[
    ("ManagedIdentityCredential", Case::Main),
    ("DefaultAzureCredential", Case::Default),
    ("own client_id", Case::Own(Selector::ClientId)),
    ("own object_id", Case::Own(Selector::ObjectId)),
    ("own resource_id", Case::Own(Selector::ResourceId)),
    ("unknown client_id is refused", Case::Unknown),
    ("token of another resource is refused", Case::ForeignAudience),
    ("disallowed secret name is refused", Case::BadName),
];

#[derive(Clone, Copy)]
enum Case {
    Main,
    Default,
    Own(Selector),
    Unknown,
    ForeignAudience,
    BadName,
}

#[derive(Clone, Copy)]
enum Selector {
    ClientId,
    ObjectId,
    ResourceId,
}

struct Suite {
    contract: Contract,
    dialect: String,
    release: String,
}

impl Suite {
    async fn run(&self, case: Case) -> Outcome {
        // The SDK has no such type; its own guidance names ManagedIdentityCredential for programs on a host.
        if let Case::Default = case {
            return Outcome::NotOffered("azure_identity for Rust has no DefaultAzureCredential".into());
        }
        let id = match case {
            Case::Own(Selector::ClientId) => Some(UserAssignedId::ClientId(self.contract.client_id.clone())),
            Case::Own(Selector::ObjectId) => Some(UserAssignedId::ObjectId(self.contract.principal_id.clone())),
            Case::Own(Selector::ResourceId) => Some(UserAssignedId::ResourceId(self.contract.resource_id.clone())),
            Case::Unknown => Some(UserAssignedId::ClientId(UNKNOWN_CLIENT_ID.into())),
            Case::Main | Case::Default | Case::ForeignAudience | Case::BadName => None,
        };
        let credential = match credential(id) {
            Ok(credential) => credential,
            // What the SDK itself refuses before it sends anything is its limit, not the server's. Which limits
            // there are is written down here: another refusal is a failure.
            Err(reason) => return self.refused_by_sdk(case, reason),
        };
        let result = match case {
            Case::Main => self.main_case(credential).await,
            Case::Own(_) => self.token(&credential).await,
            Case::Unknown => self.refuses(&credential).await,
            Case::ForeignAudience => self.foreign_audience(&credential).await,
            Case::BadName => vault::refuses_name(&self.contract, credential).await,
            Case::Default => return Outcome::Fail("DefaultAzureCredential is answered above".into()),
        };
        match result {
            Ok(detail) => Outcome::Ok(detail),
            Err(reason) => Outcome::Fail(reason),
        }
    }

    fn refused_by_sdk(&self, case: Case, reason: String) -> Outcome {
        let user_assigned = matches!(case, Case::Own(_) | Case::Unknown);
        let documented = match (self.dialect.as_str(), self.release.as_str()) {
            ("arc", "stable") => "Azure Arc managed identity isn't supported",
            ("arc", "beta") if user_assigned => "aren't supported for Azure Arc",
            // Its own message: it would send the id under a name that App Service does not know.
            ("app-service", _) if matches!(case, Case::Own(Selector::ResourceId)) => {
                "resource IDs aren't supported for App Service"
            }
            _ => return Outcome::Fail(format!("the SDK made no credential: {reason}")),
        };
        if reason.contains(documented) {
            Outcome::NotOffered(format!("the SDK refuses: {reason}"))
        } else {
            Outcome::Fail(format!("the SDK made no credential: {reason}"))
        }
    }

    /// A token twice, the seeded secret, and every secret operation of one life.
    async fn main_case(&self, credential: Arc<dyn TokenCredential>) -> Result<String, String> {
        self.token(&credential).await?;
        self.token(&credential).await?;
        vault::exercise(&self.contract, credential, &format!("rust-{}-{}", self.release, self.dialect)).await
    }

    async fn token(&self, credential: &Arc<dyn TokenCredential>) -> Result<String, String> {
        let token = credential.get_token(&[VAULT_SCOPE], None).await.map_err(fault("get_token"))?;
        self.contract.check_token(token.token.secret(), "https://vault.azure.net", token.expires_on.unix_timestamp())
    }

    async fn refuses(&self, credential: &Arc<dyn TokenCredential>) -> Result<String, String> {
        match timeout(REFUSAL_LIMIT, credential.get_token(&[VAULT_SCOPE], None)).await {
            Err(_) => Err(format!("no refusal within {} s", REFUSAL_LIMIT.as_secs())),
            Ok(Ok(_)) => Err("a token was issued for an identity this machine does not have".into()),
            // A dead endpoint refuses everybody; only an answer about the identity counts.
            Ok(Err(error)) if report::chain(&error).contains("not been assigned") => Ok("refused".into()),
            Ok(Err(error)) => Err(format!("refused for another reason: {}", report::chain(&error))),
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

fn credential(id: Option<UserAssignedId>) -> Result<Arc<dyn TokenCredential>, String> {
    let options = ManagedIdentityCredentialOptions { user_assigned_id: id, ..Default::default() };
    match ManagedIdentityCredential::new(Some(options)) {
        Ok(credential) => Ok(credential),
        Err(error) => Err(error.to_string()),
    }
}
