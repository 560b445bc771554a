use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};

use crate::LONGEST_WAIT;

/// No `shutdown` wakes a thread that sits in `recv`, and a socket on which `recv` timed out is not
/// to be used again, says the manual of `SO_RCVTIMEO`. So the socket does not block: threads wait
/// in `WSAPoll`, and whoever reads also for a datagram.
pub(in crate::blocking) struct Socket {
    stream: TcpStream,
    /// Connected to itself: what is sent on it comes back on it.
    bell: UdpSocket,
    ended: AtomicBool,
    read_limit: Limit,
    write_limit: Limit,
}

/// How often a thread that waits for room looks whether the connection has ended.
const GLANCE: Duration = Duration::from_millis(100);

/// How long it rests if `WSAPoll` returns for something else than room: the end of the peer's
/// output, which it tells unasked, again and again.
const REST: Duration = Duration::from_millis(10);

impl Socket {
    pub(in crate::blocking) fn new(stream: TcpStream) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        let bell = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        bell.connect(bell.local_addr()?)?;
        bell.set_nonblocking(true)?;
        Ok(Socket {
            stream,
            bell,
            ended: AtomicBool::new(false),
            read_limit: Limit::default(),
            write_limit: Limit::default(),
        })
    }

    pub(in crate::blocking) fn limit_reads(&self, limit: Option<Duration>) -> io::Result<()> {
        self.read_limit.set(limit);
        Ok(())
    }

    pub(in crate::blocking) fn limit_writes(&self, limit: Option<Duration>) -> io::Result<()> {
        self.write_limit.set(limit);
        Ok(())
    }

    pub(in crate::blocking) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut set =
                [PollFd::new(&self.stream, PollFlags::IN), PollFd::new(&self.bell, PollFlags::IN)];
            let limit = self.read_limit.get().map(timespec);
            if poll(&mut set, limit.as_ref())? == 0 {
                return Err(ErrorKind::TimedOut.into());
            }
            if set[0].revents().is_empty() {
                let _ = self.bell.recv(&mut [0]);
                return Err(ErrorKind::Interrupted.into());
            }
            match (&self.stream).read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    pub(in crate::blocking) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut began = None;
        loop {
            match self.write_at_once(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.ended.load(Ordering::SeqCst) {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            let began = *began.get_or_insert_with(Instant::now);
            if self.write_limit.get().is_some_and(|limit| began.elapsed() >= limit) {
                return Err(ErrorKind::TimedOut.into());
            }
            let left = self.write_limit.get().map_or(GLANCE, |limit| {
                limit.saturating_sub(began.elapsed()).clamp(Duration::from_millis(1), GLANCE)
            });
            let mut set = [PollFd::new(&self.stream, PollFlags::OUT)];
            poll(&mut set, Some(&timespec(left)))?;
            let told = set[0].revents();
            if !told.is_empty() && !told.intersects(PollFlags::OUT | PollFlags::ERR) {
                thread::sleep(REST.min(left));
            }
        }
    }

    pub(in crate::blocking) fn write_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.stream).write(bytes)
    }

    pub(in crate::blocking) fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    pub(in crate::blocking) fn has_input(&self) -> bool {
        !self.stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    pub(in crate::blocking) fn wake_reader(&self) {
        // What it is full of wakes as well.
        let _ = self.bell.send(&[0]);
    }

    pub(in crate::blocking) fn shut_down(&self) {
        self.ended.store(true, Ordering::SeqCst);
        // A connection that is gone needs no wake.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.wake_reader();
    }
}

/// A duration, or none, that one thread sets and others may read.
struct Limit(AtomicU64);

impl Default for Limit {
    fn default() -> Limit {
        Limit(AtomicU64::new(u64::MAX))
    }
}

impl Limit {
    fn set(&self, limit: Option<Duration>) {
        let nanoseconds = limit.and_then(|limit| u64::try_from(limit.as_nanos()).ok());
        self.0.store(nanoseconds.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> Option<Duration> {
        let nanoseconds = self.0.load(Ordering::Relaxed);
        (nanoseconds != u64::MAX).then(|| Duration::from_nanos(nanoseconds))
    }
}

/// A wait that ends early is one more look at the clock.
fn timespec(limit: Duration) -> Timespec {
    let limit = limit.min(LONGEST_WAIT);
    Timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ }
}
