//! The one list of scenarios, and the tests that are made of it.

/// Hands the list of all scenarios to another macro, after whatever else it is to be given.
///
/// `with_scenarios!(path::to::name! { arguments })` expands to
/// `path::to::name! { arguments backend { a b c } event_loop { d e f } unix { g h i } }`: the names
/// of functions in these modules of this crate.
#[macro_export]
macro_rules! with_scenarios {
    ($($then:tt)::+ ! { $($given:tt)* }) => {
        $($then)::+! { $($given)*
            backend {
                registering_twice_is_refused
                registering_twice_is_refused_without_interest
                an_unknown_source_is_not_found
                a_source_can_be_registered_again
                removing_some_leaves_the_others
                declares_the_same_every_time

                poll_clears_its_output
                no_limit_waits_for_a_wake
                no_limit_waits_for_readiness
                zero_does_not_wait
                a_limit_is_never_cut_short
                a_limit_is_over_in_time
                the_longest_limit_is_accepted
                a_limit_holds_while_others_wake

                data_is_readable
                room_is_writable
                input_is_not_told_unasked
                hangup_is_readable
                half_close_is_readable
                half_close_is_no_room
                a_stream_closed_both_ways_is_hung_up
                hangup_is_writable_if_only_that_was_asked
                reset_is_readable_and_writable
                reset_is_told_in_the_direction_asked
                a_connect_is_writable
                a_refused_connect_is_writable_with_an_error
                a_waiting_connection_is_readable
                a_datagram_is_readable

                without_interest_nothing_is_told
                interest_can_be_asked_for_later
                a_hangup_in_silence_is_told_later
                interest_can_be_taken_away
                what_is_ready_when_registered_is_told
                what_is_ready_when_reregistered_is_told
                a_hangup_is_told_again_when_reregistered
                a_direction_can_be_added
                a_token_can_be_changed

                nothing_is_told_after_deregister
                nothing_untold_is_told_after_deregister
                what_did_not_fit_is_not_told_after_deregister
                close_forgets_and_closes
                an_unknown_source_can_be_closed

                what_does_not_fit_is_told_next
                busy_sources_do_not_hide_others
                the_first_to_be_told_changes

                a_wake_before_poll_is_not_lost
                a_wake_before_a_change_is_not_lost
                wakes_coalesce
                wakes_come_from_many_threads
                a_wake_comes_beside_events
                a_wake_takes_no_room
                a_waker_may_outlive_its_backend

                trigger_is_as_declared
                a_level_with_data_left_is_told_again
                new_data_is_told_after_would_block
                short_reads_are_as_declared
                priority_is_as_declared
                priority_can_be_asked_for_alone
                priority_is_not_told_unasked
                a_hangup_without_a_direction_does_not_spin

                as_many_fit_as_declared
                changes_cost_the_same_among_many
            }
            event_loop {
                one_byte_a_turn_gets_everything
                a_budget_a_turn_gets_everything
                a_short_read_loses_nothing
                an_out_of_band_byte_between_two_writes
                an_out_of_band_byte_during_a_read
                an_out_of_band_byte_before_data
                an_out_of_band_byte_is_used_up
                data_and_the_end_in_one_event
                the_end_during_a_read
                data_and_a_reset_in_one_event
                a_reset_during_a_read
                one_accept_a_turn_gets_everybody
                one_datagram_a_turn_gets_all
                a_datagram_comes_after_a_refused_one
                a_repost_dispatches_what_no_backend_sees
                an_interrupted_call_is_repeated

                a_connect_is_asked_how_it_ended
                a_refused_connect_says_so
                a_connect_that_was_cut_is_not_waited_for

                a_pause_keeps_what_was_told
                what_comes_in_a_pause_is_told_after_it
                another_callback_may_pause_a_source
                another_callback_may_resume_a_source
                a_pause_may_be_over_at_once
                interest_may_change_after_a_reset

                a_full_send_buffer_is_waited_for
                interest_in_writing_comes_and_goes
                an_echo_answers_every_request

                a_callback_may_remove_all_others
                a_callback_may_remove_itself
                a_slot_used_again_gets_nothing_of_the_former
                a_reposted_source_may_be_removed
                any_callback_may_remove_any_source
                a_token_of_the_past_does_nothing

                timers_come_in_order_and_never_early
                a_short_timer_does_not_spin
                a_turn_waits_for_limit_or_timer
                wakes_neither_hurry_nor_delay_a_timer
                a_busy_source_does_not_delay_a_timer
                timers_do_not_starve_sources
                a_cancelled_timer_never_comes
                a_due_timer_may_cancel_the_next
                a_source_may_cancel_a_timer_of_its_turn
                a_timer_set_by_a_timer_waits_a_turn

                a_message_before_the_loop_runs_is_received
                no_wake_is_lost
                every_message_comes_once_and_in_order
                a_callback_may_send_to_its_own_loop
                a_message_to_a_loop_that_is_gone_comes_back
                a_loop_stops_and_runs_again

                a_turn_goes_in_order
                a_source_is_dispatched_once_a_turn
                a_lively_source_does_not_starve_others
                a_repost_is_not_put_off_by_another
                stop_ends_the_turn_first

                changes_are_counted
                turns_and_waits_are_counted
            }
            unix {
                closed_without_deregister_is_as_declared
                closed_without_interest_is_silent
                a_number_that_comes_back_is_refused_until_deregistered
                regular_files_are_as_declared
                high_descriptors_are_as_declared
                a_pipe_whose_writer_closed_is_readable
                a_pipe_whose_reader_closed_is_writable
                a_full_stream_that_is_shut_down_is_writable
                any_descriptor_can_be_watched
                a_loop_outlives_a_source_closed_behind_its_back
                a_descriptor_used_again_gets_nothing_of_the_former
                a_signal_ends_a_wait
                signals_neither_hurry_nor_delay_a_timer
            }
        }
    };
}

