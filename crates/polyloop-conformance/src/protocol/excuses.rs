//! The one place that says which model can't run which scenario, and why.

use polyloop_models::Model;

/// What `iterative` can't do.
const ONE_AT_A_TIME: &str = "it serves one connection at a time, and the scenario needs several";

/// What `spin` can't do.
const NEVER_SLEEPS: &str = "it asks again and again, which is what it is there to show";

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
    (Model::Spin, "a_request_costs_what_it_must", NEVER_SLEEPS),
    (Model::Spin, "without_deadlines_silence_costs_nothing", NEVER_SLEEPS),
];

/// Why a model can't do what a scenario asks, or `None` if it must.
#[must_use]
pub fn excuse(model: Model, scenario: &str) -> Option<&'static str> {
    if model == Model::Iterative && scenario.starts_with("lively::") {
        return Some(ONE_AT_A_TIME);
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
    }
}
