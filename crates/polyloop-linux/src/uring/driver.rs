//! The turns: what the kernel has done, what others ask, what is due.

use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use polyloop::driver::{Ended, Environment, Machine, Mailbox, Message, Remotes, Stopwatch};
use polyloop::{
    Accepted, Closed, Config, Counters, Protocol, Tick, TimerId, Timers, Token, TokenMap,
};
use rustix::io::Errno;

use super::accept::Listeners;
use super::link::{Driven, Link, Receive, Shared};
use super::ring::{Completion, Flight, Input, MAX_INDEX};
use super::socket::Socket;
use super::Opened;
use crate::wake::WakeUp;

/// All that a server holds.
pub(super) struct Driver<F, P> {
    // First, because the operations that it ends name what stands below.
    pub(super) shared: Shared,
    entries: TokenMap<Entry<P>>,
    /// Names of slots that were used and are free.
    free: Vec<Token>,
    pub(super) listeners: Listeners,
    pub(super) config: Config,
    factory: F,
    remotes: Arc<Remotes>,
    pub(super) counters: Arc<Counters>,
    stopwatch: Stopwatch,
    mailbox: Mailbox<Message>,
    inbox: Vec<Message>,
    in_hand: Vec<Token>,
    due: Vec<TimerId>,
    wake_up: WakeUp,
    /// Connections, without those that are closing.
    pub(super) open: usize,
    /// When a drain is over.
    drained_by: Option<TimerId>,
    stopped: bool,
}

enum Entry<P> {
    Open(Link<P>),
    /// The connection is gone, and so many operations of it are not: its slot is used again after
    /// their last completion.
    Closing(u8),
}

impl<F, P> Driver<F, P> {
    pub(super) fn new(
        opened: Opened,
        remotes: Arc<Remotes>,
        listeners: Listeners,
        config: Config,
        factory: F,
    ) -> Driver<F, P> {
        let Opened { ring, mailbox, wake_up } = opened;
        Driver {
            shared: Shared {
                ring,
                timers: Timers::new(),
                now: Tick::now(),
                output: Vec::new(),
                reposts: Vec::new(),
                draining: false,
            },
            entries: TokenMap::new(),
            free: Vec::new(),
            listeners,
            config,
            factory,
            counters: Arc::clone(remotes.counters()),
            remotes,
            stopwatch: Stopwatch::default(),
            mailbox,
            inbox: Vec::new(),
            in_hand: Vec::new(),
            due: Vec::new(),
            wake_up,
            open: 0,
            drained_by: None,
            stopped: false,
        }
    }
}

