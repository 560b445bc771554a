//! The backend on poll(2), on Windows WSAPoll.

use std::io;
use std::ops::Range;
use std::time::Duration;

use polyloop::{
    Backend, Caps, Events, Interest, RawSource, Readiness, Source, Table, Token, Trigger, Waker,
};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;

use crate::raw;
use crate::timeout::timespec;
use crate::waker::WakeUp;

/// poll(2) as a [`Backend`]: level-triggered, on every system, linear in the number of
/// descriptors.
///
/// The set that the call wants is kept ready as an array; a change of interest is one store in it,
/// and leaving it moves the last entry into the gap. Each wait looks through the array from
/// another starting point, so that no descriptor is favoured when not all events fit.
///
/// # Portability
///
/// A timeout is exact where there is `ppoll` (Linux, the BSDs), else rounded up to a millisecond.
/// The hint of a half-close comes on Linux and FreeBSD (`POLLRDHUP`) and on Windows. On macOS
/// poll(2) can't watch devices, terminals included.
///
/// WSAPoll tells a half-close whether or not it is asked for input: while a connection that waits
/// for room only is told so, the backend looks again every ten milliseconds. So it does on macOS
/// while input is there for someone who waits for an out-of-band byte only.
///
/// # References
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/poll.html),
/// [Linux](https://man7.org/linux/man-pages/man2/poll.2.html),
/// [Windows](https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsapoll).
#[derive(Debug)]
pub struct PollBackend {
    watched: Table<Watched>,
    /// What the call is handed: the waker, then every source whose interest is not none.
    set: Vec<PollFd<'static>>,
    /// Who stands at each place of `set`.
    names: Vec<Name>,
    wake_up: WakeUp,
    /// Sources that the last call found closed.
    closed: Vec<RawSource>,
    /// Where the next look through `set` starts.
    start: usize,
    /// The last call told of something that nobody asked for.
    unasked: bool,
}

#[derive(Debug)]
struct Watched {
    /// The place in `set`; `None` for a source of interest none.
    place: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    raw: RawSource,
    token: Token,
    interest: Interest,
}

/// The waker's place.
const WAKER: usize = 0;

/// How long a wait is that something would end at once which nobody asked for.
const REST: Duration = Duration::from_millis(10);

impl PollBackend {
    /// Makes an empty set and its waker.
    ///
    /// # Errors
    ///
    /// What the system says, for instance that there are no descriptors left.
    pub fn new() -> io::Result<PollBackend> {
        let wake_up = WakeUp::new()?;
        let raw = wake_up.raw();
        Ok(PollBackend {
            watched: Table::new(),
            set: vec![raw::watch(raw, PollFlags::IN)],
            names: vec![Name { raw, token: Token::NOBODY, interest: Interest::READABLE }],
            wake_up,
            closed: Vec::new(),
            start: WAKER + 1,
            unasked: false,
        })
    }

    fn enter(&mut self, name: Name) -> Option<usize> {
        if name.interest.is_none() {
            return None;
        }
        self.set.push(raw::watch(name.raw, asked(name.interest)));
        self.names.push(name);
        Some(self.set.len() - 1)
    }

    /// Fills the gap with the last entry.
    fn leave(&mut self, place: usize) {
        self.set.swap_remove(place);
        self.names.swap_remove(place);
        if let Some(moved) = self.names.get(place) {
            let watched =
                self.watched.get_mut(moved.raw).expect("who is in the set is in the table");
            watched.place = Some(place);
        }
    }

