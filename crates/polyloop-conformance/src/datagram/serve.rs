//! A server on a thread of its own, and those who talk to it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use polyloop::datagram::LONGEST;
use polyloop::{Address, Config, Counts, DatagramProtocol, Reply, ServerHandle};
use polyloop_linux::BatchSocket;
use polyloop_models::{BoundServer, Model, Options};

use super::sockets::{Faults, Faulty};
use super::Scene;
use crate::protocol::Company;

/// How long a quiet client is silent before it does something. Nothing relies on what happens
/// meanwhile.
const SILENCE: Duration = Duration::from_millis(5);

/// How long the companion waits before it tries again: what it sent may have found no room.
const AGAIN: Duration = Duration::from_millis(100);

/// Any port of this machine.
pub(super) const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Says back what it hears, and about what it could not hear whole, how much of it it saw.
pub(super) struct Echo;

impl DatagramProtocol for Echo {
    fn received(&mut self, _: SocketAddr, datagram: &[u8], reply: Reply<'_>) {
        reply.send(datagram);
    }

    fn truncated(&mut self, _: SocketAddr, beginning: &[u8], reply: Reply<'_>) {
        reply.send(format!("only {} bytes, from {}", beginning.len(), beginning[0]).as_bytes());
    }
}

/// Sends a datagram that names the server's own address there twice more. Each of these does the
/// same, so that from the first on there is always more to receive, however seldom any other thread
/// runs. Says back what else it hears.
pub(super) struct Endless {
    socket: UdpSocket,
}

impl Endless {
    pub(super) fn new() -> Endless {
        Endless { socket: UdpSocket::bind(ANY).expect("the system has room for one more socket") }
    }
}

impl DatagramProtocol for Endless {
    fn received(&mut self, _: SocketAddr, datagram: &[u8], reply: Reply<'_>) {
        let named = std::str::from_utf8(datagram).ok().and_then(|text| text.parse().ok());
        let Some::<SocketAddr>(server) = named else { return reply.send(datagram) };
        for _ in 0..2 {
            // What finds no room is lost.
            let _ = self.socket.send_to(datagram, server);
        }
    }
}

/// A server that receives already, and does not answer yet.
pub(super) struct Bound {
    server: BoundServer,
    lively: bool,
}

/// A server that runs.
pub(super) struct Served {
    addresses: Vec<SocketAddr>,
    handle: ServerHandle,
    running: Option<JoinHandle<io::Result<()>>>,
    companion: Option<Companion>,
    quiet: bool,
}

impl Scene {
    /// Serves the protocol that `make` makes, with default limits.
    pub(super) fn serve<P: DatagramProtocol + 'static>(
        &self,
        make: impl Fn() -> P + Send + 'static,
    ) -> Served {
        self.bind(&[ANY], Config::default(), make).run()
    }

    /// Prepares to serve the protocol that `make` makes.
    pub(super) fn bind<P: DatagramProtocol + 'static>(
        &self,
        addresses: &[SocketAddr],
        config: Config,
        make: impl Fn() -> P + Send + 'static,
    ) -> Bound {
        let mut options = Options::from(config);
        options.batches = self.batches;
        let addresses: Vec<_> = addresses.iter().copied().map(Address::Ip).collect();
        let server = self.model.bind_datagram(&addresses[..], options, make);
        self.bound(server.expect("a port is free"))
    }

    /// Serves an echo at a socket with faults.
    pub(super) fn serve_with(&self, faults: Faults) -> Served {
        self.bind_with(faults, Config::default(), || Echo).run()
    }

    /// Prepares to serve the protocol that `make` makes at a socket with faults.
    pub(super) fn bind_with<P: DatagramProtocol + 'static>(
        &self,
        faults: Faults,
        config: Config,
        make: impl Fn() -> P + Send + 'static,
    ) -> Bound {
        let faults = std::cell::Cell::new(Some(faults));
        let faults = || faults.take().expect("there is one socket");
        let server = if self.batches {
            self.model.bind_sockets(ANY, config, make, |socket| {
                Ok(Faulty { socket: BatchSocket::new(socket)?, faults: faults() })
            })
        } else {
            self.model.bind_sockets(ANY, config, make, |socket| {
                Ok(Faulty { socket: mio::net::UdpSocket::from_std(socket), faults: faults() })
            })
        };
        // A companion would meet the faults.
        Bound { server: server.expect("a port is free"), lively: false }
    }

    /// Whether the model's sockets block.
    pub(super) fn blocks(&self) -> bool {
        matches!(self.model, Model::Iterative | Model::Pool)
    }

    /// How many threads of the server receive.
    pub(super) fn threads(&self) -> u32 {
        match self.model {
            Model::Pool => Options::THREADS.get() as u32,
            _ => 1,
        }
    }

    /// Whether datagrams of one client may overtake each other in the server.
    pub(super) fn has_several_threads(&self) -> bool {
        self.threads() > 1
    }

    fn bound(&self, server: BoundServer) -> Bound {
        Bound { server, lively: self.company == Company::Lively }
    }
}

impl Bound {
    pub(super) fn connect(&self) -> Client {
        Client::connect(self.addresses()[0], !self.lively)
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.server.addresses().iter().filter_map(Address::ip).collect()
    }

    pub(super) fn handle(&self) -> ServerHandle {
        self.server.handle()
    }

