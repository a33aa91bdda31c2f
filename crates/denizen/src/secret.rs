//! `denizen secret`: a vault's secrets, through the endpoints any program would use.

use std::{
    io::{IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use denizen_agent::files;
use denizen_identity::{Environment, http::Client};
use denizen_server::domain::secrets::{BadSecret, SecretName};
use zeroize::Zeroizing;

use crate::{
    exit::{self, Failure},
    token,
    vault_client::{VaultClient, VaultUrl},
};

/// Secrets.
#[derive(Parser)]
pub(crate) struct Args {
    /// The vault, https://HOST:PORT; `denizen dev` writes it to its env file
    #[arg(long, global = true, env = "DENIZEN_VAULT_URL")]
    vault_url: Option<VaultUrl>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints a secret's value: into a file or a pipe its very bytes, on a terminal with a line feed
    Get {
        /// Its name
        #[arg(value_parser = secret_name)]
        name: String,
        /// A version; the latest when absent
        #[arg(long, value_parser = secret_version)]
        version: Option<String>,
        /// Print the whole answer as JSON
        #[arg(long)]
        json: bool,
        /// End the value with a line feed, also where the output is not a terminal
        #[arg(long, conflicts_with_all = ["no_newline", "json"])]
        newline: bool,
        /// Print the value and nothing more, also on a terminal
        #[arg(long, short = 'n', conflicts_with = "json")]
        no_newline: bool,
    },
    /// Sets a secret: a new version of it
    Set {
        /// Its name
        #[arg(value_parser = secret_name)]
        name: String,
        /// A file that holds the value; standard input when absent, which keeps the value out of the process list
        #[arg(long)]
        value_file: Option<PathBuf>,
        /// The value itself, for values that are not secret
        #[arg(long, conflicts_with = "value_file")]
        value: Option<String>,
        /// What the value is, `text/plain` for one
        #[arg(long)]
        content_type: Option<String>,
    },
    /// Lists the secrets' names
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What a path of the vault can be made of, checked before anything is sent: anything else would name another path.
fn secret_name(text: &str) -> Result<String, BadSecret> {
    text.parse::<SecretName>().map(|_| text.to_owned())
}

fn secret_version(text: &str) -> Result<String, BadSecret> {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() == 32 && text.bytes().all(is_hex) { Ok(text.to_owned()) } else { Err(BadSecret::Version) }
}

#[expect(clippy::print_stdout, reason = "what was asked for is this command's output")]
pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process();
    let Some(url) = args.vault_url else {
        return Err(Failure::new(
            exit::USAGE,
            "no vault is named: give --vault-url, or set DENIZEN_VAULT_URL (`denizen dev` prints it; `. DIR/env` sets it)",
        ));
    };
    let http = Client::new(&environment).map_err(Failure::while_(exit::UNAVAILABLE, "no HTTP client"))?;
    let mut vault = VaultClient::new(&url, http, token::of_process(&environment)?);
    match args.command {
        Command::Get { name, version, json, newline, no_newline } => {
            let secret = vault.get(&name, version.as_deref()).await?;
            if json {
                println!("{}", serde_json::to_string(&secret).map_err(Failure::while_(exit::SOFTWARE, "JSON"))?);
            } else {
                let value = secret.value.map(Zeroizing::new);
                let mut out = std::io::stdout().lock();
                let newline = newline || (out.is_terminal() && !no_newline);
                out.write_all(value.as_deref().map_or("", String::as_str).as_bytes())
                    .and_then(|()| if newline { out.write_all(b"\n") } else { Ok(()) })
                    .and_then(|()| out.flush())
                    .map_err(Failure::while_(exit::OS_ERROR, "the value cannot be printed"))?;
            }
        }
        Command::Set { name, value_file, value, content_type } => {
            let value = read_value(value, value_file.as_deref())?;
            println!("{}", vault.set(&name, &value, content_type.as_deref()).await?.id);
        }
        Command::List { json } => {
            let items = vault.list().await?;
            if json {
                println!("{}", serde_json::to_string(&items).map_err(Failure::while_(exit::SOFTWARE, "JSON"))?);
            } else {
                for item in items {
                    println!("{}", item.id.rsplit('/').next().unwrap_or_default());
                }
            }
        }
    }
    Ok(ExitCode::from(exit::OK))
}

/// The value, less the one newline that editors and `echo` add.
#[expect(clippy::print_stderr, reason = "who sits before an empty terminal should know what it waits for")]
fn read_value(value: Option<String>, file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    if let Some(value) = value {
        return Ok(Zeroizing::new(value));
    }
    let mut text = Zeroizing::new(String::new());
    let (from, read) = match file {
        Some(path) => {
            let read = files::open(path).and_then(|mut f| f.read_to_string(&mut text));
            (path.display().to_string(), read)
        }
        None => {
            let mut input = std::io::stdin();
            if input.is_terminal() {
                eprintln!("denizen: type the value, then Ctrl-D on a line of its own");
            }
            ("standard input".to_owned(), input.read_to_string(&mut text))
        }
    };
    read.map_err(|e| {
        let why = if e.kind() == std::io::ErrorKind::InvalidData {
            "it is not UTF-8; a secret is text: encode bytes, with base64 for one".to_owned()
        } else {
            e.to_string()
        };
        Failure::new(exit::DATA, format!("the value cannot be read from {from}: {why}"))
    })?;
    let trimmed = text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t)).unwrap_or(&text);
    Ok(Zeroizing::new(trimmed.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_version_cannot_name_another_path() {
        assert_eq!(secret_name("db-Password1").unwrap(), "db-Password1");
        for name in ["", "a/b", "a?b", "a#b", "..", "a_b", "a%2Fb", &"a".repeat(128)] {
            assert!(secret_name(name).unwrap_err().to_string().contains("127"), "{name}");
        }
        assert!(secret_version("0123456789abcdef0123456789abcdef").is_ok());
        for version in ["", "latest", "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcde/"] {
            assert!(secret_version(version).unwrap_err().to_string().contains("32"), "{version}");
        }
    }
}
