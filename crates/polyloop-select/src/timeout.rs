//! Timeouts as the calls take them.

use std::time::Duration;

use rustix::event::Timespec;

/// The longest wait in one call: some systems count milliseconds in 32 bits, or refuse more than
/// a few years. A wait may end early.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn timespec(timeout: Duration) -> Timespec {
    let timeout = timeout.min(LONGEST);
    Timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ }
}
