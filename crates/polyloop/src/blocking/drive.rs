//! One connection on one thread.

use std::cell::OnceCell;
use std::io;
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::outbox::Outbox;
use super::{Member, Phase, Shared};
use crate::machine::{Ended, Environment, Machine, Step};
use crate::{
    Closed, Config, Connection, Handle, Peer, Protocol, Tick, Timers, Token, LONGEST_WAIT,
};

/// What a connection reads into and writes from, and the next one after it: a short connection
/// allocates neither.
pub(super) struct Buffers {
    output: Vec<u8>,
    input: Box<[u8]>,
}

impl Buffers {
    /// What one read takes at most.
    const INPUT: usize = 16 * 1024;

    /// Output that has room from the start, and that is kept room for.
    const OUTPUT: usize = 512;

    pub(super) fn new() -> Buffers {
        Buffers {
            output: Vec::with_capacity(Buffers::OUTPUT),
            input: vec![0; Buffers::INPUT].into(),
        }
    }

    /// Takes them for the next connection.
    pub(super) fn take(&mut self) -> Buffers {
        let mut output = mem::take(&mut self.output);
        output.clear();
        output.shrink_to(Buffers::OUTPUT);
        Buffers { output, input: mem::take(&mut self.input) }
    }
}

/// A connection has a driver of its own, and needs no name.
const TOKEN: Token = Token::new(0, 0);

/// Serves a connection until it ends.
pub(super) fn drive<P: Protocol>(
    shared: &Arc<Shared>,
    member: &Arc<Member>,
    peer: &Peer,
    protocol: &mut P,
    buffers: &mut Buffers,
) -> Closed {
    let Buffers { input, output } = buffers;
    let outbox = OnceCell::new();
    let handle = || {
        let outbox: &Arc<Outbox> =
            outbox.get_or_init(|| Outbox::new(Arc::clone(shared), Arc::clone(member)));
        Handle::new(Arc::clone(outbox) as _, TOKEN)
    };
    let now = Tick::now();
    let mut driven = Driven {
        member,
        config: &shared.config,
        peer,
        outbox: &outbox,
        handle: &handle,
        machine: Machine::new(now),
        protocol,
        output: mem::take(output),
        timers: Timers::new(),
        now,
        read_timeout: None,
        // The steady path has no time for the log.
        logs: log::log_enabled!(log::Level::Trace),
        unclocked: false,
    };
    let _end = End(&outbox);
    let reason = driven.run(input);
    *output = driven.output;
    reason
}

/// Ends what others may still send, even if a protocol panics: a handle keeps no socket open.
struct End<'a>(&'a OnceCell<Arc<Outbox>>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if let Some(outbox) = self.0.get() {
            outbox.end();
        }
    }
}

struct Driven<'a, P> {
    member: &'a Member,
    config: &'a Config,
    peer: &'a Peer,
    /// Made when the protocol makes its first handle: from then on, output has several authors.
    outbox: &'a OnceCell<Arc<Outbox>>,
    handle: &'a dyn Fn() -> Handle,
    machine: Machine,
    protocol: &'a mut P,
    output: Vec<u8>,
    timers: Timers,
    now: Tick,
    /// What the socket's receive timeout is set to.
    read_timeout: Option<Duration>,
    /// Each read and write is told in the log.
    logs: bool,
    /// Requests were answered since the clock was read.
    unclocked: bool,
}

