//! Tests that cannot run everywhere say so. Only for tests.

use std::io::Write as _;

/// Whether this process is root. Where it is not, the test that asks says that it is skipped: `./test` counts these
/// lines, and CI refuses them.
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let thread = std::thread::current();
        // Not by `eprintln`, which the harness hides for tests that pass.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {}: needs root", thread.name().unwrap_or("a test"));
    }
    is_root
}
