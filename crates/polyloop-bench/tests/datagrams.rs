//! `--transport udp` as a user meets it: what is lost, late or wrong is said.

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;

use polyloop_bench::compare::cell::Outcome;
use polyloop_bench::compare::Results;
use polyloop_bench::load::Phase;

use common::{polyloop, report, Ended, Serving};

/// A server inside the test: what `answers` makes of each datagram goes back, in this order.
fn server(
    mut answers: impl FnMut(SocketAddr, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            for answer in answers(from, &buffer[..length]) {
                // The client may be gone.
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    address
}

fn load(target: SocketAddr, arguments: &str) -> Ended {
    let target = target.to_string();
    let mut words = vec!["load", "--transport", "udp", "--target", &target, "--warmup", "0s"];
    words.extend(arguments.split_whitespace());
    polyloop(&words)
}

#[test]
fn load_makes_exactly_the_requests_asked_for() {
    let echo = server(|_, datagram| vec![datagram.to_vec()]);
    let ended = load(echo, "--requests 1000 --connections 8 --size 100 --json");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = report(&ended);
    let losses = report.losses.unwrap();
    // On a machine that stands still, an answer may be late.
    assert_eq!(report.requests + losses.lost, 1000, "{report:?}");
    assert_eq!(report.errors.total(), 0, "{report:?}");
}

#[test]
fn a_schedule_is_kept_with_datagrams_too() {
    let echo = server(|_, datagram| vec![datagram.to_vec()]);
    let ended = load(echo, "--rate 40 --requests 8 --connections 2 --json");
    let report = report(&ended);
    // The last of them is due 175 ms after the first, and has its 25 ms.
    assert!(report.seconds >= 0.2 && report.requests_per_second <= 40.0, "{report:?}");
    assert!(report.uncorrected.unwrap().max_ns <= report.latency.max_ns);
}

#[test]
fn datagrams_that_are_lost_are_counted() {
    // The fifth of each client, and every fifth after that.
    let mut seen = HashMap::new();
    let lossy = server(move |from, datagram| {
        let count = seen.entry(from).or_insert(0);
        *count += 1;
        if *count % 5 == 0 {
            vec![]
        } else {
            vec![datagram.to_vec()]
        }
    });
    let ended = load(lossy, "--requests 40 --connections 4 --timeout 100ms");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(" from 4 clients"), "{ended:?}");
    let line = ended.stdout.lines().find(|line| line.starts_with("datagrams: ")).unwrap();
    let lost: u64 = line["datagrams: ".len()..].split(' ').next().unwrap().parse().unwrap();
    // Eleven of each, counting the one that opened: two of these are lost.
    assert!(lost >= 8, "{ended:?}");
    assert!(line.contains("lost, not answered within 100 ms; "), "{ended:?}");
}

#[test]
fn an_answer_that_is_late_is_not_taken_for_the_next() {
    // The second datagram is answered together with the third.
    let mut held = None;
    let mut count = 0;
    let late = server(move |_, datagram| {
        count += 1;
        if count == 2 {
            held = Some(datagram.to_vec());
            return vec![];
        }
        held.take().into_iter().chain([datagram.to_vec()]).collect()
    });
    let ended = load(late, "--requests 5 --connections 1 --timeout 100ms --json");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = report(&ended);
    let losses = report.losses.unwrap();
    assert!(losses.lost >= 1 && losses.late >= 1, "{report:?}");
    assert_eq!((report.requests + losses.lost, report.errors.total()), (5, 0), "{report:?}");
}

#[test]
fn an_answer_to_the_warm_up_is_no_late_one_of_what_is_measured() {
    // One request opens, the next one's answer comes after the warm-up, and whatever else that asks
    // gets none.
    let is_warm = Arc::new(AtomicBool::new(false));
    let mut asked = Vec::new();
    let warm = Arc::clone(&is_warm);
    let server = server(move |_, datagram| {
        asked.push(datagram.to_vec());
        match (asked.len(), warm.load(Ordering::SeqCst)) {
            (1, _) => asked.clone(),
            (_, true) if asked.len() > 2 => vec![asked.swap_remove(1), datagram.to_vec()],
            (_, true) => vec![datagram.to_vec()],
            (_, false) => vec![],
        }
    });
    let mut load = Command::new(env!("CARGO_BIN_EXE_polyloop"))
        .args(["load", "--transport", "udp", "--target", &server.to_string(), "--control"])
        .args(["--connections", "1", "--requests", "1", "--warmup", "1ms", "--timeout", "500ms"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = load.stdin.take().unwrap();
    let mut lines = BufReader::new(load.stdout.take().unwrap()).lines();
    let mut phase = || serde_json::from_str::<Phase>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(phase(), Phase::Connected { connections: 1 });
    stdin.write_all(b"go\n").unwrap();
    assert_eq!(phase(), Phase::Warm);
    is_warm.store(true, Ordering::SeqCst);
    stdin.write_all(b"go\n").unwrap();
    let Phase::Done { report } = phase() else { panic!("it has nothing to ask any more") };
    drop(stdin);
    assert!(load.wait().unwrap().success());
    let losses = report.losses.unwrap();
    assert_eq!((report.requests, losses.lost, losses.late), (1, 0, 0), "{report:?}");
}

#[test]
fn what_is_wrong_is_found() {
    type Answers = fn(SocketAddr, &[u8]) -> Vec<Vec<u8>>;
    let wrong: [(Answers, &str); 4] = [
        (
            |_, datagram| {
                let mut answer = datagram.to_vec();
                answer[40] ^= 1;
                vec![answer]
            },
            "byte 40 is",
        ),
        (|_, datagram| vec![datagram[..50].to_vec()], "50 bytes came back of 64"),
        (|_, datagram| vec![[datagram, b"more"].concat()], "68 bytes came back of 64"),
        (|_, datagram| vec![datagram.to_vec(), datagram.to_vec()], "came once more"),
    ];
    for (answers, told) in wrong {
        let ended = load(server(answers), "--requests 10 --connections 1");
        assert_eq!(ended.code, Some(1), "{told}: {ended:?}");
        assert!(ended.stderr.contains(told), "{told}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{told}: {ended:?}");
    }
}

#[test]
fn nobody_there_and_nobody_who_answers() {
    // Connected to itself, a socket hears nobody else: who sends there is refused as if it were not.
    let alone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = alone.local_addr().unwrap();
    alone.connect(nobody).unwrap();
    let silent = server(|_, _| vec![]);
    // Other systems need not tell.
    let refused = if cfg!(target_os = "linux") { "Connection refused" } else { "" };
    for (target, why) in [(nobody, refused), (silent, "datagrams were lost")] {
        let ended = load(target, "--requests 5 --connections 2 --timeout 100ms");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(why), "{ended:?}");
        assert!(ended.stderr.contains("no answer from 127.0.0.1:"), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
}

#[test]
fn a_mistake_is_one_line_and_exit_code_2() {
    let mistakes: [(&[&str], &str); 6] = [
        (&["load", "--target", "127.0.0.1:1", "--protocol", "http"], "echo only"),
        (&["load", "--target", "127.0.0.1:1", "--short"], "udp has none"),
        (&["load", "--target", "127.0.0.1:1", "--size", "7"], "8 to 65,507 bytes"),
        (&["load", "--target", "unix:/nowhere"], "an IP address"),
        (&["serve", "--protocol", "line"], "echo only"),
        (&["compare", "--scenarios", "active,short"], "udp has none"),
    ];
    for (arguments, hint) in mistakes {
        let ended = polyloop(&[arguments, &["--transport", "udp"]].concat());
        assert_eq!(ended.code, Some(2), "{arguments:?} {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{arguments:?} {ended:?}");
        assert!(ended.stderr.contains(hint), "{arguments:?} {ended:?}");
    }
}

#[test]
fn a_model_without_datagrams_says_why() {
    let ended =
        polyloop(&["serve", "--model", "thread", "--transport", "udp", "--listen", "[::1]:0"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("thread: one for each connection"), "{ended:?}");
}

#[test]
fn our_server_answers_what_it_should() {
    for arguments in [&["--model", "mio"][..], &["--model", "poll", "--batches"]] {
        let limited = [arguments, &["--transport", "udp", "--max-datagram", "100"]].concat();
        // A system without batches says so.
        let Some(serving) = Serving::start(&limited) else { continue };
        let target = serving.address();
        let whole = load(target, "--requests 50 --connections 2 --size 100 --json");
        assert_eq!(whole.code, Some(0), "{whole:?}");
        assert_eq!(report(&whole).errors.total(), 0, "{whole:?}");
        let cut = load(target, "--requests 5 --connections 1 --size 101 --timeout 50ms");
        assert_eq!(cut.code, Some(1), "what is too long is not answered: {cut:?}");
        serving.end();
    }
}

#[test]
fn a_comparison_over_datagrams_measures_what_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let ended = polyloop(&[
        "compare",
        "--transport",
        "udp",
        "--models",
        "mio,thread",
        "--rounds",
        "1",
        "--duration",
        "50ms",
        "--warmup",
        "10ms",
        "--connections",
        "8",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.matches("cannot run: thread: one").count(), 2, "{ended:?}");
    assert!(ended.stdout.contains("Transport udp"), "{ended:?}");
    assert!(ended.stdout.contains("8 clients, all active"), "{ended:?}");
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 100), "{ended:?}");
    let results: Results = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    for cell in &results.cells {
        match (&cell.outcome, cell.contestant.as_str()) {
            (Outcome::Failed(_), "thread") => {}
            (Outcome::Measured(measured), "mio" | "mio again") => {
                assert!(measured.load.requests > 0 && measured.load.losses.is_some());
                assert_eq!(measured.load.errors.total(), 0);
            }
            other => panic!("{other:?}"),
        }
    }
}
