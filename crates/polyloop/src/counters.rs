//! What a loop, or a thread that drives connections, did so far.

use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread counts up and any thread may read.
///
/// One writer needs no atomic addition: a relaxed load, an addition and a relaxed store compile to
/// plain moves, so that counting costs what a plain `u64` costs.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the one thread that owns the counter calls it.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value at some moment near now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What one loop or one thread does, counted as it goes and read from anywhere.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        /// [`Counters`] at one moment, or the difference between two.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// What was counted up to now.
            #[must_use]
            pub fn snapshot(&self) -> Counts {
                Counts { $($name: self.$name.get(),)* }
            }
        }

        impl Counts {
            /// How many counts there are.
            pub const NUMBER: usize = [$(stringify!($name)),*].len();

            /// Every count, in the order of the fields: to be sent to another process.
            #[must_use]
            pub fn to_array(self) -> [u64; Counts::NUMBER] {
                [$(self.$name),*]
            }

            /// Takes back what [`to_array`](Counts::to_array) made.
            #[must_use]
            pub fn from_array([$($name),*]: [u64; Counts::NUMBER]) -> Counts {
                Counts { $($name),* }
            }

            /// Every count with its name, in the order of the fields.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }

        impl Add for Counts {
            type Output = Counts;
            fn add(self, other: Counts) -> Counts {
                Counts { $($name: self.$name.wrapping_add(other.$name),)* }
            }
        }

        impl Sub for Counts {
            type Output = Counts;
            fn sub(self, other: Counts) -> Counts {
                Counts { $($name: self.$name.wrapping_sub(other.$name),)* }
            }
        }
    };
}

counters! {
    /// Turns of the loop, each with one call of the backend's `poll`.
    turns,
    /// Events that those calls brought.
    events,
    /// Calls that brought nothing: a timeout, a wake, a signal.
    empty_polls,
    /// Sources dispatched again without a new event, because they had more to do.
    reposts,
    /// Changes told to the backend: a new source, another interest, one to forget.
    interest_changes,
    /// Calls of `read`.
    reads,
    /// Calls of `write`.
    writes,
    /// Calls of `accept`.
    accepts,
    /// Reads, writes and accepts that found nothing to do.
    would_blocks,
    /// Events for a source that was gone.
    stale_events,
    /// Messages from other threads.
    messages,
    /// Timers that came due.
    timers,
    /// Connections opened.
    opened,
    /// Connections closed.
    closed,
    /// Datagrams received.
    datagrams,
    /// Datagrams of these that were longer than the limit.
    truncated,
    /// Datagrams sent in answer.
    answers,
    /// Answers that the system refused, or that waited when the server stopped.
    unsent,
    /// Other system calls: half-closing, options, interest changes where the kernel keeps the set,
    /// and what a backend has to ask beside its wait.
    other_calls,
    /// Reads, writes, accepts and closes that were no system calls of their own: the kernel was
    /// handed several at once, in a call that counts as a turn.
    batched,
    /// Nanoseconds in the backend's `poll`.
    waiting_ns,
    /// Nanoseconds between one `poll` and the next.
    handling_ns,
}

impl Counts {
    /// System calls on sockets and on the backend.
    #[must_use]
    pub fn system_calls(&self) -> u64 {
        let calls =
            self.turns + self.reads + self.writes + self.accepts + self.closed + self.other_calls;
        // Counts that are read while they grow may not fit together.
        calls.saturating_sub(self.batched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_two_snapshots_is_what_happened_between() {
        let counters = Counters::default();
        counters.reads.add(2);
        let before = counters.snapshot();
        counters.reads.add(3);
        counters.closed.add(1);
        let between = counters.snapshot() - before;
        assert_eq!(between, Counts { reads: 3, closed: 1, ..Counts::default() });
        assert_eq!(between.system_calls(), 4);
        assert_eq!(between + before, counters.snapshot());
        assert!(between.named().contains(&("reads", 3)));
        assert_eq!(Counts::from_array(between.to_array()), between);
    }
}
