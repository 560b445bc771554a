//! The loop: turns, timeouts and dispatch.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use crate::mailbox::{Mailbox, Sender};
use crate::stopwatch::Stopwatch;
use crate::{Backend, Context, Counters, Events, Readiness, TimerId, Token};

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
    stopwatch: Stopwatch,
    mailbox: Mailbox<M>,
    inbox: Vec<M>,
    in_hand: Vec<Token>,
    due: Vec<TimerId>,
}

impl<B: Backend, M: Send + 'static> EventLoop<B, M> {
    /// How many events a turn takes at most.
    const EVENTS: usize = 1024;

    /// Makes a loop that waits with `backend`.
    #[must_use]
    pub fn new(backend: B) -> EventLoop<B, M> {
        let mailbox = Mailbox::new(backend.waker());
        EventLoop {
            context: Context::new(backend),
            events: Events::with_capacity(EventLoop::<B, M>::EVENTS),
            stopwatch: Stopwatch::default(),
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

    /// What the loop counts. Any thread may keep a copy and look at it.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        self.context.counters()
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
        let mut turned = Ok(());
        while turned.is_ok() && !self.context.stopped {
            turned = self.turn(handler, None);
        }
        self.stopwatch.stop(self.context.counters());
        turned
    }

    /// Turns once, and waits for `limit` at most if there is nothing to do.
    ///
    /// What passes between two calls is counted as handling: nobody is served meanwhile.
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
        let (began, slow) = self.stopwatch.wait(context.counters());
        if let Some(handling) = slow {
            match self.events.iter().next() {
                Some(event) => log::warn!(
                    "the loop stood still for {handling:.0?} in a turn with {} events, first {}",
                    self.events.len(),
                    event.token,
                ),
                None => log::warn!(
                    "the loop stood still for {handling:.0?} in a turn of messages, timers or what \
                     was left of earlier events",
                ),
            }
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

        context.now = self.stopwatch.handle(began, &context.sources.counters);
        let counters = &context.sources.counters;
        let further_calls = context.backend.further_calls();
        if further_calls > 0 {
            counters.other_calls.add(further_calls);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MioBackend, Tick};

    /// Stops the loop at its first timer, which takes a moment.
    struct Once;

    impl Handler<MioBackend> for Once {
        type Message = ();

        fn ready(&mut self, _: &mut Context<MioBackend>, _: Token, _: Readiness) {}

        fn timer(&mut self, context: &mut Context<MioBackend>, _: Token, _: TimerId) {
            // Takes as long as every clock can tell.
            let began = Tick::now();
            while Tick::now() == began {}
            context.stop();
        }
    }

    #[test]
    fn the_time_between_two_runs_is_not_a_handlers() {
        let mut event_loop = EventLoop::new(MioBackend::new().unwrap());
        let mut run = || {
            event_loop.context().set_timer(Duration::ZERO, Token::new(0, 0));
            event_loop.run(&mut Once).unwrap();
            event_loop.counters().snapshot()
        };
        let first = run();
        assert_ne!(first.handling_ns, 0, "the turn that stopped it is");
        let pause = Duration::from_millis(50);
        std::thread::sleep(pause);
        let began = Tick::now();
        let second = run();
        // The second run handled for no longer than it took.
        let handled = Duration::from_nanos(second.handling_ns - first.handling_ns);
        assert!(handled <= Tick::now().since(began), "{first:?}, {second:?}");
    }
}