    /// Waits for everything but what the last call told, for a moment: it is a level, and would end
    /// the next wait as soon as it begins. What comes meanwhile is told by the next `poll`.
    #[cold]
    fn rest(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let quiet = |entry: &&PollFd<'static>| entry.revents().is_empty();
        let mut others: Vec<_> = self.set.iter().filter(quiet).cloned().collect();
        let timeout = timespec(timeout.map_or(REST, |timeout| timeout.min(REST)));
        match poll(&mut others, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks through a part of the set until `left` entries were found, or no event fits. Returns
    /// where it stopped.
    fn collect(&mut self, places: Range<usize>, left: &mut usize, events: &mut Events) -> usize {
        let start = places.start;
        let names = &self.names[places.clone()];
        for (offset, (entry, name)) in self.set[places].iter().zip(names).enumerate() {
            if *left == 0 || events.is_full() {
                return start + offset;
            }
            let told = entry.revents();
            if told.is_empty() {
                continue;
            }
            *left -= 1;
            if told.contains(PollFlags::NVAL) {
                self.closed.push(name.raw);
            }
            let readiness = readiness(told, name.interest).folded(name.interest);
            if readiness.is_empty() {
                self.unasked = true;
            } else {
                events.push(name.token, readiness);
            }
        }
        start + names.len()
    }
}

impl Backend for PollBackend {
    fn name(&self) -> &'static str {
        "poll"
    }

    fn caps(&self) -> Caps {
        Caps {
            trigger: Trigger::Level,
            short_read_drains: true,
            priority: true,
            hangup: true,
            kernel_set: false,
            regular_files: cfg!(unix),
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
        let place = self.enter(Name { raw, token, interest });
        self.watched.insert(raw, Watched { place });
        Ok(())
    }

    fn reregister<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let raw = source.raw();
        let name = Name { raw, token, interest };
        let place = self.watched.get_mut(raw)?.place;
        let place = match place {
            Some(place) if interest.is_none() => {
                self.leave(place);
                None
            }
            Some(place) => {
                self.set[place] = raw::watch(raw, asked(interest));
                self.names[place] = name;
                Some(place)
            }
            None => self.enter(name),
        };
        self.watched.get_mut(raw)?.place = place;
        Ok(())
    }

    fn deregister<S: Source + ?Sized>(&mut self, source: &mut S) -> io::Result<()> {
        let watched = self.watched.remove(source.raw())?;
        if let Some(place) = watched.place {
            self.leave(place);
        }
        Ok(())
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.unasked = false;
        let limit = timeout.map(timespec);
        let mut left = match poll(&mut self.set, limit.as_ref()) {
            Ok(ready) => ready,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if left == 0 {
            return Ok(());
        }
        let woken = !self.set[WAKER].revents().is_empty();
        if woken {
            left -= 1;
            self.wake_up.acknowledge();
        }

        let start = self.start.clamp(WAKER + 1, self.set.len());
        let mut stopped = self.collect(start..self.set.len(), &mut left, events);
        if stopped == self.set.len() {
            stopped = self.collect(WAKER + 1..start, &mut left, events);
        }
        // Whoever did not fit is first next time; else everybody is first in turn.
        self.start = if events.is_full() { stopped } else { start + 1 };
        if self.start >= self.set.len() {
            self.start = WAKER + 1;
        }
        while let Some(raw) = self.closed.pop() {
            if let Some(place) = self.watched.remove(raw)?.place {
                self.leave(place);
            }
        }
        if self.unasked && events.is_empty() && !woken {
            self.rest(timeout)?;
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.wake_up.waker()
    }
}

/// The flag of a half-close, where there is one.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const RDHUP: PollFlags = PollFlags::RDHUP;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const RDHUP: PollFlags = PollFlags::empty();

/// WSAPoll refuses the whole call if it is asked for `POLLPRI`.
const PRIORITY: PollFlags = if cfg!(windows) { PollFlags::RDBAND } else { PollFlags::PRI };

fn asked(interest: Interest) -> PollFlags {
    let mut flags = PollFlags::empty();
    if interest.is_readable() {
        flags |= PollFlags::IN | RDHUP;
    }
    if interest.is_writable() {
        flags |= PollFlags::OUT;
    }
    if interest.is_priority() {
        flags |= PRIORITY;
        if cfg!(target_vendor = "apple") {
            // Input that was not asked for would make that call deaf to the byte behind it.
            flags |= PollFlags::IN;
        }
    }
    flags
}

/// What `told` means to someone who asked for `asked`.
fn readiness(told: PollFlags, asked: Interest) -> Readiness {
    if told == PollFlags::IN {
        return Readiness::READABLE; // as it mostly is
    }
    let mut readiness = Readiness::EMPTY;
    let mut add = |flags: PollFlags, means: Readiness| {
        if told.intersects(flags) {
            readiness |= means;
        }
    };
    add(PollFlags::IN, Readiness::READABLE);
    add(PollFlags::OUT, Readiness::WRITABLE);
    add(PRIORITY, Readiness::PRIORITY);
    add(RDHUP, Readiness::HANGUP);
    if cfg!(unix) {
        // Neither direction blocks any more, though `POLLOUT` may be missing: of a full stream that
        // was shut down, and on macOS always.
        add(PollFlags::HUP, Readiness::HANGUP | Readiness::WRITABLE);
    } else if asked.is_readable() || told.intersects(PollFlags::OUT | PollFlags::ERR) {
        // On Windows it is only the peer's half that closed.
        add(PollFlags::HUP, Readiness::HANGUP);
    }
    add(PollFlags::ERR | PollFlags::NVAL, Readiness::ERROR);
    readiness
}
