//! The backend on mio: edge-triggered epoll, kqueue, or AFD on Windows.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Backend, Caps, Event, Events, Interest, Readiness, Registrations, Source, Token, Trigger,
    Waker, LONGEST_WAIT,
};

/// mio has been told to emulate itself on poll(2).
const FORCED_POLL: bool = cfg!(mio_unsupported_force_poll_poll);

/// Where mio knows priority data; and is on epoll, unless it is forced off it.
const LINUX: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Where mio is on kqueue, unless it is forced off it.
const KQUEUE: bool = cfg!(any(
    target_vendor = "apple",
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
));

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
    /// What did not fit. Only mio's own poll(2) tells more than it was given room for.
    left_over: VecDeque<Event>,
    /// mio knows no empty interest: a source of interest none is here and not there.
    watched: Registrations,
    waker: Arc<mio::Waker>,
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
            left_over: VecDeque::new(),
            watched: Registrations::new(),
            waker,
        })
    }
}

impl MioBackend {
    /// Hands on what was left over, but for what is not asked for any more.
    fn hand_on(&mut self, events: &mut Events) {
        let watched = &mut self.watched;
        let still = |event: Event| {
            let readiness = event.readiness.masked(watched.asked(event.token));
            (!readiness.is_empty()).then_some(Event { readiness, ..event })
        };
        let count = self.left_over.len().min(events.capacity());
        events.fill(self.left_over.drain(..count).filter_map(still));
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
            hangup: true,
            kernel_set: true,
            regular_files: FORCED_POLL || KQUEUE,
            limit: None,
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
        self.watched.insert(raw, token, interest);
        Ok(())
    }

    fn reregister<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let raw = source.raw();
        let before = self.watched.interest(raw)?;
        let registry = self.poll.registry();
        let name = mio::Token(token.into());
        match (to_mio(before), to_mio(interest)) {
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
        self.watched.replace(raw, token, interest)
    }

    fn deregister<S: Source + ?Sized>(&mut self, source: &mut S) -> io::Result<()> {
        let interest = self.watched.remove(source.raw())?;
        if to_mio(interest).is_some() {
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
        let _ = self.watched.remove(source.raw());
        drop(source);
    }

    #[inline(never)] // its loop needs all registers, which it does not get inside of another one
    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        if FORCED_POLL && !self.left_over.is_empty() {
            self.hand_on(events);
            return Ok(());
        }
        if self.told.capacity() != events.capacity() {
            // An event that did not fit would be lost: the kernel does not repeat an edge.
            self.told = mio::Events::with_capacity(events.capacity());
        }
        // The first versions of mio 1 let a longer wait wrap around.
        let timeout = timeout.map(|timeout| timeout.min(LONGEST_WAIT));
        match self.poll.poll(&mut self.told, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        let watched = &mut self.watched;
        let told = self.told.iter().filter_map(|event| from_mio(event, watched));
        if FORCED_POLL {
            self.left_over.extend(told);
            self.hand_on(events);
        } else {
            events.fill(told);
        }
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

/// What an event of mio's tells; `None` for the waker's, and if it tells nothing that was asked.
#[inline]
fn from_mio(event: &mio::event::Event, watched: &mut Registrations) -> Option<Event> {
    if event.token() == WAKER {
        return None;
    }
    let token = Token::from(event.token().0);
    let mut readiness = pick(event.is_readable(), Readiness::READABLE)
        | pick(event.is_writable(), Readiness::WRITABLE);
    // Asked at once, since mostly it is none of them. A closed writing side is told as writable,
    // or as an error or a hang-up.
    let hinted = event.is_error() | event.is_read_closed() | event.is_priority();
    if hinted || event.is_writable() && event.is_write_closed() {
        readiness = with_hints(readiness, event, watched);
    }
    (!readiness.is_empty()).then_some(Event { token, readiness })
}

#[cold]
#[inline(never)]
fn with_hints(
    told: Readiness,
    event: &mio::event::Event,
    watched: &mut Registrations,
) -> Readiness {
    let told = told
        | pick(event.is_write_closed(), Readiness::WRITABLE)
        | pick(event.is_priority(), Readiness::PRIORITY)
        | pick(event.is_read_closed(), Readiness::HANGUP)
        | pick(event.is_error(), Readiness::ERROR);
    told.folded(watched.asked(Token::from(event.token().0)))
}

fn pick(is: bool, readiness: Readiness) -> Readiness {
    if is {
        readiness
    } else {
        Readiness::EMPTY
    }
}

/// Says what to do about a source that the system's mechanism can't watch.
fn refusal(error: io::Error) -> io::Error {
    let (mechanism, unwatchable) = match error.kind() {
        // epoll answers EPERM for a regular file or a directory.
        io::ErrorKind::PermissionDenied if LINUX => ("epoll", "a regular file or a directory"),
        // kqueue answers EINVAL for what it has no filter for.
        io::ErrorKind::InvalidInput if KQUEUE => ("kqueue", "this kind of file"),
        // And ENODEV, 19 on all its systems, for a device that it knows nothing of.
        _ if KQUEUE && error.raw_os_error() == Some(19) => ("kqueue", "this device"),
        _ => return error,
    };
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("mio: {mechanism} can't watch {unwatchable}, the poll backend may ({error})"),
    )
}
