//! The server of a scenario whose model forks: see `polyloop_conformance::protocol`.
#![forbid(unsafe_code)]

fn main() {
    polyloop_conformance::protocol::serve_scenario();
}
