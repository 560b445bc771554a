//! The program as a user meets it: exit codes, messages, and processes that end.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use polyloop_bench::compare::cell::Outcome;
use polyloop_bench::compare::{table, Results};
use polyloop_bench::control::{Listening, Stats};
use polyloop_bench::load::Report;
use polyloop_models::Model;

use common::{echo, free_port, peer, polyloop, Ended, Server};

fn load(server: &Server, arguments: &str) -> Ended {
    let target = server.address.to_string();
    let mut words = vec!["load", "--target", &target, "--warmup", "0s"];
    words.extend(arguments.split_whitespace());
    polyloop(&words)
}

fn report(ended: &Ended) -> Report {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn load_makes_exactly_the_requests_asked_for() {
    let server = Server::start(echo);
    let ended = load(&server, "--requests 1000 --connections 8 --json");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = report(&ended);
    assert_eq!((report.requests, report.errors.total()), (1000, 0));
    assert!(report.latency.p50_ns > 0 && report.latency.max_ns >= report.latency.p99_ns);
    server.wait_until_all_closed();
    assert_eq!(server.accepted(), 8);
    // Eight more: each connection exchanges one request before anything is measured.
    assert_eq!(server.received(), 1008 * 64);
}

#[test]
fn load_checks_messages_of_any_size_in_any_pieces() {
    let dribble = Server::start(|stream| common::echo_pieces(stream, 1));
    let ended = load(&dribble, "--requests 50 --connections 3 --size 37 --json");
    assert_eq!(report(&ended).requests, 50, "{ended:?}");

    let large = Server::start(echo);
    let ended = load(&large, "--requests 20 --connections 2 --size 3000001 --json");
    assert_eq!(report(&ended).requests, 20, "{ended:?}");
}

#[test]
fn most_connections_may_be_idle() {
    let server = Server::start(echo);
    let ended = load(&server, "--requests 200 --connections 300 --active 3 --json");
    assert_eq!(report(&ended).requests, 200, "{ended:?}");
    server.wait_until_all_closed();
    assert_eq!(server.accepted(), 300);
    assert_eq!(server.received(), 500 * 64);
}

#[test]
fn short_connections_make_one_request_each() {
    let server = Server::start(echo);
    let ended = load(&server, "--short --requests 500 --connections 16 --json");
    let report = report(&ended);
    assert_eq!((report.requests, report.errors.total()), (500, 0), "{ended:?}");
    assert_eq!(report.closes_first.as_deref(), Some("client"));
    server.wait_until_all_closed();
    assert_eq!((server.accepted(), server.received()), (500, 500 * 64));
}

#[test]
fn an_open_loop_keeps_its_schedule_through_silence() {
    let server = Server::start(echo);
    let ended = load(&server, "--rate 40 --requests 8 --connections 2 --json");
    let report = report(&ended);
    assert_eq!((report.requests, report.missed_rate), (8, false), "{ended:?}");
    // The last of them is due 175 ms after the first.
    assert!(report.seconds >= 0.175, "{report:?}");
    assert!(report.uncorrected.unwrap().max_ns <= report.latency.max_ns);
}

#[test]
fn an_open_loop_charges_a_stall_to_every_request_that_waited() {
    // Each answer takes 20 ms and one is due every 10 ms.
    let server = Server::start(|stream| {
        common::echo_with(stream, |_| std::thread::sleep(Duration::from_millis(20)))
    });
    let ended = load(&server, "--rate 100 --duration 600ms --connections 1 --json");
    let report = report(&ended);
    assert!(report.missed_rate, "{report:?}");
    // Half of them had to wait until after the end, and none is forgotten.
    assert_eq!((report.requests, report.not_made), (60, 0), "{report:?}");
    // However busy the machine is, a request is due each 10 ms and is made after 20 more.
    let waited = report.latency.mean_ns - report.uncorrected.unwrap().mean_ns;
    let least = (report.requests - 1) as f64 / 2.0 * 10e6;
    assert!(waited > 0.9 * least, "{report:?}");
}

#[test]
fn a_wrong_byte_is_found() {
    let server = Server::start(|stream| {
        let mut seen = 0;
        common::echo_with(stream, |bytes| {
            let before = seen;
            seen += bytes.len();
            if (before..seen).contains(&1000) {
                bytes[1000 - before] ^= 1;
            }
        });
    });
    let ended = load(&server, "--requests 100 --connections 1");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    // Byte 1000 is in the sixteenth message of 64 bytes.
    assert!(ended.stderr.contains("request 16: byte 40 is"), "{ended:?}");
    assert!(ended.stdout.contains("1 with wrong bytes"), "{ended:?}");
}

#[test]
fn too_many_bytes_are_wrong_too() {
    let server = Server::start(common::echo_twice);
    let ended = load(&server, "--requests 100 --connections 1");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("more came back than were asked for"), "{ended:?}");
}

