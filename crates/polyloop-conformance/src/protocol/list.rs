//! The one list of scenarios, and the tests that are made of it.

/// Hands the list of all protocol scenarios to another macro, after whatever else it is to be
/// given.
///
/// `exchanges` are of input and output, and run in both kinds of
/// [`Company`](crate::protocol::Company); `whole` ones have the server for themselves; `unix` ones
/// need what only Unix has.
#[macro_export]
macro_rules! with_protocol_scenarios {
    ($($then:tt)::+ ! { $($given:tt)* }) => {
        $($then)::+! { $($given)*
            exchanges {
                bytes_one_at_a_time
                bytes_all_at_once
                bytes_in_random_pieces
                an_echo_of_single_bytes
                pipelined_requests
                a_message_longer_than_a_read
                an_out_of_band_byte_between_two_writes
                an_out_of_band_byte_in_the_middle_of_what_waits
                data_and_the_end_at_once
                data_and_a_reset_at_once

                a_megabyte_to_a_slow_reader
                twenty_megabytes_streamed
                reading_rests_above_high_water
                a_client_that_does_not_read_is_not_read_from
                a_stream_without_end_starves_nobody
                more_requests_than_may_be_left_unused
                requests_that_came_before_the_water_rose

                half_close_from_the_client
                half_close_with_much_to_be_answered
                half_close_from_the_server
                both_sides_end_at_once
                a_protocol_may_send_after_the_end_of_input
                what_is_unfinished_at_the_end_is_lost
                close_flushes
                nothing_is_shown_after_close
                abort_does_not_wait
                a_protocol_may_close_when_it_opens
                reset_in_mid_message
                reset_in_mid_answer
                reset_by_a_client_that_does_not_read
                a_client_that_vanishes

                a_resume_shows_what_was_left
                what_comes_in_a_pause_is_shown_after_it
                a_pause_may_be_over_at_once
                a_finish_hides_nothing_that_is_left
                the_end_of_input_waits_for_a_pause_to_be_over

                timers_come_in_order
                a_timer_may_set_another
                a_timer_goes_with_its_connection
                a_timer_interrupts_a_stream_without_end

                another_thread_may_send
                several_threads_may_send
                another_thread_may_close
                another_thread_may_close_an_idle_connection
                a_paused_connection_can_be_reached
                a_handle_sends_after_what_was_sent_before
                a_handle_closes_after_what_was_sent_before
                a_handle_sends_nothing_after_finish
                a_handle_of_the_past_reaches_nobody
            }
            whole {
                drained_is_told_once_for_each_rise
                cancelled_timers_never_come
                a_handle_changes_no_water_mark
                a_slow_reader_holds_up_nobody

                an_idle_connection_is_closed
                an_idle_connection_is_closed_after_a_message_in_pieces
                an_unfinished_message_is_not_waited_for
                a_message_in_drops_has_no_more_time
                the_end_of_much_input_is_not_idle
                silence_between_messages_is_not_a_message_unfinished
                a_pause_is_not_a_message_unfinished
                a_peer_that_takes_nothing_is_not_waited_for
                without_deadlines_silence_costs_nothing
                a_timer_that_is_never_due_costs_nothing

                input_that_is_too_long_is_refused
                connections_past_the_limit_wait
                a_thousand_connections_come_and_go

                a_drain_lets_a_message_be_finished
                a_drain_during_a_call_lets_a_message_be_finished
                a_drain_ends_who_asks_again_and_again
                a_drain_answers_what_has_come
                a_drain_flushes
                a_drain_flushes_what_others_sent
                a_drain_has_a_deadline
                a_drain_ends_who_reads_nothing
                an_empty_server_drains_at_once
                a_stop_ends_a_drain
                a_stop_closes_everything
                a_stop_waits_for_no_slow_reader
                a_stop_does_not_flush_what_others_sent
                a_stop_before_the_server_runs_is_not_lost

                a_request_costs_what_it_must
                deadlines_cost_nothing_a_request
                counts_can_be_watched
            }
            unix {
                out_of_descriptors_and_recovering
                without_a_descriptor_left_a_server_can_be_stopped
                descriptors_past_fd_setsize
                a_unix_socket_is_served
                descriptors_passed_over_a_unix_socket
                signals_end_nothing_but_calls
            }
        }
    };
}

