//! The one place that says which scenario can't hold, where, how it fails, and why.

use std::time::Duration;

use crate::watchdog::Fails;

/// mio emulates itself on poll(2), which it offers for its own tests and does not support.
pub(crate) const FORCED_POLL: bool = cfg!(mio_unsupported_force_poll_poll);

/// Where they hold, they take a few milliseconds.
const HANGS: Fails = Fails::HangsFor(Duration::from_secs(1));

/// Scenario, how it fails, and reason: what mio's emulation breaks, and nothing above it can mend.
const BROKEN_BY_FORCED_POLL: [(&str, Fails, &str); 3] = [
    (
        "a_wake_before_a_change_is_not_lost",
        HANGS,
        "registering a source empties mio's eventfd, and with it a wake that was on its way; the \
         loop lives with it, because between its last look at the mailbox and its wait it \
         changes nothing (the scenarios of messages hold)",
    ),
    (
        "any_descriptor_can_be_watched",
        HANGS,
        "mio arms a source again when a call through its own types says WouldBlock, which it \
         can't see of a foreign descriptor",
    ),
    (
        "a_datagram_comes_after_a_refused_one",
        Fails::Panics,
        "mio removes a source of which poll(2) told an error, and from then on answers NotFound \
         where the socket says WouldBlock",
    ),
];

/// How and why a backend fails at what a scenario asks, or `None` if it must not.
#[must_use]
pub fn excuse(backend: &str, scenario: &str) -> Option<(Fails, &'static str)> {
    let broken = if FORCED_POLL && backend == "mio" { &BROKEN_BY_FORCED_POLL[..] } else { &[] };
    let found = broken.iter().find(|&&(name, ..)| name == scenario);
    found.map(|&(_, fails, reason)| (fails, reason))
}

#[cfg(test)]
mod tests {
    #[test]
    fn excuses_name_scenarios() {
        for (name, ..) in super::BROKEN_BY_FORCED_POLL {
            assert!(crate::list::NAMES.contains(&name), "there is no scenario {name}");
        }
    }
}
