//! The connection as one state machine without input and output.
//!
//! Every driver (readiness, blocking, completion) moves bytes in and out of it and does what it
//! says; buffers, water marks, half-close, deadlines and the way to the end are here and nowhere
//! else.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::{Closed, Config, Connection, Handle, Interest, Protocol, Tick, TimerId, Timers, Token};

/// The state of one connection: small while it is idle, since it holds buffers only for what the
/// protocol left unused and for what the kernel did not take.
#[derive(Debug)]
pub struct Machine {
    rest: Option<Box<Rest>>,
    queue: Option<Box<Queue>>,
    /// When a byte last moved.
    active: Tick,
    flags: u16,
}

/// Input that the protocol left unused.
#[derive(Debug)]
struct Rest {
    bytes: Vec<u8>,
    since: Tick,
}

/// Output that the kernel did not take.
#[derive(Debug)]
struct Queue {
    bytes: Vec<u8>,
    /// How much of `bytes` is written.
    written: usize,
    /// When the kernel last took something.
    since: Tick,
}

/// The peer has sent its last byte.
const READ_ENDED: u16 = 1;
/// The protocol has sent its last byte,
const FINISH: u16 = 1 << 1;
/// and the peer has been told so.
const FINISHED: u16 = 1 << 2;
/// To be closed when all is flushed.
const CLOSE: u16 = 1 << 3;
/// To be closed now.
const ABORT: u16 = 1 << 4;
/// The protocol wants no input.
const PAUSED: u16 = 1 << 5;
/// What was left unused is to be shown again.
const SHOW_REST: u16 = 1 << 6;
/// The output rose above the high-water mark and the protocol has not been told of its fall.
const ABOVE_HIGH: u16 = 1 << 7;
/// More input was left unused than is allowed.
const INPUT_TOO_LONG: u16 = 1 << 8;

/// What a driver lends a connection for the length of one call.
pub struct Environment<'a> {
    /// The server's limits.
    pub config: &'a Config,
    /// The clock, as the driver last read it.
    pub now: Tick,
    /// Where output is gathered until [`Machine::settle`] writes it. One buffer serves all
    /// connections of a driver: it is empty before and after.
    pub output: &'a mut Vec<u8>,
    /// Where the connection's timers go, under `token`.
    pub timers: &'a mut Timers,
    /// The connection's name with this driver.
    pub token: Token,
    /// The peer's address.
    pub peer: &'a Peer,
    /// Makes a handle of the connection.
    pub handle: &'a dyn Fn() -> Handle,
}

impl Environment<'_> {
    /// The same for a shorter time.
    pub fn reborrow(&mut self) -> Environment<'_> {
        Environment { output: self.output, timers: self.timers, ..*self }
    }
}

/// What a driver has to do after [`Machine::settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing but to wait for what [`Machine::interest`] says.
    Wait,
    /// To shut down the sending half, and then to ask [`Machine::step`] again.
    HalfClose,
    /// To close, and to tell the protocol why.
    Close(Closed),
}

/// A socket address in half the size that [`SocketAddr`] takes, which is that of IPv6.
#[derive(Debug)]
pub enum Peer {
    /// An IPv4 address.
    V4(SocketAddrV4),
    /// An IPv6 address.
    V6(Box<SocketAddrV6>),
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        match address {
            SocketAddr::V4(address) => Peer::V4(address),
            SocketAddr::V6(address) => Peer::V6(Box::new(address)),
        }
    }
}

impl From<&Peer> for SocketAddr {
    fn from(peer: &Peer) -> SocketAddr {
        match peer {
            Peer::V4(address) => SocketAddr::V4(*address),
            Peer::V6(address) => SocketAddr::V6(**address),
        }
    }
}

impl Machine {
    /// How often a protocol that produces without end goes on before other connections have their
    /// turn.
    const ROUNDS: usize = 16;

    /// A buffer that grew beyond this for one message is not kept for the next.
    const KEEP: usize = 256 * 1024;

    /// A connection that opens at `now`.
    #[must_use]
    pub fn new(now: Tick) -> Machine {
        Machine { rest: None, queue: None, active: now, flags: 0 }
    }

    #[inline]
    fn is(&self, any: u16) -> bool {
        self.flags & any != 0
    }

    // What the protocol asks, by way of `Connection`.

    #[inline]
    pub(crate) fn send(&mut self, environment: &mut Environment<'_>, bytes: &[u8]) {
        if self.is(FINISH | CLOSE | ABORT) {
            return;
        }
        match &mut self.queue {
            None => environment.output.extend_from_slice(bytes),
            Some(queue) => queue.bytes.extend_from_slice(bytes),
        }
        if self.queued(environment) > environment.config.high_water {
            self.flags |= ABOVE_HIGH;
        }
    }

