//! Several loops that serve as one.

use std::fmt;
use std::io;
use std::iter;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;

use mio::net::TcpStream;

use super::{assemble, Message, Remotes, ServerBuilder, Unset};
use crate::handle::Control;
use crate::listen::{expect_some, listen_beside};
use crate::{
    listen_all, Accepted, Address, Backend, Config, Counts, EventLoop, Listener, Peer, Protocol,
    ServerHandle,
};

/// Which of a server's loops takes a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AcceptPolicy {
    /// The first loop accepts, and hands out one after the other.
    #[default]
    RoundRobin,
    /// The first loop accepts, and hands to the loop that has the fewest connections.
    LeastLoaded,
    /// Every loop accepts for itself from a listener of its own; the kernel spreads connections
    /// over the listeners by a hash of their addresses (`SO_REUSEPORT`).
    ///
    /// # Portability
    ///
    /// Linux and Android, for addresses and ports. `Unsupported` for the path of a Unix-domain
    /// socket, and on other systems, where this option does not spread connections.
    ///
    /// # References
    ///
    /// [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    ReusePort,
}

impl ServerBuilder<Unset> {
    /// Listens with so many loops, each on a thread of its own. `backend` makes the backend of
    /// each; what [`backend`](ServerBuilder::backend) chooses is for a server with one loop.
    ///
    /// The limit of connections is that of all loops together.
    ///
    /// # Errors
    ///
    /// As [`build`](ServerBuilder::build); `InvalidInput` for no loop at all; `Unsupported` where
    /// the system has no such [`AcceptPolicy`].
    pub fn build_loops<B, P, F>(
        self,
        loops: usize,
        policy: AcceptPolicy,
        mut backend: impl FnMut() -> io::Result<B>,
        factory: F,
    ) -> io::Result<ServerGroup>
    where
        B: Backend + Send + 'static,
        P: Protocol + 'static,
        F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
    {
        let (addresses, config) = (self.addresses?, self.config);
        config.check()?;
        let open = || {
            let event_loop = EventLoop::<B, Message>::new(backend()?);
            let counters = Arc::clone(event_loop.counters());
            let remotes = Remotes::new(event_loop.sender(), counters);
            Ok((event_loop, remotes))
        };
        let opened = iter::repeat_with(open).take(loops).collect::<io::Result<Vec<_>>>()?;
        let factory = Arc::new(factory);
        ServerGroup::new(addresses, &config, policy, opened, |place| {
            let Place { opened, remotes, listeners, seat } = place;
            let factory = Arc::clone(&factory);
            let make = move |accepted: &Accepted<'_>| factory(accepted);
            let server = assemble(opened, remotes, config.clone(), make, listeners, Some(seat))?;
            Ok(Box::new(move || server.run()))
        })
    }
}

/// Serves with one of the loops until that ends.
pub type Run = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A loop of a server that has several: what it is to serve from.
#[derive(Debug)]
pub struct Place<L> {
    /// What was opened for it.
    pub opened: L,
    /// How it is reached.
    pub remotes: Arc<Remotes>,
    /// Where it accepts; nowhere, if another loop accepts for it.
    pub listeners: Vec<Listener>,
    /// How it shares connections, and their limit, with the others.
    pub seat: Seat,
}

/// A server with several loops, which listens already.
pub struct ServerGroup {
    addresses: Vec<Address>,
    runs: Vec<Run>,
    group: Arc<Group>,
}

