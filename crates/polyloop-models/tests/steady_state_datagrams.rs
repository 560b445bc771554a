//! A server of datagrams in its steady state allocates nothing, on any model, with batches and
//! without.
//!
//! The counting allocator counts for the whole process, so that no thread of a server can hide
//! anything. The client is in the same process and works with arrays and blocking sockets, which
//! allocate nothing either.

use std::alloc::System;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use polyloop::{DatagramProtocol, Reply};
use polyloop_models::{Model, Options};
use stats_alloc::{Region, StatsAlloc, INSTRUMENTED_SYSTEM};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLIENTS: usize = 8;
const WARM_UP: usize = 200;
// Fewer under Wine, which takes long: when a test takes a minute, libtest says so, and allocates.
const ROUNDS: usize = if cfg!(windows) { 100 } else { 2_000 };

struct Echo;

impl DatagramProtocol for Echo {
    fn received(&mut self, _: SocketAddr, datagram: &[u8], reply: Reply<'_>) {
        reply.send(datagram);
    }
}

/// Echoes, with one allocation for each datagram.
struct Wasteful;

impl DatagramProtocol for Wasteful {
    fn received(&mut self, _: SocketAddr, datagram: &[u8], reply: Reply<'_>) {
        reply.send(&std::hint::black_box(datagram.to_vec()));
    }
}

/// Allocations of the whole process while `ROUNDS` datagrams go around for each client; `None` if
/// the model, or this system, can't.
fn allocations<P: DatagramProtocol + 'static>(
    model: Model,
    batches: bool,
    protocol: fn() -> P,
) -> Option<usize> {
    let mut options = Options::default();
    options.batches = batches;
    let server = match model.bind_datagram("127.0.0.1:0", options, protocol) {
        Err(error) if error.kind() == ErrorKind::Unsupported => return None,
        server => server.unwrap(),
    };
    let (address, handle) = (server.addresses()[0].ip().unwrap(), server.handle());
    let serving = thread::spawn(move || server.run());
    let clients = [(); CLIENTS].map(|()| {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    });

    rounds(&clients, WARM_UP);
    let mut fewest = usize::MAX;
    // A thread that the system starts late allocates what it needs, once.
    for _ in 0..3 {
        let region = Region::new(ALLOCATOR);
        rounds(&clients, ROUNDS);
        let change = region.change();
        fewest = fewest.min(change.allocations + change.reallocations);
        if fewest == 0 {
            break;
        }
    }

    handle.stop();
    serving.join().unwrap().unwrap();
    Some(fewest)
}

/// A datagram from every client, then all the echoes: the server gets them in batches.
fn rounds(clients: &[UdpSocket; CLIENTS], rounds: usize) {
    let mut answer = [0; 65];
    for round in 0..rounds {
        let message = [round as u8; 64];
        for client in clients {
            client.send(&message).unwrap();
        }
        for client in clients {
            let length = client.recv(&mut answer).unwrap();
            assert_eq!(answer[..length], message);
        }
    }
}

/// One test for everything: a second one at the same time would be counted, too.
#[test]
fn an_echo_of_datagrams_allocates_nothing() {
    let mut served = 0;
    for &model in Model::ALL {
        for batches in [false, true] {
            let Some(allocations) = allocations(model, batches, || Echo) else { continue };
            let datagrams = ROUNDS * CLIENTS;
            assert_eq!(allocations, 0, "{model}, batches: {batches}, {datagrams} datagrams");
            served += 1;
        }
    }
    assert!(served >= 2, "mio and poll serve datagrams everywhere");
    let seen = allocations(Model::Mio, false, || Wasteful).unwrap();
    assert!(seen >= ROUNDS, "what a protocol allocates is hidden: {seen} seen");
}
