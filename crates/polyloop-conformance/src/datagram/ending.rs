//! Drain and stop.

use std::net::UdpSocket;

use polyloop::Config;

use super::serve::{Echo, ANY};
use super::Scene;

/// What had come before the drain is answered.
pub fn a_drain_answers_what_has_come(scene: &Scene) {
    const COME: u8 = 100;
    let bound = scene.bind(&[ANY], Config::default(), || Echo);
    let client = bound.connect();
    for number in 0..COME {
        client.send_at_once(&[number]);
    }
    bound.handle().drain();
    let counts = bound.run().wait();
    assert_eq!((counts.datagrams, counts.answers), (COME.into(), COME.into()), "{counts:?}");
    for _ in 0..COME {
        client.socket.recv(&mut [0]).expect("an answer comes");
    }
    client.expect_nothing_yet();
}

/// A server with nothing to do ends as soon as it is told to drain.
pub fn an_idle_server_drains_at_once(scene: &Scene) {
    let served = scene.serve(|| Echo);
    served.connect().exchange(b"it runs");
    served.handle().drain();
    let counts = served.wait();
    assert_eq!((counts.datagrams, counts.answers), (1, 1), "{counts:?}");
}

/// A server with nothing to do ends as soon as it is told to stop, every thread of it.
pub fn an_idle_server_stops_at_once(scene: &Scene) {
    let served = scene.serve(|| Echo);
    served.connect().exchange(b"it runs");
    let counts = served.stop();
    assert_eq!((counts.datagrams, counts.answers), (1, 1), "{counts:?}");
}

/// A server that was stopped before it ran does not run.
pub fn a_stop_before_the_server_runs_is_not_lost(scene: &Scene) {
    let bound = scene.bind(&[ANY], Config::default(), || Echo);
    bound.handle().stop();
    bound.run().wait();
}

/// An address is free when the server has ended, whoever holds a handle, which goes on to count.
pub fn a_handle_holds_no_address_after_the_end(scene: &Scene) {
    let is_free = || {
        let served = scene.serve(|| Echo);
        let client = served.connect();
        client.exchange(b"it runs");
        let handle = served.handle().clone();
        served.stop();
        let free = UdpSocket::bind(client.socket.peer_addr().expect("the client is connected"));
        handle.drain();
        handle.stop();
        assert_eq!(handle.counts().answers, 1);
        free.is_ok()
    };
    // The system may have given the port to another test meanwhile, but not three times.
    assert!((0..3).any(|_| is_free()), "the address is in use");
}
