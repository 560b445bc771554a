//! The blocking driver: threads that sit in `recvfrom`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;

use super::{
    answer, refuse, tells_of_an_answer, DatagramProtocol, DatagramSocket, Inbox, Outbox, FAILURES,
    REST,
};
use crate::address::reachable;
use crate::handle::Control;
use crate::{Config, Counters, Counts, ServerHandle, Tick};

/// Threads that receive datagrams and answer them, shared out among the sockets.
///
/// A datagram costs two system calls, `recvfrom` and `sendto`. Both block: while the kernel takes no
/// answer, nothing is received.
///
/// To end, a socket sends itself a datagram of no bytes, which reaches a thread that sleeps in
/// `recvfrom` on every system; what comes from a socket's own address is never shown to a
/// protocol. A drain answers what has come before it, for [`Config::drain`] at most.
pub struct Service<S> {
    ports: Arc<[Port<S>]>,
    shared: Arc<Shared<S>>,
}

/// What a handle keeps after the end of the server: all but the sockets.
struct Shared<S> {
    /// Locked by whoever wakes threads, so that the end of the server can wait for that.
    ports: Mutex<Weak<[Port<S>]>>,
    config: Config,
    phase: AtomicU8,
    /// Until when a drain may last, once there is one.
    deadline: OnceLock<Tick>,
    /// What each thread counts.
    counters: Vec<Counters>,
}

struct Port<S> {
    socket: S,
    address: SocketAddr,
    own: SocketAddr,
}

/// Where the server stands on its way to the end, in [`Shared::phase`].
const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const STOPPED: u8 = 2;

impl<S: DatagramSocket + Send + 'static> Service<S> {
    /// Prepares `threads` threads for `sockets`, which block. Of the limits, [`Config::max_datagram`]
    /// and [`Config::drain`] concern datagrams.
    ///
    /// # Errors
    ///
    /// Fewer threads than sockets, one of which would never be served; no socket at all, or one that
    /// is not bound.
    pub fn new(sockets: Vec<S>, threads: usize, config: Config) -> io::Result<Service<S>> {
        if sockets.is_empty() || threads < sockets.len() {
            let message =
                format!("{} addresses need as many threads, not {threads}", sockets.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let ports: Arc<[_]> = sockets
            .into_iter()
            .map(|socket| {
                let address = socket.local_address()?;
                Ok(Port { socket, address, own: reachable(address) })
            })
            .collect::<io::Result<_>>()?;
        let mut counters = Vec::new();
        counters.resize_with(threads, Counters::default);
        let shared = Shared {
            ports: Mutex::new(Arc::downgrade(&ports)),
            config,
            phase: AtomicU8::new(RUNNING),
            deadline: OnceLock::new(),
            counters,
        };
        Ok(Service { ports, shared: Arc::new(shared) })
    }

    /// Where it receives, with the ports that the system chose.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ports.iter().map(|port| port.address)
    }

    /// Makes a handle, with which any thread ends the server and sees what it counts.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(Arc::clone(&self.shared) as Arc<dyn Control>)
    }

    /// Serves until a [`ServerHandle`] ends it, on the calling thread and on those that it starts.
    /// `factory` makes the protocol of each. When it returns, the sockets are closed, whoever holds a
    /// handle.
    ///
    /// # Errors
    ///
    /// A thread can't be started.
    ///
    /// # Panics
    ///
    /// If a protocol does, on whichever thread; the others end first.
    pub fn run<P: DatagramProtocol>(self, factory: impl Fn() -> P) -> io::Result<()> {
        let Service { ports, shared } = self;
        let shared = &*shared;
        let served = thread::scope(|scope| {
            let _end = EndAll(shared);
            let mut posts = ports.iter().cycle().zip(&shared.counters);
            let first = posts.next();
            for (port, counters) in posts {
                let mut protocol = factory();
                let started = thread::Builder::new()
                    .name("polyloop datagrams".into())
                    .spawn_scoped(scope, move || shared.serve(port, counters, &mut protocol));
                if let Err(error) = started {
                    // Those that were started are not left behind.
                    shared.end(STOPPED);
                    return Err(error);
                }
            }
            if let Some((port, counters)) = first {
                shared.serve(port, counters, &mut factory());
            }
            Ok(())
        });
        drop(ports);
        // Who is waking threads at this moment holds the sockets for as long.
        drop(shared.ports());
        served
    }
}

