//! Reaching a connection from another thread, and from another connection.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use polyloop::{Closed, Config, Connection, Handle, Protocol};

use super::client::pattern;
use super::protocols::Stream;
use super::serve::Served;
use super::Scene;

/// Sends back what it receives, and gives its handle away when it opens. Some requests
/// do what they say instead.
struct Reachable {
    handles: Sender<Handle>,
}

impl Protocol for Reachable {
    fn opened(&mut self, connection: &mut Connection<'_>) {
        self.handles.send(connection.handle()).expect("the scenario waits");
    }

    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        match input {
            b"pause" => connection.pause(),
            b"finish" => connection.finish(),
            b"to itself" => {
                connection.send(b"first, ");
                connection.handle().send(&b"then"[..]);
                connection.send(b"in the same call, ");
            }
            b"close by handle" => {
                connection.send(b"goodbye");
                connection.handle().close();
            }
            _ => connection.send(input),
        }
        input.len()
    }
}

fn serve(scene: &Scene) -> (Served, Receiver<Handle>) {
    serve_within(scene, Config::default())
}

/// Serves connections that give their handles away.
pub(super) fn serve_within(scene: &Scene, config: Config) -> (Served, Receiver<Handle>) {
    let (handles, given) = mpsc::channel();
    let handles = Mutex::new(handles);
    let served = scene.serve_within(config, move || {
        let handles = handles.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Reachable { handles }
    });
    (served, given)
}

fn given(handles: &Receiver<Handle>) -> Handle {
    handles.recv().expect("a connection opens")
}

/// A connection that others may reach has the same water marks.
pub fn a_handle_changes_no_water_mark(scene: &Scene) {
    struct Reached {
        stream: Stream,
        handle: Option<Handle>,
    }

    impl Protocol for Reached {
        fn opened(&mut self, connection: &mut Connection<'_>) {
            self.handle = Some(connection.handle());
        }

        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            self.stream.received(connection, input)
        }

        fn drained(&mut self, connection: &mut Connection<'_>) {
            self.stream.drained(connection);
        }
    }

    const COUNT: usize = 12 << 20;
    // Room for a few times what the protocol sends at once, and not for all that it could send.
    let config = Config { max_output: 4 * Config::default().high_water, ..Config::default() };
    let served = scene.serve_within(config, || Reached { stream: Stream::of(COUNT), handle: None });
    let mut client = served.connect_with_little_room();
    client.send_and_wait(b"go");
    client.expect(&pattern(COUNT));
    drop(client);
    served.stop();
}

/// Another thread sends to a client that is silent.
pub fn another_thread_may_send(scene: &Scene) {
    let (served, handles) = serve(scene);
    let mut client = served.connect();
    let handle = given(&handles);
    let mut expected = Vec::new();
    let sending = thread::spawn(move || {
        for number in 0..1000 {
            handle.send(format!("message {number}\n").into_bytes());
        }
    });
    for number in 0..1000 {
        expected.extend_from_slice(format!("message {number}\n").as_bytes());
    }
    client.expect(&expected);
    sending.join().expect("sending does not fail");
    client.exchange(b"another");
    drop(client);
    served.stop();
}

/// Each thread's messages come whole and in its order, whoever else sends.
pub fn several_threads_may_send(scene: &Scene) {
    const THREADS: u8 = 4;
    const MESSAGES: u8 = 100;
    const LENGTH: usize = 3000;
    let (served, handles) = serve(scene);
    let mut client = served.connect();
    let handle = given(&handles);
    let senders: Vec<_> = (0..THREADS)
        .map(|sender| {
            let handle = handle.clone();
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    let mut message = vec![sender; LENGTH];
                    message[1] = number;
                    handle.send(message);
                }
            })
        })
        .collect();
    let mut next = [0; THREADS as usize];
    let mut message = [0; LENGTH];
    for _ in 0..usize::from(THREADS) * usize::from(MESSAGES) {
        client.read_all(&mut message);
        let sender = message[0];
        assert_eq!(message[1], next[usize::from(sender)], "out of order");
        assert!(message[2..].iter().all(|&byte| byte == sender), "messages are mixed");
        next[usize::from(sender)] += 1;
    }
    for sender in senders {
        sender.join().expect("sending does not fail");
    }
    drop(client);
    served.stop();
}

/// Another thread closes a connection: what it sent before is flushed, however slow the client.
pub fn another_thread_may_close(scene: &Scene) {
    let (served, handles) = serve(scene);
    let mut client = served.connect_with_little_room();
    let handle = given(&handles);
    handle.send(pattern(6 << 20));
    handle.close();
    // It may not be gone yet, and is not to be sent to any more.
    handle.send(&b"too late"[..]);
    client.expect(&pattern(6 << 20));
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    handle.send(&b"much too late"[..]);
    handle.close();
    served.stop();
}

