//! As much as is allowed, and not more.

use std::thread;

use polyloop::{Closed, Config, Connection, Protocol};

use super::client::pattern;
use super::protocols::{Echo, Lines};
use super::random::Random;
use super::Scene;

/// A message that is longer than allowed ends the connection; the longest allowed one does not.
pub fn input_that_is_too_long_is_refused(scene: &Scene) {
    const MOST: usize = 1000;
    let config = Config { max_input: MOST, ..Config::default() };
    let served = scene.serve_within(config, || Lines);
    let mut client = served.connect();
    let mut longest = vec![b'x'; MOST];
    client.send_and_wait(&longest);
    client.send(b"\n");
    longest.push(b'\n');
    client.expect(&longest);

    client.send_and_wait(&longest[..MOST]);
    client.send(b"x");
    assert_eq!(client.reason(), Closed::InputTooLong);
    assert_eq!(client.read_to_any_end(), 0);

    // What is used at once is never too long.
    let mut another = served.connect();
    another.exchange(&longest.repeat(10));
    drop(another);
    served.stop();
}

/// What a server may hold of input that was left unused, for a client that sends much more: more
/// than one read takes.
const LITTLE: usize = 70_000;

/// A protocol that uses a little of its input at a time, and asks to be shown the rest, is not
/// shown more before it has: a client that asks on and on is answered, not refused.
pub fn more_requests_than_may_be_left_unused(scene: &Scene) {
    const REQUEST: usize = 200;
    const REQUESTS: usize = 2000;

    struct OneAtATime;

    impl Protocol for OneAtATime {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            let Some(request) = input.get(..REQUEST) else { return 0 };
            connection.send(request);
            connection.pause();
            connection.resume();
            REQUEST
        }
    }

    let config = Config { max_input: LITTLE, ..Config::default() };
    let served = scene.serve_within(config, || OneAtATime);
    let mut client = served.connect();
    let requests = pattern(REQUESTS * REQUEST);
    let mut writer = client.split();
    let sent = requests.clone();
    let writing = thread::spawn(move || writer.send_at_once(&sent));
    client.expect(&requests);
    writing.join().expect("the server takes it all in the end");
    client.exchange(&requests[..REQUEST]);
    drop(client);
    let counts = served.stop();
    if counts.reposts > 0 {
        // The connection has its share of a turn, and the others have theirs.
        let (share, turns) = (REQUESTS as u64 / counts.turns, counts.turns);
        assert!(share <= 64, "{REQUESTS} requests were answered in {turns} turns");
    }
}

/// A protocol stops using its input while its output waits; what came before the server stopped
/// reading is no reason to refuse a client.
pub fn requests_that_came_before_the_water_rose(scene: &Scene) {
    struct Careful;

    impl Protocol for Careful {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            let mut used = 0;
            for request in input.chunks(100) {
                if connection.is_above_high_water() {
                    break;
                }
                connection.send(request);
                used += request.len();
            }
            used
        }
    }

    let config =
        Config { max_input: LITTLE, high_water: 20_000, low_water: 5_000, ..Config::default() };
    // All that the system takes has come before the server looks.
    let served = scene.bind(config, || Careful);
    let mut client = served.connect();
    let requests = pattern(400_000);
    let mut writer = client.split();
    let sent = requests.clone();
    let writing = thread::spawn(move || writer.send_at_once(&sent));
    let served = served.run();
    client.expect(&requests);
    writing.join().expect("the server takes it all in the end");
    client.exchange(b"another");
    drop(client);
    served.stop();
}

/// At the limit of connections the next ones wait in the backlog; each that leaves makes room for
/// one.
pub fn connections_past_the_limit_wait(scene: &Scene) {
    const LIMIT: usize = 3;
    let config = Config { max_connections: Some(LIMIT), ..Config::default() };
    let served = scene.serve_within(config, || Echo);
    let mut inside: Vec<_> = (0..LIMIT).map(|_| served.connect()).collect();
    for client in &mut inside {
        client.exchange(b"one");
    }
    let mut waiting: Vec<_> = (0..2 * LIMIT).map(|_| served.connect()).collect();
    for client in &mut waiting {
        client.send(b"let me in");
    }
    for _ in 0..10 {
        for client in &mut inside {
            client.exchange(b"two");
        }
        assert_eq!(served.log().records().len(), LIMIT, "somebody else was let in");
    }
    for client in &mut waiting {
        client.expect_nothing_yet();
    }
    for mut client in waiting {
        served.log().reason(inside.remove(0).leave());
        client.expect(b"let me in");
        assert!(served.log().open() <= LIMIT);
        inside.push(client);
    }
    for client in &mut inside {
        client.exchange(b"three");
    }
    drop(inside);
    served.stop();
}

/// A thousand connections open and close in no order, some after a request, some in the middle of
/// one, some with a reset.
pub fn a_thousand_connections_come_and_go(scene: &Scene) {
    const THREADS: u64 = 4;
    const EACH: u64 = 250;
    // select has room for 64 sockets on Windows. Some are closed a moment later than their clients.
    const AT_ONCE: usize = if cfg!(windows) { 6 } else { 20 };
    let served = scene.serve(|| Lines);
    thread::scope(|scope| {
        for seed in 1..=THREADS {
            let served = &served;
            scope.spawn(move || {
                let mut random = Random(seed);
                let mut open = Vec::new();
                for _ in 0..EACH {
                    let mut client = served.connect();
                    if random.below(2) == 0 {
                        client.exchange_at_once(b"one\n");
                    }
                    open.push(client);
                    if open.len() < AT_ONCE {
                        continue;
                    }
                    for _ in 0..=random.below(AT_ONCE - 1) {
                        let mut client = open.swap_remove(random.below(open.len()));
                        match random.below(5) {
                            0 => drop(client),
                            1 => drop(client.reset()),
                            2 => {
                                client.send_if_open(b"and a piece");
                                client.reset();
                            }
                            3 => {
                                client.exchange_at_once(b"close\n");
                                client.expect_end();
                            }
                            _ => client.exchange_at_once(b"two\n"),
                        }
                    }
                }
                for mut client in open {
                    client.exchange_at_once(b"the last\n");
                }
            });
        }
    });
    let mut another = served.connect();
    another.exchange(b"another\n");
    drop(another);
    served.log().wait_until_open(0);
    let counts = served.stop();
    // A connection that was reset in the backlog may never have been seen.
    assert!(counts.opened <= THREADS * EACH + 1);
    assert!(counts.opened > THREADS * EACH / 2, "{counts:?}");
}
