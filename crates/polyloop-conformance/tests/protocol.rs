//! The protocol scenarios, on every model: one line each.

use polyloop_conformance::test_model;
use polyloop_models::Model;

test_model!(iterative: Model::Iterative);
test_model!(spin: Model::Spin);
#[cfg(unix)]
test_model!(process: Model::Process);
test_model!(thread: Model::Thread);
// More threads than any scenario has connections at once: the others would wait.
test_model!(pool: Model::Pool, "threads=100");
test_model!(select: Model::Select);
test_model!(poll: Model::Poll);
test_model!(epoll: Model::Epoll);
test_model!(mio: Model::Mio);
test_model!(uring: Model::Uring);
test_model!(select_unlimited: Model::Select, "unlimited");
test_model!(epoll_edge: Model::Epoll, "edge");
test_model!(mio_with_loops: Model::Mio, "loops=3");
test_model!(uring_with_loops: Model::Uring, "loops=2");

/// A model without a line above would be tested by nobody.
#[test]
fn every_model_is_tested() {
    let here = include_str!("protocol.rs");
    for model in Model::ALL {
        let line = format!("test_model!({model}: Model::");
        assert!(here.lines().any(|there| there.starts_with(&line)), "no line for {model}");
    }
}

/// The same bytes in any pieces, chosen at random.
mod random_pieces {
    use polyloop_conformance::protocol::{in_pieces, Company, Scene};
    use polyloop_conformance::watchdog;
    use polyloop_models::Model;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    /// Text with an end of line here and there, and where to cut it.
    fn pieces() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
        let byte = prop_oneof![1 => Just(b'\n'), 6 => b'a'..=b'z'];
        let content = prop::collection::vec(byte, 1..200);
        (content, prop::collection::vec(0..200_usize, 0..12))
    }

    fn give_the_same_lines(model: Model) {
        let config = Config { cases: 25, failure_persistence: None, ..Config::default() };
        let alone = model == Model::Iterative;
        let company = if alone { Company::Quiet } else { Company::Lively };
        let scene = Scene { name: model.name(), model, setting: "", company };
        let outcome = TestRunner::new(config).run(&pieces(), |(content, cuts)| {
            in_pieces(&scene, &content, &cuts);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    }

    #[test]
    fn give_the_same_lines_on_every_model() {
        // A server that forks is started for a scenario of the list.
        for model in Model::here().filter(|model| !model.forks()) {
            watchdog::run("random pieces", move || give_the_same_lines(model));
        }
    }
}
