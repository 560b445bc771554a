//! Contract 10: wakes from other threads.

use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use polyloop::{Backend, Interest, Readiness, Waker};

use crate::script::SPURIOUS;
use crate::sockets::{drain, pair, send};
use crate::watcher::Watcher;
use crate::Make;

const QUIET: Duration = Duration::from_millis(10);

fn wake(waker: &Waker) {
    waker.wake().expect("a wake is sent");
}

/// After whatever was sent, the backend waits again.
fn expect_quiet<B: Backend>(watcher: &mut Watcher<B>, why: &str) {
    let polls = watcher.idle_polls(QUIET);
    assert!(polls <= 2 + SPURIOUS, "contract 10: {polls} polls in {QUIET:?} {why}");
}

/// A wake that was sent before `poll` ends it, from this thread or another.
pub fn a_wake_before_poll_is_not_lost<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let waker = watcher.backend.waker();
    for _ in 0..50 {
        wake(&waker);
        assert_eq!(watcher.poll(None), [], "a wake is no event");
    }
    for _ in 0..50 {
        let waker = waker.clone();
        thread::spawn(move || wake(&waker)).join().expect("the thread ends");
        assert_eq!(watcher.poll(None), [], "a wake is no event");
    }
}

/// Nor is it lost over a change that is made between the two.
pub fn a_wake_before_a_change_is_not_lost<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let waker = watcher.backend.waker();
    let (mut idle, _peer) = pair();
    wake(&waker);
    let token = watcher.register(&mut idle, Interest::READABLE);
    assert_eq!(watcher.poll(None), []);
    wake(&waker);
    watcher.reregister(token, &mut idle, Interest::READABLE);
    assert_eq!(watcher.poll(None), []);
    wake(&waker);
    watcher.deregister(token, &mut idle);
    assert_eq!(watcher.poll(None), []);
}

/// However many are sent, one `poll` or two use them all up.
pub fn wakes_coalesce<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let waker = watcher.backend.waker();
    for _ in 0..5_000 {
        wake(&waker);
    }
    assert_eq!(watcher.poll(None), []);
    expect_quiet(&mut watcher, "after 5,000 wakes");
    wake(&waker);
    assert_eq!(watcher.poll(None), [], "contract 10: and the next one wakes again");
}

/// Wakes from many threads at once.
pub fn wakes_come_from_many_threads<B: Backend>(make: Make<B>) {
    const THREADS: usize = 4;
    const ROUNDS: usize = 50;
    let mut watcher = Watcher::new(make);
    let together = Arc::new(Barrier::new(THREADS));
    let (sent, arrived) = mpsc::channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (together, sent) = (Arc::clone(&together), sent.clone());
            let waker = watcher.backend.waker();
            thread::spawn(move || {
                for _ in 0..ROUNDS {
                    together.wait();
                    // First the fact, then the wake: whoever is woken finds it.
                    sent.send(()).expect("the test listens");
                    wake(&waker);
                }
            })
        })
        .collect();
    let mut seen = 0;
    while seen < THREADS * ROUNDS {
        watcher.poll(None);
        seen += arrived.try_iter().count();
    }
    for thread in threads {
        thread.join().expect("the thread ends");
    }
    // The last wakes may have come after their facts were seen.
    watcher.poll(Some(Duration::ZERO));
    expect_quiet(&mut watcher, "after wakes from many threads");
}

/// A wake neither hides what is ready nor is hidden by it.
pub fn a_wake_comes_beside_events<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let waker = watcher.backend.waker();
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    for _ in 0..20 {
        send(&mut peer, b"x");
        wake(&waker);
        watcher.expect(token, Readiness::READABLE);
        drain(&ours);
    }
    expect_quiet(&mut watcher, "after wakes beside events");
}

/// With room for one event the wake does not take it away from a source that is ready.
pub fn a_wake_takes_no_room<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::with_capacity(make, 1);
    let waker = watcher.backend.waker();
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    for _ in 0..20 {
        wake(&waker);
        send(&mut peer, b"x");
        watcher.expect(token, Readiness::READABLE);
        drain(&ours);
    }
}

/// A waker that outlives its backend can still be called.
pub fn a_waker_may_outlive_its_backend<B: Backend>(make: Make<B>) {
    let watcher = Watcher::new(make);
    let waker = watcher.backend.waker();
    drop(watcher);
    // Whether that is an error is the system's business; that it is harmless is the contract's.
    let _ = waker.wake();
    let _ = waker.clone().wake();
}
