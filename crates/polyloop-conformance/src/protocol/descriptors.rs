//! Out of descriptors, in a process of its own: the limit is the process's.

use std::env;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use log::{Level, LevelFilter, Log, Metadata, Record};
use polyloop::Config;
use polyloop_models::Model;
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

use super::protocols::Echo;
use super::serve::THREADS;
use super::Scene;

/// Set in the process that runs the scenario itself.
const CHILD: &str = "POLYLOOP_CONFORMANCE_CHILD";

/// Out of descriptors, the server serves whom it has, says once what it lacks, does not spin, and
/// goes on to accept when somebody leaves.
pub fn out_of_descriptors_and_recovering(scene: &Scene) {
    in_a_child(scene, "out_of_descriptors_and_recovering", run_out);
}

/// With every descriptor taken, a server that sleeps in whatever it waits with can still be told to
/// end.
pub fn without_a_descriptor_left_a_server_can_be_stopped(scene: &Scene) {
    in_a_child(scene, "without_a_descriptor_left_a_server_can_be_stopped", |scene| {
        let served = scene.serve(|| Echo);
        let mut client = served.connect();
        client.exchange(b"one");
        drop(client);
        served.log().wait_until_open(0);
        leave_room_for(1);
        // An accept that sleeps holds the number of the descriptor that it will return.
        let _taken: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        served.stop();
    });
}

/// Runs a scenario in a process of its own: the test starts itself again, with nothing but this one
/// test. It has to run on a thread that is called as the test is.
fn in_a_child(scene: &Scene, scenario: &str, run: fn(&Scene)) {
    if env::var_os(CHILD).is_some() {
        return run(scene);
    }
    let name = format!("{}::{scenario}", scene.name);
    let test = env::current_exe().expect("a test knows where it is");
    let child = Command::new(test)
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .expect("the test can be started");
    let said = String::from_utf8_lossy(&child.stdout);
    let complained = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{}\n{said}\n{complained}", child.status);
    assert!(said.contains("1 passed"), "no test is called {name}:\n{said}");
}

const CLIENTS: usize = 30;
const ROOM: usize = 10;

fn run_out(scene: &Scene) {
    log::set_logger(&WARNINGS).expect("nobody else logs here");
    log::set_max_level(LevelFilter::Warn);
    let bound = scene.bind(Config::default(), || Echo);
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
    let acceptors = if scene.model == Model::Pool { THREADS as u128 } else { 1 };
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

/// Lowers the limit to `room` more descriptors than are open.
fn leave_room_for(room: usize) {
    // The lowest number that is free is given out first, and some lower ones may be taken.
    let open = |_| File::open("/dev/null").expect("there is room for a few more");
    let files: Vec<_> = (0..room).map(open).collect();
    let last = files.iter().map(|file| file.as_raw_fd()).max().expect("some room is asked for");
    let limit = u64::try_from(last).expect("a descriptor is not negative") + 1;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum })
        .expect("a limit can be lowered");
}

static WARNINGS: Warnings = Warnings(AtomicUsize::new(0));

/// Counts the warnings that nobody can be accepted. On a machine that does much else a loop may
/// stand still as well, and says so.
struct Warnings(AtomicUsize);

impl Warnings {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Log for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let text = record.args().to_string();
            eprintln!("{text}");
            let counted = usize::from(text.contains("no further connection"));
            self.0.fetch_add(counted, Ordering::SeqCst);
        }
    }

    fn flush(&self) {}
}
