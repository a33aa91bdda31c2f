//! A test that cannot run here is counted, never silent.
//!
//! It prints `SKIPPED: TEST: WHY` and appends that line to the file that `DENIZEN_SKIPS` names, where it names one:
//! `./test` counts the lines of that file. Under `CI=true`
//! a skip is a failure.

use std::{
    env,
    fs::File,
    io::{self, Write as _},
};

/// Counts the running test as skipped. The caller returns.
///
/// # Panics
/// Under `CI=true`, and when the skip cannot be counted.
#[expect(clippy::disallowed_methods, reason = "who runs the tests says by the environment where skips are counted")]
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let line = format!("SKIPPED: {test}: {why}\n");
    // Not by `eprint`, which the harness hides for tests that pass.
    let _ = io::stderr().write_all(line.as_bytes());
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} was skipped under CI: {why}");
    if let Some(file) = env::var_os("DENIZEN_SKIPS") {
        // One write of one line: tests in other processes append too.
        let appended =
            File::options().append(true).create(true).open(file).and_then(|mut file| file.write_all(line.as_bytes()));
        assert!(appended.is_ok(), "a skip could not be counted: {appended:?}");
    }
}

/// Whether this process is root. Where it is not, the running test is counted as skipped, and must return.
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("needs root");
    }
    is_root
}
