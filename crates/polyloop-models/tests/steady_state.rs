//! An echo connection in its steady state allocates nothing, on any model.
//!
//! The counting allocator counts for the whole process, so that no thread of a server can hide
//! anything. The client is in the same process and works with arrays and blocking sockets, which
//! allocate nothing either.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use polyloop::{Accepted, Config, Connection, Protocol};
use polyloop_models::{Model, Options};
use stats_alloc::{Region, StatsAlloc, INSTRUMENTED_SYSTEM};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 8;
const WARM_UP: usize = 200;
// Fewer under Wine, which takes long: when a test takes a minute, libtest says so, and allocates.
const ROUNDS: usize = if cfg!(windows) { 100 } else { 2_000 };

struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
    }
}

/// Echoes, with one allocation for each message.
struct Wasteful;

impl Protocol for Wasteful {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(&std::hint::black_box(input.to_vec()));
        input.len()
    }
}

/// Allocations of the whole process while `ROUNDS` messages go around on each connection.
fn allocations<P: Protocol + 'static>(model: Model, protocol: fn(&Accepted<'_>) -> P) -> usize {
    let server = model.bind("127.0.0.1:0", Config::default(), protocol).unwrap();
    let (address, handle) = (server.addresses()[0].clone(), server.handle());
    let serving = thread::spawn(move || server.run());
    let connect = |_| {
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    };
    let at_once = model.connections_at_once(&Options::default()).unwrap_or(CONNECTIONS);
    let mut streams: Vec<_> = (0..CONNECTIONS.min(at_once)).map(connect).collect();

    rounds(&mut streams, WARM_UP);
    let region = Region::new(ALLOCATOR);
    rounds(&mut streams, ROUNDS);
    let change = region.change();

    handle.stop();
    serving.join().unwrap().unwrap();
    change.allocations + change.reallocations
}

/// A message on every connection, then all the echoes: the loops get them in batches.
fn rounds(streams: &mut [TcpStream], rounds: usize) {
    let mut answer = [0; 64];
    for round in 0..rounds {
        let message = [round as u8; 64];
        for stream in &mut *streams {
            stream.write_all(&message).unwrap();
        }
        for stream in &mut *streams {
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, message);
        }
    }
}

/// One test for everything: a second one at the same time would be counted, too.
#[test]
fn an_echo_connection_allocates_nothing() {
    // What a child allocates, nobody else sees, and it may have no thread beside it: its driver is
    // that of the other models that block.
    let models = || Model::here().filter(|model| !model.forks());
    for model in models() {
        let allocations = allocations(model, |_| Echo);
        // A driver by completions makes a buffer when more sends are in flight than ever before,
        // which may be after the warm-up.
        let buffers = if model == Model::Uring { CONNECTIONS } else { 0 };
        assert!(allocations <= buffers, "{model}, {ROUNDS} rounds: {allocations}");
    }
    for model in models() {
        let seen = allocations(model, |_| Wasteful);
        assert!(seen >= ROUNDS, "{model} hides what its protocol allocates: {seen} seen");
    }
}
