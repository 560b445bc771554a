//! The handler behind a server: it drives each connection's machine when its socket is ready.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use mio::net::TcpStream;

use super::accept::Listener;
use super::{handle, Message, Remotes};
use crate::machine::{Environment, Machine, Peer, Step};
use crate::{
    Backend, Closed, Config, Context, Handler, Protocol, Readiness, Tick, TimerId, Token, TokenMap,
};

/// All that a server holds: listeners and connections by token, and what they share.
pub(super) struct Connections<F, P> {
    pub(super) entries: TokenMap<Entry<P>>,
    pub(super) shared: Shared<F>,
    /// What every connection reads into; what is left of it is kept by its machine.
    buffer: Box<[u8]>,
    output: Vec<u8>,
}

pub(super) struct Shared<F> {
    pub(super) config: Config,
    pub(super) factory: F,
    remote: Arc<Remotes>,
    pub(super) listeners: Vec<Token>,
    /// Connections, without listeners.
    pub(super) open: usize,
    draining: Option<TimerId>,
}

pub(super) enum Entry<P> {
    Listener(Listener),
    Connection(Link<P>),
}

/// A connection: its socket, its protocol, and the machine between the two.
pub(super) struct Link<P> {
    stream: TcpStream,
    peer: Peer,
    machine: Machine,
    protocol: P,
    /// The one timer that watches over all deadlines, and when it is due. Deadlines mostly move
    /// away, with each byte: the timer stays, and is set anew when it finds nothing overdue.
    watchdog: Option<TimerId>,
    watchdog_due: Tick,
}

/// Whether a connection is still there.
#[derive(PartialEq, Eq)]
enum Still {
    Open,
    Ended(Closed),
}

impl<F, P> Connections<F, P> {
    /// What one read takes at most.
    const BUFFER: usize = 64 * 1024;

    /// Reads of one connection in one turn; then the others have theirs.
    const READS: usize = 4;

