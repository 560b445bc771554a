//! The peers echo what they get, survive what clients do, and end with their parent: a figure
//! next to one that cuts corners would be worth nothing.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use polyloop_bench::control::{Gate, Listening};
use polyloop_bench::load;
use polyloop_bench::protocols::Builtin;
use polyloop_bench::transport::Transport;
use polyloop_models::Model;

struct Peer {
    process: Child,
    stdin: Option<ChildStdin>,
    address: SocketAddr,
}

impl Peer {
    /// Starts a server; `None` if this system lacks what it stands on, which is printed.
    fn start(program: &str, arguments: &[&str]) -> Option<Self> {
        if program == env!("CARGO_BIN_EXE_bare_uring") {
            if let Err(missing) = Model::Uring.check() {
                assert_eq!(missing.kind(), ErrorKind::Unsupported, "{missing}");
                println!("SKIPPED: {missing}");
                return None;
            }
        }
        let mut process = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--control"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let listening: Listening = serde_json::from_str(&line).unwrap();
        let address = listening.listening.parse().unwrap();
        Some(Peer { stdin: process.stdin.take(), process, address })
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stdin = None;
        let status = self.process.wait().unwrap();
        assert!(status.success() || thread::panicking(), "{status}");
    }
}

/// One request and its echo.
fn exchange(stream: &mut TcpStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer == message);
}

fn many_connections(peer: &Peer) {
    // On Windows every socket that is watched makes every wait slower.
    let idle = if cfg!(windows) { 50 } else { 500 };
    for (connections, active, size, requests, short) in [
        (64, 64, 64, 400, false),
        (idle, 5, 64, 400, false),
        (4, 4, 300_001, 40, false),
        (32, 32, 64, 400, true),
    ] {
        let settings = load::Settings {
            target: peer.address.into(),
            transport: Transport::Tcp,
            protocol: Builtin::Echo,
            connections,
            active,
            size,
            duration: Duration::ZERO,
            requests: Some(requests),
            warmup: Duration::ZERO,
            rate: None,
            short,
            timeout: Duration::from_secs(10),
            seed: 1,
            pin: None,
        };
        let report = load::run(&settings, &Gate::open()).unwrap();
        assert_eq!((report.requests, report.errors.total()), (requests, 0), "{report:?}");
    }
}

/// Sixteen megabytes against a client that begins to read only when nothing more can be written.
fn a_slow_reader(peer: &Peer) {
    let mut stream = peer.connect();
    let message: Vec<u8> = (0..16 << 20).map(|index: u32| (index % 251) as u8).collect();
    stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while sent < message.len() {
        match stream.write(&message[sent..]) {
            Ok(written) => sent += written,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    stream.set_nonblocking(false).unwrap();
    thread::scope(|scope| {
        let mut writer = &stream;
        let rest = &message[sent..];
        scope.spawn(move || {
            writer.write_all(rest).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut answer = Vec::new();
        (&stream).read_to_end(&mut answer).unwrap();
        assert!(answer == message, "{} of {} bytes", answer.len(), message.len());
    });
}

/// Data and the end of it in one go, then the server's own end.
fn half_close(peer: &Peer) {
    let mut stream = peer.connect();
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"last words");
}

/// A reset in the middle of a message concerns nobody else.
fn reset(peer: &Peer) {
    let mut bystander = peer.connect();
    exchange(&mut bystander, b"before");
    for _ in 0..100 {
        let mut stream = peer.connect();
        stream.write_all(&[7; 100_000]).unwrap();
        // Unread input turns the close into a reset.
        stream.read_exact(&mut [0]).unwrap();
    }
    exchange(&mut bystander, b"after");
}

/// A request, silence, another; with an out-of-band byte between two parts of one.
///
/// Not tokio: it takes every short read for a sign that the socket is empty, asks for no
/// priority data, and now and then leaves the second part where it is until more arrives.
#[test]
fn an_out_of_band_byte_hides_nothing() {
    let mut peers: Vec<(&str, &[&str])> =
        vec![(env!("CARGO_BIN_EXE_bare_mio"), &[]), (env!("CARGO_BIN_EXE_bare_thread"), &[])];
    if cfg!(unix) {
        peers.push((env!("CARGO_BIN_EXE_bare_poll"), &[]));
        peers.push((env!("CARGO_BIN_EXE_bare_select"), &[]));
    }
    if cfg!(target_os = "linux") {
        peers.push((env!("CARGO_BIN_EXE_bare_epoll"), &["--trigger", "level"]));
        peers.push((env!("CARGO_BIN_EXE_bare_epoll"), &["--trigger", "edge"]));
        peers.push((env!("CARGO_BIN_EXE_bare_uring"), &[]));
    }
    for (program, arguments) in peers {
        let Some(peer) = Peer::start(program, arguments) else { continue };
        for _ in 0..20 {
            out_of_band(&peer);
        }
    }
}

fn out_of_band(peer: &Peer) {
    let mut stream = peer.connect();
    exchange(&mut stream, b"request");
    stream.write_all(b"abc").unwrap();
    socket2::SockRef::from(&stream).send_out_of_band(b"!").unwrap();
    stream.write_all(b"def").unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"abcdef");
    exchange(&mut stream, b"another");
}

macro_rules! peers {
    ($($name:ident: $program:ident $($argument:literal)*;)*) => { $(
        mod $name {
            use super::Peer;

            fn peer() -> Option<Peer> {
                let program = env!(concat!("CARGO_BIN_EXE_", stringify!($program)));
                Peer::start(program, &[$($argument),*])
            }

            #[test]
            fn many_connections() {
                peer().iter().for_each(super::many_connections);
            }

            #[test]
            fn a_slow_reader() {
                peer().iter().for_each(super::a_slow_reader);
            }

            #[test]
            fn half_close() {
                peer().iter().for_each(super::half_close);
            }

            #[test]
            fn reset() {
                peer().iter().for_each(super::reset);
            }
        }
    )* };
}

peers! {
    bare_mio: bare_mio;
    bare_thread: bare_thread;
    bare_pool: bare_pool "--threads" "500";
    tokio_current_thread: tokio_current_thread;
}

#[cfg(unix)]
peers! {
    bare_poll: bare_poll;
    bare_process: bare_process;
    bare_select: bare_select;
}

#[cfg(target_os = "linux")]
peers! {
    bare_epoll_level: bare_epoll "--trigger" "level";
    bare_epoll_edge: bare_epoll "--trigger" "edge";
    bare_uring: bare_uring;
}

/// One client after another, which is all that it can do.
#[test]
fn bare_iterative_serves_one_client_after_another() {
    let peer = Peer::start(env!("CARGO_BIN_EXE_bare_iterative"), &[]).unwrap();
    let mut first = peer.connect();
    exchange(&mut first, b"first");
    let mut second = peer.connect();
    second.write_all(b"second").unwrap();
    exchange(&mut first, b"first again");
    drop(first);
    let mut answer = [0; 6];
    second.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"second");
    drop(second);
    half_close(&peer);
    a_slow_reader(&peer);
}
