//! A protocol on a connection without a socket, for tests.

use polyloop::driver::{Environment, Machine, Step};
use polyloop::{Closed, Config, Protocol, Tick, Timers, Token};

/// The peer of a connection that a protocol is on.
pub(crate) struct Peer<P> {
    protocol: P,
    machine: Machine,
    timers: Timers,
    config: Config,
    /// How much the peer takes of what it is sent, from now on.
    room: usize,
    /// What it took and was not asked about.
    heard: Vec<u8>,
    half_closed: bool,
    closed: Option<Closed>,
}

impl<P: Protocol> Peer<P> {
    pub(crate) fn of(protocol: P) -> Self {
        Peer {
            protocol,
            machine: Machine::new(Tick::now()),
            timers: Timers::new(),
            config: Config::default(),
            room: usize::MAX,
            heard: Vec::new(),
            half_closed: false,
            closed: None,
        }
    }

    /// Sends all of `bytes` in one piece, and returns what came back.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        if !bytes.is_empty() && self.reads() {
            self.drive(|connection, protocol| Machine::received(connection, protocol, bytes));
        }
        std::mem::take(&mut self.heard)
    }

    /// Sends nothing more, and returns what came back.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        if self.closed.is_none() {
            self.drive(|connection, protocol| Machine::ended(connection, protocol));
        }
        std::mem::take(&mut self.heard)
    }

    /// Lets the timers run out that the protocol has set.
    pub(crate) fn let_timers_run_out(&mut self) {
        let (mut due, much_later) =
            (Vec::new(), Tick::now().after(std::time::Duration::from_secs(3600)));
        self.timers.collect_due(much_later, &mut due);
        for timer in due {
            self.drive(|connection, protocol| Machine::timer(connection, protocol, timer));
        }
    }

    /// Takes `room` bytes from now on, and nothing after them.
    pub(crate) fn take(&mut self, room: usize) -> Vec<u8> {
        self.room = room;
        self.drive(|_, _| {});
        std::mem::take(&mut self.heard)
    }

    /// Whether the server would read from the connection.
    pub(crate) fn reads(&self) -> bool {
        self.closed.is_none() && self.machine.interest().is_readable()
    }

    /// Whether the server has closed neither half of the connection.
    pub(crate) fn is_open(&self) -> bool {
        self.closed.is_none() && !self.half_closed
    }

    /// Why the server closed the connection, if it has.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.closed
    }

    fn drive(&mut self, tell: impl FnOnce(&mut polyloop::Connection<'_>, &mut P)) {
        let address = "127.0.0.1:1".parse::<std::net::SocketAddr>().unwrap().into();
        let mut output = Vec::new();
        let (room, heard) = (&mut self.room, &mut self.heard);
        let peer = || &address;
        let mut environment = Environment {
            machine: &mut self.machine,
            config: &self.config,
            now: Tick::now(),
            output: &mut output,
            timers: &mut self.timers,
            token: Token::new(0, 0),
            peer: &peer,
            handle: &|| unreachable!("the protocols here make no handles"),
        }
        .into();
        let protocol = &mut self.protocol;
        tell(&mut environment, protocol);
        loop {
            let step = Machine::settle(&mut environment, protocol, |bytes| {
                let taken = bytes.len().min(*room);
                if taken == 0 {
                    return Err(std::io::ErrorKind::WouldBlock.into());
                }
                *room -= taken;
                heard.extend_from_slice(&bytes[..taken]);
                Ok(taken)
            });
            match step {
                Step::GoOn => {}
                Step::HalfClose => self.half_closed = true,
                Step::Wait => return,
                Step::Close(reason) => {
                    self.closed = Some(reason);
                    return;
                }
            }
        }
    }
}
