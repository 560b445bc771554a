//! Out of descriptors, and past the limit of a backend; in a process of its own, whose limit and
//! numbers are changed.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use log::{Level, LevelFilter, Log, Metadata, Record};
use polyloop::driver::Starvation;
use polyloop::Config;
use polyloop_models::Model;
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

use super::forked;
use super::protocols::Echo;
use super::Scene;
use crate::child::{in_a_process_of_its_own, make_room_for_high_descriptors};

/// Out of descriptors, the server serves whom it has, says once what it lacks, does not spin, and
/// goes on to accept when somebody leaves.
pub fn out_of_descriptors_and_recovering(scene: &Scene) {
    in_a_process_of_its_own(|| run_out(scene));
}

/// With every descriptor taken, a server that sleeps in whatever it waits with can still be told to
/// end.
pub fn without_a_descriptor_left_a_server_can_be_stopped(scene: &Scene) {
    in_a_process_of_its_own(|| stop_without_a_descriptor(scene));
}

fn stop_without_a_descriptor(scene: &Scene) {
    count_warnings();
    let bound = scene.bind_and_prepare(Config::default(), || Echo, || leave_room_for(0));
    let served = bound.run();
    if scene.model.forks() {
        // It has had none from the first. Whoever waits is tried for now and then, and not all the
        // time.
        let began = Instant::now();
        let _waits = served.connect();
        while served.counts().accepts < 3 {
            thread::yield_now();
        }
        let tried = began.elapsed();
        assert!(tried >= 2 * Starvation::REST, "three failed accepts in {tried:?}: it spins");
        assert_eq!(WARNINGS.count(), 1, "a warning for each try");
    } else {
        let mut client = served.connect();
        client.exchange(b"one");
        drop(client);
        served.log().wait_until_open(0);
        leave_room_for(0);
    }
    served.stop();
}

const CLIENTS: usize = 30;
const ROOM: usize = 10;

fn run_out(scene: &Scene) {
    count_warnings();
    // The place that is given back when there is no descriptor is the last one under the limit, for
    // which others wait.
    let config = Config { max_connections: Some(ROOM + 1), ..Config::default() };
    let bound = scene.bind(config, || Echo);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| bound.connect()).collect();
    // They wait in the backlog; from here on there is room for some of them.
    leave_room_for(ROOM);
    let served = bound.run();
    let began = Instant::now();
    while WARNINGS.count() == 0 {
        thread::yield_now();
    }
    served.log().wait_until_open(ROOM);
    let mut waiting = clients.split_off(ROOM);

    // The served ones are unharmed for a while in which the listener tries again several times.
    let tries = served.counts().accepts;
    let mut exchanges = 0;
    let mut exchange_until = |tried| {
        while served.counts().accepts < tried {
            for client in &mut clients {
                client.exchange(b"as ever");
                exchanges += 1;
            }
        }
        WARNINGS.count()
    };
    assert_eq!(exchange_until(tries + 5), 1, "a warning for each try");
    let counts = served.counts();
    // Each thread of a pool rests for itself.
    let threads = scene.options(Config::default()).threads.get() as u128;
    let acceptors = if scene.model == Model::Pool { threads } else { 1 };
    let rests = (began.elapsed().as_millis() / 50 + 2) * acceptors;
    let failed = u128::from(counts.accepts) - ROOM as u128;
    assert!(failed <= rests, "{failed} failed accepts in {:?}: it spins", began.elapsed());
    // A turn for each request, for each accept, for each rest of the listener, and as many again.
    let turns = 2 * (exchanges + CLIENTS as u128 + 2 * rests);
    assert!(u128::from(counts.turns) <= turns, "more than {turns} turns: {counts:?}");
    assert_eq!(served.log().records().len(), ROOM, "there was no room for more");

    // One leaves, one is let in, until all were served.
    for client in &mut waiting {
        client.send(b"let me in");
    }
    for mut client in waiting {
        served.log().reason(clients.remove(0).leave());
        client.expect(b"let me in");
        clients.push(client);
    }
    for client in &mut clients {
        client.exchange(b"as ever");
    }
    drop(clients);
    let counts = served.stop();
    assert_eq!(counts.opened, CLIENTS as u64);
    assert_eq!(WARNINGS.count(), 1, "a warning for each time that it ran out");
}

