//! `denizen join-token create`: the right to enrol one machine, once. Tests: `tests/it`.

use std::{io::Write as _, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use denizen_server::{
    app::administration::{JoinTokenMade, NewJoinToken},
    http::admin::JOIN_TOKENS,
};
use denizen_wire::{TenantId, node::MachineName};

use crate::{
    admin_client::Administrator,
    config::Sources,
    exit::{self, Failure},
};

/// Join tokens.
#[derive(Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes one and prints it: whoever has it enrols one machine, once
    Create(Create),
}

#[derive(Parser)]
struct Create {
    #[command(flatten)]
    sources: Sources,
    /// Where the machine goes: a resource group's name or id
    #[arg(long, value_name = "GROUP")]
    resource_group: String,
    /// The only name that the machine may take [default: any]
    #[arg(long, value_name = "MACHINE")]
    name: Option<MachineName>,
    /// How long the token is good, as 90s, 15m or 1h; at most 24h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    ttl: Duration,
    /// The tenant, where there are several
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// The token alone, or an object with its end and its resource group
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let Command::Create(Create { sources, resource_group, name, ttl, tenant, output }) = args.command;
    let config = sources.load()?;
    let lifetime = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    let asked = NewJoinToken { tenant, resource_group, machine_name: name, lifetime };
    let made: JoinTokenMade = Administrator::reach(&config).await?.ask(JOIN_TOKENS, &asked).await?;
    let text = match output {
        Output::Text => made.join_token,
        Output::Json => serde_json::to_string_pretty(&serde_json::json!({
            "join_token": made.join_token,
            "resource_group": made.resource_group,
            "expires": made.expires.rfc3339(),
        }))
        .map_err(Failure::while_(exit::SOFTWARE, "JSON"))?,
    };
    writeln!(std::io::stdout(), "{text}").map_err(Failure::while_(exit::OS_ERROR, "it cannot be printed"))?;
    Ok(ExitCode::from(exit::OK))
}

/// `90s`, `15m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).unwrap_or_default();
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|seconds| *seconds > 0) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err("write a number and s, m or h, as 90s, 15m or 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("24h", 86_400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "s", "10", "0h", "-1h", "1d", "1.5h", "99999999999999999999h", "18446744073709551615h", "1ü"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
