//! How a server ends.

use std::time::{Duration, Instant};

use polyloop::{Closed, Config, Connection, Protocol};

use super::client::{pattern, Client};
use super::handles;
use super::protocols::{Gate, Gated, Lines, Stream};
use super::serve::try_to_connect;
use super::Scene;

/// Limits within which no drain comes to its deadline.
fn patient() -> Config {
    Config { drain: Duration::from_secs(3600), ..Config::default() }
}

/// Sends a request and a piece of another, so that the answer to the first one says that the server
/// knows of the second.
fn into_the_middle(client: &mut Client) {
    client.send(b"one\nand a piece");
    client.expect(b"one\n");
}

/// A drain ends what is idle at once, lets a message be finished, and ends when all are gone, long
/// before its deadline. Nobody else is served.
pub fn a_drain_lets_a_message_be_finished(scene: &Scene) {
    let served = scene.serve_within(patient(), || Lines);
    let mut idle = served.connect();
    idle.exchange(b"one\n");
    let mut silent = served.connect();
    let mut in_the_middle = served.connect();
    into_the_middle(&mut in_the_middle);
    served.log().wait_until_open(3);

    served.handle().drain();
    idle.expect_end();
    silent.expect_end();
    assert_eq!((idle.reason(), silent.reason()), (Closed::Drained, Closed::Drained));
    assert_eq!(served.log().closed(in_the_middle.address()), None);
    if let Some(late) = try_to_connect(served.address()) {
        let mut late = served.client(late);
        late.send_if_open(b"too late\n");
        assert_eq!(late.read_to_any_end(), 0, "a late one is served");
    }
    in_the_middle.send(b" is whole\n");
    in_the_middle.expect(b"and a piece is whole\n");
    in_the_middle.expect_end();
    assert_eq!(in_the_middle.reason(), Closed::Drained);
    served.wait();
}

/// A drain that begins during a call lets the message be finished of which a piece came along.
pub fn a_drain_during_a_call_lets_a_message_be_finished(scene: &Scene) {
    let served = scene.serve_within(patient(), || Gated);
    let mut client = served.connect();
    let gate = Gate::new();
    client.send_and_wait(&[gate.request(), b"a piece"].concat());
    served.handle().drain();
    gate.open();
    client.expect(gate.request());
    client.send(b" is whole\n");
    client.expect(b"a piece is whole\n");
    client.expect_end();
    assert_eq!(client.reason(), Closed::Drained);
    served.wait();
}

/// A client that asks again as soon as it is answered is in the middle of nothing in between.
pub fn a_drain_ends_who_asks_again_and_again(scene: &Scene) {
    let served = scene.serve_within(patient(), || Lines);
    let mut client = served.connect();
    client.exchange(b"one\n");
    client.send_at_once(b"one\n");
    served.handle().drain();
    // At its end there may be a reset, for what came too late.
    while let Ok(1..) = client.read(&mut [0; 64]) {
        client.send_if_open(b"one\n");
    }
    assert_eq!(client.reason(), Closed::Drained);
    served.wait();
}

/// What came before the drain is answered, whether the server has looked at it or not.
pub fn a_drain_answers_what_has_come(scene: &Scene) {
    let served = scene.serve_within(patient(), || Lines);
    let mut clients: Vec<_> = (0..10).map(|_| served.connect()).collect();
    served.log().wait_until_open(10);
    for client in &mut clients {
        client.send_at_once(b"one\ntwo\n");
    }
    served.handle().drain();
    for client in &mut clients {
        client.expect(b"one\ntwo\n");
        client.expect_end();
        assert_eq!(client.reason(), Closed::Drained);
    }
    served.wait();
}

/// What still waits for a slow reader is flushed; then its connection has nothing more to do.
pub fn a_drain_flushes(scene: &Scene) {
    const COUNT: usize = 6 << 20;
    let served = scene.serve_within(patient(), || Stream::of(COUNT));
    let mut client = served.connect_with_little_room();
    client.send_and_wait(b"go");
    served.handle().drain();
    client.expect(&pattern(COUNT));
    client.expect_end();
    assert_eq!(client.reason(), Closed::Drained);
    served.wait();
}

/// What was sent through a handle is flushed as well.
pub fn a_drain_flushes_what_others_sent(scene: &Scene) {
    const COUNT: usize = 6 << 20;
    let (served, handles) = handles::serve_within(scene, patient());
    let mut client = served.connect_with_little_room();
    let handle = handles.recv().expect("a connection opens");
    handle.send(pattern(COUNT));
    served.handle().drain();
    client.expect(&pattern(COUNT));
    client.expect_end();
    assert_eq!(client.reason(), Closed::Drained);
    served.wait();
}

