//! Measuring by turns: A B C, A B C, … so that whatever else the machine does meets all of them.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::Pace;
use crate::answer::Endpoint;
use crate::contestant::{Contestant, Runner};
use crate::cpu;
use crate::load::{Load, Until};
use crate::stage::Stage;

/// One contestant on one endpoint with so many clients, over all rounds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) contestant: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) clients: usize,
    /// Requests a second they were held to.
    pub(crate) rate: Option<f64>,
    pub(crate) rounds: Vec<Round>,
}

/// What one round gave.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) cores: Cores,
}

/// How many cores each part kept busy.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Cores {
    pub(crate) contestant: f64,
    pub(crate) postgresql: f64,
    pub(crate) clients: f64,
}

impl Row {
    pub(crate) fn per_second(&self) -> Vec<f64> {
        self.rounds.iter().map(|round| round.per_second).collect()
    }

    pub(crate) fn errors(&self) -> u64 {
        self.rounds.iter().map(|round| round.errors).sum()
    }

    pub(crate) fn first_error(&self) -> Option<&str> {
        self.rounds.iter().find_map(|round| round.first_error.as_deref())
    }

    pub(crate) fn median_of(&self, of: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().filter_map(of).collect())
    }

    /// What kept it from being faster, as far as the processors say.
    pub(crate) fn bound(&self) -> String {
        let of = |of: fn(&Cores) -> f64| self.median_of(|round| Some(of(&round.cores))).unwrap_or_default();
        let (own, server, clients) =
            (of(|cores| cores.contestant), of(|cores| cores.postgresql), of(|cores| cores.clients));
        let busy = own + server + clients;
        if busy == 0.0 {
            return "what the processors did is not known on this system".to_owned();
        }
        let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let all = f64::from(u32::try_from(all).unwrap_or(u32::MAX));
        let what = if busy > 0.9 * all {
            "the processors are full"
        } else if (0.9..1.1).contains(&own) {
            "it computes on about one core, which is all where it has one thread"
        } else {
            "the processors are not full: it waits, or others use the machine"
        };
        format!(
            "{what} ({own:.2} cores for {}, {server:.2} for PostgreSQL and its pooler, {clients:.2} for the clients, of {all})",
            self.contestant
        )
    }
}

/// A kind of measurement, for all contestants that can do it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task {
    pub(crate) endpoint: Endpoint,
    pub(crate) clients: usize,
    pub(crate) rate: Option<f64>,
}

/// Measures the contestants with these positions by turns.
pub(crate) async fn by_turns(
    stage: &mut Stage,
    contestants: &mut [Contestant],
    who: &[usize],
    task: Task,
    pace: Pace,
) -> Result<Vec<Row>> {
    let Task { endpoint, clients, rate } = task;
    let mut rows: Vec<(usize, Row)> = Vec::new();
    for (position, contestant) in contestants.iter().enumerate() {
        let can = contestant.port().is_some() || (endpoint == Endpoint::Add && rate.is_none());
        if who.contains(&position) && can {
            let contestant = contestant.name.clone();
            rows.push((position, Row { contestant, endpoint, clients, rate, rounds: Vec::new() }));
        }
    }
    let at_rate = rate.map_or_else(String::new, |rate| format!(", {rate:.0} a second"));
    for round in 1..=pace.rounds {
        println!("{}, {clients} clients{at_rate}: round {round} of {}", endpoint.name(), pace.rounds);
        for (position, row) in &mut rows {
            let contestant = contestants.get_mut(*position).context("no such contestant")?;
            row.rounds.push(measure(stage, contestant, task, pace).await?);
        }
    }
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

async fn measure(stage: &mut Stage, contestant: &mut Contestant, task: Task, pace: Pace) -> Result<Round> {
    if task.endpoint != Endpoint::Add {
        stage.clear().await?;
    }
    let own = contestant.process().map(|process| process.id());
    let computed = || own.and_then(cpu::tree).unwrap_or_default();
    let (own_before, server_before, began) = (computed(), stage.computed(), Instant::now());
    let mut round = match &contestant.runner {
        Runner::Pgbench(pgbench) => Round {
            per_second: pgbench.run(task.clients, pace.measured).await?,
            p50_ms: None,
            p99_ms: None,
            errors: 0,
            first_error: None,
            cores: Cores::default(),
        },
        _ => {
            let Some(port) = contestant.port() else { bail!("{} serves no HTTP", contestant.name) };
            let until = Until::Elapsed { warm_up: pace.warm_up, measured: pace.measured };
            let Task { endpoint, clients, rate } = task;
            let outcome = Load { port, clients, endpoint, rate, until, may_refuse: false }.run().await;
            let outcome = outcome.with_context(|| format!("{} does not answer", contestant.name))?;
            let millis = |quantile| (outcome.answers > 0).then(|| outcome.millis(quantile));
            let clients = outcome.own_cpu / began.elapsed().as_secs_f64();
            Round {
                per_second: outcome.per_second(),
                p50_ms: millis(0.5),
                p99_ms: millis(0.99),
                errors: outcome.errors,
                first_error: outcome.first_error,
                cores: Cores { clients, ..Cores::default() },
            }
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    round.cores.contestant = (computed() - own_before) / seconds;
    round.cores.postgresql = (stage.computed() - server_before) / seconds;
    if let Some(process) = contestant.process()
        && let Some(ended) = process.ended()?
    {
        bail!("{} ended by itself ({ended}):\n{}", process.name(), process.last_lines());
    }
    Ok(round)
}

pub(crate) fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() % 2 {
        1 => numbers.get(middle).copied(),
        _ => Some(f64::midpoint(*numbers.get(middle.checked_sub(1)?)?, *numbers.get(middle)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
