//! The unsafe code of this crate: forking, and what a child does on a signal.
#![allow(unsafe_code)]

use std::io;

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, Pid};
use polyloop::blocking::Interrupt;
use signal_hook::low_level;

/// What the parent tells a child: to end when it is in the middle of nothing,
pub(crate) const DRAIN: Signal = Signal::SIGUSR1;
/// that it has drained for long enough,
pub(crate) const OVERDUE: Signal = Signal::SIGALRM;
/// or to end.
pub(crate) const STOP: Signal = Signal::SIGUSR2;

/// The signals above. The parent blocks them while it may fork, so that a child has them blocked
/// until it listens: by default each of them would kill it.
pub(crate) fn commands() -> SigSet {
    [DRAIN, OVERDUE, STOP].into_iter().collect()
}

/// Proof that the process has one thread, as far as the system tells.
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
        match std::fs::read_dir("/proc/self/task").map(Iterator::count) {
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

/// Ends the connection of this process as the signals of its parent ask.
pub(crate) fn obey(interrupt: Interrupt) -> io::Result<()> {
    let interrupt = std::sync::Arc::new(interrupt);
    for signal in commands().iter() {
        let interrupt = std::sync::Arc::clone(&interrupt);
        let obey = match signal {
            DRAIN => Interrupt::drain,
            OVERDUE => Interrupt::overdue,
            _ => Interrupt::stop,
        };
        // SAFETY: an interrupt takes no lock and allocates nothing, and this process has one
        // thread, whose `errno` signal-hook restores.
        unsafe { low_level::register(signal as i32, move || obey(&interrupt)) }?;
    }
    commands().thread_unblock()?;
    Ok(())
}
