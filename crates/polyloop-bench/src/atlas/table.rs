//! Draws an atlas as tables, one for each group of scenarios, 100 columns wide at most.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{presets, Cell, ContentArrangement, Table};
use polyloop_conformance::atlas::{Agreement, Answer, Atlas, Group, Row, Scenario};

use crate::text::{lines, wrap, SPAN, WIDTH};

/// How wide the columns are at least, so that those of all groups stand beneath each other.
const NAME: usize = 20;
const MOMENT: usize = 28;
const FLAGS: usize = 20;
/// How wide the last column is at most.
const HANDLER: usize = 20;

/// System calls that share a column, whose answers are the same but for what is said beneath.
const TOGETHER: &[&[&str]] = &[&["poll", "epoll", "epoll:edge"], &["select"]];
/// The same where it matters how the kernel is asked again.
const APART: &[&[&str]] = &[&["poll", "epoll"], &["epoll:edge"], &["epoll:oneshot"], &["select"]];

/// Draws the tables and what they mean.
#[must_use]
pub fn draw(atlas: &Atlas) -> String {
    format!(
        "What system calls tell when they are asked, and what polyloop tells a handler.\n{}\n{}",
        tables(atlas),
        notes(atlas)
    )
}

/// Draws the tables alone, each behind an empty line.
#[must_use]
pub fn tables(atlas: &Atlas) -> String {
    let mut text = String::new();
    for rows in atlas.rows.chunk_by(|one, next| group(one) == group(next)) {
        text.push('\n');
        text.push_str(&draw_group(atlas, group(&rows[0]), rows));
    }
    text
}

fn group(row: &Row) -> Group {
    let found = Scenario::all().find(|scenario| scenario.name == row.scenario);
    found.expect("a row is of a scenario").group
}

fn draw_group(atlas: &Atlas, group: Group, rows: &[Row]) -> String {
    let layout = if group == Group::Triggers { APART } else { TOGETHER };
    let columns: Vec<Vec<&str>> = layout
        .iter()
        .map(|calls| calls.iter().copied().filter(|call| atlas.calls.contains(call)).collect())
        .filter(|calls: &Vec<&str>| !calls.is_empty())
        .collect();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header = vec![pad(&format!("  {}", group.title()), NAME), pad("", MOMENT)];
    for (index, calls) in columns.iter().enumerate() {
        let width = if layout.len() == TOGETHER.len() && index == 0 { FLAGS } else { 0 };
        header.push(pad(&title(calls), width));
    }
    header.push("a handler".to_owned());
    table.set_header(header);
    // A reason goes on over the other columns, so it is put in afterwards.
    let mut reasons = Vec::new();
    let mut former = None;
    for row in rows {
        let name = if former == Some(row.scenario) { "" } else { row.scenario };
        former = Some(row.scenario);
        let mark = match row.agreement {
            Agreement::Same => ' ',
            Agreement::HintsDiffer => '~',
            Agreement::Differ => '≠',
        };
        let mut cells = vec![format!("{mark} {name}"), wrap(row.moment, MOMENT)];
        if let Some(reason) = &row.cannot {
            reasons.push(reason.clone());
            cells.push(SPAN.to_string());
        } else {
            for calls in &columns {
                cells.push(merged(&row.kernel, calls, short_flag, usize::MAX));
            }
            cells.push(if row.agreement == Agreement::HintsDiffer {
                with_some_hints(&row.handler)
            } else {
                merged(&row.handler, &atlas.backends, short_readiness, HANDLER)
            });
        }
        cells.resize(columns.len() + 3, String::new());
        table.add_row(cells.into_iter().map(Cell::new));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    lines(&table, reasons)
}

fn pad(text: &str, width: usize) -> String {
    // comfy-table trims what is not a space only.
    format!("{text:width$}")
}

/// The title of a column: the calls in it.
fn title(calls: &[&str]) -> String {
    names(calls).join(", ")
}

/// What most of them answer, and beneath it who answers something else.
fn merged(
    answers: &BTreeMap<&'static str, Answer>,
    who: &[&str],
    short: fn(&str) -> &str,
    width: usize,
) -> String {
    let mut said: Vec<(&Answer, Vec<&str>)> = Vec::new();
    for &name in who {
        let Some(answer) = answers.get(name) else { continue };
        match said.iter_mut().find(|(known, _)| *known == answer) {
            Some((_, names)) => names.push(name),
            None => said.push((answer, vec![name])),
        }
    }
    // The first of those that most say; a stable sort keeps the order of the others.
    said.sort_by_key(|(_, names)| usize::MAX - names.len());
    let mut lines = Vec::new();
    for (index, (answer, names)) in said.iter().enumerate() {
        let answer = write(answer, short);
        if index == 0 {
            lines.push(answer);
        } else {
            let text = format!("{}: {answer}", self::names(names).join(", "));
            lines.push(wrap(&text, width));
        }
    }
    lines.join("\n")
}

/// What all of them tell, and in parentheses the hints that only some give.
fn with_some_hints(answers: &BTreeMap<&'static str, Answer>) -> String {
    let mut words = Vec::new();
    for what in ["readable", "writable", "priority", "hangup", "error"] {
        let count = answers.values().filter(|answer| answer.contains(what)).count();
        if count == answers.len() {
            words.push(short_readiness(what).to_owned());
        } else if count > 0 {
            words.push(format!("({})", short_readiness(what)));
        }
    }
    words.join(" ")
}

/// Names in a table: both ways of epoll are `epoll`, one of them is `level` or `edge`.
fn names<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let both = names.contains(&"epoll") && names.contains(&"epoll:edge");
    names
        .iter()
        .copied()
        .filter(|name| !(both && *name == "epoll:edge"))
        .map(|name| match name {
            "epoll:edge" => "edge",
            "epoll:oneshot" => "one shot",
            name => name,
        })
        .collect()
}

