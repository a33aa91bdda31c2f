//! End to end: the real processes, on free ports, in directories of their own.
//!
//! `cargo build --bins` first: these tests run the programs that lie beside them in the target directory. Every test
//! has its own server, so they run in any order and all at once. As root each server gets mounts of its own
//! ([`sandbox`]), so that nothing on the machine is touched, the Arc endpoint can be offered, and other users can be
//! tried; as anybody else the tests that need root are skipped, and counted (`denizen-skip`).
//!
//! | file | what it boots and asks |
//! |---|---|
//! | [`sandbox`], [`dev`], [`operator`], [`wire`], [`tls`], [`jwt`], [`offline`] | what the tests are made with |
//! | [`start`] | the files `denizen dev` writes, and its environment |
//! | [`environment`] | the same for programs with a proxy, and for readers that are no shell |
//! | [`localhost`] | everything that a URL calls `localhost`, by 127.0.0.1 and by [::1] |
//! | [`refuse`] | the starts it refuses |
//! | [`tampering`] | a database that somebody edited, and a clock that somebody set |
//! | [`restart`] | what survives a stop, and a kill in the middle of writes |
//! | [`server`] | `denizen init`, `denizen server` and the commands beside it, from nothing to a machine that reads a secret |
//! | [`server_config`] | the configurations and the data that they refuse |
//! | [`federation`] | one deployment that trusts another: two servers, and `denizen app` |
//! | [`program`] | `denizen dev -- CMD` |
//! | [`commands`] | `denizen token`, `denizen secret` |
//! | [`people`] | `denizen user`, and signing in on the pages |
//! | [`rotation`] | `denizen signing-key rotate` |
//! | [`audit`] | `denizen audit`, and what becomes of a server whose audit's trail somebody else changed |
//! | [`keydir`] | Arc or App Service: which one is offered, and why |
//! | [`token_service`] | discovery, keys, tokens |
//! | [`vault`], [`forged`] | secrets, and tokens that must not open them |
//! | [`enrol`], [`enrol_again`] | how machines come in, also those that have forgotten that they are |
//! | [`strangers`] | what is left of requests that prove nothing |
//! | [`routes`] | every route without a credential, and with a powerless one |
//! | [`limits`] | what a client may send, and how it may end |
//! | [`earlier`] | what earlier releases left on disk still opens |
//! | [`backup`] | the restore drill, a restore that is killed, and the way to PostgreSQL |
//! | [`balanced`], [`history`] | replicas behind HAProxy that are killed; whether some order explains what all clients saw |
//! | [`clock`] | a clock that is stepped under load, and replicas whose clocks differ |
//! | [`chaos`] | attacks that take long: `./test chaos` |
//! | [`custody`] | signing keys in a PKCS#11 token and by ES256, and every key replaced at once |
//! | [`arc`], [`imds`] | the endpoints of the agent inside it |
//! | [`neighbour`] | the same from another machine on the link |
//! | [`subordinate`] | the same from one user's many user ids |
//! | [`agent`] | `denizen-agent` as a process of its own |

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a failed unwrap in a test is the test's own message"
)]

mod agent;
mod arc;
mod audit;
mod backup;
mod balanced;
mod chaos;
mod clock;
mod commands;
mod custody;
mod dev;
mod earlier;
mod enrol;
mod enrol_again;
mod environment;
mod federation;
mod forged;
mod graph;
mod history;
mod imds;
mod jwt;
mod keydir;
mod limits;
mod localhost;
mod neighbour;
mod offline;
mod operator;
mod people;
mod program;
mod readme;
mod refuse;
mod replicas;
mod restart;
mod rotation;
mod routes;
mod sandbox;
mod server;
mod server_config;
mod start;
mod strangers;
mod subordinate;
mod tampering;
mod tls;
mod token_service;
mod vault;
mod wire;
