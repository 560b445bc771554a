//! Every example as its users run it: the program, a port, real sockets.

mod chat;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use polyloop_models::Model;
use socket2::{Domain, SockRef, Socket, Type};

/// Nothing here takes as long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

const MEGABYTE: usize = 1 << 20;

fn command(name: &str, arguments: &[&str]) -> Command {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().unwrap().parent().unwrap();
    let program =
        profile.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(program.exists(), "cargo test builds it, and so does cargo build --examples");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("RUST_LOG");
    command
}

/// A running example; it ends with the test.
struct Example {
    process: Child,
    /// A program may say more than its first line.
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Example {
        Example::run(command(name, arguments))
    }

    fn run(mut command: Command) -> Example {
        let mut process = command.spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address =
            line.strip_prefix("listening on ").and_then(|rest| rest.split_whitespace().next());
        let address = address.expect("the first line says where it listens").parse().unwrap();
        Example { process, stdout, address }
    }

    fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.address).unwrap())
    }

    /// Ends it, and returns what it said on stderr.
    fn end(mut self) -> String {
        self.process.kill().unwrap();
        let mut said = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Both do nothing where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A stream that fails a test which waits for ever.
fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Bytes of which no part looks like the one before it.
fn pattern(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Writes all and half-closes, from another thread, while this one reads to the end.
fn exchange(stream: &TcpStream, sent: &[u8]) -> Vec<u8> {
    let mut received = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = stream;
            writer.write_all(sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut reader = stream;
        reader.read_to_end(&mut received).unwrap();
    });
    received
}

/// Writes until nothing more is taken, and returns how much was; panics at `limit`.
fn fill(stream: &mut TcpStream, limit: usize) -> usize {
    // A write that has to wait for so long waits for a reader; should it not, the rest is longer.
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let chunk = vec![7; 64 * 1024];
    let mut sent = 0;
    loop {
        match stream.write(&chunk) {
            Ok(written) => sent += written,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < limit, "nobody reads, and {sent} bytes were taken");
    }
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    sent
}

/// Bytes come back as they were: a few, a megabyte, from many, and from one that is slow to read.
fn echoes(server: &Example) {
    let mut bystander = server.connect();
    for length in [1, 100, 20_000, MEGABYTE] {
        let sent = pattern(length, length as u32);
        assert!(exchange(&server.connect(), &sent) == sent, "{length} bytes");
    }
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for round in 0..3 {
        for (index, client) in clients.iter_mut().enumerate() {
            write!(client, "{round} {index:03}").unwrap();
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let mut answer = [0; 5];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, *format!("{round} {index:03}").as_bytes());
        }
    }

    let mut slow = server.connect();
    let sent = fill(&mut slow, 64 * MEGABYTE);
    // The others do not notice,
    bystander.write_all(b"still here?").unwrap();
    bystander.read_exact(&mut [0; 11]).unwrap();
    // and nothing is lost.
    slow.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    let end = slow.read_to_end(&mut received);
    assert!(end.is_ok() && received == vec![7; sent], "{end:?}: {} of {sent}", received.len());
}

#[test]
fn echo() {
    echoes(&Example::start("echo", &["127.0.0.1:0"]));
}

