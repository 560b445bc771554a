//! What a backend declares: it must do no less, and no more.

use std::io::Read;
use std::time::{Duration, Instant};

use polyloop::{Backend, Interest, Readiness, Trigger};

use crate::exceptions::FORCED_POLL;
use crate::script::SPURIOUS;
use crate::sockets::{drain, pair, pair_with_input, send, send_out_of_band};
use crate::watcher::Watcher;
use crate::Make;

/// On levels, what lasts is told again and again; on edges it is told once.
pub fn trigger_is_as_declared<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, _peer) = pair_with_input(b"x");
    let token = watcher.register(&mut ours, Interest::READABLE);
    watcher.expect(token, Readiness::READABLE);
    match watcher.backend.caps().trigger {
        Trigger::Level => {
            for _ in 0..3 {
                watcher.expect(token, Readiness::READABLE);
            }
        }
        Trigger::Edge => watcher.expect_silence(token, "caps: an edge is told once"),
    }
}

/// On levels, what is left over after a read is told again.
pub fn a_level_with_data_left_is_told_again<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, _peer) = pair_with_input(b"0123456789");
    let token = watcher.register(&mut ours, Interest::READABLE);
    if watcher.backend.caps().trigger == Trigger::Edge {
        return;
    }
    for _ in 0..10 {
        watcher.expect(token, Readiness::READABLE);
        assert_eq!(ours.read(&mut [0; 1]).expect("a byte is there"), 1);
    }
    watcher.expect_silence(token, "contract 4: all was read");
}

/// After a read that said `WouldBlock`, new data is told on edges too, as often as it comes.
pub fn new_data_is_told_after_would_block<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    for round in 0..20_u8 {
        send(&mut peer, &[round]);
        watcher.expect(token, Readiness::READABLE);
        assert_eq!(drain(&ours).0, [round]);
    }
}

/// Where a short read is declared to drain, new data is told after it. On an edge where it is not,
/// new data is not told before a read says `WouldBlock`, and then it is.
pub fn short_reads_are_as_declared<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    let mut buffer = [0; 16];
    let caps = watcher.backend.caps();
    if caps.short_read_drains {
        for round in 0..20_u8 {
            send(&mut peer, &[round]);
            watcher.expect(token, Readiness::READABLE);
            assert_eq!(ours.read(&mut buffer).expect("a byte is there"), 1);
        }
        return;
    }
    for round in 0..20_u8 {
        send(&mut peer, &[round]);
        watcher.expect(token, Readiness::READABLE);
        assert_eq!(ours.read(&mut buffer).expect("a byte is there"), 1);
        send(&mut peer, &[round]);
        // kqueue does tell new data; what it does not promise needs an end or an error that comes
        // with data and can't be made to come at that moment. There nothing is lost to be seen.
        let kqueue = cfg!(unix) && !cfg!(target_os = "linux") && !FORCED_POLL;
        if caps.trigger == Trigger::Edge && !kqueue {
            watcher.expect_silence(token, "caps: a short read drains, and that is not declared");
        }
        // On loopback it has arrived when the probe of the silence has; else this waits for it.
        let mut left = 1;
        while left > 0 {
            left -= drain(&ours).0.len();
        }
    }
}

/// An out-of-band byte is told where that is declared, and nowhere else.
pub fn priority_is_as_declared<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE | Interest::PRIORITY);
    send_out_of_band(&peer, b'!');
    if watcher.backend.caps().priority {
        watcher.expect(token, Readiness::PRIORITY);
    }
    // Plain data behind it is told as ever.
    drain(&ours);
    send(&mut peer, b"x");
    let told = watcher.expect(token, Readiness::READABLE);
    assert!(
        watcher.backend.caps().priority || !told.is_priority(),
        "caps: priority was told, and not declared"
    );
}

/// Whoever asked for priority data only is told of it only.
pub fn priority_can_be_asked_for_alone<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, peer) = pair_with_input(b"x");
    let token = watcher.register(&mut ours, Interest::PRIORITY);
    watcher.expect_silence(token, "contract 4: plain data is not priority data");
    send_out_of_band(&peer, b'!');
    if watcher.backend.caps().priority {
        assert_eq!(watcher.expect(token, Readiness::PRIORITY), Readiness::PRIORITY);
    } else {
        let silent = watcher.poll(Some(Duration::ZERO));
        assert_eq!(silent, [], "caps: priority was told, and not declared");
    }
}

/// Whoever did not ask for priority data is not told of it.
pub fn priority_is_not_told_unasked<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, peer) = pair();
    let token = watcher.register(&mut ours, Interest::WRITABLE);
    send_out_of_band(&peer, b'!');
    assert_eq!(watcher.expect(token, Readiness::WRITABLE), Readiness::WRITABLE);
}

/// A hang-up while only priority data was asked for is told as that, or not at all; but no `poll`
/// returns again and again with nothing to say.
pub fn a_hangup_without_a_direction_does_not_spin<B: Backend>(make: Make<B>) {
    const QUIET: Duration = Duration::from_millis(10);
    let mut watcher = Watcher::new(make);
    let (mut ours, peer) = pair();
    watcher.register(&mut ours, Interest::PRIORITY);
    drop(peer);
    ours.shutdown(std::net::Shutdown::Write).expect("our half closes");
    let start = Instant::now();
    let mut empty = 0;
    while let Some(left) = QUIET.checked_sub(start.elapsed()) {
        empty += u32::from(watcher.poll(Some(left)).is_empty());
    }
    assert!(empty <= 2 + SPURIOUS, "contract 4: {empty} polls returned for nothing in {QUIET:?}");
}
