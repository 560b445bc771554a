//! Contract 2, the loop's part, and timers: never early, in order, cancelled in time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use polyloop::{Backend, Interest, Tick, Token};

use crate::script::{new_loop, new_loop_for, read, run, turn, Call, SPURIOUS};
use crate::sockets::{pair, pair_with_input, send};
use crate::Make;

fn name(index: usize) -> Token {
    Token::new(index, 0)
}

/// Timers come in the order of their deadlines, those of one deadline in the order of setting, and
/// none comes early.
pub fn timers_come_in_order_and_never_early<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    // Deadlines count from the call: each lies between these two.
    let (mut earliest, mut latest) = (Vec::new(), Vec::new());
    for (index, millis) in [6, 2, 6, 0, 4].into_iter().enumerate() {
        let after = Duration::from_millis(millis);
        earliest.push(Tick::now().after(after));
        event_loop.context().set_timer(after, name(index));
        latest.push(Tick::now().after(after));
    }
    let mut came: Vec<usize> = Vec::new();
    run(&mut event_loop, |context, call| {
        let Call::Timer(token, _) = call else { return };
        let index = token.index();
        assert!(context.now() >= earliest[index], "contract 2: timer {index} is early");
        if let Some(&before) = came.last() {
            assert!(earliest[before] <= latest[index], "{before} came before {index}");
        }
        came.push(index);
        if came.len() == latest.len() {
            context.stop();
        }
    });
    let place = |index| came.iter().position(|&timer| timer == index);
    assert!(place(0) < place(2), "of two that were set for the same delay, the second came first");
}

/// A timer of less than a millisecond is waited for, not spun for.
pub fn a_short_timer_does_not_spin<B: Backend>(make: Make<B>) {
    const ROUNDS: u64 = 20;
    let mut event_loop = new_loop(make);
    let after = Duration::from_micros(300);
    event_loop.context().set_timer(after, name(0));
    let mut set = Instant::now() - after;
    let mut came = 0;
    run(&mut event_loop, |context, call| {
        let Call::Timer(..) = call else { return };
        assert!(set.elapsed() >= after, "contract 2: early");
        came += 1;
        if came == ROUNDS {
            return context.stop();
        }
        set = Instant::now();
        context.set_timer(after, name(0));
    });
    let counts = event_loop.context().counters().snapshot();
    assert_eq!(counts.timers, ROUNDS);
    assert!(
        counts.empty_polls <= ROUNDS + u64::from(SPURIOUS),
        "contract 3: {} waits for {ROUNDS} timers of {after:?}",
        counts.empty_polls
    );
}

/// Of a turn's limit and the next timer, whichever comes first ends the wait.
pub fn a_turn_waits_for_limit_or_timer<B: Backend>(make: Make<B>) {
    const SOON: Duration = Duration::from_millis(5);
    const LATE: Duration = Duration::from_secs(3600);
    let mut event_loop = new_loop(make);
    let far = event_loop.context().set_timer(LATE, name(0));
    let (begun, mut turns) = (Instant::now(), 0);
    while let Some(left) = SOON.checked_sub(begun.elapsed()) {
        turns += 1;
        turn(&mut event_loop, Some(left), |_, call| {
            assert!(!matches!(call, Call::Timer(..)), "contract 2: early");
        });
    }
    assert!(turns <= 2 + SPURIOUS, "contract 3: {turns} turns in {SOON:?}");

    event_loop.context().cancel_timer(far);
    let set = Instant::now();
    event_loop.context().set_timer(SOON, name(0));
    let mut came = false;
    while !came {
        turn(&mut event_loop, Some(LATE), |_, call| came |= matches!(call, Call::Timer(..)));
    }
    assert!(set.elapsed() >= SOON, "contract 2: early");
}

/// While another thread wakes the loop again and again, a timer is neither early nor put off.
pub fn wakes_neither_hurry_nor_delay_a_timer<B: Backend>(make: Make<B>) {
    const AFTER: Duration = Duration::from_millis(20);
    let mut event_loop = new_loop_for::<B, ()>(make);
    let enough = Arc::new(AtomicBool::new(false));
    let waking = thread::spawn({
        let (enough, sender) = (Arc::clone(&enough), event_loop.sender());
        move || {
            // A loop that began its wait anew at each wake would never come to the timer, and this
            // thread does not stop before.
            while !enough.load(Ordering::SeqCst) {
                sender.send(()).expect("the loop is there");
                thread::yield_now();
            }
        }
    });
    let mut set = None;
    run(&mut event_loop, |context, call| match (call, set) {
        // From now on it is woken.
        (Call::Message(()), None) => {
            set = Some(Instant::now());
            context.set_timer(AFTER, name(0));
        }
        (Call::Timer(..), Some(set)) => {
            assert!(set.elapsed() >= AFTER, "contract 2: early");
            context.stop();
        }
        _ => {}
    });
    enough.store(true, Ordering::SeqCst);
    waking.join().expect("the thread ends");
}

