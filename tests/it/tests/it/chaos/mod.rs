//! Attacks that take long or much: `./test chaos` runs these alone, one after the other. Loopback only, bounded in
//! number and time.
//!
//! | file | attack |
//! |---|---|
//! | [`held`] | connections and bodies that are held |

mod held;