impl ServerGroup {
    /// Listens, and makes one server of several loops of any kind: `opened` are the loops, each
    /// with how it is reached, and `run` makes of each what serves.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for no loop at all, or no address; one can't be listened on; `Unsupported` where
    /// the system has no such [`AcceptPolicy`]; what `run` says.
    pub fn new<L>(
        addresses: Vec<Address>,
        config: &Config,
        policy: AcceptPolicy,
        opened: Vec<(L, Arc<Remotes>)>,
        mut run: impl FnMut(Place<L>) -> io::Result<Run>,
    ) -> io::Result<ServerGroup> {
        expect_some(&addresses)?;
        if opened.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a server needs a loop"));
        }
        let group = Arc::new(Group {
            members: opened.iter().map(|(_, remotes)| Arc::clone(remotes)).collect(),
            limit: config.max_connections,
            taken: AtomicUsize::new(0),
            policy,
        });
        let mut bound = addresses;
        let mut runs = Vec::with_capacity(opened.len());
        for (index, (opened, remotes)) in opened.into_iter().enumerate() {
            let listeners: Vec<Listener> = match (policy, index) {
                (AcceptPolicy::ReusePort, _) => bound
                    .iter()
                    .map(|address| listen_beside(address, config.backlog))
                    .collect::<io::Result<_>>()?,
                (_, 0) => listen_all(&bound, config.backlog)?,
                _ => Vec::new(),
            };
            if index == 0 {
                bound = listeners.iter().map(|listener| listener.address().clone()).collect();
            }
            let given = vec![0; group.members.len()];
            let seat = Seat { group: Arc::clone(&group), index, given, next: 0 };
            runs.push(run(Place { opened, remotes, listeners, seat })?);
        }
        Ok(ServerGroup { addresses: bound, runs, group })
    }

    /// Where it listens, with the ports that the system chose.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Makes a handle, with which any thread ends the server and sees what it counts.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle::new(Arc::clone(&self.group) as Arc<dyn Control>)
    }

    /// Serves until a [`ServerHandle`] ends it, the first loop on the calling thread.
    ///
    /// # Errors
    ///
    /// A thread can't be started, or what the backend of a loop says; the other loops end with it.
    ///
    /// # Panics
    ///
    /// If a protocol does, on whichever loop; the others end first.
    pub fn run(self) -> io::Result<()> {
        let mut runs = self.runs.into_iter().enumerate();
        let first = runs.next();
        let mut threads = Vec::new();
        let mut result = Ok(());
        let mut panicked = None;
        for (index, run) in runs {
            let end = EndAll::new(&self.group);
            let builder = thread::Builder::new().name(format!("polyloop {index}"));
            match builder.spawn(move || end.after(run)) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    self.group.tell_all(&|| Message::Stop);
                    result = result.and(Err(error));
                }
            }
        }
        if let Some((_, run)) = first {
            let end = EndAll::new(&self.group);
            // All have ended before a panic goes on, with which nothing of the loop is left.
            match panic::catch_unwind(AssertUnwindSafe(|| end.after(run))) {
                Ok(ended) => result = result.and(ended),
                Err(panic) => panicked = Some(panic),
            }
        }
        for thread in threads {
            match thread.join() {
                Ok(ended) => result = result.and(ended),
                Err(panic) => panicked = panicked.or(Some(panic)),
            }
        }
        panicked.map_or(result, |panic| panic::resume_unwind(panic))
    }
}

impl fmt::Debug for ServerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerGroup")
            .field("addresses", &self.addresses)
            .field("loops", &self.runs.len())
            .finish_non_exhaustive()
    }
}

/// Ends every loop when one fails or panics.
struct EndAll {
    group: Arc<Group>,
    needed: bool,
}

impl EndAll {
    fn new(group: &Arc<Group>) -> EndAll {
        EndAll { group: Arc::clone(group), needed: true }
    }

    fn after(mut self, run: Run) -> io::Result<()> {
        let result = run();
        self.needed = result.is_err();
        result
    }
}

impl Drop for EndAll {
    fn drop(&mut self) {
        if self.needed {
            self.group.tell_all(&|| Message::Stop);
        }
    }
}

/// What the loops of a server share.
pub(super) struct Group {
    members: Vec<Arc<Remotes>>,
    limit: Option<usize>,
    /// Connections of all loops, those among them that are on their way to one: what the limit
    /// counts.
    taken: AtomicUsize,
    policy: AcceptPolicy,
}

