//! Sets as Windows has them: lists of sockets, whose first word says how many there are.

use polyloop::{Interest, RawSource, Readiness, Table};
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::net::{getpeername, sockopt};

use super::Look;
use crate::raw::{self, Word};

/// How many sockets the `fd_set` of the system's headers has room for.
pub(super) const FD_SETSIZE: usize = 64;

/// What the call answers if a socket in a set is closed.
pub(super) const CLOSED: Errno = Errno::NOTSOCK;

/// What each set tells, in the order of the call's arguments.
const TELLS: [Readiness; 3] = [Readiness::READABLE, Readiness::WRITABLE, Readiness::PRIORITY];

/// Every source with an interest, from which the three lists are written for each wait.
#[derive(Debug, Default)]
pub(super) struct Sets {
    members: Vec<Member>,
    /// Where each stands in `members`.
    places: Table<usize>,
    lists: [Vec<Word>; 3],
    /// Places of those that were told something.
    told: Vec<usize>,
}

#[derive(Debug)]
struct Member {
    raw: RawSource,
    interest: Interest,
    /// No connect is under way: the exceptional set is not needed to see it fail.
    settled: bool,
    told: Readiness,
}

impl Sets {
    /// Moves a socket from the lists of one interest to those of another.
    pub(super) fn change(&mut self, raw: RawSource, before: Interest, after: Interest) {
        match (before.is_none(), after.is_none()) {
            (true, true) => {}
            (true, false) => {
                self.places.insert(raw, self.members.len());
                let told = Readiness::EMPTY;
                self.members.push(Member { raw, interest: after, settled: false, told });
            }
            (false, false) => {
                let place = *self.places.get_mut(raw).expect("who has an interest has a place");
                self.members[place].interest = after;
            }
            (false, true) => {
                let place = self.places.remove(raw).expect("who has an interest has a place");
                self.members.swap_remove(place);
                if let Some(moved) = self.members.get(place) {
                    self.places.insert(moved.raw, place);
                }
            }
        }
    }

    /// All sockets that are in a list.
    pub(super) fn members(&self) -> Vec<RawSource> {
        self.members.iter().map(|member| member.raw).collect()
    }

    /// Waits, and returns how often something is told.
    pub(super) fn wait(&mut self, timeout: Option<&Timespec>) -> Result<usize, Errno> {
        for list in &mut self.lists {
            list.clear();
            list.push(0);
        }
        for member in &self.members {
            let connecting = member.interest.is_writable() && !member.settled;
            let asked = [
                member.interest.is_readable(),
                member.interest.is_writable(),
                member.interest.is_priority() || connecting,
            ];
            for (list, asked) in self.lists.iter_mut().zip(asked) {
                if asked {
                    list.push(member.raw as Word);
                    list[0] += 1;
                }
            }
        }
        let [readable, writable, exceptional] = &mut self.lists;
        let used = |list: &[Word]| list[0] > 0;
        let sets = [
            used(readable).then_some(&mut readable[..]),
            used(writable).then_some(&mut writable[..]),
            used(exceptional).then_some(&mut exceptional[..]),
        ];
        raw::select(0, sets, timeout)
    }

    /// Shows `each` the sockets that were told, from the place `start` on and around. Returns at
    /// which it was stopped.
    pub(super) fn look(
        &mut self,
        start: usize,
        _left: usize,
        mut each: impl FnMut(usize, RawSource, Readiness) -> Look,
    ) -> Option<usize> {
        self.told.clear();
        for (list, tells) in self.lists.iter().zip(TELLS) {
            for &socket in &list[1..=list[0]] {
                let Ok(&mut place) = self.places.get_mut(socket as RawSource) else { continue };
                let member = &mut self.members[place];
                if member.told.is_empty() {
                    self.told.push(place);
                }
                member.told |= tells;
            }
        }
        self.told.sort_unstable();
        let first = self.told.partition_point(|&place| place < start);
        self.told.rotate_left(first);
        let mut full = None;
        for &place in &self.told {
            let member = &mut self.members[place];
            let told = std::mem::take(&mut member.told);
            if full.is_some() {
                continue;
            }
            match each(place, member.raw, told) {
                Look::Next => {}
                Look::Settled => member.settled = true,
                Look::Full => full = Some(place),
            }
        }
        full
    }
}

/// Whether one more socket fits into sets of a size, whatever its number, beside so many.
pub(super) fn fits(_raw: RawSource, count: usize, limit: usize) -> bool {
    count < limit
}

/// What fits into sets of a size, in words.
pub(super) fn room(limit: usize) -> String {
    format!("FD_SETSIZE ({limit}) sockets, its waker included")
}

/// Whether a socket is one still.
pub(super) fn is_open(raw: RawSource) -> bool {
    sockopt::socket_type(raw::borrowed(raw)) != Err(CLOSED)
}

/// Whether a source that may be connecting has failed to: looks, and leaves the error to be taken.
pub(super) fn connect_failed(raw: RawSource) -> bool {
    let stream = sockopt::socket_type(raw::borrowed(raw)) == Ok(rustix::net::SocketType::STREAM);
    stream && getpeername(raw::borrowed(raw)).is_err()
}
