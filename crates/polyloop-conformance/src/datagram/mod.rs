//! What every model that serves datagrams must do with them, as scenarios.
//!
//! As those of [`protocol`](crate::protocol), they serve a protocol with the model they are given
//! and talk to it through plain blocking sockets, with a peer that is alone and silent before each
//! thing it does, and beside another that never rests. Where the system has batches, they run a
//! third time, with those.
//!
//! Nothing is lost on the loopback network but what finds a full buffer; scenarios that fill one
//! count on nothing else.
//!
//! [`test_datagrams`](crate::test_datagrams) makes the tests: a new model is one line.
//!
//! ```
//! polyloop_conformance::test_datagrams!(mio: polyloop_models::Model::Mio);
//! ```

mod list;
mod serve;
mod sockets;

mod counting;
mod ending;
mod exchanging;
mod failing;
mod flooding;

use std::io;
use std::time::Duration;

use polyloop_models::{Model, Options};

pub use counting::*;
pub use ending::*;
pub use exchanging::*;
pub use failing::*;
pub use flooding::*;

use crate::protocol::{is_here, Company};
use crate::watchdog::{self, Fails};

/// What a scenario is given.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// The model under test.
    pub model: Model,
    /// Who else talks to the server.
    pub company: Company,
    /// Whether datagrams move several at a call.
    pub batches: bool,
}

/// Model, scenario and reason.
const EXCUSES: [(Model, &str, &str); 2] = [
    (Model::Iterative, "several_addresses", ONE_ADDRESS),
    (Model::Iterative, "a_flood_holds_up_no_other_address", ONE_ADDRESS),
];

const ONE_ADDRESS: &str = "a thread that sleeps at one address hears nobody at the others";

/// How all of them fail. Where they hold, they take some tens of milliseconds.
const HANGS: Fails = Fails::HangsFor(Duration::from_secs(1));

/// Runs one scenario with one model, under the [watchdog](watchdog::run).
///
/// One that is excused must fail; one of a model that this system lacks is not run, and says
/// so.
///
/// # Panics
///
/// If the scenario fails and has no excuse, or has one and does not fail.
pub fn run(scene: Scene, scenario: &str, run: fn(&Scene)) {
    let batch = if scene.batches { "batches::" } else { "" };
    let name = format!("{}::{batch}{scenario}", scene.model);
    if !is_here(scene.model, &name) || (scene.batches && !has_batches()) {
        return;
    }
    let bare = scenario.trim_start_matches("lively::");
    let excuse = EXCUSES.iter().find(|&&(model, name, _)| model == scene.model && name == bare);
    match excuse {
        None => watchdog::run(&name, move || run(&scene)),
        Some((_, _, reason)) => {
            watchdog::expect_failure(&name, reason, HANGS, move || run(&scene));
        }
    }
}

/// Whether this system has calls for several datagrams. Linux has; elsewhere asking for them is
/// refused with a reason.
fn has_batches() -> bool {
    let mut options = Options::default();
    options.batches = true;
    match Model::Mio.bind_datagram(serve::ANY, options, || serve::Echo) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
            assert_ne!(std::env::consts::OS, "linux", "{error}");
            false
        }
    }
}
