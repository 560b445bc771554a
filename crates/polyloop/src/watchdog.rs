//! The one timer that watches over all deadlines of a connection.

use crate::machine::{Ended, Machine};
use crate::{Config, Tick, TimerId, Timers, Token};

/// The timer of a connection's deadlines.
///
/// Deadlines mostly move away, with each byte: the timer stays where it is, and is set anew when it
/// finds nothing overdue.
#[derive(Debug)]
pub struct Watchdog {
    timer: Option<TimerId>,
    due: Tick,
}

impl Default for Watchdog {
    fn default() -> Watchdog {
        Watchdog::new()
    }
}

impl Watchdog {
    /// A timer that is not set.
    #[must_use]
    pub fn new() -> Watchdog {
        Watchdog { timer: None, due: Tick::NEVER }
    }

    /// Sees to it that the timer is due no later than the next deadline of `machine`.
    ///
    /// # Errors
    ///
    /// A deadline is past, and the connection is to be closed for this reason.
    pub fn watch(
        &mut self,
        machine: &Machine,
        config: &Config,
        now: Tick,
        timers: &mut Timers,
        token: Token,
    ) -> Ended {
        let Some((deadline, reason)) = machine.deadline(config) else { return Ok(()) };
        if deadline >= self.due {
            return Ok(());
        }
        if deadline <= now {
            return Err(reason);
        }
        self.cancel(timers);
        self.timer = Some(timers.insert(deadline, token));
        self.due = deadline;
        Ok(())
    }

    /// Whether `timer`, which is due and taken, is this one: the connection is to be
    /// [watched](Watchdog::watch) anew then.
    pub fn is_due(&mut self, timer: TimerId) -> bool {
        let is_this = self.timer == Some(timer);
        if is_this {
            *self = Watchdog::new();
        }
        is_this
    }

    /// Takes the timer away.
    pub fn cancel(&mut self, timers: &mut Timers) {
        if let Some(timer) = self.timer.take() {
            timers.cancel(timer);
        }
        self.due = Tick::NEVER;
    }
}
