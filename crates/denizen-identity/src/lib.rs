// The README's examples are compiled with what they need; without it they would be errors, not documentation.
#![cfg_attr(all(feature = "azure_core", feature = "certificate"), doc = include_str!("../README.md"))]
//!
//! # Modules
//!
//! | module | holds |
//! |---|---|
//! | [`credential`] | the credentials, their builders and options, and the trait they share |
//! | [`error`] | unavailable or failed, and a chain's account of it |
//! | [`config`] | credentials from a configuration section |
//! | [`connection_string`] | credentials from `RunAs=App;AppId=…` |
//! | `azure` | feature `azure_core`: what the official trait needs beside the credentials |
//! | `token`, `cache` | what is asked for and what is got; one fetch however many ask, renewal before the end |
//! | `context`, `environment`, `http`, `proxy`, `pin` | what is taken from outside, as arguments |
//! | `source`, `endpoint`, `challenge` | which endpoint serves this process, and how each is asked |
//! | `entra`, `certificate`, `retry` | the token service, what a client proves itself with, and when to ask again |
//!
//! Every credential here implements [`Credential`], which says whether a chain may go on. The feature `azure_core` adds
//! the official clients' `TokenCredential`, which calls it.

#![forbid(unsafe_code)]

#[cfg(feature = "azure_core")]
pub mod azure;
mod cache;
#[cfg(feature = "certificate")]
mod certificate;
// The test kit holds its key files against it. Not part of the public API (hidden from its documents): it may change at any time.
#[doc(hidden)]
pub mod challenge;
pub mod config;
pub mod connection_string;
mod context;
pub mod credential;
// The command line asks an endpoint once, without cache and retries. Not part of the public API (hidden from its documents): it may change at any time.
#[doc(hidden)]
pub mod endpoint;
mod entra;
mod environment;
pub mod error;
mod file;
// The same command line speaks to the vault with it. Not part of the public API (hidden from its documents): it may change at any time.
#[doc(hidden)]
pub mod http;
mod pin;
mod proxy;
mod retry;
mod source;
mod token;

pub use cache::TokenCache;
pub use context::CredentialContext;
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
pub use endpoint::UserAssigned;
pub use environment::Environment;
pub use error::CredentialError;
pub use http::{Client as HttpClient, HttpError};
pub use retry::RetryPolicy;
pub use source::{NoSource, Source};
pub use token::{Token, TokenRequest};
