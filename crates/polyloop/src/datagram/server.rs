//! The readiness driver: datagrams on an event loop.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::UdpSocket;

use super::{
    answer, bind, refuse, tells_of_an_answer, DatagramProtocol, DatagramSocket, Inbox, Outbox,
    FAILURES, REST,
};
use crate::address::reachable;
use crate::handle::Control;
use crate::{
    Backend, Config, Context, Counters, Counts, EventLoop, Handler, Interest, MioBackend,
    Readiness, Sender, ServerHandle, Source, TimerId, ToAddresses, Token, TokenMap,
};

/// A server of datagrams: one [`DatagramProtocol`] on one [`EventLoop`].
///
/// It holds no state for a peer. While the kernel takes no answer, nothing is received: what
/// comes meanwhile waits in the kernel, which drops what it has no room for. That is UDP.
///
/// An error of a socket is news about one datagram, such as that an earlier answer found nobody
/// (where the system tells, as Windows does): it is logged at `debug`, and the server goes on.
///
/// A drain answers what has come, for [`Config::drain`] at most, and ends.
pub struct DatagramServer<B, S, P> {
    event_loop: EventLoop<B, Message>,
    ports: Ports<S, P>,
    addresses: Vec<SocketAddr>,
    handle: ServerHandle,
}

impl<P: DatagramProtocol> DatagramServer<MioBackend, UdpSocket, P> {
    /// Receives at all of `addresses` on a loop of mio, with default limits. Port 0 lets the
    /// system choose.
    ///
    /// # Errors
    ///
    /// An address can't be bound, or mio's queue can't be opened.
    pub fn bind(
        addresses: impl ToAddresses,
        protocol: P,
    ) -> io::Result<DatagramServer<MioBackend, UdpSocket, P>> {
        let mut sockets = Vec::new();
        for socket in bind(addresses)? {
            socket.set_nonblocking(true)?;
            sockets.push(UdpSocket::from_std(socket));
        }
        DatagramServer::new(MioBackend::new()?, sockets, Config::default(), protocol)
    }
}

impl<B: Backend, S: DatagramSocket + Source, P: DatagramProtocol> DatagramServer<B, S, P> {
    /// Receives from `sockets`, which do not block, on a loop of `backend`. Of the limits,
    /// [`Config::max_datagram`] and [`Config::drain`] concern datagrams.
    ///
    /// # Errors
    ///
    /// There is no socket, or the backend can't watch one.
    pub fn new(
        backend: B,
        sockets: Vec<S>,
        config: Config,
        protocol: P,
    ) -> io::Result<DatagramServer<B, S, P>> {
        if sockets.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to receive at"));
        }
        let mut event_loop = EventLoop::new(backend);
        let inbox = Inbox::new(S::BATCH, config.max_datagram);
        let mut ports = Ports {
            ports: TokenMap::new(),
            tokens: Vec::new(),
            protocol,
            config,
            inbox,
            draining: None,
        };
        let mut addresses = Vec::with_capacity(sockets.len());
        for mut socket in sockets {
            let address = socket.local_address()?;
            let token = event_loop.context().register(&mut socket, Interest::READABLE)?;
            let port =
                Port { socket, own: reachable(address), outbox: Outbox::default(), failures: 0 };
            ports.ports.insert(token, port);
            ports.tokens.push(token);
            addresses.push(address);
        }
        let handle = ServerHandle::new(Arc::new(Remote {
            sender: event_loop.sender(),
            counters: Arc::clone(event_loop.context().counters()),
        }));
        Ok(DatagramServer { event_loop, ports, addresses, handle })
    }

    /// Where it receives, with the ports that the system chose.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Makes a handle, with which any thread ends the server and sees what it counts.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Serves until a [`ServerHandle`] ends it.
    ///
    /// # Errors
    ///
    /// What the backend says. What goes wrong with a datagram concerns that one only.
    ///
    /// # Panics
    ///
    /// If the protocol does.
    pub fn run(mut self) -> io::Result<()> {
        self.event_loop.run(&mut self.ports)
    }
}

impl<B, S, P> fmt::Debug for DatagramServer<B, S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramServer").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// What other threads ask of the loop.
#[derive(Debug)]
enum Message {
    Drain,
    Stop,
}

struct Remote {
    sender: Sender<Message>,
    counters: Arc<Counters>,
}

impl Control for Remote {
    fn drain(&self) {
        // A loop that is gone has nothing left to answer.
        let _ = self.sender.send(Message::Drain);
    }

    fn stop(&self) {
        let _ = self.sender.send(Message::Stop);
    }

    fn counts(&self) -> Counts {
        self.counters.snapshot()
    }
}

/// All sockets of a server, and what they share.
struct Ports<S, P> {
    ports: TokenMap<Port<S>>,
    tokens: Vec<Token>,
    protocol: P,
    config: Config,
    inbox: Inbox,
    draining: Option<TimerId>,
}

/// A socket, and the answers that the kernel has not taken yet.
struct Port<S> {
    socket: S,
    own: SocketAddr,
    outbox: Outbox,
    /// Receives that failed since one succeeded.
    failures: u32,
}

