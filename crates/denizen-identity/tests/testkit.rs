//! The endpoints of the test kit, asked over real sockets: a kit that lies would make every other test worthless.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test is allowed to be blunt, in its own functions too"
)]

#[path = "testkit/arc.rs"]
mod arc;
#[path = "testkit/asking.rs"]
mod asking;
#[path = "testkit/authority.rs"]
mod authority;
#[path = "testkit/local.rs"]
mod local;
#[path = "testkit/others.rs"]
mod others;