impl<P: Protocol, F: Fn(&Accepted<'_>) -> P> Driver<F, P> {
    pub(super) fn run(mut self) -> io::Result<()> {
        let ran = self.turns();
        if ran.is_err() {
            self.close_all(Closed::Stopped);
        }
        ran
    }

    fn turns(&mut self) -> io::Result<()> {
        self.shared.ring.enable()?;
        self.shared.ring.watch(self.wake_up.as_fd());
        self.listen();
        while !self.stopped {
            self.turn()?;
        }
        self.stopwatch.stop(&self.counters);
        Ok(())
    }

    /// A turn, in order: waiting, messages, completions, what has more to do, timers.
    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;

        let mut inbox = mem::take(&mut self.inbox);
        self.mailbox.take(&mut inbox);
        self.counters.messages.add(inbox.len() as u64);
        for message in inbox.drain(..) {
            self.message(message);
        }
        self.inbox = inbox;

        // What is reposted from here on is for the next turn.
        let mut in_hand = mem::take(&mut self.in_hand);
        mem::swap(&mut in_hand, &mut self.shared.reposts);
        self.complete();
        self.counters.reposts.add(in_hand.len() as u64);
        for token in in_hand.drain(..) {
            self.drive(token, |driven| driven.go_on());
        }
        self.in_hand = in_hand;

        let mut due = mem::take(&mut self.due);
        self.shared.timers.collect_due(self.shared.now, &mut due);
        for timer in due.drain(..) {
            // An earlier one of this turn may have cancelled it.
            if let Some(token) = self.shared.timers.take(timer) {
                self.counters.timers.add(1);
                log::trace!("{token}: timer");
                self.timer(token, timer);
            }
        }
        self.due = due;
        if self.listeners.wanted {
            self.listen();
        }
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let (began, slow) = self.stopwatch.wait(&self.counters);
        if let Some(handling) = slow {
            log::warn!("the loop stood still for {handling:.0?} while it handled one turn");
        }

        let deadline = self.shared.timers.next_deadline();
        let mut timeout = deadline.and_then(|deadline| self.shared.ring.timeout(began, deadline));
        if !self.shared.reposts.is_empty()
            || timeout != Some(Duration::ZERO) && !self.mailbox.may_sleep()
        {
            timeout = Some(Duration::ZERO);
        }
        let entered = self.shared.ring.enter(timeout);
        self.mailbox.awake();
        let calls = entered?;

        self.shared.now = self.stopwatch.handle(began, &self.counters);
        self.counters.other_calls.add(calls - 1);
        Ok(())
    }

    /// Handles what the kernel has done.
    fn complete(&mut self) {
        let mut events = 0;
        while let Some(completion) = self.shared.ring.next() {
            events += 1;
            match completion {
                Completion::Received { token, input, more } => self.received(token, input, more),
                Completion::Sent { flight, taken } => self.sent(flight, taken),
                Completion::Accepted { listener, socket, more } => {
                    self.accepted(listener, socket, more);
                }
                Completion::Woken { more: true } => {}
                Completion::Woken { more: false } => {
                    self.shared.ring.watch(self.wake_up.as_fd());
                }
                Completion::NotCancelled { token } => self.drive(token, |driven| {
                    if driven.link.receive == Receive::Cancelled {
                        driven.link.receive = Receive::Armed;
                    }
                    driven.settle()
                }),
            }
        }
        self.counters.events.add(events);
        self.counters.empty_polls.add(u64::from(events == 0));
    }

    /// The steady path of a request is in here and in [`sent`](Self::sent): nothing is looked up,
    /// allocated, copied or asked of the system besides. Whatever is out of the ordinary is
    /// [`Driven`]'s.
    #[inline(always)]
    fn received(&mut self, token: Token, input: Result<Option<Input>, Errno>, more: bool) {
        self.counters.reads.add(1);
        self.counters.batched.add(1);
        let (link, input) = match (self.entries.get_mut(token), input) {
            (Some(Entry::Open(link)), Ok(Some(input))) if link.steady && more => (link, input),
            (_, input) => return self.received_otherwise(token, input, more),
        };
        let Shared { ring, timers, now, output, .. } = &mut self.shared;
        link.machine.touch(*now);
        let environment = Environment {
            machine: &mut link.machine,
            config: &self.config,
            now: *now,
            output,
            timers,
            token,
            peer: &|| link.socket.peer(&self.counters),
            handle: &|| self.remotes.handle(token),
        };
        let bytes = ring.bytes(&input);
        let used = link.protocol.received(&mut environment.into(), bytes);
        if used != bytes.len() || !link.machine.is_steady() {
            return self.keep(token, input, used);
        }
        ring.give_back(input);
        if !output.is_empty() {
            link.machine.flies(output.len(), *now);
            link.flight = Some(ring.send(link.socket.stream.as_fd(), token, output));
        }
    }

    /// A steady connection that has sent an answer, and nothing since, waits for input again.
    #[inline(always)]
    fn sent(&mut self, flight: Flight, taken: Result<usize, Errno>) {
        self.counters.writes.add(1);
        self.counters.batched.add(1);
        let Shared { ring, now, .. } = &mut self.shared;
        let token = ring.passenger(&flight);
        match self.entries.get_mut(token) {
            Some(Entry::Open(link)) if link.steady && ring.left(&flight) == 0 => {
                ring.release(flight);
                link.flight = None;
                link.machine.landed(0, *now);
                if !link.machine.is_steady() {
                    self.settle(token);
                }
            }
            _ => self.sent_otherwise(token, flight, taken),
        }
    }

    #[cold]
    #[inline(never)]
    fn received_otherwise(
        &mut self,
        token: Token,
        input: Result<Option<Input>, Errno>,
        more: bool,
    ) {
        match (self.entries.get_mut(token), input) {
            (Some(Entry::Open(_)), input) => {
                self.drive(token, |driven| driven.received(input, more));
            }
            (_, input) => {
                if let Ok(Some(input)) = input {
                    self.shared.ring.give_back(input);
                }
                if !more {
                    self.is_over(token);
                }
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn keep(&mut self, token: Token, input: Input, used: usize) {
        self.drive(token, |driven| driven.keep(input, used));
    }

    #[cold]
    #[inline(never)]
    fn settle(&mut self, token: Token) {
        self.drive(token, |driven| driven.settle());
    }

    #[cold]
    #[inline(never)]
    fn sent_otherwise(&mut self, token: Token, flight: Flight, taken: Result<usize, Errno>) {
        if let Some(Entry::Open(_)) = self.entries.get_mut(token) {
            self.drive(token, |driven| driven.landed(flight, taken));
        } else {
            self.shared.ring.release(flight);
            self.is_over(token);
        }
    }

    /// Calls `drive` with the connection `token` and what its machine needs, and closes the
    /// connection if that was its end.
    fn drive(&mut self, token: Token, drive: impl FnOnce(&mut Driven<'_, P>) -> Ended) {
        let Some(Entry::Open(link)) = self.entries.get_mut(token) else { return };
        link.steady = false;
        let remotes = &self.remotes;
        let mut driven = Driven {
            shared: &mut self.shared,
            token,
            link,
            config: &self.config,
            counters: &self.counters,
            handle: &|| remotes.handle(token),
        };
        if let Err(reason) = drive(&mut driven) {
            self.shared.output.clear();
            self.close(token, reason);
        }
    }

    pub(super) fn open(&mut self, socket: Socket) {
        let token = self.free.pop().unwrap_or_else(|| Token::new(self.entries.len(), 0));
        if token.index() > MAX_INDEX {
            return self.listeners.release(); // more connections than any system has descriptors
        }
        log::debug!("{token}: opened by {}", socket.peer(&self.counters));
        let protocol = (self.factory)(&Accepted::new(&|| socket.peer(&self.counters)));
        let link = Link::new(socket, protocol, self.shared.now);
        self.entries.insert(token, Entry::Open(link));
        self.open += 1;
        self.counters.opened.add(1);
        self.drive(token, |driven| {
            driven.tell(|connection, protocol, _| Machine::opened(connection, protocol));
            driven.settle()
        });
    }

    /// The one way to the end of a connection.
    fn close(&mut self, token: Token, reason: Closed) {
        if !matches!(self.entries.get_mut(token), Some(Entry::Open(_))) {
            return; // it is closing already
        }
        let Some(Entry::Open(mut link)) = self.entries.remove(token) else { return };
        log::debug!("{token}: closed, {reason}");
        link.watchdog.cancel(&mut self.shared.timers);
        self.shared.timers.cancel_all(link.machine.timers());
        link.protocol.closed(reason);
        let mut operations = 0;
        if link.receive != Receive::Not {
            operations += 1;
            if link.receive != Receive::Cancelled {
                self.shared.ring.cancel_receive(token);
            }
        }
        if let Some(flight) = link.flight {
            operations += 1;
            self.shared.ring.cancel_send(flight);
        }
        self.shared.ring.close(link.socket.stream.into());
        self.counters.closed.add(1);
        self.counters.batched.add(1);
        if operations == 0 {
            self.vacate(token);
        } else {
            self.entries.insert(token, Entry::Closing(operations));
        }
        self.open -= 1;
        if self.shared.draining {
            self.stopped |= self.open == 0;
        } else {
            self.listeners.release();
        }
    }

    /// An operation of a connection that is gone has had its last completion.
    fn is_over(&mut self, token: Token) {
        if let Some(Entry::Closing(operations)) = self.entries.get_mut(token) {
            *operations -= 1;
            if *operations == 0 {
                self.vacate(token);
            }
        }
    }

    /// Nobody will ever hear of this token again: its slot is free for the next.
    fn vacate(&mut self, token: Token) {
        self.entries.remove(token);
        self.free.push(Token::new(token.index(), token.generation().wrapping_add(1)));
    }

    fn tokens(&self) -> Vec<Token> {
        self.entries.tokens().collect()
    }

    fn close_all(&mut self, reason: Closed) {
        self.listeners.stop(&mut self.shared.ring);
        for token in self.tokens() {
            self.close(token, reason);
        }
        self.stopped = true;
    }

    /// Closes the listeners and lets each connection read what has come for it; a connection that
    /// is then in the middle of nothing is closed.
    fn drain(&mut self) {
        if self.shared.draining {
            return;
        }
        self.listeners.stop(&mut self.shared.ring);
        self.listeners.pass_drain_on();
        if self.open == 0 {
            self.stopped = true;
            return;
        }
        log::info!("draining {} connections", self.open);
        self.shared.draining = true;
        let deadline = Tick::now().after(self.config.drain);
        // Any token serves: the timer is known by its id.
        self.drained_by = Some(self.shared.timers.insert(deadline, Token::new(0, 0)));
        for token in self.tokens() {
            self.settle(token);
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Send(token, bytes) => self.drive(token, |driven| {
                driven.tell(|connection, _, _| connection.send(&bytes));
                driven.settle()
            }),
            Message::Close(token) => self.drive(token, |driven| {
                driven.tell(|connection, _, _| connection.close());
                driven.settle()
            }),
            // On its way when everything was closed.
            Message::Adopt(..) if self.stopped => self.listeners.release(),
            Message::Adopt(stream, peer) => self.open(Socket::with_peer(stream.into(), peer)),
            Message::Room => self.listeners.wanted = true,
            Message::Drain => self.drain(),
            Message::Stop => self.close_all(Closed::Stopped),
        }
    }

    fn timer(&mut self, token: Token, timer: TimerId) {
        if self.drained_by == Some(timer) {
            return self.close_all(Closed::Drained);
        }
        if self.listeners.resting == Some(timer) {
            self.listeners.resting = None;
            self.listeners.wanted = true;
            return;
        }
        self.drive(token, |driven| {
            if driven.link.watchdog.is_due(timer) {
                return driven.watch();
            }
            driven.tell(|connection, protocol, _| Machine::timer(connection, protocol, timer));
            driven.settle()
        });
    }
}
