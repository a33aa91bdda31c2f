//! The per-server agent: enrols the machine, keeps its key, and answers local programs that ask for tokens.
//!
//! ```text
//!  program --HTTP on loopback--> server -> endpoints -> broker -> cache -> upstream --HTTPS--> token service
//!                                   |                      |
//!                                 caller (kernel)        policy (pure)
//! ```
//!
//! * **One token path.** Arc, IMDS and App Service are adapters onto [`broker::Broker::token`].
//! * **An ordinary OAuth client.** After enrolment the agent says nothing upstream that it could not say to Entra ID.
//! * **Loopback only**, in both senses: it listens nowhere else, and dials only the server it is enrolled at.
//!
//! A whole agent, as `denizen-agent run` starts it: [`Agent::start`]; before that, once: [`enrol::connect`].

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod agent;
pub mod broker;
pub mod cache;
pub mod caller;
pub mod clock;
pub mod config;
pub mod directory;
pub mod endpoints;
pub mod enrol;
pub mod facts;
pub mod identity_file;
pub mod keydir;
pub mod metrics;
pub mod policy;
pub mod server;
pub mod upstream;

pub use agent::{Agent, AgentError};
pub use clock::Clock;
pub use config::{AgentConfig, ArcConfig, Listeners};
pub use identity_file::IdentityFile;
