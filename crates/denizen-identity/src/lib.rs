// The README's examples are compiled with what they need; without it they would be errors, not documentation.
#![cfg_attr(all(feature = "azure_core", feature = "certificate"), doc = include_str!("../README.md"))]
//!
//! # Modules
//!
//! | module | holds |
//! |---|---|
//! | [`credential`] | the credentials and the trait they share |
//! | [`error`] | unavailable or failed, and a chain's account of it |
//! | [`token`] | what is asked for and what is got |
//! | [`cache`] | one fetch however many ask, renewal before the end |
//! | [`config`] | credentials from a configuration section |
//! | [`connection_string`] | credentials from `RunAs=App;AppId=…` |
//! | [`surroundings`], [`environment`], [`http`] | what is taken from outside, as arguments |
//! | [`source`] | which endpoint serves this process, and how each is asked |
//! | [`retry`] | when to ask again |

#![forbid(unsafe_code)]

#[cfg(feature = "azure_core")]
pub mod azure;
pub mod cache;
#[cfg(feature = "certificate")]
mod certificate;
#[doc(hidden)]
pub mod challenge;
pub mod config;
pub mod connection_string;
pub mod credential;
#[doc(hidden)]
pub mod entra;
pub mod environment;
pub mod error;
pub mod http;
#[doc(hidden)]
pub mod managed_identity;
mod pin;
mod proxy;
pub mod retry;
pub mod source;
pub mod surroundings;
pub mod token;

#[cfg(feature = "certificate")]
pub use credential::ClientCertificateCredential;
#[cfg(feature = "developer")]
pub use credential::{AzureCliCredential, AzureDeveloperCliCredential};
pub use credential::{
    AzurePipelinesCredential, ChainedTokenCredential, ClientAssertionCredential, ClientSecretCredential, Credential,
    DefaultAzureCredential, EnvironmentCredential, Link, ManagedIdentityCredential, UsernamePasswordCredential,
    WorkloadIdentityCredential,
};
/// The time in a token and of a clock: seconds since 1970.
pub use denizen_wire::{Clock, UnixTime};
pub use error::CredentialError;
pub use managed_identity::UserAssigned;
pub use surroundings::Surroundings;
pub use token::{Token, TokenRequest};
