//! The blocking driver: a thread sits in `read` itself, one for each connection it serves.

mod drive;
mod entrance;
mod idle;
mod interrupt;
mod outbox;
mod socket;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use slab::Slab;

use crate::handle::Control;
use crate::starvation::Starvation;
use crate::{
    concerns_one_connection, Accepted, Closed, Config, Counter, Counters, Counts, Listener, Peer,
    Protocol, ServerHandle, Tick,
};

use drive::Buffers;
pub use entrance::Entrance;
pub use idle::time_between_looks;
use idle::Stillness;
pub use interrupt::Interrupt;
use socket::Socket;

/// What the threads of a server share that block in their calls: limits, the list of connections,
/// and what was counted.
///
/// A model adds who calls [`serve`](Service::serve), and on which thread. A connection that uses no
/// timer, handle or unfinished message makes two system calls a request, `read` and `write`: that
/// it is idle for too long another thread sees, which looks at all of them now and then. Other
/// deadlines are the socket's own timeouts, which are changed only when the nearest deadline moves
/// nearer. While a connection waits for its peer to take output, its timers wait as well.
pub struct Service<F> {
    factory: F,
    shared: Arc<Shared>,
}

/// The most threads that serve connections and write to slow readers. Linux lets a process have
/// 65,530 mappings, of which a thread takes four, and one that gets only some of them ends the
/// process.
pub const MOST_THREADS: usize = 16_000;

struct Shared {
    config: Config,
    /// [`MOST_THREADS`], but in tests.
    most_threads: usize,
    roster: Mutex<Roster>,
    /// The roster or the phase has changed.
    changed: Condvar,
}

#[derive(Default)]
struct Roster {
    members: Slab<Arc<Member>>,
    /// Connections that were accepted and have not ended, which is what the limit counts.
    taken: usize,
    /// Threads that write to slow readers.
    writers: usize,
    /// What connections counted that have ended, and acceptors.
    ended: Counts,
    phase: Phase,
    /// Where acceptors may sleep.
    entrances: Vec<Arc<Entrance>>,
    starvation: Starvation,
    /// Those of connections that have ended, for others.
    buffers: Vec<Buffers>,
    /// Looks at idle connections, from the first one on that was accepted here.
    watch: Option<Thread>,
}

/// Where a server, and each of its connections, stands on its way to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Running,
    /// A connection is to end when it is in the middle of nothing.
    Draining,
    /// It is to end, because it has drained for long enough.
    Overdue,
    /// It is to end.
    Stopped,
    /// A connection is to end, because nothing has moved on it for long enough.
    Idle,
}

impl Phase {
    const ALL: [Phase; 5] =
        [Phase::Running, Phase::Draining, Phase::Overdue, Phase::Stopped, Phase::Idle];
}

/// A connection that is being served.
struct Member {
    socket: Socket,
    counters: Counters,
    /// Attempts to write of those who hold the lock of the connection's outbox.
    shared_writes: Counter,
    /// The thread that serves it, to be unparked when it is to end.
    thread: Thread,
    /// A [`Phase`].
    phase: AtomicU8,
    /// Its thread is about to read, or reads, and is in the middle of nothing: a drain wakes it.
    resting: AtomicBool,
    stillness: Stillness,
}

impl Shared {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        // The roster is whole between any two statements that can panic.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, roster: MutexGuard<'a, Roster>) -> MutexGuard<'a, Roster> {
        self.changed.wait(roster).unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on to a later phase, and says whether it is one.
    fn advance(&self, phase: Phase) -> bool {
        let mut roster = self.roster();
        if roster.phase >= phase {
            return false;
        }
        roster.phase = phase;
        for (_, member) in &roster.members {
            member.advance(phase);
        }
        let entrances = std::mem::take(&mut roster.entrances);
        let watch = roster.watch.take();
        drop(roster);
        self.changed.notify_all();
        if let Some(watch) = watch {
            watch.unpark();
        }
        for entrance in entrances {
            entrance.close();
        }
        true
    }

    /// A place for a thread that writes to a slow reader; `None` if there are too many.
    fn writer(self: &Arc<Shared>) -> Option<Writer> {
        let mut roster = self.roster();
        if roster.taken + roster.writers >= self.most_threads {
            return None;
        }
        roster.writers += 1;
        Some(Writer(Arc::clone(self)))
    }

