//! The control plane: directory, token service, authorization and vault, on one store.
//!
//! Calls go one way only, and `cargo xtask layers` refuses a `use` that goes another:
//!
//! ```text
//! run -> http -> app -> domain   pure decisions: no async, no clock, no store
//!                    -> store -> domain   (for the nouns it keeps)
//!                    -> issuers -> domain   the keys of other issuers
//! ```
//!
//! - [`http`] is the only place with requests, status codes and error bodies.
//! - [`app`] holds the use cases, one transaction each; every one takes a [`domain::Ctx`].
//! - [`domain`] holds the nouns and what is decided about them.
//! - [`issuers`] fetches the keys of other issuers, and dials nobody else.
//! - [`store`] keeps them: one write path, one change log, one snapshot.

pub mod app;
pub mod domain;
pub mod http;
pub mod issuers;
pub mod run;
pub mod store;
