//! The protocols that several scenarios serve.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use polyloop::{Connection, Protocol};

use super::client::pattern_from;

/// Sends back what it receives.
pub(super) struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
    }
}

/// Sends back whole lines, and leaves unused what is not whole yet. `close` and `finish` do what
/// they say once they are answered.
pub(super) struct Lines;

impl Protocol for Lines {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        let mut used = 0;
        for line in input.split_inclusive(|&byte| byte == b'\n') {
            if !line.ends_with(b"\n") {
                break;
            }
            connection.send(line);
            used += line.len();
            match line {
                b"close\n" => {
                    connection.close();
                    break;
                }
                b"finish\n" => connection.finish(),
                _ => {}
            }
        }
        used
    }
}

/// Answers each byte with [`Amplify::FACTOR`] of it, and stops in the middle of its input when too
/// much output waits.
pub(super) struct Amplify {
    /// What may wait: the high-water mark and one answer more.
    most: usize,
}

impl Amplify {
    pub(super) const FACTOR: usize = 10_000;

    pub(super) fn within(high_water: usize) -> Amplify {
        Amplify { most: high_water + Amplify::FACTOR }
    }

    /// The answer to `requests`.
    pub(super) fn answer(requests: &[u8]) -> Vec<u8> {
        let answers: Vec<_> = requests.iter().map(|&byte| [byte; Amplify::FACTOR]).collect();
        answers.concat()
    }
}

impl Protocol for Amplify {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        let mut used = 0;
        for &byte in input {
            if connection.is_above_high_water() {
                break;
            }
            connection.send(&[byte; Amplify::FACTOR]);
            assert!(connection.queued() <= self.most, "{} bytes wait", connection.queued());
            used += 1;
        }
        used
    }
}

/// Sends so many bytes of the pattern once it was asked, as fast as they go.
pub(super) struct Stream {
    left: usize,
    at: usize,
}

impl Stream {
    pub(super) fn of(count: usize) -> Stream {
        Stream { left: count, at: 0 }
    }

    pub(super) fn without_end() -> Stream {
        Stream::of(usize::MAX)
    }

    fn go_on(&mut self, connection: &mut Connection<'_>) {
        while self.left > 0 && !connection.is_above_high_water() {
            let count = self.left.min(8192);
            connection.send(pattern_from(self.at, count));
            self.at += count;
            self.left -= count;
        }
    }
}

impl Protocol for Stream {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        self.go_on(connection);
        input.len()
    }

    fn drained(&mut self, connection: &mut Connection<'_>) {
        self.go_on(connection);
    }
}

/// What a protocol waits at, in whatever process it is: a listener that accepts nobody until it is
/// opened.
pub(super) struct Gate {
    listener: TcpListener,
    request: String,
}

/// What a request to wait begins with; the rest is the gate's port.
const HOLD: &str = "hold ";

impl Gate {
    pub(super) fn new() -> Gate {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        Gate { listener, request: format!("{HOLD}{port}\n") }
    }

    /// The line on which a protocol waits, and which it then answers.
    pub(super) fn request(&self) -> &[u8] {
        self.request.as_bytes()
    }

    pub(super) fn open(&self) {
        // Its connection ends, for which the protocol waits.
        self.listener.accept().expect("the protocol waits");
    }
}

/// A protocol of lines that answers a gate's request when the gate is opened, and not before.
pub(super) struct Gated;

impl Protocol for Gated {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        let text = std::str::from_utf8(input).expect("the scenarios send text");
        if let Some(port) = text.strip_prefix(HOLD).and_then(|rest| rest.lines().next()) {
            let port: u16 = port.parse().expect("a request comes whole");
            let gate = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            // Opened, or gone with a scenario that failed.
            let _ = gate.expect("the gate is there").read(&mut [0]);
        }
        Lines.received(connection, input)
    }
}
