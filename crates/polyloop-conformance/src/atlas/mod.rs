//! An atlas of readiness: what each system call and each backend tells of some seventy situations.
//!
//! A [`Scenario`] arranges a situation on a fresh source while somebody watches, and stops at its
//! moments to ask what is told. It is run once for each way of asking: the kernel itself, with
//! plain calls ([`Call`]), and a handler on a loop of each backend. Nothing that is told is
//! expected anywhere in here: the atlas is what was seen.
//!
//! ```
//! use polyloop_conformance::atlas::{run, Scenario};
//! use polyloop_models::BackendKind;
//!
//! let half_close = Scenario::all().find(|scenario| scenario.name == "half-close").unwrap();
//! let atlas = run(&[half_close], &[BackendKind::Poll, BackendKind::Mio]);
//! let row = &atlas.rows[0];
//! assert!(row.handler["mio"].contains("readable"));
//! assert_eq!(row.handler["mio"], row.handler["poll"]);
//! ```

mod files;
mod handler;
mod kernel;
mod linux;
mod pipes;
mod registrations;
mod scenario;
mod stage;
mod tcp;
mod terminals;
mod triggers;
mod udp;
mod unix_sockets;

use std::collections::BTreeMap;
use std::fmt;

use polyloop_models::BackendKind;
use serde::Serialize;

pub use kernel::Call;
pub use scenario::{Group, Scenario};

use stage::{Moment, Stage};

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Atlas {
    /// The operating system.
    pub system: &'static str,
    /// The calls that the kernel was asked with.
    pub calls: Vec<&'static str>,
    /// The backends that handlers ran on.
    pub backends: Vec<&'static str>,
    /// Backends that this system lacks, and why.
    pub lacking: BTreeMap<&'static str, String>,
    /// One for each moment of each scenario.
    pub rows: Vec<Row>,
}

/// One moment of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The scenario's name.
    pub scenario: &'static str,
    /// What has just happened.
    pub moment: &'static str,
    /// What was asked for.
    pub asked: String,
    /// What each system call tells when asked directly, by the call's name.
    pub kernel: BTreeMap<&'static str, Answer>,
    /// What a handler is told on each backend, by the backend's name.
    pub handler: BTreeMap<&'static str, Answer>,
    /// How far the backends agree.
    pub agreement: Agreement,
    /// Why the scenario could not be played here; then there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cannot: Option<String>,
}

/// What is told of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Flags, sets or readiness; none is silence.
    Told(Vec<&'static str>),
    /// The source can't be watched, or asking failed.
    Refused {
        /// The error's name.
        refused: String,
    },
}

impl Answer {
    /// Whether `what` is told.
    #[must_use]
    pub fn contains(&self, what: &str) -> bool {
        matches!(self, Answer::Told(told) if told.contains(&what))
    }

    /// This answer without the hints, which no backend has to give.
    fn without_hints(&self) -> Answer {
        match self {
            Answer::Told(told) => {
                Answer::Told(told.iter().copied().filter(|what| !HINTS.contains(what)).collect())
            }
            refused => refused.clone(),
        }
    }
}

/// The parts of a readiness that only say why it is told.
pub const HINTS: [&str; 2] = ["hangup", "error"];

/// How far the backends agree about what they tell a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// All tell the same.
    Same,
    /// All tell the same, but for the hints of a hang-up or an error.
    HintsDiffer,
    /// Some tell of a readiness, or refuse a source, where others do not.
    Differ,
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Agreement::Same => "same",
            Agreement::HintsDiffer => "hints differ",
            Agreement::Differ => "differ",
        })
    }
}

fn agreement(answers: &BTreeMap<&'static str, Answer>) -> Agreement {
    let agree = |by: fn(&Answer) -> Answer| {
        let mut answers = answers.values().map(by);
        let first = answers.next();
        answers.all(|answer| Some(answer) == first)
    };
    if agree(Answer::clone) {
        Agreement::Same
    } else if agree(Answer::without_hints) {
        Agreement::HintsDiffer
    } else {
        Agreement::Differ
    }
}

