//! The unsafe code of this crate: forking, and what a child does on a signal.
#![allow(unsafe_code)]

use std::io;
use std::sync::OnceLock;

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, Pid};
use polyloop::blocking::Interrupt;
use signal_hook::{consts::SIGCHLD, low_level, SigId};

/// What the parent tells a child: to end when it is in the middle of nothing,
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
/// its own commands: neither it nor a child that has no connection yet is reached by them.
pub(crate) struct Signals(Vec<SigId>);

impl Signals {
    /// Calls `child_ended` in a signal handler, where it may neither allocate nor lock.
    pub(crate) fn new(child_ended: impl Fn() + Send + Sync + 'static) -> io::Result<Signals> {
        commands().thread_block()?;
        let mut signals = Signals(Vec::new());
        // SAFETY: so the caller was told; signal-hook restores the thread's `errno`.
        signals.0.push(unsafe { low_level::register(SIGCHLD, child_ended) }?);
        for (signal, obey) in COMMANDS {
            let action = move || {
                if let Some(connection) = CONNECTION.get() {
                    obey(connection);
                }
            };
            // SAFETY: an interrupt takes no lock and allocates nothing, and a child has one
            // thread, whose `errno` signal-hook restores.
            signals.0.push(unsafe { low_level::register(signal as i32, action) }?);
        }
        Ok(signals)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for &id in &self.0 {
            low_level::unregister(id);
        }
        // It worked the other way round.
        let _ = commands().thread_unblock();
    }
}

/// What a child does at a command.
type Obey = fn(&Interrupt);

const COMMANDS: [(Signal, Obey); 3] =
    [(DRAIN, Interrupt::drain), (OVERDUE, Interrupt::overdue), (STOP, Interrupt::stop)];

fn commands() -> SigSet {
    COMMANDS.into_iter().map(|(signal, _)| signal).collect()
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

/// Ends the connection of this child as the signals of its parent ask.
pub(crate) fn obey(interrupt: Interrupt) -> io::Result<()> {
    // A child has one connection.
    let _ = CONNECTION.set(interrupt);
    commands().thread_unblock()?;
    Ok(())
}
