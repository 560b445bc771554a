//! `polyloop compare`: servers against each other under the same load.
//!
//! [`plan`] says what is measured in which order, [`cell`] measures, [`save`] keeps what was
//! found after every round, [`summary`] condenses it, and [`table`] draws the summary: from
//! the saved results, and from nothing else.

pub mod cell;
mod child;
mod notes;
pub mod plan;
pub mod save;
pub mod summary;
pub mod table;

pub use plan::{Contestant, Scenario};
pub use save::Results;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use polyloop_models::Variant;

use crate::output;
use crate::process;
use crate::protocols::{Builtin, Cost};
use crate::transport::Transport;
use cell::{Cell, Conditions};
use plan::Plan;
use save::Setup;

/// What shall be compared, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The models, each with its settings.
    pub models: Vec<Variant>,
    /// Other servers.
    pub peers: Vec<Contestant>,
    /// What carries requests.
    pub transport: Transport,
    /// What connections say.
    pub protocol: Builtin,
    /// What a request of [`Work`](crate::protocols::Work) takes.
    pub cost: Cost,
    /// The names of the scenarios; all that the transport has if there is none.
    pub scenarios: Vec<String>,
    /// How often everything is measured.
    pub rounds: u32,
    /// How long each measurement lasts.
    pub duration: Duration,
    /// How long requests are made before each measurement.
    pub warmup: Duration,
    /// Connections in every scenario, instead of its own number.
    pub connections: Option<usize>,
    /// How many of them make requests, instead of the scenario's share.
    pub active: Option<usize>,
    /// The contestant that the others are divided by; the first by default.
    pub baseline: Option<String>,
    /// How far from one a ratio may be and still mean the same: 0.03 for 3 %.
    pub margin: f64,
    /// What the order of the measurements follows from; the time by default.
    pub seed: Option<u64>,
    /// Where to save the results.
    pub out: Option<PathBuf>,
}

/// How many connections may wait to be accepted, the same for every server.
const BACKLOG: u32 = 1024;

/// Runs the comparison and saves the results after every round.
///
/// Returns what it found, and why that could not be saved: such a failure ends it after the round.
/// An interrupt ends the process with exit code 130 and says what was saved.
///
/// # Errors
///
/// A name that does not exist ([`Mistake`](crate::mistake::Mistake)) or a file that cannot be
/// written. A contestant that fails is no error: its reason is in the results.
pub fn run(settings: &Settings) -> anyhow::Result<(Results, anyhow::Result<()>)> {
    let now = jiff::Timestamp::now();
    let seed = settings.seed.unwrap_or(now.as_second().unsigned_abs());
    let plan = Plan::new(settings, seed)?;
    let path = settings.out.clone().unwrap_or_else(|| {
        let name = now.strftime("compare-%Y%m%d-%H%M%S.json").to_string();
        PathBuf::from("results").join(name)
    });
    save::check(&path)?;

    let processors = process::processors();
    let machine = process::machine();
    let (servers, load) = place(processors.as_deref().unwrap_or_default(), &machine);
    let conditions = Conditions {
        transport: settings.transport,
        protocol: settings.protocol,
        program: std::env::current_exe().context("cannot find this program's own file")?,
        duration: settings.duration,
        warmup: settings.warmup,
        backlog: BACKLOG,
        load_processor: load,
    };
    let mut results = Results {
        format: save::FORMAT,
        program: format!("polyloop {}", env!("CARGO_PKG_VERSION")),
        command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        started: now.to_string(),
        machine,
        setup: Setup {
            transport: settings.transport,
            protocol: settings.protocol,
            cost: settings.cost,
            seed,
            rounds: settings.rounds,
            duration_s: settings.duration.as_secs_f64(),
            warmup_s: settings.warmup.as_secs_f64(),
            backlog: BACKLOG,
            margin: settings.margin,
            baseline: plan.baseline.clone(),
            processors,
            server_processors: servers.clone(),
            load_processor: load,
        },
        scenarios: plan.scenarios.clone(),
        contestants: plan.contestants.clone(),
        rounds_done: 0,
        cells: Vec::new(),
        summary: Vec::new(),
        saved: Some(path.clone()),
    };

    let saved = Arc::new(Mutex::new(None));
    tell_what_is_saved(Arc::clone(&saved))?;
    let bar = bar((plan.cells_a_round() * settings.rounds as usize) as u64);
    // Servers are started by this thread and inherit its processors; the load generator leaves them
    // for its own.
    if !servers.is_empty() {
        process::pin(&servers)
            .with_context(|| format!("cannot pin servers to the processors {servers:?}"))?;
    }
    for round in 0..settings.rounds {
        for (scenario, contestant) in plan.order(round) {
            bar.set_message(format!(
                "round {} of {}: {}, {}",
                round + 1,
                settings.rounds,
                plan.scenarios[scenario].name,
                plan.contestants[contestant].name,
            ));
            results.cells.push(Cell {
                round,
                scenario: plan.scenarios[scenario].name.clone(),
                contestant: plan.contestants[contestant].name.clone(),
                outcome: cell::measure(
                    &plan.scenarios[scenario],
                    &plan.contestants[contestant],
                    &conditions,
                )
                .into(),
            });
            bar.inc(1);
        }
        results.rounds_done = round + 1;
        results.summary = summary::summarise(&results);
        // Locked, so that an interrupt neither cuts the writing short nor miscounts.
        let mut saved = saved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = save::write(&path, &results) {
            bar.finish_and_clear();
            return Ok((Results { saved: None, ..results }, Err(error)));
        }
        *saved = Some((round + 1, path.clone()));
    }
    bar.finish_and_clear();
    Ok((results, Ok(())))
}

