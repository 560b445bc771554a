//! A process for each connection.

mod children;

use std::io;
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{send, MsgFlags};
use nix::unistd::Pid;
use polyloop::blocking::Service;
use polyloop::driver::{Control, Starvation};
use polyloop::{
    concerns_one_connection, listen_all, Accepted, Address, Config, Counts, Listener, Peer,
    Protocol, ServerHandle, Tick,
};

use crate::fork::{self, OnlyThread, Signals};
use crate::BoundServer;

use children::Children;

/// Whether what is accepted has the mode of its listener, which does not block.
const HANDS_MODE_ON: bool = cfg!(not(any(target_os = "linux", target_os = "android")));

/// A server that forks for each connection: the child serves it, blocking, and ends with it.
///
/// It has no thread but the one that runs it, and refuses to run beside others: a fork copies one
/// thread, and the locks of all. So whatever else the process is to look after is called from the
/// accept loop, as an [`Attendant`]. It reaps every child that the process has.
///
/// A child counts for itself, and its counts come home when its connection ends. Counted is what the
/// driver and this file call for connections, `exit` as the call that closes one. What comes with
/// some of these calls is not: what the C library does in a new process, the return from a signal's
/// handler, locks. Nor is what a server does once, and what an attendant does.
pub(crate) fn bind<P, F>(
    addresses: &[Address],
    config: Config,
    factory: F,
) -> io::Result<BoundServer>
where
    P: Protocol + 'static,
    F: Fn(&Accepted<'_>) -> P + Send + Sync + 'static,
{
    let listeners = listen_all(addresses, config.backlog)?;
    for listener in &listeners {
        listener.socket().set_nonblocking(true)?;
    }
    let (mailbox, sender) = UnixDatagram::pair()?;
    mailbox.set_nonblocking(true)?;
    let shared = Shared {
        wish: AtomicU8::new(Wish::Serve as u8),
        // One that this process had before may have.
        child_ended: AtomicBool::new(true),
        counts: Mutex::default(),
        sender,
    };
    let service = Service::new(config.clone(), factory);
    let server = Server { listeners, config, service, mailbox, shared: Arc::new(shared) };
    Ok(BoundServer {
        addresses: server.listeners.iter().map(|listener| listener.address().clone()).collect(),
        handle: ServerHandle::new(Arc::clone(&server.shared) as Arc<dyn Control>),
        run: Box::new(move |attendant| server.run(attendant)),
    })
}

/// Every Unix forks.
pub(crate) fn check() -> io::Result<()> {
    Ok(())
}

/// What a server that forks looks after between its connections.
pub struct Attendant {
    descriptor: OwnedFd,
    attend: Box<dyn FnMut() -> ControlFlow<()>>,
}

impl Attendant {
    /// Calls `attend` from the accept loop whenever the standard input is readable or at its end,
    /// until it answers that it wants no more.
    ///
    /// It starts no thread. If it has, the server stops and ends with an error, as one that is run
    /// beside other threads does.
    ///
    /// # Errors
    ///
    /// There is no standard input, or no descriptor left.
    pub fn of_stdin(attend: impl FnMut() -> ControlFlow<()> + 'static) -> io::Result<Attendant> {
        let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Attendant { descriptor, attend: Box::new(attend) })
    }

    /// Calls one that wants something; it may want no more, and it may have started a thread, beside
    /// which nothing forks.
    fn have_its_turn(attendant: &mut Option<Attendant>) -> io::Result<OnlyThread> {
        if attendant.as_mut().is_some_and(|attendant| (attendant.attend)().is_break()) {
            *attendant = None;
        }
        OnlyThread::check()
    }
}

impl std::fmt::Debug for Attendant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Attendant").field(&self.descriptor).finish()
    }
}

/// What a [`ServerHandle`] reaches, from any thread or process of this family.
struct Shared {
    /// A [`Wish`].
    wish: AtomicU8,
    /// Since children were last waited for.
    child_ended: AtomicBool,
    counts: Mutex<Counts>,
    /// To the accept loop: a byte that wakes it, or the counts of a child that ends.
    sender: UnixDatagram,
}

/// What is asked of the server.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    #[default]
    Serve,
    Drain,
    Stop,
}

impl Shared {
    fn wish(&self) -> Wish {
        [Wish::Serve, Wish::Drain, Wish::Stop][usize::from(self.wish.load(Ordering::SeqCst))]
    }

    fn ask(&self, wish: Wish) {
        self.wish.fetch_max(wish as u8, Ordering::SeqCst);
        self.wake();
    }

