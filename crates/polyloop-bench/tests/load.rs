//! The load generator as a user meets it, against servers of every kind.

mod common;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::{echo, polyloop, report, Ended, Nobody, Server};

fn load(server: &Server, arguments: &str) -> Ended {
    let target = server.address.to_string();
    let mut words = vec!["load", "--target", &target, "--warmup", "0s"];
    words.extend(arguments.split_whitespace());
    polyloop(&words)
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
    // A sanitizer on a busy machine takes seconds for one of them.
    let long = "--requests 20 --connections 2 --size 3000001 --timeout 1m --json";
    let ended = load(&large, long);
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
    // The last of them is due 175 ms after the first, and has its 25 ms.
    assert!(report.seconds >= 0.2 && report.requests_per_second <= 40.0, "{report:?}");
    assert!(report.uncorrected.unwrap().max_ns <= report.latency.max_ns);
}

#[test]
fn an_open_loop_charges_a_stall_to_every_request_that_waited() {
    // Each answer takes 20 ms and one is due every 10 ms.
    let server = Server::start(|stream| {
        common::echo_with(stream, |_| std::thread::sleep(Duration::from_millis(20)))
    });
    // What is due is waited for as long as one request may take, which is no part of this.
    let ended = load(&server, "--rate 100 --duration 600ms --connections 1 --timeout 60s --json");
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
fn the_time_without_answers_counts() {
    let silent = || Server::start(|stream| common::echo_then_swallow(stream, 3));
    // Two after the one that opened the connection. The third is waited for in vain: until after the
    // end, or until nobody is left who makes requests.
    for rate in ["", " --rate 10"] {
        for (times, least, most) in [
            ("--duration 300ms --timeout 1s", 0.3, f64::MAX),
            ("--duration 60m --timeout 200ms", 0.2, 3599.0),
        ] {
            let arguments = format!("{times} --connections 1 --json{rate}");
            let report = report(&load(&silent(), &arguments));
            assert!(report.requests <= 2, "{arguments}: {report:?}");
            assert!((least..most).contains(&report.seconds), "{arguments}: {report:?}");
            assert!(report.requests_per_second <= 2.0 / least, "{arguments}: {report:?}");
        }
    }
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

/// Whatever went wrong before it.
#[test]
fn what_is_told_of_wrong_bytes_is_no_other_error() {
    // The first connection ends while all are opened, and the second one errs after that.
    let server = Server::start_counting(|number, stream| match number {
        0 => common::echo_times(stream, 0),
        _ => {
            let mut seen = 0;
            common::echo_with(stream, |bytes| {
                seen += bytes.len();
                if seen > 64 {
                    bytes.iter_mut().for_each(|byte| *byte ^= 1);
                }
            });
        }
    });
    let ended = load(&server, "--requests 100 --connections 2");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains(" 1 with wrong bytes"), "{ended:?}");
    assert!(ended.stderr.contains("wrong bytes came back: "), "{ended:?}");
    assert!(ended.stderr.contains(" request 2: byte 0 is "), "{ended:?}");
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

/// No event comes later and tells what was behind the bytes of this one.
#[test]
fn an_end_that_comes_along_with_an_answer_is_seen() {
    let half = Server::start(|stream| common::answer_and_close(stream, 32));
    let ended = load(&half, "--requests 5 --connections 1");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("request 1: closed by the server"), "{ended:?}");

    // What was answered in full counts, and the next request meets the end.
    let once = Server::start(|stream| common::answer_and_close(stream, 64));
    let ended = load(&once, "--requests 5 --connections 1");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    // Where end and answer are sent one after the other, the next request may come between them.
    let how = if cfg!(target_os = "linux") { "closed by the server" } else { "" };
    assert!(ended.stderr.contains(&format!("request 2: {how}")), "{ended:?}");
    // Idle ones meet no request, and are not counted as alive.
    let ended = load(&once, "--requests 5 --connections 4 --active 1 --json");
    assert_eq!(report(&ended).errors.broken, 4, "{ended:?}");
    let ended = load(&once, "--requests 50 --connections 4 --short --json");
    let report = report(&ended);
    assert_eq!((report.requests, report.errors.total()), (50, 0), "{ended:?}");
}

/// All hundred are opened before the first of them is looked at: what is in front of the urgent byte
/// of most, and what is behind it, one event tells.
#[test]
#[cfg(target_os = "linux")]
fn what_stands_behind_an_urgent_byte_is_read() {
    let urgent = Server::start_counting(|number, stream| match number {
        0 => echo(stream),
        _ => common::answer_urgently(stream),
    });
    let ended = load(&urgent, "--requests 5 --connections 100 --active 1 --json");
    let report = report(&ended);
    assert_eq!((report.requests, report.errors.wrong, report.errors.timed_out), (5, 99, 0));
}

/// The first connection breaks after the request that opened it.
fn one_breaks(number: u64, stream: common::Counted) {
    match number {
        0 => common::echo_times(stream, 1),
        _ => echo(stream),
    }
}

/// The last success is none of a connection that makes requests.
#[test]
fn a_run_ends_when_nobody_is_left_who_makes_requests() {
    for how_long in ["--requests 5", "--duration 60m"] {
        let (came, closed) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
        let server = Server::start_counting(move |number, stream| match number {
            0 => {
                common::echo_once(stream, || *came.wait());
                let _ = closed.set(());
            }
            // One that is opened after the first has been answered.
            150 => {
                let _ = came.set(());
                closed.wait();
                echo(stream);
            }
            _ => echo(stream),
        });
        let ended = load(&server, &format!("{how_long} --connections 200 --active 1"));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        // Windows may tell that it was closed after what another connection was sent later.
        let mut requests = if cfg!(windows) { 1..=2 } else { 1..=1 };
        let closed = |request| format!("connection 0, request {request}: closed");
        assert!(requests.any(|request| ended.stderr.contains(&closed(request))), "{ended:?}");
    }
}

#[test]
fn only_what_is_up_is_told_as_held() {
    let server = Server::start_counting(|number, stream| match number {
        0 | 2 => echo(stream),
        _ => drop(stream),
    });
    let report = report(&load(&server, "--requests 5 --connections 4 --active 2 --json"));
    assert_eq!((report.connections, report.active, report.errors.total()), (2, 1, 2));
    let server = Server::start(echo);
    let report = common::report(&load(&server, "--requests 5 --connections 4 --short --json"));
    assert_eq!((report.connections, report.active), (4, 4));
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
    let nobody = Nobody::new();
    let target = nobody.address.to_string();
    for kind in [&["--connections", "4"][..], &["--short"]] {
        let ended = polyloop(&[&["load", "--target", &target], kind].concat());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("cannot connect"), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}

#[test]
#[cfg(unix)]
fn too_few_descriptors_are_explained() {
    let program = env!("CARGO_BIN_EXE_polyloop");
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 100; exec \"$0\" load --target 127.0.0.1:1 --connections 200"])
        .arg(program)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("216 descriptors") && text.contains("ulimit -Hn"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
