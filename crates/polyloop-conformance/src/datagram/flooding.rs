//! More than a server can answer: some of it finds a full buffer and is lost, and that is all.

use std::time::{Duration, Instant};

use polyloop::Config;

use super::serve::{Client, Echo, Flood, ANY};
use super::Scene;

/// Whoever floods one address holds up nobody at another.
pub fn a_flood_holds_up_no_other_address(scene: &Scene) {
    let served = scene.bind(&[ANY, ANY], Config::default(), || Echo).run();
    let _flood = Flood::start(served.connect_to(0));
    let client = served.connect_to(1);
    for _ in 0..20 {
        client.exchange(b"at the quiet door");
    }
    served.stop();
}

/// A drain answers what has come; of a flood there is always more, and its time is up some day.
pub fn a_drain_has_a_deadline(scene: &Scene) {
    const DRAIN: Duration = Duration::from_millis(50);
    let config = Config { drain: DRAIN, ..Config::default() };
    let served = scene.bind(&[ANY], config, || Echo).run();
    let _floods: Vec<_> = (0..2).map(|_| Flood::start(served.connect())).collect();
    let begun = Instant::now();
    served.handle().drain();
    served.wait();
    assert!(begun.elapsed() < Client::PATIENCE, "it answers for ever");
}

/// A server that always has something to do can be stopped.
pub fn a_stop_ends_a_flood(scene: &Scene) {
    let served = scene.serve(|| Echo);
    let _flood = Flood::start(served.connect());
    served.stop();
}

/// A drain without an end in sight can be cut short.
pub fn a_stop_ends_a_drain(scene: &Scene) {
    let config = Config { drain: Duration::from_secs(3600), ..Config::default() };
    let served = scene.bind(&[ANY], config, || Echo).run();
    let _flood = Flood::start(served.connect());
    served.handle().drain();
    served.stop();
}