#[test]
fn ticker() {
    let mut server = Example::start("ticker", &["127.0.0.1:0"]);
    let clients = [server.connect(), server.connect()];
    let mut heard = clients.each_ref().map(|client| BufReader::new(client).lines());
    for lines in &mut heard {
        assert_eq!(lines.next().unwrap().unwrap(), "1 s");
        assert_eq!(lines.next().unwrap().unwrap(), "2 s");
    }
    if cfg!(unix) {
        let id = server.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        for lines in &mut heard {
            // A tick may have come before the end.
            assert!(lines.all(|line| line.is_ok_and(|line| line.ends_with(" s"))));
        }
        let mut said = String::new();
        server.stdout.read_to_string(&mut said).unwrap();
        assert_eq!(said, "2 came, 1 and 1 by loop\n");
        assert_eq!(server.process.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn epoll_template_on_mio() {
    echoes(&Example::start("epoll_template", &["127.0.0.1:0"]));
}

#[test]
fn epoll_template_on_poll() {
    echoes(&Example::start("epoll_template", &["127.0.0.1:0", "--backend", "poll"]));
}

#[test]
fn epoll_template_on_epoll() {
    let arguments = ["127.0.0.1:0", "--backend", "epoll"];
    if cfg!(target_os = "linux") {
        return echoes(&Example::start("epoll_template", &arguments));
    }
    let said = command("epoll_template", &arguments).output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8(said.stderr).unwrap().contains("epoll: Linux only"));
}

#[test]
fn models() {
    for model in Model::here() {
        let server = Example::start("models", &[model.name(), "127.0.0.1:0"]);
        let mut client = server.connect();
        // Two messages that stick together, and the beginning of a third.
        client.write_all(b"one\nthree\nfo").unwrap();
        let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "line 1: 3 bytes", "{model}");
        assert_eq!(lines.next().unwrap().unwrap(), "line 2: 5 bytes", "{model}");
        client.write_all(b"ur\n##\nnobody sees this\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "line 3: 4 bytes", "{model}");
        match lines.next() {
            None => {}
            // What came after the end was not read, which some systems answer with a reset.
            Some(Err(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{model}"),
            Some(Ok(line)) => panic!("{model}: {line}"),
        }
    }
}

#[test]
fn udp_echo() {
    let server = Example::start("udp_echo", &["127.0.0.1:0"]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(server.address).unwrap();
    let mut answer = [0; 4096];
    for length in (0..2048).step_by(89).chain([2048]) {
        let sent = pattern(length, length as u32);
        client.send(&sent).unwrap();
        let received = client.recv(&mut answer).unwrap();
        assert!(answer[..received] == sent, "{received} of {length} bytes");
    }
    // Too long by a byte: no answer, and those that follow have theirs.
    for length in [2049, 4000] {
        client.send(&pattern(length, 1)).unwrap();
        client.send(b"and now?").unwrap();
        let received = client.recv(&mut answer).unwrap();
        assert_eq!(&answer[..received], b"and now?");
    }
    // A client that is gone is nobody's trouble.
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    gone.send_to(b"bye", server.address).unwrap();
    drop(gone);
    client.send(b"last").unwrap();
    assert_eq!(client.recv(&mut answer).unwrap(), 4);
    let said = server.end();
    // Windows does not cut a datagram that is longer than the buffer: it is an error.
    let dropped = ["is longer than 2048", "(os error 10040)"].map(|why| said.matches(why).count());
    assert_eq!(dropped.iter().sum::<usize>(), 2, "{said}");
}

/// A proxy, and the target that it leads to.
fn proxy() -> (Example, TcpListener) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = target.local_addr().unwrap().to_string();
    (Example::start("proxy", &["127.0.0.1:0", &address]), target)
}

/// A client of the proxy, and the connection that the proxy made for it.
fn through(proxy: &Example, target: &TcpListener) -> (TcpStream, TcpStream) {
    let client = proxy.connect();
    (client, patient(target.accept().unwrap().0))
}

/// A megabyte each way at once, and then both ends.
#[test]
fn proxy_both_ways() {
    let (proxy, target) = proxy();
    let (up, down) = (pattern(MEGABYTE, 1), pattern(MEGABYTE, 2));
    let pairs: Vec<_> = (0..3).map(|_| through(&proxy, &target)).collect();
    thread::scope(|scope| {
        for (client, upstream) in &pairs {
            scope.spawn(|| assert!(exchange(client, &up) == down));
            scope.spawn(|| assert!(exchange(upstream, &down) == up));
        }
    });
}

/// A question with its end, then the answer with its own, from either side.
#[test]
fn proxy_half_close() {
    let (proxy, target) = proxy();
    let question = pattern(MEGABYTE, 3);
    let answer = pattern(MEGABYTE, 4);
    for client_asks in [true, false] {
        let (client, upstream) = through(&proxy, &target);
        let (asking, answering) = if client_asks { (client, upstream) } else { (upstream, client) };
        thread::scope(|scope| {
            scope.spawn(|| assert!(exchange(&asking, &question) == answer));
            let mut heard = Vec::new();
            (&answering).read_to_end(&mut heard).unwrap();
            assert!(heard == question);
            (&answering).write_all(&answer).unwrap();
            answering.shutdown(Shutdown::Write).unwrap();
        });
    }
}

/// A target that does not read brings its client to rest, and nobody else.
#[test]
fn proxy_backpressure() {
    let (proxy, target) = proxy();
    let (mut client, mut upstream) = through(&proxy, &target);
    let sent = fill(&mut client, 64 * MEGABYTE);
    let (other, other_upstream) = through(&proxy, &target);
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(exchange(&other, b"me?"), b"you too"));
        assert_eq!(exchange(&other_upstream, b"you too"), b"me?");
    });
    client.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    upstream.read_to_end(&mut received).unwrap();
    assert!(received == vec![7; sent], "{} of {sent} bytes", received.len());
}

/// Reads to a reset, which is not to look like an end.
fn expect_reset(stream: &mut TcpStream) {
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        // Wine reads a reset as the end of input.
        Ok(_) if cfg!(windows) => {}
        Ok(_) => panic!("a reset became an end"),
    }
}

