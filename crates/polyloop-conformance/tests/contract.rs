//! The contract, on every backend: one line each.

use polyloop::MioBackend;
use polyloop_conformance::test_backend;
use polyloop_select::PollBackend;

test_backend!(mio: MioBackend::new);
test_backend!(poll: PollBackend::new);