    #[inline]
    pub(crate) fn queued(&self, environment: &Environment<'_>) -> usize {
        environment.output.len() + self.waiting()
    }

    pub(crate) fn is_above_high_water(&self) -> bool {
        self.is(ABOVE_HIGH)
    }

    pub(crate) fn finish(&mut self) {
        self.flags |= FINISH;
    }

    pub(crate) fn close(&mut self) {
        self.flags |= CLOSE;
    }

    pub(crate) fn abort(&mut self) {
        self.flags |= ABORT;
    }

    pub(crate) fn pause(&mut self) {
        self.flags |= PAUSED;
    }

    pub(crate) fn resume(&mut self) {
        if self.is(PAUSED) {
            self.flags = self.flags & !PAUSED | SHOW_REST;
        }
    }

    // What a driver tells.

    /// The connection is open.
    pub fn opened<P: Protocol>(&mut self, protocol: &mut P, environment: Environment<'_>) {
        protocol.opened(&mut Connection { machine: self, environment });
    }

    /// The driver has read `input`, which is not empty.
    #[inline]
    pub fn received<P: Protocol>(
        &mut self,
        protocol: &mut P,
        environment: Environment<'_>,
        input: &[u8],
    ) {
        let now = environment.now;
        self.active = now;
        if let Some(rest) = self.rest.take() {
            return self.received_more(protocol, environment, rest, input);
        }
        let max_input = environment.config.max_input;
        let left = self.show(protocol, environment, input);
        if !left.is_empty() {
            self.keep(Box::new(Rest { bytes: left.to_vec(), since: now }), max_input);
        }
    }

    #[cold]
    fn received_more<P: Protocol>(
        &mut self,
        protocol: &mut P,
        environment: Environment<'_>,
        mut rest: Box<Rest>,
        input: &[u8],
    ) {
        let (now, max_input) = (environment.now, environment.config.max_input);
        rest.bytes.extend_from_slice(input);
        let left = self.show(protocol, environment, &rest.bytes).len();
        let used = rest.bytes.len() - left;
        if left > 0 {
            if used > 0 {
                rest.bytes.drain(..used);
                rest.since = now;
            }
            self.keep(rest, max_input);
        }
    }

