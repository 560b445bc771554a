//! Contract 7, the loop's part: any source may be removed at any time.

use std::time::Duration;

use mio::net::TcpStream;
use polyloop::{Backend, Context, EventLoop, Interest, Readiness, Token};

use crate::script::{new_loop, new_loop_for, read, run, turn, would_block, Call};
use crate::sockets::{pair, pairs, send};
use crate::Make;

const SOURCES: usize = 8;

/// Sources that are all ready, by their tokens.
struct Ready {
    watched: Vec<(Token, TcpStream)>,
    _peers: Vec<std::net::TcpStream>,
}

impl Ready {
    fn new<B: Backend, M: Send + 'static>(event_loop: &mut EventLoop<B, M>) -> Ready {
        let (ours, mut peers) = pairs(SOURCES);
        peers.iter_mut().for_each(|peer| send(peer, b"x"));
        let register = |mut ours| {
            let registered = event_loop.context().register(&mut ours, Interest::READABLE);
            (registered.expect("a new source"), ours)
        };
        Ready { watched: ours.into_iter().map(register).collect(), _peers: peers }
    }

    /// Removes all but `token`, one half with `deregister` and one with `close`.
    fn remove_others<B: Backend>(&mut self, context: &mut Context<B>, token: Token) {
        let (kept, others) = self.watched.drain(..).partition(|&(known, _)| known == token);
        self.watched = kept;
        for (index, (other, mut source)) in Vec::into_iter(others).enumerate() {
            if index % 2 == 0 {
                context.deregister(other, &mut source).expect("it is known");
            } else {
                context.close(other, source).expect("it is known");
            }
        }
    }
}

/// The first callback removes all other sources, whose events are in hand: none is dispatched, and
/// those that are dropped are counted.
pub fn a_callback_may_remove_all_others<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let mut ready = Ready::new(&mut event_loop);
    let mut first = None;
    run(&mut event_loop, |context, call| {
        let Call::Ready(token, _) = call else { return };
        assert_eq!(first, None, "contract 7: {token} was removed in this turn and is told");
        first = Some(token);
        ready.remove_others(context, token);
        context.stop();
    });
    let counts = event_loop.context().counters().snapshot();
    assert_eq!(counts.stale_events, counts.events - 1, "contract 7: {counts:?}");
    turn(&mut event_loop, Some(Duration::ZERO), |_, call| {
        if let Call::Ready(token, _) = call {
            assert_eq!(Some(token), first, "contract 7: {token} was removed and is told");
        }
    });
}

/// A callback removes its own source, and is not called again.
pub fn a_callback_may_remove_itself<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let mut ready = Ready::new(&mut event_loop);
    let mut left = SOURCES;
    run(&mut event_loop, |context, call| {
        let Call::Ready(token, _) = call else { return };
        let found = ready.watched.iter().position(|&(known, _)| known == token);
        let index = found.expect("contract 7: removed and told");
        let (_, mut source) = ready.watched.swap_remove(index);
        context.deregister(token, &mut source).expect("it is known");
        assert!(context.deregister(token, &mut source).is_err(), "contract 1: removed twice");
        left -= 1;
        if left == 0 {
            context.stop();
        }
    });
    assert_eq!(event_loop.context().counters().snapshot().stale_events, 0);
}

/// New sources take the slots, and often the descriptors, of those that the same callback removed:
/// the events of these never reach them.
pub fn a_slot_used_again_gets_nothing_of_the_former<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let mut ready = Ready::new(&mut event_loop);
    let former: Vec<usize> = ready.watched.iter().map(|(token, _)| token.index()).collect();
    let mut successors = Vec::new();
    run(&mut event_loop, |context, call| {
        let Call::Ready(token, _) = call else { return };
        assert!(successors.is_empty(), "contract 7: {token} is told what was its predecessor's");
        ready.remove_others(context, token);
        for _ in 1..SOURCES {
            let (mut ours, peer) = pair();
            let token = context.register(&mut ours, Interest::READABLE).expect("a new source");
            assert!(former.contains(&token.index()), "no slot was used again: this shows nothing");
            successors.push((token, ours, peer));
        }
        context.stop();
    });
    // Each successor works, and is told its own.
    for (token, ours, peer) in &mut successors {
        send(peer, b"y");
        run(&mut event_loop, |context, call| {
            let Call::Ready(told, _) = call else { return };
            if told == *token {
                let mut byte = [0];
                let done = read(context, *token, ours, &mut byte);
                assert_eq!((done.expect("a byte is there"), byte), (1, *b"y"));
                context.stop();
            }
        });
    }
}

/// A source that waits to be dispatched again may be removed, and its slot used again.
pub fn a_reposted_source_may_be_removed<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, _peer) = pair();
    let (mut next, mut next_peer) = pair();
    let context = event_loop.context();
    let former = context.register(&mut ours, Interest::READABLE).expect("new");
    context.repost(former, Readiness::READABLE);
    context.deregister(former, &mut ours).expect("it is known");
    let token = context.register(&mut next, Interest::READABLE).expect("new");
    assert_eq!(token.index(), former.index(), "the slot was not used again: this shows nothing");
    turn(&mut event_loop, Some(Duration::ZERO), |_, call| {
        if let Call::Ready(token, _) = call {
            panic!("contract 7: {token} was told what was posted for its predecessor");
        }
    });
    send(&mut next_peer, b"x");
    run(&mut event_loop, |context, call| {
        if let Call::Ready(told, _) = call {
            assert_eq!(told, token);
            context.stop();
        }
    });
}

/// Sources are removed in messages and timers as in their own callbacks.
pub fn any_callback_may_remove_any_source<B: Backend>(make: Make<B>) {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum From {
        Message,
        Timer,
    }
    for from in [From::Message, From::Timer] {
        let mut event_loop = new_loop_for::<B, ()>(make);
        let mut ready = Ready::new(&mut event_loop);
        let nobody = Token::new(Token::MAX_INDEX, 0);
        event_loop.context().set_timer(Duration::ZERO, nobody);
        event_loop.sender().send(()).expect("the loop is there");
        let mut removed = false;
        run(&mut event_loop, |context, call| {
            let here = match call {
                Call::Message(()) => From::Message,
                Call::Timer(..) => From::Timer,
                Call::Ready(token, _) => {
                    assert!(!removed, "contract 7: {token} was removed in {from:?} and is told");
                    return;
                }
            };
            if here == from && !removed {
                removed = true;
                ready.remove_others(context, nobody);
                context.stop();
            }
        });
        turn(&mut event_loop, Some(Duration::from_millis(1)), |_, call| {
            if let Call::Ready(token, _) = call {
                panic!("contract 7: {token} was removed in {from:?} and is told");
            }
        });
    }
}

/// Every call with the token of a source that is gone is an error or does nothing.
pub fn a_token_of_the_past_does_nothing<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair();
    let context = event_loop.context();
    let former = context.register(&mut ours, Interest::READABLE).expect("new");
    context.deregister(former, &mut ours).expect("it is known");
    let token = context.register(&mut ours, Interest::READABLE).expect("new");
    let not_found = |done: std::io::Result<()>| {
        let error = done.expect_err("contract 1: the token is of the past");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    };
    not_found(context.set_interest(former, &mut ours, Interest::NONE));
    not_found(context.deregister(former, &mut ours));
    context.repost(former, Readiness::READABLE);
    assert!(would_block(&read(context, former, &ours, &mut [0; 16])));
    send(&mut peer, b"x");
    run(&mut event_loop, |context, call| {
        if let Call::Ready(told, _) = call {
            assert_eq!(told, token);
            context.stop();
        }
    });
}
