//! The ring and the memory that the kernel reads and writes behind it: the only unsafe code of the
//! driver.
//!
//! Why nothing that is called from outside can go wrong here:
//!
//! - The kernel writes input into buffers that belong to the ring. Who got an [`Input`] may look at
//!   its bytes until it is given back, which it is by value; only then the kernel has it again.
//! - The kernel reads output from buffers that belong to the ring as well: [`Ring::send`] takes the
//!   bytes out of the caller's vector, and the vector in which they are is not touched before the
//!   completion has come.
//! - A ring that is dropped cancels what is in flight and waits for every completion. If that can't
//!   be done (another thread drops it, or the kernel refuses), the memory is leaked.
//! - Descriptors are numbers to the kernel. An operation that was asked for and not submitted yet
//!   names one, so a socket is closed by the ring, [after](Ring::close) what was asked for before.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{cqueue, opcode, squeue, EnterFlags, IoUring, Probe};
use polyloop::{Tick, Token, LONGEST_WAIT};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

mod alarm;
mod buffers;
mod flights;

use self::alarm::Alarm;
use self::buffers::Buffers;
pub(super) use self::buffers::Input;
pub(super) use self::flights::Flight;
use self::flights::Flights;

/// Operations that fit into one submission. What is more waits in a queue of our own.
const SUBMISSIONS: u32 = if cfg!(test) { 4 } else { 1024 };
/// Completions that fit; what is more the kernel keeps, and hands over at the next call.
const COMPLETIONS: u32 = if cfg!(test) { 4 } else { 4096 };
/// The one group of buffers that receives choose from.
const GROUP: u16 = 0;

/// Bits that no token uses say what is completed: the upper ones of its index, or, where a token is
/// 32 bits, those above it.
const KIND_SHIFT: u32 = if usize::BITS == 64 { 28 } else { 32 };
const KIND_MASK: u64 = 0xf << KIND_SHIFT;
const RECEIVE: u64 = 1 << KIND_SHIFT;
const SEND: u64 = 2 << KIND_SHIFT;
const ACCEPT: u64 = 3 << KIND_SHIFT;
const WAKE: u64 = 4 << KIND_SHIFT;
const CANCEL: u64 = 5 << KIND_SHIFT;
const CLOSE: u64 = 6 << KIND_SHIFT;
const ALARM: u64 = 7 << KIND_SHIFT;

/// How many slots a token may name here.
pub(super) const MAX_INDEX: usize = {
    let (most, room) = (Token::MAX_INDEX, (1 << 28) - 1);
    if most < room {
        most
    } else {
        room
    }
};

/// What the kernel has done.
pub(super) enum Completion {
    /// Input of the connection, or its end. With `more` to come the receive goes on by itself.
    Received { token: Token, input: Result<Option<Input>, Errno>, more: bool },
    /// The kernel took this much of what was sent.
    Sent { flight: Flight, taken: Result<usize, Errno> },
    /// A connection, at the listener of that number.
    Accepted { listener: usize, socket: Result<OwnedFd, Errno>, more: bool },
    /// Somebody wrote to the descriptor that ends a wait.
    Woken { more: bool },
    /// There was nothing to cancel, or no way to.
    NotCancelled { token: Token },
}

/// Output on its way, by number.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlightNumber(u32);

/// The ring.
pub(super) struct Ring {
    io: IoUring,
    buffers: Buffers,
    flights: Flights,
    /// What did not fit into the submission queue.
    waiting: VecDeque<squeue::Entry>,
    alarm: Alarm,
    /// Operations whose last completion has not come.
    outstanding: usize,
    /// Calls so far.
    calls: u64,
    /// The kernel may have seen something of it.
    enabled: bool,
}

