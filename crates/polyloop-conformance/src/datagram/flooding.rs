//! More than a server can answer: some of it finds a full buffer and is lost, and that is all.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use polyloop::Config;

use super::serve::{Endless, Served, ANY};
use super::sockets::Faults;
use super::Scene;

/// Whoever floods one address holds up nobody at another.
pub fn a_flood_holds_up_no_other_address(scene: &Scene) {
    let served = scene.bind(&[ANY, ANY], Config::default(), Endless::new).run();
    served.flood();
    let client = served.connect_to(1);
    for _ in 0..20 {
        client.exchange(b"at the quiet door");
    }
    served.stop();
}

/// A drain answers what has come; of a flood there is always more, and its time is up some day.
pub fn a_drain_has_a_deadline(scene: &Scene) {
    const DRAIN: Duration = Duration::from_millis(50);
    let served = flooded_for_ever(scene, DRAIN);
    let begun = Instant::now();
    served.handle().drain();
    served.wait();
    let took = begun.elapsed();
    assert!(took >= DRAIN, "there was more to answer after {took:?}");
}

/// A server that always has something to do can be stopped.
pub fn a_stop_ends_a_flood(scene: &Scene) {
    let served = scene.serve(Endless::new);
    served.flood();
    served.stop();
}

/// A drain without an end in sight can be cut short.
pub fn a_stop_ends_a_drain(scene: &Scene) {
    let served = flooded_for_ever(scene, Duration::from_secs(3600));
    served.handle().drain();
    served.receives_more();
    served.stop();
}

/// A server that sees no end of what has come before a drain. Threads would see one in what they
/// send to themselves: it finds no room, as it may in a flood.
fn flooded_for_ever(scene: &Scene, drain: Duration) -> Served {
    let config = Config { drain, ..Config::default() };
    let full = Faults::sending(u32::MAX, ErrorKind::WouldBlock);
    let served = scene.bind_with(full, config, Endless::new).run();
    served.flood();
    served
}
