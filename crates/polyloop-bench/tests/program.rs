//! The program as a user meets it: exit codes, messages, and processes that end.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use polyloop_bench::control::{Listening, Stats};
use polyloop_models::Model;

use common::{nobody_reads, peer, polyloop, Nobody};

#[test]
fn an_output_that_is_closed_is_no_error() {
    for arguments in [&["atlas", "--list"][..], &["atlas", "--backend", "mio", "--json", "reset"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_polyloop"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(nobody_reads())
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
fn who_cannot_be_told_gets_the_exit_code() {
    let nobody = Nobody::new().address.to_string();
    for (arguments, code) in [(["load", "--target", &nobody], 1), (["load", "--target", ""], 2)] {
        let ended = Command::new(env!("CARGO_BIN_EXE_polyloop"))
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(nobody_reads())
            .status()
            .unwrap();
        assert_eq!(ended.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_mistake_is_one_line_and_exit_code_2() {
    let mistakes: &[(&[&str], &str)] = &[
        (&["serve", "--model", "thread", "--loops", "2"], "it goes with epoll, mio or uring"),
        (&["serve", "--model", "uring", "--loops", "0"], "1..=1024"),
        (&["serve", "--model", "mio", "--accept", "reuse-port"], "loops=2 or more"),
        (&["serve", "--model", "poll", "--batches"], "batches are of datagrams"),
        (
            &["serve", "--model", "poll", "--accept", "reuse-port"],
            "--accept is not for poll; it goes with epoll, mio or uring",
        ),
        (&["serve", "--model", "mio", "--accept", "nearest"], "round-robin|least-loaded"),
        (&["serve", "--model", "mio", "--threads", "2"], "it goes with pool"),
        (&["serve", "--model", "pool", "--threads", "0"], "'--threads <N>': 0 is not in 1.."),
        (&["serve", "--model", "pool", "--threads", "4294967295"], "1..=16000"),
        (
            &["serve", "--transport", "udp", "--model", "pool:threads=18446744073709551615"],
            "threads in 1..=16000",
        ),
        (&["compare", "--models", "mio:loops=4294967295"], "loops in 1..=1024"),
        (&["load", "--target", "127.0.0.1:1", "--rate", "1e-12"], "from 0.001 to 1e9"),
        (&["serve", "--model", "kqueue"], "poll, epoll, mio"),
        (&["serve", "--model", "epoll:both"], "level, edge"),
        (
            &["serve", "--model", "poll", "--trigger", "edge"],
            "--trigger is not for poll; it goes with epoll",
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
        // Reserved never to resolve (RFC 6761).
        (&["serve", "--listen", "no.such.host.invalid:7000"], "does not resolve"),
        (&["compare", "--models", "mio,kqueue"], "poll, epoll, mio"),
        (&["compare", "--models", "epoll,epoll"], "two contestants are called epoll"),
        (&["compare", "--models", "poll", "--trigger", "edge"], "it goes with epoll"),
        (&["compare", "--scenarios", "lazy"], "active, idle, short"),
        (&["load"], "--target"),
        (&["load", "--target", "127.0.0.1:1", "--active", "9", "--connections", "3"], "--active 9"),
    ];
    for &(arguments, hint) in mistakes {
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
    for model in Model::here() {
        let ended = polyloop(&["serve", "--model", model.name(), "--listen", &address]);
        assert_eq!(ended.code, Some(1), "{model}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{model}: {ended:?}");
        assert!(ended.stderr.contains("another program listens there"), "{model}: {ended:?}");
    }
}

#[test]
fn an_address_where_nobody_can_listen_is_explained() {
    let no_directory = if cfg!(unix) { "make the directory first" } else { "Unix only" };
    for (address, hint) in [
        ("unix:/no/such/directory/socket", no_directory),
        // Reserved for documentation (RFC 5737).
        ("192.0.2.1:0", "this machine does not have that address"),
    ] {
        // One that listens all the same ends with its input.
        let ended = polyloop(&["serve", "--listen", address, "--control"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains(hint), "{ended:?}");
    }
}

#[test]
fn a_processor_that_cannot_be_pinned_to_is_one_line_and_exit_code_1() {
    for (arguments, who) in [
        (&["serve", "--listen", "127.0.0.1:0", "--control"][..], "the server"),
        (&["load", "--target", "127.0.0.1:1"], "the load generator"),
    ] {
        let ended = polyloop(&[arguments, &["--pin", "4096"]].concat());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        let told = format!("cannot pin {who} to processor 4096");
        assert!(ended.stderr.contains(&told), "{ended:?}");
    }
}

#[test]
#[cfg(unix)]
fn an_interrupted_server_tells_the_share_of_each_loop() {
    use std::io::Read;
    use std::net::TcpStream;

    common::hand_down_no_ignored_signal();
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
        common::send("INT", server.id());
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
