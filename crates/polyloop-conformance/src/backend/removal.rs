//! Contract 7, the backend's part: no event after `deregister`.

use std::io::Read;

use polyloop::{Backend, Interest, Readiness};

use crate::sockets::{pair, pair_with_input, pairs, reset, send};
use crate::watcher::Watcher;
use crate::Make;

/// What was ready, and told, before `deregister` is not told after it.
pub fn nothing_is_told_after_deregister<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair_with_input(b"x");
    let token = watcher.register(&mut ours, Interest::READABLE | Interest::WRITABLE);
    watcher.expect(token, Readiness::READABLE);
    watcher.deregister(token, &mut ours);
    send(&mut peer, b"x");
    watcher.expect_silence(token, "contract 7: data after deregister");
    reset(peer);
    watcher.expect_silence(token, "contract 7: a reset after deregister");
}

/// What was ready, but not told yet, before `deregister` is not told after it.
pub fn nothing_untold_is_told_after_deregister<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, peer) = pair_with_input(b"x");
    let token = watcher.register(&mut ours, Interest::READABLE | Interest::WRITABLE);
    drop(peer);
    watcher.deregister(token, &mut ours);
    watcher.expect_silence(token, "contract 7: ready before deregister, told after it");
}

/// Nor is what did not fit into the list of the poll before.
pub fn what_did_not_fit_is_not_told_after_deregister<B: Backend>(make: Make<B>) {
    const SOURCES: usize = 6;
    let mut watcher = Watcher::with_capacity(make, 1);
    let (mut ours, mut peers) = pairs(SOURCES);
    let mut tokens = Vec::new();
    for (ours, peer) in ours.iter_mut().zip(&mut peers) {
        send(peer, b"x");
        tokens.push(watcher.register(ours, Interest::READABLE));
    }
    while watcher.poll(None).is_empty() {}
    // `Watcher::poll` panics at an event for any of them.
    for (ours, &token) in ours.iter_mut().zip(&tokens) {
        watcher.deregister(token, ours);
    }
    watcher.expect_silence(tokens[0], "contract 7: ready before deregister, told after it");
}

/// `close` ends both the watching and the connection, and the backend goes on with the next one.
pub fn close_forgets_and_closes<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    for interest in [Interest::READABLE | Interest::WRITABLE, Interest::NONE] {
        let (mut ours, mut peer) = pair();
        let token = watcher.register(&mut ours, interest);
        watcher.backend.close(ours);
        watcher.forget(token);
        let end = peer.read(&mut [0; 16]).expect("the stream was closed in order");
        assert_eq!(end, 0, "close left the connection open");
        watcher.expect_silence(token, "contract 7: an event after close");
        // The next one may have the same number.
        let (mut next, mut peer) = pair();
        let token = watcher.register(&mut next, Interest::READABLE);
        send(&mut peer, b"x");
        watcher.expect(token, Readiness::READABLE);
        watcher.deregister(token, &mut next);
    }
}

/// A source that was never registered can be closed all the same.
pub fn an_unknown_source_can_be_closed<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (ours, mut peer) = pair();
    watcher.backend.close(ours);
    assert_eq!(peer.read(&mut [0; 16]).expect("the stream was closed in order"), 0);
}
