//! The repository's chores: `cargo run -p xtask -- layers | conformance RESULTS [--check]`.
//!
//! | file | chore |
//! |---|---|
//! | [`layers`] | who may use whom, between crates and inside each |
//! | [`conformance`] | the table of SDK × dialect, from a run's results |

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore's output is for the person who ran it")]

mod conformance;
mod layers;

use std::{path::Path, process::ExitCode};

fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["layers"] => layers::check(Path::new(".")),
        ["conformance", results] => conformance::write(Path::new(results), Path::new("docs/conformance.md")),
        ["conformance", results, "--check"] => conformance::check(Path::new(results), Path::new("docs/conformance.md")),
        _ => {
            eprintln!("usage: xtask layers | conformance RESULTS [--check]");
            Ok(ExitCode::from(64))
        }
    }
}
