//! The failure that ends a command, and its exit code.

use std::{error::Error, fmt};

use denizen_wire::Causes;

pub(crate) use denizen_agent::exit::{
    CANNOT_CREATE, CONFIG, DATA, NO_PERMISSION, OK, OS_ERROR, SOFTWARE, TRY_AGAIN, UNAVAILABLE, USAGE,
};

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

    /// For `map_err`: what was being done, then why it failed, with what caused that.
    pub(crate) fn while_<E: Into<Box<dyn Error>>>(code: u8, doing: &str) -> impl Fn(E) -> Self {
        move |error| Self::new(code, format!("{doing}: {}", Causes(&*error.into())))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
