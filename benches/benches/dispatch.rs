//! What it costs to learn which sockets are ready, against how many are watched, and what it
//! costs to begin and to end watching one.
//!
//! Each watched socket is one of a pair. A byte is written to some of the others, spread over
//! the whole set; the time until all of these are told is what counts. Writing the bytes and
//! reading them is not in it. Beside the backends stand the bare system calls, with the same
//! sockets and the same interest.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{
    criterion_group, criterion_main, Bencher, BenchmarkGroup, BenchmarkId, Criterion, Throughput,
};
use polyloop::{Backend, Events, Interest, Token};
use polyloop_bench::process;
use polyloop_models::{BackendKind, UseBackend};

#[cfg(not(unix))]
use mio::net::TcpStream as Socket;
#[cfg(unix)]
use mio::net::UnixStream as Socket;

const WATCHED: [usize; 3] = [100, 1_000, 8_000];
const ACTIVE: [usize; 2] = [1, 100];

/// Descriptors that are open beside the pairs.
const OTHERS: u64 = 64;

/// A watched socket and the other end of it.
struct Pair {
    watched: Socket,
    other: Socket,
}

#[cfg(unix)]
fn pair() -> Pair {
    let (watched, other) = Socket::pair().expect("there are enough descriptors");
    Pair { watched, other }
}

#[cfg(not(unix))]
fn pair() -> Pair {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    let other = std::net::TcpStream::connect(address).expect("it listens");
    let (watched, _) = listener.accept().expect("somebody connects");
    for stream in [&watched, &other] {
        stream.set_nodelay(true).expect("TCP has no-delay");
        stream.set_nonblocking(true).expect("a socket can be non-blocking");
    }
    Pair { watched: Socket::from_std(watched), other: Socket::from_std(other) }
}

fn pairs(count: usize) -> Vec<Pair> {
    (0..count).map(|_| pair()).collect()
}

/// Measures `wait`, which waits once and returns how many sockets it was told of.
fn dispatch(
    bencher: &mut Bencher<'_, WallTime>,
    pairs: &[Pair],
    active: usize,
    mut wait: impl FnMut() -> usize,
) {
    let step = pairs.len() / active;
    let active = || pairs.iter().skip(step / 2).step_by(step);
    let all = active().count();
    bencher.iter_custom(|iterations| {
        let mut taken = Duration::ZERO;
        for _ in 0..iterations {
            for pair in active() {
                assert_eq!((&pair.other).write(b"!").expect("there is room"), 1);
            }
            let begun = Instant::now();
            let mut told = 0;
            while told < all {
                told += wait();
            }
            taken += begun.elapsed();
            assert_eq!(told, all);
            for pair in active() {
                assert_eq!((&pair.watched).read(&mut [0; 8]).expect("it was told"), 1);
            }
        }
        taken
    });
}

/// A backend that watches as many, or none if it can't.
fn watching<B: Backend>(open: fn() -> io::Result<B>, pairs: &mut [Pair]) -> Option<B> {
    let mut watch = || {
        let mut backend = open()?;
        for (index, pair) in pairs.iter_mut().enumerate() {
            backend.register(&mut pair.watched, Token::new(index, 0), Interest::READABLE)?;
        }
        Ok(backend)
    };
    watch().map_err(|error: io::Error| eprintln!("left out: {error}")).ok()
}

/// What a backend costs that is told of `active` of `watched` sockets.
struct Dispatch<'a, 'g> {
    group: &'a mut BenchmarkGroup<'g, WallTime>,
    name: &'static str,
    watched: usize,
    active: usize,
}

impl UseBackend for Dispatch<'_, '_> {
    type Output = ();

    fn run<B: Backend + Send + 'static>(self, open: fn() -> io::Result<B>) {
        let Dispatch { group, name, watched, active } = self;
        let mut pairs = pairs(watched);
        let Some(mut backend) = watching(open, &mut pairs) else { return };
        let mut events = Events::with_capacity(1024);
        group.bench_function(BenchmarkId::new(name, watched), |bencher| {
            dispatch(bencher, &pairs, active, || {
                backend.poll(&mut events, None).expect("it can be waited");
                events.iter().for_each(|event| {
                    black_box(event);
                });
                events.len()
            });
        });
        for pair in &mut pairs {
            backend.deregister(&mut pair.watched).expect("it is watched");
        }
    }
}

#[cfg(target_os = "linux")]
fn bare_epoll(group: &mut BenchmarkGroup<'_, WallTime>, watched: usize, active: usize) {
    use rustix::buffer::spare_capacity;
    use rustix::event::epoll;

    let pairs = pairs(watched);
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC).expect("there is a descriptor");
    for (index, pair) in pairs.iter().enumerate() {
        let (data, flags) = (epoll::EventData::new_u64(index as u64), epoll_flags());
        epoll::add(&queue, &pair.watched, data, flags).expect("it can be watched");
    }
    let mut events = Vec::with_capacity(1024);
    group.bench_function(BenchmarkId::new("bare_epoll", watched), |bencher| {
        dispatch(bencher, &pairs, active, || {
            events.clear();
            epoll::wait(&queue, spare_capacity(&mut events), None).expect("it can be waited");
            events.iter().for_each(|event: &epoll::Event| {
                black_box(event);
            });
            events.len()
        });
    });
}

