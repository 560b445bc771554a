//! Ending a wait from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use polyloop::Waker;
use rustix::event::{eventfd, EventfdFlags};
use rustix::io::Errno;

/// A descriptor that becomes readable when somebody wakes the loop.
///
/// It is watched for edges: each wake is one, and needs no read.
#[derive(Clone, Debug)]
pub(crate) struct WakeUp(Arc<OwnedFd>);

impl WakeUp {
    pub(crate) fn new() -> io::Result<WakeUp> {
        Ok(WakeUp(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    pub(crate) fn waker(&self) -> Waker {
        let descriptor = Arc::clone(&self.0);
        Waker::new(move || wake(&descriptor))
    }
}

impl AsFd for WakeUp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn wake(descriptor: &OwnedFd) -> io::Result<()> {
    loop {
        match rustix::io::write(descriptor, &1_u64.to_ne_bytes()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            // The count is full, after 2^64 wakes that nobody read: begin anew.
            Err(Errno::AGAIN) => drop(rustix::io::read(descriptor, &mut [0; 8])),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever blocked there, or was refused, would leave the loop asleep.
    #[test]
    fn a_wake_with_a_full_count_wakes() {
        let wake_up = WakeUp::new().unwrap();
        rustix::io::write(&wake_up, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        wake_up.waker().wake().unwrap();
        let mut count = [0; 8];
        rustix::io::read(&wake_up, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
    }
}
