//! `docs/conformance.md`: the table of SDK × dialect, made from what a run wrote down.
//!
//! A results line is `CLIENT <tab> VERSION <tab> DIALECT <tab> CASE <tab> ok|fail|n/a <tab> detail`.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail, ensure};

/// `no-agent` is what a client does without Denizen's agent.
const DIALECTS: [(&str, &str); 4] =
    [("arc", "Azure Arc"), ("app-service", "App Service"), ("imds", "IMDS"), ("no-agent", "no agent")];

#[derive(Default)]
struct Cell {
    ok: usize,
    fail: usize,
    not_applicable: Vec<(String, String)>,
}

pub(crate) fn write(results: &Path, page: &Path) -> Result<ExitCode> {
    let (text, failed) = render(results)?;
    fs::write(page, text)?;
    println!("conformance: {} written", page.display());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) fn check(results: &Path, page: &Path) -> Result<ExitCode> {
    let (text, failed) = render(results)?;
    let same = fs::read_to_string(page).is_ok_and(|kept| kept == text);
    if !same {
        eprintln!("{} is not what this run gives; write it with: ./test conformance --write", page.display());
    }
    Ok(if same && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(results: &Path) -> Result<(String, usize)> {
    let lines = fs::read_to_string(results).with_context(|| format!("{}", results.display()))?;
    let mut table: BTreeMap<(String, String), BTreeMap<String, Cell>> = BTreeMap::new();
    let mut failed = 0;
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [client, version, dialect, case, outcome, rest @ ..] = fields.as_slice() else {
            bail!("not a results line: {line}")
        };
        ensure!(DIALECTS.iter().any(|(key, _)| key == dialect), "no such dialect: {line}");
        let cell =
            table.entry(((*client).into(), (*version).into())).or_default().entry((*dialect).into()).or_default();
        match *outcome {
            "ok" => cell.ok += 1,
            "n/a" => cell.not_applicable.push(((*case).into(), rest.first().copied().unwrap_or_default().into())),
            _ => {
                cell.fail += 1;
                failed += 1;
            }
        }
    }
    ensure!(!table.is_empty(), "{} is empty: no client ran", results.display());

    let mut out = String::from(
        "# Conformance: unmodified clients against every local protocol\n\n\
         Made by `./test conformance --write`; every cell is a run of the real client, at the version named, against real\n\
         processes, with its checks on: a token by each credential, the same twice, and a secret set, read, updated,\n\
         listed and deleted with it; then the refusals. (kubelogin, vals and rclone do what people run them for: a cluster\n\
         credential, a secret by its reference, blobs in Azurite.) A cell counts the cases that passed. `no agent` is without\n\
         Denizen's agent: an application's secret or certificate, straight to the token service, and the sources that only\n\
         the test kit has. Chromium, Debian's of the day, MSAL and openid-client sign a person in there, and read no secret. `–` is\n\
         where a client is not run: for managed identity alone, or for people alone.\n\n\
         | client | version |",
    );
    for (_, name) in DIALECTS {
        let _ = write!(out, " {name} |");
    }
    out.push_str("\n|---|---|---|---|---|---|\n");
    let mut notes: Vec<String> = Vec::new();
    for ((client, version), cells) in &table {
        let _ = write!(out, "| {client} | {version} |");
        for (key, name) in DIALECTS {
            let text = match cells.get(key) {
                // Not every client is run in every way.
                None => "–".to_owned(),
                Some(cell) if cell.fail > 0 => format!("**{} failed**, {} ok", cell.fail, cell.ok),
                Some(cell) if cell.ok == 0 => "not in this client".to_owned(),
                Some(cell) => format!("{} ok", cell.ok),
            };
            for (case, why) in cells.get(key).map(|cell| cell.not_applicable.as_slice()).unwrap_or_default() {
                notes.push(format!("- {client} {version}, {name}, {case}: {why}"));
            }
            let _ = write!(out, " {text} |");
        }
        out.push('\n');
    }
    if !notes.is_empty() {
        out.push_str("\n## What a client does not offer\n\n");
        out.push_str(&notes.join("\n"));
        out.push('\n');
    }
    Ok((out, failed))
}
