//! A TCP proxy on the loop's low-level interface. One terminal for it, two for who talks through:
//!
//!     cargo run --release --example proxy
//!     cargo run --release --example echo 127.0.0.1:7001
//!     nc 127.0.0.1 7000

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use polyloop::{Backend, Context, EventLoop, Handler, Interest, MioBackend};
use polyloop::{Readiness, TimerId, Token, TokenMap};

/// How long the listener rests when the system can't give another connection.
const REST: Duration = Duration::from_millis(100);
/// How long a connect may take: else one to an address where nobody answers holds its client for
/// minutes.
const PATIENCE: Duration = Duration::from_secs(3);
/// Calls in one direction in one turn of the loop; then the others have theirs.
const BUDGET: usize = 16;

/// A socket, and its name with the loop.
type Side = (TcpStream, Token);

/// One direction. It reads only when all that was read is written, so that a slow receiver slows
/// its sender down, and the proxy never holds more than this buffer.
struct Pipe {
    buffer: Box<[u8]>,
    /// What of the buffer is still to be written.
    waiting: std::ops::Range<usize>,
    /// The sender has finished, and the receiver was told.
    ended: bool,
}

impl Pipe {
    fn new() -> Pipe {
        Pipe { buffer: vec![0; 16 * 1024].into(), waiting: 0..0, ended: false }
    }

    /// Moves bytes until one of the two says `WouldBlock`, the input ends, or the budget is spent.
    fn run<B: Backend>(&mut self, cx: &mut Context<B>, from: &Side, to: &Side) -> io::Result<()> {
        for _ in 0..BUDGET {
            if !self.waiting.is_empty() {
                let bytes = &self.buffer[self.waiting.clone()];
                self.waiting.start += cx.write(to.1, || (&to.0).write(bytes))?;
            } else if !self.ended {
                let length = cx.read(from.1, || (&from.0).read(&mut self.buffer))?;
                self.waiting = 0..length;
                if length == 0 {
                    // Only this half of the connection: the other may go on for long.
                    self.ended = true;
                    to.0.shutdown(Shutdown::Write)?;
                }
            }
        }
        Ok(())
    }

    /// What to wait for where the bytes come from, and where they go.
    fn interests(&self) -> (Interest, Interest) {
        match (self.waiting.is_empty(), self.ended) {
            (false, _) => (Interest::NONE, Interest::WRITABLE),
            (true, false) => (Interest::READABLE, Interest::NONE),
            (true, true) => (Interest::NONE, Interest::NONE),
        }
    }
}

/// A client and the connection made for it.
struct Pair {
    sides: [Side; 2],
    /// The deadline of the upstream's connect, until that is over.
    connecting: Option<TimerId>,
    up: Pipe,
    down: Pipe,
}

impl Pair {
    /// Does what the side `token` is ready for.
    fn run<B: Backend>(
        &mut self,
        cx: &mut Context<B>,
        token: Token,
        readiness: Readiness,
    ) -> io::Result<()> {
        let Pair { sides: [client, upstream], connecting, up, down } = self;
        if let Some(deadline) = *connecting {
            cx.connected(upstream.1, &upstream.0)?;
            cx.cancel_timer(deadline);
            *connecting = None;
        }
        let from_client = token == client.1;
        let (reads, writes) = (readiness.is_readable(), readiness.is_writable());
        if from_client && reads || !from_client && writes {
            or_wait(up.run(cx, client, upstream))?;
        }
        if from_client && writes || !from_client && reads {
            or_wait(down.run(cx, upstream, client))?;
        }
        let (client_in, upstream_out) = up.interests();
        let (upstream_in, client_out) = down.interests();
        cx.set_interest(client.1, &mut client.0, client_in | client_out)?;
        cx.set_interest(upstream.1, &mut upstream.0, upstream_in | upstream_out)
    }
}

/// To have to wait is no failure.
fn or_wait(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::WouldBlock { Ok(()) } else { Err(error) })
}

