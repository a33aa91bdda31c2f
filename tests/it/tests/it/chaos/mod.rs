//! Attacks that take long or much: `./test chaos` runs these alone, one after the other. Loopback only, bounded in
//! number and time.
//!
//! | file | attack |
//! |---|---|
//! | [`held`] | connections and bodies that are held |
//! | [`replicas`] | replicas that are killed, or stopped for a while |
//! | [`kills`] | one server with SQLite that is killed, again and again |
//! | [`database`] | a database that hangs, is away, or is replaced by its standby |
//! | [`clock`] | a clock that is stepped by hours, again and again |
//! | [`disk`] | a disk that is full |
//!
//! Longer: `DENIZEN_CHAOS_SECONDS` is how long each goes on, `DENIZEN_CHAOS_KILLS` how often [`kills`] kills,
//! `DENIZEN_CHAOS_RACES` how often two machines race for a join token.

use std::time::Duration;

mod clock;
mod database;
mod disk;
mod held;
mod kills;
mod replicas;

/// A number of the environment, or this one.
#[expect(clippy::disallowed_methods, reason = "how long an attack takes is said by who runs it")]
fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// How long an attack goes on.
fn seconds(usual: u64) -> Duration {
    Duration::from_secs(number("DENIZEN_CHAOS_SECONDS", usual))
}
