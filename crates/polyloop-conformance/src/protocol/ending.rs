//! How a connection ends, from either side.

use polyloop::{Closed, Connection, Protocol, TimerId};

use super::client::{pattern, SILENCE};
use super::protocols::{Amplify, Lines, Stream};
use super::Scene;

/// A client sends its requests and its end: it gets all answers, then the end.
pub fn half_close_from_the_client(scene: &Scene) {
    let served = scene.serve(|| Lines);
    let mut client = served.connect();
    client.exchange(b"one\n");
    client.send(b"two\nthree\nand a piece");
    client.finish();
    client.expect(b"two\nthree\n");
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// The end comes while most answers still wait, or are not even made.
pub fn half_close_with_much_to_be_answered(scene: &Scene) {
    /// Closes when everything is answered, not before.
    struct Thorough {
        amplify: Amplify,
        ended: bool,
        left: usize,
    }

    impl Protocol for Thorough {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            let used = self.amplify.received(connection, input);
            self.left = input.len() - used;
            if self.ended && self.left == 0 {
                connection.close();
            }
            used
        }

        fn ended(&mut self, connection: &mut Connection<'_>) {
            self.ended = true;
            if self.left == 0 {
                connection.close();
            }
        }
    }

    let high_water = polyloop::Config::default().high_water;
    let served = scene.serve(move || Thorough {
        amplify: Amplify::within(high_water),
        ended: false,
        left: 0,
    });
    let mut client = served.connect_with_little_room();
    let requests = pattern(500);
    client.send(&requests);
    client.finish();
    client.expect(&Amplify::answer(&requests));
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// What stands unfinished at the end of the input is not shown after it.
pub fn what_is_unfinished_at_the_end_is_lost(scene: &Scene) {
    struct Curious {
        ended: bool,
    }

    impl Protocol for Curious {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            if self.ended {
                connection.send(b"shown after the end: ");
                connection.send(input);
            }
            input.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
        }

        fn ended(&mut self, connection: &mut Connection<'_>) {
            self.ended = true;
            connection.send(b"the end\n");
            connection.pause();
            connection.resume();
            connection.set_timer(SILENCE);
        }

        fn timer(&mut self, connection: &mut Connection<'_>, _: TimerId) {
            connection.close();
        }
    }

    let served = scene.serve(|| Curious { ended: false });
    let mut client = served.connect();
    client.send(b"one\ntwo\nand a piece");
    client.finish();
    client.expect(b"the end\n");
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// The server says that it has nothing more to say, and goes on to listen until the client's end.
pub fn half_close_from_the_server(scene: &Scene) {
    let served = scene.serve(|| Lines);
    let mut client = served.connect();
    client.exchange(b"one\n");
    client.exchange(b"finish\n");
    client.expect_end();
    let more = vec![b'\n'; 100_000];
    client.send_and_wait(&more);
    client.send_and_wait(b"and a piece");
    assert_eq!(served.log().closed(client.address()), None, "the client has not ended");
    client.finish();
    assert_eq!(client.reason(), Closed::Finished);
    // What it sent after its end was dropped.
    client.expect_end();
    served.stop();
}

/// The end of each side crosses that of the other.
pub fn both_sides_end_at_once(scene: &Scene) {
    let served = scene.serve(|| Lines);
    let mut client = served.connect();
    client.send(b"finish\n");
    client.finish();
    client.expect(b"finish\n");
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// A protocol whose `ended` does nothing keeps the connection, and can still send.
pub fn a_protocol_may_send_after_the_end_of_input(scene: &Scene) {
    struct Late;

    impl Protocol for Late {
        fn received(&mut self, _: &mut Connection<'_>, input: &[u8]) -> usize {
            input.len()
        }

        fn ended(&mut self, connection: &mut Connection<'_>) {
            connection.set_timer(super::client::SILENCE);
        }

        fn timer(&mut self, connection: &mut Connection<'_>, _: polyloop::TimerId) {
            connection.send(&pattern(1 << 20));
            connection.close();
        }
    }

    let served = scene.serve(|| Late);
    let mut client = served.connect();
    client.send(b"a question");
    client.finish();
    client.expect(&pattern(1 << 20));
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// `close` flushes whatever waits, to a client that takes its time.
pub fn close_flushes(scene: &Scene) {
    struct Farewell;

    impl Protocol for Farewell {
        fn received(&mut self, connection: &mut Connection<'_>, _: &[u8]) -> usize {
            connection.send(&pattern(6 << 20));
            connection.close();
            connection.send(b"too late");
            0
        }
    }

    let served = scene.serve(|| Farewell);
    let mut client = served.connect_with_little_room();
    client.send(b"bye");
    client.expect(&pattern(6 << 20));
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// A protocol that has closed is shown nothing more, however much has come.
pub fn nothing_is_shown_after_close(scene: &Scene) {
    let served = scene.serve(|| Lines);
    let mut client = served.connect();
    client.send(b"one\nclose\ntwo\nclose\n");
    client.expect(b"one\nclose\n");
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// `abort` waits for nobody: what was sent with it is lost.
pub fn abort_does_not_wait(scene: &Scene) {
    const MUCH: usize = 12 << 20;

    struct Abort;

    impl Protocol for Abort {
        fn received(&mut self, connection: &mut Connection<'_>, _: &[u8]) -> usize {
            connection.send(&vec![b'x'; MUCH]);
            connection.abort();
            0
        }
    }

    let served = scene.serve(|| Abort);
    let mut client = served.connect();
    client.send(b"bye");
    // The client has read nothing, so that not all of it can have gone.
    assert_eq!(client.reason(), Closed::Finished);
    assert!(client.read_to_any_end() < MUCH);
    served.stop();
}

/// A connection that ends where it begins.
pub fn a_protocol_may_close_when_it_opens(scene: &Scene) {
    struct Greeting;

    impl Protocol for Greeting {
        fn opened(&mut self, connection: &mut Connection<'_>) {
            connection.send(b"hello and goodbye");
            connection.close();
        }

        fn received(&mut self, _: &mut Connection<'_>, _: &[u8]) -> usize {
            panic!("it has closed");
        }
    }

    let served = scene.serve(|| Greeting);
    let mut client = served.connect();
    client.expect(b"hello and goodbye");
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// A reset in the middle of a message.
pub fn reset_in_mid_message(scene: &Scene) {
    let served = scene.serve(|| Lines);
    let mut client = served.connect();
    client.exchange(b"one\n");
    client.send_and_wait(b"and a piece");
    let reason = served.log().reason(client.reset());
    // A read does not tell the two apart under Wine.
    let told = reason == Closed::Reset || cfg!(windows) && reason == Closed::Finished;
    assert!(told, "{reason:?}");
    served.stop();
}

/// A reset while the server sends as fast as it can.
pub fn reset_in_mid_answer(scene: &Scene) {
    let served = scene.serve(Stream::without_end);
    let mut client = served.connect();
    client.send(b"go");
    client.expect(&pattern(300_000));
    let address = client.reset();
    assert_eq!(served.log().reason(address), Closed::Reset);
    served.stop();
}

/// A reset while the server waits for room to send.
pub fn reset_by_a_client_that_does_not_read(scene: &Scene) {
    let served = scene.serve(Stream::without_end);
    let mut client = served.connect_with_little_room();
    client.send_and_wait(b"go");
    let address = client.reset();
    assert_eq!(served.log().reason(address), Closed::Reset);
    served.stop();
}

/// Clients leave without a word: before they said anything, in the middle of a message, and with
/// answers that they did not read.
pub fn a_client_that_vanishes(scene: &Scene) {
    let served = scene.serve(|| Lines);
    let mut silent = served.connect();
    // It is known to be open, so that its end is not the first that is heard of it.
    silent.exchange(b"one\n");
    assert_eq!(served.log().reason(silent.leave()), Closed::Finished);

    let mut in_the_middle = served.connect();
    in_the_middle.send_and_wait(b"one\nand a piece");
    in_the_middle.expect(b"one\n");
    assert_eq!(served.log().reason(in_the_middle.leave()), Closed::Finished);

    // A system may say so with a reset, because something was not read.
    let mut deaf = served.connect();
    deaf.send_and_wait(b"one\n");
    let reason = served.log().reason(deaf.leave());
    assert!(matches!(reason, Closed::Finished | Closed::Reset), "{reason:?}");

    let mut another = served.connect();
    another.exchange(b"another\n");
    drop(another);
    served.stop();
}
