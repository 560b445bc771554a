//! The handler behind a server: it drives each connection's machine when its socket is ready.

use std::io::{self, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;

use super::accept::Listener;
use super::driven::Driven;
use super::group::Seat;
use super::{Message, Remotes};
use crate::machine::{Ended, Environment, Machine};
use crate::starvation::Starvation;
use crate::watchdog::Watchdog;
use crate::{
    Accepted, Backend, Closed, Config, Context, Handler, Peer, Protocol, Readiness, TimerId, Token,
    TokenMap,
};

/// What one read takes at most.
const BUFFER: usize = 64 * 1024;

/// All that a server holds: listeners and connections by token, and what they share.
pub(super) struct Connections<F, P> {
    pub(super) entries: TokenMap<Entry<P>>,
    pub(super) shared: Shared<F>,
    /// What every connection reads into; what is left of it is kept by its machine.
    buffer: Box<[u8; BUFFER]>,
    output: Vec<u8>,
}

pub(super) struct Shared<F> {
    pub(super) config: Config,
    pub(super) factory: F,
    remote: Arc<Remotes>,
    pub(super) listeners: Vec<Token>,
    pub(super) starvation: Starvation,
    /// Until then nobody accepts, for want of something.
    pub(super) resting: Option<TimerId>,
    /// Connections, without listeners.
    pub(super) open: usize,
    /// Of a loop that serves with others.
    pub(super) seat: Option<Seat>,
    draining: Option<TimerId>,
}

pub(super) enum Entry<P> {
    Listener(Listener),
    Connection(Link<P>),
}

/// A connection: its socket, its protocol, and the machine between the two.
pub(super) struct Link<P> {
    pub(super) stream: TcpStream,
    pub(super) peer: Peer,
    pub(super) machine: Machine,
    pub(super) protocol: P,
    pub(super) watchdog: Watchdog,
    /// The machine is steady, the loop tells of input and of nothing else, and the watchdog is
    /// set: a request needs no look at any of these.
    pub(super) steady: bool,
    /// A read of less than this may prove that nothing is left to be read.
    pub(super) short: u32,
}

impl<F, P> Connections<F, P> {
    pub(super) fn new(
        config: Config,
        factory: F,
        remote: Arc<Remotes>,
        seat: Option<Seat>,
    ) -> Connections<F, P> {
        Connections {
            entries: TokenMap::new(),
            shared: Shared {
                config,
                factory,
                remote,
                listeners: Vec::new(),
                starvation: Starvation::default(),
                resting: None,
                open: 0,
                seat,
                draining: None,
            },
            buffer: vec![0; BUFFER].try_into().expect("a vector of BUFFER bytes has that length"),
            output: Vec::new(),
        }
    }
}

impl<P: Protocol, F: Fn(&Accepted<'_>) -> P> Connections<F, P> {
    /// Calls `drive` with the connection `token` and what its machine needs, then writes what
    /// came of it, and closes the connection if that was its end.
    fn drive<B: Backend>(
        &mut self,
        context: &mut Context<B>,
        token: Token,
        drive: impl FnOnce(&mut Driven<'_, B, P>) -> Ended,
    ) {
        let Some(Entry::Connection(link)) = self.entries.get_mut(token) else { return };
        link.steady = false;
        let remote = &self.shared.remote;
        let mut driven = Driven {
            context,
            token,
            link,
            config: &self.shared.config,
            output: &mut self.output,
            buffer: &mut self.buffer[..],
            handle: &|| remote.handle(token),
            draining: self.shared.draining.is_some(),
        };
        if let Err(reason) = drive(&mut driven) {
            self.output.clear();
            self.close(context, token, reason);
        }
    }

    /// A listener is ready, or a connection that is not steady.
    #[cold]
    #[inline(never)]
    fn serve<B: Backend>(&mut self, context: &mut Context<B>, token: Token, readiness: Readiness) {
        if let Some(Entry::Listener(_)) = self.entries.get_mut(token) {
            return self.accept(context, token);
        }
        self.drive(context, token, |driven| {
            if readiness.is_readable() {
                driven.read()
            } else {
                driven.settle()
            }
        });
    }

    /// A steady connection has read `count` bytes of which its protocol `used` not all, or has more
    /// to write than what is `written`, or was asked for more than an answer.
    #[cold]
    #[inline(never)]
    fn serve_on<B: Backend>(
        &mut self,
        context: &mut Context<B>,
        token: Token,
        count: usize,
        used: usize,
        written: io::Result<usize>,
    ) {
        match written {
            Ok(written) => drop(self.output.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.output.clear();
                return self.close(context, token, Closed::from_error(&error));
            }
        }
        self.drive(context, token, |driven| {
            let short = count < driven.link.short as usize;
            driven.tell(|connection, _, buffer, _| {
                Machine::keep(connection, &buffer[..count], used);
            });
            driven.settle()?;
            if short && driven.context.short_read(token) {
                driven.nothing_to_read()
            } else {
                driven.read()
            }
        });
    }

    /// A steady connection found the end of its input, an error, or nothing to read.
    #[cold]
    #[inline(never)]
    fn serve_end<B: Backend>(
        &mut self,
        context: &mut Context<B>,
        token: Token,
        end: io::Result<usize>,
    ) {
        self.drive(context, token, |driven| match end {
            Ok(_) => driven.end_of_input(),
            Err(error) => driven.read_failed(&error),
        });
    }

    pub(super) fn open<B: Backend>(
        &mut self,
        context: &mut Context<B>,
        token: Token,
        stream: TcpStream,
        peer: Peer,
    ) {
        log::debug!("{token}: opened by {peer}");
        let link = Link {
            stream,
            machine: Machine::new(context.now()),
            protocol: (self.shared.factory)(&Accepted::new(&|| &peer)),
            // A read stops at a message that carries descriptors, and proves nothing.
            short: if peer == Peer::UNIX { 0 } else { BUFFER as u32 },
            peer,
            watchdog: Watchdog::new(),
            steady: false,
        };
        self.entries.insert(token, Entry::Connection(link));
        self.shared.open += 1;
        context.counters().opened.add(1);
        self.drive(context, token, |driven| {
            driven.tell(|connection, protocol, _, _| Machine::opened(connection, protocol));
            driven.settle()
        });
    }

    /// The one way to the end of a connection.
    fn close<B: Backend>(&mut self, context: &mut Context<B>, token: Token, reason: Closed) {
        let Some(Entry::Connection(mut link)) = self.entries.remove(token) else { return };
        log::debug!("{token}: closed, {reason}");
        link.watchdog.cancel(context.timers());
        context.timers().cancel_all(link.machine.timers());
        link.protocol.closed(reason);
        // The loop knows every token that is in the map.
        let _ = context.close(token, link.stream);
        context.counters().closed.add(1);
        self.shared.open -= 1;
        if self.shared.draining.is_some() {
            if self.shared.open == 0 {
                context.stop();
            }
            return;
        }
        match &self.shared.seat {
            Some(seat) => seat.release(),
            None if self.shared.config.max_connections == Some(self.shared.open + 1) => {
                self.listen_again(context);
            }
            None => {}
        }
    }

    /// Closes everything and ends the loop.
    pub(super) fn close_all<B: Backend>(&mut self, context: &mut Context<B>, reason: Closed) {
        self.stop_listening(context);
        let tokens: Vec<Token> = self.entries.tokens().collect();
        for token in tokens {
            self.close(context, token, reason);
        }
        context.stop();
    }

    /// Closes the listeners and lets each connection read what has come for it; a connection that
    /// is then in the middle of nothing is closed.
    fn drain<B: Backend>(&mut self, context: &mut Context<B>) {
        if self.shared.draining.is_some() {
            return;
        }
        let listeners = self.shared.listeners.first().copied();
        self.stop_listening(context);
        if let Some(seat) = &self.shared.seat {
            seat.pass_drain_on();
        }
        if self.shared.open == 0 {
            return context.stop();
        }
        // Any token serves: the timer is known by its id.
        let token = listeners.unwrap_or(Token::new(0, 0));
        self.shared.draining = Some(context.set_timer(self.shared.config.drain, token));
        log::info!("draining {} connections", self.shared.open);
        let tokens: Vec<Token> = self.entries.tokens().collect();
        for token in tokens {
            context.repost(token, Readiness::READABLE);
            self.drive(context, token, |driven| {
                if driven.link.machine.interest().is_readable() {
                    Ok(()) // until it has read what has come
                } else {
                    driven.nothing_to_read()
                }
            });
        }
    }
}

impl<B: Backend, P: Protocol, F: Fn(&Accepted<'_>) -> P> Handler<B> for Connections<F, P> {
    type Message = Message;

    /// The steady path of a request is all in here: one read, one write, and nothing that is
    /// looked up, allocated or changed besides. Whatever is out of the ordinary is
    /// [`Driven`]'s.
    #[inline(always)] // into the loop over a turn's events
    fn ready(&mut self, context: &mut Context<B>, token: Token, readiness: Readiness) {
        let link = match self.entries.tenant_mut(token) {
            Some(Entry::Connection(link)) if link.steady => link,
            Some(_) => return self.serve(context, token, readiness),
            None => return,
        };
        let (now, (timers, sources)) = (context.now(), context.timers_and_sources());
        let buffer = &mut *self.buffer;
        let mut stream = &link.stream;
        let count = match sources.read(token, || stream.read(&mut buffer[..])) {
            Ok(count) if count > 0 => count,
            end => return self.serve_end(context, token, end),
        };
        link.machine.touch(now);
        let environment = Environment {
            machine: &mut link.machine,
            config: &self.shared.config,
            now,
            output: &mut self.output,
            timers,
            token,
            peer: &|| &link.peer,
            handle: &|| self.shared.remote.handle(token),
        };
        let used = link.protocol.received(&mut environment.into(), &buffer[..count]);
        let output = &mut self.output;
        let mut written = Ok(0);
        if used == count && link.machine.is_steady() {
            if !output.is_empty() {
                written = sources.write(token, || stream.write(output));
            }
            if matches!(written, Ok(written) if written == output.len()) {
                output.clear();
                // A full buffer leaves the connection ready, and the loop comes back to it.
                if count < link.short as usize && !context.short_read_in_hand() {
                    self.serve(context, token, Readiness::READABLE);
                }
                return;
            }
        }
        self.serve_on(context, token, count, used, written);
    }

    fn timer(&mut self, context: &mut Context<B>, token: Token, timer: TimerId) {
        if self.shared.draining == Some(timer) {
            return self.close_all(context, Closed::Drained);
        }
        if self.shared.resting == Some(timer) {
            self.shared.resting = None;
            return self.listen_again(context);
        }
        self.drive(context, token, |driven| {
            if driven.link.watchdog.is_due(timer) {
                driven.watch()
            } else {
                driven.tell(|connection, protocol, _, _| {
                    Machine::timer(connection, protocol, timer);
                });
                driven.settle()
            }
        });
    }

    fn message(&mut self, context: &mut Context<B>, message: Message) {
        match message {
            Message::Send(token, bytes) => self.drive(context, token, |driven| {
                driven.tell(|connection, _, _, _| connection.send(&bytes));
                driven.settle()
            }),
            Message::Close(token) => self.drive(context, token, |driven| {
                driven.tell(|connection, _, _, _| connection.close());
                driven.settle()
            }),
            Message::Adopt(stream, peer) => self.adopt(context, stream, peer),
            Message::Room => self.listen_again(context),
            Message::Drain => self.drain(context),
            Message::Stop => self.close_all(context, Closed::Stopped),
        }
    }
}
