//! Deadlines: the right one ends a connection, and none ends it early.

use std::thread;
use std::time::{Duration, Instant};

use polyloop::{Closed, Config, Connection, Protocol, TimerId};
use polyloop_models::Model;

use super::protocols::{Lines, Stream};
use super::Scene;

const LIMIT: Duration = Duration::from_millis(60);

/// No deadline but what a scenario sets.
fn unlimited() -> Config {
    Config { idle: None, read: None, write: None, ..Config::default() }
}

/// Nothing moved for too long, since the last byte and not since the beginning.
pub fn an_idle_connection_is_closed(scene: &Scene) {
    let served = scene.serve_within(Config { idle: Some(LIMIT), ..unlimited() }, || Lines);
    let began = Instant::now();
    let mut silent = served.connect();
    silent.expect_end();
    assert_eq!(silent.reason(), Closed::Idle);
    assert!(began.elapsed() >= LIMIT, "closed after {:?}", began.elapsed());

    let mut last = Instant::now();
    let mut talking = served.connect();
    // For as long as it is served, which a busy machine makes shorter.
    for _ in 0..3 {
        thread::sleep(LIMIT / 4);
        let now = Instant::now();
        talking.send_if_open(b"one\n");
        if talking.read(&mut [0; 16]).unwrap_or(0) == 0 {
            break;
        }
        last = now;
    }
    assert_eq!(talking.reason(), Closed::Idle);
    // A byte counts from when its turn began. One who never sleeps is always within a turn, and on
    // a busy machine that began when he was last given the processor.
    let idle = last.elapsed();
    assert!(idle >= LIMIT || scene.model == Model::Spin, "idle for {idle:?} only");
    served.stop();
}

/// A message in pieces had its own deadline, which is over when it is whole.
pub fn an_idle_connection_is_closed_after_a_message_in_pieces(scene: &Scene) {
    let config = Config { idle: Some(LIMIT), read: Some(LIMIT * 10), ..unlimited() };
    let served = scene.serve_within(config, || Lines);
    let mut client = served.connect();
    let mut began = Instant::now();
    // For as long as it is served, which a busy machine makes shorter.
    for piece in [&b"a mess"[..], b"age in p", b"ieces", b"\n"] {
        thread::sleep(LIMIT / 10);
        began = Instant::now();
        client.send_if_open(piece);
    }
    let answered = client.read(&mut [0; 32]).unwrap_or(0) > 0;
    client.read_to_any_end();
    let idle = began.elapsed();
    assert_eq!(client.reason(), Closed::Idle);
    let too_soon = answered && idle < LIMIT && scene.model != Model::Spin;
    assert!(!too_soon, "idle for {idle:?} only");
    served.stop();
}

/// The end of much input is not the end of a silence: what counts is the last byte.
pub fn the_end_of_much_input_is_not_idle(scene: &Scene) {
    /// Answers, and a moment after the end of the input once more.
    struct Late;

    impl Protocol for Late {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            connection.send(input);
            input.len()
        }

        fn ended(&mut self, connection: &mut Connection<'_>) {
            connection.set_timer(LIMIT / 6);
        }

        fn timer(&mut self, connection: &mut Connection<'_>, _: TimerId) {
            connection.send(b"late");
            connection.close();
        }
    }

    const IDLE: Duration = LIMIT.saturating_mul(3);
    let served = scene.serve_within(Config { idle: Some(IDLE), ..unlimited() }, || Late);
    let mut client = served.connect();
    let mut last = Instant::now();
    let mut answered = 1;
    for _ in 0..12 {
        thread::sleep(IDLE / 8);
        let now = Instant::now();
        client.send_if_open(b"one");
        answered = client.read(&mut [0; 16]).unwrap_or(0);
        if answered == 0 {
            break;
        }
        last = now;
    }
    if answered > 0 {
        client.finish();
        answered = client.read(&mut [0; 16]).unwrap_or(0);
    }
    // Or the machine was so busy that it was silent for too long.
    let silent = last.elapsed();
    assert!(answered > 0 || silent >= IDLE, "closed after a silence of {silent:?}");
    served.stop();
}

