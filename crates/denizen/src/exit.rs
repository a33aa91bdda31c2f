//! Exit codes, from sysexits, and the failure that carries one.

use std::fmt;

/// All is well.
pub(crate) const OK: u8 = 0;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 64;
/// Somebody else's data is wrong.
pub(crate) const DATA: u8 = 65;
/// Something needed is not there or is in use.
pub(crate) const UNAVAILABLE: u8 = 69;
/// A fault of ours.
pub(crate) const SOFTWARE: u8 = 70;
/// The operating system refused something ordinary.
pub(crate) const OS_ERROR: u8 = 71;
/// A file cannot be made.
pub(crate) const CANNOT_CREATE: u8 = 73;
/// In use just now: try again.
pub(crate) const TRY_AGAIN: u8 = 75;
/// Not allowed.
pub(crate) const NO_PERMISSION: u8 = 77;

/// Why a command ends: a code for programs and a text for people, which names the rule and the fix.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    text: String,
}

impl Failure {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// For `map_err`: what was being done, then why it failed.
    pub(crate) fn while_<E: fmt::Display>(code: u8, doing: &str) -> impl Fn(E) -> Self {
        move |error| Self::new(code, format!("{doing}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
