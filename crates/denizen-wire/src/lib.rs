//! The wire: every type that crosses a process boundary in Denizen, and nothing that acts on one.
//!
//! Each module is one protocol, with the field names its real clients parse. There is no I/O here and no cryptography, so the agent, the server and the credential library can share it without sharing anything else.
//!
//! | module | protocol | who parses it |
//! |---|---|---|
//! | [`oauth`] | token endpoint, its errors, OIDC discovery, JWKS | every MSAL and azure-identity |
//! | [`claims`] | the access token's claims | resource servers |
//! | [`identity`] | Arc, IMDS and App Service token answers | managed-identity clients |
//! | [`vault`] | Key Vault secrets | the Key Vault clients |
//! | [`node`] | enrolment of an agent | `denizen-agent` |
//! | [`ids`], [`resource_id`], [`unix_time`] | what the others are made of | |
//! | [`host`] | which hosts are this machine | |
//! | `proxy` (a feature) | which servers are reached through an HTTP proxy | |
//! | [`shown`] | what may be repeated of a text that a caller wrote | |
//! | [`causes`] | an error with what caused it, in one line | |
//! | [`clock`] | the current time as a value: the system's, or a test's | |

pub mod causes;
pub mod claims;
pub mod clock;
pub mod host;
pub mod identity;
pub mod ids;
pub mod node;
pub mod oauth;
#[cfg(feature = "proxy")]
pub mod proxy;
pub mod resource_id;
pub mod shown;
pub mod unix_time;
pub mod vault;

pub use causes::Causes;
pub use clock::{Clock, Moment};
pub use ids::{ClientId, PrincipalId, SubscriptionId, TenantId};
pub use resource_id::ResourceId;
pub use unix_time::UnixTime;
