//! Drain and stop.

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
