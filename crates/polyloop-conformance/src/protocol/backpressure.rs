//! More output than the peer takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;

use polyloop::{Closed, Config, Connection, Protocol};

use super::client::{pattern, pattern_from};
use super::protocols::{Amplify, Echo, Stream};
use super::Scene;

/// A megabyte is echoed to a client that reads a little at a time and whose kernel holds little.
pub fn a_megabyte_to_a_slow_reader(scene: &Scene) {
    let served = scene.serve(|| Echo);
    let mut client = served.connect_with_little_room();
    let content = pattern(1 << 20);
    let mut writer = client.split();
    let sent = content.clone();
    let writing = thread::spawn(move || writer.send(&sent));
    for piece in content.chunks(1500) {
        client.expect(piece);
    }
    writing.join().expect("the server takes it all in the end");
    client.exchange(b"another");
    drop(client);
    served.stop();
}

/// Twenty megabytes are sent as fast as they are taken, by a protocol that goes on when it is told
/// that its output has fallen.
pub fn twenty_megabytes_streamed(scene: &Scene) {
    const COUNT: usize = 20 << 20;
    let served = scene.serve(|| Stream::of(COUNT));
    let mut client = served.connect();
    client.send(b"go");
    let mut read = vec![0; 60_000];
    let mut count = 0;
    while count < COUNT {
        let more = client.read(&mut read).expect("more of the stream");
        assert_ne!(more, 0, "the end after {count} bytes");
        assert!(read[..more] == *pattern_from(count, more), "wrong after {count} bytes");
        count += more;
    }
    client.finish();
    client.expect_end();
    served.stop();
}

/// Much is asked for at once: what waits stays within the high-water mark and one answer, the
/// protocol is not shown more of its input meanwhile, and all of it is answered in the end.
pub fn reading_rests_above_high_water(scene: &Scene) {
    let config = Config { high_water: 20_000, low_water: 5_000, ..Config::default() };
    let high_water = config.high_water;
    let served = scene.serve_within(config, move || Amplify::within(high_water));
    let mut client = served.connect_with_little_room();
    let requests = pattern(600);
    client.send(&requests);
    client.expect(&Amplify::answer(&requests));
    client.send(b"ab");
    client.expect(&Amplify::answer(b"ab"));
    drop(client);
    served.stop();
}

/// A client asks, reads nothing and asks on, until the server reads no more of it either; then it
/// reads.
pub fn a_client_that_does_not_read_is_not_read_from(scene: &Scene) {
    let served = scene.serve(|| Echo);
    let mut client = served.connect_with_little_room();
    let mut writer = client.split();
    let content = pattern(1 << 16);
    // More than the system holds on the way.
    const TIMES: usize = 120;
    let sent = content.clone();
    let writing = thread::spawn(move || {
        for _ in 0..TIMES {
            writer.send(&sent);
        }
    });
    // It is read in one go, now that both sides are full or will be.
    for _ in 0..TIMES {
        client.expect(&content);
    }
    writing.join().expect("the server takes it all in the end");
    drop(client);
    served.stop();
}

/// A connection that streams without end to a peer that takes all of it leaves the others their
/// turn.
pub fn a_stream_without_end_starves_nobody(scene: &Scene) {
    enum Either {
        Unknown,
        Echo,
        Stream(Stream),
    }

    impl Protocol for Either {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            match self {
                Either::Unknown if input == b"stream" => {
                    *self = Either::Stream(Stream::without_end());
                    self.received(connection, input)
                }
                Either::Unknown => {
                    *self = Either::Echo;
                    self.received(connection, input)
                }
                Either::Echo => Echo.received(connection, input),
                Either::Stream(stream) => stream.received(connection, input),
            }
        }

        fn drained(&mut self, connection: &mut Connection<'_>) {
            if let Either::Stream(stream) = self {
                stream.drained(connection);
            }
        }
    }

    let served = scene.serve(|| Either::Unknown);
    let mut greedy = served.connect();
    greedy.send(b"stream");
    let address = greedy.address();
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let reading = thread::spawn(move || {
        let mut read = vec![0; 64 * 1024];
        while !told.load(Ordering::Relaxed) {
            assert_ne!(greedy.read(&mut read).expect("more of the stream"), 0);
        }
        greedy.reset();
    });
    let mut modest = served.connect();
    for _ in 0..50 {
        modest.exchange(b"my turn");
    }
    assert_eq!(served.log().closed(address), None, "it streams on");
    over.store(true, Ordering::Relaxed);
    reading.join().expect("the stream went on");
    assert_eq!(served.log().reason(address), Closed::Reset);
    modest.exchange(b"another");
    drop(modest);
    served.stop();
}

/// A protocol hears of the fall of its output once for each rise, and only then.
pub fn drained_is_told_once_for_each_rise(scene: &Scene) {
    #[derive(Default)]
    struct Counting {
        rises: usize,
        falls: usize,
    }

    impl Protocol for Counting {
        fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
            assert_eq!(self.rises, self.falls, "shown input between rise and fall");
            for &byte in input {
                connection.send(&[byte]);
            }
            if connection.is_above_high_water() {
                self.rises += 1;
            }
            input.len()
        }

        fn drained(&mut self, connection: &mut Connection<'_>) {
            self.falls += 1;
            assert_eq!(self.falls, self.rises, "a fall without a rise");
            assert!(connection.queued() <= 10);
        }

        fn closed(&mut self, _: Closed) {
            assert_eq!(self.falls, self.rises, "a rise without a fall");
            assert_ne!(self.rises, 0);
        }
    }

    let config = Config { high_water: 100, low_water: 10, ..Config::default() };
    let served = scene.serve_within(config, Counting::default);
    let mut client = served.connect();
    for length in [1, 99, 100, 101, 50, 200, 1] {
        client.exchange(&vec![b'x'; length]);
    }
    drop(client);
    served.stop();
}
