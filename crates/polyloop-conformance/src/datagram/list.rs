//! The one list of scenarios, and the tests that are made of it.

/// Hands the list of all scenarios of datagrams to another macro, after whatever else it is to be
/// given. `exchanges` run in both kinds of [`Company`](crate::protocol::Company); `whole` ones have
/// the server for themselves.
#[macro_export]
macro_rules! with_datagram_scenarios {
    ($($then:tt)::+ ! { $($given:tt)* }) => {
        $($then)::+! { $($given)*
            exchanges {
                one_in_one_out
                a_datagram_of_no_bytes
                the_longest_datagram
                one_in_none_out
                a_datagram_that_is_too_long_is_told
                many_clients
                a_client_from_another_port
                several_addresses
                a_burst_beyond_the_budget
                a_client_that_is_gone_ends_nothing
            }
            whole {
                an_answer_that_is_too_long
                an_answer_waits_for_room
                answers_are_taken_one_by_one
                an_answer_that_is_refused_is_counted
                an_error_that_is_received_ends_nothing
                a_socket_that_fails_is_given_a_rest
                answers_that_found_nobody_cost_no_rest
                a_flood_holds_up_no_other_address
                a_drain_has_a_deadline
                a_stop_ends_a_flood
                a_stop_ends_a_drain
                a_drain_answers_what_has_come
                an_idle_server_drains_at_once
                an_idle_server_stops_at_once
                a_stop_before_the_server_runs_is_not_lost
                a_handle_holds_no_address_after_the_end
                what_was_done_is_counted
                a_datagram_costs_what_it_must
            }
        }
    };
}

/// Makes a test of each scenario of datagrams for one model, in a module of the model's name: a new
/// model is one more such line.
///
/// ```
/// polyloop_conformance::test_datagrams!(poll: polyloop_models::Model::Poll);
/// ```
#[macro_export]
macro_rules! test_datagrams {
    ($name:ident: $model:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            const _MODEL: polyloop_models::Model = $model;
            $crate::with_datagram_scenarios!($crate::datagram_tests! { _MODEL; });
        }
    };
}

/// Part of [`test_datagrams`].
#[doc(hidden)]
#[macro_export]
macro_rules! datagram_tests {
    ($model:expr; exchanges { $($exchange:ident)* } whole { $($whole:ident)* }) => {
        $($crate::datagram_test! { $model, Quiet, false, $exchange, stringify!($exchange) })*
        $($crate::datagram_test! { $model, Quiet, false, $whole, stringify!($whole) })*
        mod lively {
            use super::_MODEL;
            $(
                $crate::datagram_test! {
                    $model, Lively, false, $exchange, concat!("lively::", stringify!($exchange))
                }
            )*
        }
        mod batches {
            use super::_MODEL;
            $($crate::datagram_test! { $model, Quiet, true, $exchange, stringify!($exchange) })*
            $($crate::datagram_test! { $model, Quiet, true, $whole, stringify!($whole) })*
        }
    };
}

/// Part of [`test_datagrams`].
#[doc(hidden)]
#[macro_export]
macro_rules! datagram_test {
    ($model:expr, $company:ident, $batches:expr, $scenario:ident, $name:expr) => {
        #[test]
        fn $scenario() {
            let company = $crate::protocol::Company::$company;
            let scene = $crate::datagram::Scene { model: $model, company, batches: $batches };
            $crate::datagram::run(scene, $name, $crate::datagram::$scenario);
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::list::{assert_all_listed, names};

    const NAMES: &[&str] = with_datagram_scenarios!(names! {});

    #[test]
    fn every_scenario_is_listed() {
        let sources = [
            include_str!("counting.rs"),
            include_str!("ending.rs"),
            include_str!("exchanging.rs"),
            include_str!("failing.rs"),
            include_str!("flooding.rs"),
        ];
        assert_all_listed(&sources, NAMES, "(scene: &Scene) {");
    }

    #[test]
    fn excuses_name_scenarios() {
        for (_, name, _) in crate::datagram::EXCUSES {
            assert!(NAMES.contains(&name), "there is no scenario {name}");
        }
    }
}
