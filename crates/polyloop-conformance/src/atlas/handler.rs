//! What a handler is told on a loop of some backend.

use std::io;
use std::time::{Duration, Instant};

use polyloop::{Backend, EventLoop, Interest, RawSource, Readiness, Source, Token};
use polyloop_models::{BackendKind, UseBackend};
use rustix::fd::{AsRawFd, BorrowedFd};

use super::scenario::Play;
use super::stage::{Moment, Stage, Watcher};
use super::Answer;
use crate::script::{turn, Call};

/// Whether a backend can be opened here.
pub(super) fn probe(backend: BackendKind) -> io::Result<()> {
    backend.with(Probe)
}

struct Probe;

impl UseBackend for Probe {
    type Output = io::Result<()>;

    fn run<B: Backend + Send + 'static>(self, open: fn() -> io::Result<B>) -> io::Result<()> {
        open().map(drop)
    }
}

/// Plays a scenario in front of a handler.
pub(super) fn play(backend: BackendKind, play: Play) -> io::Result<Vec<Moment>> {
    backend.with(Player(play))
}

struct Player(Play);

impl UseBackend for Player {
    type Output = io::Result<Vec<Moment>>;

    fn run<B: Backend + Send + 'static>(self, open: fn() -> io::Result<B>) -> Self::Output {
        let mut handler = OnLoop { event_loop: EventLoop::new(open()?), tokens: Vec::new() };
        Stage::play(&mut handler, self.0)
    }
}

struct OnLoop<B> {
    event_loop: EventLoop<B, ()>,
    tokens: Vec<(RawSource, Token)>,
}

impl<B: Backend> OnLoop<B> {
    fn token(&self, source: RawSource) -> io::Result<Token> {
        let found = self.tokens.iter().find(|&&(known, _)| known == source);
        found.map(|&(_, token)| token).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl<B: Backend> Watcher for OnLoop<B> {
    fn watch(&mut self, source: &mut dyn Source, asked: Interest) -> Result<(), Answer> {
        let token = self.event_loop.context().register(source, asked).map_err(refusal)?;
        self.tokens.push((source.raw(), token));
        Ok(())
    }

    fn change(&mut self, source: &mut dyn Source, asked: Interest) -> Result<(), Answer> {
        let token = self.token(source.raw()).map_err(refusal)?;
        self.event_loop.context().set_interest(token, source, asked).map_err(refusal)
    }

    fn look(&mut self, source: BorrowedFd<'_>, limit: Duration) -> io::Result<Answer> {
        let token = self.token(source.as_raw_fd())?;
        let begun = Instant::now();
        let mut told = Readiness::EMPTY;
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            turn(&mut self.event_loop, Some(left), |_, call| {
                if let Call::Ready(who, readiness) = call {
                    if who == token {
                        told |= readiness;
                    }
                }
            });
            if !told.is_empty() || left.is_zero() {
                return Ok(Answer::Told(words(told)));
            }
        }
    }

    fn input(
        &mut self,
        source: RawSource,
        enough: Option<usize>,
        call: &mut dyn FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let token = self.token(source)?;
        let context = self.event_loop.context();
        let done = context.read(token, call)?;
        if enough.is_some_and(|enough| done < enough) {
            context.short_read(token);
        }
        Ok(done)
    }

    fn output(
        &mut self,
        source: RawSource,
        call: &mut dyn FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let token = self.token(source)?;
        self.event_loop.context().write(token, call)
    }
}

fn words(readiness: Readiness) -> Vec<&'static str> {
    const NAMES: [(Readiness, &str); 5] = [
        (Readiness::READABLE, "readable"),
        (Readiness::WRITABLE, "writable"),
        (Readiness::PRIORITY, "priority"),
        (Readiness::HANGUP, "hangup"),
        (Readiness::ERROR, "error"),
    ];
    NAMES.iter().filter(|(bit, _)| readiness.contains(*bit)).map(|&(_, name)| name).collect()
}

fn refusal(error: io::Error) -> Answer {
    Answer::Refused { refused: format!("{:?}", error.kind()) }
}