    pub(super) fn run(self) -> Served {
        let addresses = self.addresses();
        let handle = self.server.handle();
        let name = thread::current().name().unwrap_or("server").to_owned();
        let running = thread::Builder::new().name(name).spawn(move || self.server.run());
        let companion = self.lively.then(|| Companion::start(addresses[0]));
        Served {
            addresses,
            handle,
            running: Some(running.expect("the system has room for one more thread")),
            companion,
            quiet: !self.lively,
        }
    }
}

impl Served {
    pub(super) fn connect(&self) -> Client {
        self.connect_to(0)
    }

    /// A client of one of several addresses.
    pub(super) fn connect_to(&self, index: usize) -> Client {
        Client::connect(self.addresses[index], self.quiet)
    }

    pub(super) fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// Floods the first address of a server of [`Endless`].
    pub(super) fn flood(&self) {
        self.connect().send_at_once(self.addresses[0].to_string().as_bytes());
        self.receives_more();
    }

    /// Waits until the server has received many more datagrams, in several turns.
    pub(super) fn receives_more(&self) {
        let enough = self.handle.counts().datagrams + 1_000;
        while self.handle.counts().datagrams < enough {
            // On a system with one processor, whoever only yields takes most of it from the server.
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops the server.
    pub(super) fn stop(mut self) -> Counts {
        self.companion = None;
        self.handle.stop();
        self.wait()
    }

    /// Waits until the server, which was told to end, has ended.
    pub(super) fn wait(mut self) -> Counts {
        let running = self.running.take().expect("it is taken here only");
        match running.join() {
            Ok(ended) => ended.expect("a server ends without an error"),
            Err(_) => panic!("the server panicked"),
        }
        let counts = self.handle.counts();
        assert_eq!((counts.opened, counts.closed), (0, 0), "datagrams have no connection");
        counts
    }
}

impl Drop for Served {
    /// A scenario that fails leaves nothing running.
    fn drop(&mut self) {
        self.handle.stop();
    }
}

/// A client that sends as soon as it is answered.
struct Companion {
    over: Arc<AtomicBool>,
    talking: Option<JoinHandle<()>>,
}

impl Companion {
    fn start(server: SocketAddr) -> Companion {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let talking = thread::spawn(move || {
            let client = Client::connect(server, false);
            client.socket.set_read_timeout(Some(AGAIN)).expect("a socket takes the option");
            while !told.load(Ordering::Relaxed) {
                client.send(b"I am still here");
                let _ = client.socket.recv(&mut [0; 64]);
            }
        });
        Companion { over, talking: Some(talking) }
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(talking) = self.talking.take() {
            let _ = talking.join();
        }
    }
}

/// A client on a plain socket that blocks, and hears nobody but the server.
pub(super) struct Client {
    pub(super) socket: UdpSocket,
    quiet: bool,
}

impl Client {
    /// A client that waits longer than this waits in vain.
    pub(super) const PATIENCE: Duration = Duration::from_secs(20);

    pub(super) fn connect(server: SocketAddr, quiet: bool) -> Client {
        let any = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(any).expect("the system has room for one more socket");
        socket.connect(server).expect("the server has an address");
        socket.set_read_timeout(Some(Client::PATIENCE)).expect("a socket takes the option");
        Client { socket, quiet }
    }

    pub(super) fn send(&self, datagram: &[u8]) {
        if self.quiet {
            thread::sleep(SILENCE);
        }
        self.send_at_once(datagram);
    }

    /// As [`send`](Client::send), without a silence before it.
    pub(super) fn send_at_once(&self, datagram: &[u8]) {
        let sent = self.socket.send(datagram).expect("loopback takes a datagram");
        assert_eq!(sent, datagram.len());
    }

    /// Receives one datagram.
    #[track_caller]
    pub(super) fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; LONGEST + 1];
        let length = self.socket.recv(&mut buffer).expect("an answer comes");
        buffer.truncate(length);
        buffer
    }

    /// Receives one datagram, which must be this.
    #[track_caller]
    pub(super) fn expect(&self, answer: &[u8]) {
        let received = self.receive();
        assert_eq!(received.len(), answer.len(), "another answer than expected");
        assert!(received == answer, "another answer of the same length");
    }

    /// Receives as many datagrams as these, which must be these. Several threads answer in any
    /// order.
    #[track_caller]
    pub(super) fn expect_all(&self, scene: &Scene, mut answers: Vec<Vec<u8>>) {
        let mut received: Vec<_> = answers.iter().map(|_| self.receive()).collect();
        if scene.has_several_threads() {
            received.sort_unstable();
            answers.sort_unstable();
        }
        // The answers may be long.
        assert!(received == answers, "other answers than expected, or in another order");
    }

    /// Sends a datagram and gets it back.
    #[track_caller]
    pub(super) fn exchange(&self, datagram: &[u8]) {
        self.send(datagram);
        self.expect(datagram);
    }

    /// Nothing has come up to now.
    #[track_caller]
    pub(super) fn expect_nothing_yet(&self) {
        self.socket.set_nonblocking(true).expect("a socket can be made non-blocking");
        let read = self.socket.recv(&mut [0; 64]);
        self.socket.set_nonblocking(false).expect("a socket can be made blocking");
        assert_eq!(read.expect_err("nothing to read").kind(), io::ErrorKind::WouldBlock);
    }
}
