//! The contract, on every backend: one line each.

use polyloop::MioBackend;
use polyloop_conformance::test_backend;
use polyloop_select::PollBackend;

test_backend!(mio: MioBackend::new);
test_backend!(poll: PollBackend::new);

#[cfg(target_os = "linux")]
mod linux {
    use polyloop::Trigger;
    use polyloop_conformance::test_backend;
    use polyloop_linux::EpollBackend;

    test_backend!(epoll_level: || EpollBackend::new(Trigger::Level));
    test_backend!(epoll_edge: || EpollBackend::new(Trigger::Edge));
}
