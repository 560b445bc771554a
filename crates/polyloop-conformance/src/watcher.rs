//! A backend and what was asked of it, so that whatever it tells can be checked.

use std::time::{Duration, Instant};

use polyloop::{Backend, Event, Events, Interest, Readiness, Source, Token, TokenMap};

use crate::sockets::{pair, send};
use crate::Make;

/// A backend under test: every event that it tells is held against what was asked.
pub(crate) struct Watcher<B> {
    pub(crate) backend: B,
    events: Events,
    asked: TokenMap<Interest>,
    next: usize,
}

impl<B: Backend> Watcher<B> {
    pub(crate) fn new(make: Make<B>) -> Watcher<B> {
        Watcher::with_capacity(make, 256)
    }

    /// One that is handed room for `capacity` events a poll.
    pub(crate) fn with_capacity(make: Make<B>, capacity: usize) -> Watcher<B> {
        Watcher {
            backend: make().expect("the backend opens"),
            events: Events::with_capacity(capacity),
            asked: TokenMap::new(),
            next: 0,
        }
    }

    pub(crate) fn register<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        interest: Interest,
    ) -> Token {
        let token = self.token();
        self.backend.register(source, token, interest).expect("a new source is registered");
        self.asked.insert(token, interest);
        token
    }

    /// A name that nobody had before.
    pub(crate) fn token(&mut self) -> Token {
        self.next += 1;
        Token::new(self.next, 7)
    }

    pub(crate) fn reregister<S: Source + ?Sized>(
        &mut self,
        token: Token,
        source: &mut S,
        interest: Interest,
    ) {
        self.backend.reregister(source, token, interest).expect("a known source is reregistered");
        self.asked.insert(token, interest);
    }

    pub(crate) fn deregister<S: Source + ?Sized>(&mut self, token: Token, source: &mut S) {
        self.backend.deregister(source).expect("a known source is deregistered");
        self.forget(token);
    }

    /// From now on an event for `token` is a violation.
    pub(crate) fn forget(&mut self, token: Token) {
        self.asked.remove(token).expect("the scenario knows its tokens");
    }

    /// Polls once and checks each event: none is empty, none tells what was not asked, none is for
    /// a token that is gone.
    pub(crate) fn poll(&mut self, timeout: Option<Duration>) -> Vec<Event> {
        self.backend.poll(&mut self.events, timeout).expect("poll does not fail");
        for &Event { token, readiness } in self.events.iter() {
            let Some(asked) = self.asked.get_mut(token) else {
                panic!("contract 7: {readiness:?} told of {token}, which is not registered");
            };
            let hints = Readiness::HANGUP | Readiness::ERROR;
            let told = readiness.without(hints);
            assert!(
                !told.is_empty(),
                "contract 4: an event of {token} without a direction: {readiness:?}"
            );
            assert!(
                self.backend.caps().hangup || !readiness.is_hangup(),
                "caps: {token} was told a hang-up, which is not declared"
            );
            assert!(
                Readiness::from(*asked).contains(told),
                "contract 4: {token} was asked for {asked:?} and told {readiness:?}"
            );
        }
        self.events.to_vec()
    }

    /// Polls, without a limit, until all of `readiness` was told of `token`, and returns what was.
    pub(crate) fn expect(&mut self, token: Token, readiness: Readiness) -> Readiness {
        let mut told = Readiness::EMPTY;
        while !told.contains(readiness) {
            for event in self.poll(None) {
                if event.token == token {
                    told |= event.readiness;
                }
            }
        }
        told
    }

    /// Polls until something else is told, and panics if `token` is as well.
    ///
    /// Another connection gets a byte meanwhile. Once that is told, whatever the scenario did
    /// before would have been.
    pub(crate) fn expect_silence(&mut self, token: Token, why: &str) {
        let (mut probe, mut peer) = pair();
        let probed = self.register(&mut probe, Interest::READABLE);
        send(&mut peer, b".");
        let mut seen = false;
        let mut last = false;
        while !last {
            // Once more after the probe, for a backend that tells only some at a time.
            last = seen;
            for event in self.poll(if last { Some(Duration::ZERO) } else { None }) {
                assert!(event.token != token, "{why}: {token} was told {:?}", event.readiness);
                seen |= event.token == probed;
            }
        }
        self.deregister(probed, &mut probe);
    }

    /// Polls with nothing to tell until `time` has passed, and returns how often it had to.
    pub(crate) fn idle_polls(&mut self, time: Duration) -> u32 {
        let start = Instant::now();
        let mut polls = 0;
        while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
            let told = self.poll(Some(left));
            assert!(told.is_empty(), "nothing happened, and this was told: {told:?}");
            polls += 1;
        }
        polls
    }
}