#[test]
fn a_server_that_is_silent_or_hangs_up_is_an_error() {
    let silent = Server::start(common::swallow);
    let ended = load(&silent, "--requests 5 --connections 2 --timeout 200ms");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("no answer in time"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");

    let rude = Server::start(drop);
    let ended = load(&rude, "--requests 5 --connections 2");
    assert_eq!(ended.code, Some(1), "{ended:?}");

    // The other connection goes on, and the report says so.
    let half = Server::start_counting(one_breaks);
    let ended = load(&half, "--requests 50 --connections 2 --json");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = report(&ended);
    assert_eq!(report.errors.broken, 1, "{report:?}");
    assert!(report.requests >= 49, "{report:?}");
}

/// The first connection breaks after the request that opened it.
fn one_breaks(number: u64, stream: common::Counted) {
    match number {
        0 => common::echo_times(stream, 1),
        _ => echo(stream),
    }
}

#[test]
fn the_schedule_of_a_connection_that_failed_passes_without_it() {
    let half = Server::start_counting(one_breaks);
    let ended = load(&half, "--requests 20 --rate 1000 --connections 2 --json");
    let report = report(&ended);
    assert_eq!((report.requests, report.errors.broken), (10, 1), "{report:?}");
    // Its first request is made if it breaks no sooner.
    assert!(report.missed_rate && (9..=10).contains(&report.not_made), "{report:?}");
}

#[test]
fn a_refused_target_is_one_line_and_exit_code_1() {
    let target = format!("127.0.0.1:{}", free_port());
    for kind in [&["--connections", "4"][..], &["--short"]] {
        let ended = polyloop(&[&["load", "--target", &target], kind].concat());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.lines().last().unwrap().contains("cannot connect"), "{ended:?}");
    }
}

#[test]
fn an_output_that_is_closed_is_no_error() {
    for arguments in [&["atlas", "--list"][..], &["atlas", "--backend", "mio", "--json", "reset"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_polyloop"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_that_is_full_is_one_line_and_exit_code_1() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_polyloop"))
        .args(["atlas", "--list"])
        .stdout(full)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("cannot write to the standard output: No space left"), "{text}");
}

