//! The contract, on every backend: one line each.

use polyloop::MioBackend;
use polyloop_conformance::test_backend;
use polyloop_models::BackendKind;
use polyloop_select::{PollBackend, SelectBackend};
#[cfg(target_os = "linux")]
use {polyloop::Trigger, polyloop_linux::EpollBackend};

test_backend!(mio: MioBackend::new);
test_backend!(poll: PollBackend::new);
test_backend!(select: SelectBackend::new);
test_backend!(select_unlimited: SelectBackend::unlimited);
#[cfg(target_os = "linux")]
test_backend!(epoll: || EpollBackend::new(Trigger::Level));
#[cfg(target_os = "linux")]
test_backend!(epoll_edge: || EpollBackend::new(Trigger::Edge));

/// A backend without a line above would be tested by nobody.
#[test]
fn every_backend_is_tested() {
    let here = include_str!("contract.rs");
    for backend in BackendKind::ALL {
        let line = format!("test_backend!({}: ", backend.name().replace(':', "_"));
        assert!(here.lines().any(|there| there.starts_with(&line)), "no line for {backend}");
    }
}
