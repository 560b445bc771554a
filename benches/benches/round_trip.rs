//! What a message of 64 bytes and its echo take over loopback, one at a time: each model, and
//! the servers written by hand, all on a thread of this process.
//!
//! Most of it is the kernel's: two system calls on each side and two wake-ups.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{criterion_group, criterion_main, BenchmarkGroup, Criterion};
use polyloop::{Address, Config, Connection, Protocol};
use polyloop_models::Model;

const SIZE: usize = 64;

struct Echo;

impl Protocol for Echo {
    fn received(&mut self, connection: &mut Connection<'_>, input: &[u8]) -> usize {
        connection.send(input);
        input.len()
    }
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, server: &Address) {
    let mut stream = TcpStream::connect(server).expect("the server listens");
    stream.set_nodelay(true).expect("TCP has no-delay");
    let message = [7; SIZE];
    let mut answer = [0; SIZE];
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            stream.write_all(&message).expect("the server reads");
            stream.read_exact(&mut answer).expect("the server answers");
        });
    });
    assert_eq!(answer, message);
}

fn anywhere() -> Address {
    "127.0.0.1:0".parse().expect("it is an address")
}

fn models(group: &mut BenchmarkGroup<'_, WallTime>) {
    // A server that forks would have to be alone in this process.
    for model in Model::here().filter(|model| !model.forks()) {
        let server = model.bind(anywhere(), Config::default(), |_| Echo).expect("it listens");
        let (address, handle) = (server.addresses()[0].clone(), server.handle());
        let serving = thread::spawn(move || server.run());
        measure(group, model.name(), &address);
        handle.stop();
        serving.join().expect("it does not panic").expect("it serves to its end");
    }
}

/// The servers written by hand have no end; theirs is the end of the process.
fn bare(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    serve: fn(TcpListener) -> io::Result<()>,
) {
    let listener = polyloop::listen(&anywhere(), Config::default().backlog).expect("it listens");
    let address = listener.address().clone();
    thread::spawn(move || serve(listener.into()));
    measure(group, name, &address);
}

fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round_trip");
    models(&mut group);
    bare(&mut group, "bare_mio", polyloop_benches::bare_mio::serve);
    #[cfg(unix)]
    bare(&mut group, "bare_poll", polyloop_benches::bare_poll::serve);
    bare(&mut group, "bare_thread", polyloop_benches::bare_thread::serve);
    bare(&mut group, "tokio_current_thread", polyloop_benches::tokio_current_thread::serve);
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(50);
    targets = round_trip
}
criterion_main!(benches);