    /// For a signal handler.
    fn child_ended(&self) {
        // Before the wake, which may be read at once.
        self.child_ended.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Wakes the accept loop; from a signal handler, too.
    fn wake(&self) {
        // A mailbox that is full wakes the loop as well.
        let _ = send(self.sender.as_raw_fd(), b"!", MsgFlags::MSG_DONTWAIT);
    }

    /// Counts what no other count is for.
    fn called(&self, calls: usize) {
        self.counts().other_calls += calls as u64;
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control for Shared {
    fn drain(&self) {
        self.ask(Wish::Drain);
    }

    fn stop(&self) {
        self.ask(Wish::Stop);
    }

    fn counts(&self) -> Counts {
        *self.counts()
    }
}

struct Server<F> {
    listeners: Vec<Listener>,
    config: Config,
    /// Each child's own: here it serves nobody.
    service: Service<F>,
    mailbox: UnixDatagram,
    shared: Arc<Shared>,
}

impl<P: Protocol, F: Fn(&Accepted<'_>) -> P> Server<F> {
    fn run(mut self, mut attendant: Option<Attendant>) -> io::Result<()> {
        let mut only_thread = OnlyThread::check()?;
        // What a thread knows of itself is made when it first asks: here, and not in each child.
        let _ = std::thread::current();
        let shared = Arc::clone(&self.shared);
        let _signals = Signals::new(move || shared.child_ended())?;
        let parent = Pid::this();
        let mut children = Children::new(&self.config);
        let mut starvation = Starvation::default();
        let mut resting_until = None;
        let mut woken = true;
        let mut failed = None;
        loop {
            while woken {
                if self.shared.child_ended.swap(false, Ordering::SeqCst) {
                    children.reap(&self.shared);
                }
                // After that, since a child sends its counts before it ends.
                self.take_mail()?;
                // The wake of one that ended in between may be gone with the mail. That of one that
                // ends from here on is in the mailbox, or found it full: either ends the next wait.
                woken = self.shared.child_ended.load(Ordering::SeqCst);
            }
            let wish = self.shared.wish();
            if wish > Wish::Serve {
                self.listeners.clear();
                if children.is_empty() {
                    return failed.map_or(Ok(()), Err);
                }
            }
            let now = Tick::now();
            children.pass_on(wish, self.config.drain, now, &self.shared);
            resting_until = resting_until.filter(|&then| then > now);
            let full = self.config.max_connections.is_some_and(|limit| children.len() >= limit);
            let listens = !full && resting_until.is_none();
            let until = [children.due(), resting_until].into_iter().flatten().min();
            let timeout = until.map(|then| then.since(now));
            let ready = self.wait(listens, attendant.as_ref(), timeout)?;
            woken = ready.mail;
            if ready.attendant {
                match Attendant::have_its_turn(&mut attendant) {
                    Ok(checked) => only_thread = checked,
                    Err(error) => {
                        failed = Some(error);
                        self.shared.ask(Wish::Stop);
                        continue;
                    }
                }
            }
            let Some(listener) = ready.listener else { continue };
            let (stream, peer) = match self.accept(listener) {
                Ok(Some(accepted)) => accepted,
                Ok(None) => continue,
                Err(error) => {
                    starvation.no_connection(children.len(), &error);
                    resting_until = Some(Tick::now().after(Starvation::REST));
                    continue;
                }
            };
            // To fork, and to close the connection here.
            self.shared.called(2);
            match fork::fork(&only_thread) {
                Ok(Some(child)) => {
                    children.add(child);
                    self.shared.counts().opened += 1;
                }
                Ok(None) => self.be_child(parent, attendant, stream, &peer),
                Err(error) => starvation.nobody_to_serve("process", &error),
            }
        }
    }

    /// Waits for a message, and for the attendant's and a listener's turn.
    fn wait(
        &self,
        listens: bool,
        attendant: Option<&Attendant>,
        timeout: Option<Duration>,
    ) -> io::Result<Ready> {
        let listeners = if listens { &self.listeners[..] } else { &[] };
        // None is favoured: where the search begins goes round.
        let turn = self.shared.counts().turns as usize;
        let watched = std::iter::once(self.mailbox.as_fd())
            .chain(attendant.map(|attendant| attendant.descriptor.as_fd()))
            .chain(listeners.iter().map(|listener| listener.socket().as_fd()));
        let mut watched: Vec<_> =
            watched.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
        self.shared.counts().turns += 1;
        // A millisecond more, for a wait is rounded down; what is too long ends early.
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            PollTimeout::try_from(timeout + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match nix::poll::poll(&mut watched, timeout) {
            Ok(_) => {}
            // Most likely a child has ended, and the mailbox is no longer empty.
            Err(Errno::EINTR) => return Ok(Ready { mail: true, ..Ready::default() }),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |watched: &PollFd<'_>| watched.any().unwrap_or(true);
        let mut others = watched[1..].iter();
        let attendant = attendant.is_some() && others.next().is_some_and(is_ready);
        let listeners = others.as_slice();
        let listener = (0..listeners.len())
            .map(|index| (turn + index) % listeners.len())
            .find(|&index| is_ready(&listeners[index]));
        Ok(Ready { mail: is_ready(&watched[0]), attendant, listener })
    }

    /// Accepts a connection; `None` if it was gone.
    fn accept(&self, listener: usize) -> io::Result<Option<(TcpStream, Peer)>> {
        self.shared.counts().accepts += 1;
        match self.listeners[listener].accept() {
            Ok((stream, peer)) => {
                if HANDS_MODE_ON {
                    self.shared.called(1);
                    stream.set_nonblocking(false)?;
                }
                Ok(Some((stream, peer)))
            }
            Err(error) if concerns_one_connection(&error) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes what has come.
    fn take_mail(&self) -> io::Result<()> {
        let mut letter = [0; 8 * Counts::NUMBER];
        loop {
            self.shared.called(1);
            match self.mailbox.recv(&mut letter) {
                Ok(length) if length == letter.len() => {
                    let mut counts = self.shared.counts();
                    *counts = *counts + decode(&letter);
                }
                // A wake, whose sender may have been a signal handler, which takes no lock to count.
                Ok(_) => self.shared.called(1),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Serves the connection, in a process that has nothing else.
    fn be_child(
        self,
        parent: Pid,
        attendant: Option<Attendant>,
        stream: TcpStream,
        peer: &Peer,
    ) -> ! {
        let Server { listeners, service, mailbox, shared, .. } = self;
        // To close what is the server's, to end with it, to obey it, and to report to it.
        let closes = listeners.len() + 1 + usize::from(attendant.is_some());
        let calls = closes + END_WITH_CALLS + 1 + 1;
        let served = panic::catch_unwind(AssertUnwindSafe(|| {
            drop((listeners, mailbox, attendant));
            end_with(parent)?;
            let mut obeys = Ok(());
            service.serve_interruptibly(stream, peer, |interrupt| obeys = fork::obey(interrupt));
            obeys
        }));
        // Even if its protocol panicked. The parent has counted these.
        let mut counts = Counts { opened: 0, closed: 0, ..service.handle().counts() };
        counts.other_calls += calls as u64;
        let reported = report(&shared.sender, &encode(counts));
        match served.map(|served| served.and(reported)) {
            Ok(Ok(())) => fork::exit(0),
            Ok(Err(error)) => {
                log::error!("{peer}: {error}");
                fork::exit(1)
            }
            Err(_) => fork::exit(101),
        }
    }
}

#[derive(Default)]
struct Ready {
    mail: bool,
    attendant: bool,
    listener: Option<usize>,
}

/// A server that is killed leaves no process behind.
///
/// # Errors
///
/// The parent was killed before this was asked for.
///
/// # Portability
///
/// Linux only; elsewhere the child of a parent that was killed ends with its connection.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn end_with(parent: Pid) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    if Pid::parent() != parent {
        return Err(io::Error::new(io::ErrorKind::Other, "the server was killed"));
    }
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn end_with(_: Pid) -> io::Result<()> {
    Ok(())
}

/// How many calls that takes.
const END_WITH_CALLS: usize =
    if cfg!(any(target_os = "linux", target_os = "android")) { 2 } else { 0 };

/// Sends what a child has counted to its parent, which reads when it comes to it.
fn report(parent: &UnixDatagram, counts: &[u8]) -> io::Result<()> {
    loop {
        match parent.send(counts) {
            // The BSDs and Apple's systems do not wait for room.
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                thread::sleep(Duration::from_millis(1));
            }
            sent => return sent.map(drop),
        }
    }
}

fn encode(counts: Counts) -> Vec<u8> {
    counts.to_array().into_iter().flat_map(u64::to_ne_bytes).collect()
}

fn decode(bytes: &[u8; 8 * Counts::NUMBER]) -> Counts {
    let mut numbers = [0; Counts::NUMBER];
    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = u64::from_ne_bytes(bytes.try_into().expect("each has eight bytes"));
    }
    Counts::from_array(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_home_as_they_went() {
        let counts = Counts { reads: 7, handling_ns: u64::MAX, ..Counts::default() };
        assert_eq!(decode(&encode(counts).try_into().unwrap()), counts);
    }
}