    pub(super) fn new(config: Config, factory: F, remote: Arc<Remotes>) -> Connections<F, P> {
        Connections {
            entries: TokenMap::new(),
            shared: Shared {
                config,
                factory,
                remote,
                listeners: Vec::new(),
                open: 0,
                draining: None,
            },
            buffer: vec![0; Self::BUFFER].into_boxed_slice(),
            output: Vec::new(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.shared.config
    }
}

impl<P: Protocol, F: Fn(SocketAddr) -> P> Connections<F, P> {
    /// Calls `drive` with the connection `token` and what its machine needs, then writes what
    /// came of it, and closes the connection if that was its end.
    #[inline]
    fn drive<B: Backend>(
        &mut self,
        context: &mut Context<B>,
        token: Token,
        drive: impl FnOnce(&mut Driven<'_, B, P>) -> Still,
    ) {
        let Some(Entry::Connection(link)) = self.entries.get_mut(token) else { return };
        let remote = &self.shared.remote;
        let mut driven = Driven {
            context,
            token,
            link,
            config: &self.shared.config,
            output: &mut self.output,
            buffer: &mut self.buffer,
            handle: &|| handle(remote, token),
            draining: self.shared.draining.is_some(),
        };
        if let Still::Ended(reason) = drive(&mut driven) {
            self.output.clear();
            self.close(context, token, reason);
        }
    }

    pub(super) fn open<B: Backend>(
        &mut self,
        context: &mut Context<B>,
        token: Token,
        stream: TcpStream,
        peer: SocketAddr,
    ) {
        let link = Link {
            stream,
            peer: peer.into(),
            machine: Machine::new(context.now()),
            protocol: (self.shared.factory)(peer),
            watchdog: None,
            watchdog_due: Tick::NEVER,
        };
        self.entries.insert(token, Entry::Connection(link));
        self.shared.open += 1;
        context.counters().opened.add(1);
        log::debug!("{token}: opened by {peer}");
        self.drive(context, token, |driven| {
            driven.tell(|machine, protocol, environment| machine.opened(protocol, environment));
            driven.settle()
        });
    }

    /// The one way to the end of a connection.
    fn close<B: Backend>(&mut self, context: &mut Context<B>, token: Token, reason: Closed) {
        let Some(Entry::Connection(mut link)) = self.entries.remove(token) else { return };
        log::debug!("{token}: closed, {reason}");
        if let Some(watchdog) = link.watchdog {
            context.cancel_timer(watchdog);
        }
        link.protocol.closed(reason);
        // The loop knows every token that is in the map.
        let _ = context.close(token, link.stream);
        context.counters().closed.add(1);
        self.shared.open -= 1;
        if self.shared.draining.is_some() {
            if self.shared.open == 0 {
                context.stop();
            }
        } else if self.shared.config.max_connections == Some(self.shared.open + 1) {
            self.listen_again(context);
        }
    }

    fn close_all<B: Backend>(&mut self, context: &mut Context<B>, reason: Closed) {
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
        if self.shared.open == 0 {
            return context.stop();
        }
        // Any token serves: the timer is known by its id.
        let token = listeners.unwrap_or(Token::new(0, 0));
        self.shared.draining = Some(context.set_timer(self.shared.config.drain, token));
        log::info!("draining {} connections", self.shared.open);
        for token in self.entries.tokens() {
            context.repost(token, Readiness::READABLE);
        }
    }
}

impl<B: Backend, P: Protocol, F: Fn(SocketAddr) -> P> Handler<B> for Connections<F, P> {
    type Message = Message;

    #[inline]
    fn ready(&mut self, context: &mut Context<B>, token: Token, readiness: Readiness) {
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

    fn timer(&mut self, context: &mut Context<B>, token: Token, timer: TimerId) {
        if self.shared.draining == Some(timer) {
            return self.close_all(context, Closed::Drained);
        }
        if let Some(Entry::Listener(_)) = self.entries.get_mut(token) {
            return self.listen_again(context);
        }
        self.drive(context, token, |driven| {
            if driven.link.watchdog == Some(timer) {
                driven.link.watchdog = None;
                driven.link.watchdog_due = Tick::NEVER;
                driven.watch()
            } else {
                driven.tell(|machine, protocol, environment| {
                    machine.timer(protocol, environment, timer);
                });
                driven.settle()
            }
        });
    }

    fn message(&mut self, context: &mut Context<B>, message: Message) {
        match message {
            Message::Send(token, bytes) => self.drive(context, token, |driven| {
                driven.tell(|machine, _, environment| {
                    machine.sent_from_elsewhere(environment, &bytes);
                });
                driven.settle()
            }),
            Message::Close(token) => self.drive(context, token, |driven| {
                driven.link.machine.closed_from_elsewhere();
                driven.settle()
            }),
            Message::Drain => self.drain(context),
            Message::Stop => self.close_all(context, Closed::Stopped),
        }
    }
}

/// A connection and what is lent to it while it is driven.
struct Driven<'a, B, P> {
    context: &'a mut Context<B>,
    token: Token,
    link: &'a mut Link<P>,
    config: &'a Config,
    output: &'a mut Vec<u8>,
    buffer: &'a mut [u8],
    handle: &'a dyn Fn() -> crate::Handle,
    draining: bool,
}

impl<B: Backend, P: Protocol> Driven<'_, B, P> {
    #[inline]
    fn tell(&mut self, tell: impl FnOnce(&mut Machine, &mut P, Environment<'_>)) {
        let environment = Environment {
            config: self.config,
            now: self.context.now(),
            output: self.output,
            timers: self.context.timers(),
            token: self.token,
            peer: &self.link.peer,
            handle: self.handle,
        };
        tell(&mut self.link.machine, &mut self.link.protocol, environment);
    }

    /// Reads until there is nothing more, the connection wants no more, or it had its share.
    #[inline]
    fn read(&mut self) -> Still {
        for _ in 0..Connections::<(), P>::READS {
            if !self.link.machine.interest().is_readable() {
                return self.settle();
            }
            let stream = &self.link.stream;
            let buffer = &mut *self.buffer;
            match self.context.read(self.token, || (&*stream).read(buffer)) {
                Ok(0) => {
                    self.tell(|machine, protocol, environment| {
                        machine.ended(protocol, environment)
                    });
                    return self.settle();
                }
                Ok(count) => {
                    log::trace!("{}: read {count} bytes", self.token);
                    let short = count < self.buffer.len();
                    self.feed(count);
                    if let Still::Ended(reason) = self.settle() {
                        return Still::Ended(reason);
                    }
                    if short && self.context.short_read(self.token) {
                        return self.rest();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.rest();
                }
                Err(error) => return Still::Ended(Closed::from_error(&error)),
            }
        }
        Still::Open
    }

    #[inline]
    fn feed(&mut self, count: usize) {
        let environment = Environment {
            config: self.config,
            now: self.context.now(),
            output: self.output,
            timers: self.context.timers(),
            token: self.token,
            peer: &self.link.peer,
            handle: self.handle,
        };
        let input = &self.buffer[..count];
        self.link.machine.received(&mut self.link.protocol, environment, input);
    }

    /// All that had come is read.
    #[inline]
    fn rest(&mut self) -> Still {
        if self.draining && self.link.machine.is_quiet() {
            return Still::Ended(Closed::Drained);
        }
        Still::Open
    }

    /// Writes what waits, and asks the loop for what the machine now wants.
    #[inline]
    fn settle(&mut self) -> Still {
        let Link { stream, machine, protocol, peer, .. } = &mut *self.link;
        let (context, token) = (&mut *self.context, self.token);
        let now = context.now();
        let (timers, sources) = context.timers_and_sources();
        let environment = Environment {
            config: self.config,
            now,
            output: self.output,
            timers,
            token,
            peer,
            handle: self.handle,
        };
        let step = machine.settle(protocol, environment, |bytes| {
            sources.write(token, || (&*stream).write(bytes))
        });
        match step {
            Step::Wait => {}
            Step::HalfClose => {
                self.context.counters().other_calls.add(1);
                // An error is that of a connection that is gone, which the next read tells.
                let _ = self.link.stream.shutdown(Shutdown::Write);
                if let Step::Close(reason) = self.link.machine.step() {
                    return Still::Ended(reason);
                }
            }
            Step::Close(reason) => return Still::Ended(reason),
        }
        let wanted = self.link.machine.interest();
        if let Err(error) = self.context.set_interest(self.token, &mut self.link.stream, wanted) {
            log::error!("{}: interest {wanted:?} refused: {error}", self.token);
            return Still::Ended(Closed::Failed(error.kind()));
        }
        self.watch()
    }

    /// Sees to it that the watchdog is due no later than the next deadline, and that none is past.
    #[inline]
    fn watch(&mut self) -> Still {
        let Some((deadline, reason)) = self.link.machine.deadline(self.config) else {
            return Still::Open;
        };
        if deadline >= self.link.watchdog_due {
            return Still::Open;
        }
        if deadline <= self.context.now() {
            return Still::Ended(reason);
        }
        if let Some(later) = self.link.watchdog.take() {
            self.context.cancel_timer(later);
        }
        self.link.watchdog = Some(self.context.timers().insert(deadline, self.token));
        self.link.watchdog_due = deadline;
        Still::Open
    }
}
