//! The blocking driver: a thread sits in `read` itself, one for each connection it serves.

mod drive;
mod outbox;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use slab::Slab;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::handle::Control;
use crate::{
    Address, Closed, Config, Counters, Counts, Listener, Peer, Protocol, ServerHandle, Tick,
};

/// What the threads of a server share that block in their calls: limits, the list of connections,
/// and what was counted.
///
/// A model adds who calls [`serve`](Service::serve), and on which thread. A connection that uses no
/// timer, handle or unfinished message makes two system calls a request, `read` and `write`;
/// deadlines are the socket's own timeouts, which are changed only when the nearest deadline moves
/// nearer.
pub struct Service<F> {
    config: Config,
    factory: F,
    shared: Arc<Shared>,
}

struct Shared {
    roster: Mutex<Roster>,
    /// The roster or the phase has changed.
    changed: Condvar,
    /// Where a sleeping `accept` can be reached, to wake it.
    addresses: Mutex<Vec<Address>>,
}

#[derive(Default)]
struct Roster {
    members: Slab<Arc<Member>>,
    /// Connections that are being accepted or served, which is what the limit counts.
    taken: usize,
    /// What connections counted that have ended, and acceptors.
    ended: Counts,
    phase: Phase,
}

/// Where a server stands on its way to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Running,
    Draining,
    /// The time of a drain is up.
    Overdue,
    Stopped,
}

/// A connection that is being served.
struct Member {
    stream: TcpStream,
    counters: Counters,
    /// The thread that serves it, to be unparked when it is to end.
    thread: Thread,
    /// The server drains: the connection is to end when it is in the middle of nothing.
    draining: AtomicBool,
    /// The server stops: the connection is to end,
    stopped: AtomicBool,
    /// because it has drained for long enough.
    overdue: AtomicBool,
    /// The connection is in the middle of a message, and not to be woken by a drain.
    busy: AtomicBool,
}

impl Shared {
    fn roster(&self) -> MutexGuard<'_, Roster> {
        // The roster is whole between any two statements that can panic.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, phase: Phase) {
        let mut roster = self.roster();
        if roster.phase >= phase {
            return;
        }
        let was_running = roster.phase == Phase::Running;
        roster.phase = phase;
        for (_, member) in &roster.members {
            member.end(phase);
        }
        drop(roster);
        self.changed.notify_all();
        if !was_running {
            return; // nobody accepts any more, and the addresses may be another's
        }
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for address in addresses {
            // `accept` has no timeout and no waker: a connection ends its wait on every system.
            let _ = call(&address);
        }
    }
}

