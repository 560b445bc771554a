//! Draws the results of a comparison as one table with its notes, 100 columns wide at most.

use std::fmt::Write as _;

use comfy_table::{presets, Cell, CellAlignment, ContentArrangement, Table};

use super::plan::again_name;
use super::save::Results;
use super::summary::Row;
use crate::statistics::{Ratio, Verdict, COVERAGE};
use crate::units;

/// No line of the table or of its notes is longer.
pub const WIDTH: usize = 100;
/// Longer names are cut in the table.
const NAME: usize = 19;
/// Stands in a cell whose text goes on to the end of the line, over the other columns.
const SPAN: char = '\u{2}';

/// Draws the table and the notes beneath it.
pub fn draw(results: &Results) -> String {
    let mut text = body(results);
    text.push('\n');
    for note in notes(results) {
        wrap(&note, &mut text);
    }
    text
}

fn body(results: &Results) -> String {
    let baseline = cut(&results.setup.baseline, 9);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let header = [
        "".to_owned(),
        "requests\na second".to_owned(),
        "\np50".to_owned(),
        "\np99".to_owned(),
        "CPU a\nrequest".to_owned(),
        "calls a\nrequest".to_owned(),
        "switches\na request".to_owned(),
        "memory a\nconn.".to_owned(),
        "\nthreads".to_owned(),
        format!("CPU, against\n{baseline}"),
    ];
    table.set_header(header.map(right));
    // Texts that span columns are put in afterwards, in the order of their lines.
    let mut spans = Vec::new();
    for scenario in &results.scenarios {
        let span = |table: &mut Table, first: String| {
            let mut cells = vec![Cell::new(first)];
            cells.resize_with(10, || Cell::new(""));
            table.add_row(cells);
        };
        spans.push(format!("{}: {}", scenario.name, scenario.describe()));
        span(&mut table, SPAN.to_string());
        for row in results.summary.iter().filter(|row| row.scenario == scenario.name) {
            let name = format!("  {}", cut(&row.contestant, NAME));
            if row.rounds > 0 {
                table.add_row(figures(name, row, &results.setup.baseline));
            } else {
                let reason = row.reason.as_deref().unwrap_or("not measured");
                spans.push(format!("cannot run: {reason}"));
                span(&mut table, format!("{name}  {SPAN}"));
            }
        }
    }
    for index in 0..10 {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((u16::from(index > 0), 0));
        }
    }
    let mut spans = spans.into_iter();
    let mut text = String::new();
    for line in table.lines() {
        match line.split_once(SPAN) {
            Some((start, _)) => {
                let room = WIDTH - start.chars().count();
                text.push_str(start);
                text.push_str(&cut(&spans.next().unwrap_or_default(), room));
            }
            None => text.push_str(line.trim_end()),
        }
        text.push('\n');
    }
    text
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn figures(name: String, row: &Row, baseline: &str) -> Vec<Cell> {
    let write = |figure: Option<f64>, unit: fn(f64) -> String| {
        right(figure.map_or_else(|| "-".to_owned(), unit))
    };
    let ratio = match &row.processor_ratio {
        Some(ratio) => self::ratio(ratio),
        None if row.contestant == baseline => "1".to_owned(),
        None => "-".to_owned(),
    };
    vec![
        Cell::new(name),
        write(row.requests_per_second, units::rate),
        write(row.p50_ns, units::time),
        write(row.p99_ns, units::time),
        write(row.processor_ns, units::time),
        write(row.system_calls, units::per_request),
        write(row.switches, units::per_request),
        write(row.memory, units::bytes),
        write(row.threads, |threads| units::count(threads as u64)),
        right(ratio),
    ]
}

/// Writes a ratio, its interval and its verdict: `1.04 1.02-1.07 ≠`.
fn ratio(ratio: &Ratio) -> String {
    let mark = match ratio.verdict {
        Verdict::Same => '=',
        Verdict::Different => '≠',
        Verdict::Undecided => '?',
    };
    let Ratio { median, interval, .. } = ratio;
    format!("{median:.2} {:.2}-{:.2} {mark}", interval.low, interval.high)
}

