//! Idle connections, which are seen from outside: a thread that read with a timeout would have the
//! kernel set a timer, and take it away, for each request.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::{Member, Phase, Roster, Shared};
use crate::clock::AtomicTick;
use crate::{Config, Tick};

/// How often a connection is looked at within the time for which it may be idle, by which part of
/// that its end may be late.
const LOOKS: u32 = 16;

/// How long whoever looks for idle connections rests between two looks; `None` if they may be idle
/// for ever.
#[must_use]
pub fn time_between_looks(config: &Config) -> Option<Duration> {
    config.idle.map(|idle| (idle / LOOKS).max(Duration::from_millis(1)))
}

/// What the last look at a connection found.
pub(super) struct Stillness {
    /// How often something had moved.
    moved: AtomicU64,
    /// When that was seen first.
    since: AtomicTick,
}

impl Default for Stillness {
    fn default() -> Stillness {
        Stillness { moved: AtomicU64::new(u64::MAX), since: AtomicTick::default() }
    }
}

impl Member {
    /// Ends the connection if nothing has moved on it since it was first seen so, `idle` ago. What
    /// is in the middle of something, or does not read, sees to its deadlines itself.
    ///
    /// See [`Interrupt`](super::Interrupt) for what it may not do.
    pub(super) fn look(&self, idle: Duration) {
        let now = Tick::now();
        let moved = self.moved();
        if self.stillness.moved.swap(moved, Ordering::Relaxed) != moved {
            // Not before what has moved, whenever this thread had the processor.
            return self.stillness.since.set(Tick::now());
        }
        let is_idle = now.since(self.stillness.since.get()) >= idle
            && self.resting.load(Ordering::SeqCst)
            && !self.is_to_end()
            // Which its reader may not have had the time to read.
            && !self.socket.has_input();
        if is_idle {
            self.advance(Phase::Idle);
        }
    }

    /// Grows when bytes move, and stands still while a read waits.
    fn moved(&self) -> u64 {
        let counts = self.counts();
        (counts.reads + counts.writes).wrapping_sub(counts.would_blocks)
    }
}

impl Shared {
    /// Has a thread look at all connections, unless one does.
    pub(super) fn begin_to_watch(self: &Arc<Shared>, roster: &mut Roster) -> io::Result<()> {
        let Some((idle, between)) = self.config.idle.zip(time_between_looks(&self.config)) else {
            return Ok(());
        };
        if roster.watch.is_none() {
            let shared = Arc::downgrade(self);
            let thread = thread::Builder::new().name("polyloop idle".into());
            let watch = thread.spawn(move || watch(&shared, idle, between))?;
            roster.watch = Some(watch.thread().clone());
        }
        Ok(())
    }
}

/// Looks at all connections until the server is to end, or is gone: a drain ends who is idle.
fn watch(shared: &Weak<Shared>, idle: Duration, between: Duration) {
    while let Some(shared) = shared.upgrade() {
        let roster = shared.roster();
        if roster.phase != Phase::Running {
            return;
        }
        for (_, member) in &roster.members {
            member.look(idle);
        }
        drop(roster);
        drop(shared);
        thread::park_timeout(between);
    }
}
