//! The unsafe code of this crate: forking, and what a child does on a signal.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{ForkResult, Pid};
use polyloop::blocking::Interrupt;
use signal_hook::{consts::SIGCHLD, low_level, SigId};

/// What the parent tells a child: to look whether its connection is idle,
pub(crate) const LOOK: Signal = Signal::SIGURG;
/// to end when it is in the middle of nothing,
pub(crate) const DRAIN: Signal = Signal::SIGUSR1;
/// that it has drained for long enough,
pub(crate) const OVERDUE: Signal = Signal::SIGALRM;
/// or to end.
pub(crate) const STOP: Signal = Signal::SIGUSR2;

/// What ends the connection of this process, if it is a child.
static CONNECTION: OnceLock<Interrupt> = OnceLock::new();

/// The signals of a server that forks, for as long as it runs.
///
/// What a child does on a signal it inherits, so that it has nothing to set up. The parent blocks
/// its own commands: neither it nor a child that has no connection yet is reached by them. That a
/// child has ended it does not block, whoever started it may have: a mask outlives an `exec`.
pub(crate) struct Signals {
    ids: Vec<SigId>,
    /// What the thread blocked before.
    former: SigSet,
}

impl Signals {
    /// Calls `child_ended` in a signal handler, where it may neither allocate nor lock.
    pub(crate) fn new(child_ended: impl Fn() + Send + Sync + 'static) -> io::Result<Signals> {
        let former = commands().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let mut signals = Signals { ids: Vec::new(), former };
        // SAFETY: so the caller was told; signal-hook restores the thread's `errno`.
        signals.ids.push(unsafe { low_level::register(SIGCHLD, child_ended) }?);
        SigSet::from(Signal::SIGCHLD).thread_unblock()?;
        for (signal, obey) in COMMANDS {
            let action = move || {
                if let Some(connection) = CONNECTION.get() {
                    obey(connection);
                }
            };
            // SAFETY: on whichever thread of the child it runs (one with a slow reader has a second
            // thread), an interrupt takes no lock and allocates nothing, and signal-hook restores
            // that thread's `errno`.
            signals.ids.push(unsafe { low_level::register(signal as i32, action) }?);
        }
        Ok(signals)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for &id in &self.ids {
            low_level::unregister(id);
        }
        // The way there worked.
        let _ = self.former.thread_set_mask();
    }
}

/// What a child does at a command.
type Obey = fn(&Interrupt);

const COMMANDS: [(Signal, Obey); 4] = [
    (LOOK, Interrupt::look),
    (DRAIN, Interrupt::drain),
    (OVERDUE, Interrupt::overdue),
    (STOP, Interrupt::stop),
];

fn commands() -> SigSet {
    COMMANDS.into_iter().map(|(signal, _)| signal).collect()
}

/// Proof that the process has one thread, as far as the system tells; until somebody else's code is
/// called, which may start one.
pub(crate) struct OnlyThread(());

impl OnlyThread {
    /// # Errors
    ///
    /// There are others.
    ///
    /// # Portability
    ///
    /// Only Linux tells; elsewhere whoever runs the server has to see to it.
    pub(crate) fn check() -> io::Result<OnlyThread> {
        // A directory of directories, each of which links back: to count them by that takes no
        // descriptor, of which there may be none left.
        match fs::metadata("/proc/self/task").map(|tasks| tasks.nlink().saturating_sub(2)) {
            Ok(threads @ 2..) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "process: this process has {threads} threads, of which a fork copies one and \
                     whatever the others hold locked; run it as the only one"
                ),
            )),
            _ => Ok(OnlyThread(())),
        }
    }
}

/// Forks; `None` in the child, which must end with [`exit`].
pub(crate) fn fork(_: &OnlyThread) -> io::Result<Option<Pid>> {
    // SAFETY: there is no other thread that could hold a lock, or anything else half done, which
    // the child would find so for ever.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Ends a child at once: what is to be done at an exit is the parent's to do.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: it takes a number, and nothing of this process is used any more.
    unsafe { libc::_exit(code) }
}

/// Ends the connection of this child as the signals of its parent ask.
pub(crate) fn obey(interrupt: Interrupt) -> io::Result<()> {
    // A child has one connection.
    let _ = CONNECTION.set(interrupt);
    commands().thread_unblock()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_the_former_one_afterwards() {
        // The mask is that of this test's thread.
        let blocked: SigSet = [Signal::SIGCHLD, STOP].into_iter().collect();
        blocked.thread_block().unwrap();
        let before = SigSet::thread_get_mask().unwrap();
        let signals = Signals::new(|| {}).unwrap();
        let during = SigSet::thread_get_mask().unwrap();
        assert!(!during.contains(Signal::SIGCHLD), "nobody would hear of a child that ended");
        assert!(COMMANDS.iter().all(|&(command, _)| during.contains(command)));
        drop(signals);
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }
}
