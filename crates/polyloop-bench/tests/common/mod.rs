//! Servers of every kind to load, and the program to load them with.

#![allow(dead_code)] // no test uses all of it

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use polyloop::Address;
use polyloop_bench::control::Listening;
use polyloop_bench::load::Report;
use socket2::{Domain, SockRef, Socket, Type};

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// What `load --json` printed.
pub(crate) fn report(ended: &Ended) -> Report {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// Runs the program to its end.
pub(crate) fn polyloop(arguments: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_polyloop"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A `polyloop serve` that runs; it ends with this.
pub(crate) struct Serving {
    pub(crate) target: Address,
    process: Child,
}

impl Serving {
    /// Starts a server; `None` if this system lacks its model or batches, which is printed.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        Self::start_at("127.0.0.1:0", arguments)
    }

    /// As `start`, at some address.
    pub(crate) fn start_at(listen: &str, arguments: &[&str]) -> Option<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_polyloop"))
            .args(["serve", "--listen", listen, "--control"])
            .args(arguments)
            .env("RUST_LOG", "warn,polyloop_bench=debug")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            let output = process.wait_with_output().unwrap();
            let reason = String::from_utf8(output.stderr).unwrap();
            // What the system lacks says why in its own name; anything else is a failure.
            let model = arguments.iter().skip_while(|&&word| word != "--model").nth(1).unwrap();
            let lacks = |what: &str| reason.starts_with(&format!("polyloop: {what}: "));
            let batches = arguments.contains(&"--batches") && lacks("batches of datagrams");
            assert!(lacks(model) || batches, "{arguments:?}: {reason}");
            println!("SKIPPED: {arguments:?}: {}", reason.trim());
            return None;
        }
        let listening: Listening = serde_json::from_str(&line).unwrap();
        Some(Serving { target: listening.listening.parse().unwrap(), process })
    }

    /// Where on the network it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.target.ip().unwrap()
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> String {
        self.address().port().to_string()
    }

    /// Ends the server and returns what it logged.
    pub(crate) fn end(mut self) -> String {
        drop(self.process.stdin.take());
        let mut log = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// The example server, which cargo builds along with the tests.
pub(crate) fn peer() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().unwrap().parent().unwrap();
    let program = format!("peer{}", std::env::consts::EXE_SUFFIX);
    profile.join("examples").join(program)
}

/// An address that nobody listens on, and that nobody else gets as long as this lives.
pub(crate) struct Nobody {
    pub(crate) address: SocketAddr,
    _bound: Socket,
}

impl Nobody {
    pub(crate) fn new() -> Self {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = bound.local_addr().unwrap().as_socket().unwrap();
        Nobody { address, _bound: bound }
    }
}

/// Asks again and again for something that must come to pass.
pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it did not come to pass");
        thread::sleep(Duration::from_millis(1));
    }
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    closed: AtomicU64,
    received: AtomicU64,
}

/// A connection that counts what comes in.
pub(crate) struct Counted {
    stream: TcpStream,
    counts: Arc<Counts>,
}

impl Counted {
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let length = self.stream.read(buffer).unwrap_or(0);
        self.counts.received.fetch_add(length as u64, Ordering::SeqCst);
        length
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.closed.fetch_add(1, Ordering::SeqCst);
    }
}

/// A server with a thread for each connection, inside the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
}

impl Server {
    pub(crate) fn start(serve: impl Fn(Counted) + Clone + Send + 'static) -> Self {
        Self::start_counting(move |_, stream| serve(stream))
    }

    /// The connections are numbered from zero.
    pub(crate) fn start_counting(serve: impl Fn(u64, Counted) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server { address: listener.local_addr().unwrap(), counts: Arc::default() };
        let counts = Arc::clone(&server.counts);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                stream.set_nodelay(true).unwrap();
                let number = counts.accepted.fetch_add(1, Ordering::SeqCst);
                let counted = Counted { stream, counts: Arc::clone(&counts) };
                let serve = serve.clone();
                thread::spawn(move || serve(number, counted));
            }
        });
        server
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    pub(crate) fn received(&self) -> u64 {
        self.counts.received.load(Ordering::SeqCst)
    }

    pub(crate) fn wait_until_all_closed(&self) {
        until(|| (self.counts.closed.load(Ordering::SeqCst) == self.accepted()).then_some(()));
    }
}

pub(crate) fn echo(stream: Counted) {
    echo_with(stream, |_| {});
}

