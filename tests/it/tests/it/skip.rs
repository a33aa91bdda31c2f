//! A test that cannot run here is counted, never silent.
//!
//! The rule holds for the unit tests of every crate too: print `SKIPPED: TEST: WHY` and append that line to the file
//! that `DENIZEN_SKIPS` names, where it names one (the harness keeps the output of a test that passes to itself, so
//! `./test` counts the lines of that file). Under `CI=true` a skip is a failure.

use std::io::Write;

/// Counts the running test as skipped. The caller returns.
#[expect(clippy::disallowed_methods, reason = "who runs the tests says by the environment where skips are counted")]
pub(crate) fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let line = format!("SKIPPED: {test}: {why}\n");
    eprint!("{line}");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} was skipped under CI: {why}");
    if let Some(file) = std::env::var_os("DENIZEN_SKIPS") {
        // One write of one line: tests in other processes append too.
        let mut file = std::fs::File::options().append(true).create(true).open(file).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
