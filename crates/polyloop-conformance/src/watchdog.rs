//! Fails a scenario that hangs, with a message instead of a silent build.

use std::io::Read;
use std::panic;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::child;

/// Far longer than any scenario takes on a busy machine: the whole suite takes seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// What is excused is given less: mostly it hangs, and that is what is expected of it.
const LIMIT_OF_AN_EXCUSE: Duration = Duration::from_millis(300);

/// What libtest says of a test that panicked.
const PANICKED: i32 = 101;

/// Runs `scenario` on a thread called `name`, and waits for its end.
///
/// A scenario waits without a limit for whatever must come, so a readiness that is lost shows as a
/// wait that nothing ends. The thread of one that hangs is left behind.
///
/// # Panics
///
/// If the scenario panics, or is not over after half a minute.
pub fn run(name: &str, scenario: impl FnOnce() + Send + 'static) {
    let (alive, ended) = mpsc::channel::<()>();
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // Nothing is ever sent: the channel closes when the thread returns or unwinds.
            let _alive = alive;
            scenario();
        })
        .expect("the system has room for one more thread");
    match ended.recv_timeout(LIMIT) {
        Err(RecvTimeoutError::Timeout) => {
            panic!("{name} hangs: what it waits for has not come within {LIMIT:?}")
        }
        _ => {
            if let Err(cause) = thread.join() {
                panic::resume_unwind(cause);
            }
        }
    }
}

/// Runs `scenario`, that of the test called `name`, in a process of its own, where it must panic or
/// hang.
///
/// What hangs is killed with its process: servers and clients that nobody ends would take processor
/// time from all other scenarios.
///
/// # Panics
///
/// If the scenario holds, which `reason` says it can't.
pub fn expect_failure(name: &str, reason: &str, scenario: impl FnOnce() + Send + 'static) {
    expect_failure_within(LIMIT_OF_AN_EXCUSE, name, reason, scenario);
}

fn expect_failure_within(
    limit: Duration,
    name: &str,
    reason: &str,
    scenario: impl FnOnce() + Send + 'static,
) {
    if child::is_here() {
        return run(name, scenario);
    }
    let mut child = child::of_test(name)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test can be started");
    let mut output = child.stdout.take().expect("it is a pipe");
    let (sender, said) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = output.read_to_string(&mut text);
        // Nobody listens any more to what was killed.
        let _ = sender.send(read.map(|_| text));
    });
    let said = said.recv_timeout(limit);
    // It may have ended by itself.
    let _ = child.kill();
    let status = child.wait().expect("a child can be waited for");
    if let Ok(said) = said {
        let said = said.expect("a test writes text");
        assert!(!said.contains("running 0 tests"), "no test is called {name}");
        assert!(!status.success(), "{name} holds, and is excused: {reason}");
        assert_eq!(status.code(), Some(PANICKED), "{name} could not be run: {status}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails_with(message: &str, run: impl FnOnce() + panic::UnwindSafe) {
        let cause = panic::catch_unwind(run).unwrap_err();
        let said = cause.downcast_ref::<String>().expect("a message");
        assert!(said.contains(message), "{said}");
    }

    #[test]
    fn a_panic_is_passed_on() {
        run("ends", || {});
        fails_with("as it is meant to", || run("panics", || panic!("{}", "as it is meant to")));
    }

    #[test]
    fn what_panics_fails() {
        expect_failure("watchdog::tests::what_panics_fails", "", || panic!("as it is meant to"));
    }

    #[test]
    fn what_hangs_fails() {
        let (never, hang) = mpsc::channel::<()>();
        expect_failure("watchdog::tests::what_hangs_fails", "", move || {
            hang.recv().unwrap_or_default();
        });
        drop(never);
    }

    #[test]
    fn an_excuse_that_nothing_needs_is_told() {
        let name = "watchdog::tests::an_excuse_that_nothing_needs_is_told";
        let holds = || expect_failure_within(LIMIT, name, "no reason", || {});
        if child::is_here() {
            return holds();
        }
        fails_with("and is excused: no reason", holds);
    }
}