/// A drain does not wait for ever: who is not ready by its deadline is closed.
pub fn a_drain_has_a_deadline(scene: &Scene) {
    const LIMIT: Duration = Duration::from_millis(60);
    let served = scene.serve_within(Config { drain: LIMIT, ..Config::default() }, || Lines);
    let mut in_the_middle = served.connect();
    into_the_middle(&mut in_the_middle);
    let mut idle = served.connect();
    idle.exchange(b"one\n");
    let began = Instant::now();
    served.handle().drain();
    idle.expect_end();
    assert_eq!(in_the_middle.read_to_any_end(), 0);
    assert!(began.elapsed() >= LIMIT, "closed after {:?}", began.elapsed());
    assert_eq!(in_the_middle.reason(), Closed::Drained);
    served.wait();
}

/// A connection that reads nothing, because it paused or because its input is at its end, and that
/// has nothing to flush is in the middle of nothing.
pub fn a_drain_ends_who_reads_nothing(scene: &Scene) {
    struct Deaf;

    impl Protocol for Deaf {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            let used = input.iter().rposition(|&byte| byte != b'?').map_or(0, |last| last + 1);
            connection.send(&input[..used]);
            if input == b"pause" {
                connection.pause();
            }
            used
        }

        fn ended(&mut self, connection: &mut Connection<'_>) {
            connection.send(b"heard");
        }
    }

    let served = scene.serve_within(patient(), || Deaf);
    let mut paused = served.connect();
    paused.exchange(b"pause");
    let mut at_its_end = served.connect();
    at_its_end.exchange(b"one");
    let mut with_a_piece = served.connect();
    with_a_piece.send(b"one?");
    with_a_piece.expect(b"one");
    for client in [&mut at_its_end, &mut with_a_piece] {
        client.finish();
        client.expect(b"heard");
    }
    served.handle().drain();
    for client in [&mut paused, &mut at_its_end, &mut with_a_piece] {
        client.expect_end();
        assert_eq!(client.reason(), Closed::Drained);
    }
    served.wait();
}

/// To drain an empty server ends it, and to drain it twice is to drain it once.
pub fn an_empty_server_drains_at_once(scene: &Scene) {
    let served = scene.serve_within(patient(), || Lines);
    let mut gone = served.connect();
    gone.exchange(b"one\n");
    served.log().reason(gone.leave());
    served.handle().drain();
    served.handle().drain();
    served.wait();
}

/// A stop ends a drain.
pub fn a_stop_ends_a_drain(scene: &Scene) {
    let served = scene.serve_within(patient(), || Lines);
    let mut in_the_middle = served.connect();
    into_the_middle(&mut in_the_middle);
    let mut idle = served.connect();
    idle.exchange(b"one\n");
    served.handle().drain();
    idle.expect_end();
    served.handle().stop();
    in_the_middle.read_to_any_end();
    assert_eq!(in_the_middle.reason(), Closed::Stopped);
    served.wait();
}

/// A stop waits for nobody, whatever they are in the middle of.
pub fn a_stop_closes_everything(scene: &Scene) {
    let served = scene.serve(|| Lines);
    let mut idle = served.connect();
    idle.exchange(b"one\n");
    let silent = served.connect();
    let mut in_the_middle = served.connect();
    into_the_middle(&mut in_the_middle);
    let mut half_closed = served.connect();
    half_closed.exchange(b"finish\n");
    half_closed.expect_end();
    served.log().wait_until_open(4);
    let clients = [idle, silent, in_the_middle, half_closed];
    let reasons = || clients.each_ref().map(|client| client.reason());
    served.handle().stop();
    assert_eq!(reasons(), [Closed::Stopped; 4]);
    served.wait();
    for mut client in clients {
        assert_eq!(client.read_to_any_end(), 0);
    }
}

/// A stop ends connections that wait for a peer who takes nothing.
pub fn a_stop_waits_for_no_slow_reader(scene: &Scene) {
    let config = Config { write: None, ..Config::default() };
    let served = scene.serve_within(config, Stream::without_end);
    let mut client = served.connect_with_little_room();
    client.send(b"go");
    client.expect(&pattern(100_000));
    served.handle().stop();
    assert_eq!(client.reason(), Closed::Stopped);
    served.wait();
    drop(client);
}

/// A stop flushes nothing, whoever sent it.
pub fn a_stop_does_not_flush_what_others_sent(scene: &Scene) {
    let config = Config { write: None, ..Config::default() };
    let (served, handles) = handles::serve_within(scene, config);
    let mut client = served.connect_with_little_room();
    let handle = handles.recv().expect("a connection opens");
    client.exchange(b"one");
    handle.send(vec![b'x'; 12 << 20]);
    served.handle().stop();
    assert_eq!(client.reason(), Closed::Stopped);
    served.wait();
    drop(client);
}

/// A server that is stopped before it runs ends when it runs.
pub fn a_stop_before_the_server_runs_is_not_lost(scene: &Scene) {
    let served = scene.bind(Config::default(), || Lines);
    let waiting = served.connect();
    served.handle().stop();
    served.run().wait();
    drop(waiting);
}
