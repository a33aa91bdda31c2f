//! The nouns, and the decisions about them. Pure: no async, no clock, no store, no HTTP.
//!
//! | file | holds |
//! |---|---|
//! | [`ctx`] | who acts, on which tenant, when: without it nothing is reached |
//! | [`directory`] | tenants, applications, service principals, their credentials, signing keys |
//! | [`attempts`] | how long whoever guesses has to wait |
//! | [`people`] | users, groups, memberships |
//! | [`redirects`] | where a browser may be sent back to |
//! | [`sign_in`] | sessions, codes, refresh tokens |
//! | [`grants`] | app roles that were given, scopes that were consented to |
//! | [`deleted`] | what was deleted and can be restored |
//! | [`resources`] | subscriptions, resource groups, machines, vaults, join tokens |
//! | [`secrets`] | a secret version, and the rules its parts obey |
//! | [`roles`], [`authorize`] | role definitions and assignments; the one decision point |
//! | [`federation`] | whom of other issuers a client takes as itself |
//! | [`hot`] | of principals and assignments, what the snapshot holds |
//! | [`clock_watch`] | whether the clock can be believed |
//! | [`scopes`], [`built_in_clients`] | what is asked for in a user's name, and by whom without registering |
//! | [`query`] | what a list is asked for, as OData writes it |
//! | [`assertion`], [`claims`], [`lifetimes`], [`rotation`] | what the token service decides |

pub mod assertion;
pub mod attempts;
pub mod authorize;
pub mod built_in_clients;
pub mod claims;
pub mod clock_watch;
pub mod ctx;
pub mod deleted;
pub mod directory;
pub mod federation;
pub mod grants;
pub mod hot;
pub mod lifetimes;
pub mod people;
pub mod query;
pub mod redirects;
pub mod resources;
pub mod roles;
pub mod rotation;
pub mod scopes;
pub mod secrets;
pub mod sign_in;

pub use ctx::{Actor, Ctx};