impl Ring {
    /// Opens a ring, and finds out whether the kernel has all that is needed.
    pub(super) fn new() -> io::Result<Ring> {
        // Since Linux 6.1 completions are made when they are waited for, and by nobody else's
        // interrupt; before that, at least not by interrupting the processor that runs this.
        let deferred = |builder: &mut io_uring::Builder| {
            builder.setup_defer_taskrun();
        };
        let cooperative = |builder: &mut io_uring::Builder| {
            builder.setup_coop_taskrun();
        };
        let io = Ring::build(deferred).or_else(|error| match error.raw_os_error() {
            Some(invalid) if invalid == Errno::INVAL.raw_os_error() => Ring::build(cooperative),
            _ => Err(error),
        })?;
        let mut probe = Probe::new();
        io.submitter().register_probe(&mut probe)?;
        // The kernel does not tell of multishot receives, which came with this operation: Linux 6.0.
        if !probe.is_supported(opcode::SendZc::CODE) {
            return Err(Errno::INVAL.into());
        }
        let buffers = Buffers::new();
        // SAFETY: the ring of buffers is in memory of its own, of the size that is said, and lives
        // until the ring is closed: `Ring` drops `io` first, or leaks the memory.
        unsafe {
            let ring = buffers.address();
            io.submitter().register_buf_ring_with_flags(ring, Buffers::COUNT, GROUP, 0)?;
        }
        Ok(Ring {
            io,
            buffers,
            flights: Flights::default(),
            waiting: VecDeque::new(),
            alarm: Alarm::default(),
            outstanding: 0,
            calls: 0,
            enabled: false,
        })
    }

