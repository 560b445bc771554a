//! What only Unix has: pipes, files, Unix sockets, and descriptors whose numbers can be chosen.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::TcpStream as Peer;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::thread::JoinHandleExt;
use std::panic;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::unix::pipe;
use nix::sys::pthread::{pthread_kill, Pthread};
use nix::sys::signal::Signal;
use polyloop::{Backend, Descriptor, Interest, Readiness, Token};
use signal_hook::flag;

use crate::child::{in_a_process_of_its_own, make_room_for_high_descriptors};
use crate::script::{new_loop, read, run, turn, Call, SPURIOUS};
use crate::sockets::{pair, pair_with_input, send, watchable};
use crate::watcher::Watcher;
use crate::Make;

/// Numbers from here on are given out by [`Numbered`] only. Others take the smallest that is free,
/// and few are open at once in a process that runs one scenario after the other; the usual limit is
/// 256 at the least.
const RESERVED: i32 = 240;

/// Descriptors whose numbers nobody else gets after they are closed, as long as the guard lives.
pub(crate) struct Numbered {
    _alone: MutexGuard<'static, ()>,
}

impl Numbered {
    pub(crate) fn new() -> Numbered {
        static ALONE: Mutex<()> = Mutex::new(());
        Numbered { _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Gives a stream a reserved number.
    pub(crate) fn renumber(&self, ours: TcpStream) -> io::Result<TcpStream> {
        let numbered = rustix::io::fcntl_dupfd_cloexec(&ours, RESERVED)?;
        Ok(watchable(Peer::from(numbered)))
    }

    /// A pair whose watched end has a reserved number.
    fn pair(&self) -> (TcpStream, Peer) {
        let (ours, peer) = pair();
        (self.renumber(ours).expect("descriptors are left"), peer)
    }
}

/// Closes `former` without a word to any backend, and opens `next` under its number, in one step.
fn replace(former: TcpStream, next: TcpStream) -> TcpStream {
    let mut number = OwnedFd::from(Peer::from(former));
    let next = OwnedFd::from(Peer::from(next));
    rustix::io::dup2(&next, &mut number).expect("an open descriptor takes another's place");
    watchable(Peer::from(number))
}

/// Sources that are closed without `deregister` are told once, with the error hint, and dropped;
/// or forgotten, if the backend declares so. Nothing spins, nothing fails.
pub fn closed_without_deregister_is_as_declared<B: Backend>(make: Make<B>) {
    // For numbers of closed sources are free, and other scenarios open many.
    in_a_process_of_its_own(|| {
        const SOURCES: usize = 3;
        let numbered = Numbered::new();
        let mut watcher = Watcher::new(make);
        let (mut sources, _peers): (Vec<_>, Vec<_>) = (0..SOURCES).map(|_| numbered.pair()).unzip();
        let tokens: Vec<_> =
            sources.iter_mut().map(|ours| watcher.register(ours, Interest::READABLE)).collect();
        drop(sources);
        if !watcher.backend.caps().kernel_set {
            let mut told = Vec::new();
            while told.len() < SOURCES {
                for event in watcher.poll(None) {
                    assert!(event.readiness.is_error(), "contract 8: no hint in {event:?}");
                    assert!(
                        !told.contains(&event.token),
                        "contract 8: {} is told twice",
                        event.token
                    );
                    told.push(event.token);
                }
            }
        }
        let polls = watcher.idle_polls(Duration::from_millis(10));
        assert!(polls <= 2 + SPURIOUS, "contract 8: {polls} polls of closed sources: it spins");
        for token in tokens {
            watcher.expect_silence(token, "contract 8: a closed source");
        }
    });
}

/// One that is closed while it is watched for nothing is never told.
pub fn closed_without_interest_is_silent<B: Backend>(make: Make<B>) {
    in_a_process_of_its_own(|| {
        let numbered = Numbered::new();
        let mut watcher = Watcher::new(make);
        let (mut ours, _peer) = numbered.pair();
        watcher.register(&mut ours, Interest::NONE);
        drop(ours);
        let polls = watcher.idle_polls(Duration::from_millis(5));
        assert!(polls <= 2 + SPURIOUS, "contract 8: {polls} polls of a closed source: it spins");
    });
}

/// A number that comes back, before its closed source was deregistered, is refused until the new
/// source is deregistered; then it is a source like any other.
pub fn a_number_that_comes_back_is_refused_until_deregistered<B: Backend>(make: Make<B>) {
    for interest in [Interest::READABLE, Interest::NONE] {
        let mut watcher = Watcher::new(make);
        let (mut former, _former_peer) = pair();
        let token = watcher.register(&mut former, interest);
        let (next, mut peer) = pair();
        let mut next = replace(former, next);
        for _ in 0..2 {
            let another = watcher.token();
            let again = watcher.backend.register(&mut next, another, Interest::READABLE);
            let error = again.expect_err("contract 8: the number is in the table");
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "contract 8: {error}");
        }
        watcher.deregister(token, &mut next);
        let token = watcher.register(&mut next, Interest::READABLE);
        send(&mut peer, b"x");
        watcher.expect(token, Readiness::READABLE);
    }
}

/// A regular file and a directory are ready at once, where that is declared, else refused with an
/// error that says who can watch them; and the refusal leaves nothing behind.
pub fn regular_files_are_as_declared<B: Backend>(make: Make<B>) {
    let program = std::env::current_exe().expect("this program has a name");
    let directory = program.parent().expect("a program lies in a directory");
    for path in [program.as_path(), directory] {
        let mut watcher = Watcher::new(make);
        let mut file = Descriptor(File::open(path).expect("it can be read"));
        if watcher.backend.caps().regular_files {
            let token = watcher.register(&mut file, Interest::READABLE);
            watcher.expect(token, Readiness::READABLE);
            watcher.deregister(token, &mut file);
            continue;
        }
        for _ in 0..2 {
            let token = watcher.token();
            let refused = watcher.backend.register(&mut file, token, Interest::READABLE);
            let error = refused.expect_err("caps: regular files can't be watched");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "contract 8: {error}");
            let message = error.to_string();
            let helps = message.contains(watcher.backend.name()) && message.contains("poll");
            assert!(helps, "contract 8: says neither who refuses nor who can: {message}");
        }
        let unknown = watcher.backend.deregister(&mut file).expect_err("it was refused");
        assert_eq!(unknown.kind(), ErrorKind::NotFound, "contract 1: {unknown}");
        watcher.idle_polls(Duration::from_millis(1));
    }
}

