//! Whoever makes requests: a connection, or a client of a server of datagrams.

use std::io;
use std::net::Ipv4Addr;

use mio::{Interest, Registry, Token};

use super::connection::{Connection, Fault, Told, Wire};
use super::datagram::DatagramClient;
use super::system::INPUT;
use super::Settings;
use crate::transport::Transport;

/// Whoever makes requests, one after the other.
#[derive(Debug)]
pub(super) enum Client {
    Stream(Connection),
    Datagram(DatagramClient),
}

impl Client {
    /// Makes the `number`-th client of a run, from `source` if one is given.
    pub(super) fn open(
        number: u32,
        settings: &Settings,
        source: Option<Ipv4Addr>,
    ) -> io::Result<Self> {
        match settings.transport {
            Transport::Tcp => {
                Connection::open(number, &settings.target, source).map(Client::Stream)
            }
            Transport::Udp => DatagramClient::open(number, &settings.target).map(Client::Datagram),
        }
    }

    /// Asks for the events of this client, once and for all. A short one is used for one request
    /// only, which has begun.
    pub(super) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        short: bool,
        wire: &Wire,
    ) -> io::Result<()> {
        match self {
            Client::Stream(connection) => {
                let interest = if short && connection.is_sent(wire) {
                    INPUT
                } else {
                    INPUT | Interest::WRITABLE
                };
                connection.register(registry, token, interest)
            }
            Client::Datagram(client) => client.register(registry, token),
        }
    }

    /// Begins the next request.
    #[inline]
    pub(super) fn begin(&mut self, now: u64, intended: u64, wire: &mut Wire) -> Result<(), Fault> {
        match self {
            Client::Stream(connection) => connection.begin(now, intended, wire),
            Client::Datagram(client) => client.begin(now, intended, wire),
        }
    }

    /// Goes on after an event; true when it completed the answer to the present request.
    #[inline]
    pub(super) fn advance(&mut self, told: Told, wire: &mut Wire) -> Result<bool, Fault> {
        match self {
            Client::Stream(connection) => connection.advance(told, wire),
            Client::Datagram(client) => client.receive(wire),
        }
    }

    /// The end that came along with the last answer, if one did.
    pub(super) fn take_end(&mut self) -> Option<Fault> {
        match self {
            Client::Stream(connection) => connection.take_end(),
            Client::Datagram(_) => None,
        }
    }

    /// Gives up a request that was not answered in time: a fault on a stream, where an answer can
    /// be waited for, and none with datagrams, which get lost.
    pub(super) fn give_up(&mut self, wire: &Wire) -> Option<Fault> {
        match self {
            Client::Stream(connection) => Some(connection.timed_out(wire)),
            Client::Datagram(client) => {
                client.lose();
                None
            }
        }
    }

    /// Counts no late answer to a request that was given up until now.
    pub(super) fn forget(&mut self) {
        match self {
            Client::Stream(_) => {}
            Client::Datagram(client) => client.forget(),
        }
    }

    /// Whether a request has begun and is not answered.
    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        match self {
            Client::Stream(connection) => connection.busy,
            Client::Datagram(client) => client.busy,
        }
    }

    /// When the present request began, and when it should have begun.
    #[inline]
    pub(super) fn times(&self) -> (u64, u64) {
        match self {
            Client::Stream(connection) => (connection.began, connection.intended),
            Client::Datagram(client) => (client.began, client.intended),
        }
    }
}
