//! A connection in its steady state allocates nothing, whatever it speaks.
//!
//! The counting allocator counts for the whole process, so that no thread of a server can hide
//! anything. The client is in the same process and works with buffers that it made before.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use polyloop::Config;
use polyloop_bench::protocols::{Builtin, Cost};
use polyloop_models::Model;
use stats_alloc::{Region, StatsAlloc, INSTRUMENTED_SYSTEM};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 8;
const WARM_UP: usize = 200;
// Fewer under Wine, which takes long: when a test takes a minute, libtest says so, and allocates.
const ROUNDS: usize = if cfg!(windows) { 100 } else { 2_000 };

/// A request and its answer.
type Exchange = (&'static [u8], &'static [u8]);

/// Requests of each protocol, one of them two messages long; `work` allocates no less than `line`,
/// and promises nothing.
const EXCHANGES: [(Builtin, &[Exchange]); 4] = [
    (Builtin::Echo, &[(b"hello", b"hello")]),
    (Builtin::Line, &[(b"hello\n", b"hello\n"), (b"one\ntwo\n", b"one\ntwo\n")]),
    (Builtin::Frames, &[(b"\0\0\0\x01x", b"\0\0\0\x01x"), (&[0; 8], &[0; 8])]),
    (
        Builtin::Http,
        &[
            (
                b"GET /hello HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\nAccept: */*\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\n/hello\n",
            ),
            (
                b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nPUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok",
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n\
                  HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nContent-Length: 0\r\n\r\n",
            ),
        ],
    ),
];

/// Allocations of the whole process while `ROUNDS` requests are answered on each connection.
fn allocations(model: Model, protocol: Builtin, exchanges: &[Exchange]) -> usize {
    let options = Config::default().into();
    let server = protocol.bind(model, "127.0.0.1:0", options, Cost::default()).unwrap();
    let (address, handle) = (server.addresses()[0].clone(), server.handle());
    let serving = thread::spawn(move || server.run());
    let mut streams = [(); CONNECTIONS].map(|()| {
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    });

    rounds(&mut streams, exchanges, WARM_UP);
    let region = Region::new(ALLOCATOR);
    rounds(&mut streams, exchanges, ROUNDS);
    let change = region.change();

    handle.stop();
    serving.join().unwrap().unwrap();
    change.allocations + change.reallocations
}

/// A request on every connection, then all the answers: the loops get them in batches.
fn rounds(streams: &mut [TcpStream; CONNECTIONS], exchanges: &[Exchange], rounds: usize) {
    let mut buffer = [0; 256];
    for round in 0..rounds {
        let (request, expected) = exchanges[round % exchanges.len()];
        for stream in &mut *streams {
            stream.write_all(request).unwrap();
        }
        for stream in &mut *streams {
            let answer = &mut buffer[..expected.len()];
            stream.read_exact(answer).unwrap();
            assert_eq!(answer, expected);
        }
    }
}

/// One test for everything: a second one at the same time would be counted, too.
#[test]
fn a_connection_allocates_nothing() {
    // Models differ in what they do with a connection and not in what it says: one loop and one
    // that blocks stand for all, whose own echo is counted in polyloop-models.
    for model in [Model::Mio, Model::Thread] {
        for (protocol, exchanges) in EXCHANGES {
            let allocations = allocations(model, protocol, exchanges);
            assert_eq!(allocations, 0, "{model} {protocol}, {} requests", ROUNDS * CONNECTIONS);
        }
    }
}
