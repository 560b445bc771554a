//! The contract, on every backend: one line each.

use polyloop::MioBackend;
use polyloop_conformance::test_backend;
use polyloop_select::{PollBackend, SelectBackend};

test_backend!(mio: MioBackend::new);
test_backend!(poll: PollBackend::new);
test_backend!(select: SelectBackend::new);
test_backend!(select_unlimited: SelectBackend::unlimited);
#[cfg(target_os = "linux")]
test_backend!(epoll_level: || polyloop_linux::EpollBackend::new(polyloop::Trigger::Level));
#[cfg(target_os = "linux")]
test_backend!(epoll_edge: || polyloop_linux::EpollBackend::new(polyloop::Trigger::Edge));
