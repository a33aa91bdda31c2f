//! `denizen role assignment create`: who may do what, where. Tests: `tests/it`.

use std::{io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};
use denizen_server::{
    app::administration::{NewRoleAssignment, RoleAssigned},
    http::admin::ROLE_ASSIGNMENTS,
};
use denizen_wire::{PrincipalId, TenantId};

use crate::{
    admin_client::Administrator,
    config::Sources,
    exit::{self, Failure},
};

/// Roles.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Role assignments
    Assignment(Assignment),
}

#[derive(Parser)]
struct Assignment {
    #[command(subcommand)]
    command: OfAssignments,
}

#[derive(Subcommand)]
enum OfAssignments {
    /// Gives a built-in role; one that is given already stays
    Create(Create),
}

#[derive(Parser)]
struct Create {
    #[command(flatten)]
    sources: Sources,
    /// The object id of who gets the role: of a machine's identity (`denizen-agent show`) or of an application
    #[arg(long, value_name = "OBJECT-ID")]
    assignee: PrincipalId,
    /// A built-in role's name, as 'Key Vault Secrets User'
    #[arg(long, value_name = "NAME")]
    role: String,
    /// Where: a resource id, as /subscriptions/ID; it holds for everything below that
    #[arg(long, value_name = "ID")]
    scope: String,
    /// The tenant, where there are several
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let Command::Assignment(Assignment { command: OfAssignments::Create(create) }) = args.command;
    let Create { sources, assignee, role, scope, tenant } = create;
    let config = sources.load()?;
    let asked = NewRoleAssignment { tenant, assignee, role, scope };
    let RoleAssigned { assignee, role, scope } =
        Administrator::reach(&config).await?.ask(ROLE_ASSIGNMENTS, &asked).await?;
    writeln!(std::io::stdout(), "{assignee} has the role {role} at {scope}")
        .map_err(Failure::while_(exit::OS_ERROR, "it cannot be printed"))?;
    Ok(ExitCode::from(exit::OK))
}
