//! Where a scenario is played, in front of one who watches.

use std::io::{self, Read};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use polyloop::{Interest, RawSource, Source};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::io::Errno;
use socket2::SockRef;

use super::scenario::Play;
use super::Answer;
use crate::sockets::ANY;

/// Longer than anything takes that a scenario waits for.
const LIMIT: Duration = Duration::from_secs(5);

/// How long something that has arrived may take to be told. On Linux it is told by then; see
/// [`arrived`].
const GRACE: Duration =
    if cfg!(target_os = "linux") { Duration::ZERO } else { Duration::from_millis(100) };

/// Everything that can be asked for, as a scenario does unless it says otherwise.
pub(super) fn everything() -> Interest {
    Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY
}

/// The flag of poll(2) for data. `POLLIN` of WSAPoll is two: for data, and for out-of-band data.
pub(super) const DATA: PollFlags = if cfg!(windows) { PollFlags::RDNORM } else { PollFlags::IN };

/// The flag of poll(2) for the peer's end of input, where there is one. WSAPoll tells of it as a
/// hang-up.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(super) const END: PollFlags = PollFlags::RDHUP;
#[cfg(windows)]
pub(super) const END: PollFlags = PollFlags::HUP;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", windows)))]
pub(super) const END: PollFlags = PollFlags::IN;

/// The flag of poll(2) for a connect that failed.
pub(super) const REFUSED: PollFlags = if cfg!(windows) { PollFlags::ERR } else { PollFlags::HUP };

/// What is told unasked. WSAPoll refuses to be asked for it.
pub(super) const UNASKED: PollFlags = PollFlags::ERR.union(PollFlags::HUP);

/// The flag of poll(2) for out-of-band data; WSAPoll refuses to be asked for `POLLPRI`.
pub(super) const PRIORITY: PollFlags =
    if cfg!(windows) { PollFlags::RDBAND } else { PollFlags::PRI };

/// Somebody who watches: a system call, or a handler on a loop. Sources are known by number, since
/// one that is told of may be closed.
pub(super) trait Watcher {
    /// Begins to watch a source, or says why that can't be.
    fn watch(&mut self, source: &mut dyn Source, asked: Interest) -> Result<(), Answer>;

    /// Watches a known source for something else.
    fn change(&mut self, source: &mut dyn Source, asked: Interest) -> Result<(), Answer>;

    /// What is told of a source now, or within `limit`.
    fn look(&mut self, source: BorrowedFd<'_>, limit: Duration) -> io::Result<Answer>;

    /// Does input on a watched source, so that a loop knows what came of it. Of a TCP stream,
    /// `enough` is how much tells nothing: less is a short read.
    fn input(
        &mut self,
        source: RawSource,
        enough: Option<usize>,
        call: &mut dyn FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let _ = (source, enough);
        call()
    }

    /// Does output on a watched source.
    fn output(
        &mut self,
        source: RawSource,
        call: &mut dyn FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let _ = source;
        call()
    }
}

/// One answer.
pub(super) struct Moment {
    pub(super) moment: &'static str,
    pub(super) asked: Interest,
    pub(super) answer: Answer,
}

/// Where a scenario is played.
pub(super) struct Stage<'a> {
    watcher: &'a mut dyn Watcher,
    /// What was asked of each source, and the refusal if it can't be watched.
    sources: Vec<(RawSource, Interest, Option<Answer>)>,
    seen: Vec<Moment>,
}

