//! What a server counts.

use polyloop::Config;
use polyloop_models::Model;

use super::serve::{Echo, ANY};
use super::Scene;

const DATAGRAMS: u64 = 200;

/// Datagrams in, those of them that were too long, and answers.
pub fn what_was_done_is_counted(scene: &Scene) {
    let config = Config { max_datagram: 10, ..Config::default() };
    let served = scene.bind(&[ANY], config, || Echo).run();
    let client = served.connect();
    for _ in 0..5 {
        client.exchange(b"short");
        client.send(b"much too long");
        client.expect(b"only 10 bytes, from 109");
    }
    let counts = served.stop();
    assert_eq!((counts.datagrams, counts.truncated), (10, 5), "{counts:?}");
    assert_eq!((counts.answers, counts.unsent), (10, 0), "{counts:?}");
}

/// A call to receive and one to send; whatever else a model does for a datagram is bounded and
/// counted.
pub fn a_datagram_costs_what_it_must(scene: &Scene) {
    let served = scene.serve(|| Echo);
    let client = served.connect();
    for _ in 0..DATAGRAMS {
        client.send_at_once(b"a datagram");
        client.expect(b"a datagram");
    }
    let counts = served.stop();
    assert_eq!(counts.writes, DATAGRAMS, "{counts:?}");
    assert!(counts.reads >= DATAGRAMS, "{counts:?}");
    assert!(counts.system_calls() >= 2 * DATAGRAMS, "{counts:?}");
    if scene.blocks() {
        // Exactly two calls, and one for each thread that is woken to end.
        assert!(counts.reads - DATAGRAMS <= 64, "{counts:?}");
        assert_eq!((counts.turns, counts.other_calls), (0, 0), "{counts:?}");
    } else if scene.model != Model::Spin {
        // A loop asks what is ready, and may have to receive once more to see that nothing is.
        assert!(counts.reads <= 2 * (DATAGRAMS + 2), "{counts:?}");
        assert!(counts.turns <= 2 * (DATAGRAMS + 10), "{counts:?}");
        assert!(counts.interest_changes <= 4, "{counts:?}");
    }
}
