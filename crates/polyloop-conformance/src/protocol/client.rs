//! A client on a plain socket that blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use polyloop::Closed;
use socket2::{Domain, Socket, Type};

use super::serve::Log;
use crate::sockets;

/// How long a quiet client is silent before it does something. Nothing relies on what happens
/// meanwhile: silence is what the scenario is about, and a server that lost an edge stays lost.
pub(crate) const SILENCE: Duration = Duration::from_millis(5);

/// A client that waits longer than this waits in vain.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    stream: TcpStream,
    me: SocketAddr,
    quiet: bool,
    sent: usize,
    log: Arc<Log>,
}

impl Client {
    pub(crate) fn connect(server: SocketAddr, quiet: bool, log: Arc<Log>) -> Client {
        Client::from_stream(TcpStream::connect(server).expect("the server listens"), quiet, log)
    }

    /// A client whose kernel takes little ahead of it.
    pub(crate) fn connect_with_little_room(
        server: SocketAddr,
        quiet: bool,
        log: Arc<Log>,
    ) -> Client {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None);
        let socket = socket.expect("the system has room for one more socket");
        // Before connecting, because the window is agreed on there.
        socket.set_recv_buffer_size(32 * 1024).expect("a TCP stream takes the option");
        socket.connect(&server.into()).expect("the server listens");
        Client::from_stream(socket.into(), quiet, log)
    }

    pub(crate) fn from_stream(stream: TcpStream, quiet: bool, log: Arc<Log>) -> Client {
        stream.set_nodelay(true).expect("a TCP stream takes the option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP stream takes the option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a TCP stream takes the option");
        let me = stream.local_addr().expect("a connected socket has an address");
        Client { stream, me, quiet, sent: 0, log }
    }

    /// By which the server knows it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.me
    }

    fn silence(&self) {
        if self.quiet {
            thread::sleep(SILENCE);
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.silence();
        self.send_at_once(bytes);
    }

    /// As [`send`](Client::send), without a silence before it.
    pub(crate) fn send_at_once(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes what is sent");
        self.sent += bytes.len();
    }

    /// Sends to a server that may close the connection at any moment.
    pub(crate) fn send_if_open(&mut self, bytes: &[u8]) {
        self.sent += self.stream.write(bytes).unwrap_or(0);
    }

    /// Sends, and waits until the protocol was shown it.
    pub(crate) fn send_and_wait(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.log.wait_until_received(self.me, self.sent);
    }

    pub(crate) fn send_out_of_band(&mut self, byte: u8) {
        self.silence();
        sockets::send_out_of_band(&self.stream, byte);
    }

    /// Reads as many bytes as `answer` has, which they must be.
    #[track_caller]
    pub(crate) fn expect(&mut self, answer: &[u8]) {
        let mut read = vec![0; answer.len()];
        self.read_all(&mut read);
        if read != answer {
            let differs = read.iter().zip(answer).position(|(read, answer)| read != answer);
            panic!("another answer from byte {differs:?} of {} on", answer.len());
        }
    }

    #[track_caller]
    pub(crate) fn read_all(&mut self, bytes: &mut [u8]) {
        let length = bytes.len();
        let mut count = 0;
        while count < length {
            match self.read(&mut bytes[count..]) {
                Ok(0) => panic!("the end after {count} of {length} bytes"),
                Ok(more) => count += more,
                Err(error) => panic!("{error} after {count} of {length} bytes"),
            }
        }
    }

    /// Sends `bytes` and gets them back.
    #[track_caller]
    pub(crate) fn exchange(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.expect(bytes);
    }

    /// As [`exchange`](Client::exchange), without a silence before it.
    #[track_caller]
    pub(crate) fn exchange_at_once(&mut self, bytes: &[u8]) {
        self.send_at_once(bytes);
        self.expect(bytes);
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// The server says nothing more.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let end = self.read(&mut [0; 64]).expect("an end, not an error");
        assert_eq!(end, 0, "bytes that nobody asked for");
    }

    /// Reads until the connection ends in whatever way, and says how many bytes came before.
    #[track_caller]
    pub(crate) fn read_to_any_end(&mut self) -> usize {
        let mut buffer = vec![0; 64 * 1024];
        let mut count = 0;
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return count,
                Ok(more) => count += more,
                Err(error) => {
                    let waited =
                        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                    assert!(!waited, "the connection does not end");
                    return count;
                }
            }
        }
    }

    /// Nothing has come up to now.
    #[track_caller]
    pub(crate) fn expect_nothing_yet(&mut self) {
        self.stream.set_nonblocking(true).expect("a stream can be made non-blocking");
        let read = self.read(&mut [0; 64]);
        self.stream.set_nonblocking(false).expect("a stream can be made blocking");
        assert_eq!(read.expect_err("nothing to read").kind(), ErrorKind::WouldBlock);
    }

    /// Closes the sending half.
    pub(crate) fn finish(&self) {
        self.silence();
        sockets::finish(&self.stream);
    }

    /// Leaves without a word; the address is by which the server knew it.
    pub(crate) fn leave(self) -> SocketAddr {
        self.silence();
        self.me
    }

    /// Leaves with a reset.
    pub(crate) fn reset(self) -> SocketAddr {
        self.silence();
        sockets::reset(self.stream);
        self.me
    }

    /// Waits until the server has closed the connection, and says why it did.
    pub(crate) fn reason(&self) -> Closed {
        self.log.reason(self.me)
    }

    /// Two clients on one stream, one of which sends while the other reads.
    pub(crate) fn split(&self) -> Client {
        let stream = self.stream.try_clone().expect("the system has room for one more descriptor");
        Client { stream, log: Arc::clone(&self.log), ..*self }
    }
}

/// After how many bytes the pattern repeats itself: prime, so that no buffer of a usual size that is
/// lost or comes twice goes unseen.
const PERIOD: usize = 65_521;

/// `count` bytes of the pattern from `at` on, at most [`PERIOD`].
pub(crate) fn pattern_from(at: usize, count: usize) -> &'static [u8] {
    static TWICE: OnceLock<Vec<u8>> = OnceLock::new();
    let twice = TWICE.get_or_init(|| {
        let once: Vec<u8> = (0..PERIOD).map(|at| (at ^ (at >> 8)) as u8).collect();
        once.repeat(2)
    });
    let at = at % PERIOD;
    &twice[at..at + count]
}

/// Bytes of which no two stretches are alike soon.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    let mut bytes = pattern_from(0, PERIOD).repeat(count / PERIOD + 1);
    bytes.truncate(count);
    bytes
}
