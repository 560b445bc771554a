//! What the loop knows of each source: what is wanted of it, and what it is ready for.

use std::io;
use std::sync::Arc;

use slab::Slab;

use crate::{Counters, Interest, Readiness, Token};

/// All sources of a loop, and those that are to be dispatched again.
#[derive(Debug)]
pub(crate) struct Sources {
    slots: Slab<Watched>,
    /// The generation of the next token: one count for all slots, so that no slot has to remember.
    generation: u32,
    pub(crate) reposts: Vec<Token>,
    /// What a source carries that is in `reposts`.
    pub(crate) mark: Mark,
    pub(crate) counters: Arc<Counters>,
    /// The source that is being dispatched, and what it is still ready for: while it is in hand,
    /// this stands for what its slot says, so that a request looks its slot up once.
    in_hand: Token,
    left: Readiness,
}

#[derive(Debug)]
pub(crate) struct Watched {
    generation: u32,
    pub(crate) wanted: Interest,
    /// What the backend was told. On levels it is what is wanted; on edges it only grows, since
    /// a readiness that is not wanted yet is kept.
    pub(crate) registered: Interest,
    pub(crate) ready: Readiness,
    pub(crate) mark: Mark,
}

/// Whether a source is on a repost queue, and on which: this turn's or the next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    None,
    Odd,
    Even,
}

impl Mark {
    pub(crate) fn other(self) -> Mark {
        if self == Mark::Odd {
            Mark::Even
        } else {
            Mark::Odd
        }
    }
}

impl Sources {
    pub(crate) fn new() -> Sources {
        Sources {
            slots: Slab::new(),
            generation: 0,
            reposts: Vec::new(),
            mark: Mark::Odd,
            counters: Arc::default(),
            in_hand: Token::NOBODY,
            left: Readiness::EMPTY,
        }
    }

    /// The token that the next [`insert`](Sources::insert) gives out.
    pub(crate) fn next_token(&self) -> io::Result<Token> {
        let index = self.slots.vacant_key();
        if index > Token::MAX_INDEX {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "the loop is out of tokens"));
        }
        Ok(Token::new(index, self.generation))
    }

    pub(crate) fn insert(&mut self, token: Token, wanted: Interest, registered: Interest) {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.slots.insert(Watched {
            generation: token.generation(),
            wanted,
            registered,
            ready: Readiness::EMPTY,
            mark: Mark::None,
        });
        debug_assert_eq!(slot, token.index(), "the token was the next one");
    }

    /// The source, unless its slot has no or another tenant.
    ///
    /// # Errors
    ///
    /// `NotFound`.
    pub(crate) fn expect(&mut self, token: Token) -> io::Result<&mut Watched> {
        self.get_mut(token).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("{token} names no source"))
        })
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut Watched> {
        self.slots.get_mut(token.index()).filter(|watched| watched.generation == token.generation())
    }

    pub(crate) fn remove(&mut self, token: Token) -> io::Result<()> {
        self.expect(token)?;
        self.slots.remove(token.index());
        Ok(())
    }

    /// Puts a source on the next repost queue, unless it is on one.
    pub(crate) fn queue(&mut self, token: Token) {
        let mark = self.mark;
        if let Some(watched) = self.get_mut(token) {
            if watched.mark == Mark::None {
                watched.mark = mark;
                self.reposts.push(token);
            }
        }
    }

    /// Begins the dispatch of a source that is ready for `ready`.
    #[inline]
    pub(crate) fn take_in_hand(&mut self, token: Token, ready: Readiness) {
        self.in_hand = token;
        self.left = ready;
    }

    /// What the source in hand is still ready for.
    #[inline]
    pub(crate) fn left(&self) -> Readiness {
        self.left
    }

    pub(crate) fn is_in_hand(&self, token: Token) -> bool {
        token == self.in_hand
    }

    /// No source is in hand any more.
    pub(crate) fn let_go(&mut self) {
        self.in_hand = Token::NOBODY;
    }

    #[inline]
    pub(crate) fn short_read_in_hand(&mut self, stops: Readiness) -> bool {
        self.left.use_up_by_short_read(stops)
    }

    /// What a source is ready for.
    #[inline]
    pub(crate) fn ready_mut(&mut self, token: Token) -> Option<&mut Readiness> {
        if self.is_in_hand(token) {
            return Some(&mut self.left);
        }
        self.get_mut(token).map(|watched| &mut watched.ready)
    }

    #[inline]
    pub(crate) fn used_up(&mut self, token: Token, directions: Readiness) {
        if let Some(ready) = self.ready_mut(token) {
            *ready = ready.without(directions);
        }
    }

    #[inline]
    pub(crate) fn read<T>(
        &mut self,
        token: Token,
        read: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.counters.reads.add(1);
        self.attempt(token, Readiness::READABLE | Readiness::PRIORITY, read)
    }

    #[inline]
    pub(crate) fn write<T>(
        &mut self,
        token: Token,
        write: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.counters.writes.add(1);
        self.attempt(token, Readiness::WRITABLE, write)
    }

    pub(crate) fn accept<T>(
        &mut self,
        token: Token,
        accept: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.counters.accepts.add(1);
        self.attempt(token, Readiness::READABLE, accept)
    }

    #[inline]
    fn attempt<T>(
        &mut self,
        token: Token,
        direction: Readiness,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match call() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.would_block(token, direction);
                    return Err(error);
                }
                done => return done,
            }
        }
    }

    #[cold]
    #[inline(never)] // what it needs would be kept over every call
    fn would_block(&mut self, token: Token, direction: Readiness) {
        self.counters.would_blocks.add(1);
        self.used_up(token, direction);
    }
}
