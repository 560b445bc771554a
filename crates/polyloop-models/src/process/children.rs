//! The processes of a server that forks, and what they have been told.

use std::collections::HashSet;
use std::time::Duration;

use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;
use polyloop::Tick;

use super::{Shared, Wish};
use crate::fork;

/// Those that have not been waited for.
#[derive(Default)]
pub(super) struct Children {
    living: HashSet<Pid>,
    told: Wish,
    /// When a drain will have lasted for long enough.
    overdue_at: Option<Tick>,
}

impl Children {
    pub(super) fn add(&mut self, child: Pid) {
        self.living.insert(child);
    }

    pub(super) fn len(&self) -> usize {
        self.living.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.living.is_empty()
    }

    /// When there is something to [pass on](Children::pass_on) that nobody asks for.
    pub(super) fn overdue_at(&self) -> Option<Tick> {
        self.overdue_at
    }

    /// Waits for every one that has ended.
    pub(super) fn reap(&mut self, shared: &Shared) {
        loop {
            shared.called(1);
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(status) => {
                    if let Some(child) = status.pid().filter(|child| self.living.remove(child)) {
                        log::debug!("process {child}: {status:?}");
                        shared.counts().closed += 1;
                    }
                }
            }
        }
    }

    /// Tells them what is asked of the server, once, and that a drain has lasted for as long as it
    /// may.
    pub(super) fn pass_on(&mut self, wish: Wish, drain: Duration, now: Tick, shared: &Shared) {
        if wish > self.told {
            self.told = wish;
            self.overdue_at = (wish == Wish::Drain).then(|| now.after(drain));
            self.tell(if wish == Wish::Drain { fork::DRAIN } else { fork::STOP }, shared);
        }
        if self.overdue_at.is_some_and(|then| then <= now) {
            self.overdue_at = None;
            self.tell(fork::OVERDUE, shared);
        }
    }

    fn tell(&self, signal: Signal, shared: &Shared) {
        shared.called(self.living.len());
        for &child in &self.living {
            // It is not reaped, so that its number is nobody else's.
            let _ = kill(child, signal);
        }
    }
}
