//! What a figure prints: a table of its rounds, what else was seen, and last the one line that is compared.

use std::fmt::Write as _;

use crate::load::Round;

/// A ratio and the least it may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The figure's name.
    pub(crate) name: &'static str,
    /// What came out.
    pub(crate) ratio: f64,
    /// What must come out.
    pub(crate) bar: f64,
    /// Whether everything else held that the figure demands.
    pub(crate) sound: bool,
}

impl Verdict {
    /// Whether the figure is good.
    pub(crate) fn ok(&self) -> bool {
        self.sound && self.ratio >= self.bar
    }

    /// The last line.
    pub(crate) fn line(&self) -> String {
        let Self { name, ratio, bar, .. } = self;
        // Cut, not rounded: a ratio that prints as the bar has reached it.
        let ratio = (ratio * 1000.0).floor() / 1000.0;
        format!("{name} ratio={ratio:.3} bar={bar:.2} {}", if self.ok() { "ok" } else { "short" })
    }
}

/// A measured round and what was measured beside it, for the same time, right after.
pub(crate) struct Pair {
    /// Ours.
    pub(crate) ours: Round,
    /// The peer's, or the limit's.
    pub(crate) other: Round,
}

impl Pair {
    /// Ours over the other's, per CPU second.
    pub(crate) fn ratio(&self) -> f64 {
        self.ours.per_cpu_second() / self.other.per_cpu_second()
    }
}

/// Rounds of one comparison.
pub(crate) struct Comparison {
    /// What is measured.
    pub(crate) ours: &'static str,
    /// What it is held against.
    pub(crate) other: &'static str,
    /// Round by round.
    pub(crate) pairs: Vec<Pair>,
}

impl Comparison {
    /// The median over the rounds of a number.
    pub(crate) fn median(&self, of: impl Fn(&Pair) -> f64) -> f64 {
        median(self.pairs.iter().map(of).collect())
    }

    /// The median ratio: of pairs, so that a machine that slows down half way slows both sides.
    pub(crate) fn ratio(&self) -> f64 {
        self.median(Pair::ratio)
    }

    /// The rounds, and their medians.
    pub(crate) fn table(&self) -> String {
        let mut out = format!(
            "{:<8}{:<26}{:>10}{:>9}{:>12}   {:<26}{:>10}{:>9}{:>12}{:>8}\n",
            "round",
            "measured",
            "requests",
            "CPU-s",
            "per CPU-s",
            "beside it",
            "requests",
            "CPU-s",
            "per CPU-s",
            "ratio"
        );
        for (i, pair) in self.pairs.iter().enumerate() {
            let (ours, other) = (&pair.ours, &pair.other);
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{:<8}{:<26}{:>10}{:>9.2}{:>12.0}   {:<26}{:>10}{:>9.2}{:>12.0}{:>8.3}",
                i + 1,
                self.ours,
                ours.exchanges,
                ours.cpu,
                ours.per_cpu_second(),
                self.other,
                other.exchanges,
                other.cpu,
                other.per_cpu_second(),
                pair.ratio()
            );
        }
        let _ = writeln!(
            out,
            "{:<8}{:<26}{:>10}{:>9.2}{:>12.0}   {:<26}{:>10}{:>9.2}{:>12.0}{:>8.3}",
            "median",
            "",
            "",
            self.median(|p| p.ours.cpu),
            self.median(|p| p.ours.per_cpu_second()),
            "",
            "",
            self.median(|p| p.other.cpu),
            self.median(|p| p.other.per_cpu_second()),
            self.ratio()
        );
        out
    }
}

/// The middle value; of an even number, the lower of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(ratio: f64) -> Verdict {
        Verdict { name: "token-issue", ratio, bar: 0.70, sound: true }
    }

    #[test]
    fn the_last_line_has_its_shape_and_never_flatters() {
        assert_eq!(verdict(0.70).line(), "token-issue ratio=0.700 bar=0.70 ok");
        assert_eq!(verdict(0.699_99).line(), "token-issue ratio=0.699 bar=0.70 short");
        assert_eq!(Verdict { sound: false, ..verdict(0.9) }.line(), "token-issue ratio=0.900 bar=0.70 short");
        assert!(!verdict(f64::NAN).ok(), "no figure is no good figure");
    }

    #[test]
    fn a_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.0).abs() < 1e-12);
        assert!(median(vec![]).is_nan());
    }
}