/// Ends every thread when the protocol of one panics: nobody would read its socket any more.
struct EndAll<'a, S: DatagramSocket>(&'a Shared<S>);

impl<S: DatagramSocket> Drop for EndAll<'_, S> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end(STOPPED);
        }
    }
}

impl<S: DatagramSocket> Shared<S> {
    fn end(&self, phase: u8) {
        if self.phase.fetch_max(phase, Ordering::SeqCst) < phase {
            let ports = self.ports();
            if let Some(ports) = ports.upgrade() {
                ports.iter().for_each(Port::wake);
            }
        }
    }

    fn ports(&self) -> MutexGuard<'_, Weak<[Port<S>]>> {
        // A panic elsewhere changes nothing here.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what comes is still to be answered.
    fn goes_on(&self) -> bool {
        match self.phase.load(Ordering::SeqCst) {
            RUNNING => true,
            DRAINING => self.deadline.get().is_some_and(|&deadline| Tick::now() < deadline),
            _ => false,
        }
    }

    fn serve<P: DatagramProtocol>(&self, port: &Port<S>, counters: &Counters, protocol: &mut P) {
        let _end = EndAll(self);
        let mut inbox = Inbox::new(S::BATCH, self.config.max_datagram);
        let mut outbox = Outbox::default();
        let mut failures = 0;
        while self.goes_on() {
            counters.reads.add(1);
            match port.socket.receive(&mut inbox) {
                Ok(()) => {
                    failures = 0;
                    let woken = answer(protocol, &inbox, &mut outbox, port.own, counters);
                    port.flush(counters, &mut outbox);
                    if self.phase.load(Ordering::SeqCst) == DRAINING {
                        if woken {
                            break; // all that came before was received before
                        }
                        // The last call to wake was lost if this queue was full.
                        port.wake();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::debug!("{}: no datagram but an error: {error}", port.address);
                    if tells_of_an_answer(&error) {
                        continue;
                    }
                    failures += 1;
                    if failures == FAILURES {
                        log::warn!(
                            "{}: no datagram can be received: {error}; trying again every {REST:?}",
                            port.address
                        );
                    }
                    if failures >= FAILURES {
                        thread::sleep(REST);
                    }
                }
            }
        }
        // The next thread at this socket has to know as well.
        port.wake();
    }
}

impl<S: DatagramSocket> Port<S> {
    /// Sends what waits.
    fn flush(&self, counters: &Counters, outbox: &mut Outbox) {
        while !outbox.is_empty() {
            counters.writes.add(1);
            match self.socket.send(outbox) {
                Ok(count) => {
                    counters.answers.add(count as u64);
                    outbox.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => refuse(outbox, &error, counters),
            }
        }
    }

    /// Wakes a thread that sleeps at this socket.
    fn wake(&self) {
        let mut outbox = Outbox::default();
        outbox.push(self.own, b"");
        // A socket that takes nothing has threads that are awake.
        if let Err(error) = self.socket.send(&outbox) {
            log::error!("{}: could not wake who sleeps there: {error}", self.address);
        }
    }
}

impl<S: DatagramSocket + Send> Control for Shared<S> {
    fn drain(&self) {
        self.deadline.get_or_init(|| Tick::now().after(self.config.drain));
        self.end(DRAINING);
    }

    fn stop(&self) {
        self.end(STOPPED);
    }

    fn counts(&self) -> Counts {
        self.counters.iter().fold(Counts::default(), |sum, counters| sum + counters.snapshot())
    }
}

impl<S> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("threads", &self.shared.counters.len())
            .finish_non_exhaustive()
    }
}
