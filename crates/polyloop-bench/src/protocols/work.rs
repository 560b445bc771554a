//! The protocol `work`.

use std::thread;
use std::time::Duration;

use polyloop::{Connection, Protocol};
use serde::{Deserialize, Serialize};

use super::line::{is_farewell, Finder};
use crate::process::ProcessorClock;

/// Says back each whole line as [`Line`](super::Line) does, but does some work for each: what a
/// request costs that waits for a disk or computes.
///
/// On one loop a request that sleeps is waited for by all; where each connection has a thread,
/// only by its own. A request that computes takes its time from everybody in either case.
#[derive(Debug)]
pub struct Work {
    finder: Finder,
    cost: Cost,
    /// What followed the last line is to be shown again.
    has_rest: bool,
    /// The peer will send nothing more.
    has_ended: bool,
}

/// What a request of [`Work`] takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Processor time of the thread that serves the request. On systems that don't tell a thread
    /// what it has used, time by the clock.
    pub work: Duration,
    /// Time that this thread then sleeps.
    pub sleep: Duration,
}

impl Cost {
    fn pay(&self) {
        if !self.work.is_zero() {
            let clock = ProcessorClock::start();
            while clock.elapsed() < self.work {
                compute();
            }
        }
        if !self.sleep.is_zero() {
            thread::sleep(self.sleep);
        }
    }
}

/// Keeps the processor busy for a microsecond or so: reading the clock is a system call, and most
/// of the time shall be spent outside the kernel.
fn compute() {
    for number in 0..1000_u64 {
        std::hint::black_box(number);
    }
}

impl Work {
    /// A connection on which each request takes `cost`.
    pub fn new(cost: Cost) -> Work {
        Work { finder: Finder::default(), cost, has_rest: false, has_ended: false }
    }
}

impl Protocol for Work {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        self.has_rest = false;
        let used = match self.finder.line(input) {
            Some(length) if is_farewell(&input[..length]) => {
                connection.close();
                return input.len();
            }
            Some(length) => {
                self.cost.pay();
                connection.send(&input[..length]);
                if length < input.len() {
                    // The rest is shown again once this answer is written: whoever sends a
                    // thousand lines gets the first answer after one piece of work, not after all.
                    self.has_rest = true;
                    connection.pause();
                    connection.resume();
                }
                length
            }
            None => 0,
        };
        if self.has_ended && !self.has_rest {
            connection.close();
        }
        used
    }

    fn ended(&mut self, connection: &mut Connection<'_>) {
        self.has_ended = true;
        if !self.has_rest {
            connection.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::harness::Peer;
    use super::*;

    #[test]
    fn each_line_is_a_request() {
        let cost = Cost { work: Duration::from_millis(1), sleep: Duration::from_millis(5) };
        let mut peer = Peer::of(Work::new(cost));
        let begun = Instant::now();
        assert_eq!(peer.say(b"one\ntwo\nthr"), b"one\ntwo\n");
        assert_eq!(peer.say(b"ee\n##\nfour\n"), b"three\n");
        assert!(!peer.is_open());
        assert!(begun.elapsed() >= 3 * (cost.work + cost.sleep));
    }

    #[test]
    fn work_is_processor_time() {
        let cost = Cost { work: Duration::from_millis(20), sleep: Duration::ZERO };
        let clock = ProcessorClock::start();
        cost.pay();
        assert!(clock.elapsed() >= cost.work);
    }

    #[test]
    fn sleeping_uses_none() {
        let cost = Cost { work: Duration::ZERO, sleep: Duration::from_millis(100) };
        let clock = ProcessorClock::start();
        cost.pay();
        if cfg!(unix) {
            assert!(clock.elapsed() < cost.sleep / 2);
        }
    }
}
