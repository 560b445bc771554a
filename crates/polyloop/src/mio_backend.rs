//! The backend on mio: edge-triggered epoll, kqueue, or AFD on Windows.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Backend, Caps, Events, Interest, Readiness, Source, Table, Token, TokenMap, Trigger, Waker,
};

/// mio has been told to emulate itself on poll(2).
const FORCED_POLL: bool = cfg!(mio_unsupported_force_poll_poll);

/// Where mio knows priority data; and is on epoll, unless it is forced off it.
const LINUX: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// mio's own name for the waker; the loop never makes this token.
const WAKER: mio::Token = mio::Token(usize::MAX);

/// mio's [`Poll`](mio::Poll) as a [`Backend`].
///
/// # Portability
///
/// Edge-triggered everywhere: epoll on Linux, kqueue on macOS and the BSDs, AFD on Windows. On
/// Windows `poll` may return early and empty, and a socket is told again only after a read or
/// write said `WouldBlock`; the loop lives with both.
#[derive(Debug)]
pub struct MioBackend {
    poll: mio::Poll,
    told: mio::Events,
    /// How many of `told` were handed on when no more fitted, zero if all were. Only mio's own
    /// poll(2) tells more than it was given room for.
    handed_on: usize,
    watched: Table<Watched>,
    /// What was asked of each token, to mask hang-ups and errors, which kernels tell unasked.
    asked: TokenMap<Interest>,
    waker: Arc<mio::Waker>,
}

#[derive(Debug)]
struct Watched {
    token: Token,
    /// mio knows no empty interest: a source of interest none is here and not there.
    interest: Interest,
}

impl MioBackend {
    /// Opens a poll and its waker.
    ///
    /// # Errors
    ///
    /// What the system says, for instance that there are no descriptors left.
    pub fn new() -> io::Result<MioBackend> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
        let told = mio::Events::with_capacity(1);
        Ok(MioBackend {
            poll,
            told,
            handed_on: 0,
            watched: Table::new(),
            asked: TokenMap::new(),
            waker,
        })
    }
}

