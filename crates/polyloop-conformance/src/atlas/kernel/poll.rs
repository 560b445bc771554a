//! poll(2), which is handed what is asked with each call.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use polyloop::{Interest, RawSource, Source};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fd::{AsRawFd, BorrowedFd};

use super::super::stage::{Watcher, DATA, END, PRIORITY, UNASKED};
use super::{names, refusal, Answer};

const FLAGS: &[(PollFlags, &str)] = &[
    (DATA, "IN"),
    (PollFlags::OUT, "OUT"),
    (PRIORITY, "PRI"),
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    (PollFlags::RDHUP, "RDHUP"),
    (PollFlags::ERR, "ERR"),
    (PollFlags::HUP, "HUP"),
    (PollFlags::NVAL, "NVAL"),
];

#[derive(Default)]
pub(super) struct Poll {
    asked: HashMap<RawSource, PollFlags>,
}

impl Watcher for Poll {
    fn watch(&mut self, source: &mut dyn Source, asked: Interest) -> Result<(), Answer> {
        let mut flags = PollFlags::empty();
        if asked.is_readable() {
            flags |= PollFlags::IN | END.difference(UNASKED);
        }
        if asked.is_writable() {
            flags |= PollFlags::OUT;
        }
        if asked.is_priority() {
            flags |= PRIORITY;
        }
        self.asked.insert(source.raw(), flags);
        Ok(())
    }

    fn change(&mut self, source: &mut dyn Source, asked: Interest) -> Result<(), Answer> {
        self.watch(source, asked)
    }

    fn look(&mut self, source: BorrowedFd<'_>, limit: Duration) -> io::Result<Answer> {
        let asked = self.asked[&source.as_raw_fd()];
        let mut set = [PollFd::from_borrowed_fd(source, asked)];
        let limit = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos() as _ };
        Ok(match poll(&mut set, Some(&limit)) {
            Ok(_) => names(FLAGS, |flag| set[0].revents().intersects(flag)),
            Err(error) => refusal(error),
        })
    }
}