    /// Shows input to the protocol and returns what it left.
    #[inline]
    fn show<'i, P: Protocol>(
        &mut self,
        protocol: &mut P,
        environment: Environment<'_>,
        input: &'i [u8],
    ) -> &'i [u8] {
        let used = protocol.received(&mut Connection { machine: self, environment }, input);
        debug_assert!(used <= input.len(), "a protocol used {used} of {} bytes", input.len());
        if self.is(CLOSE | ABORT) {
            return &[]; // it will see no more of it
        }
        input.get(used..).unwrap_or(&[])
    }

    fn keep(&mut self, rest: Box<Rest>, max_input: usize) {
        if rest.bytes.len() > max_input {
            self.flags |= INPUT_TOO_LONG;
        }
        self.rest = Some(rest);
    }

    /// The driver has read the end of the input.
    pub fn ended<P: Protocol>(&mut self, protocol: &mut P, environment: Environment<'_>) {
        self.flags |= READ_ENDED;
        protocol.ended(&mut Connection { machine: self, environment });
    }

    /// A timer of the connection is due.
    pub fn timer<P: Protocol>(
        &mut self,
        protocol: &mut P,
        environment: Environment<'_>,
        timer: TimerId,
    ) {
        protocol.timer(&mut Connection { machine: self, environment }, timer);
    }

    /// Another connection or thread sent bytes through a [`Handle`].
    pub fn sent_from_elsewhere(&mut self, mut environment: Environment<'_>, bytes: &[u8]) {
        self.send(&mut environment, bytes);
    }

    /// Another connection or thread closed this one through a [`Handle`].
    pub fn closed_from_elsewhere(&mut self) {
        self.close();
    }

    // What a driver asks.

    /// Writes what waits with `write` and lets the protocol go on, until there is nothing to do
    /// but to wait. To be called after anything that was told.
    ///
    /// `write` may take less than it is given; it says `WouldBlock` when it can take nothing.
    #[inline]
    pub fn settle<P: Protocol>(
        &mut self,
        protocol: &mut P,
        environment: Environment<'_>,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> Step {
        // The steady path: an answer, which the kernel takes whole.
        if self.flags == 0 && self.queue.is_none() {
            if environment.output.is_empty() {
                return Step::Wait;
            }
            if let Ok(written) = write(environment.output) {
                self.active = environment.now;
                if written == environment.output.len() {
                    environment.output.clear();
                    return Step::Wait;
                }
                self.enqueue(environment.output, written, environment.now);
            }
        }
        self.settle_slowly(protocol, environment, &mut write)
    }

    #[cold]
    fn settle_slowly<P: Protocol>(
        &mut self,
        protocol: &mut P,
        mut environment: Environment<'_>,
        write: &mut impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> Step {
        for round in 0.. {
            if self.is(ABORT) {
                environment.output.clear();
                break;
            }
            if let Err(reason) = self.flush(&mut environment, write) {
                return Step::Close(reason);
            }
            if round == Machine::ROUNDS {
                break;
            }
            if self.is(ABOVE_HIGH) && self.waiting() <= environment.config.low_water {
                self.flags = self.flags & !ABOVE_HIGH | SHOW_REST;
                let environment = environment.reborrow();
                protocol.drained(&mut Connection { machine: self, environment });
            } else if self.is(SHOW_REST) && !self.is(PAUSED | ABOVE_HIGH | CLOSE) {
                self.flags &= !SHOW_REST;
                let Some(mut rest) = self.rest.take() else { break };
                rest.since = environment.now;
                self.received_more(protocol, environment.reborrow(), rest, &[]);
            } else {
                break;
            }
        }
        if environment.output.capacity() > Machine::KEEP {
            *environment.output = Vec::new();
        }
        self.step()
    }

    /// Writes the queue, then what was gathered; what the kernel does not take is the queue.
    fn flush(
        &mut self,
        environment: &mut Environment<'_>,
        write: &mut impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> Result<(), Closed> {
        if !environment.output.is_empty() {
            self.enqueue(environment.output, 0, environment.now);
        }
        let Some(queue) = &mut self.queue else { return Ok(()) };
        while queue.written < queue.bytes.len() {
            match write(&queue.bytes[queue.written..]) {
                Ok(0) => return Err(Closed::Failed(io::ErrorKind::WriteZero)),
                Ok(written) => {
                    queue.written += written;
                    queue.since = environment.now;
                    self.active = environment.now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return queue.tidy(environment.config.max_output);
                }
                Err(error) => return Err(Closed::from_error(&error)),
            }
        }
        self.queue = None;
        Ok(())
    }

    /// Moves what was gathered, but for what is `written`, to the end of the queue.
    fn enqueue(&mut self, output: &mut Vec<u8>, written: usize, now: Tick) {
        let queue = self
            .queue
            .get_or_insert_with(|| Box::new(Queue { bytes: Vec::new(), written: 0, since: now }));
        queue.bytes.extend_from_slice(&output[written..]);
        output.clear();
    }

    /// Bytes that the kernel did not take.
    #[inline]
    fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.bytes.len() - queue.written)
    }

    /// What is to be done when there is nothing to write at the moment.
    pub fn step(&mut self) -> Step {
        if self.is(ABORT) {
            return Step::Close(Closed::Finished);
        }
        if self.is(INPUT_TOO_LONG) {
            return Step::Close(Closed::InputTooLong);
        }
        if self.waiting() > 0 {
            return Step::Wait;
        }
        if self.is(CLOSE) || self.is(FINISHED) && self.is(READ_ENDED) {
            return Step::Close(Closed::Finished);
        }
        if self.is(FINISH) && !self.is(FINISHED) {
            self.flags |= FINISHED;
            return Step::HalfClose;
        }
        Step::Wait
    }

    /// What the connection waits for: input unless it is at its end, paused or too far behind with
    /// its output; room for output while output waits.
    #[inline]
    #[must_use]
    pub fn interest(&self) -> Interest {
        let mut interest = Interest::NONE;
        if !self.is(READ_ENDED | PAUSED | ABOVE_HIGH | CLOSE | ABORT) {
            interest |= Interest::READABLE;
        }
        if !self.is_flushed() || self.is(ABOVE_HIGH) {
            interest |= Interest::WRITABLE;
        }
        interest
    }

    /// Whether the kernel has taken all output.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.queue.is_none()
    }

    /// Whether the connection is in the middle of nothing.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.rest.is_none() && self.is_flushed()
    }

    /// The next of the connection's deadlines, and what it is closed for if that passes.
    #[must_use]
    pub fn deadline(&self, config: &Config) -> Option<(Tick, Closed)> {
        let idle = config.idle.map(|idle| (self.active.after(idle), Closed::Idle));
        // A message that the protocol itself holds up is not the peer's fault.
        let rest = self.rest.as_ref().filter(|_| self.interest().is_readable());
        let read = rest.zip(config.read);
        let read = read.map(|(rest, read)| (rest.since.after(read), Closed::ReadTimeout));
        let write = self.queue.as_ref().zip(config.write);
        let write = write.map(|(queue, write)| (queue.since.after(write), Closed::WriteTimeout));
        [idle, read, write].into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
    }
}

impl Queue {
    /// Drops what is written, if that is most of it, and compares the rest with its limit.
    fn tidy(&mut self, max_output: usize) -> Result<(), Closed> {
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        if self.bytes.len() - self.written > max_output {
            return Err(Closed::OutputTooLong);
        }
        Ok(())
    }
}
