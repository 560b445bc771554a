//! The backend on epoll.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

use polyloop::{
    Backend, BorrowedSource, Caps, Event, Events, Interest, Readiness, Registrations, Source,
    Token, Trigger, Waker, LONGEST_WAIT,
};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::Timespec;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::wake::WakeUp;

/// epoll as a [`Backend`]: the kernel keeps the set, and a wait costs time in proportion to what is
/// ready.
///
/// Level-triggered, a source is told for as long as it is ready, and writable interest has to come
/// and go. Edge-triggered, it is told when something happens to it. One flag of the kernel's is all
/// that the two differ in here; what a handler makes of it is the loop's affair.
///
/// # Portability
///
/// Linux 2.6.27 and later. A timeout is rounded up to a millisecond: the call that waits exactly,
/// `epoll_pwait2`, came with 5.11, and sandboxes kill who makes a call that they do not know. A
/// descriptor that has been duplicated stays in the kernel's set when it is closed without
/// `deregister`; see [`Backend::close`].
///
/// # References
///
/// [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html),
/// [epoll_ctl(2)](https://man7.org/linux/man-pages/man2/epoll_ctl.2.html),
/// [eventfd(2)](https://man7.org/linux/man-pages/man2/eventfd.2.html).
#[derive(Debug)]
pub struct EpollBackend {
    epoll: OwnedFd,
    trigger: Trigger,
    /// The kernel tells hang-ups unasked: a source of interest none is here and not there.
    watched: Registrations,
    wake_up: WakeUp,
}

/// The waker's name in the kernel's set; a loop never makes this token.
const WAKER: u64 = u64::MAX;

/// How many events one call brings at most; further ones come with the next.
const EVENTS: usize = 1024;

impl EpollBackend {
    /// Opens a set and its waker.
    ///
    /// # Errors
    ///
    /// What the system says, for instance that there are no descriptors left.
    pub fn new(trigger: Trigger) -> io::Result<EpollBackend> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake_up = WakeUp::new()?;
        // On an edge whatever the trigger is.
        epoll::add(&epoll, &wake_up, EventData::new_u64(WAKER), EventFlags::IN | EventFlags::ET)?;
        Ok(EpollBackend { epoll, trigger, watched: Registrations::new(), wake_up })
    }

    fn flags(&self, interest: Interest) -> EventFlags {
        let mut flags = EventFlags::empty();
        if interest.is_readable() {
            flags |= EventFlags::IN | EventFlags::RDHUP;
        }
        if interest.is_writable() {
            flags |= EventFlags::OUT;
        }
        if interest.is_priority() {
            flags |= EventFlags::PRI;
        }
        if self.trigger == Trigger::Edge {
            flags |= EventFlags::ET;
        }
        flags
    }

    fn add(
        &self,
        source: BorrowedSource<'_>,
        token: Token,
        interest: Interest,
    ) -> Result<(), Errno> {
        epoll::add(&self.epoll, source, name(token), self.flags(interest))
    }
}

impl Backend for EpollBackend {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn caps(&self) -> Caps {
        Caps {
            trigger: self.trigger,
            short_read_drains: true,
            priority: true,
            hangup: true,
            kernel_set: true,
            regular_files: false,
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
        if !interest.is_none() {
            self.add(source.borrowed(), token, interest).map_err(refusal)?;
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
        let source = source.borrowed();
        match (before.is_none(), interest.is_none()) {
            // On an edge this tells anew what is ready, even if nothing is changed.
            (false, false) => {
                epoll::modify(&self.epoll, source, name(token), self.flags(interest))?;
            }
            (false, true) => epoll::delete(&self.epoll, source)?,
            (true, false) => self.add(source, token, interest).map_err(refusal)?,
            (true, true) => {}
        }
        self.watched.replace(raw, token, interest)
    }

    fn deregister<S: Source + ?Sized>(&mut self, source: &mut S) -> io::Result<()> {
        let interest = self.watched.remove(source.raw())?;
        if !interest.is_none() {
            if let Err(error) = epoll::delete(&self.epoll, source.borrowed()) {
                // The number came back as another source: the kernel forgot the one that was
                // registered when it was closed, and the table has just done so too.
                log::debug!(
                    "epoll: source {} was closed before it was deregistered: {error}",
                    source.raw()
                );
            }
        }
        Ok(())
    }

    fn close<S: Source>(&mut self, source: S) {
        // Closing the last descriptor of a file takes it out of the kernel's set.
        let _ = self.watched.remove(source.raw());
        drop(source);
    }

    #[inline(never)] // its loop needs all registers, which it does not get inside of another one
    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let mut room = [MaybeUninit::uninit(); EVENTS];
        // No more than fit: on an edge the rest would be lost.
        let room = &mut room[..events.capacity().min(EVENTS)];
        let timeout = timeout.map(timespec);
        let told = match epoll::wait(&self.epoll, room, timeout.as_ref()) {
            Ok((told, _)) => told,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let watched = &mut self.watched;
        events.fill(told.iter().filter_map(|told| event(told, watched)));
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.wake_up.waker()
    }
}

fn name(token: Token) -> EventData {
    EventData::new_u64(usize::from(token) as u64)
}

/// What an event of the kernel's tells; `None` for the waker's, and if it tells nothing that was
/// asked.
#[inline]
fn event(told: &epoll::Event, watched: &mut Registrations) -> Option<Event> {
    let (flags, data) = (told.flags, told.data.u64());
    if data == WAKER {
        return None;
    }
    let token = Token::from(data as usize);
    let mut readiness = pick(flags, EventFlags::IN, Readiness::READABLE)
        | pick(flags, EventFlags::OUT, Readiness::WRITABLE);
    // Asked at once, since mostly it is none of them.
    if flags.intersects(EventFlags::PRI | HANGUP | EventFlags::ERR) {
        readiness = with_hints(readiness, flags, watched.asked(token));
    }
    (!readiness.is_empty()).then_some(Event { token, readiness })
}

const HANGUP: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP);

#[cold]
#[inline(never)]
fn with_hints(told: Readiness, flags: EventFlags, asked: Interest) -> Readiness {
    let told = told
        | pick(flags, EventFlags::PRI, Readiness::PRIORITY)
        | pick(flags, HANGUP, Readiness::HANGUP)
        // Neither direction blocks any more, though a full stream that was shut down is not `OUT`.
        | pick(flags, EventFlags::HUP, Readiness::WRITABLE)
        | pick(flags, EventFlags::ERR, Readiness::ERROR);
    told.folded(asked)
}

fn pick(told: EventFlags, any: EventFlags, readiness: Readiness) -> Readiness {
    if told.intersects(any) {
        readiness
    } else {
        Readiness::EMPTY
    }
}

fn timespec(timeout: Duration) -> Timespec {
    let timeout = timeout.min(LONGEST_WAIT);
    Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ }
}

/// Says what to do about a source that epoll can't watch.
fn refusal(error: Errno) -> io::Error {
    if error == Errno::PERM {
        let message = format!(
            "epoll can't watch a regular file or a directory, the poll and select backends can \
             ({error})"
        );
        return io::Error::new(io::ErrorKind::Unsupported, message);
    }
    error.into()
}
