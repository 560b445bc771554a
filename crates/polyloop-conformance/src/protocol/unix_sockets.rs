//! Unix-domain sockets: the same stream, at a path.

use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use polyloop::{Address, Config, Connection, Peer, Protocol, ServerHandle};
use polyloop_models::BoundServer;
use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::client::{pattern, SILENCE};
use super::forked::{self, Elsewhere};
use super::serve::{Log, Server};
use super::{Company, Scene};

struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        assert_eq!(connection.peer(), &Peer::UNIX);
        connection.send(input);
        input.len()
    }
}

/// An echo server at a path of its own.
struct Served {
    directory: tempfile::TempDir,
    handle: ServerHandle,
    running: JoinHandle<()>,
    quiet: bool,
}

impl Served {
    /// Listens, lets `before` talk to who does not run yet, and runs.
    fn after<T>(scene: &Scene, before: impl FnOnce(UnixStream) -> T) -> (Served, T) {
        if let Some(address) = forked::address() {
            forked::serve_here(bind(scene, &address), || {});
        }
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("socket");
        let address = Address::Unix(path.clone());
        let server = if scene.model.forks() {
            let nobody = Arc::new(Log::default());
            let server = Elsewhere::start(&address, &nobody);
            assert_eq!(server.address, address);
            Server::Elsewhere(server)
        } else {
            let server = bind(scene, &address);
            assert_eq!(server.addresses(), [address]);
            Server::Here(server)
        };
        let handle = server.handle();
        let before = before(UnixStream::connect(path).expect("it listens"));
        let running = thread::spawn(move || server.run().expect("it serves to its end"));
        let quiet = scene.company == Company::Quiet;
        (Served { directory, handle, running, quiet }, before)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn end(self) {
        self.handle.stop();
        self.running.join().expect("the server does not panic");
        assert!(!self.directory.path().join("socket").exists(), "the path goes with the server");
    }
}

fn bind(scene: &Scene, address: &Address) -> BoundServer {
    let server = scene.model.bind(address, scene.options(Config::default()), |_| Echo);
    server.expect("the path is free")
}

/// Sends what it likes while another thread reads the echo.
fn exchange(mut stream: &UnixStream, bytes: &[u8]) {
    thread::scope(|scope| {
        scope.spawn(|| (&*stream).write_all(bytes).expect("the server reads"));
        let mut echo = vec![0; bytes.len()];
        stream.read_exact(&mut echo).expect("the server answers");
        assert!(echo == bytes, "another answer");
    });
}

/// Bytes come and go at a path as they do at a port, the end included; the path goes with the
/// server.
pub fn a_unix_socket_is_served(scene: &Scene) {
    let (served, first) = Served::after(scene, |stream| stream);
    exchange(&first, b"a");
    exchange(&first, &pattern(1_000_000));
    if served.quiet {
        thread::sleep(SILENCE);
    }
    exchange(&first, b"again");
    first.shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!((&first).read(&mut [0; 8]).expect("an end, not an error"), 0);
    let second = UnixStream::connect(served.path()).expect("it still listens");
    exchange(&second, b"another");
    served.end();
}

/// A read stops short in front of a message that carries descriptors, and behind it: on edges
/// nothing more is told, so that a short read must not count as the end of what has come.
pub fn descriptors_passed_over_a_unix_socket(scene: &Scene) {
    let (served, stream) = Served::after(scene, |mut stream| {
        // All of it waits before the server looks: it is told once.
        stream.write_all(b"abc").expect("there is room");
        send_with_a_descriptor(&stream, b"def");
        stream.write_all(b"ghi").expect("there is room");
        stream
    });
    let mut echo = [0; 9];
    (&stream).read_exact(&mut echo).expect("the server answers");
    assert_eq!(&echo, b"abcdefghi");
    if served.quiet {
        thread::sleep(SILENCE);
    }
    exchange(&stream, b"again");
    served.end();
}

fn send_with_a_descriptor(stream: &UnixStream, bytes: &[u8]) {
    let descriptors = [stream.as_fd()];
    let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut room);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let slices = [IoSlice::new(bytes)];
    let sent = sendmsg(stream, &slices, &mut ancillary, SendFlags::empty());
    assert_eq!(sent.expect("there is room"), bytes.len());
}
