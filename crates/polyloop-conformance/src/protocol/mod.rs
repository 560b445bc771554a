//! What every model must do with a protocol, as scenarios.
//!
//! A scenario serves a protocol with the model it is given, on a thread, and talks to it through
//! plain blocking sockets. Whatever it does, every connection is watched from
//! inside as well: it is opened once, told `closed` once and nothing after that, and shown its
//! unused input again in front of what comes next.
//!
//! Scenarios of input and output run in two kinds of [`Company`]: with a peer that is alone and
//! silent before each thing it does, so that nothing but its own bytes can wake the server; and
//! beside another connection that never rests, so that something else always does.
//!
//! [`test_model`](crate::test_model) makes the tests: a new model is one line.
//!
//! ```
//! polyloop_conformance::test_model!(thread: polyloop_models::Model::Thread);
//! ```

mod client;
mod excuses;
mod forked;
mod list;
mod protocols;
mod random;
mod serve;

mod backpressure;
mod counting;
mod deadlines;
#[cfg(unix)]
mod descriptors;
mod draining;
mod ending;
mod fragments;
mod handles;
mod limits;
mod pausing;
#[cfg(unix)]
mod signals;
mod timers;
#[cfg(unix)]
mod unix_sockets;

use std::io::ErrorKind;

use polyloop_models::Model;

pub use backpressure::*;
pub use counting::*;
pub use deadlines::*;
#[cfg(unix)]
pub use descriptors::*;
pub use draining::*;
pub use ending::*;
pub use excuses::excuse;
pub use forked::serve_scenario;
pub use fragments::*;
pub use handles::*;
pub use limits::*;
pub use pausing::*;
#[cfg(unix)]
pub use signals::*;
pub use timers::*;
#[cfg(unix)]
pub use unix_sockets::*;

use crate::watchdog;

/// What a scenario is given.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// The module of its tests.
    pub name: &'static str,
    /// The model under test.
    pub model: Model,
    /// A setting of that model, as a [`Variant`](polyloop_models::Variant) has it; empty for none.
    pub setting: &'static str,
    /// Who else talks to the server.
    pub company: Company,
}

/// Who talks to the server besides the clients of the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Nobody, and the clients are silent before each thing they do: an edge that was lost is not
    /// made good by the next one.
    Quiet,
    /// A connection that sends as soon as it is answered: the server always has something else to
    /// do.
    Lively,
}

/// Runs one scenario with one model, under the [watchdog](watchdog::run).
///
/// One that is [excused](excuse) must fail: an excuse that nothing needs is as wrong as a promise
/// that is not kept. A model that this system does not have runs nothing, and says so.
///
/// # Panics
///
/// If the scenario fails and has no excuse, or has one and does not fail.
pub fn run(scene: Scene, scenario: &str, run: fn(&Scene)) {
    let name = format!("{}::{scenario}", scene.name);
    if !is_here(scene.model, &name) {
        return;
    }
    match excuse(scene.model, scenario) {
        None => watchdog::run(&name, move || run(&scene)),
        Some((fails, reason)) => {
            watchdog::expect_failure(&name, reason, fails, move || run(&scene));
        }
    }
}

/// Whether this system has the model; if not, says that the test is not run.
pub(crate) fn is_here(model: Model, test: &str) -> bool {
    let missing = model.check().err();
    if let Some(missing) = &missing {
        assert_eq!(missing.kind(), ErrorKind::Unsupported, "{missing}");
        println!("{test} is not run: {missing}");
    }
    missing.is_none()
}
