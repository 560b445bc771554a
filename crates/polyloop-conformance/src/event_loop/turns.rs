//! The order of a turn, and that everything has its turn.

use std::time::Duration;

use polyloop::{Backend, Interest, Readiness, Token};

use crate::script::{new_loop, new_loop_for, read, run, turn, Call};
use crate::sockets::{pair, pair_with_input, send};
use crate::Make;

/// Messages come before input, and input before timers.
pub fn a_turn_goes_in_order<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop_for(make);
    let (mut ours, _peer) = pair_with_input(b"x");
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    // Told once, left unread: from now on it is dispatched in every turn.
    run(&mut event_loop, |context, call| {
        if let Call::Ready(..) = call {
            context.stop();
        }
    });
    event_loop.context().set_timer(Duration::ZERO, token);
    event_loop.sender().send(()).expect("the loop is there");
    let mut order = Vec::new();
    turn(&mut event_loop, None, |_, call| {
        order.push(match call {
            Call::Message(()) => "message",
            Call::Ready(..) => "input",
            Call::Timer(..) => "timer",
        });
    });
    assert_eq!(order, ["message", "input", "timer"]);
}

/// A source is dispatched once a turn, with all that is known of it.
pub fn a_source_is_dispatched_once_a_turn<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair_with_input(b"x");
    let both = Interest::READABLE | Interest::WRITABLE;
    let token = event_loop.context().register(&mut ours, both).expect("new");
    let mut last_turn = 0;
    let mut dispatched = 0;
    run(&mut event_loop, |context, call| {
        let Call::Ready(..) = call else { return };
        let turn = context.counters().turns.get();
        assert!(turn > last_turn, "dispatched twice in a turn");
        last_turn = turn;
        // A new event and a repost for the next turn.
        send(&mut peer, b"x");
        context.repost(token, Readiness::READABLE);
        dispatched += 1;
        if dispatched == 20 {
            context.stop();
        }
    });
}

/// A source with much to read does not keep another one waiting.
pub fn a_lively_source_does_not_starve_others<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut lively, mut peer) = pair();
    let (mut rare, mut rare_peer) = pair();
    let context = event_loop.context();
    let lively_token = context.register(&mut lively, Interest::READABLE).expect("new");
    let rare_token = context.register(&mut rare, Interest::READABLE).expect("new");
    send(&mut peer, &[0; 4096]);
    let mut reads = 0;
    run(&mut event_loop, |context, call| {
        let Call::Ready(token, _) = call else { return };
        if token == rare_token {
            return context.stop();
        }
        assert_eq!(token, lively_token);
        reads += 1;
        if reads == 10 {
            send(&mut rare_peer, b"x");
        }
        // One byte of thousands: it is never drained before the other one is told.
        assert_eq!(read(context, token, &lively, &mut [0]).expect("there is more"), 1);
    });
    assert!(reads < 4096, "the other one was told when the first had no more to read");
}

/// A source that is reposted by another one in every turn is dispatched nevertheless.
pub fn a_repost_is_not_put_off_by_another<B: Backend>(make: Make<B>) {
    const TIMES: u32 = 100;
    let mut event_loop = new_loop(make);
    let (mut lively, mut peer) = pair();
    let (mut quiet, _quiet_peer) = pair();
    let context = event_loop.context();
    let lively_token = context.register(&mut lively, Interest::READABLE).expect("new");
    let quiet_token = context.register(&mut quiet, Interest::READABLE).expect("new");
    send(&mut peer, b"x");
    let (mut reposted, mut dispatched) = (0, 0);
    run(&mut event_loop, |context, call| {
        let Call::Ready(token, _) = call else { return };
        if token == quiet_token {
            dispatched += 1;
            return;
        }
        assert_eq!(token, lively_token);
        // Read to its end and filled again, so that an event comes in every turn.
        while read(context, token, &lively, &mut [0; 16]).is_ok() {}
        send(&mut peer, b"x");
        context.repost(quiet_token, Readiness::READABLE);
        reposted += 1;
        if reposted == TIMES {
            context.stop();
        }
    });
    assert!(dispatched >= TIMES / 4, "reposted {TIMES} times, dispatched {dispatched} times");
}

/// `stop` ends the loop after the turn, not in the midst of it.
pub fn stop_ends_the_turn_first<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let nobody = Token::new(0, 0);
    event_loop.context().set_timer(Duration::ZERO, nobody);
    event_loop.context().set_timer(Duration::ZERO, nobody);
    let mut timers = 0;
    run(&mut event_loop, |context, call| {
        if let Call::Timer(..) = call {
            timers += 1;
            context.stop();
        }
    });
    assert_eq!(timers, 2, "both were due in the one turn");
}
