//! A server on a thread of its own, and a witness of all that its connections are told.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use polyloop::{Address, Closed, Config, Connection, Counts, Protocol, ServerHandle, TimerId};
use polyloop_models::{BoundServer, Options};

use super::client::Client;
use super::forked::{self, Elsewhere, Once};
use super::{Company, Scene};

/// A server that runs.
pub(crate) struct Served {
    address: SocketAddr,
    handle: ServerHandle,
    log: Arc<Log>,
    running: Option<JoinHandle<io::Result<()>>>,
    companion: Option<Companion>,
    quiet: bool,
}

impl Scene {
    /// The options of the model's variant.
    pub(crate) fn options(&self, config: Config) -> Options {
        let mut options = Options::from(config);
        if !self.setting.is_empty() {
            options.set(self.model, self.setting).expect("it is a setting of the model");
        }
        options
    }

    /// Serves the protocol that `make` makes, with default limits.
    pub(crate) fn serve<P: Protocol + 'static>(
        &self,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) -> Served {
        self.serve_within(Config::default(), make)
    }

    /// Serves the protocol that `make` makes.
    pub(crate) fn serve_within<P: Protocol + 'static>(
        &self,
        config: Config,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) -> Served {
        self.bind(config, make).run()
    }

    /// Listens, and serves nobody yet: who connects waits in the backlog.
    pub(crate) fn bind<P: Protocol + 'static>(
        &self,
        config: Config,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) -> Bound {
        self.bind_and_prepare(config, make, || {})
    }

    /// As [`bind`](Scene::bind); where the server has a process of its own, `prepare` is called there
    /// before it runs.
    pub(crate) fn bind_and_prepare<P: Protocol + 'static>(
        &self,
        config: Config,
        make: impl Fn() -> P + Send + Sync + 'static,
        prepare: impl FnOnce(),
    ) -> Bound {
        let log = Arc::new(Log::default());
        let witness = Arc::clone(&log);
        let lively = self.company == Company::Lively;
        let any = Address::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        if self.model.forks() && !forked::is_here() {
            let server = Elsewhere::start(&any, &log);
            let address = server.address.ip().expect("TCP");
            let server = Server::Elsewhere(server);
            return Bound { address, handle: server.handle(), server, log, lively };
        }
        let companion_to_come = Once::new(lively);
        let server = self.model.bind(&any, self.options(config), move |accepted| {
            // The companion connects before anybody else knows the port.
            let protocol = (!companion_to_come.take()).then(&make);
            Watched::new(protocol, accepted.peer().ip().expect("TCP"), &witness)
        });
        let server = server.expect("a port is free");
        if forked::is_here() {
            forked::serve_here(server, prepare);
        }
        Bound {
            address: server.addresses()[0].ip().expect("TCP"),
            handle: server.handle(),
            server: Server::Here(server),
            log,
            lively,
        }
    }
}

/// A server of this process, or one that has its own.
pub(super) enum Server {
    Here(BoundServer),
    Elsewhere(Elsewhere),
}

impl Server {
    pub(super) fn handle(&self) -> ServerHandle {
        match self {
            Server::Here(server) => server.handle(),
            Server::Elsewhere(server) => server.handle(),
        }
    }

    pub(super) fn run(self) -> io::Result<()> {
        match self {
            Server::Here(server) => server.run(),
            Server::Elsewhere(server) => server.run(),
        }
    }
}

/// A server that listens, and does not run yet.
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    server: Server,
    handle: ServerHandle,
    log: Arc<Log>,
    lively: bool,
}

impl Bound {
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address, !self.lively, Arc::clone(&self.log))
    }

    pub(crate) fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    pub(crate) fn run(self) -> Served {
        let Bound { address, server, handle, log, lively } = self;
        let name = thread::current().name().unwrap_or("server").to_owned();
        let running = thread::Builder::new().name(name).spawn(move || server.run());
        let mut served = Served {
            address,
            handle,
            log,
            running: Some(running.expect("the system has room for one more thread")),
            companion: None,
            quiet: !lively,
        };
        if lively {
            served.companion = Some(Companion::start(&served));
        }
        served
    }
}

