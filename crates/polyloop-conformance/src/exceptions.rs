//! The one place that says which scenario can't hold, where, and why.

/// mio emulates itself on poll(2), which it offers for its own tests and does not support.
const FORCED_POLL: bool = cfg!(mio_unsupported_force_poll_poll);

/// Scenario and reason: what mio's emulation breaks, and nothing above it can mend.
const BROKEN_BY_FORCED_POLL: [(&str, &str); 3] = [
    (
        "a_wake_before_a_change_is_not_lost",
        "registering a source empties mio's eventfd, and with it a wake that was on its way; the \
         loop lives with it, because between its last look at the mailbox and its wait it \
         changes nothing (the scenarios of messages hold)",
    ),
    (
        "any_descriptor_can_be_watched",
        "mio arms a source again when a call through its own types says WouldBlock, which it \
         can't see of a foreign descriptor",
    ),
    (
        "a_datagram_comes_after_a_refused_one",
        "mio removes a source of which poll(2) told an error, and from then on answers NotFound \
         where the socket says WouldBlock",
    ),
];

/// Why a backend can't do what a scenario asks, or `None` if it must.
#[must_use]
pub fn excuse(backend: &str, scenario: &str) -> Option<&'static str> {
    let broken = if FORCED_POLL && backend == "mio" { &BROKEN_BY_FORCED_POLL[..] } else { &[] };
    broken.iter().find(|&&(name, _)| name == scenario).map(|&(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    #[test]
    fn excuses_name_scenarios() {
        for (name, _) in super::BROKEN_BY_FORCED_POLL {
            assert!(crate::list::NAMES.contains(&name), "there is no scenario {name}");
        }
    }
}