/// A connection that was cut short does not look like one that has ended.
#[test]
fn proxy_passes_a_reset_on() {
    let (proxy, target) = proxy();
    for client_resets in [true, false] {
        let (client, upstream) = through(&proxy, &target);
        let (resets, mut stays) =
            if client_resets { (client, upstream) } else { (upstream, client) };
        (&resets).write_all(b"a part of ").unwrap();
        SockRef::from(&resets).set_linger(Some(Duration::ZERO)).unwrap();
        drop(resets);
        expect_reset(&mut stays);
    }
}

#[test]
fn proxy_to_nobody() {
    // Bound, so that nobody else has the port, and not listening.
    let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    bound.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let target = bound.local_addr().unwrap().as_socket().unwrap().to_string();
    let proxy = Example::start("proxy", &["127.0.0.1:0", &target]);
    for _ in 0..3 {
        expect_reset(&mut proxy.connect());
    }
    let said = proxy.end();
    assert_eq!(said.lines().count(), 3, "{said}");
}

/// A target that does not answer at all: its listener's queue is full.
#[cfg(target_os = "linux")]
#[test]
fn proxy_to_somebody_who_does_not_answer() {
    let target = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    target.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    target.listen(0).unwrap();
    let address = target.local_addr().unwrap().as_socket().unwrap();
    let _in_the_queue = TcpStream::connect(address).unwrap();
    let proxy = Example::start("proxy", &["127.0.0.1:0", &address.to_string()]);
    expect_reset(&mut proxy.connect());
    let said = proxy.end();
    assert!(said.contains("timed out"), "{said}");
}

/// Out of descriptors, and back.
#[test]
fn few_descriptors() {
    if cfg!(windows) {
        return; // where there is no such limit
    }
    let target = Example::start("echo", &["127.0.0.1:0"]);
    let target = target.address.to_string();
    for (name, arguments) in [
        ("echo", &["127.0.0.1:0"][..]),
        ("chat", &["127.0.0.1:0"]),
        ("proxy", &["127.0.0.1:0", &target]),
        ("epoll_template", &["127.0.0.1:0"]),
        ("epoll_template", &["127.0.0.1:0", "--backend", "poll"]),
    ] {
        let example = command(name, arguments);
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 24; exec \"$@\"", "sh"]);
        limited.arg(example.get_program()).args(arguments).env("RUST_LOG", "warn");
        limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = Example::run(limited);
        let crowd: Vec<_> = (0..30).map(|_| server.connect()).collect();
        let mut said = String::new();
        BufReader::new(server.process.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert!(said.contains("os error 24"), "{name}: {said}");
        drop(crowd);
        // The proxy may have to turn away one whose upstream it had no descriptor for.
        let begun = Instant::now();
        while let Err(error) = one_exchange(&server) {
            assert!(begun.elapsed() < PATIENCE, "{name} does not recover: {error}");
        }
    }
}

fn one_exchange(server: &Example) -> io::Result<()> {
    let mut client = server.connect();
    client.write_all(b"somebody?\n")?;
    client.read_exact(&mut [0; 10])
}

/// One line that says what is wrong, and no panic.
#[test]
fn bad_input() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp_address = bound.local_addr().unwrap().to_string();
    for (name, arguments, code, said) in [
        ("echo", &[&*address][..], 1, &*address),
        ("echo", &["nonsense"], 1, "nonsense"),
        ("chat", &[&address], 1, &address),
        ("chat", &["nonsense"], 2, "nonsense"),
        ("udp_echo", &[&udp_address], 1, &udp_address),
        ("udp_echo", &["nonsense"], 2, "nonsense"),
        ("proxy", &[&address], 1, &address),
        ("proxy", &["127.0.0.1:0", "nonsense"], 2, "nonsense"),
        ("epoll_template", &[&address, "--backend", "poll"], 1, &address),
        ("epoll_template", &["nonsense"], 2, "nonsense"),
        ("models", &["thread", &address], 1, &address),
        ("models", &["nonsense"], 2, "there is no model \"nonsense\"; there are: "),
    ] {
        let output = command(name, arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{name} {arguments:?}: {stderr}");
        assert!(stderr.lines().next().unwrap().contains(said), "{name} {arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{name} {arguments:?}: {stderr}");
    }
}
