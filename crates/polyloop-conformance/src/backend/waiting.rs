//! Contract 2 and 3: what `poll` does with its output and with time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use polyloop::{Backend, Events, Interest, Readiness, Token};

use crate::script::SPURIOUS;
use crate::sockets::{pair, send};
use crate::watcher::Watcher;
use crate::Make;

/// What the caller left in the list is gone, whether something is told or not.
pub fn poll_clears_its_output<B: Backend>(make: Make<B>) {
    let mut backend = make().expect("the backend opens");
    let mut events = Events::with_capacity(4);
    let stranger = Token::new(77, 7);
    for _ in 0..4 {
        events.push(stranger, Readiness::READABLE);
    }
    backend.poll(&mut events, Some(Duration::ZERO)).expect("poll does not fail");
    assert!(events.is_empty(), "contract 2: poll left {:?} where it found it", &events[..]);

    let (mut ours, mut peer) = pair();
    backend.register(&mut ours, Token::new(1, 1), Interest::READABLE).expect("a new source");
    send(&mut peer, b"x");
    while events.iter().all(|event| event.token != Token::new(1, 1)) {
        events.clear();
        events.push(stranger, Readiness::READABLE);
        backend.poll(&mut events, None).expect("poll does not fail");
        assert!(events.iter().all(|event| event.token != stranger), "contract 2: poll added");
    }
}

/// Without a limit `poll` waits until it is woken, with and without sources.
pub fn no_limit_waits_for_a_wake<B: Backend>(make: Make<B>) {
    const ROUNDS: u32 = 100;
    let mut watcher = Watcher::new(make);
    let waker = watcher.backend.waker();
    let (mut idle, _peer) = pair();
    for watching in [false, true] {
        if watching {
            watcher.register(&mut idle, Interest::READABLE);
        }
        let woken = Arc::new(AtomicBool::new(false));
        let (going_in, go) = mpsc::channel();
        let thread = thread::spawn({
            let (woken, waker) = (Arc::clone(&woken), waker.clone());
            move || {
                for () in go {
                    woken.store(true, Ordering::SeqCst);
                    waker.wake().expect("a wake is sent");
                }
            }
        });
        let mut early = 0;
        for _ in 0..ROUNDS {
            woken.store(false, Ordering::SeqCst);
            going_in.send(()).expect("the thread listens");
            loop {
                let told = watcher.poll(None);
                assert!(told.is_empty(), "a wake is no event: {told:?}");
                if woken.load(Ordering::SeqCst) {
                    break;
                }
                early += 1;
            }
        }
        drop(going_in);
        thread.join().expect("the thread ends with its channel");
        // The wake of one round may end the first wait of the next.
        assert!(early <= ROUNDS + SPURIOUS, "contract 3: None returned {early} times unasked");
    }
}

/// Without a limit `poll` waits until something is ready.
pub fn no_limit_waits_for_readiness<B: Backend>(make: Make<B>) {
    const ROUNDS: u32 = 100;
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    let (going_in, go) = mpsc::channel();
    let thread = thread::spawn(move || {
        for () in go {
            send(&mut peer, b"x");
        }
        peer
    });
    let mut empty = 0;
    for _ in 0..ROUNDS {
        going_in.send(()).expect("the thread listens");
        loop {
            let told = watcher.poll(None);
            if told.iter().any(|event| event.token == token) {
                break;
            }
            empty += 1;
        }
        crate::sockets::drain(&ours);
    }
    drop(going_in);
    thread.join().expect("the thread ends with its channel");
    assert!(empty <= SPURIOUS, "contract 3: None returned {empty} times with nothing");
}

/// Zero returns at once, with nothing ready and nothing registered.
pub fn zero_does_not_wait<B: Backend>(make: Make<B>) {
    /// Systems that count in milliseconds wait for a whole one at the least. A wait that begins at
    /// a tick of theirs lasts to the next, so all but the first are whole.
    const WAITED: Duration = Duration::from_micros(500);
    let mut watcher = Watcher::new(make);
    let (mut idle, _peer) = pair();
    for watching in [false, true] {
        if watching {
            watcher.register(&mut idle, Interest::READABLE);
        }
        let mut poll = || {
            let start = Instant::now();
            assert_eq!(watcher.poll(Some(Duration::ZERO)), []);
            start.elapsed()
        };
        poll();
        // A machine that is busy delays some, and never all.
        let fastest = (0..100).map(|_| poll()).min().expect("there are some");
        assert!(fastest < WAITED, "contract 3: with zero it waited, {fastest:?} at the least");
    }
}

/// A limit is waited for, however it falls on a millisecond, and not in thousands of short waits.
pub fn a_limit_is_never_cut_short<B: Backend>(make: Make<B>) {
    const ROUNDS: u32 = 20;
    let mut watcher = Watcher::new(make);
    let (mut idle, _peer) = pair();
    for watching in [false, true] {
        if watching {
            watcher.register(&mut idle, Interest::READABLE);
        }
        for micros in [1, 300, 999, 1_500] {
            let mut polls = 0;
            for _ in 0..ROUNDS {
                // It polls until the time has passed: whatever was cut shows in the count.
                polls += watcher.idle_polls(Duration::from_micros(micros));
            }
            assert!(
                polls <= ROUNDS + SPURIOUS,
                "contract 3: {ROUNDS} waits of {micros} µs took {polls} polls"
            );
        }
    }
}

/// When a limit has passed, the wait is over.
pub fn a_limit_is_over_in_time<B: Backend>(make: Make<B>) {
    /// The clock of Windows ticks every 15.6 ms.
    const LATE: Duration = Duration::from_millis(if cfg!(windows) { 20 } else { 5 });
    let mut watcher = Watcher::new(make);
    let (mut idle, _peer) = pair();
    for watching in [false, true] {
        if watching {
            watcher.register(&mut idle, Interest::READABLE);
        }
        for limit in [1_u64, 999, 5_000].map(Duration::from_micros) {
            let mut is_in_time = || {
                let start = Instant::now();
                watcher.idle_polls(limit);
                start.elapsed() < limit + LATE
            };
            // A machine that is busy delays some, and never all.
            let in_time = (0..100).any(|_| is_in_time());
            assert!(in_time, "contract 3: a wait of {limit:?} took more than {LATE:?} longer");
        }
    }
}

/// The longest limit that can be said is no error.
pub fn the_longest_limit_is_accepted<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    send(&mut peer, b"x");
    let mut told = Vec::new();
    while told.is_empty() {
        told = watcher.poll(Some(Duration::MAX));
    }
    assert_eq!(told[0].token, token);
}

/// While other threads keep waking it, a limit is still waited for and still over in the end.
pub fn a_limit_holds_while_others_wake<B: Backend>(make: Make<B>) {
    const LIMIT: Duration = Duration::from_millis(20);
    let mut watcher = Watcher::new(make);
    let enough = Arc::new(AtomicBool::new(false));
    let thread = thread::spawn({
        let (enough, waker) = (Arc::clone(&enough), watcher.backend.waker());
        move || {
            while !enough.load(Ordering::SeqCst) {
                waker.wake().expect("a wake is sent");
                thread::yield_now();
            }
        }
    });
    let start = Instant::now();
    // A backend that restarted its wait inside, at each wake, would never return.
    watcher.idle_polls(LIMIT);
    assert!(start.elapsed() >= LIMIT);
    enough.store(true, Ordering::SeqCst);
    thread.join().expect("the thread ends");
}
