//! Tags: what binds a row of the database to its place, its revision and its content.
//!
//! Every row that decides something carries `tag = HMAC(rows; kind, tenant, id, revision, content)`. Who can write the
//! database but has not the root key can make no row, cannot change one, and cannot put one in the place of another.
//! That a row is the one written *last* is for [`super::live`] and [`super::head`]. ADR 6 has the argument.
//!
//! Touches nothing. Tests: below; the attacks are in [`super::contract`].

use denizen_keys::{hash, mac::TAG_BYTES};

use super::{Kind, Revision, StoreError, StoreKeys, Tampering, db::Arg};

/// What a row is called: its kind, its tenant, and its id within both. No two rows have one name.
#[derive(Clone, Copy)]
pub(super) struct RowName<'a> {
    pub(super) kind: Kind,
    pub(super) tenant: &'a str,
    pub(super) id: &'a str,
}

impl RowName<'_> {
    /// The row is not as it should be.
    pub(super) fn tampered(&self, why: Tampering) -> StoreError {
        self.and_others(why, 0)
    }

    /// The row is not as it should be, and so are others.
    pub(super) fn and_others(&self, why: Tampering, others: usize) -> StoreError {
        StoreError::Tampered { kind: self.kind, tenant: shown(self.tenant), id: shown(self.id), why, others }
    }
}

/// A text of a row that may be anybody's, as it is shown.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 400;
    text.chars().take(LONGEST).flat_map(char::escape_debug).collect()
}

/// The tag of a row. `content` is every column that is not part of the name, in a fixed order.
pub(super) fn tag(keys: &StoreKeys, name: RowName<'_>, revision: Revision, content: &[Arg<'_>]) -> [u8; TAG_BYTES] {
    keys.rows.tag(&[&message(name, revision, content)])
}

/// Whether a row carries its own tag.
pub(super) fn carries(
    keys: &StoreKeys,
    name: RowName<'_>,
    revision: Revision,
    content: &[Arg<'_>],
    tag: &[u8],
) -> bool {
    keys.rows.matches(&[&message(name, revision, content)], tag)
}

/// One encoding for each list of values: each has its type and, where that does not say it, its length before it.
fn message(name: RowName<'_>, revision: Revision, content: &[Arg<'_>]) -> Vec<u8> {
    let mut message = Vec::with_capacity(256);
    for part in [name.kind.as_str(), name.tenant, name.id] {
        put(&mut message, b't', part.as_bytes());
    }
    message.extend_from_slice(&revision.0.to_be_bytes());
    for value in content {
        match *value {
            Arg::Text(text) | Arg::TextOrNull(Some(text)) => put(&mut message, b't', text.as_bytes()),
            Arg::Bytes(bytes) | Arg::BytesOrNull(Some(bytes)) => put(&mut message, b'b', bytes),
            Arg::Int(number) | Arg::IntOrNull(Some(number)) => {
                message.push(b'i');
                message.extend_from_slice(&number.to_be_bytes());
            }
            Arg::TextOrNull(None) | Arg::IntOrNull(None) | Arg::BytesOrNull(None) => message.push(b'n'),
        }
    }
    message
}

fn put(message: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    message.push(kind);
    message.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    message.extend_from_slice(bytes);
}

/// What stands in a secret version's tag for the bytes that are sealed.
pub(super) fn sealed_hash(wrapped_key: &[u8], sealed_value: &[u8]) -> Vec<u8> {
    let border = (wrapped_key.len() as u64).to_be_bytes();
    hash::sha256_of(&[&border, wrapped_key, sealed_value]).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::args;

    const NAME: RowName<'static> = RowName { kind: Kind::Vault, tenant: "t", id: "/v" };

    #[test]
    fn a_tag_binds_every_part_of_a_row() {
        let keys = StoreKeys::of_test();
        let content = args!["body", Some("x"), None::<i64>, 7];
        let good = tag(&keys, NAME, Revision(3), content);
        let ok = |name, revision, content: &[Arg<'_>]| carries(&keys, name, Revision(revision), content, &good);
        assert!(ok(NAME, 3, content));
        for other in [
            RowName { kind: Kind::Machine, ..NAME },
            RowName { tenant: "u", ..NAME },
            RowName { id: "/w", ..NAME },
            RowName { tenant: "t/", id: "v", ..NAME },
        ] {
            assert!(!ok(other, 3, content));
        }
        assert!(!ok(NAME, 2, content), "another revision");
        for other in [
            &args!["bodY", Some("x"), None::<i64>, 7][..],
            args!["body", None::<&str>, None::<i64>, 7],
            args!["body", Some("x"), Some(0), 7],
            args!["body", Some("x"), None::<i64>, 8],
            args!["body", Some("x"), None::<i64>],
            args!["bodyx", Some(""), None::<i64>, 7],
            args!["body", Some("x"), None::<i64>, 7, 7],
        ] {
            assert!(!ok(NAME, 3, other));
        }
        assert!(!carries(&keys, NAME, Revision(3), content, &good[..31]));
        assert_ne!(sealed_hash(b"ab", b"c"), sealed_hash(b"a", b"bc"));
    }

    #[test]
    fn a_name_that_an_intruder_wrote_cannot_forge_a_line_of_the_log() {
        let text = RowName { id: "a\nWARN all is well\u{1b}[2J", ..NAME }.tampered(Tampering::Forged).to_string();
        assert!(!text.contains(['\n', '\u{1b}']), "{text}");
        assert!(RowName { id: &"x".repeat(9000), ..NAME }.tampered(Tampering::Forged).to_string().len() < 1000);
    }
}
