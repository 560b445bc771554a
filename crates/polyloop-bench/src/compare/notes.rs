//! What stands beneath the table of a comparison: how to read it, and whatever spoils it.

use std::time::Duration;

use super::cell::{Measured, Outcome};
use super::plan::again_name;
use super::save::{Results, Setup};
use super::summary::Row;
use crate::load::SATURATED;
use crate::protocols::Builtin;
use crate::statistics::{Ratio, Verdict, COVERAGE};
use crate::text::{wrap, WIDTH};
use crate::transport::Transport;
use crate::units;

/// Writes the notes in lines of at most [`WIDTH`] columns.
pub(super) fn write(results: &Results) -> String {
    notes(results).iter().map(|note| wrap(note, WIDTH) + "\n").collect()
}

/// The measurements that gave figures.
fn measured(results: &Results) -> impl Iterator<Item = &Measured> {
    results.cells.iter().filter_map(|cell| match &cell.outcome {
        Outcome::Measured(measured) => Some(&**measured),
        Outcome::Failed(_) => None,
    })
}

fn notes(results: &Results) -> Vec<String> {
    let setup = &results.setup;
    let margin = units::percent_given(setup.margin);
    let mut notes = vec![format!(
        "How to read it: medians of {} of {}. CPU is user plus system time of the server; \
         the last column divides it by that of {} in the same round: the median of these ratios, \
         their interval, and = the same within {margin}, ≠ different, ? undecided. {}",
        match results.rounds_done {
            1 => "one round".to_owned(),
            rounds => format!("{rounds} rounds"),
        },
        units::time(setup.duration_s * 1e9),
        setup.baseline,
        coverage(results),
    )];
    notes.push(format!(
        "{} is the same server once more: how far it is from 1 is what this run cannot tell apart.",
        again_name(&setup.baseline)
    ));
    let doubtful: Vec<&str> = results
        .summary
        .iter()
        .filter(|row| row.contestant == again_name(&setup.baseline))
        .filter(|row| {
            matches!(row.processor_ratio, Some(Ratio { verdict: Verdict::Different, .. }))
        })
        .map(|row| row.scenario.as_str())
        .collect();
    if !doubtful.is_empty() {
        notes.push(format!(
            "Doubtful: {} came out different from itself in {}; the machine was not quiet, or it is \
             chance: run it again with more --rounds.",
            setup.baseline,
            doubtful.join(", ")
        ));
    }
    notes.extend(saturation(results));
    notes.extend(starvation(results));
    notes.extend(crowding(results));
    notes.extend(results.summary.iter().flat_map(trouble));
    notes.extend(shares(results));
    if results.summary.iter().any(|row| row.rounds > 0 && row.system_calls.is_none()) {
        notes.push(
            "Calls are counted by the server itself; - is one that does not count.".to_owned(),
        );
    }
    if measured(results).any(|measured| measured.counts_late) {
        notes.push(
            "Where each connection is a process: its calls are counted when it ends, and are - where \
             connections last; so are its processor time and its memory, which is what it shares with \
             nobody, unless the system tells of living processes, as Linux does."
                .to_owned(),
        );
    }
    notes.push(
        "Memory is resident memory of the process; what the kernel holds for sockets is not in it."
            .to_owned(),
    );
    if results.scenarios.iter().any(|scenario| scenario.short) {
        notes.push(short_connections(results));
    }
    notes.extend(protocol(setup));
    if setup.transport == Transport::Udp {
        notes.push(losses(results));
    }
    notes.push(placement(results));
    notes.extend(raised_limits(results));
    let machine = &results.machine;
    notes.push(format!(
        "{}, {} processors, {} {}; seed {}.",
        machine.processor.as_deref().unwrap_or(&machine.architecture),
        machine.processors,
        machine.system,
        machine.kernel.as_deref().unwrap_or(""),
        setup.seed,
    ));
    if let Some(path) = &results.saved {
        notes.push(format!("Saved in {}.", path.display()));
    }
    notes
}

fn coverage(results: &Results) -> String {
    let widest = results.summary.iter().filter_map(|row| row.processor_ratio.as_ref());
    match widest.map(|ratio| ratio.interval.coverage).min_by(f64::total_cmp) {
        Some(least) if least < COVERAGE => format!(
            "The interval holds the true median with a probability of {} only: six rounds are the \
             fewest that allow a verdict.",
            units::percent_reached(least)
        ),
        Some(least) => format!(
            "The interval holds the true median with a probability of {} or more, whatever the \
             distribution (order statistics).",
            units::percent_reached(least)
        ),
        None => String::new(),
    }
}