/// Nor does a source that is always ready.
pub fn a_busy_source_does_not_delay_a_timer<B: Backend>(make: Make<B>) {
    const AFTER: Duration = Duration::from_millis(5);
    let mut event_loop = new_loop(make);
    // Never read: dispatched in every turn.
    let (mut ours, _peer) = pair_with_input(b"x");
    event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    let set = Instant::now();
    event_loop.context().set_timer(AFTER, name(0));
    let mut dispatched = 0;
    run(&mut event_loop, |context, call| match call {
        Call::Ready(..) => dispatched += 1,
        Call::Timer(..) => {
            assert!(set.elapsed() >= AFTER, "contract 2: early");
            context.stop();
        }
        _ => {}
    });
    assert!(dispatched > 0);
}

/// Timers that set the next one at once do not keep the loop from its sources.
pub fn timers_do_not_starve_sources<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    event_loop.context().set_timer(Duration::ZERO, name(0));
    let mut timers = 0;
    run(&mut event_loop, |context, call| match call {
        Call::Timer(..) => {
            timers += 1;
            if timers == 3 {
                send(&mut peer, b"x");
            }
            context.set_timer(Duration::ZERO, name(0));
        }
        Call::Ready(told, _) => {
            assert_eq!(told, token);
            context.stop();
        }
        _ => {}
    });
}

/// A timer that is cancelled never comes, whether it was due or not; cancelling twice, or after it
/// came, does nothing, and nothing to a timer that was set since.
pub fn a_cancelled_timer_never_comes<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let context = event_loop.context();
    let far = context.set_timer(Duration::from_secs(3600), name(1));
    let due = context.set_timer(Duration::ZERO, name(2));
    assert!(context.cancel_timer(due) && context.cancel_timer(far));
    assert!(!context.cancel_timer(due) && !context.cancel_timer(far));
    let later = context.set_timer(Duration::from_millis(2), name(3));
    assert!(!context.cancel_timer(due) && !context.cancel_timer(far));
    run(&mut event_loop, |context, call| {
        if let Call::Timer(token, timer) = call {
            assert_eq!((token, timer), (name(3), later), "a cancelled timer came");
            assert!(!context.cancel_timer(timer), "it has come, and can't be cancelled");
            context.stop();
        }
    });
}

/// Of several that are due at once, the first cancels the second: it does not come.
pub fn a_due_timer_may_cancel_the_next<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let context = event_loop.context();
    let timers = [1, 2, 3].map(|index| context.set_timer(Duration::ZERO, name(index)));
    let mut came = Vec::new();
    run(&mut event_loop, |context, call| {
        let Call::Timer(token, _) = call else { return };
        came.push(token.index());
        match token.index() {
            1 => assert!(context.cancel_timer(timers[1]), "it is still pending"),
            3 => context.stop(),
            other => panic!("timer {other} was cancelled and came"),
        }
    });
    assert_eq!(came, [1, 3]);
}

/// A source's callback cancels a timer that is due in the same turn.
pub fn a_source_may_cancel_a_timer_of_its_turn<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, _peer) = pair_with_input(b"x");
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    // Told once, left unread: from now on it is dispatched in every turn.
    run(&mut event_loop, |context, call| {
        if let Call::Ready(..) = call {
            context.stop();
        }
    });
    let timer = event_loop.context().set_timer(Duration::ZERO, token);
    run(&mut event_loop, |context, call| match call {
        Call::Ready(..) => {
            assert!(context.cancel_timer(timer), "input comes before timers");
            while read(context, token, &ours, &mut [0; 16]).is_ok() {}
            context.stop();
        }
        Call::Timer(..) => panic!("a cancelled timer came"),
        _ => {}
    });
    turn(&mut event_loop, Some(Duration::ZERO), |_, call| {
        assert!(!matches!(call, Call::Timer(..)), "a cancelled timer came");
    });
}

/// A timer set in a timer's callback, due at once, comes in the next turn and not in this one.
pub fn a_timer_set_by_a_timer_waits_a_turn<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    event_loop.context().set_timer(Duration::ZERO, name(0));
    let mut came_in_turn = Vec::new();
    run(&mut event_loop, |context, call| {
        let Call::Timer(..) = call else { return };
        let turn = context.counters().turns.get();
        assert!(came_in_turn.last() < Some(&turn), "a timer of this turn comes in it");
        came_in_turn.push(turn);
        if came_in_turn.len() == 5 {
            context.stop();
        }
        context.set_timer(Duration::ZERO, name(0));
    });
}
