//! Exit codes of the commands, from sysexits.h.

/// Success.
pub const OK: u8 = 0;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// Input data is wrong.
pub const DATA: u8 = 65;
/// A service or resource that is needed is missing or in use.
pub const UNAVAILABLE: u8 = 69;
/// An error of the program itself.
pub const SOFTWARE: u8 = 70;
/// The operating system refused something ordinary.
pub const OS_ERROR: u8 = 71;
/// An output file cannot be created.
pub const CANNOT_CREATE: u8 = 73;
/// A temporary failure: try again.
pub const TRY_AGAIN: u8 = 75;
/// Permission denied.
pub const NO_PERMISSION: u8 = 77;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
