//! Clients that nobody here wrote, against every model: netcat, curl, wrk, ab, and Python's socket
//! module; and a server on Python's asyncio beside them.
//!
//! A client that is not installed is not tested, which the test says when it is run with
//! `--nocapture`. On Debian: `apt-get install apache2-utils curl netcat-openbsd python3 wrk`.
#![cfg(unix)] // where these clients are found under these names

mod common;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use common::{polyloop, Serving};
use polyloop_bench::compare::cell::Outcome;
use polyloop_bench::compare::Results;
use polyloop_bench::protocols::Builtin;
use polyloop_models::{Model, Options};

/// The first line that a client says about itself, if it is installed.
fn installed(client: &str, arguments: &[&str]) -> bool {
    let found = Command::new(client)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        println!("SKIPPED: {client} is not installed");
    }
    found
}

/// A server of each model that this system has.
fn servers(protocol: Builtin) -> impl Iterator<Item = (Model, Serving)> {
    Model::ALL.iter().filter_map(move |&model| {
        let arguments = ["--model", model.name(), "--protocol", protocol.name()];
        Some((model, Serving::start(&arguments)?))
    })
}

/// A server of datagrams of each model that this system has and that serves any.
fn datagram_servers() -> impl Iterator<Item = (Model, Serving)> {
    let serve = Model::ALL.iter().filter(|model| model.serves_datagrams().is_ok());
    serve.filter_map(|&model| {
        Some((model, Serving::start(&["--model", model.name(), "--transport", "udp"])?))
    })
}

/// How many connections a client may hold with a server of `model`.
fn connections(model: Model) -> usize {
    model.connections_at_once(&Options::default()).map_or(8, |most| most.min(8))
}

/// Runs a client to its end with `said` on its standard input.
fn run(client: &str, arguments: &[&str], said: &str) -> Output {
    let mut process = Command::new(client)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Less than a pipe holds: writing it waits for nobody.
    process.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

/// What a client printed, if it found nothing wrong.
fn printed(client: &str, arguments: &[&str], said: &str) -> String {
    let output = run(client, arguments, said);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client} {arguments:?}: {text}{errors}");
    text
}

#[test]
fn netcat() {
    if !installed("nc", &["-h"]) {
        return;
    }
    for (protocol, said, heard) in [
        (Builtin::Echo, "one\ntwo, and no end", "one\ntwo, and no end"),
        (Builtin::Line, "one\ntwo\n##\nthree\n", "one\ntwo\n"),
    ] {
        for (model, server) in servers(protocol) {
            let port = server.port();
            // -N: the end of the input is the end of what is sent. -w: nothing waits for ever.
            let arguments = ["-N", "-w", "20", "127.0.0.1", &port];
            assert_eq!(printed("nc", &arguments, said), heard, "{model} {protocol}");
        }
    }
}

#[test]
fn curl() {
    if !installed("curl", &["--version"]) {
        return;
    }
    let long = format!("X-Long: {}", "x".repeat(9000));
    // Options, and for each of two requests the status and the connections made for it.
    let answers: [(&[&str], &str); 7] = [
        (&[], "200 1, 200 0, "),
        (&["--http1.0"], "200 1, 200 1, "),
        // Content is skipped, and the connection goes on behind it.
        (&["--data", "content"], "405 1, 405 0, "),
        // Content in chunks is refused, and so is what would hide a request.
        (&["--data", "content", "--header", "Transfer-Encoding: chunked"], "411 1, 411 1, "),
        (
            &["--header", "Content-Length: 3", "--header", "Transfer-Encoding: chunked"],
            "400 1, 400 1, ",
        ),
        // Content that is announced before it is sent need not be sent.
        (&["--data", "content", "--header", "Expect: 100-continue"], "405 1, 405 1, "),
        (&["--header", &long], "431 1, 431 1, "),
    ];
    for (model, server) in servers(Builtin::Http) {
        let url = |path: &str| format!("http://{}{path}", server.address());
        let (first, second) = (url("/hello?a=b"), url("/again"));
        let curl = |arguments: &[&str]| {
            let usual = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"];
            printed("curl", &[&usual, arguments].concat(), "")
        };
        assert_eq!(curl(&[&first, &second]), "/hello?a=b\n/again\n", "{model}");
        let head = curl(&["--head", &second]);
        assert!(head.contains("200 OK\r\n") && head.contains("Content-Length: 7\r\n"), "{head}");
        for (options, expected) in answers {
            let quiet = ["--output", "/dev/null"];
            let status = ["--write-out", "%{http_code} %{num_connects}, "];
            let requests = [options, &status, &quiet, &[&first], &quiet, &[&second]].concat();
            assert_eq!(curl(&requests), expected, "{model} {options:?}");
        }
    }
}

