//! A socket that refuses what a real one refuses too seldom for a test.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use mio::{event, Interest, Registry, Token};
use polyloop::datagram::{DatagramSocket, Inbox, Outbox};
use polyloop::{BorrowedSource, Source};

/// A real socket whose first receives and sends fail, and which takes answers one by one.
pub(super) struct Faulty<S> {
    pub(super) socket: S,
    pub(super) faults: Faults,
}

/// How often a call fails, and how.
pub(super) struct Faults {
    /// In front of what has come,
    before: Fault,
    /// or in its place.
    receives: Fault,
    sends: Fault,
}

struct Fault {
    left: AtomicU32,
    kind: io::ErrorKind,
}

impl Faults {
    /// The first `times` datagrams that come are lost, and an error is told instead.
    pub(super) fn receiving(times: u32, kind: io::ErrorKind) -> Faults {
        Faults { receives: Fault::new(times, kind), ..Faults::none() }
    }

    /// The first `times` calls that receive tell an error and lose nothing.
    pub(super) fn before_receiving(times: u32, kind: io::ErrorKind) -> Faults {
        Faults { before: Fault::new(times, kind), ..Faults::none() }
    }

    /// The first `times` calls that send fail.
    pub(super) fn sending(times: u32, kind: io::ErrorKind) -> Faults {
        Faults { sends: Fault::new(times, kind), ..Faults::none() }
    }

    fn none() -> Faults {
        let [before, receives, sends] = [(); 3].map(|()| Fault::new(0, io::ErrorKind::Other));
        Faults { before, receives, sends }
    }
}

impl Fault {
    fn new(times: u32, kind: io::ErrorKind) -> Fault {
        Fault { left: AtomicU32::new(times), kind }
    }

    fn pass(&self) -> io::Result<()> {
        let one_less = |left: u32| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Err(self.kind.into()),
            Err(_) => Ok(()),
        }
    }
}

impl<S: DatagramSocket> DatagramSocket for Faulty<S> {
    const BATCH: usize = S::BATCH;

    fn receive(&self, inbox: &mut Inbox) -> io::Result<()> {
        self.faults.before.pass()?;
        self.socket.receive(inbox)?;
        self.faults.receives.pass()
    }

    fn send(&self, outbox: &Outbox) -> io::Result<usize> {
        self.faults.sends.pass()?;
        let mut first = Outbox::default();
        if let Some((to, datagram)) = outbox.iter().next() {
            first.push(to, datagram);
        }
        self.socket.send(&first)
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_address()
    }
}

impl<S: Source> event::Source for Faulty<S> {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.socket.register(registry, token, interest)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.socket.reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket.deregister(registry)
    }
}

impl<S: Source> Source for Faulty<S> {
    fn borrowed(&self) -> BorrowedSource<'_> {
        self.socket.borrowed()
    }
}