    /// Ends a drain that takes too long.
    fn watch_drain(&self) {
        let deadline = Tick::now().after(self.config.drain);
        let mut roster = self.roster();
        while roster.phase == Phase::Draining && roster.taken > 0 {
            let left = deadline.since(Tick::now());
            if left.is_zero() {
                drop(roster);
                self.advance(Phase::Overdue);
                return;
            }
            let waited = self.changed.wait_timeout(roster, left);
            roster = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The place of a thread that writes to a slow reader, for as long as it lives.
struct Writer(Arc<Shared>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.roster().writers -= 1;
    }
}

impl Member {
    /// One that the calling thread serves.
    fn new(socket: Socket) -> Member {
        Member {
            socket,
            counters: Counters::default(),
            shared_writes: Counter::default(),
            thread: thread::current(),
            phase: AtomicU8::new(Phase::Running as u8),
            resting: AtomicBool::new(false),
            stillness: Stillness::default(),
        }
    }

    fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::SeqCst))]
    }

    fn is_to_end(&self) -> bool {
        self.phase.load(Ordering::SeqCst) != Phase::Running as u8
    }

    /// See [`Interrupt`] for what it may not do.
    fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
        // Paired with `drive`, which says that it rests and then looks whether it is to end: of the
        // two stores one comes first, so that one of the two sides acts. Who does not rest looks
        // before the next read, and must not be woken from it: on Unix that ends the input, of which
        // the rest of a message may still be to come.
        match phase {
            Phase::Running => return,
            Phase::Draining if self.resting.load(Ordering::SeqCst) => self.socket.wake_reader(),
            Phase::Draining => {}
            Phase::Overdue | Phase::Stopped | Phase::Idle => self.socket.shut_down(),
        }
        self.thread.unpark();
    }

    fn counts(&self) -> Counts {
        let mut counts = self.counters.snapshot();
        counts.writes += self.shared_writes.get();
        counts
    }
}

impl<F> Service<F> {
    /// Describes what is served: `factory` makes the protocol of each connection.
    pub fn new(config: Config, factory: F) -> Service<F> {
        // The first is made here: a server that forks has it made once for all its children, which
        // then write to as much of it as they read.
        let roster = Roster { buffers: vec![Buffers::new()], ..Roster::default() };
        let shared = Shared {
            config,
            most_threads: MOST_THREADS,
            roster: Mutex::new(roster),
            changed: Condvar::new(),
        };
        Service { factory, shared: Arc::new(shared) }
    }

    /// Makes a handle, with which any thread ends the server and sees what it counts.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(Arc::new(Remote(Arc::clone(&self.shared))))
    }

    /// Makes a listener one that the end of the server wakes.
    ///
    /// # Errors
    ///
    /// There are no descriptors left.
    pub fn entrance(&self, listener: Listener) -> io::Result<Arc<Entrance>> {
        let entrance = Arc::new(Entrance::new(listener)?);
        self.shared.roster().entrances.push(Arc::clone(&entrance));
        Ok(entrance)
    }

    /// Accepts a connection, waiting for one and, before that, for room under the connection
    /// limit. `None` if the server is to end.
    ///
    /// Out of descriptors or of memory, it says so in the log, once a minute at most, rests for a
    /// moment and tries again.
    pub fn accept(&self, entrance: &Entrance) -> Option<(TcpStream, Peer)> {
        let listener = entrance.listener()?;
        let mut accepted = None;
        let mut roster = self.shared.roster();
        loop {
            // Once more when there is somebody: another acceptor may have taken the last place.
            while roster.phase == Phase::Running && self.is_full(&roster) {
                roster = self.shared.wait(roster);
            }
            if roster.phase != Phase::Running {
                drop(accepted);
                self.leave(entrance, roster);
                return None;
            }
            if let Some(somebody) = accepted.take() {
                match self.shared.begin_to_watch(&mut roster) {
                    Ok(()) => {
                        roster.taken += 1;
                        return Some(somebody);
                    }
                    Err(error) => roster.starvation.nobody_to_serve("thread", &error),
                }
            }
            drop(roster);
            let attempt = listener.accept();
            roster = self.shared.roster();
            roster.ended.accepts += 1;
            match attempt {
                Ok(somebody) => accepted = Some(somebody),
                Err(error) if concerns_one_connection(&error) => {}
                Err(_) if roster.phase != Phase::Running => {}
                Err(error) => {
                    let open = roster.taken;
                    roster.starvation.no_connection(open, &error);
                    roster = self.rest(roster);
                }
            }
        }
    }

    fn is_full(&self, roster: &Roster) -> bool {
        self.shared.config.max_connections.is_some_and(|limit| roster.taken >= limit)
    }

    fn rest<'a>(&self, roster: MutexGuard<'a, Roster>) -> MutexGuard<'a, Roster> {
        let waited = self.shared.changed.wait_timeout(roster, Starvation::REST);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// An acceptor leaves for good, and sees to it that the others do.
    fn leave(&self, entrance: &Entrance, mut roster: MutexGuard<'_, Roster>) {
        while let Err(error) = entrance.wake_next() {
            log::debug!("the next acceptor is woken later: {error}");
            roster = self.rest(roster);
        }
    }

    /// How many threads the connections need, if each has one, those among them that were accepted
    /// and are not served yet; and those that write to slow readers. There is room for
    /// [`MOST_THREADS`].
    #[must_use]
    pub fn threads(&self) -> usize {
        let roster = self.shared.roster();
        roster.taken + roster.writers
    }

    /// Gives back the place of a connection that was accepted and can't be served, for want of a
    /// `what`: a thread, for instance.
    pub fn give_up(&self, what: &str, error: &io::Error) {
        let mut roster = self.shared.roster();
        roster.taken -= 1;
        roster.starvation.nobody_to_serve(what, error);
        drop(roster);
        self.shared.changed.notify_all();
    }

    /// Waits until the server is to end and its connections have ended, a drain's until
    /// [`Config::drain`] is over.
    pub fn wait_for_end(&self) {
        let mut roster = self.shared.roster();
        while roster.phase == Phase::Running || roster.taken > 0 {
            roster = self.shared.wait(roster);
        }
    }
}

