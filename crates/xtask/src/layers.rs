//! The layer check: who may use whom, read from `use` lines and from paths in the code.
//!
//! Inside `denizen-server` calls go one way, `run -> http -> app -> {domain, store}`, and the store knows the domain's
//! nouns. Between crates, the agent must not carry the server, the published library must not carry either, and the
//! wire types must carry nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};

/// A module of the server, and the modules it may name.
const SERVER: &[(&str, &[&str])] = &[
    ("domain", &["domain"]),
    ("store", &["store", "domain"]),
    ("app", &["app", "domain", "store", "clock"]),
    ("http", &["http", "app", "domain", "store", "clock"]),
    ("run", &["run", "http", "app", "domain", "store", "clock"]),
    ("clock", &["clock"]),
];

/// A crate, and the workspace's crates it may depend on outside of tests.
const CRATES: &[(&str, &[&str])] = &[
    ("denizen-wire", &[]),
    ("denizen-keys", &["denizen-wire"]),
    ("denizen-server", &["denizen-wire", "denizen-keys"]),
    ("denizen-agent", &["denizen-wire", "denizen-keys"]),
    ("denizen-identity", &["denizen-wire"]),
    ("denizen", &["denizen-wire", "denizen-keys", "denizen-server", "denizen-agent", "denizen-identity"]),
];

/// Words that belong to one layer alone: the path they may appear under, the word, and why.
const ONLY_UNDER: &[(&str, &str, &str)] = &[
    ("http", "StatusCode", "status codes are decided in http/ only"),
    ("store", "sqlx::", "SQL is spoken in store/ only"),
];

pub(crate) fn check(root: &Path) -> Result<ExitCode> {
    let mut faults = Vec::new();
    let server = root.join("crates/denizen-server/src");
    for file in rust_files(&server)? {
        let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        let inside = file.strip_prefix(&server)?;
        let Some(module) = inside.iter().next().and_then(|m| m.to_str()).map(|m| m.trim_end_matches(".rs")) else {
            continue;
        };
        if module == "lib" {
            continue;
        }
        let allowed = SERVER.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            faults.push(format!(
                "{}: the module '{module}' has no layer; give it one in xtask/src/layers.rs",
                inside.display()
            ));
            continue;
        };
        let is_test = inside.components().any(|c| c.as_os_str() == "tests") || inside.ends_with("tests.rs");
        for (number, used) in crate_modules(&text) {
            if !allowed.contains(&used.as_str()) && !is_test {
                faults.push(format!(
                    "{}:{number}: {module}/ may not use crate::{used} (it may use: {})",
                    inside.display(),
                    allowed.join(", ")
                ));
            }
        }
        for (layer, word, why) in ONLY_UNDER {
            if module != *layer && !is_test {
                for (index, line) in text.lines().enumerate() {
                    if code(line).contains(word) {
                        faults.push(format!("{}:{}: '{word}': {why}", inside.display(), index + 1));
                    }
                }
            }
        }
    }
    for (name, allowed) in CRATES {
        for used in dependencies(&root.join("crates").join(name).join("Cargo.toml"))? {
            if !allowed.contains(&used.as_str()) {
                faults.push(format!("crates/{name}/Cargo.toml: {name} may not depend on {used}"));
            }
        }
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    println!("layers: {} faults", faults.len());
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("{}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    // A check that reads nothing would pass for ever.
    ensure!(files.len() > 1, "no source below {}", dir.display());
    Ok(files)
}

/// The first module of each `crate::…` path, with its line. `use crate::{a::…, b::…}` names several, over lines.
fn crate_modules(text: &str) -> Vec<(usize, String)> {
    let text: String = text.lines().map(|line| format!("{}\n", code(line))).collect();
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let word_before = text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        if word_before {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            for (offset, part) in top_level_parts(group) {
                let name = identifier(part);
                if !name.is_empty() {
                    found.push((line + group[..offset].matches('\n').count(), name));
                }
            }
        } else {
            found.push((line, identifier(rest)));
        }
    }
    found
}

/// The comma-separated parts of a brace group, up to its closing brace.
fn top_level_parts(group: &str) -> Vec<(usize, &str)> {
    let (mut depth, mut start, mut parts) = (0i32, 0usize, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push((start, group[start..at].trim_start()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push((start, group[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The workspace's crates named under `[dependencies]`.
fn dependencies(manifest: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(manifest).with_context(|| format!("{}", manifest.display()))?;
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && line.starts_with("denizen") {
            found.push(line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_every_form() {
        let text = "use crate::app::x;\nuse crate::{\n    domain::{a, b},\n    store::Store,\n};\nlet x = crate::http::y(); // crate::nothing\nnotcrate::z";
        let names: Vec<(usize, String)> = crate_modules(text);
        let expect = [(1, "app"), (2, "domain"), (3, "store"), (6, "http")];
        assert_eq!(names.iter().map(|(_, n)| n.as_str()).collect::<Vec<_>>(), expect.map(|(_, n)| n));
    }
}