struct Proxy {
    listener: (TcpListener, Token),
    target: SocketAddr,
    /// By the token of the client,
    pairs: TokenMap<Pair>,
    /// to which that of the upstream leads.
    clients: TokenMap<Token>,
}

impl Proxy {
    fn accept<B: Backend>(&mut self, cx: &mut Context<B>) -> io::Result<()> {
        loop {
            let (mut client, _) = match cx.accept(self.listener.1, || self.listener.0.accept()) {
                // The client left before its turn came.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                accepted => accepted?,
            };
            // Returns at once. Until it is done, what the client sends waits in the kernel.
            let mut upstream = TcpStream::connect(self.target)?;
            let token = cx.register(&mut client, Interest::NONE)?;
            let upstream_token = cx
                .register(&mut upstream, Interest::WRITABLE)
                .inspect_err(|_| _ = cx.deregister(token, &mut client))?;
            self.clients.insert(upstream_token, token);
            let sides = [(client, token), (upstream, upstream_token)];
            let connecting = Some(cx.set_timer(PATIENCE, token));
            let pair = Pair { sides, connecting, up: Pipe::new(), down: Pipe::new() };
            self.pairs.insert(token, pair);
        }
    }

    fn close<B: Backend>(&mut self, cx: &mut Context<B>, client: Token, result: io::Result<()>) {
        let Some(pair) = self.pairs.remove(client) else { return };
        self.clients.remove(pair.sides[1].1);
        if let Some(deadline) = pair.connecting {
            cx.cancel_timer(deadline);
        }
        if let Err(error) = &result {
            log::error!("from client {client} to {}: {error}", self.target);
        }
        for (stream, token) in pair.sides {
            if result.is_err() {
                // A reset: what was cut short must not look like a proper end.
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
            let _ = cx.close(token, stream); // the loop knows it
        }
    }
}

impl<B: Backend> Handler<B> for Proxy {
    type Message = ();

    fn ready(&mut self, cx: &mut Context<B>, token: Token, readiness: Readiness) {
        if token == self.listener.1 {
            if let Err(error) = or_wait(self.accept(cx)) {
                log::error!("cannot take another connection: {error}");
                let _ = cx.set_interest(token, &mut self.listener.0, Interest::NONE);
                cx.set_timer(REST, token);
            }
            return;
        }
        let client = self.clients.get_mut(token).map_or(token, |client| *client);
        let Some(pair) = self.pairs.get_mut(client) else { return };
        let result = or_wait(pair.run(cx, token, readiness));
        if result.is_err() || pair.up.ended && pair.down.ended {
            self.close(cx, client, result);
        }
    }

    /// The listener has rested, or a client's upstream does not answer.
    fn timer(&mut self, cx: &mut Context<B>, token: Token, _: TimerId) {
        if token == self.listener.1 {
            let _ = cx.set_interest(token, &mut self.listener.0, Interest::READABLE);
        } else {
            self.close(cx, token, Err(ErrorKind::TimedOut.into()));
        }
    }
}

/// A TCP proxy
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 lets the system choose
    #[arg(default_value = "127.0.0.1:7000")]
    listen: SocketAddr,
    /// Where to connect to
    #[arg(default_value = "127.0.0.1:7001")]
    target: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    env_logger::init();
    let Arguments { listen, target } = Arguments::parse();
    let listener = polyloop::listen(&listen.into(), 1024)?;
    listener.socket().set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener.into());
    let mut event_loop = EventLoop::new(MioBackend::new()?);
    let token = event_loop.context().register(&mut listener, Interest::READABLE)?;
    println!("listening on {}", listener.local_addr()?);
    let (pairs, clients) = (TokenMap::new(), TokenMap::new());
    let mut proxy = Proxy { listener: (listener, token), target, pairs, clients };
    Ok(event_loop.run(&mut proxy)?)
}