impl<P: Protocol, F: Fn(&Accepted<'_>) -> P> Service<F> {
    /// Serves a connection that [`accept`](Service::accept) returned, on the calling thread, until
    /// it ends.
    pub fn serve(&self, stream: TcpStream, peer: &Peer) -> Closed {
        self.serve_member(stream, peer, drop)
    }

    /// As [`serve`](Service::serve), of a connection that somebody else accepted and a signal
    /// handler ends, and looks at when it may be idle: `take` is given what does so, before the
    /// protocol is told of anything.
    pub fn serve_interruptibly(
        &self,
        stream: TcpStream,
        peer: &Peer,
        take: impl FnOnce(Interrupt),
    ) -> Closed {
        self.shared.roster().taken += 1;
        self.serve_member(stream, peer, take)
    }

    fn serve_member(&self, stream: TcpStream, peer: &Peer, take: impl FnOnce(Interrupt)) -> Closed {
        let socket = match Socket::new(stream) {
            Ok(socket) => socket,
            Err(error) => {
                self.give_up("way to wake who serves it", &error);
                return Closed::from_error(&error);
            }
        };
        let member = Arc::new(Member::new(socket));
        let mut roster = self.shared.roster();
        let key = roster.members.insert(Arc::clone(&member));
        member.advance(roster.phase);
        let buffers = roster.buffers.pop();
        drop(roster);
        // Whatever the protocol does, the connection leaves the roster.
        let buffers = buffers.unwrap_or_else(Buffers::new);
        let mut leave = Leave { shared: &self.shared, key, buffers };
        take(Interrupt { member: Arc::clone(&member), idle: self.shared.config.idle });
        member.counters.opened.add(1);
        log::debug!("{peer}: opened");
        let mut protocol = (self.factory)(&Accepted::new(&|| peer));
        let reason = drive::drive(&self.shared, &member, peer, &mut protocol, &mut leave.buffers);
        log::debug!("{peer}: closed, {reason}");
        protocol.closed(reason);
        member.counters.closed.add(1);
        reason
    }
}

/// Takes a connection off the roster, and its counts to those of the ended ones.
struct Leave<'a> {
    shared: &'a Shared,
    key: usize,
    buffers: Buffers,
}

impl Leave<'_> {
    /// The buffers of how many connections are kept for others.
    const SPARE: usize = 16;
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let buffers = self.buffers.take();
        let mut roster = self.shared.roster();
        let member = roster.members.remove(self.key);
        roster.ended = roster.ended + member.counts();
        roster.taken -= 1;
        if roster.buffers.len() < Leave::SPARE {
            roster.buffers.push(buffers);
        }
        drop(roster);
        drop(member);
        self.shared.changed.notify_all();
    }
}

/// What a [`ServerHandle`] reaches.
struct Remote(Arc<Shared>);

impl Control for Remote {
    fn drain(&self) {
        if !self.0.advance(Phase::Draining) {
            return;
        }
        // The server's own threads may all be in a `read` that has no end.
        let shared = Arc::clone(&self.0);
        let watch = thread::Builder::new().name("polyloop drain".into());
        if let Err(error) = watch.spawn(move || shared.watch_drain()) {
            log::error!("no thread to watch over the drain: {error}; it is over at once");
            self.0.advance(Phase::Overdue);
        }
    }

    fn stop(&self) {
        self.0.advance(Phase::Stopped);
    }

    fn counts(&self) -> Counts {
        let roster = self.0.roster();
        let living = roster.members.iter().map(|(_, member)| member.counts());
        living.fold(roster.ended, |sum, counts| sum + counts)
    }
}

/// A server that never ran listens no longer.
impl<F> Drop for Service<F> {
    fn drop(&mut self) {
        for entrance in std::mem::take(&mut self.shared.roster().entrances) {
            entrance.close();
        }
    }
}

impl<F> fmt::Debug for Service<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
