//! What a handler may ask of its loop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;

use crate::event_loop::Handler;
use crate::sources::{Mark, Sources};
use crate::timers::{TimerId, Timers};
use crate::{Backend, Caps, Counters, Interest, Readiness, Source, Tick, Token, Trigger};

/// What a [`Handler`] may ask of its loop.
///
/// The loop holds two bits a direction for each source: *wanted*, what the handler asks for, and
/// *ready*, what it was told and has not used up. An event sets *ready*, a call that says
/// `WouldBlock` clears it, and a source that is both is dispatched.
#[derive(Debug)]
pub struct Context<B> {
    pub(crate) backend: B,
    caps: Caps,
    /// What is kept of a readiness until it is used up: all of it on edges; nothing on levels,
    /// which are told again for as long as they last.
    keeps: Readiness,
    /// What was told after which a short read does not end reading: anything, where it never
    /// does. On levels it may always, since what is left is told again.
    stops: Readiness,
    pub(crate) sources: Sources,
    pub(crate) timers: Timers,
    pub(crate) now: Tick,
    pub(crate) stopped: bool,
}

impl<B: Backend> Context<B> {
    pub(crate) fn new(backend: B) -> Context<B> {
        let caps = backend.caps();
        let level = caps.trigger == Trigger::Level;
        Context {
            backend,
            caps,
            keeps: if level { Readiness::EMPTY } else { Readiness::ALL },
            stops: match caps.trigger {
                Trigger::Level => Readiness::EMPTY,
                Trigger::Edge if caps.short_read_drains => Readiness::STOPS,
                Trigger::Edge => Readiness::ALL,
            },
            sources: Sources::new(),
            timers: Timers::new(),
            now: Tick::now(),
            stopped: false,
        }
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

    /// Ends [`EventLoop::run`](crate::EventLoop::run) after this turn.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Watches a source for `interest`, and names it. It stays known until
    /// [`deregister`](Context::deregister) or [`close`](Context::close): a source that is dropped
    /// without either leaves its number taken.
    ///
    /// # Errors
    ///
    /// What [`Backend::register`] says; `OutOfMemory` if the loop has no [token](Token) left.
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
        // The source in hand is put back with whatever is left when its handler returns.
        if kept && !self.sources.is_in_hand(token) {
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
    /// it says `WouldBlock`. Of a call that says something else instead, as `recv` with `MSG_OOB`
    /// does, [`clear_ready`](Context::clear_ready) tells it.
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
    /// Why the connect failed; `WouldBlock` if it goes on, which tells the loop; `NotConnected` if
    /// it is over and the reason has been asked for before. A connection that was made and cut
    /// since counts as made as long as it has something to read.
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
            let not_connected = |error: &io::Error| error.kind() == io::ErrorKind::NotConnected;
            match stream.peer_addr() {
                // It has no peer yet, or no longer: then it can be read, and nothing else would
                // ever be told.
                Err(gone) if not_connected(&gone) => match stream.peek(&mut [0]) {
                    Ok(0) => Err(gone),
                    Err(error) if not_connected(&error) => Err(io::ErrorKind::WouldBlock.into()),
                    answer => answer.map(drop),
                },
                answer => answer.map(drop),
            }
        })
    }

    /// As [`read`](Context::read), for a listener.
    ///
    /// # Errors
    ///
    /// What `accept` says. Some [concern the one connection](crate::concerns_one_connection). Any
    /// other, such as being out of descriptors, leaves the listener ready, and the loop comes back
    /// to it at once: rest it, with [`set_interest`](Context::set_interest) to none and a timer that
    /// sets it back. [`Server`](crate::Server) does all that.
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
        let stops = self.stops;
        self.sources.ready_mut(token).is_some_and(|ready| ready.use_up_by_short_read(stops))
    }

    /// As [`short_read`](Context::short_read), of the source that is being dispatched.
    #[inline]
    pub(crate) fn short_read_in_hand(&mut self) -> bool {
        self.sources.short_read_in_hand(self.stops)
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
    ///
    /// # Panics
    ///
    /// With 2^24 timers pending on the loop.
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

    /// Says that a source is not ready any more, where no call says `WouldBlock`: an out-of-band
    /// byte was read, of which there is one; a counter was reset. Else an edge-triggered loop
    /// dispatches the source again and again.
    ///
    /// Whatever comes from here on is told. What has come already and was not used up may not be.
    pub fn clear_ready(&mut self, token: Token, readiness: Readiness) {
        self.sources.used_up(token, readiness);
    }

    /// Timers and sources at once, for a connection that writes while it is lent the timers.
    pub(crate) fn timers_and_sources(&mut self) -> (&mut Timers, &mut Sources) {
        (&mut self.timers, &mut self.sources)
    }

    /// Dispatches a source for what it was told earlier.
    #[cold]
    pub(crate) fn dispatch_again<H: Handler<B>>(&mut self, handler: &mut H, token: Token) {
        self.dispatch(handler, token, Readiness::EMPTY);
    }

    /// Hands a source's readiness to the handler, unless the source is gone.
    #[inline(always)] // into the loop over a turn's events, where all requests pass
    pub(crate) fn dispatch<H: Handler<B>>(
        &mut self,
        handler: &mut H,
        token: Token,
        told: Readiness,
    ) {
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
