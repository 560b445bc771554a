//! The processes of a server that forks, and what they have been told.

use std::collections::HashSet;
use std::time::Duration;

use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;
use polyloop::blocking::time_between_looks;
use polyloop::{Config, Tick};

use super::{Shared, Wish};
use crate::fork;

/// Those that have not been waited for.
pub(super) struct Children {
    living: HashSet<Pid>,
    told: Wish,
    /// How often they look whether they are idle, and when they are told to next.
    looks: Option<(Duration, Tick)>,
    /// When a drain will have lasted for long enough.
    overdue_at: Option<Tick>,
}

impl Children {
    pub(super) fn new(config: &Config) -> Children {
        Children {
            living: HashSet::new(),
            told: Wish::default(),
            looks: time_between_looks(config).map(|between| (between, Tick::now())),
            overdue_at: None,
        }
    }

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
    pub(super) fn due(&self) -> Option<Tick> {
        let looks = self.looks.filter(|_| !self.is_empty());
        [self.overdue_at, looks.map(|(_, next)| next)].into_iter().flatten().min()
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
    /// may; before that, to look now and then whether they are idle.
    pub(super) fn pass_on(&mut self, wish: Wish, drain: Duration, now: Tick, shared: &Shared) {
        if wish > self.told {
            self.told = wish;
            self.looks = None;
            self.overdue_at = (wish == Wish::Drain).then(|| now.after(drain));
            self.tell(if wish == Wish::Drain { fork::DRAIN } else { fork::STOP }, shared);
        }
        if self.overdue_at.is_some_and(|then| then <= now) {
            self.overdue_at = None;
            self.tell(fork::OVERDUE, shared);
        }
        if let Some((between, _)) = self.looks.filter(|&(_, next)| next <= now) {
            self.looks = Some((between, now.after(between)));
            self.tell(fork::LOOK, shared);
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