impl Backend for MioBackend {
    fn name(&self) -> &'static str {
        "mio"
    }

    fn caps(&self) -> Caps {
        Caps {
            trigger: Trigger::Edge,
            short_read_drains: LINUX && !FORCED_POLL,
            priority: LINUX,
            kernel_set: true,
            regular_files: FORCED_POLL,
        }
    }

    fn register<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let raw = source.raw();
        self.watched.expect_vacant(raw)?;
        if let Some(asked) = to_mio(interest) {
            let token = mio::Token(token.into());
            self.poll.registry().register(source, token, asked).map_err(refusal)?;
        }
        self.watched.insert(raw, Watched { token, interest });
        self.asked.insert(token, interest);
        Ok(())
    }

    fn reregister<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let watched = self.watched.get_mut(source.raw())?;
        let registry = self.poll.registry();
        let name = mio::Token(token.into());
        match (to_mio(watched.interest), to_mio(interest)) {
            (Some(_), Some(asked)) => match registry.reregister(source, name, asked) {
                // mio's own poll(2) drops a source of which it told a hang-up or an error.
                Err(error) if FORCED_POLL && error.kind() == io::ErrorKind::NotFound => {
                    let _ = registry.deregister(source);
                    registry.register(source, name, asked)?;
                }
                done => done?,
            },
            (Some(_), None) => match registry.deregister(source) {
                Err(error) if FORCED_POLL && error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            },
            (None, Some(asked)) => registry.register(source, name, asked).map_err(refusal)?,
            (None, None) => {}
        }
        self.asked.remove(watched.token);
        self.asked.insert(token, interest);
        *watched = Watched { token, interest };
        Ok(())
    }

    fn deregister<S: Source + ?Sized>(&mut self, source: &mut S) -> io::Result<()> {
        let watched = self.watched.remove(source.raw())?;
        self.asked.remove(watched.token);
        if to_mio(watched.interest).is_some() {
            if let Err(error) = self.poll.registry().deregister(source) {
                // The number came back as another source: the kernel forgot the one that was
                // registered when it was closed, and the table has just done so too.
                log::debug!(
                    "mio: source {} was closed before it was deregistered: {error}",
                    source.raw()
                );
            }
        }
        Ok(())
    }

    fn close<S: Source>(&mut self, source: S) {
        // Closing the last descriptor of a file takes it out of epoll and kqueue, and of mio's
        // Windows selector when the socket is dropped.
        if let Ok(watched) = self.watched.remove(source.raw()) {
            self.asked.remove(watched.token);
        }
        drop(source);
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let leftover = FORCED_POLL && self.handed_on > 0;
        if !leftover {
            if self.told.capacity() != events.capacity() {
                // An event that did not fit would be lost: the kernel does not repeat an edge.
                self.told = mio::Events::with_capacity(events.capacity());
            }
            match self.poll.poll(&mut self.told, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        for (position, event) in
            self.told.iter().enumerate().skip(if leftover { self.handed_on } else { 0 })
        {
            if event.token() == WAKER {
                continue;
            }
            if FORCED_POLL && events.is_full() {
                self.handed_on = position;
                return Ok(());
            }
            let token = Token::from(event.token().0);
            let readiness = match from_mio(event) {
                // Who was left over may be gone by now.
                Told::Plain(readiness) if !leftover => readiness,
                Told::Plain(readiness) => {
                    self.asked.get_mut(token).map_or(Readiness::EMPTY, |a| readiness.masked(*a))
                }
                Told::Hinted(readiness) => {
                    let asked = self.asked.get_mut(token).map_or(Interest::NONE, |asked| *asked);
                    readiness.folded(asked)
                }
            };
            if !readiness.is_empty() {
                events.push(token, readiness);
            }
        }
        self.handed_on = 0;
        Ok(())
    }

    fn waker(&self) -> Waker {
        let waker = Arc::clone(&self.waker);
        Waker::new(move || waker.wake())
    }
}

/// `None` for [`Interest::NONE`], and for priority data where mio can't watch for it alone.
fn to_mio(interest: Interest) -> Option<mio::Interest> {
    let mut asked = None;
    let mut add = |more: mio::Interest| asked = Some(asked.map_or(more, |so_far| so_far | more));
    if interest.is_readable() {
        add(mio::Interest::READABLE);
    }
    if interest.is_writable() {
        add(mio::Interest::WRITABLE);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if interest.is_priority() {
        add(mio::Interest::PRIORITY);
    }
    asked
}

/// What an event tells: with hints or, mostly, without.
enum Told {
    Plain(Readiness),
    Hinted(Readiness),
}

#[inline]
fn from_mio(event: &mio::event::Event) -> Told {
    let pick = |is: bool, readiness: Readiness| if is { readiness } else { Readiness::EMPTY };
    let told = pick(event.is_readable(), Readiness::READABLE)
        | pick(event.is_writable(), Readiness::WRITABLE);
    // Asked at once, since mostly it is none of them. A closed writing side is told as writable,
    // or as an error or a hang-up.
    let hinted = event.is_error() | event.is_read_closed() | event.is_priority();
    if !(hinted || event.is_writable() && event.is_write_closed()) {
        return Told::Plain(told);
    }
    Told::Hinted(
        told | pick(event.is_write_closed(), Readiness::WRITABLE)
            | pick(event.is_priority(), Readiness::PRIORITY)
            | pick(event.is_read_closed(), Readiness::HANGUP)
            | pick(event.is_error(), Readiness::ERROR),
    )
}

/// Says what to do about a source that the system's mechanism can't watch.
fn refusal(error: io::Error) -> io::Error {
    // epoll answers EPERM for a regular file or a directory, kqueue EINVAL or ENODEV.
    if error.kind() == io::ErrorKind::PermissionDenied {
        return io::Error::new(
            io::ErrorKind::Unsupported,
            format!("mio: epoll can't watch a regular file or a directory, poll and select can ({error})"),
        );
    }
    error
}
