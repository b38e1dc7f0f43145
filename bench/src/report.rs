//! What is told in the end: a table, a line for each target, JSON, and a chart.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ::tests::target_dir;
use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::answer::Endpoint;
use crate::load::Outcome;
use crate::rounds::Row;
use crate::target::Target;

/// All that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    what: &'static str,
    quick: bool,
    /// Seconds since 1970.
    at: u64,
    cores: usize,
    versions: BTreeMap<&'static str, String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) targets: Vec<Target>,
    notes: Vec<String>,
    skipped: Vec<String>,
    /// Wrong answers outside the rows.
    wrong: Vec<String>,
}

impl Report {
    pub(crate) fn new(what: &'static str, quick: bool) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            what,
            quick,
            at,
            cores,
            versions: BTreeMap::new(),
            rows: Vec::new(),
            targets: Vec::new(),
            notes: Vec::new(),
            skipped: Vec::new(),
            wrong: Vec::new(),
        }
    }

    pub(crate) fn version(&mut self, of: &'static str, version: String) {
        self.versions.insert(of, version);
    }

    /// Something without a target.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Something that can't be measured here, and why.
    pub(crate) fn skip(&mut self, reason: &str) {
        self.skipped.push(reason.to_owned());
    }

    /// Notes what was answered wrongly, if anything was.
    pub(crate) fn wrong(&mut self, outcome: &Outcome) {
        self.wrong.extend(outcome.first_error.clone());
    }

    /// Ours and the others' rows of one measurement.
    pub(crate) fn pick(
        &self,
        endpoint: Endpoint,
        clients: usize,
        ours: &str,
        others: &[&str],
    ) -> (Option<Row>, Vec<Row>) {
        let of = |name: &str| {
            let mut rows = self.rows.iter();
            rows.find(|row| {
                row.endpoint == endpoint
                    && row.clients == clients
                    && row.rate.is_none()
                    && row.contestant == name
            })
            .cloned()
        };
        (of(ours), others.iter().filter_map(|name| of(name)).collect())
    }

    /// Whether every answer was right.
    pub(crate) fn is_sound(&self) -> bool {
        self.wrong.is_empty() && self.rows.iter().all(|row| row.errors() == 0)
    }

    pub(crate) fn print(&self) {
        println!("\n{}", self.table());
        for note in &self.notes {
            println!("{note}");
        }
        for skipped in &self.skipped {
            println!("skipped: {skipped}");
        }
        println!();
        for target in &self.targets {
            println!("{}", target.line());
        }
        for row in self.rows.iter().filter(|row| row.errors() > 0) {
            let (contestant, endpoint, clients) = (&row.contestant, row.endpoint.name(), row.clients);
            let first = row.first_error().unwrap_or_default();
            println!("failed: {contestant}, {endpoint}, {clients} clients: {} errors; {first}", row.errors());
        }
        for wrong in &self.wrong {
            println!("failed: {wrong}");
        }
    }

    /// The rows, as Markdown.
    fn table(&self) -> String {
        let mut table = String::from(
            "| endpoint, clients | who | requests/s (least to most) | p50 ms | p99 ms | errors | cores: it, PostgreSQL, clients |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for row in &self.rows {
            let speeds = row.per_second();
            let least = speeds.iter().copied().fold(f64::INFINITY, f64::min);
            let most = speeds.iter().copied().fold(0.0, f64::max);
            let median = row.median_of(|round| Some(round.per_second)).unwrap_or_default();
            let millis = |of: Option<f64>| of.map_or_else(String::new, |millis| format!("{millis:.2}"));
            let rate = row.rate.map_or_else(String::new, |rate| format!(", {} a second", thousands(rate)));
            let core = |of: fn(&crate::rounds::Cores) -> f64| {
                row.median_of(|round| Some(of(&round.cores))).unwrap_or_default()
            };
            let _ = writeln!(
                table,
                "| {}, {}{rate} | {} | {} ({} to {}) | {} | {} | {} | {:.2}, {:.2}, {:.2} |",
                row.endpoint.name(),
                row.clients,
                row.contestant,
                thousands(median),
                thousands(least),
                thousands(most),
                millis(row.median_of(|round| round.p50_ms)),
                millis(row.median_of(|round| round.p99_ms)),
                row.errors(),
                core(|cores| cores.contestant),
                core(|cores| cores.postgresql),
                core(|cores| cores.clients),
            );
        }
        table
    }

    /// Writes the chart, and all numbers where they are wanted.
    pub(crate) fn write(&self, json: Option<&Path>) -> Result<()> {
        let chart = target_dir().join(format!("bench/{}.svg", self.what));
        fs::write(&chart, self.chart()).with_context(|| format!("could not write {}", chart.display()))?;
        println!("a chart is in {}", chart.display());
        if let Some(path) = json {
            let text = serde_json::to_string_pretty(self)? + "\n";
            fs::write(path, text).with_context(|| format!("could not write {}", path.display()))?;
            println!("all numbers are in {}", path.display());
        }
        Ok(())
    }

    /// Bars, a group for each measurement, as long as the median; a line from the slowest round to the fastest.
    fn chart(&self) -> String {
        const LINE: f64 = 22.0;
        const WIDTH: f64 = 460.0;
        const NAMES: f64 = 260.0;
        let mut groups: Vec<(String, Vec<&Row>)> = Vec::new();
        for row in &self.rows {
            let rate = row.rate.map_or_else(String::new, |rate| format!(", {rate:.0} a second"));
            let title = format!("{}, {} clients{rate}", row.endpoint.name(), row.clients);
            match groups.iter_mut().find(|(found, _)| *found == title) {
                Some((_, rows)) => rows.push(row),
                None => groups.push((title, vec![row])),
            }
        }
        let (mut body, mut y) = (String::new(), 10.0);
        for (title, rows) in &groups {
            y += LINE * 1.5;
            let _ = writeln!(body, "<text x=\"10\" y=\"{y}\" font-weight=\"bold\">{}</text>", escape(title));
            let most = rows.iter().flat_map(|row| row.per_second()).fold(1.0, f64::max);
            for row in rows {
                y += LINE;
                let median = row.median_of(|round| Some(round.per_second)).unwrap_or_default();
                let speeds = row.per_second();
                let x = |speed: f64| NAMES + WIDTH * speed / most;
                let least = x(speeds.iter().copied().fold(most, f64::min));
                let (fastest, middle) = (x(speeds.iter().copied().fold(0.0, f64::max)), y - 5.0);
                let colour = if row.contestant.starts_with("pgspan") { "#2b6cb0" } else { "#a0aec0" };
                let _ = writeln!(
                    body,
                    "<text x=\"10\" y=\"{y}\">{}</text>\
                     <rect x=\"{NAMES}\" y=\"{}\" width=\"{:.1}\" height=\"14\" fill=\"{colour}\"/>\
                     <line x1=\"{least:.1}\" x2=\"{fastest:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#000\"/>\
                     <text x=\"{:.1}\" y=\"{y}\">{}/s</text>",
                    escape(&row.contestant),
                    y - 12.0,
                    x(median) - NAMES,
                    fastest + 6.0,
                    thousands(median),
                );
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n",
            NAMES + WIDTH + 110.0,
            y + LINE
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// A whole number with a comma every three digits.
fn thousands(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn numbers_are_cut_into_thousands() {
        assert_eq!([0.4, 999.6, 54_321.0].map(thousands), ["0", "1,000", "54,321"]);
    }
}
