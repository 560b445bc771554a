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
//! | `waiting` | [`Waiting`]: connections in the backlog |
//!
//! They are several questions because reading the memory of a process with many threads costs
//! that process time, which must not end up in the window between two `stats`. Nor must what `stats`
//! costs itself in a process with many children: it says in `after` what had been used when it was
//! known, and the window goes from there ([`Reading::since`]).
//!
//! A **load generator** prints a line of JSON at the end of each of its phases and waits
//! for `go` before the next ([`Gate`]).
//!
//! In both, the end of the standard input ends the process at once, so that nothing is
//! left behind by a parent that was killed.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use polyloop::ServerHandle;
use polyloop_models::Attendant;
use serde::{Deserialize, Serialize};

use crate::process::{self, Memory, Reading};

/// What a server says first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How many connections it serves at once; further ones wait in the backlog.
    #[serde(default)]
    pub at_once: Option<usize>,
    /// What it counts of a connection is known only when that has ended.
    #[serde(default)]
    pub counts_late: bool,
}

/// What a server has used and done since it started: the answer to `stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Processor time and context switches, before and after they were looked up.
    #[serde(flatten)]
    pub usage: Reading,
    /// What the server counted itself.
    #[serde(flatten)]
    pub counted: Counted,
}

/// What a server counted itself since it started; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// What it did, if it counts.
    #[serde(default)]
    pub counters: Option<Counters>,
    /// How many connections each of its loops took; empty unless it has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loops: Vec<u64>,
}

impl Counted {
    /// What the server behind `handle` has counted up to now.
    pub fn by(handle: &ServerHandle) -> Counted {
        let counts = handle.counts();
        let named = counts.named().into_iter().chain([(SYSTEM_CALLS, counts.system_calls())]);
        Counted {
            counters: Some(named.map(|(name, count)| (name.to_owned(), count)).collect()),
            loops: taken_by_loops(handle),
        }
    }
}

/// How many connections each loop of a server has taken; empty unless it has several.
pub fn taken_by_loops(handle: &ServerHandle) -> Vec<u64> {
    let loops = handle.loops();
    match loops.len() {
        1 => Vec::new(),
        _ => loops.iter().map(|counts| counts.opened).collect(),
    }
}

/// Who waits for a server: the answer to `waiting`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Connections that are established and that nobody has accepted, where the system tells.
    pub waiting: Option<u64>,
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

/// Answers the parent of a process that is measured.
#[derive(Debug)]
pub struct Answers<C> {
    listening: Listening,
    counted: C,
}

impl<C: Fn() -> Counted> Answers<C> {
    /// Says that the server listens. `counted` is asked at each `stats`.
    ///
    /// # Errors
    ///
    /// The standard output is closed.
    pub fn begin(listening: Listening, counted: C) -> io::Result<Self> {
        say(&listening)?;
        Ok(Answers { listening, counted })
    }

    /// Answers one line.
    ///
    /// # Errors
    ///
    /// The standard output is closed.
    pub fn answer(&self, line: &str) -> io::Result<()> {
        match line.trim() {
            "stats" => say(&Stats { usage: process::usage(), counted: (self.counted)() }),
            "memory" => say::<Memory>(&process::memory()),
            "waiting" => {
                let address = self.listening.listening.parse().ok();
                say(&Waiting { waiting: address.and_then(process::backlog) })
            }
            other => say(&Unknown { unknown: other }),
        }
    }
}

impl<C: Fn() -> Counted + Send + 'static> Answers<C> {
    /// Answers the lines of the standard input on a thread of its own, and ends the process with
    /// them.
    ///
    /// Call it when the server listens and before it serves.
    ///
    /// # Errors
    ///
    /// The system refuses a thread.
    pub fn on_a_thread(self) -> io::Result<()> {
        thread::Builder::new().name("control".to_owned()).spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if self.answer(&line).is_err() {
                    break;
                }
            }
            std::process::exit(0);
        })?;
        Ok(())
    }
}

impl<C: Fn() -> Counted + 'static> Answers<C> {
    /// Answers the lines of the standard input from the accept loop of a server that may have no
    /// other thread, and stops the server with them.
    ///
    /// # Errors
    ///
    /// There is no standard input.
    pub fn from_the_accept_loop(self, server: ServerHandle) -> io::Result<Attendant> {
        let mut asked = Vec::new();
        Attendant::of_stdin(move || {
            let mut stdin = io::stdin().lock();
            // It is readable: there is something, or there will be nothing any more.
            let come = stdin.fill_buf().unwrap_or_default();
            let length = come.len();
            asked.extend_from_slice(come);
            stdin.consume(length);
            let mut said = Ok(());
            while let Some(end) = asked.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = asked.drain(..=end).collect();
                said = said.and(self.answer(&String::from_utf8_lossy(&line)));
            }
            if length > 0 && said.is_ok() {
                return ControlFlow::Continue(());
            }
            server.stop();
            ControlFlow::Break(())
        })
    }
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
    use crate::process::Usage;

    #[test]
    fn stats_survive_the_wire_and_stay_flat() {
        let stats = Stats {
            usage: Reading {
                before: Usage {
                    user_ns: Some(1),
                    system_ns: Some(2),
                    undivided_ns: None,
                    voluntary_switches: None,
                    involuntary_switches: Some(3),
                },
                after: Some(Usage { user_ns: Some(4), ..Usage::default() }),
            },
            counted: Counted {
                counters: Some(Counters::from([(SYSTEM_CALLS.to_owned(), 7)])),
                loops: vec![3, 4],
            },
        };
        let line = serde_json::to_string(&stats).unwrap();
        assert!(line.starts_with("{\"user_ns\":1"), "{line}");
        assert_eq!(serde_json::from_str::<Stats>(&line).unwrap(), stats);
    }

    #[test]
    fn a_server_may_count_only_some_things() {
        let line = "{\"user_ns\":5,\"system_ns\":6,\"counters\":{\"reads\":9}}";
        let stats: Stats = serde_json::from_str(line).unwrap();
        assert_eq!(stats.usage.before.processor_ns(), Some(11));
        assert_eq!(stats.usage.after, None);
        assert!(stats.counted.loops.is_empty());
        let end = stats.counted.counters.unwrap();
        let start = Counters::from([("reads".to_owned(), 4)]);
        assert_eq!(counted(&end, &start), Counters::from([("reads".to_owned(), 5)]));
    }
}
