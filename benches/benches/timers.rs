//! What a timer costs while 10,000 others are pending: to insert it, to cancel it, to expire.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{criterion_group, criterion_main, Criterion};
use fastrand::Rng;
use polyloop::{Tick, TimerId, Timers, Token};

const PENDING: usize = 10_000;
/// Timers that are handled between two readings of the clock, beside those that are pending.
const CHUNK: u64 = 500;

/// A set with [`PENDING`] timers, and what further ones are made of.
struct Bench {
    timers: Timers,
    start: Tick,
    random: Rng,
}

impl Bench {
    fn new() -> Bench {
        let mut bench =
            Bench { timers: Timers::new(), start: Tick::now(), random: Rng::with_seed(1) };
        for _ in 0..PENDING {
            bench.insert();
        }
        bench
    }

    /// Inserts a timer that is due some time in the second minute.
    fn insert(&mut self) -> TimerId {
        let wait =
            Duration::from_secs(60) + Duration::from_nanos(self.random.u64(..60_000_000_000));
        self.timers.insert(self.start.after(wait), Token::new(1, 1))
    }

    /// Inserts a timer that is due some time in the first minute, before all others.
    fn insert_early(&mut self) -> TimerId {
        let wait = Duration::from_nanos(self.random.u64(..60_000_000_000));
        self.timers.insert(self.start.after(wait), Token::new(1, 1))
    }
}

/// Does something `iterations` times, in chunks, and adds up what the chunks say they took.
fn in_chunks(iterations: u64, mut chunk: impl FnMut(u64) -> Duration) -> Duration {
    let mut left = iterations;
    let mut taken = Duration::ZERO;
    while left > 0 {
        let now = left.min(CHUNK);
        taken += chunk(now);
        left -= now;
    }
    taken
}

fn timers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers/10000_pending");
    let mut list = Vec::with_capacity(CHUNK as usize);

    let mut bench = Bench::new();
    group.bench_function("insert", |bencher| {
        bencher.iter_custom(|iterations| {
            in_chunks(iterations, |count| {
                let begun = Instant::now();
                list.extend((0..count).map(|_| bench.insert()));
                let taken = begun.elapsed();
                for timer in list.drain(..) {
                    assert!(bench.timers.cancel(timer));
                }
                taken
            })
        });
    });

    let mut bench = Bench::new();
    group.bench_function("cancel", |bencher| {
        bencher.iter_custom(|iterations| {
            in_chunks(iterations, |count| {
                list.extend((0..count).map(|_| bench.insert()));
                let begun = Instant::now();
                for timer in list.drain(..) {
                    assert!(bench.timers.cancel(timer));
                }
                begun.elapsed()
            })
        });
    });

    let mut bench = Bench::new();
    group.bench_function("expire", |bencher| {
        bencher.iter_custom(|iterations| {
            in_chunks(iterations, |count| {
                for _ in 0..count {
                    bench.insert_early();
                }
                let now = bench.start.after(Duration::from_secs(60));
                let begun = Instant::now();
                bench.timers.collect_due(now, &mut list);
                for timer in list.drain(..) {
                    black_box(bench.timers.take(timer)).expect("it is pending");
                }
                let taken = begun.elapsed();
                assert_eq!(bench.timers.len(), PENDING);
                taken
            })
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50);
    targets = timers
}
criterion_main!(benches);