/// The processors of servers, and that of the load generator, which has one alone, and its core
/// where there are two; none if there are too few.
fn place(processors: &[usize], machine: &process::Machine) -> (Vec<usize>, Option<usize>) {
    let [first, others @ ..] = processors else { return (Vec::new(), None) };
    let elsewhere = others.iter().find(|&&other| !machine.is_one_core(*first, other));
    let Some(&load) = elsewhere.or(others.first()) else { return (Vec::new(), None) };
    let others = processors.iter().copied().filter(|&processor| processor != load);
    let (beside_it, servers): (Vec<_>, Vec<_>) =
        others.partition(|&processor| machine.is_one_core(processor, load));
    (if servers.is_empty() { beside_it } else { servers }, Some(load))
}

/// What has been saved so far: the number of rounds and the file.
type Saved = Arc<Mutex<Option<(u32, PathBuf)>>>;

/// Has an interrupt tell what is saved before it ends the process. The children end with it,
/// because their standard input does.
fn tell_what_is_saved(saved: Saved) -> anyhow::Result<()> {
    process::on_interrupt(move || {
        let saved = saved.lock().unwrap_or_else(PoisonError::into_inner);
        let what = match &*saved {
            None => " before the first round was saved".to_owned(),
            Some((rounds, path)) => {
                let rounds = match rounds {
                    1 => "one round is".to_owned(),
                    rounds => format!("{rounds} rounds are"),
                };
                format!("; {rounds} saved in {}, which polyloop report shows", path.display())
            }
        };
        output::tell(&format!("\npolyloop: interrupted{what}"));
        std::process::exit(130);
    })
}

fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} (about {eta} left)")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(length).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Machine;

    fn machine(cores: &[&[usize]]) -> Machine {
        Machine { cores: cores.iter().map(|core| core.to_vec()).collect(), ..process::machine() }
    }

    #[test]
    fn servers_have_all_processors_but_that_of_the_load_generator() {
        let machine = machine(&[]);
        assert_eq!(place(&[], &machine), (vec![], None));
        assert_eq!(place(&[3], &machine), (vec![], None));
        assert_eq!(place(&[0, 1], &machine), (vec![0], Some(1)));
        assert_eq!(place(&[2, 3, 5, 7], &machine), (vec![2, 5, 7], Some(3)));
    }

    #[test]
    fn the_load_generator_has_a_core_of_its_own_if_there_are_two() {
        let beside = machine(&[&[0, 1], &[2, 3]]);
        assert_eq!(place(&[0, 1, 2, 3], &beside), (vec![0, 1], Some(2)));
        assert_eq!(place(&[0, 1, 2], &beside), (vec![0, 1], Some(2)));
        assert_eq!(place(&[0, 1], &beside), (vec![0], Some(1)));
        let across = machine(&[&[0, 2], &[1, 3]]);
        assert_eq!(place(&[0, 1, 2, 3], &across), (vec![0, 2], Some(1)));
        assert_eq!(place(&[2, 3], &across), (vec![2], Some(3)));
        let four = machine(&[&[0, 1, 2, 3]]);
        assert_eq!(place(&[0, 1, 2, 3], &four), (vec![0, 2, 3], Some(1)));
    }
}