/// Connections whose descriptors are past `FD_SETSIZE` are served as any other; or, by the model that
/// has that limit, closed at once, which is said once, while those below it are served on.
pub fn descriptors_past_fd_setsize(scene: &Scene) {
    in_a_process_of_its_own(|| run_past_fd_setsize(scene));
}

fn run_past_fd_setsize(scene: &Scene) {
    /// As large as it is anywhere.
    const FD_SETSIZE: i32 = 1024;
    const EACH: usize = 10;
    count_warnings();
    make_room_for_high_descriptors();
    // A server that forks has one connection's descriptor at a time: there each of them is high.
    let _taken = forked::is_here().then(|| take_all_below(FD_SETSIZE));
    let served = scene.serve(|| Echo);
    let mut low: Vec<_> = (0..EACH).map(|_| served.connect()).collect();
    for client in &mut low {
        client.exchange(b"below the limit");
    }
    let mut files = take_all_below(FD_SETSIZE);

    let mut high: Vec<_> = (0..EACH).map(|_| served.connect()).collect();
    let unlimited = scene.options(Config::default()).select_unlimited;
    let refused = scene.model == Model::Select && !unlimited;
    for client in &mut high {
        if refused {
            assert_eq!(client.read(&mut [0]).expect("the connection is closed in order"), 0);
        } else {
            client.exchange(b"past the limit");
        }
    }
    for client in &mut low {
        client.exchange(b"as ever");
    }
    // Below the limit there is room again: two for each client and its connection.
    files.truncate(files.len() - 1 - 2 * EACH);
    for _ in 0..EACH {
        let mut client = served.connect();
        client.exchange(b"below the limit again");
        low.push(client);
    }
    drop((low, high));
    let counts = served.stop();
    let opened = if refused { 2 * EACH } else { 3 * EACH };
    assert_eq!(counts.opened, opened as u64);
    assert_eq!(WARNINGS.count(), usize::from(refused), "it is said once");
}

fn take_all_below(number: RawFd) -> Vec<File> {
    let mut files = Vec::new();
    while files.last().map_or(0, File::as_raw_fd) < number {
        files.push(File::open("/dev/null").expect("there is room for more"));
    }
    files
}

/// Lowers the limit to `room` more descriptors than are open.
fn leave_room_for(room: usize) {
    // The lowest number that is free is given out first, and some lower ones may be taken.
    let open = |_| File::open("/dev/null").expect("there is room for a few more");
    let files: Vec<_> = (0..=room).map(open).collect();
    // The first that is not to be given out.
    let last = files.iter().map(|file| file.as_raw_fd()).max().expect("there is one at least");
    let limit = u64::try_from(last).expect("a descriptor is not negative");
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum })
        .expect("a limit can be lowered");
}

/// From here on; a server that is a process of its own has them counted in that of the scenario.
fn count_warnings() {
    log::set_logger(&WARNINGS).expect("nobody else logs here");
    log::set_max_level(LevelFilter::Warn);
}

static WARNINGS: Warnings = Warnings(AtomicUsize::new(0));

/// Counts what is logged as a warning, or worse; but for the loop's own, which tells of a machine
/// that is busy.
struct Warnings(AtomicUsize);

impl Warnings {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Log for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let loops = target.ends_with("event_loop") || target.ends_with("uring::driver");
        metadata.level() <= Level::Warn && !loops
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if forked::is_here() {
            return forked::say(&format!("warned {}", record.args()));
        }
        eprintln!("{}", record.args());
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn flush(&self) {}
}
