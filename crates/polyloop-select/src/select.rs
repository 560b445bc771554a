//! The backend on select(2).

#[cfg_attr(unix, path = "select/descriptors.rs")]
#[cfg_attr(windows, path = "select/sockets.rs")]
mod sets;

use std::io;
use std::time::Duration;

use polyloop::{
    Backend, Caps, Events, Interest, RawSource, Readiness, Source, Table, Token, Trigger, Waker,
};
use rustix::io::Errno;

use crate::timeout::timespec;
use crate::waker::WakeUp;
use sets::{Sets, FD_SETSIZE};

/// select(2) as a [`Backend`]: level-triggered, on every system, linear in the largest descriptor.
///
/// The three sets are kept as the call wants them; a change of interest sets or clears bits. Each
/// wait copies them, since the call writes its answer over its question, and looks through the
/// answer beginning behind whoever was first the last time, so that no descriptor is favoured when
/// not all events fit.
///
/// # Limits
///
/// In its standard mode ([`new`](SelectBackend::new)) it has room for `FD_SETSIZE` descriptors, and
/// refuses those whose number is not below it: 1024 on most systems. On Windows, where a set is a
/// list of sockets, it has room for so many of them at once: 64.
/// [`unlimited`](SelectBackend::unlimited) makes the sets as large as they have to be.
///
/// # What select does not tell
///
/// A hang-up is told as input, since a read would not block, and an error as input and as room;
/// neither is told as such ([`Caps::hangup`]). The exception is a connect that failed: the first
/// time that a source is told to be writable, the backend asks whether it was an error, with one
/// further call.
///
/// # Portability
///
/// A timeout is exact on Linux and rounded up to a microsecond elsewhere. Out-of-band data shows in
/// the exceptional set; on Windows a failed connect does, too, and nowhere else.
///
/// # References
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/select.html),
/// [Linux](https://man7.org/linux/man-pages/man2/select.2.html),
/// [macOS](https://developer.apple.com/library/archive/documentation/System/Conceptual/ManPages_iPhoneOS/man2/select.2.html)
/// on `_DARWIN_UNLIMITED_SELECT`,
/// [Windows](https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-select).
#[derive(Debug)]
pub struct SelectBackend {
    watched: Table<Watched>,
    /// How many are in the table.
    count: usize,
    sets: Sets,
    limit: Option<usize>,
    wake_up: WakeUp,
    /// Where the next look through the answer starts.
    start: usize,
    /// Sources that the last wait asked whether their connect had failed.
    asked: u64,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    token: Token,
    interest: Interest,
    /// No connect is under way: it was found writable, and without an error.
    settled: bool,
}

/// What came of looking at one source.
enum Look {
    Next,
    /// As `Next`; and no connect is under way on it any more.
    Settled,
    /// There was no room to tell it.
    Full,
}

impl SelectBackend {
    /// Makes empty sets and their waker. What does not fit into the sets of the system's headers,
    /// `FD_SETSIZE`, will be refused.
    ///
    /// # Errors
    ///
    /// What the system says, for instance that there are no descriptors left; the waker's
    /// descriptor does not fit.
    pub fn new() -> io::Result<SelectBackend> {
        SelectBackend::within(Some(FD_SETSIZE))
    }

    /// Makes sets that grow with what is registered.
    ///
    /// # Portability
    ///
    /// The headers' limit is none of the kernels': Linux, macOS (as with
    /// `_DARWIN_UNLIMITED_SELECT`), the BSDs and Windows take sets of any size.
    ///
    /// # Errors
    ///
    /// What the system says, for instance that there are no descriptors left.
    pub fn unlimited() -> io::Result<SelectBackend> {
        SelectBackend::within(None)
    }

    fn within(limit: Option<usize>) -> io::Result<SelectBackend> {
        let wake_up = WakeUp::new()?;
        let mut backend = SelectBackend {
            watched: Table::new(),
            count: 0,
            sets: Sets::default(),
            limit,
            wake_up,
            start: 0,
            asked: 0,
        };
        let waker = backend.wake_up.raw();
        backend.make_room(waker)?;
        backend.sets.change(waker, Interest::NONE, Interest::READABLE);
        Ok(backend)
    }

    /// Makes sure that a source fits.
    fn make_room(&self, raw: RawSource) -> io::Result<()> {
        // Beside the waker, which is in no table.
        let Some(limit) = self.limit.filter(|&limit| !sets::fits(raw, self.count + 1, limit))
        else {
            return Ok(());
        };
        let message = format!(
            "select in its standard mode can't watch source {raw}: it has room for {}; its \
             unlimited mode can, and the poll, epoll and mio backends",
            sets::room(limit),
        );
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }

    /// Takes sources out that were closed without a word, and tells each as an error.
    #[cold]
    fn drop_closed(&mut self, events: &mut Events) -> io::Result<()> {
        for raw in self.sets.members() {
            if events.is_full() {
                break; // the next wait fails again, and finds the others
            }
            if raw == self.wake_up.raw() || sets::is_open(raw) {
                continue;
            }
            let watched = self.watched.remove(raw)?;
            self.count -= 1;
            self.sets.change(raw, watched.interest, Interest::NONE);
            let told = Readiness::ERROR.folded(watched.interest);
            if !told.is_empty() {
                events.push(watched.token, told);
            }
        }
        Ok(())
    }
}

impl Backend for SelectBackend {
    fn name(&self) -> &'static str {
        "select"
    }

    fn caps(&self) -> Caps {
        Caps {
            trigger: Trigger::Level,
            short_read_drains: true,
            priority: true,
            hangup: false,
            kernel_set: false,
            regular_files: cfg!(unix),
            limit: self.limit,
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
        self.make_room(raw)?;
        self.sets.change(raw, Interest::NONE, interest);
        self.watched.insert(raw, Watched { token, interest, settled: false });
        self.count += 1;
        Ok(())
    }

    fn reregister<S: Source + ?Sized>(
        &mut self,
        source: &mut S,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let raw = source.raw();
        let watched = self.watched.get_mut(raw)?;
        self.sets.change(raw, watched.interest, interest);
        *watched = Watched { token, interest, ..*watched };
        Ok(())
    }

    fn deregister<S: Source + ?Sized>(&mut self, source: &mut S) -> io::Result<()> {
        let raw = source.raw();
        let watched = self.watched.remove(raw)?;
        self.count -= 1;
        self.sets.change(raw, watched.interest, Interest::NONE);
        Ok(())
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        self.asked = 0;
        let left = match self.sets.wait(timeout.map(timespec).as_ref()) {
            Ok(told) => told,
            Err(Errno::INTR) => return Ok(()),
            Err(sets::CLOSED) => return self.drop_closed(events),
            Err(error) => return Err(error.into()),
        };
        if left == 0 {
            return Ok(());
        }
        let (waker, wake_up, watched) = (self.wake_up.raw(), &self.wake_up, &mut self.watched);
        let asked = &mut self.asked;
        let mut first = None;
        let stopped = self.sets.look(self.start, left, |place, raw, told| {
            if raw == waker {
                wake_up.acknowledge();
                return Look::Next;
            }
            if events.is_full() {
                return Look::Full;
            }
            let watched = watched.get_mut(raw).expect("who is in a set is in the table");
            first.get_or_insert(place);
            if watched.settled || told == Readiness::READABLE {
                let told = told.masked(watched.interest);
                if !told.is_empty() {
                    events.push(watched.token, told);
                }
                return Look::Next;
            }
            *asked += 1;
            let failed = sets::connect_failed(raw);
            watched.settled = !failed;
            let told = if failed { told | Readiness::ERROR } else { told };
            let told = told.folded(watched.interest);
            if !told.is_empty() {
                events.push(watched.token, told);
            }
            if failed {
                Look::Next
            } else {
                Look::Settled
            }
        });
        // Whoever did not fit is first next time; else whoever was first is last.
        self.start = stopped.or(first.map(|first| first + 1)).unwrap_or(self.start);
        Ok(())
    }

    fn further_calls(&self) -> u64 {
        self.asked
    }

    fn waker(&self) -> Waker {
        self.wake_up.waker()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{self, TcpListener};

    use mio::net::TcpStream;
    use polyloop::{Context, EventLoop, Handler};

    use super::*;

    /// Leaves everything as it is.
    struct Idle;

    impl Handler<SelectBackend> for Idle {
        type Message = ();

        fn ready(&mut self, _: &mut Context<SelectBackend>, _: Token, _: Readiness) {}
    }

    #[test]
    fn the_question_whether_a_connect_has_failed_is_counted_once_a_source() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut streams = [(); 2].map(|()| TcpStream::from_std(connect()));
        let mut event_loop = EventLoop::new(SelectBackend::new().unwrap());
        for stream in &mut streams {
            event_loop.context().register(stream, Interest::WRITABLE).unwrap();
        }
        for _ in 0..3 {
            event_loop.turn(&mut Idle, Some(Duration::ZERO)).unwrap();
        }
        let counts = event_loop.counters().snapshot();
        assert_eq!((counts.turns, counts.other_calls), (3, 2), "{counts:?}");
        assert_eq!(counts.system_calls(), 5, "{counts:?}");
    }
}