impl Served {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client that is connected; the server may not know yet.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address, self.quiet, Arc::clone(&self.log))
    }

    /// A client whose kernel takes little ahead of it.
    pub(crate) fn connect_with_little_room(&self) -> Client {
        Client::connect_with_little_room(self.address, self.quiet, Arc::clone(&self.log))
    }

    /// A client on a stream that is connected already.
    pub(crate) fn client(&self, stream: TcpStream) -> Client {
        Client::from_stream(stream, self.quiet, Arc::clone(&self.log))
    }

    pub(crate) fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn counts(&self) -> Counts {
        self.handle.counts()
    }

    /// Sends signals to the thread that runs the server, until something is over.
    #[cfg(unix)]
    pub(crate) fn interrupt_until(&self, is_over: impl Fn() -> bool) {
        let running = self.running.as_ref().expect("it is taken at the end");
        crate::unix::interrupt_until(running, is_over);
    }

    /// Stops the server, and looks whether all was in order.
    pub(crate) fn stop(mut self) -> Counts {
        self.dismiss_companion();
        self.handle.stop();
        self.wait()
    }

    /// Waits until the server, which was told to end, has ended, and looks whether all was in
    /// order.
    pub(crate) fn wait(mut self) -> Counts {
        let running = self.running.take().expect("it is taken here only");
        match running.join() {
            Ok(ended) => ended.expect("a server ends without an error"),
            Err(_) => panic!("the server panicked"),
        }
        let counts = self.handle.counts();
        let records = self.log.records();
        for record in records.iter() {
            assert!(record.opened, "a protocol was made and never told that it is open");
            assert!(record.closed.is_some(), "a connection was not told that it is closed");
        }
        let known = records.len() as u64;
        assert_eq!((counts.opened, counts.closed), (known, known), "connections counted and seen");
        counts
    }

    fn dismiss_companion(&mut self) {
        if let Some(companion) = self.companion.take() {
            companion.dismiss(&self.log);
        }
    }
}

