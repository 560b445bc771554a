//! Timeouts as the calls take them.

use std::time::Duration;

use polyloop::LONGEST_WAIT;
use rustix::event::Timespec;

pub(crate) fn timespec(timeout: Duration) -> Timespec {
    let timeout = timeout.min(LONGEST_WAIT);
    Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ }
}
