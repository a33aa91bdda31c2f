//! The schema's history: numbered files, each applied once, written once for both dialects.
//!
//! A file is SQL with `{text}`, `{blob}` and `{json PATH}` where the dialects have other words. A released one is never edited: what was
//! applied is kept with a checksum of the file, and a database with another one is refused. Tests: the contract suite.

use denizen_keys::hash;

use super::super::StoreError;

/// One file.
pub(super) struct Migration {
    pub(super) version: i64,
    pub(super) name: &'static str,
    text: &'static str,
}

const ALL: &[Migration] = &[
    Migration { version: 1, name: "init", text: include_str!("../../../migrations/0001_init.sql") },
    Migration { version: 2, name: "directory", text: include_str!("../../../migrations/0002_directory.sql") },
];

/// The number of the last one.
pub(in crate::store) fn newest() -> i64 {
    ALL.last().map_or(0, |last| last.version)
}

/// The words of a dialect.
#[derive(Clone, Copy)]
pub(in crate::store) struct Dialect {
    pub(super) text: &'static str,
    pub(super) blob: &'static str,
    /// What stands before and after the path of a body's member.
    pub(super) member: [&'static str; 2],
    /// What [`Self::json`] says of a member that is false, and of one that is true.
    pub(in crate::store) flags: [&'static str; 2],
}

/// What was applied, as the database keeps it.
pub(super) const TABLE: &str = "CREATE TABLE schema_migrations (\n    version  BIGINT NOT NULL PRIMARY KEY,\n    name     \
     {text} NOT NULL,\n    checksum {blob} NOT NULL\n)";
pub(super) const APPLIED: &str = "SELECT version, checksum FROM schema_migrations ORDER BY version";
pub(super) const LAST: &str = "SELECT COALESCE(MAX(version), 0) FROM schema_migrations";
pub(super) const APPLY: &str = "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)";

impl Dialect {
    /// A text in this dialect's words.
    pub(super) fn words(self, text: &str) -> String {
        let mut parts = text.split("{json ");
        let mut written = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (path, rest) = part.split_once('}').unwrap_or((part, ""));
            written.push_str(&self.json(path));
            written.push_str(rest);
        }
        written.replace("{text}", self.text).replace("{blob}", self.blob)
    }

    /// The text that a body has at a path, `kind.ManagedIdentity.resource_id`; null where it has none. An index over it is
    /// found by a statement that says the same.
    pub(in crate::store) fn json(self, path: &str) -> String {
        let [before, after] = self.member;
        let (within, last) = path.rsplit_once('.').map_or((None, path), |(within, last)| (Some(within), last));
        let within: String =
            within.into_iter().flat_map(|it| it.split('.')).map(|name| format!(" -> '{name}'")).collect();
        format!("{before}{within} ->> '{last}'{after}")
    }
}

impl Migration {
    pub(super) fn sql(&self, dialect: Dialect) -> String {
        dialect.words(self.text)
    }

    pub(super) fn checksum(&self) -> [u8; 32] {
        hash::sha256(self.text.as_bytes())
    }
}

/// Version and checksum of each.
pub(in crate::store) fn known() -> Vec<(i64, [u8; 32])> {
    ALL.iter().map(|migration| (migration.version, migration.checksum())).collect()
}

/// What is to be applied, up to `last`, to a database that has these, by version and checksum.
///
/// # Errors
/// [`StoreError::SchemaTooNew`], and [`StoreError::SchemaUnknown`] for a file that is not the one that was applied.
pub(super) fn missing(applied: &[(i64, Vec<u8>)], last: i64) -> Result<&'static [Migration], StoreError> {
    let known = newest();
    let found = applied.last().map_or(0, |(version, _)| *version);
    if found > known {
        return Err(StoreError::SchemaTooNew { found, known });
    }
    for ((version, checksum), migration) in applied.iter().zip(ALL) {
        if *version != migration.version || *checksum != migration.checksum() {
            let name = migration.name;
            return Err(StoreError::SchemaUnknown(format!("migration {version}, {name}, was applied in another form")));
        }
    }
    let missing = ALL.get(applied.len()..).unwrap_or_default();
    let (missing, _) = missing.split_at(missing.partition_point(|migration| migration.version <= last));
    Ok(missing)
}

/// The refusal of a database that has tables, and no record of what made them.
pub(super) fn unrecorded() -> StoreError {
    StoreError::SchemaUnknown("it has tables, and no record of the migrations that made them".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_from_one_and_words_are_all_known() {
        for (number, migration) in (1..).zip(ALL) {
            assert_eq!(migration.version, number, "{}", migration.name);
            for dialect in [super::super::sqlite::DIALECT, super::super::postgres::DIALECT] {
                assert!(!migration.sql(dialect).contains(['{', '}']), "{}", migration.name);
            }
        }
    }

    #[test]
    fn a_file_that_was_edited_after_it_was_applied_is_refused() {
        let whole: Vec<_> = ALL.iter().map(|it| (it.version, it.checksum().to_vec())).collect();
        let missing = |applied: &[_]| missing(applied, newest());
        assert!(missing(&whole).unwrap().is_empty());
        assert_eq!(missing(&[]).unwrap().len(), ALL.len());
        assert_eq!(super::missing(&[], 1).unwrap().len(), 1);
        assert!(super::missing(&whole, 0).unwrap().is_empty());
        assert!(matches!(missing(&[(1, vec![0; 32])]), Err(StoreError::SchemaUnknown(_))));
        assert!(matches!(missing(&[(99, vec![0; 32])]), Err(StoreError::SchemaTooNew { found: 99, .. })));
    }
}