/// Connects to an address that is listened on.
fn call(address: &Address) -> io::Result<()> {
    let (domain, address) = match address {
        Address::Ip(address) => (Domain::for_address(*address), reachable(*address).into()),
        Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    socket.connect_timeout(&address, Duration::from_secs(1))
}

/// An address to connect to, of one that was listened on.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

impl Member {
    fn end(&self, phase: Phase) {
        // Paired with `drive`, which says that it is no longer busy and then looks whether it is to
        // end: of the two stores one comes first, so that one of the two sides acts.
        let half = match phase {
            Phase::Running => return,
            Phase::Draining => {
                self.draining.store(true, Ordering::SeqCst);
                if self.busy.load(Ordering::SeqCst) {
                    return;
                }
                // What has come is still read; then `read` says that there is no more.
                Shutdown::Read
            }
            Phase::Overdue | Phase::Stopped => {
                self.overdue.store(phase == Phase::Overdue, Ordering::SeqCst);
                self.stopped.store(true, Ordering::SeqCst);
                Shutdown::Both
            }
        };
        // A socket that is closed already needs no wake.
        let _ = self.stream.shutdown(half);
        self.thread.unpark();
    }
}

impl<F> Service<F> {
    /// Describes what is served: `factory` makes the protocol of each connection.
    pub fn new(config: Config, factory: F) -> Service<F> {
        let shared = Arc::new(Shared {
            roster: Mutex::default(),
            changed: Condvar::new(),
            addresses: Mutex::default(),
        });
        Service { config, factory, shared }
    }

    /// The limits.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Makes a handle, with which any thread ends the server and sees what it counts.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(Arc::clone(&self.shared) as Arc<dyn Control>)
    }

    /// Accepts a connection, waiting for one and, before that, for room under the connection
    /// limit. `None` if the server is to end.
    ///
    /// Out of descriptors or of memory, it says so in the log when that begins, rests for a
    /// moment and tries again.
    pub fn accept(&self, listener: &Listener) -> Option<(TcpStream, Peer)> {
        let mut starved = false;
        loop {
            drop(self.wait_for_room(self.shared.roster())?);
            let accepted = listener.accept();
            let mut roster = self.shared.roster();
            roster.ended.accepts += 1;
            if roster.phase != Phase::Running {
                return None;
            }
            let error = match accepted {
                Ok(accepted) => {
                    // Another acceptor may have taken the last place meanwhile.
                    self.wait_for_room(roster)?.taken += 1;
                    return Some(accepted);
                }
                Err(error) => error,
            };
            let passing = [io::ErrorKind::ConnectionAborted, io::ErrorKind::Interrupted];
            if !passing.contains(&error.kind()) {
                if !std::mem::replace(&mut starved, true) {
                    log::warn!(
                        "no further connection can be accepted at {} open ones: {error}; trying \
                         again every {REST:?} (raise the limit of descriptors, or set \
                         max_connections below it)",
                        roster.taken,
                    );
                }
                let waited = self.shared.changed.wait_timeout(roster, REST);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Waits until a further connection may be served; `None` if the server is to end.
    fn wait_for_room<'a>(
        &self,
        mut roster: MutexGuard<'a, Roster>,
    ) -> Option<MutexGuard<'a, Roster>> {
        while roster.phase == Phase::Running {
            if !self.config.max_connections.is_some_and(|limit| roster.taken >= limit) {
                return Some(roster);
            }
            roster = self.shared.changed.wait(roster).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Gives back the place of a connection that was accepted and can't be served.
    pub fn give_up(&self) {
        self.shared.roster().taken -= 1;
        self.shared.changed.notify_all();
    }

    /// Takes note of an address that [`accept`](Service::accept) waits at, so that the end of the
    /// server can wake it.
    pub fn listens_on(&self, address: Address) {
        self.shared.addresses.lock().unwrap_or_else(PoisonError::into_inner).push(address);
    }

    /// Waits until the server is to end and its connections have ended, a drain's until
    /// [`Config::drain`] is over.
    pub fn wait_for_end(&self) {
        let mut roster = self.shared.roster();
        while roster.phase == Phase::Running {
            roster = self.shared.changed.wait(roster).unwrap_or_else(PoisonError::into_inner);
        }
        let deadline = Tick::now().after(self.config.drain);
        while roster.taken > 0 {
            let left = deadline.since(Tick::now());
            if roster.phase == Phase::Draining && left.is_zero() {
                drop(roster);
                self.shared.advance(Phase::Overdue);
                roster = self.shared.roster();
                continue;
            }
            roster = if roster.phase == Phase::Draining {
                let waited = self.shared.changed.wait_timeout(roster, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.shared.changed.wait(roster).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }
}

/// How long an acceptor rests when the system can't give it another connection.
const REST: Duration = Duration::from_millis(100);

impl<P: Protocol, F: Fn(&Peer) -> P> Service<F> {
    /// Serves a connection that [`accept`](Service::accept) returned, on the calling thread, until
    /// it ends.
    pub fn serve(&self, stream: TcpStream, peer: &Peer) -> Closed {
        let member = Arc::new(Member {
            stream,
            counters: Counters::default(),
            thread: thread::current(),
            draining: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            overdue: AtomicBool::new(false),
            busy: AtomicBool::new(false),
        });
        let mut roster = self.shared.roster();
        let key = roster.members.insert(Arc::clone(&member));
        member.end(roster.phase);
        drop(roster);
        // Whatever the protocol does, the connection leaves the roster.
        let _leave = Leave { shared: &self.shared, key };
        member.counters.opened.add(1);
        log::debug!("{peer}: opened");
        let mut protocol = (self.factory)(peer);
        let reason = drive::drive(&member, peer, &mut protocol, &self.config);
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
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut roster = self.shared.roster();
        let member = roster.members.remove(self.key);
        roster.ended = roster.ended + member.counters.snapshot();
        roster.taken -= 1;
        drop(roster);
        drop(member);
        self.shared.changed.notify_all();
    }
}

impl Control for Shared {
    fn drain(&self) {
        self.advance(Phase::Draining);
    }

    fn stop(&self) {
        self.advance(Phase::Stopped);
    }

    fn counts(&self) -> Counts {
        let roster = self.roster();
        let living = roster.members.iter().map(|(_, member)| member.counters.snapshot());
        living.fold(roster.ended, |sum, counts| sum + counts)
    }
}

impl<F> fmt::Debug for Service<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("config", &self.config).finish_non_exhaustive()
    }
}
