//! The token validator against authorities in process: what it takes, and everything it must not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test is allowed to be blunt, in its own functions too"
)]

#[path = "validate/admission.rs"]
mod admission;
#[path = "validate/bed.rs"]
mod bed;
#[path = "validate/forgery.rs"]
mod forgery;
#[path = "validate/rollover.rs"]
mod rollover;
