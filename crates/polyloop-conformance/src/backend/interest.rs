//! Contract 5 and 6: what changes with interest.

use polyloop::{Backend, Interest, Readiness};

use crate::sockets::{drain, finish, pair, pair_with_input, reset, send, Ended};
use crate::watcher::Watcher;
use crate::Make;

/// A source of interest none is told nothing, whatever happens to it.
pub fn without_interest_nothing_is_told<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut with_data, mut sender) = pair();
    let (mut ended, finisher) = pair();
    let (mut hung_up, leaver) = pair();
    let (mut broken, resetter) = pair();
    let data = watcher.register(&mut with_data, Interest::NONE);
    let end = watcher.register(&mut ended, Interest::NONE);
    let hangup = watcher.register(&mut hung_up, Interest::NONE);
    let error = watcher.register(&mut broken, Interest::NONE);
    send(&mut sender, b"x");
    finish(&finisher);
    drop(leaver);
    reset(resetter);
    for (token, what) in
        [(data, "data"), (end, "an end"), (hangup, "a hang-up"), (error, "a reset")]
    {
        watcher.expect_silence(token, &format!("contract 5: {what} without interest"));
    }
}

/// A source of interest none stays in the table, and tells what happened once it is asked to.
pub fn interest_can_be_asked_for_later<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::NONE);
    send(&mut peer, b"x");
    watcher.expect_silence(token, "contract 5: data without interest");
    watcher.reregister(token, &mut ours, Interest::READABLE);
    watcher.expect(token, Readiness::READABLE);
}

/// A hang-up during the silence is told after it.
pub fn a_hangup_in_silence_is_told_later<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    watcher.reregister(token, &mut ours, Interest::NONE);
    drop(peer);
    watcher.expect_silence(token, "contract 5: a hang-up without interest");
    watcher.reregister(token, &mut ours, Interest::READABLE);
    watcher.expect(token, Readiness::READABLE);
    assert_eq!(drain(&ours).1, Ended::Input);
}

/// Interest that is taken away silences a source that has been told, and may be taken away twice.
pub fn interest_can_be_taken_away<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE | Interest::WRITABLE);
    send(&mut peer, b"x");
    watcher.expect(token, Readiness::READABLE | Readiness::WRITABLE);
    for _ in 0..2 {
        watcher.reregister(token, &mut ours, Interest::NONE);
        send(&mut peer, b"x");
        watcher.expect_silence(token, "contract 5: data without interest");
    }
    watcher.deregister(token, &mut ours);
}

/// A source that was ready before it was registered is told at the next poll.
pub fn what_is_ready_when_registered_is_told<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, peer) = pair_with_input(b"x");
    let token = watcher.register(&mut ours, Interest::READABLE | Interest::WRITABLE);
    watcher.expect(token, Readiness::READABLE | Readiness::WRITABLE);
    drop(peer);
}

/// A source that is still ready is told anew after `reregister`, though nothing has happened and
/// its interest is the same: this is how an edge is armed again.
pub fn what_is_ready_when_reregistered_is_told<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, _peer) = pair_with_input(b"x");
    let token = watcher.register(&mut ours, Interest::READABLE);
    for _ in 0..3 {
        watcher.expect(token, Readiness::READABLE);
        watcher.reregister(token, &mut ours, Interest::READABLE);
    }
    watcher.expect(token, Readiness::READABLE);
}

/// So is a source that was told of a hang-up, an end or a reset: what no further event is to be
/// expected of is told again when asked again.
pub fn a_hangup_is_told_again_when_reregistered<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let [(mut ended, finisher), (mut hung_up, leaver), (mut broken, resetter)] =
        [pair(), pair(), pair()];
    finish(&finisher);
    hung_up.shutdown(std::net::Shutdown::Write).expect("our half closes");
    drop(leaver);
    reset(resetter);
    for ours in [&mut ended, &mut hung_up, &mut broken] {
        let token = watcher.register(ours, Interest::READABLE);
        for interest in [Interest::READABLE, Interest::READABLE | Interest::WRITABLE] {
            watcher.expect(token, Readiness::READABLE);
            watcher.reregister(token, ours, interest);
        }
        watcher.expect(token, Readiness::READABLE | Readiness::WRITABLE);
        watcher.deregister(token, ours);
    }
}

/// A direction that is added is told if it is ready already, and the other one is kept.
pub fn a_direction_can_be_added<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    watcher.expect_silence(token, "contract 4: room was not asked for");
    watcher.reregister(token, &mut ours, Interest::READABLE | Interest::WRITABLE);
    watcher.expect(token, Readiness::WRITABLE);
    watcher.reregister(token, &mut ours, Interest::READABLE);
    watcher.expect_silence(token, "contract 4: room is not asked for any more");
    send(&mut peer, b"x");
    watcher.expect(token, Readiness::READABLE);
}

/// After a `reregister` under another token, the former one is told no more.
pub fn a_token_can_be_changed<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let former = watcher.register(&mut ours, Interest::READABLE);
    send(&mut peer, b"x");
    watcher.expect(former, Readiness::READABLE);
    let token = watcher.token();
    watcher.forget(former);
    watcher.reregister(token, &mut ours, Interest::READABLE);
    watcher.expect(token, Readiness::READABLE);
}