/// What mio asks for when it is asked for readable.
#[cfg(target_os = "linux")]
fn epoll_flags() -> rustix::event::epoll::EventFlags {
    use rustix::event::epoll::EventFlags;
    EventFlags::IN | EventFlags::RDHUP | EventFlags::ET
}

#[cfg(unix)]
fn bare_poll(group: &mut BenchmarkGroup<'_, WallTime>, watched: usize, active: usize) {
    use rustix::event::{poll, PollFd, PollFlags};

    let pairs = pairs(watched);
    let mut entries: Vec<_> =
        pairs.iter().map(|pair| PollFd::new(&pair.watched, PollFlags::IN)).collect();
    group.bench_function(BenchmarkId::new("bare_poll", watched), |bencher| {
        dispatch(bencher, &pairs, active, || {
            let told = poll(&mut entries, None).expect("it can be waited");
            let ready = entries.iter().filter(|entry| !entry.revents().is_empty());
            ready.take(told).for_each(|entry| {
                black_box(entry);
            });
            told
        });
    });
}

fn dispatch_cost(criterion: &mut Criterion) {
    raise_descriptor_limit();
    for active in ACTIVE {
        let mut group = criterion.benchmark_group(format!("dispatch/{active}_active"));
        group.throughput(Throughput::Elements(active as u64));
        // What is outside the measured part takes many times longer with many active ones.
        group.measurement_time(Duration::from_millis(if active == 1 { 300 } else { 100 }));
        for watched in WATCHED {
            for &kind in BackendKind::ALL {
                let name = kind.name();
                kind.with(Dispatch { group: &mut group, name, watched, active });
            }
            #[cfg(target_os = "linux")]
            bare_epoll(&mut group, watched, active);
            #[cfg(unix)]
            bare_poll(&mut group, watched, active);
        }
        group.finish();
    }
}

/// What it costs to begin and to end watching one more than `watched` sockets.
struct Register<'a, 'g> {
    group: &'a mut BenchmarkGroup<'g, WallTime>,
    name: &'static str,
    watched: usize,
}

impl UseBackend for Register<'_, '_> {
    type Output = ();

    fn run<B: Backend + Send + 'static>(self, open: fn() -> io::Result<B>) {
        let Register { group, name, watched } = self;
        let mut pairs = pairs(watched);
        let Some(mut backend) = watching(open, &mut pairs) else { return };
        let mut one = pair();
        let token = Token::new(watched, 0);
        group.bench_function(BenchmarkId::new(name, watched), |bencher| {
            bencher.iter(|| {
                backend.register(&mut one.watched, token, Interest::READABLE).expect("it can");
                backend.deregister(&mut one.watched).expect("it is watched");
            });
        });
    }
}

#[cfg(target_os = "linux")]
fn register_bare_epoll(group: &mut BenchmarkGroup<'_, WallTime>, watched: usize) {
    use rustix::event::epoll;

    let pairs = pairs(watched);
    let queue = epoll::create(epoll::CreateFlags::CLOEXEC).expect("there is a descriptor");
    let data = epoll::EventData::new_u64(0);
    for pair in &pairs {
        epoll::add(&queue, &pair.watched, data, epoll_flags()).expect("it can be watched");
    }
    let one = pair();
    group.bench_function(BenchmarkId::new("bare_epoll", watched), |bencher| {
        bencher.iter(|| {
            epoll::add(&queue, &one.watched, data, epoll_flags()).expect("it can be watched");
            epoll::delete(&queue, &one.watched).expect("it is watched");
        });
    });
}

fn register_cost(criterion: &mut Criterion) {
    raise_descriptor_limit();
    let mut group = criterion.benchmark_group("register_and_deregister");
    for watched in WATCHED {
        for &kind in BackendKind::ALL {
            kind.with(Register { group: &mut group, name: kind.name(), watched });
        }
        #[cfg(target_os = "linux")]
        register_bare_epoll(&mut group, watched);
    }
    group.finish();
}

fn raise_descriptor_limit() {
    process::raise_descriptor_limit();
    let needed = 2 * WATCHED[WATCHED.len() - 1] as u64 + OTHERS;
    if let Some(limit) = process::descriptor_limit().filter(|&limit| limit < needed) {
        eprintln!(
            "dispatch: {needed} descriptors are needed and this process may open {limit}: \
             raise the hard limit (ulimit -Hn)"
        );
        std::process::exit(1);
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20);
    targets = dispatch_cost, register_cost
}
criterion_main!(benches);
