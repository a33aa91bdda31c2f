//! `denizen token get`: a token of this machine's identity, through the endpoint any program would use.

use std::{io::IsTerminal, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use denizen_identity::{
    Environment,
    endpoint::{IdentityEndpoint, TokenError, UserAssigned},
    http::Client,
};

use crate::exit::{self, Failure};

/// Tokens.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Gets a token and prints it
    Get(Get),
}

#[derive(Parser)]
struct Get {
    /// The resource the token is for
    #[arg(long, default_value = "https://vault.azure.net")]
    resource: String,
    /// A user-assigned identity, by client id
    #[arg(long)]
    client_id: Option<String>,
    /// What to print
    #[arg(long, short, value_enum, default_value_t = Output::Token)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// The token alone
    Token,
    /// JSON: token, expiry, resource, source
    Json,
}

#[expect(clippy::print_stdout, reason = "the token is this command's output")]
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let Command::Get(get) = args.command;
    let environment = Environment::of_process();
    let identity = of_process(&environment)?;
    let selected = get.client_id.map(UserAssigned::ClientId);
    let token = identity.token(&get.resource, selected.as_ref()).await.map_err(|e| refused(&identity, &e))?;
    match get.output {
        // A file that a pipe writes is read by SDKs as it is: nothing stands behind the token there.
        Output::Token if std::io::stdout().is_terminal() => println!("{}", token.secret()),
        Output::Token => print!("{}", token.secret()),
        Output::Json => println!(
            "{}",
            serde_json::json!({
                "accessToken": token.secret(),
                "expiresOn": token.expires_on.rfc3339(),
                "expires_on": token.expires_on,
                "resource": get.resource,
                "source": identity.source().name(),
                "tokenType": "Bearer",
            })
        ),
    }
    Ok(ExitCode::from(exit::OK))
}

/// The managed identity that serves this process.
pub(crate) fn of_process(environment: &Environment) -> Result<IdentityEndpoint, Failure> {
    let http = Client::new(environment).map_err(Failure::while_(exit::UNAVAILABLE, "no HTTP client"))?;
    IdentityEndpoint::detect(environment, http).map_err(|e| {
        let hint = if let TokenError::NoSource(why) = &e { format!("; {}", why.remedy()) } else { String::new() };
        Failure::new(exit::UNAVAILABLE, format!("{e}{hint}"))
    })
}

/// A refusal, with the source that was asked and what usually fixes it.
pub(crate) fn refused(identity: &IdentityEndpoint, error: &TokenError) -> Failure {
    let (code, hint) = match error {
        TokenError::NoSource(_) | TokenError::Unavailable(_) => {
            (exit::UNAVAILABLE, "is the agent running, and is its env file sourced (`. DIR/env`)?")
        }
        TokenError::NotLocal(_) => (exit::USAGE, "source the env file that this machine's agent wrote (`. DIR/env`)"),
        TokenError::Challenge(why) => (exit::NO_PERMISSION, why.remedy()),
        TokenError::Refused { .. } => (exit::NO_PERMISSION, ""),
        TokenError::Unsupported(_) | TokenError::MalformedAnswer(_) | TokenError::WrongIdentity | _ => (exit::DATA, ""),
    };
    let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
    Failure::new(code, format!("{} ({:?}){hint}", error, identity.source()))
}
