//! Ending a wait from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use polyloop::Waker;
use rustix::event::{eventfd, EventfdFlags};

/// A descriptor that becomes readable when somebody wakes the loop.
///
/// Nobody reads it: the ring watches it for edges, and each wake is one. Its number grows by one a
/// wake, and is full after more of them than a machine lives to see.
#[derive(Clone, Debug)]
pub(super) struct WakeUp(Arc<OwnedFd>);

impl WakeUp {
    pub(super) fn new() -> io::Result<WakeUp> {
        Ok(WakeUp(Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?)))
    }

    pub(super) fn waker(&self) -> Waker {
        let descriptor = Arc::clone(&self.0);
        Waker::new(move || {
            rustix::io::retry_on_intr(|| rustix::io::write(&*descriptor, &1_u64.to_ne_bytes()))?;
            Ok(())
        })
    }
}

impl AsFd for WakeUp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
