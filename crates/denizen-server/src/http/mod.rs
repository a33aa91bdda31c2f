//! The server's protocols: the only place with requests, status codes and error bodies.
//!
//! | file | holds |
//! |---|---|
//! | [`listen`] | the accept loop, with its limits |
//! | [`call`] | a request after the one canonicalizer: no handler sees a path that could be read two ways |
//! | [`dispatch`] | the one way from a listener to a handler: [`Service`], [`Api`] |
//! | [`route`] | route tables: a row states what it requires beside its handler |
//! | [`reply`] | how answers are made |
//! | [`requests`] | what is counted of requests |
//! | [`tls`] | the certificate that is shown, and another in its place |
//! | [`body`] | how deep a body is, before it is parsed |
//! | [`sign_in`] | the pages that people see, under the token service's paths |
//! | [`sts`], [`node`], [`vault`], [`graph`], [`health`], [`metrics`], [`admin`] | one protocol each, with its own error bodies |
//!
//! A handler turns a request into a question for a use case, and the answer into bytes. The protocols do not know each
//! other.

pub mod admin;
mod body;
pub mod call;
pub mod dispatch;
pub mod graph;
pub mod health;
pub mod listen;
pub mod metrics;
pub mod node;
pub mod reply;
mod requests;
pub mod route;
pub mod sign_in;
pub mod sts;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod trace;
pub mod vault;

use crate::domain::claims::audience::OwnResources;

pub use call::{Body, Call, Query};
pub use dispatch::{Api, Service};
pub use reply::Reply;
pub use route::{BadRoute, Requirement, RouteInfo};

/// The names the server is reached by. Ids, issuers and challenges are made of these and never of what a request
/// claims, so that a forged `Host` cannot put words into them.
#[derive(Clone, Debug)]
pub struct PublicNames {
    /// `https://localhost:8443`: the authority, the base of every issuer. No trailing slash.
    pub authority: String,
    /// The same authority by the other names that the server's certificate carries: `https://127.0.0.1:8443`. Client
    /// assertions and enrolment proofs may be meant for any of them; what we issue names `authority` only.
    pub other_authorities: Vec<String>,
    /// `vault.denizen.test`: vaults are `{name}.{suffix}`.
    pub vault_suffix: String,
    /// The port vaults are reached at.
    pub vault_port: u16,
    /// In development, the vault that a loopback host name means.
    pub vault_local: Option<String>,
}

impl PublicNames {
    /// The resource of the vaults, as a challenge names it: `https://vault.denizen.test:8444`, without the port when
    /// it is 443. Some clients compare it with the port and some without; this is the one spelling both accept.
    pub fn vault_resource(&self) -> String {
        match self.vault_port {
            443 => format!("https://{}", self.vault_suffix),
            port => format!("https://{}:{port}", self.vault_suffix),
        }
    }

    /// What the APIs here accept tokens for beside Azure's names: the directory, and the vaults with their port and without.
    pub(crate) fn own_resources(&self) -> OwnResources {
        let vaults = match self.vault_suffix.as_str() {
            "" => Vec::new(),
            suffix => vec![self.vault_resource(), format!("https://{suffix}")],
        };
        OwnResources::named(vaults.iter().chain([&self.authority]))
    }
}
