//! The endpoints of the test kit, asked over real sockets: a kit that lies would make every other test worthless.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test is allowed to be blunt, in its own functions too"
)]

mod arc;
mod asking;
mod authority;
mod local;
mod others;