/// What a socket waits for when its turn is over.
enum Pause {
    /// Its share of the turn is used up; the loop comes back to it.
    GoOn,
    /// Nothing more has come.
    Empty,
    /// The kernel takes no answer.
    Full,
    /// It fails again and again.
    Failing,
}

/// Datagrams of one socket in one turn; then timers, messages and other sockets have theirs.
const BUDGET: usize = 64;

impl<S: DatagramSocket> Port<S> {
    /// Sends what waits; false if the kernel has no room.
    #[inline]
    fn flush<B: Backend>(&mut self, context: &mut Context<B>, token: Token) -> bool {
        let Port { socket, outbox, .. } = self;
        while !outbox.is_empty() {
            match context.write(token, || socket.send(outbox)) {
                Ok(count) => {
                    context.counters().answers.add(count as u64);
                    outbox.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => refuse(outbox, &error, context.counters()),
            }
        }
        true
    }

    /// Receives and answers until there is a reason to pause.
    fn serve<B: Backend, P: DatagramProtocol>(
        &mut self,
        context: &mut Context<B>,
        token: Token,
        protocol: &mut P,
        inbox: &mut Inbox,
    ) -> Pause {
        let mut left = BUDGET;
        loop {
            if !self.flush(context, token) {
                return Pause::Full;
            }
            if left == 0 {
                return Pause::GoOn;
            }
            match context.read(token, || self.socket.receive(inbox)) {
                Ok(()) => {
                    self.failures = 0;
                    answer(protocol, inbox, &mut self.outbox, self.own, context.counters());
                    left = left.saturating_sub(inbox.len());
                    if inbox.has_room() && context.short_read(token) {
                        return if self.flush(context, token) { Pause::Empty } else { Pause::Full };
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Pause::Empty,
                Err(error) => {
                    log::debug!("{token}: no datagram but an error: {error}");
                    left -= 1;
                    if tells_of_an_answer(&error) {
                        continue;
                    }
                    self.failures += 1;
                    if self.failures == FAILURES {
                        log::warn!("{token}: no datagram can be received: {error}; trying again every {REST:?}");
                    }
                    if self.failures >= FAILURES {
                        return Pause::Failing;
                    }
                }
            }
        }
    }
}

impl<S: DatagramSocket + Source, P: DatagramProtocol> Ports<S, P> {
    fn serve<B: Backend>(&mut self, context: &mut Context<B>, token: Token) {
        let Some(port) = self.ports.get_mut(token) else { return };
        let wanted = match port.serve(context, token, &mut self.protocol, &mut self.inbox) {
            Pause::Empty if self.draining.is_some() => return self.close(context, token),
            Pause::GoOn | Pause::Empty => Interest::READABLE,
            Pause::Full => Interest::WRITABLE,
            Pause::Failing => {
                context.set_timer(REST, token);
                Interest::NONE
            }
        };
        self.set_interest(context, token, wanted);
    }

    fn set_interest<B: Backend>(
        &mut self,
        context: &mut Context<B>,
        token: Token,
        wanted: Interest,
    ) {
        let Some(port) = self.ports.get_mut(token) else { return };
        if let Err(error) = context.set_interest(token, &mut port.socket, wanted) {
            log::error!("{token}: interest {wanted:?} refused: {error}");
            self.close(context, token);
        }
    }

    fn drain<B: Backend>(&mut self, context: &mut Context<B>) {
        if self.draining.is_some() {
            return;
        }
        let Some(&first) = self.tokens.first() else { return };
        self.draining = Some(context.set_timer(self.config.drain, first));
        for &token in &self.tokens {
            // To find that there is nothing more, or what there is.
            context.repost(token, Readiness::READABLE);
        }
    }

    fn close_all<B: Backend>(&mut self, context: &mut Context<B>) {
        while let Some(&token) = self.tokens.last() {
            self.close(context, token);
        }
    }

    /// Closes a socket; the last one ends the server.
    fn close<B: Backend>(&mut self, context: &mut Context<B>, token: Token) {
        self.tokens.retain(|&other| other != token);
        if let Some(port) = self.ports.remove(token) {
            context.counters().unsent.add(port.outbox.len() as u64);
            // The loop knows every token that is in the map.
            let _ = context.close(token, port.socket);
        }
        if self.tokens.is_empty() {
            context.stop();
        }
    }
}

impl<B: Backend, S: DatagramSocket + Source, P: DatagramProtocol> Handler<B> for Ports<S, P> {
    type Message = Message;

    fn ready(&mut self, context: &mut Context<B>, token: Token, _: Readiness) {
        self.serve(context, token);
    }

    fn timer(&mut self, context: &mut Context<B>, token: Token, timer: TimerId) {
        if self.draining == Some(timer) {
            self.close_all(context);
        } else {
            self.set_interest(context, token, Interest::READABLE);
        }
    }

    fn message(&mut self, context: &mut Context<B>, message: Message) {
        match message {
            Message::Drain => self.drain(context),
            Message::Stop => self.close_all(context),
        }
    }
}
