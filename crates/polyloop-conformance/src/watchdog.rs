//! Fails a scenario that hangs, with a message instead of a silent build.

use std::panic;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Far longer than any scenario takes on a busy machine: the whole suite takes seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// What is excused is given less: mostly it hangs, and that is what is expected of it.
const LIMIT_OF_AN_EXCUSE: Duration = Duration::from_millis(500);

/// Runs `scenario` on a thread called `name`, and waits for its end.
///
/// A scenario waits without a limit for whatever must come, so a readiness that is lost shows as a
/// wait that nothing ends. The thread of one that hangs is left behind.
///
/// # Panics
///
/// If the scenario panics, or is not over after half a minute.
pub fn run(name: &str, scenario: impl FnOnce() + Send + 'static) {
    match start(name, scenario).wait(LIMIT) {
        Some(Ok(())) => {}
        Some(Err(cause)) => panic::resume_unwind(cause),
        None => panic!("{name} hangs: what it waits for has not come within {LIMIT:?}"),
    }
}

/// Whether `scenario` panics or hangs.
#[must_use]
pub fn fails(name: &str, scenario: impl FnOnce() + Send + 'static) -> bool {
    !matches!(start(name, scenario).wait(LIMIT_OF_AN_EXCUSE), Some(Ok(())))
}

struct Running {
    thread: JoinHandle<()>,
    /// Nothing is ever sent: the channel closes when the thread returns or unwinds.
    ended: mpsc::Receiver<()>,
}

fn start(name: &str, scenario: impl FnOnce() + Send + 'static) -> Running {
    let (alive, ended) = mpsc::channel();
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _alive = alive;
            scenario();
        })
        .expect("the system has room for one more thread");
    Running { thread, ended }
}

impl Running {
    /// How it ended; `None` if it did not within `limit`.
    fn wait(self, limit: Duration) -> Option<thread::Result<()>> {
        match self.ended.recv_timeout(limit) {
            Err(RecvTimeoutError::Timeout) => None,
            _ => Some(self.thread.join()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_an_end_from_a_panic_and_from_a_hang() {
        run("ends", || {});
        assert!(fails("panics", || panic!("as it is meant to")));
        let (never, hang) = mpsc::channel::<()>();
        assert!(fails("hangs", move || hang.recv().unwrap_or(())));
        drop(never);
    }
}
