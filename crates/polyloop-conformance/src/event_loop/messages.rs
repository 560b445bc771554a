//! Messages from other threads.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use polyloop::{Backend, EventLoop, Interest, SendError, Token};

use crate::script::{new_loop_for, read, run, turn, Call, SPURIOUS};
use crate::sockets::{pair, send};
use crate::Make;

/// A message that was sent before the loop runs is received.
pub fn a_message_before_the_loop_runs_is_received<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop_for(make);
    event_loop.sender().send(7).expect("the loop is there");
    run(&mut event_loop, |context, call| {
        if let Call::Message(message) = call {
            assert_eq!(message, 7);
            context.stop();
        }
    });
}

/// A thread and the loop take turns, each waiting for the other: one lost wake stops them.
pub fn no_wake_is_lost<B: Backend>(make: Make<B>) {
    const ROUNDS: u32 = 2_000;
    let mut event_loop = new_loop_for(make);
    let sender = event_loop.sender();
    let (answer, answers) = mpsc::channel();
    let thread = thread::spawn(move || {
        for round in 0..ROUNDS {
            sender.send(round).expect("the loop is there");
            assert_eq!(answers.recv().expect("the loop answers"), round);
        }
    });
    run(&mut event_loop, |context, call| {
        let Call::Message(round) = call else { return };
        answer.send(round).expect("the thread listens");
        if round == ROUNDS - 1 {
            context.stop();
        }
    });
    thread.join().expect("the thread ends");
}

/// Many threads send many messages while the loop has input to read: each comes once, and those of
/// one thread in order.
pub fn every_message_comes_once_and_in_order<B: Backend>(make: Make<B>) {
    const THREADS: usize = 4;
    const MESSAGES: usize = 5_000;
    let mut event_loop = new_loop_for(make);
    let (mut ours, mut peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let sender = event_loop.sender();
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    sender.send((thread, number)).expect("the loop is there");
                    // Now and then the loop gets to sleep.
                    if number % 64 == 0 {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut next = [0; THREADS];
    let mut received = 0;
    run(&mut event_loop, |context, call| match call {
        Call::Message((thread, number)) => {
            assert_eq!(next[thread], number, "a message of thread {thread} is lost or twice");
            next[thread] += 1;
            received += 1;
            if received % 50 == 0 {
                send(&mut peer, b"x");
            }
            if received == THREADS * MESSAGES {
                context.stop();
            }
        }
        Call::Ready(..) => while read(context, token, &ours, &mut [0; 16]).is_ok() {},
        _ => {}
    });
    for thread in threads {
        thread.join().expect("the thread ends");
    }
    let counts = event_loop.context().counters().snapshot();
    assert_eq!(counts.messages, (THREADS * MESSAGES) as u64);
    // The last bytes may not have been read.
    event_loop.context().deregister(token, &mut ours).expect("it is known");
    expect_sleep(&mut event_loop);
}

/// After all messages the loop sleeps.
fn expect_sleep<B: Backend, M: Send + 'static>(event_loop: &mut EventLoop<B, M>) {
    let before = event_loop.context().counters().snapshot();
    let late = Token::new(0, 0);
    event_loop.context().set_timer(Duration::from_millis(5), late);
    run(event_loop, |context, call| {
        if let Call::Timer(..) = call {
            context.stop();
        }
    });
    let turns = (event_loop.context().counters().snapshot() - before).turns;
    assert!(turns <= 4 + u64::from(SPURIOUS), "{turns} turns in 5 ms of silence: the loop spins");
}

/// What the loop's own callbacks send comes in the next turn, without an end.
pub fn a_callback_may_send_to_its_own_loop<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop_for(make);
    let sender = event_loop.sender();
    sender.send(0).expect("the loop is there");
    let mut last_turn = 0;
    run(&mut event_loop, |context, call| {
        let Call::Message(number) = call else { return };
        let turn = context.counters().turns.get();
        assert!(turn > last_turn, "a message is received in the turn that sends it");
        last_turn = turn;
        match number {
            10 => context.stop(),
            _ => sender.send(number + 1).expect("the loop is there"),
        }
    });
    expect_sleep(&mut event_loop);
}

/// Once the loop is gone a message comes back to its sender.
pub fn a_message_to_a_loop_that_is_gone_comes_back<B: Backend>(make: Make<B>) {
    let event_loop = new_loop_for::<B, &str>(make);
    let sender = event_loop.sender();
    sender.send("never read").expect("the loop is there");
    drop(event_loop);
    assert_eq!(sender.send("back"), Err(SendError("back")));
    assert_eq!(sender.clone().send("back"), Err(SendError("back")));
}

/// Another thread stops the loop with a message, and the loop can run again.
pub fn a_loop_stops_and_runs_again<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop_for(make);
    for round in 0..3 {
        let sender = event_loop.sender();
        let thread = thread::spawn(move || sender.send(round).expect("the loop is there"));
        run(&mut event_loop, |context, call| {
            if let Call::Message(message) = call {
                assert_eq!(message, round);
                context.stop();
            }
        });
        thread.join().expect("the thread ends");
    }
    turn(&mut event_loop, Some(Duration::ZERO), |_, call| {
        assert!(!matches!(call, Call::Message(_)), "a message came twice");
    });
}
