//! Moments in eight bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A moment of the monotonic clock, in nanoseconds since the process first asked.
///
/// An [`Instant`] takes sixteen bytes on most systems; every connection holds a few moments, and
/// half the size is enough for 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

impl Tick {
    /// A moment that never comes.
    pub const NEVER: Tick = Tick(u64::MAX);

    /// Reads the clock.
    #[must_use]
    pub fn now() -> Tick {
        Tick::from(Instant::now())
    }

    /// The moment `duration` later; [`NEVER`](Tick::NEVER) if it is past counting.
    #[must_use]
    pub fn after(self, duration: Duration) -> Tick {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Tick(self.0.saturating_add(nanos))
    }

    /// The moment `duration` earlier, at most that at which the process first asked.
    #[must_use]
    pub fn before(self, duration: Duration) -> Tick {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Tick(self.0.saturating_sub(nanos))
    }

    /// How long it is from `earlier` to this moment; zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl From<Instant> for Tick {
    /// A moment before the process first asked becomes that one.
    fn from(instant: Instant) -> Tick {
        Tick(instant.saturating_duration_since(epoch()).as_nanos() as u64)
    }
}

/// A moment that threads share; that at which the process first asked, to begin with.
#[derive(Debug, Default)]
pub(crate) struct AtomicTick(AtomicU64);

impl AtomicTick {
    pub(crate) fn set(&self, moment: Tick) {
        self.0.store(moment.0, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Tick {
        Tick(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_both_ways_and_never_overflows() {
        let now = Tick::now();
        let later = now.after(Duration::from_millis(5));
        assert_eq!(later.since(now), Duration::from_millis(5));
        assert_eq!(now.since(later), Duration::ZERO);
        assert_eq!(now.after(Duration::MAX), Tick::NEVER);
    }
}