#[test]
fn a_mistake_is_one_line_and_exit_code_2() {
    let mistakes: [(&[&str], &str); 25] = [
        (&["serve", "--model", "thread", "--loops", "2"], "--model epoll, mio or uring"),
        (&["serve", "--model", "uring", "--loops", "0"], "1..=1024"),
        (&["serve", "--model", "mio", "--accept", "reuse-port"], "--loops 2 or more"),
        (
            &["serve", "--model", "poll", "--accept", "reuse-port"],
            "--accept is not for poll; it goes with --model epoll, mio or uring",
        ),
        (&["serve", "--model", "mio", "--accept", "nearest"], "round-robin|least-loaded"),
        (&["serve", "--model", "mio", "--threads", "2"], "it goes with --model pool"),
        (&["serve", "--model", "pool", "--threads", "0"], "'--threads <N>': 0 is not in 1.."),
        (&["serve", "--model", "kqueue"], "poll, epoll, mio"),
        (&["serve", "--model", "epoll:both"], "level, edge"),
        (
            &["serve", "--model", "poll", "--trigger", "edge"],
            "--trigger is not for poll; it goes with --model epoll",
        ),
        (&["serve", "--transport", "udp", "--idle-timeout", "1s"], "--idle-timeout is for conn"),
        (&["serve", "--transport", "udp", "--read-timeout", "1s"], "--read-timeout is for conn"),
        (&["serve", "--transport", "udp", "--backlog", "9"], "--backlog is for connections"),
        (&["serve", "--max-datagram", "99"], "--max-datagram goes with --transport udp"),
        (&["serve", "--protocol", "gopher"], "echo, line, frames, http, work"),
        (&["serve", "--protocol", "work"], "--sleep 2ms"),
        (&["serve", "--sleep", "2ms"], "--protocol work"),
        (&["load", "--target", "127.0.0.1:1", "--protocol", "http", "--size", "9000"], "at most"),
        (&["serve", "--listen", "nowhere"], "HOST:PORT"),
        (&["compare", "--models", "mio,kqueue"], "poll, epoll, mio"),
        (&["compare", "--models", "epoll,epoll"], "two contestants are called epoll"),
        (&["compare", "--models", "poll", "--trigger", "edge"], "none of the models"),
        (&["compare", "--scenarios", "lazy"], "active, idle, short"),
        (&["load"], "--target"),
        (&["load", "--target", "127.0.0.1:1", "--active", "9", "--connections", "3"], "--active 9"),
    ];
    for (arguments, hint) in mistakes {
        let ended = polyloop(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?} {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{arguments:?} {ended:?}");
        assert!(ended.stderr.contains(hint), "{arguments:?} {ended:?}");
    }
}

#[test]
#[cfg(unix)]
fn a_path_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    std::fs::write(&path, "precious").unwrap();
    let ended = polyloop(&["serve", "--listen", &format!("unix:{}", path.display())]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains("is not a socket; choose another path"), "{ended:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
#[cfg(unix)]
fn too_few_descriptors_are_explained() {
    let program = env!("CARGO_BIN_EXE_polyloop");
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 100; exec \"$0\" load --target 127.0.0.1:1 --connections 200"])
        .arg(program)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("216 descriptors") && text.contains("ulimit -Hn"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_controlled_server_answers_and_ends_with_its_input() {
    let mut server = Command::new(peer())
        .args(["--listen", "127.0.0.1:0", "--control"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = server.stdin.take().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();

    let listening: Listening = serde_json::from_str(&line()).unwrap();
    assert!(!listening.listening.ends_with(":0"), "{}", listening.listening);
    stdin.write_all(b"stats\nnonsense\nmemory\n").unwrap();
    let _: Stats = serde_json::from_str(&line()).unwrap();
    assert_eq!(line(), "{\"unknown\":\"nonsense\"}");
    assert!(line().contains("resident_bytes"));
    drop(stdin);
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_port_in_use_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(peer()).args(["--listen", &address]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("another program listens there"), "{text}");
}

/// A comparison of the example peer with itself and a program that does not exist.
fn compare(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polyloop"));
    command
        .args(["compare", "--models", "", "--peer"])
        .arg(format!("peer={}", peer().display()))
        .args(["--peer", "ghost=no-such-program"])
        .args(["--warmup", "10ms", "--connections", "8", "--out"])
        .arg(out)
        .stdin(Stdio::null());
    command
}

#[test]
fn a_comparison_measures_what_it_can_and_gives_reasons_for_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new").join("results.json");
    let output = compare(&out)
        .args(["--rounds", "2", "--duration", "50ms", "--seed", "7"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    // Once in each scenario; a long reason is told below the table again.
    assert_eq!(text.matches("  ghost  cannot run: ").count(), 3, "{text}");
    assert!(text.contains("cannot start no-such-program"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");

    let saved = std::fs::read_to_string(&out).unwrap();
    let results: Results = serde_json::from_str(&saved).unwrap();
    assert_eq!((results.rounds_done, results.setup.seed), (2, 7));
    assert_eq!(results.cells.len(), 2 * 3 * 3);
    // What was printed is drawn from what was saved, and from nothing else.
    assert_eq!(table::draw(&results), text);
    for cell in &results.cells {
        match (&cell.outcome, cell.contestant.as_str()) {
            (Outcome::Failed(_), "ghost") => {}
            (Outcome::Measured(measured), "peer" | "peer again") => {
                assert!(measured.load.requests > 0);
                assert_eq!(measured.load.errors.total(), 0);
            }
            other => panic!("{other:?}"),
        }
    }
    // No partial file is left behind.
    assert_eq!(std::fs::read_dir(out.parent().unwrap()).unwrap().count(), 1);
}

/// A model that serves fewer connections at once than the scenario has is not measured, and its row
/// says who would wait.
#[test]
fn a_comparison_shows_who_would_wait() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let arguments = "compare --models iterative,pool --threads 3 --scenarios active,short \
                     --connections 5 --rounds 1 --duration 20ms --warmup 5ms --out";
    let output = Command::new(env!("CARGO_BIN_EXE_polyloop"))
        .args(arguments.split_whitespace())
        .arg(&out)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let one = "cannot run: it serves one connection at a time: 4 of 5 wait in the backlog";
    let three = "cannot run: it serves 3 connections at a time: 2 of 5 wait in the backlog";
    if cfg!(target_os = "linux") {
        assert!(text.contains(one) && text.contains(three), "{text}");
    }
    assert!(text.contains("cannot run: it serves one connection at a time"), "{text}");
    // Short connections have their turn, one after the other.
    let results: Results = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    for cell in results.cells.iter().filter(|cell| cell.scenario == "short") {
        assert!(matches!(&cell.outcome, Outcome::Measured(_)), "{cell:?}");
    }
}

#[test]
fn a_comparison_of_all_models_has_a_row_for_each() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let arguments = "compare --models all --scenarios active --connections 3 --rounds 1 \
                     --duration 20ms --warmup 5ms --out";
    let ended = polyloop(&[arguments.split(' ').collect(), vec![out.to_str().unwrap()]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for model in Model::ALL {
        let row = |line: &&str| line.split_whitespace().next() == Some(model.name());
        let row = ended.stdout.lines().find(row).unwrap_or_else(|| panic!("no {model}: {ended:?}"));
        // One at a time can't be active together; what a system lacks, it says.
        let runs = *model != Model::Iterative && Model::here().any(|here| here == *model);
        assert_eq!(row.contains(" cannot run: "), !runs, "{row}");
    }
}

#[test]
fn a_comparison_shows_the_share_of_each_loop() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let mut models = "mio,mio:loops=3,mio:loops=3:least-loaded".to_owned();
    if cfg!(target_os = "linux") {
        models += ",mio:loops=3:reuse-port";
    }
    let output = Command::new(env!("CARGO_BIN_EXE_polyloop"))
        .args(["compare", "--models", &models, "--scenarios", "active,short", "--connections", "6"])
        .args(["--rounds", "1", "--duration", "20ms", "--warmup", "5ms", "--out"])
        .arg(&out)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let told = text.replace('\n', " ");
    assert!(told.contains("Connections by loop, over all rounds: active/mio:loops=3: 2, 2, 2; "));
    let results: Results = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    for row in &results.summary {
        let place = format!("{}/{}", row.scenario, row.contestant);
        let all: u64 = row.loops.iter().sum();
        match (row.contestant.contains("loops"), row.scenario.as_str()) {
            (false, _) => assert!(row.loops.is_empty(), "{place}"),
            (true, "active") => assert_eq!((row.loops.len(), all), (3, 6), "{place}: {row:?}"),
            // Those of the warm-up are not among the requests.
            (true, _) => assert!(row.loops.len() == 3 && all >= row.requests, "{place}: {row:?}"),
        }
        assert_eq!(told.contains(&format!("{place}: ")), !row.loops.is_empty(), "{text}");
        // However the load falls, nobody is left out by one who looks for the least loaded.
        assert!(!place.ends_with("least-loaded") || !row.loops.contains(&0), "{row:?}");
    }
}

#[test]
#[cfg(unix)]
fn an_interrupted_server_tells_the_share_of_each_loop() {
    use std::io::Read;
    use std::net::TcpStream;

    let policies = ["round-robin", "least-loaded", "reuse-port"];
    for policy in &policies[..if cfg!(target_os = "linux") { 3 } else { 2 }] {
        let mut server = Command::new(env!("CARGO_BIN_EXE_polyloop"))
            .args(["serve", "--listen", "127.0.0.1:0", "--loops", "2", "--accept", policy])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        let clients: Vec<_> = (0..6)
            .map(|_| {
                let mut client = TcpStream::connect(address).unwrap();
                client.write_all(b"?").unwrap();
                client.read_exact(&mut [0]).unwrap();
                client
            })
            .collect();
        let sent = Command::new("kill").args(["-INT", &server.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output = server.wait_with_output().unwrap();
        drop(clients);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{text}");
        let last = text.lines().last().unwrap();
        let told = last.strip_prefix("polyloop: 6 connections served, by loop: ").unwrap();
        let shares: Vec<u64> = told.split(", ").map(|share| share.parse().unwrap()).collect();
        match *policy {
            "reuse-port" => assert_eq!((shares.len(), shares.iter().sum()), (2, 6), "{text}"),
            _ => assert_eq!(shares, [3, 3], "{policy}: {text}"),
        }
    }
}

#[test]
fn a_comparison_of_nothing_that_runs_fails() {
    let folder = tempfile::tempdir().unwrap();
    let ended = polyloop(&[
        "compare",
        "--models",
        "",
        "--peer",
        "ghost=no-such-program",
        "--rounds",
        "1",
        "--out",
        folder.path().join("results.json").to_str().unwrap(),
    ]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("nothing could be measured"), "{ended:?}");
    assert!(ended.stdout.contains("cannot run"), "{ended:?}");
}

#[test]
fn results_that_cannot_be_saved_are_known_before_anything_runs() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let inside = file.path().join("results.json");
    let folder = tempfile::tempdir().unwrap();
    for wrong in [&*inside, folder.path()] {
        let ended = polyloop(&["compare", "--out", wrong.to_str().unwrap()]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("cannot save the results"), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn killing_a_comparison_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = compare(&folder.path().join("results.json"))
        .args(["--scenarios", "active", "--rounds", "1000", "--duration", "20s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A server and a load generator.
    let children = common::until(|| {
        let children = common::children(parent.id());
        (children.len() == 2).then_some(children)
    });
    parent.kill().unwrap();
    parent.wait().unwrap();
    for child in children {
        common::until(|| (!common::is_alive(child)).then_some(()));
    }
}

#[test]
#[cfg(unix)]
fn an_interrupt_says_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let parent = compare(&out)
        .args(["--scenarios", "active", "--rounds", "1000", "--duration", "20ms"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    common::until(|| out.exists().then_some(()));
    let sent = Command::new("kill").args(["-INT", &parent.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = parent.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("saved in") && text.contains("results.json"), "{text}");
    let saved: Results = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert!(saved.rounds_done >= 1);
}

#[test]
fn scenarios_and_backends_of_the_atlas_can_be_chosen() {
    let ended = polyloop(&["atlas", "half-close", "listener", "--backend", "poll", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let atlas: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(atlas["backends"], serde_json::json!(["poll"]));
    let rows = atlas["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{ended:?}");
    assert_eq!(rows[0]["scenario"], "half-close");
    assert_eq!(rows[0]["agreement"], "same");
    assert_eq!(rows[1]["handler"]["poll"], serde_json::json!([]));
}

#[test]
fn a_scenario_of_the_atlas_is_explained() {
    let ended = polyloop(&["atlas", "--explain", "half-close"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("shutdown(2)"), "{}", ended.stdout);
    assert!(ended.stdout.contains("the end of input"), "{}", ended.stdout);
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ended.stdout);
}

#[test]
fn a_mistake_in_asking_for_the_atlas_is_one_line_and_code_2() {
    for (arguments, tip) in [
        (["atlas", "half"].as_slice(), "half-close"),
        (&["atlas", "--explain", "nonsense"], "--list"),
        (&["atlas", "--backend", "uring"], "poll"),
        (&["atlas", "--list", "--json"], "--help"),
    ] {
        let ended = polyloop(arguments);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stdout.is_empty(), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains(tip), "{ended:?}");
    }
}
