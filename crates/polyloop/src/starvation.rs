//! Out of descriptors, of memory, of threads: how long to rest, and how often to say so.

use std::io;
use std::time::Duration;

use crate::Tick;

/// Says what a server lacks to serve a further connection: when it begins, and then once a minute
/// at most, with how often it was so meanwhile. At its limit a busy server starves and recovers
/// many times a second, and a line for each episode would drown what else there is to read.
#[derive(Debug, Default)]
pub struct Starvation {
    said: Option<Tick>,
    unsaid: u64,
}

impl Starvation {
    /// How long a listener rests when the system can't give it another connection. It would be
    /// ready again at once, and its server would spin on it; whoever waits stays in the backlog
    /// meanwhile.
    pub const REST: Duration = Duration::from_millis(100);

    const SILENCE: Duration = Duration::from_secs(60);

    /// A further connection could not be accepted at `open` open ones.
    #[cold]
    pub fn no_connection(&mut self, open: usize, error: &io::Error) {
        if let Some(times) = self.time_to_say(Tick::now()) {
            log::warn!(
                "no further connection can be accepted at {open} open ones: {error}{times}; trying \
                 again every {:?} (raise the limit of descriptors, or set max_connections below it)",
                Starvation::REST,
            );
        }
    }

    /// There was no `what`, a thread or a process, for a further connection.
    #[cold]
    pub fn nobody_to_serve(&mut self, what: &str, error: &io::Error) {
        if let Some(times) = self.time_to_say(Tick::now()) {
            log::warn!(
                "no {what} for a further connection: {error}{times}; it is closed (set \
                 max_connections to what there is room for, or raise the system's limit of {what}s)"
            );
        }
    }

    /// How often nothing was said; `None` if nothing is to be said now either.
    fn time_to_say(&mut self, now: Tick) -> Option<String> {
        if self.said.is_some_and(|said| now.since(said) < Starvation::SILENCE) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(match std::mem::take(&mut self.unsaid) {
            0 => String::new(),
            times => format!(", as {times} times since this was last said"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_at_once_and_then_once_a_minute_with_a_count() {
        let mut starvation = Starvation::default();
        let began = Tick::now();
        let mut said = |seconds| starvation.time_to_say(began.after(Duration::from_secs(seconds)));
        assert_eq!(said(0).as_deref(), Some(""));
        assert_eq!((said(1), said(59)), (None, None));
        assert_eq!(said(60).as_deref(), Some(", as 2 times since this was last said"));
        assert_eq!(said(119), None);
    }
}
