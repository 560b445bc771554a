//! The figures of a comparison, held against what is known of them beforehand.

mod common;

use std::time::Duration;

use polyloop_bench::compare::cell::{Measured, Outcome};
use polyloop_bench::compare::plan::Plan;
use polyloop_bench::compare::{Contestant, Results, Settings};
use polyloop_bench::process;
use polyloop_bench::protocols::{Builtin, Cost};
use polyloop_bench::transport::Transport;

use common::polyloop;

/// Runs a comparison, which may fail, and returns what it saved.
fn compare(arguments: &str) -> Results {
    compare_words(&arguments.split_whitespace().collect::<Vec<_>>())
}

fn compare_words(arguments: &[&str]) -> Results {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let out = out.to_str().unwrap();
    let ended = polyloop(&[&["compare", "--out", out, "--warmup", "5ms"], arguments].concat());
    let saved = std::fs::read_to_string(out);
    serde_json::from_str(&saved.unwrap_or_else(|_| panic!("{ended:?}"))).unwrap()
}

fn measured(results: &Results) -> impl Iterator<Item = (&str, &Measured)> {
    results.cells.iter().map(|cell| match &cell.outcome {
        Outcome::Measured(measured) => (cell.contestant.as_str(), &**measured),
        Outcome::Failed(reason) => panic!("{}: {reason}", cell.contestant),
    })
}

/// Windows counts processor time in ticks, and its threads wait before they read.
#[test]
#[cfg(unix)]
fn work_is_in_the_processor_time_and_each_request_is_a_read() {
    let results = compare(
        "--models thread,mio --protocol work --work 1ms --scenarios active --connections 4 \
         --rounds 1 --duration 50ms",
    );
    for row in &results.summary {
        assert!(row.processor_ns >= Some(1e6), "{row:?}");
        // The median of one round is that round.
        let by_hand = row.server_utilisation.unwrap() / row.requests_per_second.unwrap() * 1e9;
        assert!((row.processor_ns.unwrap() / by_hand - 1.0).abs() < 1e-9, "{row:?}");
    }
    for (contestant, measured) in measured(&results).filter(|(name, _)| name.contains("thread")) {
        let reads = measured.counted.as_ref().unwrap()["reads"];
        // A thread counts the read that it begins, and may not be there yet when it is asked.
        let apart = reads.abs_diff(measured.load.requests);
        assert!(apart <= 4, "{contestant}: {reads} reads, {measured:?}");
    }
}

#[test]
fn the_load_generator_runs_on_the_processor_that_the_results_name() {
    let results =
        compare("--models mio --scenarios active --connections 2 --rounds 1 --duration 20ms");
    let setup = &results.setup;
    let all = process::processors().unwrap_or_default();
    assert_eq!(setup.load_processor.is_some(), all.len() > 1, "{setup:?}");
    assert_eq!(setup.server_processors.is_empty(), all.len() < 2, "{setup:?}");
    assert!(setup.server_processors.iter().all(|server| all.contains(server)), "{setup:?}");
    for (_, measured) in measured(&results) {
        assert_eq!(measured.load.pinned, setup.load_processor, "{measured:?}");
    }
    let shared = setup.load_processor.filter(|load| setup.server_processors.contains(load));
    assert_eq!(shared, None, "{setup:?}");
}

/// The server says itself where it may run.
#[test]
#[cfg(target_os = "linux")]
fn a_server_runs_on_the_processors_that_the_results_name() {
    let peer =
        "teller=sh,-c,sed -n 's/Cpus_allowed_list:[^0-9]*/it may run on /p' /proc/self/status >&2";
    let results = compare_words(&["--models=", "--rounds", "1", "--peer", peer]);
    for cell in &results.cells {
        let Outcome::Failed(told) = &cell.outcome else { panic!("{cell:?}") };
        match results.setup.server_processors.as_slice() {
            [server] => assert_eq!(*told, format!("it may run on {server}")),
            _ => assert!(told.starts_with("it may run on "), "{told}"),
        }
    }
}

#[test]
fn measurements_are_saved_in_the_order_of_the_plan() {
    let names = ["one", "two", "three"];
    let peers = names.map(|name| format!("--peer {name}=no-such-program")).join(" ");
    let results = compare(&format!("--models= {peers} --rounds 3 --seed 7"));
    let peer = |name: &str| Contestant {
        name: name.to_owned(),
        program: "no-such-program".into(),
        arguments: Vec::new(),
    };
    let settings = Settings {
        models: Vec::new(),
        peers: names.map(peer).into(),
        transport: Transport::Tcp,
        protocol: Builtin::Echo,
        cost: Cost::default(),
        scenarios: Vec::new(),
        rounds: 3,
        duration: Duration::ZERO,
        warmup: Duration::ZERO,
        connections: None,
        active: None,
        baseline: None,
        margin: 0.03,
        seed: None,
        out: None,
    };
    let plan = Plan::new(&settings, 7).unwrap();
    let planned = (0..3).flat_map(|round| {
        let named = |(scenario, contestant): (usize, usize)| {
            let (scenario, contestant) = (&plan.scenarios[scenario], &plan.contestants[contestant]);
            (round, scenario.name.as_str(), contestant.name.as_str())
        };
        plan.order(round).into_iter().map(named).collect::<Vec<_>>()
    });
    let saved = results.cells.iter();
    let saved = saved.map(|cell| (cell.round, cell.scenario.as_str(), cell.contestant.as_str()));
    assert_eq!(saved.collect::<Vec<_>>(), planned.collect::<Vec<_>>());
}
