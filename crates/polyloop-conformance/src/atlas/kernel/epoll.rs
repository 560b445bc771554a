//! epoll, whose kernel keeps the set.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use polyloop::{Interest, RawSource, Source};
use rustix::event::{epoll, Timespec};
use rustix::fd::{AsRawFd, BorrowedFd};

pub(super) use rustix::event::epoll::EventFlags;

use super::super::stage::Watcher;
use super::{names, refusal, Answer};

const FLAGS: &[(EventFlags, &str)] = &[
    (EventFlags::IN, "IN"),
    (EventFlags::OUT, "OUT"),
    (EventFlags::PRI, "PRI"),
    (EventFlags::RDHUP, "RDHUP"),
    (EventFlags::ERR, "ERR"),
    (EventFlags::HUP, "HUP"),
];

pub(super) struct Epoll {
    epoll: OwnedFd,
    trigger: EventFlags,
    /// What was told of others than the one that was looked at.
    told: HashMap<RawSource, EventFlags>,
}

impl Epoll {
    pub(super) fn new(trigger: EventFlags) -> io::Result<Epoll> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Epoll { epoll, trigger, told: HashMap::new() })
    }

    fn flags(&self, asked: Interest) -> EventFlags {
        let mut flags = self.trigger;
        if asked.is_readable() {
            flags |= EventFlags::IN | EventFlags::RDHUP;
        }
        if asked.is_writable() {
            flags |= EventFlags::OUT;
        }
        if asked.is_priority() {
            flags |= EventFlags::PRI;
        }
        flags
    }
}

impl Watcher for Epoll {
    fn watch(&mut self, source: &mut dyn Source, asked: Interest) -> Result<(), Answer> {
        let name = epoll::EventData::new_u64(source.raw() as u64);
        epoll::add(&self.epoll, source.borrowed(), name, self.flags(asked)).map_err(refusal)
    }

    fn change(&mut self, source: &mut dyn Source, asked: Interest) -> Result<(), Answer> {
        let name = epoll::EventData::new_u64(source.raw() as u64);
        epoll::modify(&self.epoll, source.borrowed(), name, self.flags(asked)).map_err(refusal)
    }

    fn look(&mut self, source: BorrowedFd<'_>, limit: Duration) -> io::Result<Answer> {
        if self.trigger.is_empty() {
            self.told.clear(); // a level is told again
        }
        let limit = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
        let mut events = Vec::with_capacity(8);
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&limit))?;
        for event in &events {
            let (data, flags) = (event.data, event.flags);
            self.told.insert(data.u64() as RawSource, flags);
        }
        let told = self.told.remove(&source.as_raw_fd()).unwrap_or(EventFlags::empty());
        Ok(names(FLAGS, |flag| told.contains(flag)))
    }
}
