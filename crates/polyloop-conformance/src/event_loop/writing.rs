//! Output that the kernel does not take at once.

use std::io::{self, Read, Write};
use std::sync::mpsc;
use std::thread;

use polyloop::{Backend, Interest};

use crate::script::{expect_quiet, new_loop, run, Call};
use crate::sockets::{finish, pair, send};
use crate::Make;

/// More than any kernel takes from a sender whose peer does not read.
const MUCH: usize = 8 << 20;

/// A full send buffer is waited for, and told when it has room: all of it arrives at a peer that
/// begins to read only when the sender is stuck.
pub fn a_full_send_buffer_is_waited_for<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::WRITABLE).expect("new");
    let (stuck, begin) = mpsc::channel();
    let reader = thread::spawn(move || {
        begin.recv().expect("the sender gets stuck");
        let mut buffer = vec![0; 1 << 16];
        let mut expected = Pattern(0);
        let mut total = 0;
        loop {
            match peer.read(&mut buffer).expect("the peer reads") {
                0 => return total,
                n => {
                    assert!(buffer[..n].iter().all(|&byte| byte == expected.next()));
                    total += n;
                }
            }
        }
    });
    let (mut sent, mut pattern) = (0, Pattern(0));
    let mut waiting = Vec::new();
    run(&mut event_loop, |context, call| {
        let Call::Ready(_, readiness) = call else { return };
        assert!(readiness.is_writable());
        while sent < MUCH {
            if waiting.is_empty() {
                waiting.extend((0..1 << 14).map(|_| pattern.next()));
            }
            match context.write(token, || (&ours).write(&waiting)) {
                Ok(n) => {
                    waiting.drain(..n);
                    sent += n;
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    let _ = stuck.send(());
                    return;
                }
            }
        }
        context.stop();
    });
    assert!(event_loop.context().counters().snapshot().would_blocks > 0, "it never got stuck");
    event_loop.context().close(token, ours).expect("it is known");
    assert_eq!(reader.join().expect("every byte is what was sent"), sent);
}

/// Bytes whose order shows: a prime is their period.
struct Pattern(u8);

impl Pattern {
    fn next(&mut self) -> u8 {
        self.0 = (self.0 + 1) % 251;
        self.0
    }
}

/// Interest in writing that is given up and taken back is told each time, though nothing happens
/// on the socket: on edges the loop has kept it.
pub fn interest_in_writing_comes_and_goes<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    for _ in 0..3 {
        let both = Interest::READABLE | Interest::WRITABLE;
        event_loop.context().set_interest(token, &mut ours, both).expect("it is known");
        run(&mut event_loop, |context, call| {
            let Call::Ready(told, readiness) = call else { return };
            assert_eq!(told, token);
            if readiness.is_writable() {
                context.set_interest(token, &mut ours, Interest::READABLE).expect("it is known");
                context.stop();
            }
        });
        expect_quiet(&mut event_loop, token, &ours);
    }
    // And reading still works.
    send(&mut peer, b"x");
    run(&mut event_loop, |context, call| {
        if let Call::Ready(_, readiness) = call {
            assert!(readiness.is_readable() && !readiness.is_writable(), "{readiness:?}");
            context.stop();
        }
    });
}

/// An echo that reads and writes a byte at a time, to a peer that waits for each answer.
pub fn an_echo_answers_every_request<B: Backend>(make: Make<B>) {
    let mut event_loop = new_loop(make);
    let (mut ours, mut peer) = pair();
    let token = event_loop.context().register(&mut ours, Interest::READABLE).expect("new");
    let client = thread::spawn(move || {
        for round in 0..100_usize {
            let request = vec![round as u8; round % 7 + 1];
            send(&mut peer, &request);
            let mut reply = vec![0; request.len()];
            peer.read_exact(&mut reply).expect("the loop answers");
            assert_eq!(reply, request);
        }
        finish(&peer);
    });
    run(&mut event_loop, |context, call| {
        let Call::Ready(..) = call else { return };
        let mut byte = [0];
        match context.read(token, || (&ours).read(&mut byte)) {
            Ok(0) => context.stop(),
            Ok(_) => {
                let sent = context.write(token, || (&ours).write(&byte));
                assert_eq!(sent.expect("there is room for a byte"), 1);
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    });
    client.join().expect("every answer was right");
}
