//! Faithful identity endpoints in process: Azure Arc, IMDS, App Service, Azure ML, Cloud Shell, Service Fabric, Azure
//! Pipelines, and a token service, each on a free port of the loopback interface, each ended by dropping it.
//!
//! | module | holds |
//! |---|---|
//! | [`server`] | one listener: what it was asked ([`Recorded`]), how it answers ([`Behavior`]), where it fails ([`Fault`]) |
//! | [`issuer`] | signed tokens, and the identities they are for |
//! | [`arc`] | the key-file challenge, faithful or faulty |
//! | [`imds`], [`app_service`], [`azure_ml`], [`cloud_shell`], [`service_fabric`] | the other dialects |
//! | [`pipelines`] | what gives a job of Azure Pipelines its assertions |
//! | [`authority`] | a token service over TLS: secret, certificate, federated assertion, discovery, keys |
//! | [`tls`] | the certificates of servers and applications |
//!
//! An endpoint answers as the real one does until it is told otherwise, so a test states only what is odd about it:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! use std::collections::HashMap;
//! use denizen_identity_testkit::{ArcEndpoint, Fault, Options, Realm};
//!
//! let arc = ArcEndpoint::start(Options::default()).await?;
//! arc.set_quirks(|quirks| quirks.realm = Realm::Quoted); // the challenge that breaks most clients
//! arc.server().fail(2, Fault::status(503)); // and two failures before it
//! let environment: HashMap<String, String> = arc.environment(); // IDENTITY_ENDPOINT, IMDS_ENDPOINT
//! assert!(environment.contains_key("IDENTITY_ENDPOINT"));
//! # Ok(()) }
//! ```
//!
//! Nothing here guards a secret: the tokens are signed by keys that nobody trusts. Touches loopback sockets and, for
//! Arc, one directory of key files. Runs on Linux. Tests: `tests/testkit/`.

#![forbid(unsafe_code)]

pub mod app_service;
pub mod arc;
pub mod authority;
pub mod azure_ml;
pub mod cloud_shell;
pub mod imds;
pub mod issuer;
pub mod pipelines;
mod query;
pub mod server;
pub mod service_fabric;
pub mod tls;

pub use app_service::AppServiceEndpoint;
pub use arc::{ArcEndpoint, ArcQuirks, ChallengeBody, KeyFile, Realm};
pub use authority::{Application, Authority};
pub use azure_ml::AzureMlEndpoint;
pub use cloud_shell::CloudShellEndpoint;
/// The time that an endpoint lives in, and of a token.
pub use denizen_wire::{Clock, UnixTime};
pub use imds::ImdsEndpoint;
pub use issuer::{Identities, Identity, Issuer};
pub use pipelines::PipelinesEndpoint;
pub use server::{Behavior, ExpiresOn, Fault, Options, Recorded, Reply, Server};
pub use service_fabric::ServiceFabricEndpoint;
pub use tls::ClientCertificate;

/// Environment variables as the collection the caller wants: a map, or the environment type of a credential library.
fn environment_of<E: FromIterator<(String, String)>>(variables: Vec<(&'static str, String)>) -> E {
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Random lower-case hexadecimal digits, twice as many as `N`.
fn random_hex<const N: usize>() -> std::io::Result<String> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| std::io::Error::other("the system has no randomness"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A random GUID (version 4).
fn random_guid() -> std::io::Result<String> {
    let hex = random_hex::<16>()?;
    let part = |range| hex.get(range).unwrap_or_default();
    Ok(format!("{}-{}-4{}-a{}-{}", part(0..8), part(8..12), part(13..16), part(17..20), part(20..32)))
}
