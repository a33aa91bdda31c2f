//! The layer check: who may use whom, between crates and inside each of them.
//!
//! | file | holds |
//! |---|---|
//! | [`table`] | the layers: this is what to edit |
//! | [`paths`] | the paths that a file names |
//! | this one | the comparison of the two |

mod paths;
mod table;
#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, ensure};

use self::{
    paths::File,
    table::{CRATES, Crate, Exception, Layers, May, Narrow},
};

/// Checks the workspace at `root`, and says what breaks a rule.
pub(crate) fn check(root: &Path) -> Result<ExitCode> {
    let faults = faults(root, CRATES)?;
    for fault in &faults {
        eprintln!("{fault}");
    }
    println!("layers: {} faults", faults.len());
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What breaks a rule of `crates` in the workspace at `root`.
fn faults(root: &Path, crates: &[Crate]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let workspace = manifest(&root.join("Cargo.toml"))?;
    let members = workspace.get("workspace").and_then(|w| w.get("members")).and_then(toml::Value::as_array);
    let members: Vec<&str> = members.into_iter().flatten().filter_map(toml::Value::as_str).collect();
    ensure!(!members.is_empty(), "{} has no workspace members", root.display());
    for member in &members {
        if !crates.iter().any(|c| c.at == *member) {
            faults.push(format!("{member}: this crate has no row in xtask/src/layers/table.rs; give it one"));
        }
    }
    let names: Vec<&str> = crates.iter().map(|c| c.name).collect();
    for row in crates {
        if !members.contains(&row.at) {
            faults.push(format!(
                "{}: it has a row in xtask/src/layers/table.rs and is no member of the workspace",
                row.at
            ));
            continue;
        }
        let dir = root.join(row.at);
        dependency_faults(row, &names, &manifest(&dir.join("Cargo.toml"))?, &mut faults);
        if !row.layers.is_empty() {
            let sources = Sources::read(&dir.join("src"))?;
            for layers in row.layers {
                sources.check(row, layers, &mut faults);
            }
            sources.check_words(row, &mut faults);
            sources.check_sole(row, &mut faults);
        }
        if !row.sole.is_empty() {
            check_sole_outside(root, row, crates, &mut faults)?;
        }
    }
    Ok(faults)
}

fn manifest(file: &Path) -> Result<toml::Table> {
    let text = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    text.parse().with_context(|| format!("{}", file.display()))
}

/// The workspace's crates that a manifest names outside of `[dev-dependencies]`, for every target.
fn dependency_faults(row: &Crate, ours: &[&str], manifest: &toml::Table, faults: &mut Vec<String>) {
    let May::Use(allowed) = row.may else { return };
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flat_map(|targets| targets.values().filter_map(toml::Value::as_table));
    for table in tables.chain([manifest]) {
        for kind in ["dependencies", "build-dependencies"] {
            let dependencies = table.get(kind).and_then(toml::Value::as_table);
            for (name, value) in dependencies.into_iter().flatten() {
                // `package` is what a renamed one is called.
                let used = value.get("package").and_then(toml::Value::as_str).unwrap_or(name);
                if ours.contains(&used) && !allowed.contains(&used) {
                    let may = if allowed.is_empty() { "none of ours".to_owned() } else { allowed.join(", ") };
                    faults.push(format!(
                        "{}/Cargo.toml: {} may not depend on {used} (it may use: {may})",
                        row.at, row.name
                    ));
                }
            }
        }
    }
}

/// A crate's files that are not for tests.
struct Sources(Vec<Source>);

struct Source {
    /// Below `src`.
    file: PathBuf,
    module: Vec<String>,
    content: File,
}

impl Sources {
    fn read(src: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for file in rust_files(src)? {
            let inside = file.strip_prefix(src)?;
            let module = module_of(inside);
            let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
            let content =
                paths::read(&text, &module).map_err(|e| anyhow!("{} cannot be read as Rust: {e}", file.display()))?;
            files.push(Source { file: inside.to_owned(), module, content });
        }
        let for_tests: Vec<Vec<String>> = files.iter().flat_map(|source| source.content.test_modules.clone()).collect();
        // `cache_tests.rs` is the module `cache::tests` by a `#[path]`.
        let by_name = |module: &[String]| module.last().is_some_and(|last| last.ends_with("_tests"));
        files
            .retain(|source| !by_name(&source.module) && !for_tests.iter().any(|test| source.module.starts_with(test)));
        Ok(Self(files))
    }

    /// Where an item of the module `parent` is really from, when that only gives it on from below.
    fn origin<'s>(&'s self, parent: &[&str], item: &str) -> Option<&'s [String]> {
        let is_parent = |source: &&Source| source.module.iter().map(String::as_str).eq(parent.iter().copied());
        let mut given_on = self.0.iter().filter(is_parent).flat_map(|source| &source.content.given_on);
        given_on.find(|(name, path)| name == item && path.len() > parent.len() + 1).map(|(_, path)| path.as_slice())
    }

    /// Every path that a module of `layers` names, against its rules.
    fn check(&self, row: &Crate, layers: &Layers, faults: &mut Vec<String>) {
        let inside: Vec<&str> = layers.inside.split("::").filter(|part| !part.is_empty()).collect();
        let used: Vec<Cell<bool>> = layers.exceptions.iter().map(|_| Cell::new(false)).collect();
        let mut seen: Vec<&str> = Vec::new();
        for Source { file, module, content } in &self.0 {
            // The crate's root, or the parent of these modules: it declares them all.
            let Some(own) = below(module, &inside) else { continue };
            let at = |line: usize| format!("{}/src/{}:{line}", row.at, file.display());
            let Some(floor) = layers.floor(own) else {
                faults.push(format!(
                    "{}: the module '{own}' has no layer; give it one in xtask/src/layers/table.rs",
                    at(1)
                ));
                continue;
            };
            if !seen.contains(&own) {
                seen.push(own);
            }
            for named in &content.named {
                let Some(other) = below(&named.path, &inside) else { continue };
                let path = self.origin(&inside, other).unwrap_or(&named.path);
                let Some(other) = below(path, &inside) else { continue };
                if other == own || layers.exempts(module, path, &used) {
                    continue;
                }
                match layers.floor(other) {
                    Some(theirs) if theirs < floor => {
                        if let Some(Narrow { why, only, .. }) = layers.narrows(own, other, path.get(inside.len() + 1)) {
                            let only = only.join(", ");
                            faults.push(format!("{}: '{own}' may name of '{other}' only {only}: {why}", at(named.line)));
                        }
                    }
                    Some(_) => faults.push(format!(
                        "{}: '{own}' may not use '{other}': it may use what stands before it in xtask/src/layers/table.rs: {}",
                        at(named.line),
                        layers.before(floor)
                    )),
                    // An item that the parent itself defines.
                    None => {}
                }
            }
        }
        for module in layers.floors.iter().copied().flatten().filter(|module| !seen.contains(module)) {
            faults
                .push(format!("{}: there is no module '{module}'; take it out of xtask/src/layers/table.rs", row.name));
        }
        for (Exception { from, to, .. }, used) in layers.exceptions.iter().zip(&used) {
            if !used.get() {
                faults.push(format!(
                    "{}: '{from}' no longer uses '{to}'; take the exception out of xtask/src/layers/table.rs",
                    row.name
                ));
            }
        }
    }

    /// `impl Trait for`, however the trait is reached, outside of the module that may; and another name for the trait.
    fn check_sole(&self, row: &Crate, faults: &mut Vec<String>) {
        for (home, name, why) in row.sole {
            let mut found_at_home = false;
            for Source { file, module, content } in &self.0 {
                let at_home = module.join("::") == *home;
                let used = uses(content, name);
                found_at_home |= at_home && used.iter().any(|(_, use_of)| *use_of == UseOfTrait::Implemented);
                if !at_home {
                    let path = format!("{}/src/{}", row.at, file.display());
                    faults.extend(used.iter().map(|(line, use_of)| use_of.refused(&path, *line, home, name, why)));
                }
            }
            if !found_at_home {
                faults.push(format!(
                    "{}: '{home}' does not implement '{name}'; correct xtask/src/layers/table.rs",
                    row.name
                ));
            }
        }
    }

    fn check_words(&self, row: &Crate, faults: &mut Vec<String>) {
        for Source { file, module, content } in &self.0 {
            for (home, word, why) in row.words {
                if home.split("::").enumerate().all(|(at, part)| module.get(at).is_some_and(|found| found == part)) {
                    continue;
                }
                for (line, _) in content.words.iter().filter(|(_, found)| found == word) {
                    faults.push(format!("{}/src/{}:{line}: '{word}': {why}", row.at, file.display()));
                }
            }
        }
    }
}

