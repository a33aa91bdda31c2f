//! The keys that the store's tags are made under. Whoever can write the database has none of them.
//!
//! All are derived from the root key, one for each purpose. Tests: with what uses them.

use denizen_keys::{envelope::RootKey, mac::MacKey};

/// One key for each thing that carries a tag.
#[derive(Clone, Debug)]
pub struct StoreKeys {
    /// Binds a row to its tenant, kind, id, revision and content.
    pub(super) rows: MacKey,
    /// Makes of each row's tag a number that nobody else can compute: the sum of all of them says
    /// whether the rows are the ones that were written last.
    pub(super) freshness: MacKey,
    /// Binds the head: the revision, and the sum over all rows at it.
    pub(super) head: MacKey,
    /// Binds the rows of the audit's chain.
    pub(super) chain: MacKey,
    /// Binds a record to its place in the audit's spool.
    pub(super) spool: MacKey,
    /// Binds what is kept outside the database of its head.
    pub(super) anchor: MacKey,
    /// Binds where a list goes on to what it was asked for.
    pub(super) lists: MacKey,
}

impl StoreKeys {
    /// Derives the keys of a deployment.
    #[must_use]
    pub fn of(root: &RootKey) -> Self {
        Self {
            rows: root.mac_key("store rows"),
            freshness: root.mac_key("store freshness"),
            head: root.mac_key("store head"),
            chain: root.mac_key("audit chain"),
            spool: root.mac_key("audit spool"),
            anchor: root.mac_key("store anchor"),
            lists: root.mac_key("store lists"),
        }
    }

    /// The keys of a test's store: the same each time it is opened.
    #[cfg(test)]
    pub(crate) fn of_test() -> Self {
        Self::of_test_with(0)
    }

    /// The keys of another test's store.
    #[cfg(test)]
    pub(crate) fn of_test_with(more: u8) -> Self {
        let key = |number| MacKey::new(&[number + more; 32]);
        let (rows, freshness, head, chain) = (key(1), key(2), key(3), key(4));
        Self { rows, freshness, head, chain, anchor: key(5), spool: key(6), lists: key(7) }
    }
}
