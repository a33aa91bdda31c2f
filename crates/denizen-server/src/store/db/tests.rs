//! The migrations of the two dialects. Only SQLite's are run today, so nothing else would notice that PostgreSQL's fell behind.

use std::collections::BTreeMap;
use std::path::Path;

/// What the dialects spell differently: SQLite's word, then PostgreSQL's.
const WORDS: [(&str, &str); 2] = [("BLOB", "BYTEA"), ("INTEGER", "BIGINT")];

/// The migrations of one dialect, by file name.
fn migrations(dialect: &str) -> BTreeMap<String, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(dialect);
    std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

/// One line in PostgreSQL's words. Spaces are not compared: columns are aligned by hand in each dialect.
fn in_postgres_words(line: &str) -> Vec<&str> {
    line.split_whitespace()
        .map(|word| WORDS.iter().find(|(sqlite, _)| *sqlite == word).map_or(word, |(_, postgres)| postgres))
        .collect()
}

#[test]
fn the_dialects_differ_only_in_the_known_words() {
    let (sqlite, postgres) = (migrations("sqlite"), migrations("postgres"));
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite.keys().collect::<Vec<_>>(), postgres.keys().collect::<Vec<_>>());
    for (name, text) in &sqlite {
        let expected: Vec<_> = text.lines().map(in_postgres_words).collect();
        let found: Vec<Vec<_>> = postgres[name].lines().map(|line| line.split_whitespace().collect()).collect();
        for (number, (expected, found)) in (1..).zip(expected.iter().zip(&found)) {
            assert_eq!(expected, found, "{name}, line {number}");
        }
        assert_eq!(expected.len(), found.len(), "{name}: lines");
    }
}