/// What a file does with a trait that one module alone may implement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UseOfTrait {
    Implemented,
    Renamed,
}

impl UseOfTrait {
    fn refused(self, path: &str, line: usize, home: &str, name: &str, why: &str) -> String {
        match self {
            Self::Implemented => format!("{path}:{line}: only '{home}' may implement '{name}': {why}"),
            Self::Renamed => {
                format!("{path}:{line}: '{name}' may not get another name, under which this check misses it")
            }
        }
    }
}

/// Where a file implements the trait, or gives it another name (`as _` is none).
fn uses(content: &File, name: &str) -> Vec<(usize, UseOfTrait)> {
    let words = &content.words;
    let word = |at: usize| words.get(at).map_or("", |(_, word)| word.as_str());
    let of = |(at, (line, found)): (usize, &(usize, String))| match (found == name, word(at + 1), word(at + 2)) {
        (true, "for", _) => Some((*line, UseOfTrait::Implemented)),
        (true, "as", alias) if alias != "_" => Some((*line, UseOfTrait::Renamed)),
        _ => None,
    };
    words.iter().enumerate().filter_map(of).collect()
}

/// The same in every crate that depends on this one, its tests included.
fn check_sole_outside(root: &Path, row: &Crate, crates: &[Crate], faults: &mut Vec<String>) -> Result<()> {
    for other in crates.iter().filter(|other| other.at != row.at) {
        let dir = root.join(other.at);
        if !manifest(&dir.join("Cargo.toml"))?.values().any(|table| table.get(row.name).is_some()) {
            continue;
        }
        for folder in ["src", "tests", "benches"].map(|folder| dir.join(folder)) {
            if !folder.is_dir() {
                continue;
            }
            for file in all_rust_files(&folder)? {
                let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
                let read = paths::read(&text, &[]);
                let content = read.map_err(|e| anyhow!("{} cannot be read as Rust: {e}", file.display()))?;
                let path = file.strip_prefix(root).unwrap_or(&file).display().to_string();
                for (home, name, why) in row.sole {
                    let found = uses(&content, name);
                    faults.extend(found.iter().map(|(line, use_of)| use_of.refused(&path, *line, home, name, why)));
                }
            }
        }
    }
    Ok(())
}

