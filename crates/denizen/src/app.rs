//! `denizen app federated-credential` and `denizen app trusted-subject`: whom of others an application takes as itself.
//! Tests: `tests/it`.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use denizen_agent::files;
use denizen_keys::{chain, x509::Certificate};
use denizen_server::{
    app::administration::{FederatedShown, NewFederatedCredential, NewTrustedSubject, OfClient},
    domain::federation::TrustedSubject,
    http::admin::{
        FEDERATED_CREDENTIALS, LIST_FEDERATED_CREDENTIALS, LIST_TRUSTED_SUBJECTS, REMOVE_FEDERATED_CREDENTIAL,
        REMOVE_TRUSTED_SUBJECT, TRUSTED_SUBJECTS,
    },
};
use denizen_wire::{ClientId, TenantId};
use serde::Serialize;

use crate::{
    admin_client::Administrator,
    config::Sources,
    exit::{self, Failure},
};

/// No file of certificates is larger, bytes.
const MAX_FILE: u64 = 256 * 1024;

/// Applications.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tokens of other issuers that an application proves itself with, instead of a secret
    #[command(subcommand)]
    FederatedCredential(OfFederated),
    /// Certificates that prove an application by their subject and their issuer
    #[command(subcommand)]
    TrustedSubject(OfSubjects),
}

#[derive(Subcommand)]
enum OfFederated {
    /// Adds one
    Add(AddFederated),
    /// Lists them, as JSON
    List(Of),
    /// Removes one
    Remove(RemoveFederated),
}

#[derive(Subcommand)]
enum OfSubjects {
    /// Trusts one
    Add(AddSubject),
    /// Lists them, as JSON
    List(Of),
    /// Trusts one no longer
    Remove(RemoveSubject),
}

#[derive(Parser)]
struct Of {
    #[command(flatten)]
    sources: Sources,
    /// The application's client id, or a user-assigned identity's
    #[arg(long, value_name = "CLIENT-ID")]
    app: ClientId,
    /// The tenant, where there are several
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Of a development server that runs, its data directory, without a configuration
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data: Option<PathBuf>,
}

#[derive(Parser)]
struct AddFederated {
    #[command(flatten)]
    of: Of,
    /// Its name, 3 to 120 letters, digits, '-' and '_' [default: one is made]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The issuer, as its tokens write it in `iss`
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// Whom of that issuer, as its tokens write it in `sub`; compared exactly
    #[arg(long, value_name = "TEXT", conflicts_with = "expression", required_unless_present = "expression")]
    subject: Option<String>,
    /// Instead of a subject: "claims['sub'] matches 'repo:contoso/*' and claims['ref'] eq 'refs/heads/main'"
    #[arg(long, value_name = "TEXT")]
    expression: Option<String>,
    /// What the tokens are meant for, as they write it in `aud` [default: api://AzureADTokenExchange]
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// For people
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
}

#[derive(Parser)]
struct RemoveFederated {
    #[command(flatten)]
    of: Of,
    /// Its name or its id
    #[arg(long, value_name = "NAME")]
    name: String,
}

#[derive(Parser)]
struct AddSubject {
    #[command(flatten)]
    of: Of,
    /// The subject, as CN=app.contoso.example,O=Contoso
    #[arg(long, value_name = "NAME", conflicts_with = "certificate", required_unless_present = "certificate")]
    subject: Option<String>,
    /// Takes the subject of the first certificate in this file, PEM
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// The certificates of the authorities that may issue such certificates, PEM
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
}

#[derive(Parser)]
struct RemoveSubject {
    #[command(flatten)]
    of: Of,
    /// Its id, as `list` shows it
    #[arg(long, value_name = "ID")]
    id: String,
}

impl Of {
    fn client(&self, which: Option<String>) -> OfClient {
        OfClient { tenant: self.tenant, app: self.app, which }
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, path: &str, asked: &impl Serialize) -> Result<T, Failure> {
        let administrator = match &self.data {
            Some(data) => Administrator::of_development(data).await?,
            None => Administrator::reach(&self.sources.load()?).await?,
        };
        administrator.ask(path, asked).await
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let said = match args.command {
        Command::FederatedCredential(OfFederated::Add(AddFederated {
            of,
            name,
            issuer,
            subject,
            expression,
            audience,
            description,
        })) => {
            let new = NewFederatedCredential {
                of: of.client(None),
                name,
                issuer,
                subject,
                expression,
                audience,
                description,
            };
            let added: FederatedShown = of.ask(FEDERATED_CREDENTIALS, &new).await?;
            format!("{} takes tokens of {} by the federated credential {}", of.app, added.issuer, added.name)
        }
        Command::FederatedCredential(OfFederated::List(of)) => {
            let listed: Vec<FederatedShown> = of.ask(LIST_FEDERATED_CREDENTIALS, &of.client(None)).await?;
            json(&listed)?
        }
        Command::FederatedCredential(OfFederated::Remove(RemoveFederated { of, name })) => {
            let () = of.ask(REMOVE_FEDERATED_CREDENTIAL, &of.client(Some(name.clone()))).await?;
            format!("removed {name}")
        }
        Command::TrustedSubject(OfSubjects::Add(AddSubject { of, subject, certificate, authority })) => {
            let subject = match (subject, certificate) {
                (Some(subject), _) => subject,
                (None, file) => subject_in(&file.unwrap_or_default())?,
            };
            let authorities = read(&authority, "--authority")?;
            let new = NewTrustedSubject { of: of.client(None), subject, authorities };
            let added: TrustedSubject = of.ask(TRUSTED_SUBJECTS, &new).await?;
            format!("{} trusts certificates of the subject {} as {}", of.app, added.subject, added.id)
        }
        Command::TrustedSubject(OfSubjects::List(of)) => {
            let listed: Vec<TrustedSubject> = of.ask(LIST_TRUSTED_SUBJECTS, &of.client(None)).await?;
            json(&listed)?
        }
        Command::TrustedSubject(OfSubjects::Remove(RemoveSubject { of, id })) => {
            let () = of.ask(REMOVE_TRUSTED_SUBJECT, &of.client(Some(id.clone()))).await?;
            format!("removed {id}")
        }
    };
    writeln!(std::io::stdout(), "{said}").map_err(Failure::while_(exit::OS_ERROR, "it cannot be printed"))?;
    Ok(ExitCode::from(exit::OK))
}

fn json(listed: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(listed).map_err(Failure::while_(exit::SOFTWARE, "JSON"))
}

fn read(file: &std::path::Path, option: &str) -> Result<String, Failure> {
    files::read_text(file, MAX_FILE)
        .map_err(Failure::while_(exit::DATA, &format!("{option} {} cannot be read", file.display())))
}

fn subject_in(file: &std::path::Path) -> Result<String, Failure> {
    let doing = format!("--certificate {}", file.display());
    let wrong = Failure::while_(exit::DATA, &doing);
    let pem = read(file, "--certificate")?;
    Certificate::from_pem(&pem).and_then(|certificate| chain::subject(certificate.der())).map_err(wrong)
}