/// Makes a test of each scenario for one backend, in a module of the backend's name: a new backend
/// is one more such line.
///
/// ```
/// polyloop_conformance::test_backend!(mio: polyloop::MioBackend::new);
/// ```
#[macro_export]
macro_rules! test_backend {
    ($backend:ident: $make:expr) => {
        mod $backend {
            #[allow(unused_imports)]
            use super::*;
            $crate::with_scenarios!($crate::scenario_tests! { $backend $make; });
        }
    };
}

/// Part of [`test_backend`].
#[doc(hidden)]
#[macro_export]
macro_rules! scenario_tests {
    ($backend:ident $make:expr;
        backend { $($duty:ident)* } event_loop { $($turn:ident)* } unix { $($unix:ident)* }
    ) => {
        $(
            #[test]
            fn $duty() {
                $crate::run(stringify!($backend), stringify!($duty), $make, $crate::backend::$duty);
            }
        )*
        $(
            #[test]
            fn $turn() {
                $crate::run(stringify!($backend), stringify!($turn), $make, $crate::event_loop::$turn);
            }
        )*
        $(
            #[cfg(unix)]
            #[test]
            fn $unix() {
                $crate::run(stringify!($backend), stringify!($unix), $make, $crate::unix::$unix);
            }
        )*
    };
}

/// The names in a list of scenarios.
#[cfg(test)]
macro_rules! names {
    ($($group:ident { $($scenario:ident)* })*) => { &[$($(stringify!($scenario),)*)*] };
}
#[cfg(all(test, feature = "models"))]
pub(crate) use names;

#[cfg(test)]
pub(crate) const NAMES: &[&str] = with_scenarios!(names! {});

/// Holds what `sources` define against a list. A scenario that is not in it would be tested by nobody,
/// and no lint would say so; `mark` is what follows the name of a function that is one.
#[cfg(test)]
pub(crate) fn assert_all_listed(sources: &[&str], names: &[&str], mark: &str) {
    let mut found = 0;
    for line in sources.iter().flat_map(|source| source.lines()) {
        let function = line.strip_prefix("pub fn ").and_then(|rest| rest.split_once(mark));
        // One that goes on otherwise is for others to build on.
        let Some((name, _)) = function else { continue };
        assert!(names.contains(&name), "{name} is not in the list of scenarios");
        found += 1;
    }
    assert_eq!(found, names.len());
}

#[cfg(test)]
mod tests {
    use super::{assert_all_listed, NAMES};

    #[test]
    fn every_scenario_is_listed() {
        let sources = [
            include_str!("backend/registration.rs"),
            include_str!("backend/waiting.rs"),
            include_str!("backend/readiness.rs"),
            include_str!("backend/interest.rs"),
            include_str!("backend/removal.rs"),
            include_str!("backend/fairness.rs"),
            include_str!("backend/waking.rs"),
            include_str!("backend/caps.rs"),
            include_str!("backend/many.rs"),
            include_str!("event_loop/connecting.rs"),
            include_str!("event_loop/partial_io.rs"),
            include_str!("event_loop/pausing.rs"),
            include_str!("event_loop/writing.rs"),
            include_str!("event_loop/removal.rs"),
            include_str!("event_loop/timers.rs"),
            include_str!("event_loop/messages.rs"),
            include_str!("event_loop/turns.rs"),
            include_str!("event_loop/counting.rs"),
            include_str!("unix.rs"),
        ];
        assert_all_listed(&sources, NAMES, "<");
    }
}
