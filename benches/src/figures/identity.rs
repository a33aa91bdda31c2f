//! How soon `DefaultAzureCredential` decides: where there is no identity, and where there is an agent; the official
//! chains of Python, JavaScript and Go beside it, in the same run, in turns.
//!
//! Each sample is a fresh process that knows nothing of the caller: no variables, an empty `PATH` (no developer's
//! tool), an empty home. They run in a network and a mount namespace of their own, where the address of IMDS is what
//! the setting says and Arc's key directory is ours ([`stage`]). What a token kept in memory costs, and what the
//! library costs its users to build ([`weight`]), are shown beside it.

pub(crate) mod stage;
mod weight;

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::{Page, Plan};
use crate::report::{Verdict, median};
use stage::{Sample, Setting};

const NAME: &str = "identity";
const BAR: f64 = 1.0;
/// The most a chain may take to find that there is nothing, milliseconds.
const NOTHING: f64 = 50.0;
/// The most it may take to a token of an agent that is there, in a process that has had one before, milliseconds.
const AGENT: f64 = 5.0;

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let samples = stage::in_a_namespace(plan.rounds).await?;
    let mut text = String::new();
    let mut column = Column { samples: &samples, text: &mut text, rounds: plan.rounds };
    for setting in [Setting::NoRoute, Setting::Refused, Setting::Dropped] {
        let bound = if setting.is_counted() { format!("at most {NOTHING:.0} ms") } else { "shown only".to_owned() };
        column.heading(&format!("nothing there, {} ({bound})", setting.words()));
        column.row("decides, ms", 1, setting, |s| Some(s.first_ms));
        column.row("the whole process, ms", 1, setting, |s| Some(s.process_ms));
    }
    column.heading(&format!("an Arc agent there (warm: at most {AGENT:.0} ms)"));
    column.row("first token of a process, ms", 2, Setting::Agent, |s| Some(s.first_ms));
    column.row("warm: a new credential, a new resource, ms", 2, Setting::Agent, Sample::warm);
    column.row("the whole process, ms", 1, Setting::Agent, |s| Some(s.process_ms));
    column.row("a token the credential has kept, ns", 0, Setting::Agent, |s| s.kept_ns);
    kept(&mut text, &samples);
    text.push_str(&weight::table(plan.compile).await?);

    let ours = |setting, of: fn(&Sample) -> Option<f64>| ours(&samples, setting, of);
    let nothing = ours(Setting::NoRoute, |s| Some(s.first_ms))?.max(ours(Setting::Refused, |s| Some(s.first_ms))?);
    let warm = ours(Setting::Agent, Sample::warm)?;
    let silent = ours(Setting::Dropped, |s| Some(s.first_ms))?;
    let _ = writeln!(
        text,
        "\ncounted: nothing there {nothing:.2} of {NOTHING:.0} ms, agent there {warm:.2} of {AGENT:.0} ms; \
         not counted: a silent network, {silent:.0} ms, which is the probe's patience"
    );
    Ok(Page { text, verdict: Verdict { name: NAME, ratio: ratio(nothing, warm), bar: BAR, sound: true } })
}

/// How often the slower of the two fits into what it may take.
fn ratio(nothing: f64, warm: f64) -> f64 {
    (NOTHING / nothing).min(AGENT / warm)
}

/// Ours comes first in every round.
fn ours(samples: &[Sample], setting: Setting, of: fn(&Sample) -> Option<f64>) -> Result<f64> {
    let client = &samples.first().context("nothing was measured")?.client;
    let values: Vec<f64> =
        samples.iter().filter(|s| s.setting == setting && s.client == *client).filter_map(of).collect();
    ensure!(!values.is_empty(), "our own chain was not measured where {}", setting.words());
    Ok(median(values))
}

/// Clients side by side, in the order they were first measured in.
fn clients(samples: &[Sample]) -> Vec<&str> {
    let mut clients: Vec<&str> = Vec::new();
    for sample in samples {
        if !clients.contains(&sample.client.as_str()) {
            clients.push(&sample.client);
        }
    }
    clients
}

struct Column<'a> {
    samples: &'a [Sample],
    text: &'a mut String,
    rounds: u32,
}

impl Column<'_> {
    fn heading(&mut self, what: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let _ = write!(self.text, "{gap}{what}; median (least to most) of {}\n{:<44}", self.rounds, "");
        for client in clients(self.samples) {
            let _ = write!(self.text, "{client:>30}");
        }
        self.text.push('\n');
    }

    fn row(&mut self, what: &str, digits: usize, setting: Setting, of: impl Fn(&Sample) -> Option<f64>) {
        let _ = write!(self.text, "{what:<44}");
        for client in clients(self.samples) {
            let here = self.samples.iter().filter(|s| s.setting == setting && s.client == client);
            let values: Vec<f64> = here.filter_map(&of).collect();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let cell = format!("{:.digits$} ({least:.digits$} to {most:.digits$})", median(values));
            let _ = write!(self.text, "{cell:>30}");
        }
        self.text.push('\n');
    }
}

/// What only our program can tell: how often a kept token asks for memory.
fn kept(text: &mut String, samples: &[Sample]) {
    let _ = writeln!(text, "\na kept token, per call{:>34}{:>14}{:>10}", "nanoseconds", "allocations", "bytes");
    let mut row = |what: &str, of: fn(&Sample) -> Option<stage::Kept>| {
        let kept: Vec<_> = samples.iter().filter_map(of).collect();
        let of = |of: fn(&stage::Kept) -> f64| median(kept.iter().map(of).collect());
        let (ns, allocations, bytes) = (of(|k| k.kept_ns), of(|k| k.allocations), of(|k| k.bytes));
        let _ = writeln!(text, "{what:<44}{ns:>12.0}{allocations:>14.1}{bytes:>10.0}");
    };
    row("the official trait (its token is a copy)", Sample::official);
    row("this library's own trait", |s| s.own);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_the_two_decides() {
        assert!((ratio(25.0, 1.0) - 2.0).abs() < 1e-9);
        assert!((ratio(1.0, 10.0) - 0.5).abs() < 1e-9);
        assert!((ratio(1000.0, 1.0) - 0.05).abs() < 1e-9);
    }

    #[test]
    fn ours_is_the_first_client_and_nothing_measured_is_an_error() {
        let sample = |client: &str, first_ms| Sample { client: client.into(), first_ms, ..Sample::default() };
        let samples = [sample("ours", 3.0), sample("other", 90.0), sample("ours", 5.0), sample("ours", 4.0)];
        let first = ours(&samples, Setting::NoRoute, |s| Some(s.first_ms)).unwrap();
        assert!((first - 4.0).abs() < 1e-9);
        assert_eq!(clients(&samples), ["ours", "other"]);
        assert!(ours(&samples, Setting::Agent, Sample::warm).is_err());
    }
}
