//! How a process under measurement talks to the one that started it: lines on its
//! standard input and output.
//!
//! A **server** prints `{"listening":"127.0.0.1:4000"}` once it listens, and from then on
//! answers each line with one line of JSON:
//!
//! | line | answer |
//! |---|---|
//! | `stats` | [`Stats`]: processor time, context switches, counters |
//! | `memory` | [`Memory`]: resident bytes, threads |
//!
//! They are two questions because reading the memory of a process with many threads costs
//! that process time, which must not end up in the window between two `stats`.
//!
//! A **load generator** prints a line of JSON at the end of each of its phases and waits
//! for `go` before the next ([`Gate`]).
//!
//! In both, the end of the standard input ends the process at once, so that nothing is
//! left behind by a parent that was killed.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::process::{self, Memory, Usage};

/// What a server says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The address that it listens on, with the port that the system chose, as it is written on the
    /// command line.
    pub listening: String,
    /// The soft limit of descriptors before and after, if the server raised it.
    #[serde(default)]
    pub raised_descriptor_limit: Option<(u64, u64)>,
    /// The processor that it is pinned to.
    #[serde(default)]
    pub pinned: Option<usize>,
}

/// What a server has used and done since it started: the answer to `stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Processor time and context switches.
    #[serde(flatten)]
    pub usage: Usage,
    /// What the server counted itself, if it counts.
    #[serde(default)]
    pub counters: Option<Counters>,
}

/// What a server counted since it started, by name. All but [`SYSTEM_CALLS`] explain the figures
/// and are a model's own affair.
pub type Counters = BTreeMap<String, u64>;

/// The name under which a server counts the system calls that serving made.
pub const SYSTEM_CALLS: &str = "system_calls";

/// What was counted from `start` to `end`.
pub fn counted(end: &Counters, start: &Counters) -> Counters {
    let since = |(name, end): (&String, &u64)| {
        let start = start.get(name).copied().unwrap_or(0);
        (name.clone(), end.saturating_sub(start))
    };
    end.iter().map(since).collect()
}

/// Makes this process ready to be measured and answers its parent from a thread of its own.
///
/// Call it when the server listens and before it serves. `counters` is asked at each `stats`.
///
/// # Errors
///
/// The standard output is closed, or the system refuses a thread.
pub fn answer(
    listening: &Listening,
    counters: impl Fn() -> Option<Counters> + Send + 'static,
) -> io::Result<()> {
    say(listening)?;
    thread::Builder::new().name("control".to_owned()).spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let said = match line.trim() {
                "stats" => say(&Stats { usage: process::usage(), counters: counters() }),
                "memory" => say::<Memory>(&process::memory()),
                other => say(&Unknown { unknown: other }),
            };
            if said.is_err() {
                break;
            }
        }
        std::process::exit(0);
    })?;
    Ok(())
}

/// The answer to a line that means nothing.
#[derive(Serialize)]
struct Unknown<'a> {
    unknown: &'a str,
}

/// Where a load generator stops between its phases.
///
/// Without a parent (see [`Gate::open`]) nothing is printed and nothing waits.
#[derive(Debug)]
pub struct Gate {
    go: Option<Receiver<()>>,
}

impl Gate {
    /// A gate that lets everything through at once.
    pub fn open() -> Self {
        Gate { go: None }
    }

    /// A gate that a parent opens through the standard input.
    ///
    /// # Errors
    ///
    /// The system refuses a thread.
    pub fn controlled() -> io::Result<Self> {
        let (sender, go) = mpsc::channel();
        thread::Builder::new().name("control".to_owned()).spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if line.trim() == "go" && sender.send(()).is_err() {
                    break;
                }
            }
            std::process::exit(0);
        })?;
        Ok(Gate { go: Some(go) })
    }

    /// Says that `phase` has ended and waits to be let on.
    ///
    /// # Errors
    ///
    /// The standard output is closed.
    pub fn wait(&self, phase: &impl Serialize) -> io::Result<()> {
        let Some(go) = &self.go else { return Ok(()) };
        say(phase)?;
        // The sender lives until the process exits: waiting for ever is right.
        let _ = go.recv();
        Ok(())
    }
}

/// Prints one line of JSON and flushes it.
fn say<T: Serialize>(value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_survive_the_wire_and_stay_flat() {
        let stats = Stats {
            usage: Usage {
                user_ns: Some(1),
                system_ns: Some(2),
                voluntary_switches: None,
                involuntary_switches: Some(3),
            },
            counters: Some(Counters::from([(SYSTEM_CALLS.to_owned(), 7)])),
        };
        let line = serde_json::to_string(&stats).unwrap();
        assert!(line.starts_with("{\"user_ns\":1"), "{line}");
        assert_eq!(serde_json::from_str::<Stats>(&line).unwrap(), stats);
    }

    #[test]
    fn a_server_may_count_only_some_things() {
        let line = "{\"user_ns\":5,\"system_ns\":6,\"counters\":{\"reads\":9}}";
        let stats: Stats = serde_json::from_str(line).unwrap();
        assert_eq!(stats.usage.processor_ns(), Some(11));
        let end = stats.counters.unwrap();
        let start = Counters::from([("reads".to_owned(), 4)]);
        assert_eq!(counted(&end, &start), Counters::from([("reads".to_owned(), 5)]));
    }
}
