//! Fails a scenario that hangs, with a message instead of a silent build.

use std::io::{BufRead, BufReader};
use std::panic;
use std::process::Stdio;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::child;

/// Far longer than any scenario takes on a busy machine: the whole suite takes seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// A panic that is expected comes before any patience is at its end: a client's, or that of [`run`].
const LIMIT_OF_A_PANIC: Duration = Duration::from_secs(10);

/// Ends the line that says that the scenario of a process of its own begins.
const BEGINS: &str = "the scenario begins";

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

/// How a scenario fails that is excused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    /// It panics.
    Panics,
    /// It is not over after so long, which is many times what it takes where it holds; or it
    /// panics.
    HangsFor(Duration),
}

/// Runs `scenario`, that of the test called `name`, in a process of its own, where it must fail as
/// it is said to.
///
/// What hangs is killed with its process: servers and clients that nobody ends would take processor
/// time from all other scenarios.
///
/// # Panics
///
/// If the scenario holds, which `reason` says it can't; if it could not be begun; if it hangs and
/// was to panic.
pub fn expect_failure(
    name: &str,
    reason: &str,
    fails: Fails,
    scenario: impl FnOnce() + Send + 'static,
) {
    if child::is_here() {
        println!("{BEGINS}");
        return run(name, scenario);
    }
    let mut child = child::of_test(name)
        // Nobody reads it, and with a sanitizer it takes longer than the panic may.
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test can be started");
    let output = BufReader::new(child.stdout.take().expect("it is a pipe"));
    let (sender, progress) = mpsc::channel();
    thread::spawn(move || {
        // The channel closes when the process ends.
        for line in output.lines().map_while(Result::ok) {
            // libtest has begun the line.
            if line.ends_with(BEGINS) {
                let _ = sender.send(());
            }
        }
    });
    let limit = match fails {
        Fails::Panics => LIMIT_OF_A_PANIC,
        Fails::HangsFor(limit) => limit,
    };
    // How long a process takes to start says nothing of the scenario.
    let begun = progress.recv_timeout(LIMIT).is_ok();
    let over = begun && progress.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected);
    // It may have ended by itself.
    let _ = child.kill();
    let status = child.wait().expect("a child can be waited for");
    assert!(begun, "{name} was not begun; either there is no such test, or: {status}");
    if over {
        assert!(!status.success(), "{name} holds, and is excused: {reason}");
        assert_eq!(status.code(), Some(PANICKED), "{name} could not be run: {status}");
    } else {
        assert_ne!(fails, Fails::Panics, "{name} hangs, and is excused with a panic: {reason}");
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
        let name = "watchdog::tests::what_panics_fails";
        expect_failure(name, "", Fails::Panics, || panic!("as it is meant to"));
    }

    #[test]
    fn what_hangs_fails() {
        let (never, hang) = mpsc::channel::<()>();
        let name = "watchdog::tests::what_hangs_fails";
        expect_failure(name, "", Fails::HangsFor(Duration::from_millis(50)), move || {
            hang.recv().unwrap_or_default();
        });
        drop(never);
    }

    #[test]
    fn an_excuse_that_nothing_needs_is_told() {
        let name = "watchdog::tests::an_excuse_that_nothing_needs_is_told";
        let holds = || expect_failure(name, "no reason", Fails::HangsFor(LIMIT), || {});
        if child::is_here() {
            return holds();
        }
        fails_with("and is excused: no reason", holds);
    }

    #[test]
    fn what_can_not_be_begun_does_not_count_as_failed() {
        fails_with("was not begun", || {
            expect_failure("nobody's test", "", Fails::HangsFor(LIMIT), || {});
        });
    }
}
