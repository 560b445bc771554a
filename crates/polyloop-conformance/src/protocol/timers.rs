//! Timers of a connection.

use std::time::{Duration, Instant};

use polyloop::{Closed, Connection, Protocol, TimerId};

use super::protocols::Stream;
use super::Scene;

const STEP: Duration = Duration::from_millis(20);

/// Timers come in the order of their deadlines, none early, and a cancelled one never; the peer is
/// silent meanwhile.
pub fn timers_come_in_order(scene: &Scene) {
    struct Set {
        began: Instant,
        timers: Vec<(TimerId, u32)>,
    }

    impl Protocol for Set {
        fn opened(&mut self, connection: &mut Connection<'_>) {
            self.began = Instant::now();
            for steps in [3, 1, 4, 2, 5] {
                self.timers.push((connection.set_timer(STEP * steps), steps));
            }
            let (cancelled, _) = self.timers[2];
            assert!(connection.cancel_timer(cancelled));
            assert!(!connection.cancel_timer(cancelled), "cancelled twice");
        }

        fn received(&mut self, _: &mut Connection<'_>, input: &[u8]) -> usize {
            input.len()
        }

        fn timer(&mut self, connection: &mut Connection<'_>, timer: TimerId) {
            let found = self.timers.iter().find(|(id, _)| *id == timer);
            let steps = found.expect("a timer that was set").1;
            assert!(self.began.elapsed() >= STEP * steps, "{:?}", self.began.elapsed());
            assert!(!connection.cancel_timer(timer), "it is due already");
            connection.send(steps.to_string().as_bytes());
        }
    }

    let served = scene.serve(|| Set { began: Instant::now(), timers: Vec::new() });
    let mut client = served.connect();
    client.expect(b"1235");
    client.send_and_wait(b"another");
    drop(client);
    served.stop();
}

/// A timer sets the next one, and the connection is served meanwhile.
pub fn a_timer_may_set_another(scene: &Scene) {
    struct Clock {
        ticks: u32,
        due: Instant,
    }

    impl Protocol for Clock {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            self.due = Instant::now() + STEP;
            connection.set_timer(STEP);
            connection.send(b":");
            input.len()
        }

        fn timer(&mut self, connection: &mut Connection<'_>, _: TimerId) {
            assert!(Instant::now() >= self.due, "early");
            self.ticks += 1;
            self.due = Instant::now() + STEP;
            connection.set_timer(STEP);
            connection.send(b".");
            if self.ticks == 5 {
                connection.close();
            }
        }
    }

    let served = scene.serve(|| Clock { ticks: 0, due: Instant::now() });
    let mut client = served.connect();
    client.send(b"go");
    client.expect(b":.....");
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// Many timers that were cancelled leave no trace, and the one that was not is the one that comes.
pub fn cancelled_timers_never_come(scene: &Scene) {
    struct Fickle {
        last: Option<TimerId>,
    }

    impl Protocol for Fickle {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            for _ in 0..1000 {
                if let Some(last) = self.last.take() {
                    assert!(connection.cancel_timer(last));
                }
                self.last = Some(connection.set_timer(STEP));
            }
            input.len()
        }

        fn timer(&mut self, connection: &mut Connection<'_>, timer: TimerId) {
            assert_eq!(Some(timer), self.last.take());
            connection.send(b"!");
        }
    }

    let served = scene.serve(|| Fickle { last: None });
    let mut client = served.connect();
    for _ in 0..3 {
        client.send(b"go");
        client.expect(b"!");
    }
    drop(client);
    let counts = served.stop();
    assert_eq!(counts.timers, 3, "timers that came");
}

/// A timer goes with its connection: it neither comes late nor finds another one.
pub fn a_timer_goes_with_its_connection(scene: &Scene) {
    struct Bomb {
        timer: Option<TimerId>,
    }

    impl Protocol for Bomb {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            if input == b"set" {
                self.timer = Some(connection.set_timer(STEP));
            }
            connection.send(input);
            input.len()
        }

        fn timer(&mut self, _: &mut Connection<'_>, timer: TimerId) {
            assert_eq!(Some(timer), self.timer, "the timer of another connection");
        }
    }

    let served = scene.serve(|| Bomb { timer: None });
    for _ in 0..3 {
        let mut leaving = served.connect();
        leaving.exchange(b"set");
        served.log().reason(leaving.leave());
    }
    let mut staying = served.connect();
    let began = Instant::now();
    while began.elapsed() < STEP * 3 {
        staying.exchange(b"another");
    }
    drop(staying);
    served.stop();
}

/// A protocol that always has more to send, to a peer who takes all of it, hears of its timers.
pub fn a_timer_interrupts_a_stream_without_end(scene: &Scene) {
    struct Program(Stream);

    impl Protocol for Program {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            connection.set_timer(STEP);
            self.0.received(connection, input)
        }

        fn drained(&mut self, connection: &mut Connection<'_>) {
            self.0.drained(connection);
        }

        fn timer(&mut self, connection: &mut Connection<'_>, _: TimerId) {
            connection.close();
        }
    }

    let served = scene.serve(|| Program(Stream::without_end()));
    let mut client = served.connect();
    client.send(b"go");
    client.read_to_any_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}
