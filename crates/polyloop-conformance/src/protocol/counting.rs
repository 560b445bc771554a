//! What a server counts.

use std::thread;

use polyloop::{Config, Counts};
use polyloop_models::Model;

use super::protocols::Echo;
use super::Scene;

const REQUESTS: u64 = 200;

fn count(scene: &Scene, config: Config) -> Counts {
    let served = scene.serve_within(config, || Echo);
    let mut client = served.connect();
    for _ in 0..REQUESTS {
        client.exchange_at_once(b"a request");
    }
    let address = client.leave();
    served.log().reason(address);
    served.stop()
}

/// One read and one write a request, and the read that finds the end; whatever else a model does
/// for a request, it is bounded and counted.
pub fn a_request_costs_what_it_must(scene: &Scene) {
    let counts = count(scene, Config { idle: None, read: None, write: None, ..Config::default() });
    assert_eq!(counts.opened, 1);
    assert_eq!(counts.writes, REQUESTS, "{counts:?}");
    assert!(counts.reads > REQUESTS, "{counts:?}");
    match scene.model {
        // A call hands over an answer and waits; that the answer went and that the next request has
        // come may be told by one call or by two.
        Model::Uring => {
            let calls = counts.turns + counts.other_calls;
            assert_eq!(counts.system_calls(), calls, "{counts:?}");
            assert!(calls >= REQUESTS, "{counts:?}");
            assert!(calls <= 2 * (REQUESTS + 10), "{counts:?}");
            assert_eq!(counts.reads, REQUESTS + 1, "{counts:?}");
        }
        // Exactly two calls a request, and one for the end.
        Model::Iterative | Model::Thread | Model::Pool => {
            assert_eq!(counts.reads, REQUESTS + 1, "{counts:?}");
            assert_eq!((counts.turns, counts.other_calls), (0, 0), "{counts:?}");
            assert!(counts.system_calls() >= 2 * REQUESTS, "{counts:?}");
        }
        // So does the process of a connection; the one that accepts has turns of its own.
        Model::Process => {
            assert_eq!(counts.reads, REQUESTS + 1, "{counts:?}");
            // It forks, closes here and there what is the other's, waits twice, reports, and is told
            // and tells by mail.
            assert!(counts.other_calls >= 13, "{counts:?}");
        }
        // It asks again and again: how often until a request comes is the scheduler's business.
        Model::Spin => assert!(counts.system_calls() >= 2 * REQUESTS, "{counts:?}"),
        // A loop asks what is ready, and may have to read once more to see that nothing is.
        _ => {
            assert!(counts.reads <= 2 * (REQUESTS + 2), "{counts:?}");
            assert!(counts.turns <= 2 * (REQUESTS + 10), "{counts:?}");
            // A read that found nothing more may have been the one that found the next request.
            // Where a short read is no proof that there is nothing more, any number of them may.
            let looks_again =
                scene.model == Model::Mio && cfg!(any(windows, mio_unsupported_force_poll_poll));
            let found = counts.events + counts.reads >= 2 * REQUESTS;
            assert!(found || looks_again, "{counts:?}");
            assert!(counts.system_calls() >= 2 * REQUESTS, "{counts:?}");
        }
    }
}

/// Deadlines cost a handful of calls for the connection, and none for a request.
pub fn deadlines_cost_nothing_a_request(scene: &Scene) {
    let counts = count(scene, Config::default());
    assert_eq!(counts.writes, REQUESTS, "{counts:?}");
    // A process takes some twenty to come and go.
    let most = if scene.model.forks() { 40 } else { 10 };
    assert!(counts.other_calls <= most, "{counts:?}");
    assert!(counts.interest_changes <= 10, "{counts:?}");
}

/// The counts can be read from any thread, and never run backwards.
pub fn counts_can_be_watched(scene: &Scene) {
    let served = scene.serve(|| Echo);
    let handle = served.handle().clone();
    let mut client = served.connect();
    let watching = thread::spawn(move || {
        let mut before = handle.counts();
        while before.writes < REQUESTS {
            let now = handle.counts();
            for ((name, before), (_, now)) in before.named().iter().zip(now.named()) {
                assert!(*before <= now, "{name} fell from {before} to {now}");
            }
            before = now;
            thread::yield_now();
        }
    });
    for _ in 0..REQUESTS {
        client.exchange_at_once(b"a request");
    }
    watching.join().expect("the counts only grow");
    drop(client);
    served.stop();
}
