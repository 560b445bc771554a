//! A process of its own for a scenario: one that changes what belongs to the whole process, or one
//! that is expected to hang.

use std::env;
use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::thread;

/// Set in the process that runs the scenario itself.
const CHILD: &str = "POLYLOOP_CONFORMANCE_CHILD";

/// What programs of this kind are to be run with, and its arguments: an emulator, which the kernel
/// does not know.
const RUNNER: &str = "POLYLOOP_CONFORMANCE_RUNNER";

/// Whether this process is the one of a single scenario.
pub(crate) fn is_here() -> bool {
    env::var_os(CHILD).is_some()
}

/// This program again, with nothing but the test called `name`.
pub(crate) fn of_test(name: &str) -> Command {
    let test = env::current_exe().expect("a test knows where it is");
    let runner = env::var(RUNNER).unwrap_or_default();
    let mut words = runner.split_whitespace().map(OsStr::new).chain([test.as_os_str()]);
    let mut command = Command::new(words.next().expect("the test at least"));
    command
        .args(words)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::null());
    command
}

/// Runs `scenario` in a process of its own. It has to run on a thread that is called as the test is.
pub(crate) fn in_a_process_of_its_own(scenario: impl FnOnce()) {
    if is_here() {
        return scenario();
    }
    let thread = thread::current();
    let name = thread.name().expect("a scenario's thread has the name of its test");
    let child = of_test(name).output().expect("the test can be started");
    let said = String::from_utf8_lossy(&child.stdout);
    let complained = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{}\n{said}\n{complained}", child.status);
    assert!(said.contains("1 passed"), "no test is called {name}:\n{said}");
}

/// Makes room for descriptors past every `FD_SETSIZE` that there is.
#[cfg(unix)]
pub(crate) fn make_room_for_high_descriptors() {
    const ENOUGH: usize = 1200;
    assert!(make_room_for_descriptors(ENOUGH) >= ENOUGH, "so many descriptors are allowed");
}

/// Makes room for so many descriptors, or for as many as are allowed; says for how many there is.
#[cfg(unix)]
pub(crate) fn make_room_for_descriptors(wanted: usize) -> usize {
    use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = wanted as u64;
    let allowed = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let room = match current {
        Some(current) if current < allowed => {
            setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum })
                .expect("a limit can be raised up to the hard one");
            allowed
        }
        Some(current) => current,
        None => wanted,
    };
    usize::try_from(room).unwrap_or(usize::MAX)
}

/// There is no limit here.
#[cfg(not(unix))]
pub(crate) fn make_room_for_descriptors(wanted: usize) -> usize {
    wanted
}
