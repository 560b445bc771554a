//! Sets as Unix has them: a bit for each descriptor.

use std::mem::size_of;

use polyloop::{Interest, RawSource, Readiness};
use rustix::event::{poll, PollFlags, Timespec};
use rustix::io::{fcntl_getfd, Errno};

use super::Look;
use crate::raw::{self, Word};

/// How many descriptors the `fd_set` of the system's headers has room for.
pub(super) const FD_SETSIZE: usize = 8 * size_of::<libc::fd_set>();

/// What the call answers if a descriptor in a set is closed.
pub(super) const CLOSED: Errno = Errno::BADF;

const BITS: usize = Word::BITS as usize;

/// What each set asks, in the order of the call's arguments.
const SETS: [(Interest, Readiness); 3] = [
    (Interest::READABLE, Readiness::READABLE),
    (Interest::WRITABLE, Readiness::WRITABLE),
    (Interest::PRIORITY, Readiness::PRIORITY),
];

/// The three sets.
#[derive(Debug, Default)]
pub(super) struct Sets {
    asked: [Vec<Word>; 3],
    /// What the call was handed and has written its answer over; zero where it was handed nothing.
    told: [Vec<Word>; 3],
    /// How many descriptors are in each set: an empty one is not handed over.
    members: [usize; 3],
    /// Words up to the largest descriptor in any set, or more.
    words: usize,
}

impl Sets {
    /// Moves a descriptor from the sets of one interest to those of another.
    pub(super) fn change(&mut self, raw: RawSource, before: Interest, after: Interest) {
        let descriptor = usize::try_from(raw).expect("an open descriptor is not negative");
        let (word, bit) = (descriptor / BITS, 1 << (descriptor % BITS));
        if word >= self.words {
            self.words = word + 1;
            for set in self.asked.iter_mut().chain(&mut self.told) {
                if set.len() < self.words {
                    set.resize(self.words, 0);
                }
            }
        }
        for (index, (interest, _)) in SETS.into_iter().enumerate() {
            match (before.contains(interest), after.contains(interest)) {
                (false, true) => {
                    self.asked[index][word] |= bit;
                    self.members[index] += 1;
                }
                (true, false) => {
                    self.asked[index][word] &= !bit;
                    self.members[index] -= 1;
                }
                _ => {}
            }
        }
    }

    /// All descriptors that are in a set.
    pub(super) fn members(&self) -> Vec<RawSource> {
        let any = |descriptor: &usize| {
            self.asked.iter().any(|set| set[descriptor / BITS] & (1 << (descriptor % BITS)) != 0)
        };
        (0..self.words * BITS).filter(any).map(|descriptor| descriptor as RawSource).collect()
    }

    /// Waits, and returns how many bits are told.
    pub(super) fn wait(&mut self, timeout: Option<&Timespec>) -> Result<usize, Errno> {
        while self.words > 0 && self.asked.iter().all(|set| set[self.words - 1] == 0) {
            self.words -= 1;
            self.told.iter_mut().for_each(|set| set[self.words] = 0);
        }
        let words = self.words;
        for index in 0..SETS.len() {
            self.told[index][..words].copy_from_slice(&self.asked[index][..words]);
        }
        let [readable, writable, exceptional] = &mut self.told;
        let used = |index: usize| self.members[index] > 0;
        let sets = [
            used(0).then_some(&mut readable[..]),
            used(1).then_some(&mut writable[..]),
            used(2).then_some(&mut exceptional[..]),
        ];
        let bound = i32::try_from(words * BITS).unwrap_or(i32::MAX);
        raw::select(bound, sets, timeout)
    }

    /// Shows `each` the descriptors that were told, from the number `start` on and around, `left`
    /// bits in all. Returns at which it was stopped.
    pub(super) fn look(
        &mut self,
        start: usize,
        mut left: usize,
        mut each: impl FnMut(usize, RawSource, Readiness) -> Look,
    ) -> Option<usize> {
        let start = if start / BITS < self.words { start } else { 0 };
        let (first, behind) = (start / BITS, Word::MAX << (start % BITS));
        let [readable, writable, exceptional] = &self.told;
        let around = [(first, behind)]
            .into_iter()
            .chain((first + 1..self.words).map(|word| (word, Word::MAX)))
            .chain((0..first).map(|word| (word, Word::MAX)))
            .chain([(first, !behind)]);
        for (word, mask) in around {
            let told = [readable[word] & mask, writable[word] & mask, exceptional[word] & mask];
            let mut any = told[0] | told[1] | told[2];
            while any != 0 {
                let bit = any & any.wrapping_neg();
                any &= !bit;
                let mut readiness = Readiness::EMPTY;
                for (set, (_, means)) in told.into_iter().zip(SETS) {
                    if set & bit != 0 {
                        readiness |= means;
                        left -= 1;
                    }
                }
                let descriptor = word * BITS + bit.trailing_zeros() as usize;
                if let Look::Full = each(descriptor, descriptor as RawSource, readiness) {
                    return Some(descriptor);
                }
            }
            if left == 0 {
                break;
            }
        }
        None
    }
}

/// Whether a descriptor fits into sets of a size; not how many there are.
pub(super) fn fits(raw: RawSource, _count: usize, limit: usize) -> bool {
    usize::try_from(raw).is_ok_and(|descriptor| descriptor < limit)
}

/// What fits into sets of a size, in words.
pub(super) fn room(limit: usize) -> String {
    format!("descriptors below FD_SETSIZE ({limit})")
}

/// Whether a descriptor is one still.
pub(super) fn is_open(raw: RawSource) -> bool {
    fcntl_getfd(raw::borrowed(raw)) != Err(CLOSED)
}

/// Whether a source that may be connecting has failed to: looks, and leaves the error to be taken.
pub(super) fn connect_failed(raw: RawSource) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut entry = [raw::watch(raw, PollFlags::OUT)];
    poll(&mut entry, Some(&now)).is_ok() && entry[0].revents().contains(PollFlags::ERR)
}
