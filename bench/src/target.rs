//! What must come out, and whether it did.

use serde::Serialize;

use crate::rounds::{Row, median};

/// One line of the verdict.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// What was measured; `None` when it could not be.
    pub(crate) value: Option<f64>,
    pub(crate) wanted: Wanted,
    pub(crate) unit: &'static str,
    /// What bounds it, or why it was not measured.
    pub(crate) because: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Target {
    /// The ratio of one row's speed to the best of others', round by round, and the median of that.
    pub(crate) fn speed(name: &str, ours: Option<&Row>, others: &[&Row], at_least: f64) -> Self {
        let ratio = ours.filter(|_| !others.is_empty()).and_then(|ours| {
            let ratios = ours.rounds.iter().enumerate().map(|(position, round)| {
                let other = |row: &&Row| row.rounds.get(position).map_or(0.0, |round| round.per_second);
                round.per_second / others.iter().map(other).fold(0.0, f64::max)
            });
            median(ratios.collect())
        });
        let because = match ours {
            Some(ours) if ratio.is_some() => ours.bound(),
            _ => "it was not measured: see what was skipped".to_owned(),
        };
        Self { name: name.to_owned(), value: ratio, wanted: Wanted::AtLeast(at_least), unit: "x", because }
    }

    pub(crate) fn new(
        name: impl Into<String>,
        value: Option<f64>,
        wanted: Wanted,
        unit: &'static str,
        because: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), value, wanted, unit, because: because.into() }
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.value.is_some_and(|value| match self.wanted {
            Wanted::AtLeast(least) => value >= least,
            Wanted::AtMost(most) => value <= most,
            Wanted::Below(limit) => value < limit,
        })
    }

    /// Name, measured, wanted, verdict.
    pub(crate) fn line(&self) -> String {
        let Self { name, unit, .. } = self;
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        let number = |number: f64| match number.fract() == 0.0 {
            true => format!("{number:.0}{unit}"),
            false => format!("{number:.2}{unit}"),
        };
        let value = self.value.map_or_else(|| "not measured".to_owned(), number);
        let wanted = match self.wanted {
            Wanted::AtLeast(least) => format!("at least {}", number(least)),
            Wanted::AtMost(most) => format!("at most {}", number(most)),
            Wanted::Below(limit) => format!("below {}", number(limit)),
        };
        let line = format!("{name}: {value}, target {wanted}: ");
        match self.is_reached() {
            true => line + "reached",
            false if self.because.is_empty() => line + "short",
            false => format!("{line}short, since {}", self.because),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Endpoint;
    use crate::rounds::{Cores, Round};

    fn row(name: &str, speeds: &[f64]) -> Row {
        let round = |speed: &f64| Round {
            per_second: *speed,
            p50_ms: None,
            p99_ms: None,
            errors: 0,
            first_error: None,
            cores: Cores { contestant: 1.0, ..Cores::default() },
        };
        let rounds = speeds.iter().map(round).collect();
        Row { contestant: name.to_owned(), endpoint: Endpoint::Add, clients: 1, rate: None, rounds }
    }

    #[test]
    fn a_ratio_is_taken_round_by_round_against_the_best_of_the_others() {
        let (ours, one, other) =
            (row("ours", &[10.0, 20.0, 90.0]), row("one", &[1.0, 4.0, 9.0]), row("other", &[2.0, 1.0, 3.0]));
        let target = Target::speed("faster", Some(&ours), &[&one, &other], 5.0);
        assert_eq!(target.value, Some(5.0));
        assert_eq!(target.line(), "faster: 5 x, target at least 5 x: reached");
    }

    #[test]
    fn what_was_not_measured_or_is_less_is_short_and_says_why() {
        let target = Target::speed("faster", None, &[], 2.0);
        assert!(target.line().ends_with("short, since it was not measured: see what was skipped"));
        let target = Target::new("memory", Some(41.5), Wanted::Below(40.0), "MiB", "");
        assert_eq!(target.line(), "memory: 41.50 MiB, target below 40 MiB: short");
        let ours = row("ours", &[1.0]);
        let target = Target::speed("faster", Some(&ours), &[&ours], 2.0);
        assert!(!target.is_reached() && target.line().contains("short, since "), "{}", target.line());
    }
}
