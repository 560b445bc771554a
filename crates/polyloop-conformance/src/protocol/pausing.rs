//! Protocols that will not be shown more for a while.

use polyloop::{Closed, Connection, Protocol, TimerId};

use super::client::{pattern, SILENCE};
use super::Scene;

/// Sends back one line at a time and pauses after each, until a timer resumes.
struct OneAtATime {
    paused: bool,
}

impl Protocol for OneAtATime {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        assert!(!self.paused, "shown input in a pause");
        let Some(end) = input.iter().position(|&byte| byte == b'\n') else { return 0 };
        connection.send(&input[..=end]);
        connection.pause();
        connection.set_timer(SILENCE);
        self.paused = true;
        end + 1
    }

    fn timer(&mut self, connection: &mut Connection<'_>, _: TimerId) {
        self.paused = false;
        connection.resume();
    }
}

/// What was left unused when a protocol paused is shown again when it resumes, without anything
/// new.
pub fn a_resume_shows_what_was_left(scene: &Scene) {
    let served = scene.serve(|| OneAtATime { paused: false });
    let mut client = served.connect();
    client.send(b"one\ntwo\nthree\nand a piece");
    client.expect(b"one\ntwo\nthree\n");
    client.send(b"\n");
    client.expect(b"and a piece\n");
    client.exchange(b"another\n");
    drop(client);
    served.stop();
}

/// What comes during a pause is shown after it.
pub fn what_comes_in_a_pause_is_shown_after_it(scene: &Scene) {
    let served = scene.serve(|| OneAtATime { paused: false });
    let mut client = served.connect();
    client.send_and_wait(b"one\n");
    client.send(b"two\n");
    client.send(b"three\n");
    client.expect(b"one\ntwo\nthree\n");
    client.exchange(b"another\n");
    drop(client);
    served.stop();
}

/// A pause that is over in the call in which it began changes nothing.
pub fn a_pause_may_be_over_at_once(scene: &Scene) {
    struct Blink;

    impl Protocol for Blink {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            connection.pause();
            connection.resume();
            connection.send(&input[..1]);
            1
        }
    }

    let served = scene.serve(|| Blink);
    let mut client = served.connect();
    client.send(b"a");
    client.expect(b"a");
    // More calls than a driver makes in one go.
    for length in [6, 100, 1] {
        client.exchange(&pattern(length));
    }
    drop(client);
    served.stop();
}

/// A protocol that takes one request a call says that it will send no more, and is shown the next
/// one all the same, whichever of a driver's calls in one go that was.
pub fn a_finish_hides_nothing_that_is_left(scene: &Scene) {
    struct LastWords;

    impl Protocol for LastWords {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            connection.pause();
            connection.resume();
            connection.send(&input[..1]);
            match input[0] {
                b'f' => connection.finish(),
                b'c' => connection.close(),
                _ => {}
            }
            1
        }
    }

    let served = scene.serve(|| LastWords);
    for before in 0..20 {
        let mut client = served.connect();
        let mut requests = vec![b'x'; before];
        requests.push(b'f');
        client.send_at_once(&[&requests[..], b"c"].concat());
        client.expect(&requests);
        client.expect_end();
        assert_eq!(client.reason(), Closed::Finished, "{before} requests before the last");
    }
    served.stop();
}

/// The client's end comes in a pause, behind a request: both are seen when the pause is over.
pub fn the_end_of_input_waits_for_a_pause_to_be_over(scene: &Scene) {
    let served = scene.serve(|| OneAtATime { paused: false });
    let mut client = served.connect();
    client.send_and_wait(b"one\n");
    client.send(b"two\n");
    client.finish();
    client.expect(b"one\ntwo\n");
    client.expect_end();
    served.stop();
}
