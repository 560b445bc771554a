//! What every backend of polyloop must do, as scenarios.
//!
//! A scenario is a function that is given the way to make a backend, does something to it, and
//! panics if the answer is not what the contract of [`Backend`](polyloop::Backend) promises; the
//! message names the line of the contract. Those of [`backend`] ask a backend directly. Those of
//! [`event_loop`] run an [`EventLoop`](polyloop::EventLoop) on it, whose handler must not see
//! whether it is told edges or levels. Those of `unix` need what only Unix has.
//!
//! [`test_backend`] makes a test of each: a new backend is one line.
//!
//! ```
//! polyloop_conformance::test_backend!(mio: polyloop::MioBackend::new);
//! ```
//!
//! # Time
//!
//! No scenario sleeps to let something happen: it waits for it, without a limit, and a
//! [watchdog](watchdog::run) ends what waits in vain. Lower bounds of time are held against the
//! clock, and upper ones only with the fastest of very many tries, so that a busy machine fails
//! nothing; that a loop does not spin is seen from how often it turned.
#![forbid(unsafe_code)]

use std::io;

pub mod atlas;
pub mod backend;
#[cfg(feature = "models")]
pub mod datagram;
pub mod event_loop;
pub mod exceptions;
#[cfg(feature = "models")]
pub mod protocol;
#[cfg(unix)]
pub mod unix;
pub mod watchdog;

mod child;
mod list;
mod script;
mod sockets;
mod watcher;

/// How to make the backend under test.
pub type Make<B> = fn() -> io::Result<B>;

/// Runs one scenario on one backend, under the [watchdog](watchdog::run).
///
/// One that is [excused](exceptions::excuse) must fail: an excuse that nothing needs is as wrong as
/// a promise that is not kept.
///
/// # Panics
///
/// If the scenario fails and has no excuse, or has one and does not fail.
pub fn run<B: polyloop::Backend + 'static>(
    backend: &str,
    scenario: &str,
    make: Make<B>,
    run: fn(Make<B>),
) {
    let name = format!("{backend}::{scenario}");
    let scenario_on_backend = move || run(make);
    match exceptions::excuse(backend, scenario) {
        None => watchdog::run(&name, scenario_on_backend),
        Some((fails, reason)) => {
            watchdog::expect_failure(&name, reason, fails, scenario_on_backend);
        }
    }
}