/// Makes a test of each protocol scenario for one model, in a module of the model's name, or for a
/// model with a setting of its own: a new model is one more such line. Scenarios of input and output are in it a second time, in
/// `lively`.
///
/// ```
/// polyloop_conformance::test_model!(thread: polyloop_models::Model::Thread);
/// ```
#[macro_export]
macro_rules! test_model {
    ($name:ident: $model:expr) => {
        $crate::test_model!($name: $model, "");
    };
    ($name:ident: $model:expr, $setting:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            const _SCENE: $crate::protocol::Scene = $crate::protocol::Scene {
                name: stringify!($name),
                model: $model,
                setting: $setting,
                company: $crate::protocol::Company::Quiet,
            };
            $crate::with_protocol_scenarios!($crate::protocol_tests! { _SCENE; });
        }
    };
}

/// Part of [`test_model`].
#[doc(hidden)]
#[macro_export]
macro_rules! protocol_tests {
    ($scene:expr;
        exchanges { $($exchange:ident)* } whole { $($whole:ident)* } unix { $($unix:ident)* }
    ) => {
        $($crate::protocol_test! { $scene, Quiet, $exchange, stringify!($exchange) })*
        $($crate::protocol_test! { $scene, Quiet, $whole, stringify!($whole) })*
        $(
            #[cfg(unix)]
            $crate::protocol_test! { $scene, Quiet, $unix, stringify!($unix) }
        )*
        mod lively {
            use super::_SCENE;
            $(
                $crate::protocol_test! {
                    $scene, Lively, $exchange, concat!("lively::", stringify!($exchange))
                }
            )*
        }
    };
}

/// Part of [`test_model`].
#[doc(hidden)]
#[macro_export]
macro_rules! protocol_test {
    ($scene:expr, $company:ident, $scenario:ident, $name:expr) => {
        #[test]
        fn $scenario() {
            let company = $crate::protocol::Company::$company;
            let scene = $crate::protocol::Scene { company, ..$scene };
            $crate::protocol::run(scene, $name, $crate::protocol::$scenario);
        }
    };
}

macro_rules! functions {
    (exchanges { $($exchange:ident)* } whole { $($whole:ident)* } unix { $($unix:ident)* }) => {
        &[
            $((stringify!($exchange), super::$exchange),)*
            $((stringify!($whole), super::$whole),)*
            $(#[cfg(unix)] (stringify!($unix), super::$unix),)*
        ]
    };
}

type Named = (&'static str, fn(&super::Scene));

/// Every scenario by its name.
pub(super) const SCENARIOS: &[Named] = with_protocol_scenarios!(functions! {});

#[cfg(test)]
use crate::list::names;

#[cfg(test)]
pub(crate) const NAMES: &[&str] = with_protocol_scenarios!(names! {});

#[cfg(test)]
mod tests {
    use super::NAMES;
    use crate::list::assert_all_listed;

    #[test]
    fn every_scenario_is_listed() {
        let sources = [
            include_str!("backpressure.rs"),
            include_str!("counting.rs"),
            include_str!("deadlines.rs"),
            include_str!("descriptors.rs"),
            include_str!("draining.rs"),
            include_str!("ending.rs"),
            include_str!("fragments.rs"),
            include_str!("handles.rs"),
            include_str!("limits.rs"),
            include_str!("pausing.rs"),
            include_str!("signals.rs"),
            include_str!("timers.rs"),
            include_str!("unix_sockets.rs"),
        ];
        assert_all_listed(&sources, NAMES, "(scene: &Scene) {");
    }
}
