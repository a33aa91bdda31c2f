//! Result lines: one for a person on standard output, one for the table in `DENIZEN_RESULTS`.

use crate::contract::{Outcome, variable};
use std::{
    fs::{File, OpenOptions},
    io::Write,
    process::ExitCode,
};

/// The lines of one run in one dialect.
pub(crate) struct Report {
    file: File,
    client: String,
    dialect: String,
    version: String,
    failures: usize,
    lines: usize,
}

impl Report {
    pub(crate) fn open(dialect: &str) -> Result<Self, String> {
        let path = variable("DENIZEN_RESULTS")?;
        let file =
            OpenOptions::new().append(true).create(true).open(&path).map_err(|error| format!("{path}: {error}"))?;
        // `../run` reads it from the lock file the binary was built with.
        let version = variable("SUITE_SDK_VERSION")?;
        let client = variable("SUITE_CLIENT")?;
        Ok(Self { file, client, dialect: dialect.into(), version, failures: 0, lines: 0 })
    }

    pub(crate) fn add(&mut self, case: &str, outcome: Outcome) {
        let (word, detail) = match outcome {
            Outcome::Ok(detail) => ("ok", detail),
            Outcome::Fail(detail) => ("fail", detail),
            Outcome::NotOffered(detail) => ("n/a", detail),
        };
        let mut detail: String = detail.split_whitespace().collect::<Vec<_>>().join(" ");
        if word == "fail" {
            self.failures += 1;
        }
        self.lines += 1;
        let Self { client, dialect, version, .. } = self;
        println!("{word:<4}  {client} {version}  {dialect:<11}  {case}: {detail}");
        if let Err(error) = writeln!(self.file, "{client}\t{version}\t{dialect}\t{case}\t{word}\t{detail}") {
            detail = format!("result file: {error}");
            eprintln!("{detail}");
            self.failures += 1;
        }
    }

    /// Success needs at least one line: a suite that ran nothing proves nothing.
    pub(crate) fn finish(self) -> ExitCode {
        if self.failures == 0 && self.lines > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// An error with all its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
