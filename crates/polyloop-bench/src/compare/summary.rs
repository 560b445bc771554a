//! What the rounds of a comparison come to: medians over rounds, and ratios paired within them.

use std::iter;

use serde::{Deserialize, Serialize};

use super::cell::{Measured, Outcome};
use super::save::Results;
use crate::statistics::{median, paired_ratio, Ratio};

/// One contestant in one scenario. Every figure is the median over the rounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The name of the scenario.
    pub scenario: String,
    /// The name of the contestant.
    pub contestant: String,
    /// Rounds that gave figures.
    pub rounds: usize,
    /// Rounds that did not.
    pub failed: usize,
    /// Why the first of those did not.
    pub reason: Option<String>,
    /// Requests a second.
    pub requests_per_second: Option<f64>,
    /// Half of the requests that were answered took no longer, in nanoseconds.
    pub p50_ns: Option<f64>,
    /// 99 % of the requests that were answered took no longer, in nanoseconds.
    pub p99_ns: Option<f64>,
    /// Processor time a request, user plus system, in nanoseconds.
    pub processor_ns: Option<f64>,
    /// System calls a request, as the server counted them.
    pub system_calls: Option<f64>,
    /// Context switches a request.
    pub switches: Option<f64>,
    /// Resident memory a connection, in bytes.
    pub memory: Option<f64>,
    /// Threads of the server once all connections were up.
    pub threads: Option<f64>,
    /// The share of one processor that the server used.
    pub server_utilisation: Option<f64>,
    /// The share of one processor that the load generator used.
    pub load_utilisation: Option<f64>,
    /// Rounds in which the load generator was a limit.
    pub saturated: usize,
    /// How many connections each loop of the server took, over all rounds; empty unless it has
    /// several.
    #[serde(default)]
    pub loops: Vec<u64>,
    /// Requests that were answered, over all rounds.
    #[serde(default)]
    pub requests: u64,
    /// Datagrams that were not answered in time, over all rounds.
    #[serde(default)]
    pub lost: u64,
    /// Datagrams of these that were answered later.
    #[serde(default)]
    pub late: u64,
    /// Connections that failed, over all rounds.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
    /// Processor time a request, divided by the baseline's in the same round.
    pub processor_ratio: Option<Ratio>,
    /// Requests a second, divided by the baseline's in the same round.
    pub throughput_ratio: Option<Ratio>,
}

/// Condenses the cells of a comparison, a row for each scenario and contestant in the order
/// of the plan.
pub fn summarise(results: &Results) -> Vec<Row> {
    let mut rows = Vec::new();
    for scenario in &results.scenarios {
        let baseline = rounds(results, &scenario.name, &results.setup.baseline);
        for contestant in &results.contestants {
            let rounds = rounds(results, &scenario.name, &contestant.name);
            let mut row = condense(&rounds);
            row.scenario.clone_from(&scenario.name);
            row.contestant.clone_from(&contestant.name);
            if contestant.name != results.setup.baseline {
                let ratio = |figure: fn(&Measured) -> Option<f64>| {
                    let margin = results.setup.margin;
                    paired_ratio(&figures(&rounds, figure), &figures(&baseline, figure), margin)
                };
                row.processor_ratio = ratio(Measured::processor_ns);
                row.throughput_ratio = ratio(|measured| Some(measured.load.requests_per_second));
            }
            rows.push(row);
        }
    }
    rows
}

/// The outcomes of one contestant in one scenario, by round; `None` where it was not measured.
fn rounds<'a>(results: &'a Results, scenario: &str, contestant: &str) -> Vec<Option<&'a Outcome>> {
    let mut rounds = vec![None; results.rounds_done as usize];
    for cell in &results.cells {
        if cell.scenario == scenario && cell.contestant == contestant {
            if let Some(round) = rounds.get_mut(cell.round as usize) {
                *round = Some(&cell.outcome);
            }
        }
    }
    rounds
}

/// One figure of every round.
fn figures(
    rounds: &[Option<&Outcome>],
    figure: impl Fn(&Measured) -> Option<f64>,
) -> Vec<Option<f64>> {
    let measured = |outcome: &Option<&Outcome>| match outcome {
        Some(Outcome::Measured(measured)) => figure(measured),
        _ => None,
    };
    rounds.iter().map(measured).collect()
}

fn condense(rounds: &[Option<&Outcome>]) -> Row {
    let middle = |figure: fn(&Measured) -> Option<f64>| {
        let values: Vec<f64> = figures(rounds, figure).into_iter().flatten().collect();
        median(&values)
    };
    let mut row = Row {
        requests_per_second: middle(|measured| Some(measured.load.requests_per_second)),
        p50_ns: middle(|measured| Some(measured.load.latency.p50_ns as f64)),
        p99_ns: middle(|measured| Some(measured.load.latency.p99_ns as f64)),
        processor_ns: middle(Measured::processor_ns),
        system_calls: middle(Measured::system_calls),
        switches: middle(Measured::switches),
        memory: middle(Measured::memory),
        threads: middle(|measured| Some(measured.threads? as f64)),
        server_utilisation: middle(Measured::utilisation),
        load_utilisation: middle(|measured| measured.load.utilisation),
        ..Row::default()
    };
    for outcome in rounds.iter().flatten() {
        match outcome {
            Outcome::Measured(measured) => {
                row.rounds += 1;
                row.saturated += usize::from(measured.load.saturated);
                row.loops.resize(row.loops.len().max(measured.loops.len()), 0);
                for (sum, taken) in iter::zip(&mut row.loops, &measured.loops) {
                    *sum += taken;
                }
                row.requests += measured.load.requests;
                let losses = measured.load.losses.unwrap_or_default();
                row.lost += losses.lost;
                row.late += losses.late;
                row.errors += measured.load.errors.total();
                if row.first_error.is_none() {
                    row.first_error.clone_from(&measured.load.errors.first);
                }
            }
            Outcome::Failed(reason) => {
                row.failed += 1;
                row.reason.get_or_insert_with(|| reason.clone());
            }
        }
    }
    row
}
