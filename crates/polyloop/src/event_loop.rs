//! The loop: turns, timeouts and dispatch.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;

use crate::mailbox::{Mailbox, Sender};
use crate::sources::{Mark, Sources};
use crate::timers::{TimerId, Timers};
use crate::{Backend, Caps, Counters, Events, Interest, Readiness, Source, Tick, Token, Trigger};

/// What a loop calls: the low-level interface, for proxies, UDP servers, pipes and anything else
/// that is not one [`Protocol`](crate::Protocol) on one stream.
///
/// The handler owns its sources and finds them by token; a [`TokenMap`](crate::TokenMap) serves.
/// It is the same on edges and on levels, provided that it does its input and output through
/// [`Context::read`], [`Context::write`] and [`Context::accept`]: these tell the loop what
/// `WouldBlock` said. A source that did not say `WouldBlock` is dispatched again in the next turn,
/// so a handler may stop whenever it has done enough for one turn.
pub trait Handler<B: Backend> {
    /// What other threads send; `()` if nothing.
    type Message: Send + 'static;

    /// `token` is ready for what `readiness` says.
    fn ready(&mut self, context: &mut Context<B>, token: Token, readiness: Readiness);

    /// A timer of `token` is due. It is gone; set another one to go on.
    fn timer(&mut self, context: &mut Context<B>, token: Token, timer: TimerId) {
        let _ = (context, token, timer);
    }

    /// A message has come.
    fn message(&mut self, context: &mut Context<B>, message: Self::Message) {
        let _ = (context, message);
    }
}

/// A loop around a [`Backend`].
///
/// A turn, in order: the clock is read → the timeout is the least of the caller's, the next
/// timer's, and zero if a source was reposted or a message waits → `poll` → the clock is read →
/// messages → input and output → due timers, collected before any of them runs.
///
/// A handler may register, change and remove any source at any time: an event in hand for a source
/// that is gone is dropped and counted.
#[derive(Debug)]
pub struct EventLoop<B, M> {
    context: Context<B>,
    events: Events,
    mailbox: Mailbox<M>,
    inbox: Vec<M>,
    in_hand: Vec<Token>,
    due: Vec<TimerId>,
}

