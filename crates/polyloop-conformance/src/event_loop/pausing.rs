//! What is wanted changes: in a source's own callback, in another's, while something is told.

use polyloop::{Backend, Interest};

use crate::script::{expect_quiet, new_loop, read, run, turn, would_block, Call};
use crate::sockets::{pair, pair_with_input, reset, send};
use crate::Make;

use std::time::{Duration, Instant};

/// Turns for a while in which nothing may be dispatched.
fn expect_pause<B: Backend>(event_loop: &mut polyloop::EventLoop<B, ()>) {
    let over = Instant::now() + Duration::from_millis(5);
    let mut turns = 0;
    while let Some(left) = over.checked_duration_since(Instant::now()) {
        turns += 1;
        turn(event_loop, Some(left), |_, call| {
            if let Call::Ready(token, readiness) = call {
                panic!("contract 5: {token} is paused and was told {readiness:?}");
            }
        });
    }
    assert!(turns <= 2 + crate::script::SPURIOUS, "{turns} turns in a pause: the loop spins");
}

/// A handler that reads a byte and pauses gets the rest when it resumes, from a quiet peer.
pub fn a_pause_keeps_what_was_told<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    for _ in 0..2 {
        send(&mut peer, b"0123456789");
        for expected in b'0'..=b'9' {
            run(&mut event_loop, |context, call| {
                let Call::Ready(..) = call else { return };
                let mut byte = [0];
                let done = read(context, token, &ours, &mut byte);
                if would_block(&done) {
                    return;
                }
                assert_eq!((done.expect("a byte is there"), byte[0]), (1, expected));
                context.set_interest(token, &mut ours, Interest::NONE).expect("it is known");
                context.stop();
            });
            expect_pause(&mut event_loop);
            let context = event_loop.context();
            context.set_interest(token, &mut ours, Interest::READABLE).expect("it is known");
        }
        expect_quiet(&mut event_loop, token, &ours);
    }
}

/// What comes during a pause is told when it is over: data, and then the end.
pub fn what_comes_in_a_pause_is_told_after_it<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    expect_quiet(&mut event_loop, token, &ours);
    let mut peer = {
        pause(&mut event_loop, token, &mut ours);
        send(&mut peer, b"x");
        expect_pause(&mut event_loop);
        Some(peer)
    };
    for expected in [1, 0] {
        let context = event_loop.context();
        context.set_interest(token, &mut ours, Interest::READABLE).expect("it is known");
        run(&mut event_loop, |context, call| {
            let Call::Ready(..) = call else { return };
            let done = read(context, token, &ours, &mut [0; 16]);
            if !would_block(&done) {
                assert_eq!(done.expect("data or the end"), expected);
                context.stop();
            }
        });
        pause(&mut event_loop, token, &mut ours);
        drop(peer.take());
        expect_pause(&mut event_loop);
    }
}

fn pause<B: Backend>(
    event_loop: &mut polyloop::EventLoop<B, ()>,
    token: polyloop::Token,
    ours: &mut mio::net::TcpStream,
) {
    event_loop.context().set_interest(token, ours, Interest::NONE).expect("it is known");
}

/// A source that another's callback pauses is not dispatched in this turn either, though its event
/// is in hand; resumed, it is.
pub fn another_callback_may_pause_a_source<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let mut sources = [pair_with_input(b"x"), pair_with_input(b"x")];
    let mut tokens = Vec::new();
    for (ours, _) in &mut sources {
        tokens.push(event_loop.context().register(ours, Interest::READABLE).expect("new"));
    }
    let mut first = None;
    run(&mut event_loop, |context, call| {
        let Call::Ready(token, _) = call else { return };
        assert_eq!(first, None, "contract 5: {token} was paused and is told");
        let me = tokens.iter().position(|&known| known == token).expect("a known token");
        for paused in 0..2 {
            // Itself as well.
            let ours = &mut sources[paused].0;
            context.set_interest(tokens[paused], ours, Interest::NONE).expect("it is known");
        }
        first = Some(me);
        context.stop();
    });
    expect_pause(&mut event_loop);
    let other = 1 - first.expect("one of them was told");
    let ours = &mut sources[other].0;
    let context = event_loop.context();
    context.set_interest(tokens[other], ours, Interest::READABLE).expect("it is known");
    run(&mut event_loop, |context, call| {
        if let Call::Ready(token, _) = call {
            assert_eq!(token, tokens[other]);
            context.stop();
        }
    });
}

/// A source that another's callback resumes is dispatched, though nothing comes for it any more.
pub fn another_callback_may_resume_a_source<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut waiting, _quiet) = pair_with_input(b"x");
    let (mut lively, mut peer) = pair();
    let context = event_loop.context();
    let paused = context.register(&mut waiting, Interest::READABLE).expect("new");
    let trigger = context.register(&mut lively, Interest::READABLE).expect("new");
    // Told, kept and paused; or, on levels, asked for no more.
    run(&mut event_loop, |context, call| {
        if let Call::Ready(token, _) = call {
            assert_eq!(token, paused);
            context.set_interest(paused, &mut waiting, Interest::NONE).expect("it is known");
            context.stop();
        }
    });
    expect_pause(&mut event_loop);
    send(&mut peer, b"go");
    run(&mut event_loop, |context, call| {
        let Call::Ready(token, _) = call else { return };
        if token == trigger {
            while read(context, token, &lively, &mut [0; 16]).is_ok() {}
            context.set_interest(paused, &mut waiting, Interest::READABLE).expect("it is known");
        } else {
            assert_eq!(token, paused);
            context.stop();
        }
    });
}

/// Pausing and resuming within one callback changes nothing.
pub fn a_pause_may_be_over_at_once<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, _peer) = pair_with_input(b"xy");
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    for _ in 0..2 {
        run(&mut event_loop, |context, call| {
            let Call::Ready(..) = call else { return };
            assert_eq!(read(context, token, &ours, &mut [0]).expect("a byte is there"), 1);
            for interest in [Interest::NONE, Interest::READABLE] {
                context.set_interest(token, &mut ours, interest).expect("it is known");
            }
            context.stop();
        });
    }
    expect_quiet(&mut event_loop, token, &ours);
}

/// After a reset was told, interest may still change, and what it changed to is told.
pub fn interest_may_change_after_a_reset<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    reset(peer);
    for interest in [Interest::READABLE | Interest::WRITABLE, Interest::NONE, Interest::READABLE] {
        run(&mut event_loop, |context, call| {
            if let Call::Ready(..) = call {
                context.stop();
            }
        });
        let context = event_loop.context();
        context.set_interest(token, &mut ours, interest).expect("it is known");
        if interest.is_none() {
            expect_pause(&mut event_loop);
            let context = event_loop.context();
            context.set_interest(token, &mut ours, Interest::WRITABLE).expect("it is known");
        }
    }
    event_loop.context().deregister(token, &mut ours).expect("it is known");
}
