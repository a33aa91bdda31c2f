//! `denizen user`: who may sign in, and with what. Tests: `tests/it`.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use denizen_agent::files;
use denizen_server::{
    app::administration::people::{UserAnswer, UserCommand, UserTask},
    http::admin::USERS,
};
use denizen_wire::TenantId;
use zeroize::Zeroizing;

use crate::{
    admin_client::Administrator,
    config::Sources,
    exit::{self, Failure},
};

/// Users.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a user. Without a password it gets one, which is printed and has to be changed at the first sign-in
    Create {
        #[command(flatten)]
        of: Of,
        /// For people; the name when it is left out
        #[arg(long, value_name = "TEXT", default_value = "")]
        display_name: String,
        #[command(flatten)]
        password: Password,
    },
    /// Lists users by name
    List {
        #[command(flatten)]
        sources: Sources,
        /// The tenant, where there are several
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        /// What the names begin with
        #[arg(default_value = "")]
        begin: String,
    },
    /// Sets a password, and signs the user out everywhere. Without one it gets one, which is printed and has to be changed
    SetPassword {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        password: Password,
    },
    /// Keeps a user from signing in; what it has is refused at once
    Disable {
        #[command(flatten)]
        of: Of,
    },
    /// Lets a user sign in again
    Enable {
        #[command(flatten)]
        of: Of,
    },
    /// Signs a user out everywhere
    RevokeSessions {
        #[command(flatten)]
        of: Of,
    },
    /// Gives a user a second factor, and prints its key for an authenticator app, once
    Totp {
        #[command(flatten)]
        of: Of,
        /// Take it away instead
        #[arg(long)]
        remove: bool,
    },
}

#[derive(Parser)]
struct Of {
    #[command(flatten)]
    sources: Sources,
    /// The tenant, where there are several
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// The user's name, as ada@contoso.example, or its object id
    user: String,
}

#[derive(Parser)]
struct Password {
    /// A file that holds the password; - for standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Password {
    /// The password, less the one newline that editors and `echo` add.
    fn read(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        let Some(path) = &self.password_file else { return Ok(None) };
        let mut text = Zeroizing::new(String::new());
        let read = match path == Path::new("-") {
            true => std::io::stdin().read_to_string(&mut text),
            false => files::open(path).and_then(|mut file| file.read_to_string(&mut text)),
        };
        read.map_err(|error| {
            Failure::new(exit::DATA, format!("the password cannot be read from {}: {error}", path.display()))
        })?;
        let trimmed = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text);
        Ok(Some(Zeroizing::new(trimmed.to_owned())))
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let plain = |password: Option<Zeroizing<String>>| password.map(|password| password.as_str().to_owned());
    let (of, task) = match args.command {
        Command::Create { of, display_name, password } => {
            let password = plain(password.read()?);
            (of, UserTask::Create { display_name, password })
        }
        Command::List { sources, tenant, begin } => (Of { sources, tenant, user: begin }, UserTask::List),
        Command::SetPassword { of, password } => {
            let password = plain(password.read()?);
            (of, UserTask::SetPassword { password })
        }
        Command::Disable { of } => (of, UserTask::Disable),
        Command::Enable { of } => (of, UserTask::Enable),
        Command::RevokeSessions { of } => (of, UserTask::RevokeSessions),
        Command::Totp { of, remove } => (of, if remove { UserTask::RemoveTotp } else { UserTask::SetUpTotp }),
    };
    let Of { sources, tenant, user } = of;
    let config = sources.load()?;
    let asked = UserCommand { tenant, user, task };
    let answer: UserAnswer = Administrator::reach(&config).await?.ask(USERS, &asked).await?;
    std::io::stdout()
        .write_all(text(&asked.task, &answer).as_bytes())
        .map_err(Failure::while_(exit::OS_ERROR, "it cannot be printed"))?;
    Ok(ExitCode::from(exit::OK))
}

fn text(task: &UserTask, answer: &UserAnswer) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for user in &answer.users {
        let state = if user.enabled { "enabled" } else { "disabled" };
        text.push_str(&format!("{} {} {state}\n", user.id, user.name));
    }
    if answer.is_cut {
        text.push_str("there are more: say what the names begin with\n");
    }
    if let Some(password) = &answer.password {
        text.push_str(&format!(
            "password {password}\nIt is kept nowhere, and has to be changed at the next sign-in.\n"
        ));
    }
    if let Some(totp) = &answer.totp {
        text.push_str(&format!("key {}\n{}\nIt is shown once.\n", totp.key, totp.uri));
    }
    if matches!(task, UserTask::RevokeSessions) {
        text.push_str("signed out everywhere\n");
    }
    text
}