impl<B: Backend, M: Send + 'static> EventLoop<B, M> {
    /// How many events a turn takes at most.
    const EVENTS: usize = 1024;

    /// A turn whose handlers took longer is worth a warning.
    const SLOW: Duration = Duration::from_millis(100);

    /// Makes a loop that waits with `backend`.
    #[must_use]
    pub fn new(backend: B) -> EventLoop<B, M> {
        let mailbox = Mailbox::new(backend.waker());
        EventLoop {
            context: Context::new(backend),
            events: Events::with_capacity(EventLoop::<B, M>::EVENTS),
            mailbox,
            inbox: Vec::new(),
            in_hand: Vec::new(),
            due: Vec::new(),
        }
    }

    /// What handlers are given: to register the first sources before the loop runs.
    pub fn context(&mut self) -> &mut Context<B> {
        &mut self.context
    }

    /// Makes a sender, with which any thread reaches [`Handler::message`].
    #[must_use]
    pub fn sender(&self) -> Sender<M> {
        self.mailbox.sender()
    }

    /// Turns until a handler calls [`Context::stop`].
    ///
    /// # Errors
    ///
    /// What the backend's `poll` says.
    pub fn run<H: Handler<B, Message = M>>(&mut self, handler: &mut H) -> io::Result<()> {
        self.context.stopped = false;
        while !self.context.stopped {
            self.turn(handler, None)?;
        }
        Ok(())
    }

    /// Turns once, and waits for `limit` at most if there is nothing to do.
    ///
    /// # Errors
    ///
    /// What the backend's `poll` says.
    pub fn turn<H: Handler<B, Message = M>>(
        &mut self,
        handler: &mut H,
        limit: Option<Duration>,
    ) -> io::Result<()> {
        self.wait(limit)?;

        self.mailbox.take(&mut self.inbox);
        self.context.counters().messages.add(self.inbox.len() as u64);
        for message in self.inbox.drain(..) {
            handler.message(&mut self.context, message);
        }

        self.dispatch_ready(handler);

        self.context.timers.collect_due(self.context.now, &mut self.due);
        for timer in self.due.drain(..) {
            // An earlier one of this turn may have cancelled it.
            if let Some(token) = self.context.timers.take(timer) {
                self.context.counters().timers.add(1);
                log::trace!("{token}: timer");
                handler.timer(&mut self.context, token, timer);
            }
        }

        Ok(())
    }

    /// Input and output: what had an event, then what was reposted.
    #[inline(never)] // as small a function as can be, for the sake of registers
    fn dispatch_ready<H: Handler<B, Message = M>>(&mut self, handler: &mut H) {
        // What is reposted from here on belongs to the next turn, and carries the other mark.
        let this_turn = self.context.sources.mark;
        self.context.sources.mark = this_turn.other();
        mem::swap(&mut self.in_hand, &mut self.context.sources.reposts);
        for event in self.events.iter() {
            self.context.dispatch(handler, event.token, event.readiness);
        }
        for token in self.in_hand.drain(..) {
            // A source that had an event as well was dispatched for it, and is not marked now.
            if self.context.sources.get_mut(token).is_some_and(|source| source.mark == this_turn) {
                self.context.counters().reposts.add(1);
                self.context.dispatch_again(handler, token);
            }
        }

        self.context.sources.let_go();
    }

    fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let context = &mut self.context;
        let began = Tick::now();
        let handling = began.since(context.now);
        context.counters().handling_ns.add(nanos(handling));
        if handling > Self::SLOW && !self.events.is_empty() {
            log::warn!(
                "the loop stood still for {handling:.0?} while it handled {} sources, first {}",
                self.events.len(),
                self.events[0].token,
            );
        }

        let mut timeout = limit;
        if let Some(deadline) = context.timers.next_deadline() {
            let left = deadline.since(began);
            timeout = Some(timeout.map_or(left, |limit| limit.min(left)));
        }
        if !context.sources.reposts.is_empty() {
            timeout = Some(Duration::ZERO);
        }
        if timeout != Some(Duration::ZERO) && !self.mailbox.may_sleep() {
            timeout = Some(Duration::ZERO);
        }
        let told = context.backend.poll(&mut self.events, timeout);
        self.mailbox.awake();
        told?;

        context.now = Tick::now();
        let counters = &context.sources.counters;
        counters.turns.add(1);
        counters.waiting_ns.add(nanos(context.now.since(began)));
        counters.events.add(self.events.len() as u64);
        counters.empty_polls.add(u64::from(self.events.is_empty()));
        if log::log_enabled!(log::Level::Trace) {
            for event in self.events.iter() {
                log::trace!("{}: {:?}", event.token, event.readiness);
            }
        }
        Ok(())
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

/// What a [`Handler`] may ask of its loop.
///
/// The loop holds two bits a direction for each source: *wanted*, what the handler asks for, and
/// *ready*, what it was told and has not used up. An event sets *ready*, a call that says
/// `WouldBlock` clears it, and a source that is both is dispatched.
#[derive(Debug)]
pub struct Context<B> {
    backend: B,
    caps: Caps,
    /// What is kept of a readiness until it is used up: all of it on edges; nothing on levels,
    /// which are told again for as long as they last.
    keeps: Readiness,
    /// Whether a short read may end reading. On levels always: what is left is told again.
    short_read_drains: bool,
    sources: Sources,
    timers: Timers,
    now: Tick,
    stopped: bool,
}

impl<B: Backend> Context<B> {
    fn new(backend: B) -> Context<B> {
        let caps = backend.caps();
        let level = caps.trigger == Trigger::Level;
        Context {
            backend,
            caps,
            keeps: if level { Readiness::EMPTY } else { Readiness::ALL },
            short_read_drains: level || caps.short_read_drains,
            sources: Sources::new(),
            timers: Timers::new(),
            now: Tick::now(),
            stopped: false,
        }
    }