impl Layers {
    fn floor(&self, module: &str) -> Option<usize> {
        self.floors.iter().position(|floor| floor.contains(&module))
    }

    fn before(&self, floor: usize) -> String {
        let before: Vec<&str> = self.floors.iter().take(floor).copied().flatten().copied().collect();
        if before.is_empty() { "nothing".to_owned() } else { before.join(", ") }
    }

    /// Whether an exception covers this use; it then counts as used.
    fn exempts(&self, module: &[String], path: &[String], used: &[Cell<bool>]) -> bool {
        let starts = |path: &[String], with: &str| {
            let mut parts = with.split("::");
            let covered = parts.by_ref().zip(path).all(|(part, name)| part == name);
            covered && path.len() >= with.split("::").count()
        };
        let found = self.exceptions.iter().zip(used).find(|(e, _)| starts(module, e.from) && starts(path, e.to));
        found.is_some_and(|(_, used)| {
            used.set(true);
            true
        })
    }

    /// The narrowing that this use breaks.
    fn narrows(&self, own: &str, other: &str, item: Option<&String>) -> Option<&Narrow> {
        self.narrow.iter().find(|narrow| {
            let allowed = item.is_some_and(|item| narrow.only.contains(&item.as_str()));
            narrow.from == own && narrow.to == other && !allowed
        })
    }
}

/// The module of `path` directly below `inside`.
fn below<'p>(path: &'p [String], inside: &[&str]) -> Option<&'p str> {
    let is_inside = path.len() > inside.len() && inside.iter().zip(path).all(|(part, name)| part == name);
    if is_inside { path.get(inside.len()).map(String::as_str) } else { None }
}

/// `http/vault/mod.rs` and `http/vault.rs` are both `http::vault`; a root is the crate itself.
fn module_of(file: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod" || (module.len() == 1 && (last == "lib" || last == "main"))) {
        module.pop();
    }
    module
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let files = all_rust_files(dir)?;
    // A check that reads nothing would pass for ever.
    ensure!(files.len() > 1, "no source below {}", dir.display());
    Ok(files)
}

fn all_rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
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
    Ok(files)
}
