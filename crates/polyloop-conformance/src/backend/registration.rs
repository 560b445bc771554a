//! Contract 1: the table of what is registered.

use std::io::ErrorKind;
use std::time::Duration;

use polyloop::{Backend, Interest, Readiness, Token};

use crate::sockets::{drain, pair, pairs, send};
use crate::watcher::Watcher;
use crate::Make;

/// A source that is registered is refused a second time, and the first registration stands.
pub fn registering_twice_is_refused<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    let token = watcher.register(&mut ours, Interest::READABLE);
    for interest in [Interest::READABLE, Interest::WRITABLE, Interest::NONE] {
        let another = watcher.token();
        let again = watcher.backend.register(&mut ours, another, interest);
        let error = again.expect_err("contract 1: the second registration is refused");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "contract 1: {error}");
    }
    send(&mut peer, b"x");
    watcher.expect(token, Readiness::READABLE);
}

/// So is one that is registered for nothing.
pub fn registering_twice_is_refused_without_interest<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, _peer) = pair();
    watcher.register(&mut ours, Interest::NONE);
    let another = watcher.token();
    let again = watcher.backend.register(&mut ours, another, Interest::READABLE);
    let error = again.expect_err("contract 1: the second registration is refused");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "contract 1: {error}");
}

/// A source that was never registered, or is so no more, can be neither changed nor removed.
pub fn an_unknown_source_is_not_found<B: Backend>(make: Make<B>) {
    fn expect_unknown<B: Backend>(backend: &mut B, source: &mut mio::net::TcpStream) {
        let changed = backend.reregister(source, Token::new(1, 1), Interest::READABLE);
        let error = changed.expect_err("contract 1: an unknown source can't be reregistered");
        assert_eq!(error.kind(), ErrorKind::NotFound, "contract 1: {error}");
        let removed = backend.deregister(source);
        let error = removed.expect_err("contract 1: an unknown source can't be deregistered");
        assert_eq!(error.kind(), ErrorKind::NotFound, "contract 1: {error}");
    }
    let mut watcher = Watcher::new(make);
    let (mut ours, _peer) = pair();
    expect_unknown(&mut watcher.backend, &mut ours);
    for interest in [Interest::READABLE, Interest::NONE] {
        let token = watcher.register(&mut ours, interest);
        watcher.deregister(token, &mut ours);
        expect_unknown(&mut watcher.backend, &mut ours);
    }
}

/// What was deregistered can be registered again, and is told under its new token.
pub fn a_source_can_be_registered_again<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peer) = pair();
    for _ in 0..3 {
        let token = watcher.register(&mut ours, Interest::READABLE);
        send(&mut peer, b"x");
        watcher.expect(token, Readiness::READABLE);
        drain(&ours);
        watcher.deregister(token, &mut ours);
    }
}

/// Removing sources from the midst of a table leaves the others as they are.
pub fn removing_some_leaves_the_others<B: Backend>(make: Make<B>) {
    const SOURCES: usize = 24;
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peers) = pairs(SOURCES);
    let tokens: Vec<_> =
        ours.iter_mut().map(|ours| watcher.register(ours, Interest::READABLE)).collect();
    // The first, the last and every third.
    let gone: Vec<_> = (0..SOURCES - 1).step_by(3).chain([SOURCES - 1]).collect();
    for &index in &gone {
        watcher.deregister(tokens[index], &mut ours[index]);
    }
    for index in 0..SOURCES {
        send(&mut peers[index], b"x");
        if !gone.contains(&index) {
            watcher.expect(tokens[index], Readiness::READABLE);
            drain(&ours[index]);
        }
    }
}

/// A backend has a name, and what it declares does not change.
pub fn declares_the_same_every_time<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (name, caps) = (watcher.backend.name(), watcher.backend.caps());
    assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()), "{name:?}");
    let (mut ours, _peer) = pair();
    watcher.register(&mut ours, Interest::READABLE);
    watcher.poll(Some(Duration::ZERO));
    assert_eq!((watcher.backend.name(), watcher.backend.caps()), (name, caps));
}
