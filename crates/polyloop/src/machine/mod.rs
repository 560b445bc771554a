//! The connection as one state machine without input and output.
//!
//! Every driver (readiness, blocking, completion) moves bytes in and out of it and does what it
//! says; buffers, water marks, half-close, deadlines and the way to the end are here and nowhere
//! else.

use std::io;

use self::output::Queue;
use crate::{
    Closed, Config, Connection, Handle, Interest, Peer, Protocol, Tick, TimerId, TimerList, Timers,
    Token,
};

mod output;

/// The state of one connection: small while it is idle, since it holds buffers only for what the
/// protocol left unused and for what the kernel did not take.
#[derive(Debug)]
pub struct Machine {
    /// What is kept for a connection that is in the middle of something; [`UNUSED`] and [`QUEUE`]
    /// say of what.
    held: Option<Box<Held>>,
    /// When a byte last moved.
    active: Tick,
    flags: u16,
    /// The protocol's timers, which are not to outlive the connection.
    timers: TimerList,
    /// Bytes that are on their way with [`FLIGHT`].
    flying: u32,
}

#[derive(Debug)]
struct Held {
    unused: Unused,
    queue: Queue,
}

/// Input that the protocol left unused.
#[derive(Debug)]
struct Unused {
    bytes: Vec<u8>,
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
const SHOW_UNUSED: u16 = 1 << 6;
/// The output rose above the high-water mark and the protocol has not been told of its fall.
const ABOVE_HIGH: u16 = 1 << 7;
/// More input was left unused than is allowed.
const INPUT_TOO_LONG: u16 = 1 << 8;
/// Input is held that the protocol left unused,
const UNUSED: u16 = 1 << 9;
/// or output that the kernel did not take: so no flag at all means that there is nothing to do.
const QUEUE: u16 = 1 << 10;
/// Output is with the kernel, which will tell how much of it it took.
const FLIGHT: u16 = 1 << 11;

/// What a driver lends a connection for the length of one call.
pub struct Environment<'a> {
    /// The connection's state.
    pub machine: &'a mut Machine,
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
    /// Says who the peer is.
    pub peer: &'a dyn Fn() -> &'a Peer,
    /// Makes a handle of the connection.
    pub handle: &'a dyn Fn() -> Handle,
}

impl<'a> From<Environment<'a>> for Connection<'a> {
    #[inline]
    fn from(environment: Environment<'a>) -> Connection<'a> {
        Connection(environment)
    }
}

/// What comes of driving a connection; the error is why it is to be closed.
pub type Ended = Result<(), Closed>;

