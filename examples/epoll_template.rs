//! The course's epoll template on a bare backend: a listening socket, and a map from descriptor to
//! object. One terminal, and another to type lines in:
//!
//!     cargo run --release --example epoll_template -- --backend epoll
//!     nc 127.0.0.1 7000
//!
//! `epoll`, `poll` and `select` are level-triggered (they tell again and again that something *is*
//! ready), `mio` and `epoll:edge` edge-triggered (they tell when something *happens*), and one loop
//! is right on all if it obeys the stricter of the two: after an event, go on until `WouldBlock`, or
//! register anew, which tells of what is ready already.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use polyloop::{Backend, Events, Interest, Source, Token};
use polyloop_models::{BackendKind, UseBackend};

/// How long to wait before another `accept` when there are no descriptors left.
const REST: Duration = Duration::from_millis(100);
/// Reads of one connection in a row; then the others have their turn.
const BUDGET: usize = 16;

/// The course's objects: a connection, and what the kernel has not taken yet of its echo.
struct Connection {
    stream: TcpStream,
    waiting: Vec<u8>,
    /// What it is registered for; nothing if it has to be registered anew in any case.
    registered: Interest,
}

impl Connection {
    /// Echoes, and returns what to wait for; `None` after the empty read that is the peer's end.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<Option<Interest>> {
        for _ in 0..BUDGET {
            while !self.waiting.is_empty() {
                match self.stream.write(&self.waiting) {
                    Ok(written) => drop(self.waiting.drain(..written)),
                    // Nothing more is read before this is written, so a peer that only sends comes
                    // to rest, and one connection never holds more than one buffer. *Writable* is
                    // asked for only now: a level would tell of it all the time.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(Some(Interest::WRITABLE));
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            match self.stream.read(buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => self.waiting.extend_from_slice(&buffer[..length]),
                // On a level one could have stopped after the first read. On an edge this is the
                // only proof that nothing is left of which nobody would ever be told.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Some(Interest::READABLE));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // There may be more, and an edge has told of it already: to register again asks again.
        self.registered = Interest::NONE;
        Ok(Some(Interest::READABLE))
    }
}

/// The descriptor's number, by which the kernel and the map both know a source.
///
/// It comes back with the next connection as soon as this one is closed. That is harmless here: a
/// source has one event in a batch at most, and is closed in answer to that one. Where a
/// connection may close another, a later event of the batch could reach the wrong one, and
/// `polyloop::EventLoop` therefore hands out tokens with a generation.
fn token(source: &impl Source) -> Token {
    Token::from(source.raw() as usize)
}

fn serve<B: Backend>(mut backend: B, mut listener: TcpListener) -> io::Result<()> {
    let listening = token(&listener);
    backend.register(&mut listener, listening, Interest::READABLE)?;
    let mut connections: HashMap<Token, Connection> = HashMap::new();
    let mut events = Events::with_capacity(256);
    let mut buffer = vec![0; 16 * 1024];
    let mut rests_until: Option<Instant> = None;
    loop {
        let left = rests_until.map(|until| until.saturating_duration_since(Instant::now()));
        backend.poll(&mut events, left)?;
        // A wait may end early: only the clock tells that time is up.
        if rests_until.is_some_and(|until| until <= Instant::now()) {
            rests_until = None;
            backend.reregister(&mut listener, listening, Interest::READABLE)?;
        }
        for event in events.iter() {
            if event.token == listening {
                // A single event may stand for many connections.
                if let Err(error) = accept(&mut backend, &listener, &mut connections) {
                    // A level would tell again at once, without end; an edge never more.
                    log::error!("{} connections are all: {error}", connections.len());
                    backend.reregister(&mut listener, listening, Interest::NONE)?;
                    rests_until = Some(Instant::now() + REST);
                }
                continue;
            }
            let Some(connection) = connections.get_mut(&event.token) else { continue };
            // Why it is ready does not matter: `read` and `write` tell what there is, a hang-up
            // and an error included.
            let next = connection.echo(&mut buffer);
            if let Ok(Some(wanted)) = next {
                if wanted != connection.registered {
                    backend.reregister(&mut connection.stream, event.token, wanted)?;
                    connection.registered = wanted;
                }
                continue;
            }
            log::debug!("{}: closed, {next:?}", event.token);
            if let Some(mut connection) = connections.remove(&event.token) {
                backend.deregister(&mut connection.stream)?;
            } // dropped, and with that closed
        }
    }
}

/// Accepts everybody who waits.
fn accept<B: Backend>(
    backend: &mut B,
    listener: &TcpListener,
    connections: &mut HashMap<Token, Connection>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                let name = token(&stream);
                let registered = Interest::READABLE;
                backend.register(&mut stream, name, registered)?;
                connections.insert(name, Connection { stream, waiting: Vec::new(), registered });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // A signal; a client that left before its turn came.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The epoll template
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 lets the system choose
    #[arg(default_value = "127.0.0.1:7000")]
    listen: SocketAddr,
    /// What to wait with: select, poll, epoll, epoll:edge or mio
    #[arg(long, value_name = "NAME", default_value = "mio")]
    backend: BackendKind,
}

/// What runs on whichever backend was named.
struct Template(TcpListener);

impl UseBackend for Template {
    type Output = io::Result<()>;

    fn run<B: Backend + Send + 'static>(self, open: fn() -> io::Result<B>) -> io::Result<()> {
        let backend = open()?;
        println!("listening on {}", self.0.local_addr()?);
        serve(backend, self.0)
    }
}

fn main() -> anyhow::Result<()> {
    env_logger::init();
    let arguments = Arguments::parse();
    let listener = polyloop::listen(&arguments.listen.into(), 1024)?;
    listener.socket().set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener.into());
    Ok(arguments.backend.with(Template(listener))?)
}