    /// The backend's name.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.backend.name()
    }

    /// The clock as it was read when this turn's wait ended.
    #[must_use]
    pub fn now(&self) -> Tick {
        self.now
    }

    /// What the loop counts. Any thread may keep a copy and look at it.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.sources.counters
    }

    /// Ends [`EventLoop::run`] after this turn.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Watches a source for `interest`, and names it. It stays known until
    /// [`deregister`](Context::deregister) or [`close`](Context::close): a source that is dropped
    /// without either leaves its number taken.
    ///
    /// # Errors
    ///
    /// What [`Backend::register`] says.
    pub fn register<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        interest: Interest,
    ) -> io::Result<Token> {
        let registered = self.registration(Interest::NONE, interest);
        let token = self.sources.next_token()?;
        self.backend.register(source, token, registered)?;
        self.sources.insert(token, interest, registered);
        self.count_change();
        log::trace!("{token}: registered for {interest:?}");
        Ok(token)
    }

    /// Changes what is wanted of a source.
    ///
    /// On an edge-triggered backend most changes cost nothing: what was told while it was not
    /// wanted is kept, and dispatched in the next turn.
    ///
    /// # Errors
    ///
    /// `NotFound` if the token names no source; what [`Backend::reregister`] says.
    pub fn set_interest<S: Source + ?Sized>(
        &mut self,
        token: Token,
        source: &mut S,
        wanted: Interest,
    ) -> io::Result<()> {
        let watched = self.sources.expect(token)?;
        if watched.wanted == wanted {
            return Ok(());
        }
        let before = watched.registered;
        let registered = self.registration(before, wanted);
        if registered != before {
            self.backend.reregister(source, token, registered)?;
            self.count_change();
        }
        let watched = self.sources.expect(token)?;
        watched.wanted = wanted;
        watched.registered = registered;
        log::trace!("{token}: wanted {wanted:?}, registered for {registered:?}");
        let kept =
            self.sources.ready_mut(token).is_some_and(|ready| !ready.masked(wanted).is_empty());
        if kept {
            self.sources.queue(token);
        }
        Ok(())
    }

    /// Stops watching a source; its token is never told again.
    ///
    /// # Errors
    ///
    /// `NotFound` if the token names no source, or the backend does not know it.
    pub fn deregister<S: Source + ?Sized>(
        &mut self,
        token: Token,
        source: &mut S,
    ) -> io::Result<()> {
        self.sources.remove(token)?;
        self.count_change();
        log::trace!("{token}: deregistered");
        self.backend.deregister(source)
    }

    /// Stops watching a source and closes it, with [`Backend::close`] and on its condition.
    ///
    /// # Errors
    ///
    /// `NotFound` if the token names no source; the source is closed nevertheless.
    pub fn close<S: Source>(&mut self, token: Token, source: S) -> io::Result<()> {
        let known = self.sources.remove(token);
        self.counters().interest_changes.add(1);
        log::trace!("{token}: closed");
        self.backend.close(source);
        known
    }

    /// Calls `read` again and again while it says `Interrupted`, counts it, and tells the loop if
    /// it says `WouldBlock`.
    ///
    /// # Errors
    ///
    /// What `read` says.
    #[inline]
    pub fn read<T>(&mut self, token: Token, read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.sources.read(token, read)
    }

    /// As [`read`](Context::read), for a call that writes or asks how a connect went.
    ///
    /// # Errors
    ///
    /// What `write` says.
    #[inline]
    pub fn write<T>(
        &mut self,
        token: Token,
        write: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.sources.write(token, write)
    }

    /// Asks how a connect ended, when its stream is told writable, and counts it as a write. What
    /// *writable* tells is only that there is an answer.
    ///
    /// # Errors
    ///
    /// Why the connect failed; `WouldBlock` if it goes on, which tells the loop.
    ///
    /// # References
    ///
    /// [POSIX `connect`](https://pubs.opengroup.org/onlinepubs/9799919799/functions/connect.html):
    /// the outcome is in `SO_ERROR`.
    pub fn connected(&mut self, token: Token, stream: &TcpStream) -> io::Result<()> {
        self.write(token, || {
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            match stream.peer_addr() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                answer => answer.map(drop),
            }
        })
    }

    /// As [`read`](Context::read), for a listener.
    ///
    /// # Errors
    ///
    /// What `accept` says. `ConnectionAborted` concerns the one connection. Any other, such as
    /// being out of descriptors, leaves the listener ready, and the loop comes back to it at once:
    /// rest it, with [`set_interest`](Context::set_interest) to none and a timer that sets it
    /// back. [`Server`](crate::Server) does all that.
    pub fn accept<T>(
        &mut self,
        token: Token,
        accept: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.sources.accept(token, accept)
    }

    /// Tells the loop that a read from a TCP stream filled less than its buffer, and returns
    /// whether that proves the stream empty, so that the handler may stop.
    ///
    /// It proves so on levels, where what is left is told again. On edges it does where the
    /// backend [says so](Caps::short_read_drains), unless an end of input, an error or an
    /// out-of-band byte was told as well: a read stops short at each of them, and no further event
    /// would come for what stands behind.
    #[inline]
    pub fn short_read(&mut self, token: Token) -> bool {
        self.short_read_drains
            && self.sources.ready_mut(token).is_some_and(Readiness::use_up_by_short_read)
    }

    /// As [`short_read`](Context::short_read), of the source that is being dispatched.
    #[inline]
    pub(crate) fn short_read_in_hand(&mut self) -> bool {
        self.short_read_drains && self.sources.short_read_in_hand()
    }

    /// Dispatches a source in the next turn as if `readiness` had been told: for input that a
    /// handler holds in a buffer of its own, where no backend can see it.
    ///
    /// Only what is wanted of the source is dispatched.
    pub fn repost(&mut self, token: Token, readiness: Readiness) {
        if let Some(ready) = self.sources.ready_mut(token) {
            *ready |= readiness;
            self.sources.queue(token);
        }
    }

    /// Sets a timer: [`Handler::timer`] is called with `token` after `after` has passed, counted
    /// from now, not from when the turn began.
    pub fn set_timer(&mut self, after: Duration, token: Token) -> TimerId {
        let deadline = Tick::now().after(after);
        self.timers.insert(deadline, token)
    }

    /// Cancels a timer in O(1) and says whether it was still pending.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.timers.cancel(timer)
    }

    /// The loop's timers, for what the connections of a server set.
    pub(crate) fn timers(&mut self) -> &mut Timers {
        &mut self.timers
    }

    /// Timers and sources at once, for a connection that writes while it is lent the timers.
    pub(crate) fn timers_and_sources(&mut self) -> (&mut Timers, &mut Sources) {
        (&mut self.timers, &mut self.sources)
    }

    /// Dispatches a source for what it was told earlier.
    #[cold]
    fn dispatch_again<H: Handler<B>>(&mut self, handler: &mut H, token: Token) {
        self.dispatch(handler, token, Readiness::EMPTY);
    }

    /// Hands a source's readiness to the handler, unless the source is gone.
    #[inline(always)] // into the loop over a turn's events, where all requests pass
    fn dispatch<H: Handler<B>>(&mut self, handler: &mut H, token: Token, told: Readiness) {
        let keeps = self.keeps;
        let Some(watched) = self.sources.get_mut(token) else { return self.drop_stale(token) };
        watched.mark = Mark::None;
        let before = watched.ready;
        let ready = before | told;
        if !ready.intersects(watched.wanted.into()) {
            watched.ready = ready.only(keeps);
            return;
        }
        let due = ready.masked(watched.wanted);
        self.sources.take_in_hand(token, ready.only(keeps));
        handler.ready(self, token, due);
        let left = self.sources.left();
        if !(before | left).is_empty() {
            self.put_back(token, left);
        }
    }

    #[cold]
    fn drop_stale(&mut self, token: Token) {
        self.sources.counters.stale_events.add(1);
        log::trace!("{token}: an event for a source that is gone");
    }

    /// A source was not used up, or was not before: its slot has to know.
    #[inline(never)] // what it needs would be kept over every request
    fn put_back(&mut self, token: Token, left: Readiness) {
        // The handler may have removed it.
        if let Some(watched) = self.sources.get_mut(token) {
            watched.ready = left;
            if !left.masked(watched.wanted).is_empty() {
                self.sources.queue(token);
            }
        }
    }

    /// What to tell the backend of a source that is registered for `before` and of which `wanted`
    /// is wanted.
    fn registration(&self, before: Interest, wanted: Interest) -> Interest {
        match self.caps.trigger {
            Trigger::Level => wanted,
            // Not to be told of an out-of-band byte would make a short read a lie.
            Trigger::Edge if wanted.is_readable() && self.caps.short_read_drains => {
                before | wanted | Interest::PRIORITY
            }
            Trigger::Edge => before | wanted,
        }
    }

    fn count_change(&self) {
        self.sources.counters.interest_changes.add(1);
        self.sources.counters.other_calls.add(u64::from(self.caps.kernel_set));
    }
}
