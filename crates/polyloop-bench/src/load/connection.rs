//! One connection of the load generator: sends a request, checks every byte of the answer, and
//! says when it is complete.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use polyloop::Address;
use socket2::{Domain, SockAddr, Socket, Type};

use super::messages::{Messages, Which};
use super::system::{connect_goes_on, SHORT_READ_EMPTIES};

/// What the connections of one load generator share: what they say, and the two buffers that all
/// of them use in turn.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) messages: Messages,
    pub(super) received: Box<[u8]>,
    pub(super) expected: Box<[u8]>,
    /// Datagrams that answered a request which had been given up.
    pub(super) late: u64,
}

impl Wire {
    const BUFFER: usize = 64 * 1024;

    pub(super) fn new(messages: Messages) -> Self {
        Wire {
            messages,
            received: vec![0; Self::BUFFER].into(),
            expected: vec![0; Self::BUFFER].into(),
            late: 0,
        }
    }
}

/// What went wrong with a connection.
#[derive(Debug)]
pub(super) enum Fault {
    /// It could not be established.
    Connect(io::Error),
    /// It failed, or the peer closed it.
    Broken(String),
    /// Something else came back than was sent.
    Wrong(String),
    /// Nothing came back in time.
    TimedOut(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Connect(error) => write!(f, "cannot connect: {error}"),
            Fault::Broken(text) | Fault::Wrong(text) | Fault::TimedOut(text) => f.write_str(text),
        }
    }
}

/// What an event tells of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    readable: bool,
    writable: bool,
    /// A short read has not emptied it: the end, an error or what follows an out-of-band byte is
    /// still to come, and no further event will say so.
    more: bool,
}

impl From<&Event> for Told {
    fn from(event: &Event) -> Told {
        let ends = event.is_read_closed() || event.is_error();
        Told {
            readable: event.is_readable() || ends,
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
            more: ends || event.is_priority(),
        }
    }
}

/// A connection and the request that is under way on it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    number: u32,
    sequence: u32,
    /// Bytes of the present request that were sent.
    sent: usize,
    /// Bytes of its answer that came back.
    received: usize,
    established: bool,
    /// How it ended, if that was found out along with the last byte of an answer: the answer
    /// counts, and the next request meets the end.
    ended: Option<String>,
    /// A request has begun and its answer is not complete.
    pub(super) busy: bool,
    /// When the present request began, in nanoseconds of the run's clock.
    pub(super) began: u64,
    /// When the present request should have begun, in nanoseconds of the run's clock.
    pub(super) intended: u64,
}

impl Connection {
    /// Starts connecting to `target`, from `source` if one is given.
    pub(super) fn open(
        number: u32,
        target: &Address,
        source: Option<Ipv4Addr>,
    ) -> io::Result<Self> {
        let (domain, address) = match target {
            Address::Ip(address) => (Domain::for_address(*address), (*address).into()),
            Address::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
        };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if target.ip().is_some() {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        }
        if let Err(error) = socket.connect(&address) {
            if !connect_goes_on(&error) {
                return Err(error);
            }
        }
        Ok(Connection {
            stream: TcpStream::from_std(socket.into()),
            number,
            sequence: 0,
            sent: 0,
            received: 0,
            established: false,
            ended: None,
            busy: false,
            began: 0,
            intended: 0,
        })
    }