impl<P: Protocol> Driven<'_, P> {
    fn run(&mut self, buffer: &mut [u8]) -> Closed {
        match self.serve(buffer) {
            Ok(never) => match never {},
            Err(reason) => reason,
        }
    }

    fn serve(&mut self, buffer: &mut [u8]) -> Result<std::convert::Infallible, Closed> {
        if let Some(limit) = self.config.write {
            self.member.counters.other_calls.add(1);
            let limit = limit.max(SHORTEST);
            self.member.socket.limit_writes(Some(limit)).map_err(failed)?;
        }
        self.tell(Machine::opened);
        self.settle()?;
        loop {
            if self.machine.interest().is_readable() {
                self.read(buffer)?;
            } else {
                self.wait()?;
            }
            while self.tell_due_timer() {
                self.settle()?;
            }
        }
    }

    /// Waits for input, for the next deadline at most.
    fn read(&mut self, buffer: &mut [u8]) -> Ended {
        let rests = self.machine.is_quiet();
        if rests {
            // Before it looks whether it is to end.
            self.member.resting.store(true, Ordering::SeqCst);
        }
        let steady = !self.logs && !self.member.is_to_end() && self.is_steady();
        if !steady {
            if self.is_to_drain() && !self.has_input() {
                return self.drained();
            }
            self.set_read_timeout()?;
        }
        self.member.counters.reads.add(1);
        let read = self.member.socket.read(buffer);
        if rests {
            self.member.resting.store(false, Ordering::Release);
        }
        match read {
            Ok(count) if count > 0 && steady => return self.answer(&buffer[..count]),
            _ => self.now = Tick::now(),
        }
        match read {
            Ok(0) => {
                self.check_ends()?;
                if self.is_to_drain() {
                    return self.drained();
                }
                if mem::take(&mut self.unclocked) {
                    self.machine.touch(self.now);
                }
                self.tell(Machine::ended);
                self.settle()
            }
            Ok(count) => {
                log::trace!("{}: read {count} bytes", self.peer);
                let input = &buffer[..count];
                self.tell(|connection, protocol| Machine::received(connection, protocol, input));
                self.settle_message()
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.member.counters.would_blocks.add(1);
                self.check_idle_ends()
            }
            Err(error) if is_timeout(&error) => {
                self.member.counters.would_blocks.add(1);
                self.check_idle_ends()?;
                if mem::take(&mut self.unclocked) {
                    // Requests were answered before this wait, and nothing moved during it.
                    let began = self.now.before(self.read_timeout.unwrap_or_default());
                    self.machine.touch(began);
                }
                self.check_deadline()?;
                match self.timers.next_deadline() {
                    // It is told next, and what to wait for is seen to after that.
                    Some(due) if due <= self.now => Ok(()),
                    _ => self.lengthen_read_timeout(),
                }
            }
            Err(error) => {
                self.check_ends()?;
                Err(Closed::from_error(&error))
            }
        }
    }

    /// A request on the steady path: one write, and no look at the clock.
    fn answer(&mut self, input: &[u8]) -> Ended {
        let used = self.tell(|connection, protocol| protocol.received(connection, input));
        if used == input.len() && self.machine.is_steady() && self.outbox.get().is_none() {
            let written = match self.output.is_empty() {
                true => 0,
                false => match write(self.member, &self.output) {
                    Ok(written) => written,
                    Err(error) => return self.write_failed(&error),
                },
            };
            if written == self.output.len() {
                self.output.clear();
                self.unclocked = true;
                return Ok(());
            }
            self.output.drain(..written);
        }
        self.now = Tick::now();
        self.unclocked = false;
        self.machine.touch(self.now);
        self.tell(|connection, _| Machine::keep(connection, input, used));
        self.settle_message()
    }

    /// The socket took nothing of an answer, for as long as it waits for that.
    #[cold]
    fn write_failed(&self, error: &io::Error) -> Ended {
        // A write fails as well when somebody else ends the connection.
        self.check_ends()?;
        Err(match error.kind() {
            io::ErrorKind::WouldBlock => Closed::WriteTimeout,
            _ => Closed::from_error(error),
        })
    }

    /// As [`settle`](Self::settle), after input.
    fn settle_message(&mut self) -> Ended {
        self.settle()?;
        if !self.machine.is_quiet() {
            // A peer that sends a message in drops leaves no read time to run out.
            self.check_deadline()?;
        }
        Ok(())
    }

    /// Waits while there is nothing to read: the input is at its end, or the protocol paused it.
    /// A timer is due, or somebody ends the connection and unparks its thread.
    fn wait(&mut self) -> Ended {
        self.check_idle_ends()?;
        // What was told before may have taken its time.
        self.now = Tick::now();
        match self.next_deadline() {
            Some(deadline) => std::thread::park_timeout(deadline.since(self.now)),
            None => std::thread::park(),
        }
        self.now = Tick::now();
        self.check_idle_ends()?;
        self.check_deadline()
    }

    /// Tells the protocol of one timer that is due, and says whether there was any.
    fn tell_due_timer(&mut self) -> bool {
        if self.timers.is_empty() {
            return false;
        }
        let Some((timer, _)) = self.timers.take_due(self.now) else { return false };
        self.member.counters.timers.add(1);
        self.tell(|connection, protocol| Machine::timer(connection, protocol, timer));
        true
    }

    fn tell<T>(&mut self, tell: impl FnOnce(&mut Connection<'_>, &mut P) -> T) -> T {
        let environment = Environment {
            machine: &mut self.machine,
            config: self.config,
            now: self.now,
            output: &mut self.output,
            timers: &mut self.timers,
            token: TOKEN,
            peer: &|| self.peer,
            handle: self.handle,
        };
        tell(&mut environment.into(), self.protocol)
    }

    /// Writes what came of what was told.
    fn settle(&mut self) -> Ended {
        loop {
            let (member, outbox, peer) = (self.member, self.outbox, self.peer);
            let step = self.tell(|connection, protocol| {
                Machine::settle(connection, protocol, |bytes| match outbox.get() {
                    Some(outbox) => {
                        // An error has ended the connection, which is seen to below.
                        let _ = outbox.wait_for_room();
                        outbox.push(bytes)
                    }
                    None => {
                        let written = write(member, bytes);
                        match &written {
                            Ok(count) => {
                                log::trace!("{peer}: wrote {count} of {} bytes", bytes.len())
                            }
                            Err(error) => log::trace!("{peer}: wrote nothing: {error}"),
                        }
                        written
                    }
                })
            });
            if let Some(outbox) = self.outbox.get() {
                outbox.after_call();
            }
            if step == Step::HalfClose {
                if let Some(outbox) = self.outbox.get() {
                    outbox.finish().or_else(|_| self.check_ends())?;
                }
                self.member.counters.other_calls.add(1);
                // An error is that of a connection that is gone, which the next read tells.
                let _ = self.member.socket.finish();
                continue;
            }
            if let Step::Close(reason) = step {
                if reason != Closed::Finished {
                    // A write fails as well when somebody else ends the connection.
                    self.check_ends()?;
                } else if let Some(outbox) = self.outbox.get() {
                    if !self.machine.is_aborted() {
                        outbox.finish().or_else(|_| self.check_ends())?;
                    }
                }
                return Err(reason);
            }
            if let Some(outbox) = self.outbox.get() {
                outbox.wait_for_room().or_else(|_| self.check_ends())?;
            }
            if step != Step::GoOn && !self.machine.interest().is_writable() {
                return Ok(());
            }
            if !self.machine.is_flushed() {
                // `write` has waited for as long as a peer may take nothing.
                return Err(Closed::WriteTimeout);
            }
            self.now = Tick::now();
            self.check_ends()?;
            // A protocol that always has more to send is interrupted by its timers all the same.
            self.tell_due_timer();
        }
    }

    /// Nothing can be due but the end of an idle connection, which [others](super::idle) see to.
    fn is_steady(&self) -> bool {
        self.machine.is_steady() && self.timers.is_empty()
    }

    /// What a read is not to outlast.
    fn next_deadline_of_read(&mut self) -> Option<Tick> {
        (!self.is_steady()).then(|| self.next_deadline()).flatten()
    }

    /// The nearest of the connection's deadlines and timers.
    fn next_deadline(&mut self) -> Option<Tick> {
        self.look_at_outbox();
        let deadline = self.machine.deadline(self.config).map(|(deadline, _)| deadline);
        [deadline, self.timers.next_deadline()].into_iter().flatten().min()
    }

    /// What others sent keeps a connection from being idle.
    fn look_at_outbox(&mut self) {
        if let Some(outbox) = self.outbox.get() {
            self.machine.touch_no_earlier(outbox.last_sent());
        }
    }

    fn check_deadline(&mut self) -> Ended {
        self.look_at_outbox();
        match self.machine.deadline(self.config) {
            Some((deadline, reason)) if deadline <= self.now => Err(reason),
            _ => Ok(()),
        }
    }

    /// Whether somebody else ended the connection.
    fn check_ends(&self) -> Ended {
        match self.member.phase() {
            Phase::Stopped => Err(Closed::Stopped),
            Phase::Overdue => Err(Closed::Drained),
            Phase::Idle => Err(Closed::Idle),
            Phase::Running | Phase::Draining => match self.outbox.get() {
                Some(outbox) => outbox.check(),
                None => Ok(()),
            },
        }
    }

    /// As [`check_ends`](Self::check_ends), for a connection that has nothing to read.
    fn check_idle_ends(&self) -> Ended {
        self.check_ends()?;
        if self.is_to_drain() {
            return self.drained();
        }
        Ok(())
    }

    /// The server drains, and the connection is in the middle of nothing.
    fn is_to_drain(&self) -> bool {
        self.member.phase() == Phase::Draining && self.machine.is_quiet()
    }

    /// What others have sent is flushed first.
    fn drained(&self) -> Ended {
        if let Some(outbox) = self.outbox.get() {
            outbox.finish().or_else(|_| self.check_ends())?;
        }
        Err(Closed::Drained)
    }

    /// Whether a read would not wait. During a drain, what has come is still read, and nothing is
    /// waited for.
    fn has_input(&self) -> bool {
        self.member.counters.other_calls.add(1);
        self.member.socket.has_input()
    }

    /// Makes the receive timeout as short as the nearest deadline asks.
    fn set_read_timeout(&mut self) -> Ended {
        self.now = Tick::now();
        if mem::take(&mut self.unclocked) {
            self.machine.touch(self.now);
        }
        let Some(deadline) = self.next_deadline_of_read() else { return Ok(()) };
        let left = deadline.since(self.now).max(SHORTEST);
        // Nearer by less than that is not nearer: a deadline that has just moved away would else be
        // set again at every read. A timer is late by so much at most.
        let slack = |timeout: Duration| match self.timers.is_empty() {
            true => timeout / 100,
            false => (timeout / 100).min(SLACK),
        };
        match self.read_timeout {
            Some(now) if left + slack(now) >= now => Ok(()),
            _ => self.change_read_timeout(Some(left)),
        }
    }

    /// A timeout that ran out with nothing due was set for something that is over.
    fn lengthen_read_timeout(&mut self) -> Ended {
        let deadline = self.next_deadline_of_read();
        let left = deadline.map(|deadline| deadline.since(self.now).max(SHORTEST));
        self.change_read_timeout(left)
    }

    fn change_read_timeout(&mut self, timeout: Option<Duration>) -> Ended {
        let timeout = timeout.map(|timeout| timeout.min(LONGEST_WAIT));
        self.member.counters.other_calls.add(1);
        self.member.socket.limit_reads(timeout).map_err(failed)?;
        self.read_timeout = timeout;
        Ok(())
    }
}

/// A timeout of zero means none at all, and some systems count milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// How late a timer may be, so that a request before it is due spares the call that sets a timeout.
const SLACK: Duration = Duration::from_millis(10);

#[inline(always)] // a page of code of its own is one more to look up after a switch of processes
fn write(member: &Member, bytes: &[u8]) -> io::Result<usize> {
    loop {
        member.counters.writes.add(1);
        match member.socket.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) => return Err(io::ErrorKind::WouldBlock.into()),
            done => return done,
        }
    }
}

/// A socket's timeout is `WouldBlock` on Unix and `TimedOut` on Windows.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn failed(error: io::Error) -> Closed {
    Closed::from_error(&error)
}