fn write(answer: &Answer, short: fn(&str) -> &str) -> String {
    match answer {
        Answer::Told(told) if told.is_empty() => "-".to_owned(),
        Answer::Told(told) => told.iter().map(|what| short(what)).collect::<Vec<_>>().join(" "),
        Answer::Refused { refused } => match refused.as_str() {
            "Unsupported" => "refused".to_owned(),
            "AlreadyExists" => "refused: known".to_owned(),
            name => name.to_owned(),
        },
    }
}

fn short_flag(flag: &str) -> &str {
    match flag {
        "read" => "r",
        "write" => "w",
        "except" => "x",
        flag => flag,
    }
}

fn short_readiness(readiness: &str) -> &str {
    match readiness {
        "readable" => "read",
        "writable" => "write",
        "priority" => "prio",
        "hangup" => "hup",
        "error" => "err",
        other => other,
    }
}

fn notes(atlas: &Atlas) -> String {
    let scenarios = atlas.rows.chunk_by(|one, next| one.scenario == next.scenario).count();
    let count = |agreement| {
        atlas.rows.iter().filter(|row| row.cannot.is_none() && row.agreement == agreement).count()
    };
    let mut notes = vec![format!(
        "Scenarios: {scenarios}. Moments: {}. Backends: {}. They tell a handler the same: {} times; \
         the same but for hints (~): {}; something else (≠): {}.",
        atlas.rows.len(),
        atlas.backends.join(", "),
        count(Agreement::Same),
        count(Agreement::HintsDiffer),
        count(Agreement::Differ),
    )];
    notes.push(
        "The kernel's columns: flags of poll and epoll without their POLL and EPOLL, or an error; \
         the sets of select (r, w, x). A handler's: read, write, prio, and the hints hup and err; one in parentheses is not given \
         by all (--json says by whom). \
         A dash is silence. Everything was asked for, except where a row says so and in the last group, \
         which asks for one thing at a time."
            .to_owned(),
    );
    // Both ways of epoll have one reason.
    for reason in atlas.lacking.values().collect::<BTreeSet<_>>() {
        notes.push(format!("Not here: {reason}."));
    }
    notes.push("Why a row is as it is: polyloop atlas --explain NAME".to_owned());
    notes.iter().map(|note| wrap(note, WIDTH) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(said: &[(&'static str, &[&'static str])]) -> BTreeMap<&'static str, Answer> {
        said.iter().map(|&(who, told)| (who, Answer::Told(told.to_vec()))).collect()
    }

    #[test]
    fn equal_answers_are_written_once() {
        let said = answers(&[("poll", &["readable"]), ("mio", &["readable"])]);
        assert_eq!(merged(&said, &["poll", "mio"], short_readiness, 20), "read");
    }

    #[test]
    fn who_says_something_else_is_named() {
        let said = answers(&[("poll", &["IN"]), ("epoll", &["IN"]), ("epoll:edge", &[])]);
        let who = ["poll", "epoll", "epoll:edge"];
        assert_eq!(merged(&said, &who, short_flag, 20), "IN\nedge: -");
        let said = answers(&[("poll", &["IN"]), ("epoll", &[]), ("epoll:edge", &[])]);
        assert_eq!(merged(&said, &who, short_flag, 20), "-\npoll: IN");
    }

    #[test]
    fn hints_that_only_some_give_are_in_parentheses() {
        let said = answers(&[
            ("select", &["readable", "writable"]),
            ("poll", &["readable", "writable", "hangup"]),
        ]);
        assert_eq!(with_some_hints(&said), "read write (hup)");
    }
}