/// Descriptors of any number can be watched; or those below a limit, if one is declared, and the
/// others are refused with an error that says the limit and who can watch them. The refusal leaves
/// nothing behind.
pub fn high_descriptors_are_as_declared<B: Backend>(make: Make<B>) {
    // For the table of the kernel grows, and that of the backend, and the limit is the process's.
    in_a_process_of_its_own(|| watch_high_descriptors(make));
}

fn watch_high_descriptors<B: Backend>(make: Make<B>) {
    /// Beyond every `FD_SETSIZE` there is.
    const HIGH: i32 = 1100;
    make_room_for_high_descriptors();
    let mut watcher = Watcher::new(make);
    let limit = watcher.backend.caps().limit.map(|limit| i32::try_from(limit).expect("a number"));
    let lowest_refused = limit.unwrap_or(HIGH);
    for number in [lowest_refused - 1, lowest_refused, HIGH] {
        let (ours, mut peer) = pair();
        let ours = rustix::io::fcntl_dupfd_cloexec(Peer::from(ours), number);
        let mut ours = watchable(Peer::from(ours.expect("descriptors are left")));
        assert_eq!(ours.as_raw_fd(), number, "the number is free");
        if limit.is_some_and(|limit| number >= limit) {
            for _ in 0..2 {
                let token = watcher.token();
                let refused = watcher.backend.register(&mut ours, token, Interest::READABLE);
                let error = refused.expect_err("caps: a descriptor past the limit is refused");
                assert_eq!(error.kind(), ErrorKind::Unsupported, "contract 8: {error}");
                let message = error.to_string();
                let says = |what: &str| message.contains(what);
                assert!(
                    says(watcher.backend.name())
                        && says(&lowest_refused.to_string())
                        && says("poll"),
                    "contract 8: says not who refuses, the limit, and who can: {message}"
                );
            }
            let unknown = watcher.backend.deregister(&mut ours).expect_err("it was refused");
            assert_eq!(unknown.kind(), ErrorKind::NotFound, "contract 1: {unknown}");
            watcher.idle_polls(Duration::from_millis(1));
        } else {
            let token = watcher.register(&mut ours, Interest::READABLE | Interest::WRITABLE);
            send(&mut peer, b"x");
            watcher.expect(token, Readiness::READABLE | Readiness::WRITABLE);
            watcher.deregister(token, &mut ours);
        }
    }
}

