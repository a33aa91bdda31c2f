//! The per-server agent: enrols the machine, keeps its key, and answers local programs that ask for tokens.
//!
//! ```text
//!  program --HTTP on loopback--> server -> endpoints -> broker -> cache -> upstream --HTTPS--> token authority
//!                                   |          |           |
//!                            caller (kernel)   |        policy (pure)
//!                                       challenge, evidence
//! ```
//!
//! * **One token path.** Arc, IMDS and App Service are adapters onto [`broker::Broker::token`].
//! * **An ordinary OAuth client.** After enrolment the agent says nothing upstream that it could not say to Entra ID.
//! * **Loopback only**, in both senses: it listens nowhere else, and dials only the server it is enrolled at and the
//!   token authority that was named then.
//!
//! A module uses only modules of lower layers:
//!
//! ```text
//!  agent
//!  server
//!  endpoints
//!  broker
//!  policy, cache, enrol, config
//!  evidence, upstream
//!  challenge
//!  keydir, refusals
//!  caller, identity_file, custody
//!  exit, facts, identity, metrics, net, directory
//!  files
//! ```
//!
//! A whole agent, as `denizen-agent run` starts it: [`Agent::start`]; before that, once: [`enrol::connect`].

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod agent;
pub mod broker;
pub mod cache;
pub mod caller;
pub mod challenge;
pub mod config;
pub mod custody;
pub mod directory;
pub mod endpoints;
pub mod enrol;
pub mod evidence;
pub mod exit;
pub mod facts;
pub mod files;
pub mod identity;
pub mod identity_file;
pub mod keydir;
pub mod metrics;
pub mod net;
pub mod policy;
pub mod refusals;
pub mod server;
pub mod upstream;

pub use agent::{Agent, AgentError};
pub use config::{AgentConfig, ArcConfig};
pub use denizen_wire::Clock;
pub use denizen_wire::proxy::Proxy;
pub use identity_file::IdentityFile;
pub use net::Listeners;
pub use upstream::https::Outbound;
