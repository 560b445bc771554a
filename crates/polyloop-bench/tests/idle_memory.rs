//! The memory that a loop holds for an idle connection: everything that it allocated, spare
//! capacity included, with 10,000 of them.
//!
//! The server is in this process, under a counting allocator; the connections come from the
//! program's load generator, for both ends are more descriptors than a process may have. Each has
//! made one request when it is looked at, so that a buffer kept from a request would show.

use std::alloc::System;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

use polyloop::{Config, Connection, Protocol};
use polyloop_bench::load::Phase;
use polyloop_bench::process;
use polyloop_models::Model;
use stats_alloc::{StatsAlloc, INSTRUMENTED_SYSTEM};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// On Windows it takes minutes to open as many.
const CONNECTIONS: u64 = if cfg!(windows) { 500 } else { 10_000 };
/// Descriptors that are open beside the connections.
const OTHERS: u64 = 100;
/// Bytes a connection; a protocol that has a size comes on top. Sockets are known by a hash table on
/// Windows, where they are no small numbers; of 500, more than half of its room is spare. There mio
/// also keeps what AFD writes to, for each.
const BUDGET: f64 = if cfg!(windows) { 512.0 } else { 256.0 };

/// Of no size: what is counted is the server's own.
struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
    }
}

/// Bytes that are allocated now.
fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Bytes a connection that the server holds with so many idle ones.
fn bytes_a_connection(model: Model, connections: u64) -> f64 {
    let server = model.bind("127.0.0.1:0", Config::default(), |_| Echo).unwrap();
    let (address, handle) = (server.addresses()[0].clone(), server.handle());
    let before = allocated();
    let serving = thread::spawn(move || server.run());

    let mut load = Command::new(env!("CARGO_BIN_EXE_polyloop"))
        .args(["load", "--control", "--active", "1", "--target", &address.to_string()])
        .args(["--connections", &connections.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(load.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let phase: Phase = serde_json::from_str(&line).unwrap();
    assert_eq!(phase, Phase::Connected { connections: connections as usize });
    let held = allocated() - before;

    // The end of its input ends the load generator, and the end of its output says that it has.
    drop(load.stdin.take());
    said.read_to_string(&mut line).unwrap();
    load.wait().unwrap();
    handle.stop();
    serving.join().unwrap().unwrap();
    held as f64 / connections as f64
}

#[test]
fn an_idle_connection_is_small() {
    process::raise_descriptor_limit();
    let limit = process::descriptor_limit().unwrap_or(u64::MAX);
    let connections = CONNECTIONS.min(limit.saturating_sub(OTHERS));
    assert!(connections >= 100, "{limit} descriptors are too few: raise the limit (ulimit -Hn)");
    let loops = [Model::Poll, Model::Epoll, Model::Mio];
    for model in loops.into_iter().filter(|model| model.check().is_ok()) {
        let bytes = bytes_a_connection(model, connections);
        println!("{model}: {bytes:.0} bytes a connection, {connections} of them");
        assert!(bytes < BUDGET, "{model} holds {bytes:.0} bytes for an idle connection");
        // A slot in a table is the least that a connection can take: less was not counted.
        assert!(bytes > size_of::<usize>() as f64, "{model}: {bytes:.0} bytes");
    }
}
