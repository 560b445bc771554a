//! A backend that fails in the middle of serving.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::Duration;

use polyloop::{
    Backend, Caps, Closed, Connection, Events, Interest, MioBackend, Protocol, Server, Source,
    Token, Waker,
};

/// Fails as soon as it is told to.
struct Failing {
    inner: MioBackend,
    fails: Arc<AtomicBool>,
}

impl Backend for Failing {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn caps(&self) -> Caps {
        self.inner.caps()
    }

    fn register<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.inner.register(source, token, interest)
    }

    fn reregister<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.inner.reregister(source, token, interest)
    }

    fn deregister<S: Source + ?Sized>(&mut self, source: &mut S) -> io::Result<()> {
        self.inner.deregister(source)
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.inner.poll(events, timeout)
    }

    fn waker(&self) -> Waker {
        self.inner.waker()
    }
}

/// Echoes, and tells how it ended.
struct Told(mpsc::Sender<Closed>);

impl Protocol for Told {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
    }

    fn closed(&mut self, reason: Closed) {
        self.0.send(reason).expect("the test waits for it");
    }
}

#[test]
fn every_connection_is_told_when_the_backend_fails() {
    let fails = Arc::new(AtomicBool::new(false));
    let backend = Failing { inner: MioBackend::new().unwrap(), fails: Arc::clone(&fails) };
    let (told, ends) = mpsc::channel();
    let server = Server::builder()
        .backend(backend)
        .listen("127.0.0.1:0")
        .build(move |_| Told(told.clone()))
        .unwrap();
    let address = server.addresses()[0].ip().expect("it listens on TCP");
    let serving = thread::spawn(|| server.run());

    let mut clients = [(); 3].map(|()| TcpStream::connect(address).unwrap());
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    fails.store(true, Ordering::SeqCst);
    // Ends the wait; whether it is still answered is not known.
    clients[0].write_all(b"x").unwrap();

    let error = serving.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    assert_eq!(ends.iter().collect::<Vec<_>>(), [Closed::Stopped; 3]);
}
