//! The token validator against authorities in process: what it accepts, and what it must reject.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test is allowed to be blunt, in its own functions too"
)]

mod authorization;
mod events;
mod fixture;
mod forgery;
mod rollover;
