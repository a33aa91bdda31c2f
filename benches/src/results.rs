//! `benches/RESULTS.md`: the last kept page of each figure, with the command that repeats it.

use anyhow::{Context, Result};

use crate::report::Verdict;

const FILE: &str = "benches/RESULTS.md";
const PREFACE: &str = "\
# Figures

Each is a ratio taken in one run, in CPU seconds of the measured process, as the median of its rounds; the command
above a table repeats it. Absolute numbers are of one small machine (two cores) and matter only beside each other.
";

/// Replaces the figure's section, or adds it. `flags` are those that change what is measured.
pub(crate) fn keep(text: &str, verdict: &Verdict, flags: &str) -> Result<()> {
    let kept = match std::fs::read_to_string(FILE) {
        Ok(kept) => kept,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => PREFACE.to_owned(),
        Err(e) => return Err(e).context(FILE),
    };
    let page = format!("{text}\n{}\n", verdict.line());
    std::fs::write(FILE, replaced(&kept, verdict.name, flags, &page)).context(FILE)
}

fn replaced(file: &str, name: &str, flags: &str, page: &str) -> String {
    let section = format!("## {name}\n\n`./bench {name}{flags}`\n\n```\n{page}```\n");
    let heading = format!("\n## {name}\n");
    match file.split_once(&heading) {
        None => format!("{file}\n{section}"),
        Some((before, rest)) => {
            let after = rest.find("\n## ").and_then(|at| rest.get(at..)).unwrap_or_default();
            format!("{before}\n{section}{after}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_added_then_replaced_and_its_neighbours_stay() {
        let one = replaced("# Figures\n", "a", "", "1\n");
        let two = replaced(&one, "b", " --compile", "2\n");
        let three = replaced(&two, "a", "", "3\n");
        assert_eq!(one, "# Figures\n\n## a\n\n`./bench a`\n\n```\n1\n```\n");
        assert!(two.starts_with(&one) && two.contains("`./bench b --compile`"), "{two}");
        assert_eq!(three, two.replace("1\n", "3\n"));
    }
}
