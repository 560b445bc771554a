//! What the turns of a loop take.

use std::time::Duration;

use crate::{Counters, Tick};

/// Tells how long a loop waits from how long it handles what came: it reads the clock twice a turn.
#[derive(Debug, Default)]
pub struct Stopwatch {
    /// When the last wait ended. Before the first one nothing is handled.
    handling: Option<Tick>,
}

impl Stopwatch {
    /// A turn that was handled for longer is worth a warning.
    const SLOW: Duration = Duration::from_millis(100);

    /// The loop stops, and what passes until its next wait is nobody's time.
    pub fn stop(&mut self, counters: &Counters) {
        if let Some(began) = self.handling.take() {
            counters.handling_ns.add(nanos(Tick::now().since(began)));
        }
    }

    /// A wait begins, now. If what came before was handled for long, says for how long.
    pub fn wait(&mut self, counters: &Counters) -> (Tick, Option<Duration>) {
        let now = Tick::now();
        let handling = self.handling.map_or(Duration::ZERO, |began| now.since(began));
        counters.handling_ns.add(nanos(handling));
        (now, Some(handling).filter(|&handling| handling > Stopwatch::SLOW))
    }

    /// The wait that `began` then is over, now, and a turn is.
    pub fn handle(&mut self, began: Tick, counters: &Counters) -> Tick {
        let now = Tick::now();
        counters.turns.add(1);
        counters.waiting_ns.add(nanos(now.since(began)));
        self.handling = Some(now);
        now
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass() {
        let before = Tick::now();
        while Tick::now() == before {}
    }

    #[test]
    fn what_comes_before_a_wait_is_handled_unless_the_loop_has_stopped() {
        let (mut stopwatch, counters) = (Stopwatch::default(), Counters::default());
        pass();
        let (began, slow) = stopwatch.wait(&counters);
        assert_eq!((counters.handling_ns.get(), slow), (0, None), "before the first wait");
        pass();
        stopwatch.handle(began, &counters);
        assert_eq!(counters.turns.get(), 1);
        assert_ne!(counters.waiting_ns.get(), 0);
        pass();
        stopwatch.stop(&counters);
        let handled = counters.handling_ns.get();
        assert_ne!(handled, 0);
        pass();
        let (began, _) = stopwatch.wait(&counters);
        assert_eq!(counters.handling_ns.get(), handled, "it had stopped");
        stopwatch.handle(began, &counters);
        pass();
        stopwatch.wait(&counters);
        assert!(counters.handling_ns.get() > handled);
    }

    #[test]
    fn a_slow_turn_is_told() {
        let (mut stopwatch, counters) = (Stopwatch::default(), Counters::default());
        let (began, _) = stopwatch.wait(&counters);
        stopwatch.handle(began, &counters);
        let long = Stopwatch::SLOW + Duration::from_millis(1);
        std::thread::sleep(long);
        let (_, slow) = stopwatch.wait(&counters);
        assert!(slow.is_some_and(|handling| handling >= long), "{slow:?}");
    }
}
