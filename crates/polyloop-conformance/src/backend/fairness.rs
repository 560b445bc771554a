//! Contract 9: every source has its turn.

use std::collections::BTreeMap;
use std::time::Duration;

use polyloop::{Backend, Interest, Token, Trigger};

use crate::sockets::{drain, pairs, send};
use crate::watcher::Watcher;
use crate::Make;

const SOURCES: usize = 24;
/// Fewer than there are sources, and no divisor of it.
const ROOM: usize = 7;
/// Polls that may return early and empty (contract 2).
const SLACK: usize = 8;

/// With more ready sources than the list holds, each is told within as many polls as it takes.
pub fn what_does_not_fit_is_told_next<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::with_capacity(make, ROOM);
    let (mut ours, mut peers) = pairs(SOURCES);
    let mut untold = BTreeMap::new();
    for (index, (ours, peer)) in ours.iter_mut().zip(&mut peers).enumerate() {
        send(peer, b"x");
        untold.insert(watcher.register(ours, Interest::READABLE), index);
    }
    for _ in 0..SOURCES.div_ceil(ROOM) + SLACK {
        // Nothing is used up: on edges each comes once, on levels they come in rotation.
        for event in watcher.poll(Some(Duration::from_millis(1))) {
            untold.remove(&event.token);
        }
    }
    assert!(untold.is_empty(), "contract 9: ready, and never told: {untold:?}");
}

/// The same while each told source is read and filled again by its peer.
pub fn busy_sources_do_not_hide_others<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::with_capacity(make, 1);
    let (mut ours, mut peers) = pairs(SOURCES);
    let mut index_of = BTreeMap::new();
    for (index, (ours, peer)) in ours.iter_mut().zip(&mut peers).enumerate() {
        send(peer, b"x");
        index_of.insert(watcher.register(ours, Interest::READABLE), index);
    }
    let mut times = [0_usize; SOURCES];
    let mut told = 0;
    while told < 4 * SOURCES {
        for event in watcher.poll(None) {
            let index = index_of[&event.token];
            times[index] += 1;
            told += 1;
            drain(&ours[index]);
            send(&mut peers[index], b"x");
        }
    }
    let (least, most) = (times.iter().min(), times.iter().max());
    assert!(
        least >= Some(&2) && most <= Some(&6),
        "contract 9: of {told} events each of {SOURCES} has about 4, these had {times:?}"
    );
}

/// A backend that looks through its set does not always begin at the same place.
pub fn the_first_to_be_told_changes<B: Backend>(make: Make<B>) {
    let mut watcher = Watcher::new(make);
    let (mut ours, mut peers) = pairs(SOURCES);
    let mut first: BTreeMap<Token, usize> = BTreeMap::new();
    for (ours, peer) in ours.iter_mut().zip(&mut peers) {
        send(peer, b"x");
        first.insert(watcher.register(ours, Interest::READABLE), 0);
    }
    if watcher.backend.caps().trigger == Trigger::Edge || watcher.backend.caps().kernel_set {
        // Nothing is scanned: the kernel says what comes first.
        return;
    }
    for _ in 0..SOURCES + SLACK {
        if let Some(event) = watcher.poll(Some(Duration::from_millis(1))).first() {
            *first.entry(event.token).or_default() += 1;
        }
    }
    let never = first.values().filter(|&&times| times == 0).count();
    assert_eq!(never, 0, "contract 9: {never} of {SOURCES} never came first: {first:?}");
}