impl Stage<'_> {
    pub(super) fn play(watcher: &mut dyn Watcher, play: Play) -> io::Result<Vec<Moment>> {
        let mut stage = Stage { watcher, sources: Vec::new(), seen: Vec::new() };
        play(&mut stage)?;
        Ok(stage.seen)
    }

    /// Watches a source for everything.
    pub(super) fn watch(&mut self, source: &mut dyn Source) {
        self.watch_for(source, everything());
    }

    /// Watches a source for something. One that can't be watched is refused from now on, whatever
    /// is asked.
    pub(super) fn watch_for(&mut self, source: &mut dyn Source, asked: Interest) {
        let refused = self.watcher.watch(source, asked).err();
        self.sources.push((source.raw(), asked, refused));
    }

    /// Watches a known source for something else, or for the same once more.
    pub(super) fn change(&mut self, source: &mut dyn Source, asked: Interest) {
        let refused = self.watcher.change(source, asked).err();
        let raw = source.raw();
        self.sources.retain(|&(known, ..)| known != raw);
        self.sources.push((raw, asked, refused));
    }

    /// Takes down what is told of a source, as soon as all that is meant by `flags` has arrived.
    pub(super) fn when(
        &mut self,
        source: impl AsFd,
        flags: PollFlags,
        moment: &'static str,
    ) -> io::Result<()> {
        arrived(source.as_fd(), flags)?;
        self.now(source, moment)
    }

    /// Takes down what is told of a source.
    pub(super) fn now(&mut self, source: impl AsFd, moment: &'static str) -> io::Result<()> {
        let source = source.as_fd();
        let raw = source.as_raw_fd();
        let known = self.sources.iter().rev().find(|&&(known, ..)| known == raw);
        let (asked, refused) = match known {
            Some((_, asked, refused)) => (*asked, refused.clone()),
            None => return Err(io::Error::other("the scenario asks about what it does not watch")),
        };
        let answer = match refused {
            Some(refused) => refused,
            None => self.watcher.look(source, GRACE)?,
        };
        self.seen.push(Moment { moment, asked, answer });
        Ok(())
    }

    /// Reads from a watched TCP stream, as a handler does.
    pub(super) fn read_stream(&mut self, source: &TcpStream, room: usize) -> io::Result<usize> {
        let raw = source.raw();
        let mut buffer = vec![0; room];
        self.watcher.input(raw, Some(room), &mut || (&*source).read(&mut buffer))
    }

    /// Calls something that reads from a watched source, or accepts.
    pub(super) fn input(
        &mut self,
        source: &impl Source,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.watcher.input(source.raw(), None, &mut call)
    }

    /// Writes to a watched source until that would block, and returns how much it took.
    pub(super) fn fill(
        &mut self,
        source: &impl Source,
        mut call: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let bytes = [b'.'; 4096];
        let raw = source.raw();
        let mut all = 0;
        loop {
            match self.watcher.output(raw, &mut || call(&bytes)) {
                Ok(some) => all += some,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(all),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Waits until poll(2) tells all of `flags`, and whoever watches has been woken.
pub(super) fn arrived(source: impl AsFd, flags: PollFlags) -> io::Result<()> {
    let source = source.as_fd();
    let begun = Instant::now();
    let mut missing = flags;
    while !missing.is_empty() {
        if begun.elapsed() > LIMIT {
            return Err(io::Error::other(format!("{missing:?} did not come within {LIMIT:?}")));
        }
        let asked = missing.difference(UNASKED);
        let mut set = [PollFd::from_borrowed_fd(source, asked)];
        match poll(&mut set, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) {
            Ok(_) => missing.remove(set[0].revents()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Linux shows what has arrived a moment before it wakes who waits. To set an option it takes
    // the lock of a TCP stream, which is held over both. Pipes, Unix sockets and their like are
    // woken by the call that sends; they refuse the option, which does not matter.
    let _ = SockRef::from(&source).set_tcp_nodelay(true);
    Ok(())
}

/// Waits until so many bytes can be read from a stream.
pub(super) fn bytes_arrived(stream: &TcpStream, bytes: usize) -> io::Result<()> {
    let begun = Instant::now();
    let mut seen = vec![0; bytes];
    while stream.peek(&mut seen)? < bytes {
        if begun.elapsed() > LIMIT {
            return Err(io::Error::other(format!("{bytes} bytes did not come within {LIMIT:?}")));
        }
    }
    arrived(stream, DATA)
}

/// Waits until what was sent over loopback has been delivered: to a listener, which has no lock
/// that [`arrived`] could take. Loopback keeps the order.
pub(super) fn delivered() -> io::Result<()> {
    let probe = UdpSocket::bind(ANY)?;
    probe.connect(probe.local_addr()?)?;
    probe.send(b".")?;
    probe.set_read_timeout(Some(LIMIT))?;
    probe.recv(&mut [0; 1]).map(drop)
}