/// Another thread closes a connection that has nothing to say.
pub fn another_thread_may_close_an_idle_connection(scene: &Scene) {
    let (served, handles) = serve(scene);
    let mut client = served.connect();
    let handle = given(&handles);
    client.exchange(b"one");
    handle.close();
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// A connection that reads nothing can be sent to, and closed.
pub fn a_paused_connection_can_be_reached(scene: &Scene) {
    let (served, handles) = serve(scene);
    let mut client = served.connect();
    let handle = given(&handles);
    client.send_and_wait(b"pause");
    for _ in 0..3 {
        handle.send(&b"from outside"[..]);
        client.expect(b"from outside");
    }
    handle.close();
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// What a connection sends itself through its handle comes after what it sent before; in which order
/// with what it sends later in the same call, is not promised.
pub fn a_handle_sends_after_what_was_sent_before(scene: &Scene) {
    let (served, _handles) = serve(scene);
    let mut client = served.connect();
    client.send(b"to itself");
    let mut answer = [0; b"first, thenin the same call, ".len()];
    client.read_all(&mut answer);
    assert!(answer.starts_with(b"first, "), "{:?}", String::from_utf8_lossy(&answer));
    client.exchange(b"another");
    drop(client);
    served.stop();
}

/// A connection that closes itself through its handle flushes what it sent before.
pub fn a_handle_closes_after_what_was_sent_before(scene: &Scene) {
    let (served, _handles) = serve(scene);
    let mut client = served.connect();
    client.send(b"close by handle");
    client.expect(b"goodbye");
    client.expect_end();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// What is sent after the protocol has finished is dropped, and harms nothing.
pub fn a_handle_sends_nothing_after_finish(scene: &Scene) {
    let (served, handles) = serve(scene);
    let mut client = served.connect();
    let handle = given(&handles);
    client.send(b"finish");
    client.expect_end();
    handle.send(&b"too late"[..]);
    client.send_and_wait(b"more");
    client.expect_end();
    client.finish();
    assert_eq!(client.reason(), Closed::Finished);
    served.stop();
}

/// The handle of a connection that is gone reaches nobody, least of all its successor.
pub fn a_handle_of_the_past_reaches_nobody(scene: &Scene) {
    let (served, handles) = serve(scene);
    for _ in 0..3 {
        let mut past = served.connect();
        let handle = given(&handles);
        past.exchange(b"one");
        served.log().reason(past.leave());
        let mut successor = served.connect();
        let _its_own = given(&handles);
        handle.send(&b"to whom?"[..]);
        handle.close();
        successor.exchange(b"another");
        served.log().reason(successor.leave());
    }
    served.stop();
}

/// Every message goes to every connection; who falls too far behind is closed.
struct Room {
    everyone: Arc<Mutex<Vec<Handle>>>,
}

impl Room {
    fn everyone(&self) -> MutexGuard<'_, Vec<Handle>> {
        self.everyone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Protocol for Room {
    fn opened(&mut self, connection: &mut Connection<'_>) {
        self.everyone().push(connection.handle());
        connection.send(b"welcome");
    }

    fn received(&mut self, _: &mut Connection<'_>, input: &[u8]) -> usize {
        let message: Arc<[u8]> = vec![input[0]; MESSAGE].into();
        for handle in self.everyone().iter() {
            handle.send(Arc::clone(&message));
        }
        input.len()
    }
}

const MESSAGE: usize = 50_000;

/// One connection's message goes to all, with one of them reading nothing: the others have
/// everything at once, and the slow one is closed when too much waits for it.
pub fn a_slow_reader_holds_up_nobody(scene: &Scene) {
    let everyone = Arc::default();
    let config = Config { max_output: 200_000, write: None, ..Config::default() };
    let served = scene.serve_within(config, move || Room { everyone: Arc::clone(&everyone) });
    let mut slow = served.connect_with_little_room();
    slow.expect(b"welcome");
    let mut others: Vec<_> = (0..3).map(|_| served.connect()).collect();
    for other in &mut others {
        other.expect(b"welcome");
    }
    let mut messages = 0;
    // Each is sent when all the others have the one before.
    while served.log().closed(slow.address()).is_none() {
        messages += 1;
        assert!(messages * MESSAGE < 64 << 20, "so much does not fit into a kernel's buffers");
        let letter = b'a' + (messages % 26) as u8;
        others[0].send(&[letter]);
        for other in &mut others {
            other.expect(&[letter; MESSAGE]);
        }
    }
    assert_eq!(slow.reason(), Closed::OutputTooLong);
    assert!(slow.read_to_any_end() < messages * MESSAGE);
    others[1].send(b"!");
    for other in &mut others {
        other.expect(&[b'!'; MESSAGE]);
    }
    drop(others);
    served.stop();
}