/// A message stands unfinished for too long.
pub fn an_unfinished_message_is_not_waited_for(scene: &Scene) {
    let served = scene.serve_within(Config { read: Some(LIMIT), ..unlimited() }, || Lines);
    let mut client = served.connect();
    client.exchange(b"one\n");
    let began = Instant::now();
    client.send(b"and a piece");
    client.expect_end();
    assert!(began.elapsed() >= LIMIT, "closed after {:?}", began.elapsed());
    assert_eq!(client.reason(), Closed::ReadTimeout);
    served.stop();
}

/// More of a message does not give it more time: only a whole one does.
pub fn a_message_in_drops_has_no_more_time(scene: &Scene) {
    let served = scene.serve_within(Config { read: Some(LIMIT), ..unlimited() }, || Lines);
    let mut client = served.connect();
    let began = Instant::now();
    while served.log().closed(client.address()).is_none() {
        // As fast as it goes, so that the server always finds something to read.
        client.send_if_open(b"x");
    }
    assert!(began.elapsed() >= LIMIT, "closed after {:?}", began.elapsed());
    assert_eq!(client.reason(), Closed::ReadTimeout);
    served.stop();
}

/// With whole messages only, the deadline for unfinished ones never comes.
pub fn silence_between_messages_is_not_a_message_unfinished(scene: &Scene) {
    let config = Config { read: Some(LIMIT), write: Some(LIMIT), ..unlimited() };
    let served = scene.serve_within(config, || Lines);
    let mut client = served.connect();
    for _ in 0..3 {
        client.exchange(b"one\n");
        // Longer than the deadline, whoever is late.
        thread::sleep(LIMIT * 3 / 2);
    }
    client.exchange(b"another\n");
    drop(client);
    served.stop();
}

/// What a protocol leaves unused because it paused is not the peer's fault.
pub fn a_pause_is_not_a_message_unfinished(scene: &Scene) {
    struct Thoughtful {
        thought: bool,
    }

    impl Protocol for Thoughtful {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            if self.thought {
                return Lines.received(connection, input);
            }
            connection.pause();
            connection.set_timer(LIMIT * 3);
            0
        }

        fn timer(&mut self, connection: &mut Connection<'_>, _: TimerId) {
            self.thought = true;
            connection.resume();
        }
    }

    let config = Config { read: Some(LIMIT), ..unlimited() };
    let served = scene.serve_within(config, || Thoughtful { thought: false });
    let mut client = served.connect();
    client.exchange(b"a hard question\n");
    client.exchange(b"another\n");
    drop(client);
    served.stop();
}

/// The peer takes nothing for too long.
pub fn a_peer_that_takes_nothing_is_not_waited_for(scene: &Scene) {
    let config = Config { write: Some(LIMIT), ..unlimited() };
    let served = scene.serve_within(config, Stream::without_end);
    let began = Instant::now();
    let mut client = served.connect_with_little_room();
    client.send(b"go");
    assert_eq!(client.reason(), Closed::WriteTimeout);
    assert!(began.elapsed() >= LIMIT, "closed after {:?}", began.elapsed());
    drop(client);
    served.stop();
}

/// Without deadlines nothing ends a silent connection, and nothing turns.
pub fn without_deadlines_silence_costs_nothing(scene: &Scene) {
    silence_costs_nothing(scene, || Lines);
}

/// As long a time as there is can be waited for without turning.
pub fn a_timer_that_is_never_due_costs_nothing(scene: &Scene) {
    struct Patient(Lines);

    impl Protocol for Patient {
        fn opened(&mut self, connection: &mut Connection<'_>) {
            connection.set_timer(Duration::MAX);
        }

        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            self.0.received(connection, input)
        }
    }

    silence_costs_nothing(scene, || Patient(Lines));
}

fn silence_costs_nothing<P: Protocol + 'static>(
    scene: &Scene,
    make: impl Fn() -> P + Send + Sync + 'static,
) {
    let served = scene.serve_within(unlimited(), make);
    let mut client = served.connect();
    client.exchange(b"one\n");
    client.exchange(b"two\n");
    let before = served.counts();
    thread::sleep(LIMIT * 3);
    let after = served.counts();
    // What followed the last answer may have been counted late, and nothing else.
    let calls = after.system_calls() - before.system_calls();
    assert!(calls <= 2, "{calls} system calls in silence: {before:?}, {after:?}");
    client.exchange(b"another\n");
    drop(client);
    let counts = served.stop();
    // What the process of a connection called is known at its end: three requests, and that.
    assert!(!scene.model.forks() || counts.reads <= 4, "in silence as well: {counts:?}");
}