/// Tells a load generator that was the only limit from one that shared this with the server.
fn saturation(results: &Results) -> impl Iterator<Item = String> {
    let limit = units::percent(SATURATED);
    let alone = places(results, |row| if is_busy(results, row) { 0 } else { row.saturated });
    let alone = alone.map(|places| {
        format!(
            "Load generator saturated, more than {limit} of its processor used, in {places}: \
             requests a second and latency are its own limit there and not the server's; CPU a \
             request still holds."
        )
    });
    let both = places(results, |row| if is_busy(results, row) { row.saturated } else { 0 });
    let both = both.map(|places| {
        format!(
            "Load generator and server saturated, each with more than {limit} of what it had, in \
             {places}: both are the limit there, and CPU a request tells no more than requests a \
             second do."
        )
    });
    alone.into_iter().chain(both)
}

/// Says whether the server had no processor time left that it could have used.
fn is_busy(results: &Results, row: &Row) -> bool {
    let all = match results.setup.server_processors.len() {
        0 => results.machine.processors,
        pinned => pinned,
    };
    let usable = if has_several(row) { all } else { 1 };
    row.server_utilisation.is_some_and(|used| used > SATURATED * usable as f64)
}

/// Says whether several loops, threads or processes served.
fn has_several(row: &Row) -> bool {
    // One that serves, and one that answers its parent.
    const FEW: f64 = 2.0;
    row.loops.len() > 1 || row.threads.is_some_and(|threads| threads > FEW)
}

/// Says how many connections each loop took, where there are several.
fn shares(results: &Results) -> Option<String> {
    let rows = results.summary.iter().filter(|row| !row.loops.is_empty());
    let shares: Vec<String> = rows
        .map(|row| format!("{}/{}: {}", row.scenario, row.contestant, units::each(&row.loops)))
        .collect();
    let list = shares.join("; ");
    (!shares.is_empty()).then(|| format!("Connections by loop, over all rounds: {list}."))
}

/// Says which datagrams were lost. In a closed loop a client waits for each of these in vain, which
/// no latency shows.
fn losses(results: &Results) -> String {
    let rows = results.summary.iter().filter(|row| row.lost > 0);
    let lost: Vec<String> = rows
        .map(|row| {
            format!(
                "{}/{}: {} of {} datagrams lost, {} of these answered later",
                row.scenario,
                row.contestant,
                units::count(row.lost),
                units::count(row.requests + row.lost),
                units::count(row.late),
            )
        })
        .collect();
    let time = units::time(results.setup.transport.patience().as_nanos() as f64);
    match lost.as_slice() {
        [] => "Transport udp: all datagrams were answered.".to_owned(),
        lost => format!(
            "Transport udp, where a datagram that is not answered within {time} is lost: no latency \
             counts it. {}.",
            lost.join("; ")
        ),
    }
}

/// Says what was spoken, unless it was an echo.
fn protocol(setup: &Setup) -> Option<String> {
    let time = |time: Duration| units::time(time.as_nanos() as f64);
    let (work, sleep) = (time(setup.cost.work), time(setup.cost.sleep));
    Some(match setup.protocol {
        Builtin::Echo => return None,
        Builtin::Work => format!(
            "Protocol work: each request takes {work} of processor time and {sleep} of sleep."
        ),
        other => format!("Protocol {other}."),
    })
}

/// In a closed loop either the server or the load generator always has something to do, so
/// that together they use a processor, unless the server waits for something else, all of the few
/// requests are on their way, or somebody took it from them: nothing here tells which.
fn starvation(results: &Results) -> Option<String> {
    const ENOUGH: f64 = 0.9;
    if !results.setup.cost.sleep.is_zero() {
        return None; // the server sleeps on purpose
    }
    let places = places(results, |row| {
        let together = row.server_utilisation.zip(row.load_utilisation);
        match together {
            Some((server, load)) if server + load < ENOUGH => row.rounds,
            _ => 0,
        }
    })?;
    Some(format!(
        "Neither server nor load generator had enough to do in {places}: together they used less \
         than {} of one processor. A server that waits (for a timer, a disk, an acknowledgement), \
         too few connections or a busy machine do that, and set requests a second and latency.",
        units::percent(ENOUGH),
    ))
}

/// Several loops, threads or processes on one processor take turns.
fn crowding(results: &Results) -> Option<String> {
    if results.setup.server_processors.len() != 1 {
        return None;
    }
    let places = places(results, |row| if has_several(row) { row.rounds } else { 0 })?;
    Some(format!(
        "Several loops, threads or processes had one processor together in {places}: what they gain \
         from more is not in these figures."
    ))
}