/// Echoes what `change` makes of it.
pub(crate) fn echo_with(mut stream: Counted, mut change: impl FnMut(&mut [u8])) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer);
        change(&mut buffer[..length]);
        if length == 0 || stream.stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Echoes in pieces, each a write of its own.
pub(crate) fn echo_pieces(mut stream: Counted, size: usize) {
    let mut buffer = [0; 1024];
    loop {
        let length = stream.read(&mut buffer);
        let mut pieces = buffer[..length].chunks(size);
        if length == 0 || pieces.any(|piece| stream.stream.write_all(piece).is_err()) {
            return;
        }
    }
}

/// Sends everything back twice.
pub(crate) fn echo_twice(mut stream: Counted) {
    let mut buffer = [0; 1024];
    loop {
        let length = stream.read(&mut buffer);
        let twice = [&buffer[..length], &buffer[..length]].concat();
        if length == 0 || stream.stream.write_all(&twice).is_err() {
            return;
        }
    }
}

/// An output whose reader is gone.
pub(crate) fn nobody_reads() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

/// Echoes so many messages of 64 bytes and closes.
pub(crate) fn echo_times(mut stream: Counted, times: usize) {
    if echo_all(&mut stream, times) {
        let _ = stream.stream.shutdown(Shutdown::Both);
    }
}

/// Says whether so many messages came, all of which it echoes.
fn echo_all(stream: &mut Counted, times: usize) -> bool {
    let mut message = [0; 64];
    for _ in 0..times {
        if stream.stream.read_exact(&mut message).is_err() {
            return false;
        }
        stream.stream.write_all(&message).unwrap();
    }
    true
}

/// Echoes a message of 64 bytes, and closes after `wait`.
pub(crate) fn echo_once(mut stream: Counted, wait: impl FnOnce()) {
    if echo_all(&mut stream, 1) {
        wait();
        let _ = stream.stream.shutdown(Shutdown::Both);
    }
}

/// Answers a message of 64 bytes with as many of them and closes, where the system can in one packet,
/// so that one event tells of both.
pub(crate) fn answer_and_close(mut stream: Counted, length: usize) {
    let mut message = [0; 64];
    if stream.stream.read_exact(&mut message).is_ok() {
        let sent = SockRef::from(&stream.stream).send_with_flags(&message[..length], WITH_THE_NEXT);
        assert_eq!(sent.unwrap(), length);
    }
}

/// Answers a message of 64 bytes and marks the middle one of them as urgent, which takes it out of
/// what is read.
pub(crate) fn answer_urgently(mut stream: Counted) {
    let mut message = [0; 64];
    if stream.stream.read_exact(&mut message).is_ok() {
        let socket = SockRef::from(&stream.stream);
        let sent = socket.send_out_of_band(&message[..33]).unwrap();
        stream.stream.write_all(&message[sent..]).unwrap();
        while stream.read(&mut message) > 0 {}
    }
}

/// The flag of a send that waits for the next one, or for the end, to go with it.
#[cfg(target_os = "linux")]
const WITH_THE_NEXT: i32 = nix::libc::MSG_MORE;
#[cfg(not(target_os = "linux"))]
const WITH_THE_NEXT: i32 = 0;

/// Echoes so many messages of 64 bytes, and answers no other.
pub(crate) fn echo_then_swallow(mut stream: Counted, times: usize) {
    if echo_all(&mut stream, times) {
        swallow(stream);
    }
}

/// Reads and never answers.
pub(crate) fn swallow(mut stream: Counted) {
    while stream.read(&mut [0; 1024]) > 0 {}
}

/// Sends a signal to a process.
#[cfg(unix)]
pub(crate) fn send(signal: &str, process: u32) {
    let kill = Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status();
    assert!(kill.unwrap().success());
}

/// Has the programs that a test starts begin with the system's own answers to interrupts, though
/// whoever started the tests may ignore them: a child inherits what is ignored, and not what is
/// handled.
#[cfg(unix)]
pub(crate) fn hand_down_no_ignored_signal() {
    // Another test of this process may have done it.
    let _ = ctrlc::set_handler(|| std::process::exit(130));
}

/// The children of a process.
#[cfg(target_os = "linux")]
pub(crate) fn children(process: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

/// Says whether a process runs; one that ended and was not waited for does not.
#[cfg(target_os = "linux")]
pub(crate) fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // pid (name) state
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}