/// What a driver has to do after [`Machine::settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing but to wait for what [`Machine::interest`] says.
    Wait,
    /// To settle again when others have had their turn, without waiting for anything: the protocol
    /// has more to do.
    GoOn,
    /// To shut down the sending half, and then to settle again.
    HalfClose,
    /// To close, and to tell the protocol why.
    Close(Closed),
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
        Machine { held: None, active: now, flags: 0, timers: TimerList::default(), flying: 0 }
    }

    #[inline]
    fn is(&self, any: u16) -> bool {
        self.flags & any != 0
    }

    // What the protocol asks, by way of `Connection`.

    #[inline]
    pub(crate) fn may_send(&self) -> bool {
        !self.is(FINISH | CLOSE | ABORT)
    }

    /// More output waits than the high-water mark allows.
    #[cold]
    pub(crate) fn rise(&mut self) {
        self.flags |= ABOVE_HIGH;
    }

    /// The protocol's timers, to be [cancelled](crate::Timers::cancel_all) with the connection's
    /// end.
    pub fn timers(&mut self) -> &mut TimerList {
        &mut self.timers
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
            self.flags = self.flags & !PAUSED | SHOW_UNUSED;
        }
    }

    // What a driver tells. Each of these takes the connection, which is the machine and what it is
    // lent.

    /// A byte has moved at `now`. A driver says so that calls the protocol by itself.
    #[inline]
    pub fn touch(&mut self, now: Tick) {
        self.active = now;
    }

    /// A byte has moved at `then`, which may be before what is known already.
    pub fn touch_no_earlier(&mut self, then: Tick) {
        self.active = self.active.max(then);
    }

    /// The connection is open.
    pub fn opened<P: Protocol>(connection: &mut Connection<'_>, protocol: &mut P) {
        protocol.opened(connection);
    }

    /// The driver has read `input`, which is not empty.
    pub fn received<P: Protocol>(connection: &mut Connection<'_>, protocol: &mut P, input: &[u8]) {
        connection.0.machine.active = connection.0.now;
        if connection.0.machine.is(UNUSED) {
            return Machine::received_more(connection, protocol, input);
        }
        let used = protocol.received(connection, input);
        Machine::keep(connection, input, used);
    }

    #[cold]
    fn received_more<P: Protocol>(connection: &mut Connection<'_>, protocol: &mut P, input: &[u8]) {
        let now = connection.0.now;
        let mut unused = connection.0.machine.take_unused(now);
        unused.bytes.extend_from_slice(input);
        let used = protocol.received(connection, &unused.bytes);
        debug_assert!(used <= unused.bytes.len(), "{used} of {} bytes", unused.bytes.len());
        if used < unused.bytes.len() {
            if used > 0 {
                unused.bytes.drain(..used);
                unused.since = now;
            }
            Machine::put_back(connection, unused);
        }
        connection.0.machine.let_go();
    }

    /// The protocol has used so many bytes of `input`: all of them in most cases.
    pub fn keep(connection: &mut Connection<'_>, input: &[u8], used: usize) {
        debug_assert!(used <= input.len(), "a protocol used {used} of {} bytes", input.len());
        let bytes = input.get(used..).unwrap_or(&[]);
        if !bytes.is_empty() {
            let unused = Unused { bytes: bytes.to_vec(), since: connection.0.now };
            Machine::put_back(connection, unused);
        }
    }

    fn put_back(connection: &mut Connection<'_>, unused: Unused) {
        let machine = &mut *connection.0.machine;
        if machine.is(CLOSE | ABORT) {
            return; // the protocol will see no more of it
        }
        machine.flags |= UNUSED;
        if unused.bytes.len() > connection.0.config.max_input {
            machine.flags |= INPUT_TOO_LONG;
        }
        machine.hold(connection.0.now).unused = unused;
    }

    fn take_unused(&mut self, now: Tick) -> Unused {
        self.flags &= !UNUSED;
        std::mem::replace(&mut self.hold(now).unused, Unused { bytes: Vec::new(), since: now })
    }

    fn hold(&mut self, now: Tick) -> &mut Held {
        self.held.get_or_insert_with(|| {
            Box::new(Held {
                unused: Unused { bytes: Vec::new(), since: now },
                queue: Queue::new(now),
            })
        })
    }

    /// Gives back the room of what is not held any more.
    fn let_go(&mut self) {
        if !self.is(UNUSED | QUEUE | FLIGHT) {
            self.held = None;
        }
    }

    /// The driver has read the end of the input.
    pub fn ended<P: Protocol>(connection: &mut Connection<'_>, protocol: &mut P) {
        let machine = &mut *connection.0.machine;
        machine.flags |= READ_ENDED;
        if machine.is(UNUSED) {
            // Nothing comes any more that could finish it.
            machine.flags &= !SHOW_UNUSED;
            machine.take_unused(connection.0.now);
            machine.let_go();
        }
        protocol.ended(connection);
    }

    /// A timer of the connection is due.
    pub fn timer<P: Protocol>(connection: &mut Connection<'_>, protocol: &mut P, timer: TimerId) {
        protocol.timer(connection, timer);
    }

    // What a driver asks.

    /// Writes what waits with `write` and lets the protocol go on, until there is nothing to do
    /// but to wait. To be called after anything that was told.
    ///
    /// `write` may take less than it is given; it says `WouldBlock` when it can take nothing.
    pub fn settle<P: Protocol>(
        connection: &mut Connection<'_>,
        protocol: &mut P,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> Step {
        Machine::settle_by(connection, protocol, |environment| {
            Machine::flush(environment, &mut write)
        })
    }

    /// As [`settle`](Machine::settle), for a driver that hands output to the kernel and is told
    /// later how much of it was taken, which it tells with [`landed`](Machine::landed).
    ///
    /// `launch` takes the bytes out of the vector and may leave another one there, which is empty.
    /// It is called when nothing flies.
    pub fn settle_in_flight<P: Protocol>(
        connection: &mut Connection<'_>,
        protocol: &mut P,
        mut launch: impl FnMut(&mut Vec<u8>),
    ) -> Step {
        Machine::settle_by(connection, protocol, |environment| {
            Machine::launch(environment, &mut launch)
        })
    }

    fn settle_by<P: Protocol>(
        connection: &mut Connection<'_>,
        protocol: &mut P,
        mut flush: impl FnMut(&mut Environment<'_>) -> Ended,
    ) -> Step {
        for round in 0.. {
            if connection.0.machine.is(ABORT) {
                connection.0.output.clear();
                break;
            }
            if let Err(reason) = flush(&mut connection.0) {
                return Step::Close(reason);
            }
            if round == Machine::ROUNDS || !Machine::go_on(connection, protocol) {
                break;
            }
        }
        if connection.0.output.capacity() > Machine::KEEP {
            *connection.0.output = Vec::new();
        }
        match connection.0.machine.step() {
            Step::Wait if connection.0.machine.can_go_on(connection.0.config) => Step::GoOn,
            step => step,
        }
    }

    /// Whether the protocol waits for something which is now the case.
    fn can_go_on(&self, config: &Config) -> bool {
        let fell = self.is(ABOVE_HIGH) && self.waiting() <= config.low_water;
        let shows = self.is(SHOW_UNUSED) && self.is(UNUSED) && !self.is(PAUSED | ABOVE_HIGH);
        !self.is(CLOSE) && (fell || shows)
    }

    /// Calls a protocol that waits for something which is now the case, and says whether it did.
    fn go_on<P: Protocol>(connection: &mut Connection<'_>, protocol: &mut P) -> bool {
        let Environment { machine, config, now, .. } = &mut connection.0;
        if machine.is(CLOSE) {
            return false;
        }
        if machine.is(ABOVE_HIGH) && machine.waiting() <= config.low_water {
            machine.flags = machine.flags & !ABOVE_HIGH | SHOW_UNUSED;
            protocol.drained(connection);
            return true;
        }
        if machine.is(SHOW_UNUSED) && !machine.is(PAUSED | ABOVE_HIGH) {
            machine.flags &= !SHOW_UNUSED;
            if machine.is(UNUSED) {
                machine.hold(*now).unused.since = *now;
                Machine::received_more(connection, protocol, &[]);
                return true;
            }
        }
        false
    }

    /// What is to be done when there is nothing to write at the moment.
    fn step(&mut self) -> Step {
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

    /// What the connection waits for: input unless it is at its end, paused, too far behind with
    /// its output, or before its protocol was shown again what it asked for; room for output while
    /// output waits.
    #[inline]
    #[must_use]
    pub fn interest(&self) -> Interest {
        let mut interest = Interest::NONE;
        let shows = self.is(SHOW_UNUSED) && self.is(UNUSED);
        if !self.is(READ_ENDED | PAUSED | ABOVE_HIGH | CLOSE | ABORT) && !shows {
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
        !self.is(QUEUE | FLIGHT)
    }

    /// Whether there is nothing to do but to wait for input: no flag, no unused input, no output.
    #[inline]
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.flags == 0
    }

    /// Whether the connection is to end without waiting for its output.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.is(ABORT)
    }

    /// Whether the connection is in the middle of nothing.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.is(UNUSED | QUEUE | FLIGHT | ABOVE_HIGH)
    }

    /// The next of the connection's deadlines, and what it is closed for if that passes.
    #[must_use]
    pub fn deadline(&self, config: &Config) -> Option<(Tick, Closed)> {
        let idle = config.idle.map(|idle| (self.active.after(idle), Closed::Idle));
        let held = self.held.as_ref();
        // A message that the protocol itself holds up is not the peer's fault.
        let unused = held.filter(|_| self.is(UNUSED) && self.interest().is_readable());
        let read = unused.zip(config.read);
        let read = read.map(|(held, read)| (held.unused.since.after(read), Closed::ReadTimeout));
        let output = held.filter(|_| !self.is_flushed()).zip(config.write);
        let write =
            output.map(|(held, write)| (held.queue.since.after(write), Closed::WriteTimeout));
        [idle, read, write].into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
    }
}