/// Names the rows for which something holds, and in how many of the rounds unless it is in all:
/// `active (all rows), idle (mio, poll in 2 of 9 rounds)`.
fn places(results: &Results, holds_in: impl Fn(&Row) -> usize) -> Option<String> {
    let mut places = Vec::new();
    for scenario in &results.scenarios {
        let mut rows: Vec<(&Row, usize)> =
            results.summary.iter().map(|row| (row, holds_in(row))).collect();
        rows.retain(|(row, _)| row.scenario == scenario.name && row.rounds > 0);
        let all = rows.len();
        rows.retain(|&(_, rounds)| rounds > 0);
        let least = rows.iter().map(|&(_, rounds)| rounds).min().unwrap_or(0);
        let most = rows.iter().map(|&(_, rounds)| rounds).max().unwrap_or(0);
        let names: Vec<String> = match rows.as_slice() {
            [] => continue,
            some if some.len() < all => {
                some.iter().map(|&(row, rounds)| name(row, rounds)).collect()
            }
            all if all.iter().all(|&(row, rounds)| rounds == row.rounds) => vec!["all rows".into()],
            _ if least == most => {
                vec![format!("all rows in {least} of {} rounds", results.rounds_done)]
            }
            _ => vec![format!("all rows in {least} to {most} of {} rounds", results.rounds_done)],
        };
        places.push(format!("{} ({})", scenario.name, names.join(", ")));
    }
    (!places.is_empty()).then(|| places.join(", "))
}

fn name(row: &Row, rounds: usize) -> String {
    match rounds == row.rounds {
        true => row.contestant.clone(),
        false => format!("{} in {rounds} of {} rounds", row.contestant, row.rounds),
    }
}

/// What went wrong in a row, as far as the row itself has no room for it.
fn trouble(row: &Row) -> Vec<String> {
    let place = format!("{}/{}", row.scenario, row.contestant);
    let reason = row.reason.as_deref().unwrap_or("");
    let mut trouble = Vec::new();
    if row.rounds == 0 && reason.chars().count() > 60 {
        trouble.push(format!("{place} cannot run: {reason}."));
    }
    if row.rounds > 0 && row.failed > 0 {
        let rounds = row.failed + row.rounds;
        trouble.push(format!("{place}: {} of {rounds} rounds failed: {reason}.", row.failed));
    }
    if row.errors > 0 {
        let first = row.first_error.as_deref().unwrap_or("");
        trouble.push(format!(
            "{place}: {} connections failed; no latency counts them; the first: {first}.",
            row.errors
        ));
    }
    trouble
}

fn short_connections(results: &Results) -> String {
    let mut reports = measured(results).map(|measured| &measured.load);
    let limited = reports.any(|report| report.closes_first.is_some() && !report.spread_sources);
    let sources = if limited {
        "they share one source address, so that ports in TIME_WAIT may limit them"
    } else {
        "their sources are spread over 127.0.0.0/8, so that no port in TIME_WAIT limits them"
    };
    format!("Short connections: the client closes first; {sources}.")
}

fn placement(results: &Results) -> String {
    let setup = &results.setup;
    let backlog = match setup.transport {
        Transport::Tcp => format!("; backlog {}", setup.backlog),
        Transport::Udp => String::new(),
    };
    let same_core = |load| {
        let mut servers = setup.server_processors.iter();
        match servers.any(|&server| results.machine.is_one_core(server, load)) {
            true => " of the same core, where each slows the other",
            false => "",
        }
    };
    match (setup.server_processors.as_slice(), setup.load_processor) {
        ([server], Some(load)) => format!(
            "Servers ran on processor {server}, the load generator on processor {load}{}, of \
             {:?}{backlog}.",
            same_core(load),
            setup.processors.as_deref().unwrap_or_default(),
        ),
        ([_, ..], Some(load)) => format!(
            "Servers ran on the processors {}, the load generator on processor \
             {load}{}{backlog}.",
            ranges(&setup.server_processors),
            same_core(load),
        ),
        _ => {
            format!("Nothing was pinned: this needs two processors and a system that can{backlog}.")
        }
    }
}

/// Writes whole numbers in ascending order: `0, 2-15`.
fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let write = |run: &[usize]| match run {
        [first, .., last] => format!("{first}-{last}"),
        run => run.iter().map(usize::to_string).collect(),
    };
    runs.map(write).collect::<Vec<_>>().join(", ")
}

fn raised_limits(results: &Results) -> Option<String> {
    let (soft, hard) = measured(results).find_map(|measured| {
        measured.raised_descriptor_limit.or(measured.load.raised_descriptor_limit)
    })?;
    Some(format!(
        "The limit of descriptors was raised from {} to {}.",
        units::count(soft),
        units::count(hard)
    ))
}
