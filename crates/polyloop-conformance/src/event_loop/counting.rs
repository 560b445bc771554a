//! What a loop counts.

use std::time::{Duration, Instant};

use polyloop::{Backend, Interest, Readiness, Trigger};

use crate::script::{new_loop, read, run, turn, would_block, Call, SPURIOUS};
use crate::sockets::{pair, send};
use crate::Make;

/// Each change that the backend is told counts. On edges, to want less is the loop's own affair.
pub fn changes_are_counted<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let caps = make().expect("the backend opens").caps();
    let narrowed = u64::from(caps.trigger == Trigger::Level);
    let ((mut ours, _peer), (mut other, _other_peer)) = (pair(), pair());
    let context = event_loop.context();

    let token = context.register(&mut ours, Interest::READABLE).expect("new");
    let other_token = context.register(&mut other, Interest::READABLE).expect("new");
    assert_eq!(context.counters().interest_changes.get(), 2);

    context.set_interest(token, &mut ours, Interest::NONE).expect("it is known");
    context.set_interest(token, &mut ours, Interest::NONE).expect("it is known");
    assert_eq!(context.counters().interest_changes.get(), 2 + narrowed);

    context.deregister(other_token, &mut other).expect("it is known");
    assert_eq!(context.counters().interest_changes.get(), 3 + narrowed);
    // A kernel that keeps the set is called for each, but forgets what is closed by itself.
    let calls = if caps.kernel_set { 3 + narrowed } else { 0 };
    context.close(token, ours).expect("it is known");
    let counts = context.counters().snapshot();
    assert_eq!((counts.interest_changes, counts.other_calls), (4 + narrowed, calls), "{counts:?}");
}

/// So does each turn, by what it brought; and how long it waited.
pub fn turns_and_waits_are_counted<B: Backend>(make: Make<B>) {
    const LIMIT: Duration = Duration::from_millis(5);
    let begun = Instant::now();
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    event_loop.context().repost(token, Readiness::READABLE);
    turn(&mut event_loop, None, |context, call| {
        assert!(matches!(call, Call::Ready(..)), "nothing else can come");
        assert!(would_block(&read(context, token, &ours, &mut [0])), "nobody sent anything");
    });
    let counts = event_loop.counters().snapshot();
    assert_eq!((counts.turns, counts.empty_polls, counts.reposts), (1, 1, 1), "{counts:?}");

    let waited = |counts: u64| Duration::from_nanos(counts);
    let is_over = (0..=SPURIOUS).any(|_| {
        turn(&mut event_loop, Some(LIMIT), |_, _| panic!("nothing happened"));
        waited(event_loop.counters().waiting_ns.get()) >= LIMIT
    });
    let counts = event_loop.counters().snapshot();
    let in_all = begun.elapsed();
    assert!(is_over && waited(counts.waiting_ns) <= in_all, "{counts:?} in {in_all:?}");
    assert!(counts.turns >= 2, "{counts:?}");
    assert_eq!((counts.events, counts.empty_polls), (0, counts.turns), "{counts:?}");

    send(&mut peer, b"x");
    run(&mut event_loop, |context, _| context.stop());
    let counts = event_loop.counters().snapshot();
    assert_eq!((counts.events, counts.turns - counts.empty_polls), (1, 1), "{counts:?}");
}
