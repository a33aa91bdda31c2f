//! `denizen issuer export`: the discovery documents and the keys as static files, for a public issuer.
//!
//! Whoever is to trust the tokens of a deployment that the internet does not reach (Azure, AWS, GCP) reads these from a static
//! host under the same name: tokens name the server's `public_url`, and a document is good only at the place that it names.
//!
//! Touches the folder it is given, and the server as every administrator's command. Tests: `tests/it`.

use std::{
    fs,
    path::{Component, Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use denizen_server::http::admin::{ISSUER_DOCUMENTS, IssuerDocuments, WantedDocuments};
use denizen_wire::{TenantId, host::is_local};

use crate::{
    admin_client::Administrator,
    config::{Origin, Sources},
    data::write_public,
    exit::{self, Failure},
};

/// What others need to trust this server's tokens.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes the discovery documents and the published keys as files, to be served by a static host
    ///
    /// Each file lies below DIR where it must be served below the issuer, as application/json. The issuer is the server's
    /// own `public_url`, since that is what its tokens name: serve DIR under that name where the internet reads it. Keys
    /// are published 48 hours before they sign, so export at least once a day, and at once after
    /// `denizen signing-key roll --emergency`. Each file is replaced whole.
    Export(Export),
}

#[derive(Parser)]
struct Export {
    #[command(flatten)]
    sources: Sources,
    /// The folder; it is made where there is none
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the issuer is expected to be: anything else that the server's tokens name is an error
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The documents of this tenant only [default: of all tenants]
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
}

#[expect(clippy::print_stdout, reason = "what was written is this command's output")]
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let Command::Export(Export { sources, out, issuer, tenant }) = args.command;
    let expected = match &issuer {
        Some(text) => Some(text.parse::<Origin>().map_err(|rule| {
            let why = "tenants are paths below it, and whoever trusts an issuer reads it by HTTPS";
            Failure::new(exit::USAGE, format!("--issuer: {rule}: {why}"))
        })?),
        None => None,
    };
    let config = sources.load()?;
    // Tokens name it, wherever this command is run.
    let Some(authority) = config.public_url.clone().filter(|url| !is_local(&url.host)) else {
        let text = "nobody else can read an issuer of a loopback name: set public_url to a name of this deployment's";
        return Err(Failure::new(exit::CONFIG, text));
    };
    if let Some(expected) = expected.filter(|expected| expected.to_string() != authority.to_string()) {
        let text = format!(
            "--issuer: this server's tokens name {authority}, and a document for {expected} would have every one of them \
             refused: set public_url to {expected}, and have clients reach the server by that name too"
        );
        return Err(Failure::new(exit::USAGE, text));
    }
    let asked = WantedDocuments { tenant };
    let found: IssuerDocuments = Administrator::reach(&config).await?.ask(ISSUER_DOCUMENTS, &asked).await?;
    if found.authority != authority.to_string() {
        let text = format!("the running server is still {}: start it again with the new public_url", found.authority);
        return Err(Failure::new(exit::CONFIG, text));
    }
    for document in &found.documents {
        let file = below(&out, &document.path)?;
        let folder = file.parent().unwrap_or(&out);
        fs::create_dir_all(folder)
            .map_err(Failure::while_(exit::CANNOT_CREATE, &format!("{} cannot be made", folder.display())))?;
        write_public(&file, document.body.as_bytes())?;
        println!("{authority}/{}", document.path);
    }
    Ok(ExitCode::from(exit::OK))
}

/// Where a document lies below the folder: its path has names only.
fn below(out: &Path, path: &str) -> Result<PathBuf, Failure> {
    let relative = Path::new(path);
    if path.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(Failure::new(exit::SOFTWARE, "the server named a document by a path that is none"));
    }
    Ok(out.join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_lies_below_the_folder() {
        let out = Path::new("/srv/issuer");
        assert_eq!(below(out, "t/v2.0/.well-known/x").ok(), Some("/srv/issuer/t/v2.0/.well-known/x".into()));
        for path in ["", "/etc/passwd", "../x", "a/../../x"] {
            assert!(below(out, path).is_err(), "{path}");
        }
    }
}