fn notes(results: &Results) -> Vec<String> {
    let setup = &results.setup;
    let margin = units::percent(setup.margin);
    let mut notes = vec![format!(
        "How to read it: medians of {} rounds of {}. CPU is user plus system time of the server; \
         the last column divides it by that of {} in the same round: the median of these ratios, \
         their interval, and = the same within {margin}, ≠ different, ? undecided. {}",
        results.rounds_done,
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
            "Doubtful: {} came out different from itself in {}; the machine was not quiet, so run \
             it again with more --rounds.",
            setup.baseline,
            doubtful.join(", ")
        ));
    }
    notes.extend(saturation(results));
    notes.extend(results.summary.iter().filter_map(trouble));
    if results.summary.iter().any(|row| row.rounds > 0 && row.system_calls.is_none()) {
        notes.push(
            "Calls are counted by the server itself; - is one that does not count.".to_owned(),
        );
    }
    notes.push(
        "Memory is resident memory of the process; what the kernel holds for sockets is not in it."
            .to_owned(),
    );
    if results.scenarios.iter().any(|scenario| scenario.short) {
        notes.push(short_connections(results));
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
            units::percent(least)
        ),
        Some(least) => format!(
            "The interval holds the true median with a probability of {} or more, whatever the \
             distribution (order statistics).",
            units::percent(least)
        ),
        None => String::new(),
    }
}

fn saturation(results: &Results) -> Option<String> {
    let rows: Vec<String> = results
        .summary
        .iter()
        .filter(|row| row.saturated > 0)
        .map(|row| match row.load_utilisation {
            Some(share) => format!("{}/{} {}", row.scenario, row.contestant, units::percent(share)),
            None => format!("{}/{}", row.scenario, row.contestant),
        })
        .collect();
    (!rows.is_empty()).then(|| {
        format!(
            "Load generator saturated, so that requests a second and latency are its own limit (CPU \
             a request still holds): {}.",
            rows.join(", ")
        )
    })
}

/// What went wrong in a row that has figures all the same.
fn trouble(row: &Row) -> Option<String> {
    let place = format!("{}/{}", row.scenario, row.contestant);
    if row.failed > 0 {
        let reason = row.reason.as_deref().unwrap_or("");
        let rounds = row.failed + row.rounds;
        return Some(format!("{place}: {} of {rounds} rounds failed: {reason}.", row.failed));
    }
    let first = row.first_error.as_deref().unwrap_or("");
    (row.errors > 0).then(|| format!("{place}: {} connections failed: {first}.", row.errors))
}

fn short_connections(results: &Results) -> String {
    let reports = results.cells.iter().filter_map(|cell| match &cell.outcome {
        super::cell::Outcome::Measured(measured) => Some(&measured.load),
        super::cell::Outcome::Failed(_) => None,
    });
    let spread =
        reports.filter(|report| report.closes_first.is_some()).all(|report| report.spread_sources);
    let sources = if spread {
        "their sources are spread over 127.0.0.0/8, so that no port in TIME_WAIT limits them"
    } else {
        "they share one source address, so that ports in TIME_WAIT may limit them"
    };
    format!("Short connections: the client closes first; {sources}.")
}

fn placement(results: &Results) -> String {
    let setup = &results.setup;
    match (setup.server_processor, setup.load_processor) {
        (Some(server), Some(load)) => format!(
            "Servers ran on processor {server}, the load generator on processor {load}, of {:?}; backlog {}.",
            setup.processors.as_deref().unwrap_or_default(),
            setup.backlog,
        ),
        _ => format!(
            "Nothing was pinned: this needs two processors and a system that can; backlog {}.",
            setup.backlog
        ),
    }
}

fn raised_limits(results: &Results) -> Option<String> {
    let (soft, hard) = results.cells.iter().find_map(|cell| match &cell.outcome {
        super::cell::Outcome::Measured(measured) => {
            measured.raised_descriptor_limit.or(measured.load.raised_descriptor_limit)
        }
        super::cell::Outcome::Failed(_) => None,
    })?;
    Some(format!(
        "The limit of descriptors was raised from {} to {}.",
        units::count(soft),
        units::count(hard)
    ))
}

/// Cuts a text that is too long.
fn cut(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(length.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Writes a note in lines of at most [`WIDTH`] columns; a longer word has a line of its own.
fn wrap(note: &str, out: &mut String) {
    let mut length = 0;
    for word in note.split_whitespace() {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > WIDTH {
            out.push('\n');
            length = 0;
        }
        if length > 0 {
            out.push(' ');
            length += 1;
        }
        // Writing into a String cannot fail.
        let _ = out.write_str(word);
        length += word_length;
    }
    out.push('\n');
}
