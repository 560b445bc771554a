//! One connection, driven by what the kernel has done for it.

use std::net::Shutdown;
use std::os::fd::AsFd;

use polyloop::driver::{Ended, Environment, Machine, Step, Watchdog};
use polyloop::{Closed, Config, Connection, Counters, Handle, Protocol, Tick, Timers, Token};
use rustix::io::Errno;

use super::ring::{Flight, FlightNumber, Input, Ring};
use super::socket::Socket;

/// A connection: its socket, its protocol, the machine between the two, and what the kernel is
/// doing for it.
pub(super) struct Link<P> {
    pub(super) socket: Socket,
    pub(super) machine: Machine,
    pub(super) protocol: P,
    pub(super) watchdog: Watchdog,
    pub(super) receive: Receive,
    /// The output that is on its way.
    pub(super) flight: Option<FlightNumber>,
    /// The machine is steady, a receive goes on by itself, and the watchdog is set: a request needs
    /// no look at any of these.
    pub(super) steady: bool,
    /// Input that came although nobody wanted it any more.
    unwanted: Option<Box<Unwanted>>,
    /// It is among the reposts.
    reposted: bool,
}

/// What the kernel does about a connection's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// Nothing.
    Not,
    /// It goes on receiving.
    Armed,
    /// It looks once whether something has come.
    Once,
    /// It was told to stop, and has not said that it did.
    Cancelled,
}

#[derive(Default)]
struct Unwanted {
    bytes: Vec<u8>,
    /// How much of it the protocol was shown since.
    shown: usize,
    /// What came after the bytes.
    end: Option<Result<(), Errno>>,
}

/// What all connections use.
pub(super) struct Shared {
    pub(super) ring: Ring,
    pub(super) timers: Timers,
    pub(super) now: Tick,
    /// Where output is gathered.
    pub(super) output: Vec<u8>,
    /// Connections that have more to do, and do not wait for the kernel.
    pub(super) reposts: Vec<Token>,
    pub(super) draining: bool,
}

/// A connection and what is lent to it while it is driven.
pub(super) struct Driven<'a, P> {
    pub(super) shared: &'a mut Shared,
    pub(super) token: Token,
    pub(super) link: &'a mut Link<P>,
    pub(super) config: &'a Config,
    pub(super) counters: &'a Counters,
    pub(super) handle: &'a dyn Fn() -> Handle,
}

impl<P> Link<P> {
    pub(super) fn new(socket: Socket, protocol: P, now: Tick) -> Link<P> {
        Link {
            socket,
            machine: Machine::new(now),
            protocol,
            watchdog: Watchdog::new(),
            receive: Receive::Not,
            flight: None,
            steady: false,
            unwanted: None,
            reposted: false,
        }
    }
}