/// Plays scenarios for each of `backends` and for the system calls that these stand on.
#[must_use]
pub fn run(scenarios: &[&'static Scenario], backends: &[BackendKind]) -> Atlas {
    let mut lacking = BTreeMap::new();
    let mut present = Vec::new();
    for &backend in backends {
        match handler::probe(backend) {
            Ok(()) => present.push(backend),
            Err(error) => drop(lacking.insert(backend.name(), error.to_string())),
        }
    }
    let calls: Vec<Call> = Call::of_this_system()
        .filter(|call| present.iter().any(|backend| call.is_beneath(*backend)))
        .collect();
    let rows = scenarios.iter().flat_map(|scenario| rows(scenario, &calls, &present)).collect();
    Atlas {
        system: std::env::consts::OS,
        calls: calls.iter().map(|call| call.name()).collect(),
        backends: present.iter().map(|backend| backend.name()).collect(),
        lacking,
        rows,
    }
}

/// Plays one scenario for everybody who asks.
fn rows(scenario: &'static Scenario, calls: &[Call], backends: &[BackendKind]) -> Vec<Row> {
    let Some(play) = scenario.play else {
        return vec![cannot(scenario, "not on this system".to_owned())];
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut record = |who: &'static str, is_call: bool, seen: Vec<Moment>| {
        for Moment { moment, asked, answer } in seen {
            let position = rows.iter().position(|row| row.moment == moment);
            let row = match position {
                Some(position) => &mut rows[position],
                None => {
                    rows.push(Row { asked: format!("{asked:?}"), ..row(scenario, moment) });
                    rows.last_mut().expect("one was pushed")
                }
            };
            let answers = if is_call { &mut row.kernel } else { &mut row.handler };
            answers.insert(who, answer);
        }
    };
    for call in calls.iter().filter(|call| scenario.group.asks(**call)) {
        let seen = call.watcher().and_then(|mut watcher| Stage::play(&mut *watcher, play));
        match seen {
            Ok(seen) => record(call.name(), true, seen),
            Err(error) => return vec![cannot(scenario, format!("{call}: {error}"))],
        }
    }
    for backend in backends {
        match handler::play(*backend, play) {
            Ok(seen) => record(backend.name(), false, seen),
            Err(error) => return vec![cannot(scenario, format!("{backend}: {error}"))],
        }
    }
    for row in &mut rows {
        row.agreement = agreement(&row.handler);
    }
    rows
}

fn row(scenario: &'static Scenario, moment: &'static str) -> Row {
    Row {
        scenario: scenario.name,
        moment,
        asked: String::new(),
        kernel: BTreeMap::new(),
        handler: BTreeMap::new(),
        agreement: Agreement::Same,
        cannot: None,
    }
}

fn cannot(scenario: &'static Scenario, reason: String) -> Row {
    Row { cannot: Some(reason), ..row(scenario, scenario.what) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_short() {
        let mut names = HashSet::new();
        for Scenario { name, what, .. } in Scenario::all() {
            assert!(names.insert(name), "two scenarios are called {name}");
            assert!(name.len() < 20 && what.len() < 50, "{name} ({what}) takes too much room");
            let plain = |c: char| c.is_ascii_lowercase() || c == '-' || c == '/';
            assert!(name.chars().all(plain), "{name} is hard to type");
        }
    }

    #[test]
    fn every_scenario_is_explained() {
        for Scenario { name, why, see, .. } in Scenario::all() {
            assert!(why.len() > 60 && why.ends_with('.'), "{name}: {why}");
            assert!(!see.is_empty(), "{name} names no source");
        }
    }

    #[test]
    fn scenarios_of_a_group_stand_together() {
        let mut seen: Vec<Group> = Vec::new();
        for Scenario { name, group, .. } in Scenario::all() {
            if seen.last() != Some(group) {
                assert!(!seen.contains(group), "{name} stands apart from its group");
                seen.push(*group);
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn every_scenario_can_be_played_to_everybody() {
        let scenarios: Vec<_> = Scenario::all().collect();
        let atlas = run(&scenarios, BackendKind::ALL);
        assert_eq!(atlas.backends.len(), BackendKind::ALL.len(), "{:?}", atlas.lacking);
        for row in &atlas.rows {
            let (name, moment) = (row.scenario, row.moment);
            if cfg!(mio_unsupported_force_poll_poll) && name == "datagram-refused" {
                // That poll drops a source of which it told an error, and `recv`, which would
                // register it anew at its `WouldBlock`, fails.
                assert!(row.cannot.as_ref().is_some_and(|why| why.starts_with("mio: ")));
                continue;
            }
            assert_eq!(row.cannot, None, "{name}");
            assert_eq!(row.handler.len(), atlas.backends.len(), "{name}: {moment}");
            assert!(!row.kernel.is_empty(), "{name}: {moment}");
            assert!(moment.len() <= 28, "{name}: {moment} takes too much room");
        }
    }

    #[test]
    fn agreement_tells_hints_from_directions() {
        let told = |what: &[&'static str]| Answer::Told(what.to_vec());
        let both = |one: Answer, other: Answer| {
            agreement(&BTreeMap::from([("one", one), ("other", other)]))
        };
        assert_eq!(both(told(&["readable"]), told(&["readable"])), Agreement::Same);
        assert_eq!(
            both(told(&["readable", "hangup"]), told(&["readable"])),
            Agreement::HintsDiffer
        );
        assert_eq!(both(told(&["readable"]), told(&[])), Agreement::Differ);
        let refused = Answer::Refused { refused: "EPERM".to_owned() };
        assert_eq!(both(told(&[]), refused), Agreement::Differ);
    }
}
