//! The one place that says which model can't run which scenario, how it fails, and why.

use std::time::Duration;

use polyloop_models::Model;

use crate::watchdog::Fails;

/// How most fail. Where they hold, they take less than a tenth of a second on a machine that has
/// other things to do.
const HANGS: Fails = Fails::HangsFor(Duration::from_millis(300));

/// How those fail that take up to a second where they hold.
const HANGS_LONG: Fails = Fails::HangsFor(Duration::from_secs(2));

/// Scenarios that wait for timers or serve very many.
const LONG: &[&str] = &[
    "a_slow_reader_holds_up_nobody",
    "a_stream_without_end_starves_nobody",
    "a_thousand_connections_come_and_go",
    "a_timer_may_set_another",
    "an_out_of_band_byte_between_two_writes",
    "connections_past_the_limit_wait",
    "descriptors_past_fd_setsize",
    "out_of_descriptors_and_recovering",
    "timers_come_in_order",
];

/// What `iterative` can't do.
const ONE_AT_A_TIME: &str = "it serves one connection at a time, and the scenario needs several";

/// What `spin` can't do.
const NEVER_SLEEPS: &str = "it asks again and again, which is what it is there to show";

/// What `process` can't do.
const OWN_MEMORY: &str =
    "a handle, or whatever else the protocols of a server share with each other and with the \
     rest of the program, reaches only connections of the same process";

/// What mio's emulation of itself on poll(2) can't do.
const FORGETS: &str =
    "it watches a listener again after mio's own accept only, which knows no Unix-domain sockets";

/// Scenarios that share something between a connection and another, or the scenario.
const SHARING: &[&str] = &[
    "another_thread_may_send",
    "several_threads_may_send",
    "another_thread_may_close",
    "another_thread_may_close_an_idle_connection",
    "a_paused_connection_can_be_reached",
    "a_handle_sends_nothing_after_finish",
    "a_handle_of_the_past_reaches_nobody",
    "a_slow_reader_holds_up_nobody",
    "a_drain_flushes_what_others_sent",
    "a_stop_does_not_flush_what_others_sent",
];

/// Model, scenario and reason.
const EXCUSES: &[(Model, &str, &str)] = &[
    (Model::Iterative, "a_stream_without_end_starves_nobody", ONE_AT_A_TIME),
    (Model::Iterative, "a_slow_reader_holds_up_nobody", ONE_AT_A_TIME),
    (Model::Iterative, "connections_past_the_limit_wait", ONE_AT_A_TIME),
    (Model::Iterative, "a_thousand_connections_come_and_go", ONE_AT_A_TIME),
    (Model::Iterative, "a_drain_lets_a_message_be_finished", ONE_AT_A_TIME),
    (Model::Iterative, "a_drain_answers_what_has_come", ONE_AT_A_TIME),
    (Model::Iterative, "a_drain_has_a_deadline", ONE_AT_A_TIME),
    (Model::Iterative, "a_drain_ends_who_reads_nothing", ONE_AT_A_TIME),
    (Model::Iterative, "a_stop_ends_a_drain", ONE_AT_A_TIME),
    (Model::Iterative, "a_stop_closes_everything", ONE_AT_A_TIME),
    (Model::Iterative, "out_of_descriptors_and_recovering", ONE_AT_A_TIME),
    (Model::Iterative, "descriptors_past_fd_setsize", ONE_AT_A_TIME),
    (Model::Process, "counts_can_be_watched", "its counts come home when a connection ends"),
    (
        Model::Process,
        "out_of_descriptors_and_recovering",
        "a connection takes its descriptor along to a process of its own, and leaves none in the server",
    ),
    (Model::Spin, "without_deadlines_silence_costs_nothing", NEVER_SLEEPS),
    (Model::Spin, "a_timer_that_is_never_due_costs_nothing", NEVER_SLEEPS),
];

/// How and why a model fails at what a scenario asks, or `None` if it must not.
#[must_use]
pub fn excuse(model: Model, scenario: &str) -> Option<(Fails, &'static str)> {
    let alone = scenario.strip_prefix("lively::").unwrap_or(scenario);
    let reason = reason(model, scenario, alone)?;
    // What a protocol in another process would hand over is known at once never to come; `spin`
    // is found out by its counts; the others wait.
    let fails = match (model, reason) {
        (Model::Spin, _) => Fails::Panics,
        (Model::Process, OWN_MEMORY) if alone != "a_slow_reader_holds_up_nobody" => Fails::Panics,
        _ if LONG.contains(&alone) => HANGS_LONG,
        _ => HANGS,
    };
    Some((fails, reason))
}

fn reason(model: Model, scenario: &str, alone: &str) -> Option<&'static str> {
    if model == Model::Iterative && scenario != alone {
        return Some(ONE_AT_A_TIME);
    }
    if model == Model::Process && SHARING.contains(&alone) {
        return Some(OWN_MEMORY);
    }
    let emulated = model == Model::Mio && cfg!(mio_unsupported_force_poll_poll);
    if emulated && scenario == "a_unix_socket_is_served" {
        return Some(FORGETS);
    }
    let found = EXCUSES.iter().find(|&&(whose, name, _)| whose == model && name == scenario);
    found.map(|&(_, _, reason)| reason)
}

#[cfg(test)]
mod tests {
    #[test]
    fn excuses_name_scenarios() {
        for (_, name, _) in super::EXCUSES {
            assert!(crate::protocol::list::NAMES.contains(name), "there is no scenario {name}");
        }
        for name in super::SHARING.iter().chain(super::LONG) {
            assert!(crate::protocol::list::NAMES.contains(name), "there is no scenario {name}");
        }
    }
}