impl<P: Protocol> Driven<'_, P> {
    /// Tells the machine something, and lends it what it may need.
    pub(super) fn tell<T>(
        &mut self,
        tell: impl FnOnce(&mut Connection<'_>, &mut P, &Ring) -> T,
    ) -> T {
        let Shared { ring, timers, output, now, .. } = &mut *self.shared;
        let Link { machine, protocol, socket, .. } = &mut *self.link;
        let environment = Environment {
            machine,
            config: self.config,
            now: *now,
            output,
            timers,
            token: self.token,
            peer: &|| socket.peer(self.counters),
            handle: self.handle,
        };
        tell(&mut environment.into(), protocol, ring)
    }

    /// The kernel has received something, the end, or nothing.
    pub(super) fn received(&mut self, input: Result<Option<Input>, Errno>, more: bool) -> Ended {
        if !more {
            self.link.receive = Receive::Not;
        }
        let wanted = self.link.machine.interest().is_readable() && self.link.unwanted.is_none();
        match input {
            Ok(Some(input)) => {
                log::trace!("{}: read {} bytes", self.token, self.shared.ring.bytes(&input).len());
                if wanted {
                    self.tell(|connection, protocol, ring| {
                        Machine::received(connection, protocol, ring.bytes(&input));
                    });
                } else {
                    let unwanted = self.link.unwanted.get_or_insert_with(Box::default);
                    unwanted.bytes.extend_from_slice(self.shared.ring.bytes(&input));
                }
                self.shared.ring.give_back(input);
            }
            // Cancelled, out of buffers, or tired: to be armed again if more is wanted.
            Err(Errno::CANCELED | Errno::NOBUFS | Errno::INTR) => {}
            // There is nothing to receive at the moment.
            Err(Errno::AGAIN) => {
                if self.shared.draining && self.link.machine.is_quiet() {
                    return Err(Closed::Drained);
                }
            }
            end if wanted => self.end(end.map(drop))?,
            end => self.link.unwanted.get_or_insert_with(Box::default).end = Some(end.map(drop)),
        }
        self.settle()
    }

    fn end(&mut self, end: Result<(), Errno>) -> Ended {
        match end {
            Ok(()) => {
                self.tell(|connection, protocol, _| Machine::ended(connection, protocol));
                Ok(())
            }
            Err(error) => Err(Closed::from_error(&error.into())),
        }
    }

    /// A steady connection was shown all of an `input` of which its protocol `used` not all, or has
    /// output while some is still on its way, or was asked for more than an answer.
    pub(super) fn keep(&mut self, input: Input, used: usize) -> Ended {
        self.tell(|connection, _, ring| Machine::keep(connection, ring.bytes(&input), used));
        self.shared.ring.give_back(input);
        self.settle()
    }

    /// The connection has more to do.
    pub(super) fn go_on(&mut self) -> Ended {
        self.link.reposted = false;
        if self.link.machine.interest().is_readable() {
            if let Some(mut unwanted) = self.link.unwanted.take() {
                // No more at a time than the kernel hands over: the protocol may stop after each.
                while unwanted.shown < unwanted.bytes.len()
                    && self.link.machine.interest().is_readable()
                {
                    let left = &unwanted.bytes[unwanted.shown..];
                    let piece = &left[..left.len().min(Input::LONGEST)];
                    self.tell(|connection, protocol, _| {
                        Machine::received(connection, protocol, piece);
                    });
                    unwanted.shown += piece.len();
                }
                if unwanted.shown < unwanted.bytes.len() {
                    self.link.unwanted = Some(unwanted);
                } else if let Some(end) = unwanted.end {
                    if !self.link.machine.interest().is_readable() {
                        let end = Some(end);
                        self.link.unwanted = Some(Box::new(Unwanted { end, ..Default::default() }));
                    } else {
                        self.end(end)?;
                    }
                }
            }
        }
        self.settle()
    }

    /// Lets the connection go on when others have had their turn.
    fn repost(&mut self) {
        if !self.link.reposted {
            self.link.reposted = true;
            self.shared.reposts.push(self.token);
        }
    }

    /// The kernel has taken as much as it did of what was sent.
    pub(super) fn landed(&mut self, flight: Flight, taken: Result<usize, Errno>) -> Ended {
        let whole = self.shared.ring.left(&flight) == 0;
        log::trace!("{}: wrote {taken:?} bytes", self.token);
        match taken {
            Ok(0) if !whole => {
                self.release(flight);
                return Err(Closed::Failed(std::io::ErrorKind::WriteZero));
            }
            Err(error) if error != Errno::INTR && error != Errno::AGAIN => {
                self.release(flight);
                return Err(Closed::from_error(&error.into()));
            }
            _ => {}
        }
        if taken.is_ok() {
            self.link.machine.landed(self.shared.ring.left(&flight), self.shared.now);
        }
        if whole {
            self.release(flight);
            return self.settle();
        }
        self.link.flight = Some(self.shared.ring.send_on(self.link.socket.stream.as_fd(), flight));
        self.link.machine.stalls(self.shared.now);
        self.settle()
    }

    fn release(&mut self, flight: Flight) {
        self.shared.ring.release(flight);
        self.link.flight = None;
    }

    /// Sends what waits, and asks the kernel for what the machine now wants.
    pub(super) fn settle(&mut self) -> Ended {
        let Shared { ring, timers, output, now, .. } = &mut *self.shared;
        let Link { machine, protocol, socket, flight, .. } = &mut *self.link;
        let environment = Environment {
            machine,
            config: self.config,
            now: *now,
            output,
            timers,
            token: self.token,
            peer: &|| socket.peer(self.counters),
            handle: self.handle,
        };
        let launch = |bytes: &mut Vec<u8>| {
            *flight = Some(ring.send(socket.stream.as_fd(), self.token, bytes));
        };
        match Machine::settle_in_flight(&mut environment.into(), protocol, launch) {
            Step::Wait => {}
            Step::GoOn => self.repost(),
            Step::HalfClose => {
                self.counters.other_calls.add(1);
                // An error is that of a connection that is gone, which the receive tells.
                let _ = self.link.socket.stream.shutdown(Shutdown::Write);
                return self.settle();
            }
            Step::Close(reason) => return Err(reason),
        }
        self.receive()?;
        // The steady path has no time for the log.
        let traced = log::log_enabled!(log::Level::Trace);
        self.link.steady = self.link.machine.is_steady()
            && self.link.receive == Receive::Armed
            && !self.shared.draining
            && !traced;
        self.watch()
    }

    /// Begins to receive, or stops it, as the machine wants.
    fn receive(&mut self) -> Ended {
        let wanted = self.link.machine.interest().is_readable();
        // Between two messages of a drain, only what has come is still read.
        let parting = self.shared.draining && self.link.machine.is_quiet();
        if parting && !wanted {
            return Err(Closed::Drained);
        }
        match self.link.receive {
            // What was received before comes first.
            _ if wanted && self.link.unwanted.is_some() => self.repost(),
            Receive::Not if wanted && parting => {
                self.shared.ring.receive_at_once(self.link.socket.stream.as_fd(), self.token);
                self.link.receive = Receive::Once;
            }
            Receive::Not if wanted => {
                self.shared.ring.receive(self.link.socket.stream.as_fd(), self.token);
                self.link.receive = Receive::Armed;
            }
            Receive::Armed if !wanted || parting => {
                self.shared.ring.cancel_receive(self.token);
                self.link.receive = Receive::Cancelled;
            }
            _ => {}
        }
        Ok(())
    }

    /// Sees to it that the watchdog is set, and that no deadline is past.
    pub(super) fn watch(&mut self) -> Ended {
        let Shared { timers, now, .. } = &mut *self.shared;
        let Link { machine, watchdog, .. } = &mut *self.link;
        watchdog.watch(machine, self.config, *now, timers, self.token)
    }
}
