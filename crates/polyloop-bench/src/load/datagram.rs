//! One client of a server of datagrams: sends one, and knows the answer to it from late answers to
//! those before.

use std::collections::VecDeque;
use std::io;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use polyloop::Address;

use super::connection::{Fault, Wire};
use super::messages::Which;
use super::system::SHORT_READ_EMPTIES;
use crate::transport::datagrams_to;

/// How many requests a client gives up before it forgets the first of them.
const REMEMBERED: usize = 64;

/// A client with a socket, and so a port, of its own.
#[derive(Debug)]
pub(super) struct DatagramClient {
    socket: UdpSocket,
    number: u32,
    sequence: u32,
    /// Requests that were given up and may still be answered, and whether such an answer counts.
    lost: VecDeque<(u32, bool)>,
    /// A request has begun and is neither answered nor given up.
    pub(super) busy: bool,
    /// When the present request began, in nanoseconds of the run's clock.
    pub(super) began: u64,
    /// When the present request should have begun, in nanoseconds of the run's clock.
    pub(super) intended: u64,
}

impl DatagramClient {
    /// Opens a socket that hears nobody but `target`.
    pub(super) fn open(number: u32, target: &Address) -> io::Result<Self> {
        let Some(target) = target.ip() else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("no datagrams to {target}: they go over UDP, to an IP address"),
            ));
        };
        let socket = datagrams_to(target)?;
        socket.set_nonblocking(true)?;
        Ok(DatagramClient {
            socket: UdpSocket::from_std(socket),
            number,
            sequence: 0,
            lost: VecDeque::with_capacity(REMEMBERED),
            busy: false,
            began: 0,
            intended: 0,
        })
    }

    /// Asks for the events of this client, once and for all.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// Sends the next request. One for which the kernel has no room is lost like any other.
    pub(super) fn begin(&mut self, now: u64, intended: u64, wire: &mut Wire) -> Result<(), Fault> {
        debug_assert!(!self.busy);
        self.sequence = self.sequence.wrapping_add(1);
        self.busy = true;
        self.began = now;
        self.intended = intended;
        let datagram = &mut wire.expected[..wire.messages.request_length()];
        wire.messages.fill_datagram((self.number, self.sequence), datagram);
        loop {
            match self.socket.send(datagram) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    /// Receives what has come; true when the present request was answered.
    pub(super) fn receive(&mut self, wire: &mut Wire) -> Result<bool, Fault> {
        let mut answered = false;
        loop {
            match self.socket.recv(&mut wire.received) {
                Ok(length) => answered |= self.check(length, wire)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(answered),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(&error)),
            }
            // On Linux an edge tells of every datagram: one behind the answer is read before the
            // answer to the next request.
            if answered && SHORT_READ_EMPTIES {
                return Ok(true);
            }
        }
    }

    /// Looks which request was answered, and compares every byte; true if it is the present one.
    fn check(&mut self, length: usize, wire: &mut Wire) -> Result<bool, Fault> {
        let received = &wire.received[..length];
        let sequence = match *received {
            [_, _, _, _, a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]),
            _ => self.sequence,
        };
        let expected = &mut wire.expected[..wire.messages.answer_length()];
        wire.messages.fill_datagram((self.number, sequence), expected);
        if *expected != *received {
            let place = expected.iter().zip(received).position(|(a, b)| a != b);
            return Err(self.wrong(&match place {
                Some(place) => format!(
                    "byte {place} is {:#04x} and should be {:#04x}",
                    received[place], expected[place]
                ),
                None => format!("{length} bytes came back of {}", expected.len()),
            }));
        }
        if self.busy && sequence == self.sequence {
            self.busy = false;
            return Ok(true);
        }
        let place = self.lost.iter().position(|&(lost, _)| lost == sequence);
        match place.and_then(|place| self.lost.remove(place)) {
            Some((_, counts)) => {
                wire.late += u64::from(counts);
                Ok(false)
            }
            None => Err(self.wrong(&format!("the answer to request {sequence} came once more"))),
        }
    }

    /// Gives the present request up: lost, or late.
    pub(super) fn lose(&mut self) {
        self.busy = false;
        if self.lost.len() == REMEMBERED {
            self.lost.pop_front();
        }
        self.lost.push_back((self.sequence, true));
    }

    /// Counts no late answer to a request that was given up until now.
    pub(super) fn forget(&mut self) {
        for (_, counts) in &mut self.lost {
            *counts = false;
        }
    }

    fn which(&self) -> Which {
        (self.number, self.sequence)
    }

    fn wrong(&self, what: &str) -> Fault {
        let (client, request) = self.which();
        Fault::Wrong(format!("client {client}, request {request}: {what}"))
    }

    fn broken(&self, error: &io::Error) -> Fault {
        let (client, request) = self.which();
        Fault::Broken(format!("client {client}, request {request}: {error}"))
    }
}
