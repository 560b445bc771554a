//! Taking connections in, within limits.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use polyloop::driver::{Seat, Starvation};
use polyloop::{
    concerns_one_connection, Accepted, Address, Listener, Peer, Protocol, Tick, TimerId, Token,
};
use rustix::io::Errno;

use super::driver::Driver;
use super::ring::Ring;
use super::socket::Socket;

/// Listening sockets, and what came from them too early.
pub(super) struct Listeners {
    listeners: Vec<Listening>,
    /// Accepted when the last place was taken: each of several listeners may accept one more than
    /// there is room for.
    early: VecDeque<Socket>,
    /// Until then nobody accepts, for want of something.
    pub(super) resting: Option<TimerId>,
    starvation: Starvation,
    /// There may be a listener to be armed.
    pub(super) wanted: bool,
    stopped: bool,
    /// Of a loop that serves with others.
    seat: Option<Seat>,
}

struct Listening {
    listener: Listener,
    /// The kernel accepts.
    armed: bool,
}

impl Listeners {
    pub(super) fn new(listeners: Vec<Listener>, seat: Option<Seat>) -> Listeners {
        let armed = false;
        Listeners {
            listeners: listeners
                .into_iter()
                .map(|listener| Listening { listener, armed })
                .collect(),
            early: VecDeque::new(),
            resting: None,
            starvation: Starvation::default(),
            wanted: false,
            stopped: false,
            seat,
        }
    }

    /// A connection is gone, and its place under the limit is free.
    pub(super) fn release(&mut self) {
        match &self.seat {
            Some(seat) => seat.release(),
            None => self.wanted = true,
        }
    }

    /// Tells the loops that serve with this one, if it was told first.
    pub(super) fn pass_drain_on(&self) {
        if let Some(seat) = &self.seat {
            seat.pass_drain_on();
        }
    }

    /// Accepts nobody any more. A listener is closed when the kernel is done with it.
    pub(super) fn stop(&mut self, ring: &mut Ring) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        self.early.clear();
        for (index, listening) in self.listeners.iter().enumerate() {
            if listening.armed {
                ring.cancel_accept(index);
            }
        }
        self.close_if_done();
    }

    fn close_if_done(&mut self) {
        if self.listeners.iter().all(|listening| !listening.armed) {
            self.listeners.clear();
        }
    }
}

impl<P: Protocol, F: Fn(&Accepted<'_>) -> P> Driver<F, P> {
    /// Lets in who waits, as far as there is room, and has the kernel accept.
    ///
    /// Within a limit of connections one at a time: a kernel that accepts again and again knows
    /// none.
    pub(super) fn listen(&mut self) {
        self.listeners.wanted = false;
        let limit = self.config.max_connections;
        while !self.listeners.early.is_empty() && self.reserve() {
            let Some(socket) = self.listeners.early.pop_front() else { break };
            self.take_in(socket);
        }
        if self.listeners.stopped || self.listeners.resting.is_some() {
            return;
        }
        if !self.has_room() {
            log::debug!("as many connections are open as may be");
            return;
        }
        for (index, listening) in self.listeners.listeners.iter_mut().enumerate() {
            if !listening.armed {
                let socket = listening.listener.socket().as_fd();
                self.shared.ring.accept(socket, index, limit.is_none());
                listening.armed = true;
            }
        }
    }

    fn has_room(&self) -> bool {
        let taken = self.listeners.seat.as_ref().map_or(self.open, Seat::taken);
        self.config.max_connections.map_or(true, |limit| taken < limit)
    }

    /// Takes a place under the limit of connections; false if there is none.
    fn reserve(&self) -> bool {
        match &self.listeners.seat {
            Some(seat) => seat.reserve(),
            None => self.has_room(),
        }
    }

    /// Opens a connection that was accepted and has a place, here or on the loop whose turn it is.
    fn take_in(&mut self, socket: Socket) {
        if let Some(seat) = &mut self.listeners.seat {
            if let Some(other) = seat.next_loop() {
                let (stream, peer) = socket.into_parts(&self.counters);
                return seat.hand_to(other, mio::net::TcpStream::from_std(stream), peer);
            }
        }
        self.open(socket);
    }

    #[cold]
    pub(super) fn accepted(&mut self, index: usize, socket: Result<OwnedFd, Errno>, more: bool) {
        self.counters.accepts.add(1);
        self.counters.batched.add(1);
        let Some(listening) = self.listeners.listeners.get_mut(index) else { return };
        listening.armed = more;
        if self.listeners.stopped {
            return self.listeners.close_if_done(); // and the socket is closed here
        }
        self.listeners.wanted |= !more;
        match socket {
            Ok(socket) => {
                let stream = TcpStream::from(socket);
                let socket = match listening.listener.address() {
                    Address::Unix(_) => Socket::with_peer(stream, Peer::UNIX),
                    Address::Ip(_) => Socket::new(stream),
                };
                if self.reserve() {
                    self.take_in(socket);
                } else {
                    self.listeners.early.push_back(socket);
                }
            }
            // The kernel stops for no reason.
            Err(Errno::AGAIN | Errno::CANCELED) => {}
            Err(error) if concerns_one_connection(&error.into()) => {}
            Err(error) => self.rest(error),
        }
    }

    /// Out of descriptors or of memory.
    fn rest(&mut self, error: Errno) {
        self.listeners.starvation.no_connection(self.open, &error.into());
        if self.listeners.resting.is_none() {
            let until = Tick::now().after(Starvation::REST);
            // Any token serves: the timer is known by its id.
            self.listeners.resting = Some(self.shared.timers.insert(until, Token::new(0, 0)));
        }
    }
}
