#![cfg_attr(feature = "layer", doc = include_str!("../README.md"))]
//!
//! # Modules
//!
//! | module | holds |
//! |---|---|
//! | `validator` | [`TokenValidator`]: the order of the checks |
//! | `builder` | [`TokenValidatorBuilder`]: its configuration, checked as a whole |
//! | `authority` | a trusted authority, one tenant of it, and the issuer names of its tokens |
//! | `keys` | an issuer's signing keys: fetched, cached, followed through rollovers |
//! | `fetch` | the HTTP requests for them |
//! | `jwt` | a token before its signature is checked |
//! | `claims` | [`Claims`]: a token after all checks |
//! | `error` | [`ValidationError`]: the reason for the log, for the caller, and as a status |
//! | `revocation` | tokens revoked before they expire |
//! | `layer` | feature `layer`: the validator in front of a tower service |
//!
//! Touches the network only to fetch metadata and keys of trusted authorities. Tests: `tests/validate/`,
//! `tests/layer.rs`.

#![forbid(unsafe_code)]

mod authority;
mod builder;
mod claims;
mod error;
mod fetch;
mod jwt;
mod keys;
#[cfg(feature = "layer")]
mod layer;
mod revocation;
mod validator;

pub use builder::{ConfigurationError, TokenValidatorBuilder};
pub use claims::Claims;
/// The time in a token and of a clock.
pub use denizen_wire::{Clock, UnixTime};
pub use error::ValidationError;
#[cfg(feature = "layer")]
pub use layer::{BearerLayer, BearerService};
/// The HTTP client that [`TokenValidatorBuilder::http_client`] takes.
pub use reqwest;
pub use revocation::{MinimumEpochs, RevocationStatus, Revocations};
pub use validator::TokenValidator;