#[test]
fn ab() {
    if !installed("ab", &["-V"]) {
        return;
    }
    for (model, server) in servers(Builtin::Http) {
        let url = format!("http://{}/hello", server.address());
        let connections = connections(model).to_string();
        // HTTP/1.0, on lasting connections and on one for each request.
        for lasting in [&["-k"][..], &[]] {
            let usual = ["-q", "-s", "20", "-n", "500", "-c", &connections];
            let text = printed("ab", &[&usual[..], lasting, &[&url]].concat(), "");
            let figure = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.map(|line| line.trim().to_owned())
            };
            assert_eq!(figure("Complete requests:").as_deref(), Some("500"), "{model} {text}");
            assert_eq!(figure("Failed requests:").as_deref(), Some("0"), "{model} {text}");
            assert_eq!(figure("Non-2xx responses:"), None, "{model} {text}");
            assert_eq!(figure("HTML transferred:").as_deref(), Some("3500 bytes"), "{model}");
        }
    }
}

#[test]
fn wrk() {
    if !installed("wrk", &["-v"]) {
        return;
    }
    for (model, server) in servers(Builtin::Http) {
        let url = format!("http://{}/hello", server.address());
        let connections = connections(model).to_string();
        let text = printed("wrk", &["-t", "1", "-c", &connections, "-d", "1s", &url], "");
        assert!(text.contains(" requests in "), "{model} {text}");
        assert!(!text.contains(" 0 requests in "), "{model} {text}");
        assert!(!text.contains("Socket errors"), "{model} {text}");
        assert!(!text.contains("Non-2xx"), "{model} {text}");
    }
}

/// Runs a client of `tests/clients` against each of the servers.
fn python(client: &str, servers: impl Iterator<Item = (Model, Serving)>) {
    if !installed("python3", &["--version"]) {
        return;
    }
    let script = format!("{}/tests/clients/{client}", env!("CARGO_MANIFEST_DIR"));
    for (model, server) in servers {
        let text = printed("python3", &[&script, "127.0.0.1", &server.port()], "");
        assert_eq!(text, "all exchanges were right\n", "{model}");
    }
}

#[test]
fn python_with_streams() {
    python("tcp.py", servers(Builtin::Line));
}

#[test]
fn python_with_datagrams() {
    python("udp.py", datagram_servers());
}

#[test]
fn a_server_on_asyncio_is_compared() {
    if !installed("python3", &["--version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.json");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/asyncio_peer.py");
    let peer = format!("asyncio=python3,{script}");
    let arguments = "compare --models mio --connections 8 --rounds 1 --duration 50ms \
                     --warmup 10ms --peer";
    let words = arguments.split_whitespace().chain([&*peer, "--out", out.to_str().unwrap()]);
    let ended = polyloop(&words.collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let results: Results = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    for cell in &results.cells {
        let Outcome::Measured(measured) = &cell.outcome else { panic!("{cell:?}") };
        assert!(measured.load.requests > 0 && measured.processor_ns().is_some(), "{cell:?}");
    }
}