/// A pipe tells data; and when its writer is gone, that a read would not block.
pub fn a_pipe_whose_writer_closed_is_readable<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut writer, mut reader) = pipe::new().expect("descriptors are left");
    let token = watcher.register(&mut reader, Interest::READABLE);
    watcher.expect_silence(token, "contract 4: an empty pipe");
    writer.write_all(b"x").expect("there is room");
    watcher.expect(token, Readiness::READABLE);
    assert_eq!(std::io::Read::read(&mut reader, &mut [0; 16]).expect("a byte is there"), 1);
    drop(writer);
    watcher.expect(token, Readiness::READABLE);
    assert_eq!(std::io::Read::read(&mut reader, &mut [0; 16]).expect("the end"), 0);
}

/// A pipe whose reader is gone is writable, with a hint: a write would not block but fail. It is so
/// though the pipe is full.
pub fn a_pipe_whose_reader_closed_is_writable<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut writer, reader) = pipe::new().expect("descriptors are left");
    let token = watcher.register(&mut writer, Interest::WRITABLE);
    watcher.expect(token, Readiness::WRITABLE);
    while writer.write(&[0; 4096]).is_ok() {}
    watcher.expect_silence(token, "contract 4: a full pipe");
    drop(reader);
    let told = watcher.expect(token, Readiness::WRITABLE);
    let hints = Readiness::HANGUP | Readiness::ERROR;
    let hinted = told.intersects(hints) || !watcher.backend.caps().hangup;
    assert!(hinted, "contract 4: no hint in {told:?}");
}

/// A stream that was shut down both ways is writable though its buffer is full: whoever waits for
/// room is told, and no `poll` returns with nothing to say. Where hang-ups are not told, Linux
/// tells nothing at all.
pub fn a_full_stream_that_is_shut_down_is_writable<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (ours, _peer) = UnixStream::pair().expect("descriptors are left");
    ours.set_nonblocking(true).expect("a stream can be made non-blocking");
    let mut ours = mio::net::UnixStream::from_std(ours);
    while ours.write(&[0; 4096]).is_ok() {}
    ours.shutdown(std::net::Shutdown::Both).expect("it is open");
    let token = watcher.register(&mut ours, Interest::WRITABLE);
    if watcher.backend.caps().hangup {
        watcher.expect(token, Readiness::WRITABLE);
    } else if cfg!(target_os = "linux") {
        watcher.expect_silence(token, "caps: a hang-up is told, and not declared");
    }
}

/// Any descriptor can be watched, not only mio's own types.
pub fn any_descriptor_can_be_watched<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (ours, mut peer) = UnixStream::pair().expect("descriptors are left");
    ours.set_nonblocking(true).expect("a stream can be made non-blocking");
    let mut ours = Descriptor(ours);
    let token = watcher.register(&mut ours, Interest::READABLE);
    watcher.expect_silence(token, "contract 4: nothing was sent");
    for _ in 0..3 {
        peer.write_all(b"x").expect("there is room");
        watcher.expect(token, Readiness::READABLE);
        let mut buffer = [0; 16];
        assert_eq!(std::io::Read::read(&mut &ours.0, &mut buffer).expect("a byte is there"), 1);
        let none = std::io::Read::read(&mut &ours.0, &mut buffer).expect_err("no more");
        assert_eq!(none.kind(), ErrorKind::WouldBlock);
    }
}

/// A handler whose source was closed behind the loop's back is told once, or not at all, and can
/// forget it; the loop sleeps.
pub fn a_loop_outlives_a_source_closed_behind_its_back<B: Backend>(make: Make<B>) {
    in_a_process_of_its_own(|| {
        let numbered = Numbered::new();
        let mut event_loop = new_loop(make);
        let kernel_set = make().expect("the backend opens").caps().kernel_set;
        let (mut ours, _peer) = numbered.pair();
        let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
        drop(ours);
        if !kernel_set {
            run(&mut event_loop, |context, call| {
                if let Call::Ready(told, readiness) = call {
                    assert_eq!(told, token);
                    assert!(readiness.is_error(), "contract 8: no hint in {readiness:?}");
                    context.stop();
                }
            });
        }
        let late = Duration::from_millis(5);
        event_loop.context().set_timer(late, token);
        let before = event_loop.context().counters().snapshot();
        run(&mut event_loop, |context, call| match call {
            Call::Ready(token, readiness) => panic!("contract 8: {token} is told {readiness:?}"),
            Call::Timer(..) => context.stop(),
            _ => {}
        });
        let turns = (event_loop.context().counters().snapshot() - before).turns;
        assert!(
            turns <= 2 + u64::from(SPURIOUS),
            "contract 8: {turns} turns in {late:?}: it spins"
        );
    });
}