    fn build(how: impl FnOnce(&mut io_uring::Builder)) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        // Disabled until the thread is known that will be the only one to use it. A child that is
        // forked has no part in it. An operation that fails does not hold up those behind it.
        builder.setup_r_disabled().setup_single_issuer().setup_submit_all().dontfork();
        builder.setup_cqsize(COMPLETIONS);
        how(&mut builder);
        builder.build(SUBMISSIONS)
    }

    /// Makes the calling thread the one that uses the ring from now on.
    pub(super) fn enable(&mut self) -> io::Result<()> {
        self.io.submitter().register_enable_rings()?;
        self.enabled = true;
        Ok(())
    }

    /// Accepts at a listener, once or again and again.
    pub(super) fn accept(&mut self, socket: BorrowedFd<'_>, listener: usize, multishot: bool) {
        let socket = Fd(socket.as_raw_fd());
        let flags = rustix::net::SocketFlags::CLOEXEC.bits() as i32;
        let entry = if multishot {
            opcode::AcceptMulti::new(socket).flags(flags).build()
        } else {
            let nowhere = std::ptr::null_mut();
            opcode::Accept::new(socket, nowhere, nowhere.cast()).flags(flags).build()
        };
        self.begin(entry, ACCEPT | listener as u64);
    }

    /// Cancels the accept at a listener.
    pub(super) fn cancel_accept(&mut self, listener: usize) {
        self.cancel(ACCEPT | listener as u64, CLOSE);
    }

    /// Tells, again and again, when the descriptor becomes readable.
    pub(super) fn watch(&mut self, descriptor: BorrowedFd<'_>) {
        let descriptor = Fd(descriptor.as_raw_fd());
        let events = u32::from(PollFlags::IN.bits());
        self.begin(opcode::PollAdd::new(descriptor, events).multi(true).build(), WAKE);
    }

    /// Receives again and again, until it is cancelled, at its end, or out of buffers.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, token: Token) {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.begin(entry, RECEIVE | name(token));
    }

    /// Receives what has come, once; [`Errno::AGAIN`] if nothing has.
    pub(super) fn receive_at_once(&mut self, socket: BorrowedFd<'_>, token: Token) {
        let (socket, length) = (Fd(socket.as_raw_fd()), Buffers::LENGTH as u32);
        let entry = opcode::Recv::new(socket, std::ptr::null_mut(), length)
            .buf_group(GROUP)
            .flags(RecvFlags::DONTWAIT.bits() as i32)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.begin(entry, RECEIVE | name(token));
    }

    /// Cancels a receive. Its last completion tells when it is over, and nothing tells that this
    /// did it.
    pub(super) fn cancel_receive(&mut self, token: Token) {
        self.cancel(RECEIVE | name(token), CANCEL | name(token));
    }

    /// Sends as much of `bytes` as the kernel takes at once, [`Errno::AGAIN`] if that is nothing,
    /// and leaves another vector there, which is empty.
    #[inline]
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        token: Token,
        bytes: &mut Vec<u8>,
    ) -> FlightNumber {
        let flight = self.flights.board(token, bytes);
        self.launch(socket, flight, SendFlags::DONTWAIT)
    }

    /// Sends what the kernel did not take, when there is room.
    pub(super) fn send_on(&mut self, socket: BorrowedFd<'_>, flight: Flight) -> FlightNumber {
        self.launch(socket, flight, SendFlags::empty())
    }

    #[inline]
    fn launch(&mut self, socket: BorrowedFd<'_>, flight: Flight, flags: SendFlags) -> FlightNumber {
        let rest = self.flights.rest(&flight);
        // What is past 4 GiB is sent on.
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        // A peer that is gone is an error, not a signal.
        let flags = (flags | SendFlags::NOSIGNAL).bits() as i32;
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), rest.as_ptr(), length).flags(flags);
        self.begin(entry.build(), SEND | u64::from(flight.number()));
        FlightNumber(flight.number())
    }

    /// Whose output it carries.
    #[inline]
    pub(super) fn passenger(&self, flight: &Flight) -> Token {
        self.flights.passenger(flight)
    }

    /// How much of it the kernel did not take.
    #[inline]
    pub(super) fn left(&self, flight: &Flight) -> usize {
        self.flights.left(flight)
    }

    /// Forgets what was sent, and what the kernel did not take.
    #[inline]
    pub(super) fn release(&mut self, flight: Flight) {
        self.flights.release(flight);
    }

    /// Cancels a send. Its completion tells how far it came.
    pub(super) fn cancel_send(&mut self, flight: FlightNumber) {
        self.cancel(SEND | u64::from(flight.0), CLOSE);
    }

    fn cancel(&mut self, whom: u64, who: u64) {
        let entry = opcode::AsyncCancel2::new(CancelBuilder::user_data(whom)).build();
        self.push(entry.user_data(who).flags(squeue::Flags::SKIP_SUCCESS));
    }

    /// Closes a socket, after all that was asked for before. What is still going on does go on.
    pub(super) fn close(&mut self, socket: OwnedFd) {
        let entry = opcode::Close::new(Fd(socket.into_raw_fd())).build();
        self.push(entry.user_data(CLOSE).flags(squeue::Flags::SKIP_SUCCESS));
    }

    /// How long the next call is to wait at most, for a wait to end at `deadline`; `None` if an alarm
    /// ends it, which rings no later.
    pub(super) fn timeout(&mut self, now: Tick, deadline: Tick) -> Option<Duration> {
        let left = deadline.since(now).min(LONGEST_WAIT);
        if left < Alarm::FAR {
            return Some(left);
        }
        if let Some((entry, number)) = self.alarm.set(now, left) {
            self.begin(entry, ALARM | u64::from(number));
        }
        None
    }

    /// Asks for an operation that will have completions.
    #[inline]
    fn begin(&mut self, entry: squeue::Entry, name: u64) {
        self.outstanding += 1;
        self.push(entry.user_data(name));
    }

    #[inline]
    fn push(&mut self, entry: squeue::Entry) {
        if !self.waiting.is_empty() || !self.push_at_once(&entry) {
            self.push_later(entry);
        }
    }

    #[inline]
    fn push_at_once(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what an entry points to is the buffer of a flight, which stays where it is and is
        // not touched until the completion; or the alarm's time, which stays where it is and which
        // the kernel copies when it is handed the entry; or nothing.
        unsafe { self.io.submission().push(entry).is_ok() }
    }

    #[cold]
    fn push_later(&mut self, entry: squeue::Entry) {
        self.waiting.push_back(entry);
    }

    /// Submits what was asked for, and waits for a completion, for `timeout` at most. Returns how
    /// many system calls that took.
    ///
    /// A send that is back at once ends the wait, which costs a lone connection a second call a
    /// request. To wait for one completion more would be wrong: a send that failed, or was taken in
    /// part, is to be seen to.
    pub(super) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<u64> {
        let before = self.calls;
        self.push_waiting();
        while !self.waiting.is_empty() {
            self.enter_once(Some(Duration::ZERO))?;
            if self.io.submission().is_full() {
                // Completions are to be taken before more is asked.
                return Ok(self.calls - before);
            }
            self.push_waiting();
        }
        self.enter_once(timeout)?;
        Ok(self.calls - before)
    }

    fn push_waiting(&mut self) {
        while let Some(entry) = self.waiting.pop_front() {
            if !self.push_at_once(&entry) {
                return self.waiting.push_front(entry);
            }
        }
    }

    fn enter_once(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.calls += 1;
        let length = self.io.submission().len() as u32;
        // Deferred work is done in this call, and so is what did not fit into the queue handed over.
        let mut flags = EnterFlags::GETEVENTS;
        let entered = match timeout {
            // SAFETY: the entries are as above; there is no argument.
            None => unsafe {
                self.io.submitter().enter::<SubmitArgs<'_, '_>>(length, 1, flags.bits(), None)
            },
            Some(timeout) => {
                flags |= EnterFlags::EXT_ARG;
                let least = u32::from(!timeout.is_zero());
                let timeout = Timespec::from(timeout.min(LONGEST_WAIT));
                let arguments = SubmitArgs::new().timespec(&timeout);
                // SAFETY: the entries are as above; the argument is what the flag says, and both it
                // and the time that it points to live until the call returns.
                unsafe { self.io.submitter().enter(length, least, flags.bits(), Some(&arguments)) }
            }
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                // Time is up, a signal came, or completions are to be taken before more is asked.
                Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// The next completion that is there.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Completion> {
        loop {
            let entry = self.io.completion().next()?;
            let (name, result, flags) = (entry.user_data(), entry.result(), entry.flags());
            let token = Token::from((name & !KIND_MASK) as usize);
            let more = cqueue::more(flags);
            let result = match usize::try_from(result) {
                Ok(count) => Ok(count),
                Err(_) => Err(Errno::from_raw_os_error(result.wrapping_neg())),
            };
            match name & KIND_MASK {
                RECEIVE => {
                    self.outstanding -= usize::from(!more);
                    let input = self.input(result, cqueue::buffer_select(flags));
                    return Some(Completion::Received { token, input, more });
                }
                SEND => {
                    self.outstanding -= 1;
                    let flight = Flight::landed(token.index());
                    if let Ok(count) = result {
                        self.flights.take(&flight, count);
                    }
                    return Some(Completion::Sent { flight, taken: result });
                }
                ACCEPT => {
                    self.outstanding -= usize::from(!more);
                    let socket = result.map(|descriptor| {
                        // SAFETY: the kernel has just opened it, for this completion alone.
                        unsafe { OwnedFd::from_raw_fd(descriptor as i32) }
                    });
                    let listener = token.index();
                    return Some(Completion::Accepted { listener, socket, more });
                }
                WAKE => {
                    self.outstanding -= usize::from(!more);
                    return Some(Completion::Woken { more });
                }
                CANCEL => return Some(Completion::NotCancelled { token }),
                ALARM => {
                    self.outstanding -= 1;
                    self.alarm.rang(token.index());
                }
                // The socket was closed whatever was said, or the send had come down already.
                _ => {}
            }
        }
    }

    #[inline]
    fn input(
        &mut self,
        result: Result<usize, Errno>,
        buffer: Option<u16>,
    ) -> Result<Option<Input>, Errno> {
        match (result, buffer) {
            (Ok(length), Some(id)) if length > 0 => {
                Ok(Some(Input { id, length: length.min(Buffers::LENGTH) }))
            }
            (nothing, unused) => {
                if let Some(id) = unused {
                    self.buffers.provide(id);
                }
                nothing.map(|_| None)
            }
        }
    }

    /// What was received.
    #[inline]
    pub(super) fn bytes(&self, input: &Input) -> &[u8] {
        self.buffers.bytes(input)
    }

    /// Gives a buffer back to the kernel.
    #[inline]
    pub(super) fn give_back(&mut self, input: Input) {
        self.buffers.provide(input.id);
    }

    /// Cancels everything and waits until the kernel is done with it.
    pub(super) fn quiesce(&mut self) -> io::Result<()> {
        /// Cancelling takes microseconds.
        const PATIENCE: Duration = Duration::from_secs(1);
        let deadline = Instant::now() + PATIENCE;
        let everything = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(everything.user_data(CLOSE).flags(squeue::Flags::SKIP_SUCCESS));
        loop {
            while self.next().is_some() {}
            if self.outstanding == 0 && self.waiting.is_empty() && self.io.submission().is_empty() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.enter(if self.outstanding == 0 { Some(Duration::ZERO) } else { Some(left) })?;
        }
    }
}

/// What tests look at.
#[cfg(test)]
impl Ring {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn overflows(&mut self) -> bool {
        self.io.submission().cq_overflow()
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.enabled {
            return; // nothing was submitted
        }
        if let Err(error) = self.quiesce() {
            log::error!("io_uring: operations are still in flight, their memory is lost: {error}");
            self.flights.leak();
            self.buffers.leak();
        }
    }
}

/// The token as it is in the name of an operation.
#[inline]
fn name(token: Token) -> u64 {
    debug_assert!(token.index() <= MAX_INDEX, "{token} leaves no room for the kind");
    usize::from(token) as u64
}