impl Drop for Served {
    /// A scenario that fails leaves nothing running.
    fn drop(&mut self) {
        if self.running.is_some() {
            self.handle.stop();
            if let Some(companion) = &self.companion {
                companion.over.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// A client that sends as soon as it is answered.
struct Companion {
    over: Arc<AtomicBool>,
    talking: JoinHandle<SocketAddr>,
}

impl Companion {
    fn start(served: &Served) -> Companion {
        let mut client = Client::connect(served.address, false, Arc::clone(&served.log));
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        // The first protocol that is made is the companion's.
        client.exchange(b"first");
        let talking = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                client.exchange(b"I am still here");
            }
            client.address()
        });
        Companion { over, talking }
    }

    fn dismiss(self, log: &Log) {
        self.over.store(true, Ordering::Relaxed);
        let address = self.talking.join().expect("the companion is always answered");
        assert_eq!(log.reason(address), Closed::Finished, "the companion left in peace");
    }
}

/// What was told to every connection.
#[derive(Default)]
pub(crate) struct Log {
    records: Mutex<Vec<Record>>,
    changed: Condvar,
}

/// What was told to one connection.
pub(crate) struct Record {
    peer: SocketAddr,
    opened: bool,
    /// Bytes of input that it was shown for the first time.
    pub(super) received: usize,
    pub(crate) closed: Option<Closed>,
}

impl Record {
    pub(super) fn open(&mut self) {
        assert!(!self.opened, "opened twice");
        self.opened = true;
    }
}

impl Log {
    pub(crate) fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is` is true of what was told.
    pub(crate) fn wait<T>(&self, mut is: impl FnMut(&[Record]) -> Option<T>) -> T {
        let mut records = self.records();
        loop {
            if let Some(found) = is(&records) {
                return found;
            }
            records = self.changed.wait(records).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the connection of the client at `peer` is closed, and says why it was.
    pub(crate) fn reason(&self, peer: SocketAddr) -> Closed {
        self.wait(|records| latest(records, peer)?.closed)
    }

    /// Why the connection of the client at `peer` is closed, if it is.
    pub(crate) fn closed(&self, peer: SocketAddr) -> Option<Closed> {
        latest(&self.records(), peer)?.closed
    }

    /// Waits until the connection of the client at `peer` was shown `count` bytes.
    pub(crate) fn wait_until_received(&self, peer: SocketAddr, count: usize) {
        self.wait(|records| (latest(records, peer)?.received >= count).then_some(()));
    }

    /// Waits until `count` connections are open that were not closed.
    pub(crate) fn wait_until_open(&self, count: usize) {
        let is_open = |record: &&Record| record.opened && record.closed.is_none();
        self.wait(|records| (records.iter().filter(is_open).count() == count).then_some(()));
    }

    pub(crate) fn open(&self) -> usize {
        self.records().iter().filter(|record| record.opened && record.closed.is_none()).count()
    }

    /// A protocol was made for the client at `peer`.
    pub(super) fn add(&self, peer: SocketAddr) -> usize {
        let mut records = self.records();
        records.push(Record { peer, opened: false, received: 0, closed: None });
        records.len() - 1
    }

    /// The latest record of the client at `peer`.
    pub(super) fn latest(&self, peer: SocketAddr) -> usize {
        let records = self.records();
        records.iter().rposition(|record| record.peer == peer).expect("it was made")
    }

    pub(super) fn change(&self, index: usize, change: impl FnOnce(&mut Record)) {
        change(&mut self.records()[index]);
        self.changed.notify_all();
    }
}

/// Of several connections from one port the latest counts.
fn latest(records: &[Record], peer: SocketAddr) -> Option<&Record> {
    records.iter().rev().find(|record| record.peer == peer)
}

/// A protocol under observation; without one, it echoes: that is the companion's.
pub(crate) struct Watched<P> {
    protocol: Option<P>,
    witness: Witness,
    peer: SocketAddr,
    closed: bool,
    /// What was left unused, to be shown again.
    unused: Vec<u8>,
}

/// Who takes down what a connection is told.
enum Witness {
    /// The log of the scenario.
    Log(Arc<Log>, usize),
    /// The scenario's process, which hears it in a line.
    Elsewhere,
}

impl<P> Watched<P> {
    fn new(protocol: Option<P>, peer: SocketAddr, log: &Arc<Log>) -> Watched<P> {
        let witness = if forked::is_here() {
            forked::say(&format!("made {peer}"));
            Witness::Elsewhere
        } else {
            Witness::Log(Arc::clone(log), log.add(peer))
        };
        Watched { protocol, witness, peer, closed: false, unused: Vec::new() }
    }

    fn take_down(&self, line: impl FnOnce() -> String, change: impl FnOnce(&mut Record)) {
        match &self.witness {
            Witness::Log(log, index) => log.change(*index, change),
            Witness::Elsewhere => forked::say(&line()),
        }
    }

    fn assert_open(&self) {
        assert!(!self.closed, "called after it was closed");
    }
}

impl<P: Protocol> Protocol for Watched<P> {
    fn opened(&mut self, connection: &mut Connection<'_>) {
        self.assert_open();
        assert_eq!(connection.peer().ip(), Some(self.peer));
        self.take_down(|| format!("opened {}", self.peer), Record::open);
        if let Some(protocol) = &mut self.protocol {
            protocol.opened(connection);
        }
    }

    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        self.assert_open();
        assert!(!input.is_empty(), "shown nothing");
        assert!(input.starts_with(&self.unused), "unused input must come again, and first");
        assert!(!connection.is_above_high_water(), "read from above the high-water mark");
        let new = input.len() - self.unused.len();
        self.take_down(|| format!("received {} {new}", self.peer), |record| record.received += new);
        let used = match &mut self.protocol {
            Some(protocol) => protocol.received(connection, input),
            None => {
                connection.send(input);
                input.len()
            }
        };
        self.unused.clear();
        self.unused.extend_from_slice(&input[used..]);
        used
    }

    fn ended(&mut self, connection: &mut Connection<'_>) {
        self.assert_open();
        match &mut self.protocol {
            Some(protocol) => protocol.ended(connection),
            None => connection.close(),
        }
    }

    fn drained(&mut self, connection: &mut Connection<'_>) {
        self.assert_open();
        assert!(!connection.is_above_high_water(), "told that the output fell, and it did not");
        if let Some(protocol) = &mut self.protocol {
            protocol.drained(connection);
        }
    }

    fn timer(&mut self, connection: &mut Connection<'_>, timer: TimerId) {
        self.assert_open();
        if let Some(protocol) = &mut self.protocol {
            protocol.timer(connection, timer);
        }
    }

    fn closed(&mut self, reason: Closed) {
        self.assert_open();
        self.closed = true;
        if let Some(protocol) = &mut self.protocol {
            protocol.closed(reason);
        }
        self.take_down(
            || format!("closed {} {reason:?}", self.peer),
            |record| record.closed = Some(reason),
        );
    }
}

/// A connection that the server may refuse, because it ends.
pub(crate) fn try_to_connect(address: SocketAddr) -> Option<TcpStream> {
    TcpStream::connect(address).ok()
}