impl Group {
    fn tell(&self, index: usize, message: Message) {
        // A connection that was on its way to a loop that is gone is closed with the message.
        self.members[index].tell(message);
    }

    fn tell_all(&self, message: &dyn Fn() -> Message) {
        for index in 0..self.members.len() {
            self.tell(index, message());
        }
    }

    /// Takes a place under the limit; false if there is none.
    fn reserve(&self) -> bool {
        let room = |taken| (self.limit.map_or(true, |limit| taken < limit)).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_ok()
    }

    /// Gives a place back, and tells those who stopped accepting for want of one.
    fn release(&self) {
        let before = self.taken.fetch_sub(1, Ordering::AcqRel);
        if self.limit == Some(before) {
            // Who finds no room after this has not stopped yet, and hears of it when it has.
            match self.policy {
                AcceptPolicy::ReusePort => self.tell_all(&|| Message::Room),
                AcceptPolicy::RoundRobin | AcceptPolicy::LeastLoaded => self.tell(0, Message::Room),
            }
        }
    }
}

impl Control for Group {
    /// By way of the first loop, behind the connections that it has handed out.
    fn drain(&self) {
        self.tell(0, Message::Drain);
    }

    /// To each of them: in a drain the first may have ended, and others not.
    fn stop(&self) {
        self.tell_all(&|| Message::Stop);
    }

    fn counts(&self) -> Counts {
        self.loops().into_iter().fold(Counts::default(), |sum, counts| sum + counts)
    }

    fn loops(&self) -> Vec<Counts> {
        self.members.iter().map(|member| member.counters().snapshot()).collect()
    }
}

/// What a loop shares with the others of its server.
pub struct Seat {
    group: Arc<Group>,
    index: usize,
    /// Connections handed to each loop.
    given: Vec<u64>,
    /// Whose turn it is.
    next: usize,
}

impl Seat {
    /// Takes a place under the limit that all loops share, for a connection that is
    /// [somebody's turn](Seat::next_loop); false if there is none, and the loop hears of it with
    /// [`Message::Room`] when there is.
    #[must_use]
    pub fn reserve(&self) -> bool {
        self.group.reserve()
    }

    /// Gives a place back: a connection is closed, wherever it was accepted, or never came to be.
    pub fn release(&self) {
        self.group.release();
    }

    /// Connections of all loops.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.group.taken.load(Ordering::Acquire)
    }

    /// Tells the other loops to drain, if this is the one that was told.
    pub fn pass_drain_on(&self) {
        if self.index == 0 {
            for index in 1..self.group.members.len() {
                self.group.tell(index, Message::Drain);
            }
        }
    }

    /// Whose turn it is to take a connection: `None` if that of this loop, and otherwise that of the
    /// one to which it is to be [handed](Seat::hand_to). It counts as taken there from then on.
    pub fn next_loop(&mut self) -> Option<usize> {
        let index = match self.group.policy {
            AcceptPolicy::ReusePort => self.index,
            AcceptPolicy::RoundRobin => {
                let turn = self.next;
                self.next = (turn + 1) % self.group.members.len();
                turn
            }
            AcceptPolicy::LeastLoaded => self.least_loaded(),
        };
        self.given[index] += 1;
        (index != self.index).then_some(index)
    }

    /// Hands a connection to another loop, which gets it with [`Message::Adopt`].
    pub fn hand_to(&self, index: usize, stream: TcpStream, peer: Peer) {
        self.group.tell(index, Message::Adopt(stream, peer));
    }

    /// A connection that the loop had handed to itself never came to be.
    pub(super) fn take_back(&mut self) {
        self.given[self.index] -= 1;
    }

    fn least_loaded(&self) -> usize {
        // What was handed out and has not arrived counts as well.
        let open = |index: &usize| {
            self.given[*index].wrapping_sub(self.group.members[*index].counters().closed.get())
        };
        (0..self.given.len()).min_by_key(open).unwrap_or(self.index)
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("index", &self.index).finish_non_exhaustive()
    }
}
