//! Fails a scenario that hangs, with a message instead of a silent build.

use std::panic;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Far longer than any scenario takes on a busy machine: the whole suite takes seconds.
const LIMIT: Duration = Duration::from_secs(30);

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
            let _alive = alive;
            scenario();
        })
        .expect("the system has room for one more thread");
    // Nothing is ever sent: the channel closes when the thread returns or unwinds.
    if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
        panic!("{name} hangs: what it waits for has not come within {LIMIT:?}");
    }
    if let Err(cause) = thread.join() {
        panic::resume_unwind(cause);
    }
}