/// A callback closes another source whose event is in hand, and a new one takes both its slot and
/// its descriptor: the event does not reach it.
pub fn a_descriptor_used_again_gets_nothing_of_the_former<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let mut sources = Vec::new();
    for _ in 0..2 {
        let (mut ours, peer) = pair_with_input(b"x");
        let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
        sources.push((token, ours, peer));
    }
    let mut successor = None;
    run(&mut event_loop, |context, call| {
        let Call::Ready(token, _) = call else { return };
        assert!(successor.is_none(), "contract 7: {token} is told what was its predecessor's");
        let other = sources.iter().position(|&(known, ..)| known != token).expect("two");
        let (former, mut former_source, _) = sources.swap_remove(other);
        context.deregister(former, &mut former_source).expect("it is known");
        let (next, peer) = pair();
        let mut next = replace(former_source, next);
        let token = context.register(&mut next, Interest::READABLE).expect("a new source");
        assert_eq!(token.index(), former.index(), "the slot was not used again");
        successor = Some((token, next, peer));
        context.stop();
    });
    let (first, mut first_source, _) = sources.pop().expect("one is left");
    event_loop.context().deregister(first, &mut first_source).expect("it is known");
    let (token, next, mut peer) = successor.expect("a callback ran");
    turn(&mut event_loop, Some(Duration::from_millis(2)), |_, call| {
        if let Call::Ready(token, readiness) = call {
            panic!("contract 7: {token} is told {readiness:?} of its predecessor");
        }
    });
    send(&mut peer, b"y");
    run(&mut event_loop, |context, call| {
        if let Call::Ready(told, _) = call {
            assert_eq!(told, token);
            let mut byte = [0];
            let done = read(context, token, &next, &mut byte);
            assert_eq!((done.expect("a byte is there"), byte), (1, *b"y"));
            context.stop();
        }
    });
}

/// Sends a thread signals, which end its waits and do nothing else, until something is over. A call
/// that can be restarted is (`SA_RESTART`).
pub(crate) fn interrupt_until<T>(thread: &JoinHandle<T>, is_over: impl Fn() -> bool) {
    // Nobody else in this process uses it.
    const SIGNAL: Signal = Signal::SIGUSR1;
    flag::register(SIGNAL as i32, Arc::default()).expect("a signal that may be handled");
    while !is_over() {
        // The thread may be gone since.
        let _ = pthread_kill(thread.as_pthread_t() as Pthread, SIGNAL);
        // Without a rest, it would do nothing but handle signals.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `waits` on a thread that is interrupted again and again until it is done.
fn interrupted<T: Send + 'static>(waits: impl FnOnce() -> T + Send + 'static) -> T {
    let waiting = thread::spawn(waits);
    interrupt_until(&waiting, || waiting.is_finished());
    waiting.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
}

/// A signal is no error: `poll` returns with nothing.
pub fn a_signal_ends_a_wait<B: Backend + 'static>(make: Make<B>) {
    let told = interrupted(move || Watcher::new(make).poll(None));
    assert_eq!(told, [], "contract 2: nothing happened but a signal");
}

/// While signals end its waits, a timer of a loop is neither early nor put off.
pub fn signals_neither_hurry_nor_delay_a_timer<B: Backend + 'static>(make: Make<B>) {
    const AFTER: Duration = Duration::from_millis(20);
    interrupted(move || {
        let mut event_loop = new_loop(make);
        let set = Instant::now();
        event_loop.context().set_timer(AFTER, Token::new(0, 0));
        run(&mut event_loop, |context, call| {
            if let Call::Timer(..) = call {
                assert!(set.elapsed() >= AFTER, "contract 2: early");
                context.stop();
            }
        });
    });
}
