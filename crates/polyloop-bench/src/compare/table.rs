//! Draws the results of a comparison as one table with its notes, 100 columns wide at most.

#[cfg(test)]
mod tests;

use comfy_table::{presets, Cell, CellAlignment, ContentArrangement, Table};

use super::notes;
use super::save::{Results, Setup};
use super::summary::Row;
use crate::statistics::{verdict, Interval, Ratio, Verdict};
use crate::text::{cut, lines, SPAN, WIDTH};
use crate::units;

/// Longer names are cut in the table.
const NAME: usize = 17;

/// Draws the table and the notes beneath it.
pub fn draw(results: &Results) -> String {
    let names = results.contestants.iter().map(|contestant| contestant.name.chars().count());
    let longest = names.max().unwrap_or(0).min(NAME);
    let mut text = body(results, longest);
    // Figures may be wide, and none of their digits is to be missed: the names have to give way.
    let width = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    if width > WIDTH {
        text = body(results, longest.saturating_sub(width - WIDTH));
    }
    text.push('\n');
    text.push_str(&notes::write(results));
    text
}

fn body(results: &Results, longest_name: usize) -> String {
    let baseline = cut(&results.setup.baseline, 9);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let header = [
        "".to_owned(),
        "requests\n/s".to_owned(),
        "\np50".to_owned(),
        "\np99".to_owned(),
        "CPU\n/req.".to_owned(),
        "calls\n/req.".to_owned(),
        "switches\n/req.".to_owned(),
        "memory\n/conn.".to_owned(),
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
        spans.push(format!("{}: {}", scenario.name, scenario.describe(results.setup.transport)));
        span(&mut table, SPAN.to_string());
        for row in results.summary.iter().filter(|row| row.scenario == scenario.name) {
            let name = format!("  {}", cut(&row.contestant, longest_name));
            if row.rounds > 0 {
                table.add_row(figures(name, row, &results.setup));
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
    lines(&table, spans)
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn figures(name: String, row: &Row, setup: &Setup) -> Vec<Cell> {
    let write = |figure: Option<f64>, unit: fn(f64) -> String| {
        right(figure.map_or_else(|| "-".to_owned(), unit))
    };
    let ratio = match &row.processor_ratio {
        Some(ratio) => self::ratio(ratio, setup.margin),
        None if row.contestant == setup.baseline => "1".to_owned(),
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
fn ratio(ratio: &Ratio, margin: f64) -> String {
    let mark = match ratio.verdict {
        Verdict::Same => '=',
        Verdict::Different => '≠',
        Verdict::Undecided => '?',
    };
    // Two, unless the interval would say something else than the verdict: 1.004-1.05 leaves 1 out,
    // and 1.00-1.05 does not.
    let decimals = (2..4).find(|&decimals| {
        let scale = 10f64.powi(decimals);
        let [low, high] =
            [ratio.interval.low, ratio.interval.high].map(|end| (end * scale).round() / scale);
        verdict(Interval { low, high, ..ratio.interval }, margin) == ratio.verdict
    });
    let decimals = decimals.unwrap_or(4) as usize;
    let write = |ratio: f64| match ratio {
        ..0.0995 => format!("{ratio:.3}"),
        ..9.995 => format!("{ratio:.decimals$}"),
        ..99.95 => format!("{ratio:.1}"),
        ..999.5 => format!("{ratio:.0}"),
        _ => ">999".to_owned(),
    };
    let (low, high) = (write(ratio.interval.low), write(ratio.interval.high));
    format!("{} {low}-{high} {mark}", write(ratio.median))
}
