//! One protocol on many connections: listeners, a loop, and their end.

mod accept;
mod connections;
mod driven;
mod group;

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::handle::{Control, Remote};
use crate::{
    listen_all, Accepted, Address, Backend, Closed, Config, Counters, Counts, EventLoop, Handle,
    Listener, MioBackend, Peer, Protocol, Sender, ServerHandle, ToAddresses, Token,
};
use connections::Connections;
pub use group::{AcceptPolicy, Place, Run, Seat, ServerGroup};
use mio::net::TcpStream;

/// A server of stream sockets, TCP and Unix-domain: one [`Protocol`] for each connection, on one [`EventLoop`].
///
/// ```
/// use polyloop::{Connection, Protocol, Server};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
///         connection.send(input);
///         input.len()
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let server = Server::builder().listen("127.0.0.1:0").build(|_| Echo)?;
/// println!("listening on {}", server.addresses()[0]);
/// # server.handle().stop();
/// server.run()
/// # }
/// ```
///
/// Out of descriptors, it rests its listeners for a moment, says so in the log, once a minute at
/// most, and serves the connections that it has.
pub struct Server<B, F, P> {
    event_loop: EventLoop<B, Message>,
    connections: Connections<F, P>,
    addresses: Vec<Address>,
    handle: ServerHandle,
}

/// What other threads, and other connections, ask of a loop that holds connections.
#[derive(Debug)]
pub enum Message {
    /// To send bytes on a connection, after what was sent before.
    Send(Token, Arc<[u8]>),
    /// To close a connection once what waits is flushed.
    Close(Token),
    /// To serve a connection that another loop has accepted.
    Adopt(TcpStream, Peer),
    /// To accept again: there is room for a further connection.
    Room,
    /// To let connections finish what they are in the middle of, and to end.
    Drain,
    /// To close everything and to end.
    Stop,
}

impl Server<MioBackend, (), ()> {
    /// Begins to describe a server.
    #[must_use]
    pub fn builder() -> ServerBuilder<Unset> {
        ServerBuilder { addresses: Ok(Vec::new()), config: Config::default(), backend: Unset }
    }
}

/// Describes a server: where it listens, on which backend, within which limits.
#[derive(Debug)]
pub struct ServerBuilder<B> {
    addresses: io::Result<Vec<Address>>,
    config: Config,
    backend: B,
}

/// No backend was chosen: it will be mio's.
#[derive(Debug)]
pub struct Unset;

/// A backend, or what can become one.
pub trait IntoBackend {
    /// The backend.
    type Backend: Backend;

    /// Opens it.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn into_backend(self) -> io::Result<Self::Backend>;
}

impl IntoBackend for Unset {
    type Backend = MioBackend;
    fn into_backend(self) -> io::Result<MioBackend> {
        MioBackend::new()
    }
}

impl<B: Backend> IntoBackend for B {
    type Backend = B;
    fn into_backend(self) -> io::Result<B> {
        Ok(self)
    }
}

impl<B: IntoBackend> ServerBuilder<B> {
    /// Adds an address to listen on, such as `127.0.0.1:7000`, `localhost:7000` or
    /// `unix:/run/echo.sock`; called again, a further one. Port 0 lets the system choose.
    ///
    /// A name that does not resolve is an error of [`build`](ServerBuilder::build).
    #[must_use]
    pub fn listen(mut self, address: impl ToAddresses) -> Self {
        if let Ok(addresses) = &mut self.addresses {
            match address.to_addresses() {
                Ok(more) => addresses.extend(more),
                Err(error) => self.addresses = Err(error),
            }
        }
        self
    }

    /// Sets deadlines, water marks and limits.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Chooses what the loop waits with; mio if this is not called.
    #[must_use]
    pub fn backend<Other: Backend>(self, backend: Other) -> ServerBuilder<Other> {
        ServerBuilder { addresses: self.addresses, config: self.config, backend }
    }

    /// Listens. `factory` makes the protocol of each connection that is accepted.
    ///
    /// # Errors
    ///
    /// No address was given, one does not resolve or can't be listened on; the backend can't be
    /// opened, or can't watch a listener; what [`Config::check`] says.
    pub fn build<P, F>(self, factory: F) -> io::Result<Server<B::Backend, F, P>>
    where
        P: Protocol,
        F: Fn(&Accepted<'_>) -> P,
    {
        let ServerBuilder { addresses, config, backend } = self;
        let backend = backend.into_backend()?;
        config.check()?;
        let listeners = listen_all(&addresses?, config.backlog)?;
        let event_loop = EventLoop::new(backend);
        let remotes = Remotes::new(event_loop.sender(), Arc::clone(event_loop.counters()));
        assemble(event_loop, remotes, config, factory, listeners, None)
    }
}

/// Puts a server together: a loop that may have a seat among others, with or without listeners.
fn assemble<B: Backend, P: Protocol, F: Fn(&Accepted<'_>) -> P>(
    mut event_loop: EventLoop<B, Message>,
    remotes: Arc<Remotes>,
    config: Config,
    factory: F,
    listeners: Vec<Listener>,
    seat: Option<Seat>,
) -> io::Result<Server<B, F, P>> {
    let handle = ServerHandle::new(remotes.clone());
    let addresses = listeners.iter().map(|listener| listener.address().clone()).collect();
    let mut connections = Connections::new(config, factory, remotes, seat);
    for listener in listeners {
        connections.add_listener(event_loop.context(), listener)?;
    }
    Ok(Server { event_loop, connections, addresses, handle })
}

impl<B: Backend, P: Protocol, F: Fn(&Accepted<'_>) -> P> Server<B, F, P> {
    /// Where it listens, with the ports that the system chose.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
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
    /// What the backend says; all connections are closed then. What goes wrong with one connection
    /// ends that connection only.
    ///
    /// # Panics
    ///
    /// If a protocol does: see [`Protocol`].
    pub fn run(mut self) -> io::Result<()> {
        let ran = self.event_loop.run(&mut self.connections);
        if ran.is_err() {
            self.connections.close_all(self.event_loop.context(), Closed::Stopped);
        }
        ran
    }
}

impl<B: fmt::Debug, F, P> fmt::Debug for Server<B, F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Reaches a loop, its connections and what it counts.
pub struct Remotes {
    sender: Sender<Message>,
    counters: Arc<Counters>,
}

impl Remotes {
    /// Reaches the loop that gets what `sender` sends, and counts in `counters`.
    pub fn new(sender: Sender<Message>, counters: Arc<Counters>) -> Arc<Remotes> {
        Arc::new(Remotes { sender, counters })
    }

    /// Makes the handle of the connection `token`.
    pub fn handle(self: &Arc<Self>, token: Token) -> Handle {
        Handle::new(Arc::clone(self) as Arc<dyn Remote>, token)
    }

    /// What the loop counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn tell(&self, message: Message) {
        // A loop that is gone has closed everything.
        let _ = self.sender.send(message);
    }
}

impl Remote for Remotes {
    fn send(&self, token: Token, bytes: Arc<[u8]>) {
        self.tell(Message::Send(token, bytes));
    }

    fn close(&self, token: Token) {
        self.tell(Message::Close(token));
    }
}

impl Control for Remotes {
    fn drain(&self) {
        self.tell(Message::Drain);
    }

    fn stop(&self) {
        self.tell(Message::Stop);
    }

    fn counts(&self) -> Counts {
        self.counters.snapshot()
    }
}

impl fmt::Debug for Remotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remotes")
    }
}
