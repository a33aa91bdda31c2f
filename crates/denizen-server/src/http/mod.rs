//! The server's faces: the only place with requests, status codes and error bodies.
//!
//! | file | holds |
//! |---|---|
//! | [`call`] | a request after the one canonicalizer: no face sees a path that could be read two ways |
//! | [`route`] | route tables: a handler can be reached only through a row that says what it requires |
//! | [`reply`] | how answers are made |
//! | [`listen`] | the TLS accept loop, with its limits |
//! | [`metrics`] | counters, on a loopback listener of their own |
//! | [`control`] | the main listener: token service, enrolment, health |
//! | [`sts`], [`node`], [`vault`] | one protocol each, with its own error bodies |

pub mod call;
pub mod control;
pub mod listen;
pub mod metrics;
pub mod node;
pub mod reply;
pub mod route;
pub mod sts;
pub mod vault;

pub use call::{Body, Call, Query};
pub use reply::Reply;
pub use route::{Requires, Route};

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
}
