//! Every protocol on every model, with servers as users start them.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use common::{polyloop, Serving};
use polyloop_bench::load::Report;
use polyloop_bench::protocols::Builtin;
use polyloop_models::Model;

/// Serves `protocol` with `model`, unless this system lacks it.
fn serve(model: Model, protocol: Builtin) -> Option<Serving> {
    let cost: &[&str] = if protocol == Builtin::Work { &["--work", "10us"] } else { &[] };
    Serving::start(&[&["--model", model.name(), "--protocol", protocol.name()], cost].concat())
}

#[test]
fn load_finds_every_answer_right() {
    for &model in Model::ALL {
        for &protocol in Builtin::ALL {
            let Some(server) = serve(model, protocol) else { continue };
            for kind in ["--size 1", "--short", "--size 7000", "--rate 5000"] {
                // One connection at a time, for models that serve no more.
                let mut words = vec!["load", "--connections", "1", "--requests", "40", "--json"];
                let target = server.address().to_string();
                words.extend(["--target", &target, "--protocol", protocol.name()]);
                words.extend(["--warmup", "0s"]);
                words.extend(kind.split_whitespace());
                let ended = polyloop(&words);
                assert_eq!(ended.code, Some(0), "{model} {protocol} {kind}: {ended:?}");
                let report: Report = serde_json::from_str(&ended.stdout).unwrap();
                assert_eq!(
                    (report.protocol, report.requests, report.errors.total()),
                    (protocol, 40, 0),
                    "{model} {protocol} {kind}: {report:?}"
                );
            }
        }
    }
}

#[test]
fn who_says_everything_at_once_and_ends_gets_every_answer() {
    let lines: String = (0..3000).map(|number| format!("line {number}\n")).collect();
    let requests: String =
        (0..3000).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    for &model in Model::ALL {
        for (protocol, said) in
            [(Builtin::Line, &lines), (Builtin::Work, &lines), (Builtin::Http, &requests)]
        {
            let Some(server) = serve(model, protocol) else { continue };
            let heard = server.exchange(said.as_bytes());
            let heard = String::from_utf8(heard).unwrap();
            match protocol {
                Builtin::Http => {
                    let last = heard.lines().last();
                    assert_eq!(heard.matches("200 OK").count(), 3000, "{model}");
                    assert_eq!(last, Some("/2999"), "{model}");
                }
                _ => assert_eq!(&heard, said, "{model} {protocol}"),
            }
        }
    }
}

#[test]
fn two_hashes_end_a_connection() {
    for &model in Model::ALL {
        let Some(server) = serve(model, Builtin::Line) else { continue };
        let mut stream = server.connect();
        stream.write_all(b"one\n##\n").unwrap();
        // The server closes: this side has not.
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"one\n", "{model}");
    }
}

#[test]
fn too_long_a_frame_ends_a_connection_and_the_log_says_why_to_who_asks() {
    for &model in Model::ALL {
        let Some(server) = serve(model, Builtin::Frames) else { continue };
        let mut stream = server.connect();
        stream.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "{model}");
        let peer = stream.local_addr().unwrap().to_string();
        let log = server.end();
        let said: Vec<&str> = log.lines().filter(|line| line.contains(&peer)).collect();
        // Whoever connects could write as many warnings as there is room for.
        let is_right = |line: &str| line.contains("4294967295") && line.contains("DEBUG");
        assert!(matches!(said[..], [line] if is_right(line)), "{model}: {log:?}");
    }
}

#[test]
fn deadlines_are_what_serve_is_told() {
    const LIMIT: Duration = Duration::from_millis(200);
    for &model in Model::ALL {
        for (option, said) in [("--idle-timeout", ""), ("--read-timeout", "half a li")] {
            let arguments = ["--model", model.name(), "--protocol", "line", option, "200ms"];
            let Some(server) = Serving::start(&arguments) else { continue };
            let begun = Instant::now();
            let mut stream = server.connect();
            stream.write_all(said.as_bytes()).unwrap();
            assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "{model} {option}");
            assert!(begun.elapsed() >= LIMIT, "{model} {option}");
        }
    }
}

#[test]
fn a_sleeping_request_holds_up_a_loop_and_no_other_thread() {
    // Eight connections, each with a request that sleeps.
    const SLEEP: Duration = Duration::from_millis(100);
    let elapsed = |model: &str| {
        let arguments = ["--model", model, "--protocol", "work", "--sleep", "100ms"];
        let server = Serving::start(&arguments).unwrap();
        let mut streams: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
        let begun = Instant::now();
        for stream in &mut streams {
            stream.write_all(b"x\n").unwrap();
        }
        for stream in &mut streams {
            stream.read_exact(&mut [0; 2]).unwrap();
        }
        begun.elapsed()
    };
    assert!(elapsed("poll") >= 8 * SLEEP);
    // On a busy machine, threads that could run may wait their turn.
    assert!((0..5).any(|_| elapsed("thread") < 8 * SLEEP));
}

impl Serving {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Says everything, then ends, and hears everything, both at the same time.
    fn exchange(&self, said: &[u8]) -> Vec<u8> {
        let stream = self.connect();
        let mut heard = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (&stream).write_all(said).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
            (&stream).read_to_end(&mut heard).unwrap();
        });
        heard
    }
}
