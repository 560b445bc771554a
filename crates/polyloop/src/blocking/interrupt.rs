//! How a signal handler reaches the connection of its process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Member, Phase};

/// Ends one connection, from a signal handler on whichever thread: it takes no lock and allocates
/// nothing, but reads the clock, stores, shuts the socket down and unparks the thread.
///
/// # Portability
///
/// To unpark a thread is a store and a wake (a futex, a semaphore or the like) on Linux, Apple's
/// systems and the BSDs, where alone it has a user.
pub struct Interrupt {
    pub(super) member: Arc<Member>,
    pub(super) idle: Option<Duration>,
}

impl Interrupt {
    /// The connection is to end when it is in the middle of nothing.
    pub fn drain(&self) {
        self.member.advance(Phase::Draining);
    }

    /// It is to end, because it has drained for long enough.
    pub fn overdue(&self) {
        self.member.advance(Phase::Overdue);
    }

    /// It is to end.
    pub fn stop(&self) {
        self.member.advance(Phase::Stopped);
    }

    /// It is to end if nothing has moved on it for as long as it may be idle. To be called every
    /// [`time_between_looks`](super::time_between_looks), for as long as the server is not to end.
    pub fn look(&self) {
        if let Some(idle) = self.idle {
            self.member.look(idle);
        }
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupt")
    }
}