    /// Asks for the events of this connection, once and for all.
    pub(super) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        registry.register(&mut self.stream, token, interest)
    }

    /// Says whether the present request has been sent to its end.
    pub(super) fn is_sent(&self, wire: &Wire) -> bool {
        self.sent == wire.messages.request_length()
    }

    /// The present request.
    fn which(&self) -> Which {
        (self.number, self.sequence)
    }

    /// Begins the next request and sends what the kernel takes of it.
    pub(super) fn begin(&mut self, now: u64, intended: u64, wire: &mut Wire) -> Result<(), Fault> {
        debug_assert!(!self.busy);
        self.sequence = self.sequence.wrapping_add(1);
        self.sent = 0;
        self.received = 0;
        self.busy = true;
        self.began = now;
        self.intended = intended;
        match self.take_end() {
            None => self.send(wire),
            Some(fault) => Err(fault),
        }
    }

    /// Goes on after an event; true when it completed the answer to the present request.
    pub(super) fn advance(&mut self, told: Told, wire: &mut Wire) -> Result<bool, Fault> {
        if !self.established {
            if !told.writable {
                return Ok(false);
            }
            if let Some(error) = self.stream.take_error().map_err(Fault::Connect)? {
                return Err(Fault::Connect(error));
            }
        }
        let was_busy = self.busy;
        if self.busy && told.writable && !self.is_sent(wire) {
            self.send(wire)?;
        }
        if told.readable {
            self.receive(told.more, wire)?;
        }
        Ok(was_busy && !self.busy)
    }

    fn send(&mut self, wire: &mut Wire) -> Result<(), Fault> {
        while !self.is_sent(wire) {
            let left = wire.messages.request_length() - self.sent;
            let length = left.min(wire.expected.len());
            let piece = &mut wire.expected[..length];
            wire.messages.fill_request(self.which(), self.sent, piece);
            match self.stream.write(piece) {
                Ok(0) => return Err(self.broken("took nothing that was written")),
                Ok(taken) => {
                    self.established = true;
                    self.sent += taken;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Windows says this of a connection that is still being made.
                Err(error) if !self.established && error.kind() == io::ErrorKind::NotConnected => {
                    return Ok(())
                }
                Err(error) if !self.established => return Err(Fault::Connect(error)),
                Err(error) => return Err(self.broken(&error.to_string())),
            }
        }
        Ok(())
    }

    fn receive(&mut self, more: bool, wire: &mut Wire) -> Result<(), Fault> {
        let was_busy = self.busy;
        loop {
            let length = match self.stream.read(&mut wire.received) {
                Ok(0) => return self.end("closed by the server", was_busy),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.end(&error.to_string(), was_busy),
            };
            self.established = true;
            let answerable =
                if self.busy { wire.messages.answerable(self.sent) } else { self.received };
            let surplus = (self.received + length).saturating_sub(answerable);
            if surplus > 0 {
                return Err(Fault::Wrong(format!(
                    "connection {}, request {}: {surplus} bytes more came back than were asked for",
                    self.number, self.sequence,
                )));
            }
            self.check(length, wire)?;
            self.received += length;
            if self.received == wire.messages.answer_length() {
                self.busy = false;
            }
            if SHORT_READ_EMPTIES && !more && length < wire.received.len() {
                return Ok(());
            }
        }
    }

    /// The end that came along with the last answer, if one did.
    pub(super) fn take_end(&mut self) -> Option<Fault> {
        self.ended.take().map(|how| self.broken(&how))
    }

    /// Ends it, at once or behind the answer that has just been completed.
    fn end(&mut self, how: &str, was_busy: bool) -> Result<(), Fault> {
        if was_busy && !self.busy {
            self.ended = Some(how.to_owned());
            return Ok(());
        }
        Err(self.broken(how))
    }

    /// Compares what was received with what it must be.
    fn check(&self, length: usize, wire: &mut Wire) -> Result<(), Fault> {
        let expected = &mut wire.expected[..length];
        wire.messages.fill_answer(self.which(), self.received, expected);
        if *expected == wire.received[..length] {
            return Ok(());
        }
        let mut pairs = expected.iter().zip(&wire.received[..length]);
        // The slices differ and are equally long, so some pair differs.
        let place = pairs.position(|(a, b)| a != b).unwrap_or(0);
        Err(Fault::Wrong(format!(
            "connection {}, request {}: byte {} is {:#04x} and should be {:#04x}",
            self.number,
            self.sequence,
            self.received + place,
            wire.received[place],
            expected[place]
        )))
    }

    /// The fault of a connection that was left without an answer.
    pub(super) fn timed_out(&self, wire: &Wire) -> Fault {
        if !self.established {
            return Fault::Connect(io::ErrorKind::TimedOut.into());
        }
        Fault::TimedOut(format!(
            "connection {}, request {}: no answer in time, {} of {} bytes had come back",
            self.number,
            self.sequence,
            self.received,
            wire.messages.answer_length()
        ))
    }

    fn broken(&self, what: &str) -> Fault {
        Fault::Broken(format!("connection {}, request {}: {what}", self.number, self.sequence))
    }
}

/// Returns the source address of the `index`-th short connection: one of 16 million in
/// 127.0.0.0/8, so that no port which rests in TIME_WAIT is needed again soon.
pub(super) fn source(index: u64) -> Ipv4Addr {
    // 127.0.0.0, 127.0.0.1 and 127.255.255.255 stay out of it.
    const FIRST: u64 = 2;
    const COUNT: u64 = (1 << 24) - 3;
    let low = (FIRST + index % COUNT) as u32;
    Ipv4Addr::from(127 << 24 | low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_stay_on_the_loopback_network() {
        assert_eq!(source(0), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source(254), Ipv4Addr::new(127, 0, 1, 0));
        assert_eq!(source((1 << 24) - 4), Ipv4Addr::new(127, 255, 255, 254));
        assert_eq!(source((1 << 24) - 3), Ipv4Addr::new(127, 0, 0, 2));
    }
}
