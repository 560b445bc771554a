//! The general path of a connection: whatever is not one read and one write.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

use super::connections::Link;
use crate::machine::{Ended, Environment, Machine, Step};
use crate::sources::Sources;
use crate::{Backend, Closed, Config, Connection, Context, Interest, Protocol, Readiness, Token};

/// Reads of one connection in one turn; then the others have theirs.
const READS: usize = 4;

/// Writes to a connection's socket, in the loop's sight.
pub(super) struct Writer<'a> {
    sources: &'a mut Sources,
    stream: &'a TcpStream,
    token: Token,
}

impl Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self.stream;
        let written = self.sources.write(self.token, || stream.write(bytes));
        match &written {
            Ok(count) => log::trace!("{}: wrote {count} of {} bytes", self.token, bytes.len()),
            Err(error) => log::trace!("{}: wrote nothing: {error}", self.token),
        }
        written
    }
}

/// A connection and what is lent to it while it is driven.
pub(super) struct Driven<'a, B, P> {
    pub(super) context: &'a mut Context<B>,
    pub(super) token: Token,
    pub(super) link: &'a mut Link<P>,
    pub(super) config: &'a Config,
    pub(super) output: &'a mut Vec<u8>,
    pub(super) buffer: &'a mut [u8],
    pub(super) handle: &'a dyn Fn() -> crate::Handle,
    pub(super) draining: bool,
}

impl<B: Backend, P: Protocol> Driven<'_, B, P> {
    /// Tells the machine something, and lends it what it may need: the input that was read, and
    /// the loop's sources for what it writes.
    pub(super) fn tell<T>(
        &mut self,
        tell: impl FnOnce(&mut Connection<'_>, &mut P, &[u8], &mut Writer<'_>) -> T,
    ) -> T {
        let now = self.context.now();
        let (timers, sources) = self.context.timers_and_sources();
        let environment = Environment {
            machine: &mut self.link.machine,
            config: self.config,
            now,
            output: self.output,
            timers,
            token: self.token,
            peer: &|| &self.link.peer,
            handle: self.handle,
        };
        let mut writer = Writer { sources, stream: &self.link.stream, token: self.token };
        tell(&mut environment.into(), &mut self.link.protocol, self.buffer, &mut writer)
    }

    /// Reads until there is nothing more, the connection wants no more, or it had its share.
    pub(super) fn read(&mut self) -> Ended {
        for _ in 0..READS {
            if !self.link.machine.interest().is_readable() {
                return self.settle();
            }
            let stream = &self.link.stream;
            let buffer = &mut *self.buffer;
            match self.context.read(self.token, || (&*stream).read(buffer)) {
                Ok(0) => return self.end_of_input(),
                Ok(count) => {
                    log::trace!("{}: read {count} bytes", self.token);
                    let short = count < self.link.short as usize;
                    self.tell(|connection, protocol, buffer, _| {
                        Machine::received(connection, protocol, &buffer[..count]);
                    });
                    self.settle()?;
                    if short && self.context.short_read(self.token) {
                        return self.nothing_to_read();
                    }
                }
                Err(error) => return self.read_failed(&error),
            }
        }
        Ok(())
    }

    pub(super) fn end_of_input(&mut self) -> Ended {
        self.tell(|connection, protocol, _, _| Machine::ended(connection, protocol));
        self.settle()
    }

    pub(super) fn read_failed(&mut self, error: &io::Error) -> Ended {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(Closed::from_error(error));
        }
        self.settle()?;
        self.nothing_to_read()
    }

    /// There is nothing to read at the moment.
    pub(super) fn nothing_to_read(&mut self) -> Ended {
        if self.draining && self.link.machine.is_quiet() {
            return Err(Closed::Drained);
        }
        Ok(())
    }

    /// Writes what waits, and asks the loop for what the machine now wants.
    pub(super) fn settle(&mut self) -> Ended {
        let step = self.tell(|connection, protocol, _, writer| {
            Machine::settle(connection, protocol, |bytes| writer.write(bytes))
        });
        let mut wanted = self.link.machine.interest();
        match step {
            Step::Wait => {}
            Step::GoOn => {
                // Room or not, it is dispatched again.
                wanted |= Interest::WRITABLE;
                self.context.repost(self.token, Readiness::WRITABLE);
            }
            Step::HalfClose => {
                self.context.counters().other_calls.add(1);
                // An error is that of a connection that is gone, which the next read tells.
                let _ = self.link.stream.shutdown(Shutdown::Write);
                return self.settle();
            }
            Step::Close(reason) => return Err(reason),
        }
        if let Err(error) = self.context.set_interest(self.token, &mut self.link.stream, wanted) {
            log::error!("{}: interest {wanted:?} refused: {error}", self.token);
            return Err(Closed::Failed(error.kind()));
        }
        self.watch()?;
        // The steady path has no time for the log.
        let traced = log::log_enabled!(log::Level::Trace);
        self.link.steady = self.link.machine.is_steady() && !self.draining && !traced;
        if self.draining && self.link.machine.is_quiet() {
            if !self.link.machine.interest().is_readable() {
                return self.nothing_to_read();
            }
            // It is in the middle of nothing, unless there is something to read.
            self.context.repost(self.token, Readiness::READABLE);
        }
        Ok(())
    }

    /// Sees to it that the watchdog is set, and that no deadline is past.
    pub(super) fn watch(&mut self) -> Ended {
        let now = self.context.now();
        let Link { machine, watchdog, .. } = &mut *self.link;
        watchdog.watch(machine, self.config, now, self.context.timers(), self.token)
    }
}
